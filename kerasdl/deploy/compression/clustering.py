"""Weight sharing: kernels of few different values, which compress well. Han et al., "Deep Compression"
(https://arxiv.org/abs/1510.00149), section 3. TFMOT finds and trains the values.
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import keras
import tf_keras

from kerasdl.core import checks
from kerasdl.core.model_carrier import takes_carriers
from kerasdl.core.registry.tasks import Task
from kerasdl.train import RunConfig

from ..keras2.bridge import Bridge
from ..keras2.layer_names import layer_filter
from ..tfmot import ClusterWeights
from .wrapper_training import FINE_TUNING, train_wrapped, wrappers_of

KINDS = (tf_keras.layers.Dense, tf_keras.layers.Conv1D, tf_keras.layers.Conv2D, tf_keras.layers.Conv3D)


@takes_carriers
def cluster(
    model: keras.Model,
    train: Any,
    clusters: int = 16,
    *,
    preserve_sparsity: bool = False,
    layers: Sequence[str] | None = None,
    validation: Any = None,
    epochs: int | None = None,
    loss: Any = None,
    metrics: Sequence | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    task: Task | str | None = None,
    config: RunConfig = FINE_TUNING,
) -> keras.Model:
    """Fine-tunes a trained model while each kernel takes few different values, and returns a Keras 3 model.

    Args:
        model: a functional or Sequential Keras 3 model, trained, or a bundle of one, which prepares the data as
            `Bundle.finetune` does; it stays as it is.
        train: what `kerasdl.train.fit` takes, as are `validation`, `loss`, `metrics`, `callbacks` and `task`.
        clusters: the number of different values that a kernel may have, 2 or more; 3 or more where zeros are kept.
        preserve_sparsity: whether zeros of a pruned model stay zero.
        layers: names of the layers to cluster; None takes all dense layers and convolutions except frozen and depthwise
            ones.
        epochs: how long to train, `config.epochs` if None.
        config: the settings of the run; the last epoch counts, not the best.

    Returns:
        A Keras 3 model of the same structure, each of its kernels with at most `clusters` different values; of a
            bundle a bundle.

    Raises:
        ArgumentError: an argument breaks its rule, or no layer can be clustered.
        ExportError: a layer cannot be brought to tf_keras.
        TrainingError: the loss or its gradient is not finite any more.

    Example:
        >>> quiet = RunConfig(epochs=1, progress="off")
        >>> clustered = cluster(model, (x, y), 8, task="image_classification", config=quiet)
        >>> len(np.unique(clustered.get_layer("head").kernel)) <= 8
        True
    """
    checks.at_least("clusters", clusters, 3 if preserve_sparsity else 2)

    is_chosen = layer_filter(model, layers)

    def wrap(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        applies = (
            type(layer) in KINDS and is_chosen(layer) and int(tf_keras.backend.count_params(layer.kernel)) > clusters
        )
        return ClusterWeights(layer, clusters, preserve_sparsity=preserve_sparsity) if applies else layer

    def finish(bridged: Bridge) -> None:
        for wrapper in wrappers_of(bridged, ClusterWeights):
            wrapper.update_clustered_weights_associations()
            for name, weight in wrapper.original_clusterable_weights.items():
                weight.assign(wrapper.get_weight_from_layer(name))

    settings = {"validation": validation, "loss": loss, "metrics": metrics, "callbacks": callbacks, "task": task}
    config = config if epochs is None else dataclasses.replace(config, epochs=epochs)
    identity = {"clusters": clusters, "preserve_sparsity": preserve_sparsity, "layers": layers}
    start = partial(wrappers_of, kind=ClusterWeights)
    return train_wrapped(model, train, wrap, start, finish, identity=identity, config=config, **settings)
