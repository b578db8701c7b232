"""Data service: other processes decode and augment examples, by tf.data's service, in an order fixed by a seed.

In TensorFlow's own form (`tf.data.experimental.service.distribute`) the order of examples depends on the speed of the
workers, and sharding by elements makes each worker compute all of them. Here server b mod n always computes batch b of
an epoch, each server has its own dispatcher, and the client reads the servers in turn. The result is the batches of
`Dataset.batches`, bit for bit, for any number of servers, also from the middle of an epoch.

The functions that decode and augment are sent as a graph, so they must consist of TensorFlow operations.
"""

import contextlib
import hashlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.core.startup.worker_startup import VARIABLE
from kerasdl.data import Dataset
from kerasdl.data.batching.drawing import augment_seeds, mixed, mixing_seeds, ready
from kerasdl.data.batching.sharding import Share, batch_sizes, parts_of
from kerasdl.data.dataset import FINGERPRINT_EXAMPLES
from kerasdl.data.sources import Examples, collect

from .clusters import NO_PROXY, outside_proxy

PROTOCOL = "grpc"
LOOPBACK = "127.0.0.1"
AHEAD = 2  # batches that each server has ready
READY = "serving data at "
# Variables that make a process a training worker, which a data server is not.
NOT_INHERITED = (VARIABLE, "TF_CONFIG")


@dataclass(frozen=True, eq=False)
class Served:
    """Inputs, labels and decoder of examples that servers decode."""

    inputs: np.ndarray
    """Arguments of `decode`, one for each example."""
    labels: np.ndarray
    """One label for each example."""
    decode: Callable
    """Function from one of the inputs to an input of the model."""
    addresses: tuple[str, ...]
    """Addresses of the servers."""

    def __len__(self) -> int:
        return len(self.labels)


