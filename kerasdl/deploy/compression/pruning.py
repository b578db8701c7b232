"""Pruning of weights by magnitude while a model trains: Zhu and Gupta, "To prune, or not to prune"
(https://arxiv.org/abs/1710.01878); 2:4 as in Mishra et al., "Accelerating Sparse Deep Neural Networks"
(https://arxiv.org/abs/2104.08378). TFMOT does the pruning, the bridge brings Keras 3 models to it and back.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tf_keras

from kerasdl.core import checks
from kerasdl.core.errors import TrainingError
from kerasdl.core.model_carrier import takes_carriers
from kerasdl.core.registry.tasks import Task
from kerasdl.data import Dataset, as_dataset
from kerasdl.train import RunConfig

from ..keras2.bridge import Bridge
from ..keras2.layer_names import layer_filter
from ..tfmot import PruneLowMagnitude, tfmot
from .wrapper_training import FINE_TUNING, train_wrapped, wrappers_of

PATTERNS = {  # by pattern, the layers whose kernels TFMOT prunes in it
    "unstructured": ("Dense", "Embedding", "Conv1D", "Conv2D", "Conv3D", "Conv2DTranspose", "Conv3DTranspose"),
    "2:4": ("Dense", "Conv2D"),
    "block": ("Dense",),
}
UPDATES = 50  # how often masks change; each time sorts every kernel
SLACK = 0.02  # TFMOT rounds the count of zeros, to whole blocks where it prunes in blocks
SETTLED_AT = 0.7  # share of the run after which the sparsity stays, so that the rest can recover


@takes_carriers
def prune(
    model: keras.Model,
    train: Any,
    sparsity: float = 0.5,
    *,
    pattern: str = "unstructured",
    schedule: str = "polynomial",
    layers: Sequence[str] | None = None,
    block_size: tuple[int, int] = (4, 4),
    validation: Any = None,
    epochs: int | None = None,
    loss: Any = None,
    metrics: Sequence | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    task: Task | str | None = None,
    config: RunConfig = FINE_TUNING,
) -> keras.Model:
    """Fine-tunes a trained model while its smallest weights become zero, and returns a Keras 3 model.

    Zeros make a compressed file smaller. They hardly make a model faster, as runtimes multiply by them all the same:
    for speed use `prune_channels`.

    Args:
        model: a functional or Sequential Keras 3 model, trained, or a bundle of one, which prepares the data as
            `Bundle.finetune` does; it stays as it is.
        train: what `kerasdl.train.fit` takes, as are `validation`, `loss`, `metrics`, `callbacks` and `task`; its
            length must be known.
        sparsity: the share of zeros in each pruned kernel, above 0 and below 1; "2:4" always has 0.5.
        pattern: "unstructured"; "2:4", two zeros in each four weights that follow one another along the inputs of a
            dense layer or 2D convolution; "block", whole blocks of dense kernels. Kernels that do not
            divide into whole groups or blocks stay as they are.
        schedule: "polynomial" grows the share of zeros over the first 70 % of the run; "constant" prunes at once.
        layers: names of the layers to prune; None takes all that the pattern fits and that are not frozen. Kernels
            of depthwise convolutions are never pruned.
        block_size: (inputs, outputs) of a block.
        epochs: how long to train, `config.epochs` if None.
        config: the settings of the run. The last epoch counts, not the best: early ones are not pruned yet.

    Returns:
        A Keras 3 model of the same structure, with the zeros in its kernels; of a bundle a bundle.

    Raises:
        ArgumentError: an argument breaks its rule, or no layer can be pruned.
        ExportError: a layer cannot be brought to tf_keras.
        TrainingError: the loss or its gradient is not finite any more.

    Example:
        >>> quiet = RunConfig(epochs=1, progress="off")
        >>> pruned = prune(model, (x, y), 0.7, task="image_classification", config=quiet)
        >>> bool(np.mean(pruned.get_layer("head").kernel == 0) > 0.69)
        True
    """
    checks.one_of("pattern", pattern, tuple(PATTERNS))
    checks.one_of("schedule", schedule, ("polynomial", "constant"))
    if not 0 < sparsity < 1:
        checks.refuse("sparsity must be above 0 and below 1", sparsity)
    if pattern == "2:4" and sparsity != 0.5:
        checks.refuse("the pattern '2:4' has a sparsity of 0.5", sparsity)
    config = config if epochs is None else dataclasses.replace(config, epochs=epochs)
    train = as_dataset(train)
    growth = _growth(schedule, sparsity, _steps_of(train, config))
    shape = {"2:4": {"sparsity_m_by_n": (2, 4)}, "block": {"block_size": block_size}}.get(pattern, {})

    is_chosen = layer_filter(model, layers)

    def wrap(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        applies = type(layer).__name__ in PATTERNS[pattern] and is_chosen(layer) and _fits(layer, shape)
        return PruneLowMagnitude(layer, growth, **shape) if applies else layer

    def start(bridged: Bridge) -> None:
        for wrapper in wrappers_of(bridged, PruneLowMagnitude):
            wrapper.pruning_step.assign(0)

    def finish(bridged: Bridge) -> None:
        for wrapper in wrappers_of(bridged, PruneLowMagnitude):
            wrapper.pruning_obj.weight_mask_op()
            for kernel, mask, _ in wrapper.pruning_vars:
                reached = 1 - float(np.mean(mask.numpy()))
                if reached < sparsity - max(SLACK, 1 / kernel.numpy().size):
                    raise TrainingError(
                        f"{wrapper.layer.name} must end with a share of {sparsity:g} zeros; got {reached:.3f}, as the "
                        "run ended before its schedule. Train without patience=, or with schedule='constant'."
                    )

    identity = {"sparsity": sparsity, "pattern": pattern, "schedule": schedule, "layers": layers, **shape}
    settings = {"validation": validation, "loss": loss, "metrics": metrics, "callbacks": callbacks, "task": task}
    return train_wrapped(model, train, wrap, start, finish, identity=identity, config=config, **settings)


def _fits(layer: tf_keras.layers.Layer, shape: dict[str, tuple[int, int]]) -> bool:
    """Tells whether a kernel divides into whole groups or blocks; one of 3 input channels does not."""
    if not shape:
        return True
    inputs, outputs = layer.get_weights()[0].shape[-2:]
    if "sparsity_m_by_n" in shape:
        return inputs % 4 == 0
    height, width = shape["block_size"]
    several = inputs > height and outputs > width  # TFMOT fails where there is but one block along a side
    return several and inputs % height == 0 and outputs % width == 0


def _growth(schedule: str, sparsity: float, steps: int) -> Any:
    frequency = max(1, steps // UPDATES)
    end = 1 + int(SETTLED_AT * (steps - 1) / frequency) * frequency
    if schedule == "constant" or end == 1:
        return tfmot.sparsity.keras.ConstantSparsity(sparsity, begin_step=1, frequency=frequency)
    return tfmot.sparsity.keras.PolynomialDecay(0.0, sparsity, begin_step=1, end_step=end, frequency=frequency)


def _steps_of(train: Dataset, config: RunConfig) -> int:
    length = config.steps_per_epoch or train.steps(config.batch_size)
    if config.steps is None and length is None:
        checks.refuse("pruning needs to know how long it trains", "data of unknown length", "Set config.steps.")
    return config.steps or length * config.epochs
