"""Distribution strategies by name: one device, several in a process, several processes, or a TPU (tf.distribute)."""

import functools
import os
from collections.abc import Callable
from concurrent import futures
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.startup import worker_startup

from .clusters import cluster_from, environment_of, scheduler_of

REFUSED = {
    "parameter_server": "Keras 3 does not train under ParameterServerStrategy. Use 'multi_worker'.",
    "central_storage": "CentralStorageStrategy is an experiment that TensorFlow abandoned. Use 'mirrored'.",
}


def strategy(name: str = "auto") -> tf.distribute.Strategy:
    """Returns the tf.distribute strategy of a name, the same object on every call.

    `fit` takes names and strategies in `RunConfig(strategy=...)`; models may be built inside or outside its `scope()`.

    | name | devices |
    |---|---|
    | `"auto"` | the workers of this process's cluster; else all GPUs, where there are 2 or more; else one device |
    | `"cpu"`, `"gpu"` | that one device |
    | `"mirrored"` | all GPUs of this process, or all logical CPUs where there is no GPU |
    | `"multi_worker"` | all workers of TF_CONFIG, SLURM or a Kubernetes indexed Job (see docs/scaling.md) |
    | `"tpu"` | the TPU that the environment names; tested only against fakes |

    Source: https://www.tensorflow.org/guide/distributed_training.

    Args:
        name: a name of the table.

    Returns:
        The strategy; tf.distribute's default one where there is one device.

    Raises:
        ArgumentError: the strategy is one that is not supported, or its devices are missing.
        UnknownNameError: there is no such strategy.
        TrainingError: it is too late for this process to join the other workers.

    Example:
        >>> strategy("cpu").num_replicas_in_sync
        1
    """
    if name in REFUSED:
        checks.refuse(f"strategy must be one of {tuple(KNOWN)}", name, REFUSED[name])
    return KNOWN[checks.known_name("strategy", name, KNOWN)]()


def check_strategy(source: Any) -> Any:
    """Returns a name or a strategy that `fit` supports.

    Raises:
        ArgumentError: the value is neither, or a strategy that is not supported.
        UnknownNameError: there is no strategy of this name.
    """
    if source is None:
        return source
    if isinstance(source, str):
        if source in REFUSED:
            checks.refuse(f"strategy must be one of {tuple(KNOWN)}", source, REFUSED[source])
        return checks.known_name("strategy", source, KNOWN)
    if not isinstance(source, tf.distribute.Strategy):
        checks.refuse("strategy must be a name, a tf.distribute.Strategy or None", source)
    for kind, advice in (
        (tf.distribute.experimental.ParameterServerStrategy, REFUSED["parameter_server"]),
        (tf.distribute.experimental.CentralStorageStrategy, REFUSED["central_storage"]),
    ):
        if isinstance(source, kind):
            checks.refuse("strategy must be one that Keras 3 trains under", kind.__name__, advice)
    return source


def strategy_for(model: keras.Model, source: Any) -> tf.distribute.Strategy:
    """Returns the strategy for a model: the one in whose scope it was built, else the requested one.

    Raises:
        ArgumentError: the two differ, or keras.distribution is on.
    """
    if keras.distribution.distribution() is not None:
        checks.refuse(
            "keras.distribution must be off, since on TensorFlow it shards nothing",
            keras.distribution.distribution(),
            "Call keras.distribution.set_distribution(None) and pass RunConfig(strategy=...).",
        )
    own = model.distribute_strategy
    if own is plain():
        return plain() if source is None else strategy(source) if isinstance(source, str) else source
    requested = source if isinstance(source, tf.distribute.Strategy) else None
    if requested not in (None, own):
        checks.refuse("a model that was built in the scope of a strategy must train under it", type(requested).__name__)
    return check_strategy(own)


@functools.cache
def plain() -> tf.distribute.Strategy:
    """Returns tf.distribute's default strategy for one device, whatever scope the caller is in."""
    with futures.ThreadPoolExecutor(1) as elsewhere:  # a scope belongs to a thread
        return elsewhere.submit(tf.distribute.get_strategy).result()


def _auto() -> tf.distribute.Strategy:
    if worker_startup.has_joined():
        return worker_startup.joined()
    cluster = cluster_from(os.environ)
    if cluster is not None and cluster.size > 1:
        return _multi_worker()
    if scheduler_of(os.environ) == "tpu":
        return _tpu()
    return _mirrored() if len(tf.config.list_physical_devices("GPU")) > 1 else plain()


def _cpu() -> tf.distribute.Strategy:
    return _on_cpu() if tf.config.list_physical_devices("GPU") else plain()


@functools.cache
def _on_cpu() -> tf.distribute.Strategy:
    return tf.distribute.OneDeviceStrategy("/cpu:0")


def _gpu() -> tf.distribute.Strategy:
    if not tf.config.list_physical_devices("GPU"):
        checks.refuse("strategy 'gpu' needs a GPU that TensorFlow sees", "none", "Use 'cpu', or 'auto'.")
    return plain()


@functools.cache
def _mirrored() -> tf.distribute.Strategy:
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    if len(devices) < 2:
        advice = "For several processes run `kerasdl launch --workers 2 -- python train.py`; for one device use 'auto'."
        checks.refuse("strategy 'mirrored' needs 2 devices or more", [device.name for device in devices], advice)
    return tf.distribute.MirroredStrategy([device.name for device in devices])


def _multi_worker() -> tf.distribute.Strategy:
    if worker_startup.has_joined():
        return worker_startup.joined()
    cluster = cluster_from(os.environ)
    if cluster is None:
        advice = "Start the program with `kerasdl launch --workers 2 -- python train.py`, or set TF_CONFIG."
        checks.refuse("strategy 'multi_worker' needs a cluster in the environment", None, advice)
    os.environ.update(environment_of(cluster, os.environ))
    os.environ.pop(worker_startup.VARIABLE, None)  # child processes of a worker are not workers
    return worker_startup.joined()


@functools.cache
def _tpu() -> tf.distribute.Strategy:
    resolver = tf.distribute.cluster_resolver.TPUClusterResolver()
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)


KNOWN: dict[str, Callable[[], tf.distribute.Strategy]] = {
    "auto": _auto,
    "cpu": _cpu,
    "gpu": _gpu,
    "mirrored": _mirrored,
    "multi_worker": _multi_worker,
    "tpu": _tpu,
}