class ServedDataset(Dataset):
    """A `Dataset` whose batches are computed by data servers; made by `served`."""

    def batches(
        self,
        batch_size: int = 32,
        *,
        shuffle: bool = False,
        seed: int = 0,
        epoch: int = 0,
        start: int = 0,
        augment: Callable | None = None,
        mix: Callable | None = None,
        share: Share | None = None,
    ) -> tf.data.Dataset:
        """Returns the batches of `Dataset.batches`; servers decode and augment them, and mixing is done here."""
        checks.at_least("batch_size", batch_size, 1)
        for name, value in {"seed": seed, "epoch": epoch, "start": start}.items():
            checks.at_least(name, value, 0)
        order = np.random.default_rng((seed, epoch)).permutation(self.size) if shuffle else np.arange(self.size)
        seeds = augment_seeds(seed, epoch, self.size)
        of_batches = mixing_seeds(seed, epoch, self.steps(batch_size))[start:]

        def read(positions, size):
            decoded = self._computed(order[positions], seeds[positions], size, augment)
            return decoded if mix is None else mixed(decoded, mix, of_batches)

        if share is None:
            pipeline = read(np.arange(start * batch_size, self.size), batch_size)
        else:
            weights = tf.data.Dataset.from_tensor_slices
            parts = zip(share.parts, parts_of(batch_sizes(self.size, batch_size), start, share), strict=True)
            pairs = [
                (read(part.positions, share.batch_size(number, batch_size)), weights(part.weights))
                for number, part in parts
            ]
            pipeline = tf.data.Dataset.zip(tuple(map(tf.data.Dataset.zip, pairs)))
        return ready(pipeline)

    def _computed(
        self, order: np.ndarray, seeds: np.ndarray, batch_size: int, augment: Callable | None
    ) -> tf.data.Dataset:
        """Returns batches of the examples in `order`: batch b from server b mod n, taken in turn."""
        source, servers = self.source, len(self.source.addresses)
        batch = np.arange(len(order)) // batch_size

        def one(value, label, example_seed):
            inputs = source.decode(value)
            return (inputs if augment is None else tf.ensure_shape(augment(inputs, example_seed), inputs.shape)), label

        parts = []
        for server, address in enumerate(source.addresses):
            mine = batch % servers == server
            picked = order[mine]
            examples = tf.data.Dataset.from_tensor_slices((source.inputs[picked], source.labels[picked], seeds[mine]))
            decoded = examples.map(one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
            _check_tensorflow_only(decoded, "augment")
            parts.append(decoded.batch(batch_size).prefetch(AHEAD).apply(_from_server(address)).prefetch(AHEAD))
        turns = tf.data.Dataset.range(servers).repeat()
        merged = tf.data.Dataset.choose_from_datasets(parts, turns, stop_on_empty_dataset=False)
        # Counted, since a client checks for the end of a server's data only once a second.
        return merged.take(-(-len(order) // batch_size))

    def fingerprint(self) -> str:
        """Returns a short digest of labels and a few inputs, by which a run recognises its data."""
        few = np.unique(np.linspace(0, self.size - 1, FINGERPRINT_EXAMPLES).astype(int))
        parts = [self.source.labels.tobytes(), np.ascontiguousarray(self.source.inputs[few]).tobytes()]
        return hashlib.sha256(b"".join(parts)).hexdigest()[:16]

    def _read_first(self, count: int) -> Examples:
        return collect(self.batches(min(count, 256)).unbatch().take(count))


def served(
    inputs: Any,
    labels: Any,
    decode: Callable,
    addresses: Sequence[str],
    *,
    name: str = "served",
    task: str = "unknown",
    class_names: tuple[str, ...] = (),
) -> Dataset:
    """Returns a dataset whose examples other processes decode and augment, for training that waits for its input.

    `fit` takes it like any `Dataset`: the order of an epoch depends on the seed alone, a killed run continues in the
    middle of an epoch, and with several training workers each part of a batch is computed once.

    Source: https://www.tensorflow.org/api_docs/python/tf/data/experimental/service.

    Args:
        inputs: arguments of `decode`, an array with one entry for each example, such as paths of files. The servers
            must find the files under the same paths. The entries of an epoch are sent to each server, at most 2 GB.
        labels: an array with one label for each example.
        decode: function from one entry to an input of the model, made of TensorFlow operations.
        addresses: `host:port` of each server, from `data_servers` or `kerasdl data-service`.
        name: name of the data in messages.
        task: meaning of the labels, as in `Dataset.task`.
        class_names: the name of each class, in the order of the labels.

    Returns:
        A Dataset with batches (inputs (B, *shape of a decoded input), labels (B, ...)).

    Raises:
        ArgumentError: an argument breaks its rule, or `decode` contains Python code, which cannot be sent.
        DataError: there are no examples, or inputs and labels differ in number.

    Example:
        >>> data = served(np.arange(6), np.arange(6) % 2, lambda k: tf.one_hot(k, 6), ["node7:5050", "node8:5050"])
        >>> data.input_shape, data.steps(4)
        ((6,), 2)
    """
    inputs, labels = np.asarray(inputs), np.asarray(labels)
    if not inputs.ndim or not labels.ndim or len(inputs) != len(labels) or len(inputs) == 0:
        lengths = [len(part) if part.ndim else "no length" for part in (inputs, labels)]
        raise DataError(f"inputs and labels must have one length, 1 or more; got {lengths[0]} and {lengths[1]}.")
    if isinstance(addresses, str) or not addresses or not all(":" in str(address) for address in addresses):
        checks.refuse("addresses must list host:port of one server or more", addresses)
    narrow = {np.dtype("float64"): "float32", np.dtype("int64"): "int32"}
    labels = labels.astype(narrow.get(labels.dtype, labels.dtype))
    os.environ[NO_PROXY] = outside_proxy(list(map(str, addresses)), os.environ)
    spec = _spec_of(decode, inputs)
    return ServedDataset(
        name=name,
        task=task,
        class_names=tuple(class_names),
        input_shape=tuple(spec.shape),
        input_dtype=spec.dtype.name,
        size=len(inputs),
        licence="not stated",
        seekable=True,
        scale=None,
        source=Served(inputs, labels, decode, tuple(map(str, addresses))),
    )


def serve_data(port: int = 5050, host: str | None = None) -> None:
    """Serves data until the process ends; prints its address first.

    The service has no authentication and listens on every network of the machine: anyone who reaches the ports can run
    graphs there. Use it on private networks only.

    Args:
        port: the TCP port, 1024 to 65534; the next one is used too.
        host: the name under which trainers reach this machine; None takes the machine's own.

    Raises:
        ArgumentError: `port` breaks its rule.
        DataError: a port is in use.

    Example:
        >>> serve_data(80)
        Traceback (most recent call last):
        kerasdl.core.errors.ArgumentError: port must be an integer of 1024 or more; got 80.
    """
    checks.within("port", checks.at_least("port", port, 1024), 1024, 65_534)
    servers = _serving(port, host or socket.gethostname())
    with contextlib.closing(servers):
        print(READY + next(servers), flush=True)
        threading.Event().wait()


@contextlib.contextmanager
def data_servers(count: int = 1) -> Iterator[tuple[str, ...]]:
    """Starts data servers on this machine for the duration of a `with` block.

    If a server dies, the process ends with exit code 1 and one line, since TensorFlow would wait for it forever. Under
    `kerasdl launch`, a run with a folder then continues.

    Args:
        count: number of processes, 1 or more.

    Returns:
        A context manager that yields `host:port` of each server.

    Raises:
        ArgumentError: `count` breaks its rule.
        DataError: a server did not start.

    Example:
        >>> with data_servers(1) as addresses:
        ...     len(addresses)
        1
    """
    checks.at_least("count", count, 1)
    processes = [_start_server() for _ in range(count)]
    closing = threading.Event()
    try:
        addresses = tuple(map(_address_of, processes))
        for number, process in enumerate(processes):
            threading.Thread(target=_end_with, args=(process, number, closing), daemon=True).start()
        yield addresses
    finally:
        closing.set()
        for process in processes:
            process.stdin.close()
            process.kill()
            process.wait()
            process.stdout.close()


def serve_until_orphaned() -> None:
    """Serves data as a child process of `data_servers`, until the parent closes the pipe or ends."""
    for address in _serving(0, LOOPBACK):
        print(READY + address, flush=True)
        sys.stdin.read()
        os._exit(0)


def _from_server(address: str) -> Callable:
    # One server and no sharding: the only mode in which the service keeps the order.
    service = tf.data.experimental.service
    return service.distribute(service.ShardingPolicy.OFF, f"{PROTOCOL}://{address}", max_outstanding_requests=AHEAD)


def _spec_of(decode: Callable, inputs: np.ndarray) -> tf.TensorSpec:
    traced = tf.data.Dataset.from_tensor_slices(inputs[:1]).map(decode)
    _check_tensorflow_only(traced, "decode")
    spec = traced.element_spec
    if not isinstance(spec, tf.TensorSpec) or not spec.shape.is_fully_defined():
        checks.refuse("decode must give one tensor of a known shape", spec, "Call tf.ensure_shape at its end.")
    return spec


def _check_tensorflow_only(mapped: tf.data.Dataset, name: str) -> None:
    graph = mapped._map_func.function.graph.as_graph_def()  # no public way to the operations of a pipeline
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    if any("PyFunc" in node.op for node in nodes):
        advice = "numpy_function and py_function stay in their process."
        checks.refuse(f"{name} must be of TensorFlow operations alone", "Python code", advice)


def _serving(port: int, host: str) -> Iterator[str]:
    """Yields the address of a dispatcher with one worker, and keeps both alive."""
    service = tf.data.experimental.service
    os.environ[NO_PROXY] = outside_proxy([f"{LOOPBACK}:{port}"], os.environ)
    try:
        dispatcher = service.DispatchServer(service.DispatcherConfig(port=port, protocol=PROTOCOL))
        own = int(dispatcher.target.rpartition(":")[2])
        worker = service.WorkerServer(
            service.WorkerConfig(
                dispatcher_address=f"{LOOPBACK}:{own}",
                worker_address=f"{host}:%port%",  # filled in by TensorFlow
                port=port and port + 1,
                protocol=PROTOCOL,
            )
        )
    except (tf.errors.OpError, RuntimeError) as error:
        raise DataError(f"ports {port} and {port + 1} cannot be served: {error}. Choose others.") from None
    yield f"{host}:{own}"
    del worker, dispatcher


def _start_server() -> subprocess.Popen:
    environ = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    environ |= {"CUDA_VISIBLE_DEVICES": ""}  # GPU memory belongs to the training process
    code = "from kerasdl.train.distribute.data_service import serve_until_orphaned as serve; serve()"
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _address_of(process: subprocess.Popen) -> str:
    for line in process.stdout:
        if line.startswith(READY):
            return line.removeprefix(READY).strip()
    raise DataError(f"a data server ended with exit code {process.wait()} before it served. Run: kerasdl data-service")


def _end_with(process: subprocess.Popen, number: int, closing: threading.Event) -> None:
    code = process.wait()
    if not closing.is_set():
        print(f"error: data server {number} ended with exit code {code}; so does this process.", file=sys.stderr)
        sys.stderr.flush()
        os._exit(1)
