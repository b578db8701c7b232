"""Settings of a training run: `RunConfig`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences
from kerasdl.core.keywords import explained

from .distribute import strategies
from .loop.settings import REMEDIES, LoopConfig
from .optim import schedules
from .optim.optimizers import OPTIMIZERS

CLIPPING = ("clip_norm", "clip_each_norm", "clip_value")


@explained(lambda: REMEDIES)
@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class RunConfig(LoopConfig):
    """Settings of a run of `fit`: optimizer, schedule, data order, averages, precision, strategy, length and folder.

    Example:
        >>> RunConfig(epochs=5, schedule="cosine", clip_norm=1.0).batch_size
        32
    """

    NOT_PART_OF_THE_RESULT: ClassVar = (*LoopConfig.NOT_PART_OF_THE_RESULT, "strategy", "remat", "cache_features")

    steps_per_epoch: int | None = None
    """Updates in an epoch, at most a pass through the data; the next epoch continues where this one stopped. None takes
    the length of the data; endless data need a number."""
    validation_steps: int | None = None
    """Number of validation batches, from the first one; None takes all, or one pass of data that end in `repeat()`.
    Other endless data need a number."""
    batch_size: int = 32
    """Examples in a batch, for unbatched data."""
    shuffle: bool = True
    """True if the training data are shuffled anew in each epoch."""
    seed: int = 0
    """Seed of the order and of the augmentation."""
    augment: Callable | None = None
    """Function from (image, seed) to an image, applied to training data only."""
    mix: Callable | None = None
    """Function from (images, labels, seed) to a mixed batch, such as `data.augment.Mixup(classes=10)`, applied to
    training data only. Labels become probabilities of the classes, and the loss is adapted to them."""
    optimizer: str | keras.optimizers.Optimizer | None = None
    """A name, or a Keras optimizer whose settings are copied (its state is not). None takes the one with which the user
    compiled the model, else AdamW."""
    learning_rate: float | None = None
    """Highest learning rate of the run; None takes the optimizer's own."""
    momentum: float | None = None
    """Momentum of the optimizers that have it (sgd, rmsprop); None takes the optimizer's own."""
    weight_decay: float | None = None
    """Decoupled weight decay; None takes the optimizer's own."""
    schedule: Any = "constant"
    """A name or an object of `kerasdl.train.schedules` (`"cosine"`, `"one_cycle"`, ...; `"noam"` replaces
    the rate), or a Keras schedule."""
    decay_exempt: bool = False
    """True if norms, biases and other vectors are exempt from weight decay; see `exempt_from_decay`."""
    clip_norm: float | None = None
    """Highest global norm of the gradients; larger gradients are scaled down to it."""
    clip_each_norm: float | None = None
    """Highest norm of the gradient of each weight; larger ones are scaled down to it."""
    clip_value: float | None = None
    """Largest absolute value in a gradient; larger values are clipped."""
    label_smoothing: float = 0.0
    """Share of the label probability spread evenly over all classes, from 0 to below 1, in both losses."""
    class_weights: Mapping[int, float] | str | None = None
    """Weight of each class in the loss, or `"balanced"` for examples / (classes * examples of the class)."""
    accumulation: int = 1
    """Gradient accumulation: micro-batches into which each batch is cut; their summed gradients make one update."""
    ema: float | None = None
    """Decay of an exponential moving average of the weights, such as 0.999; it is validated, saved and returned."""
    swa: float | None = None
    """Share of the run after which the weights at the end of each epoch are averaged; the run ends with the average."""
    remat: bool | int = False
    """Gradient checkpointing: whether, or in how many segments, activations are recomputed to save memory."""
    cache_features: bool = True
    """True if the outputs of frozen layers are computed once for each example, not in every epoch, where they are the
    same in each; the run reports it, or the reason against it."""
    strategy: Any = "auto"
    """Distribution strategy: a name for `kerasdl.train.strategy`, or a strategy; None for one device."""
    jit_compile: bool | str = "auto"
    """True if XLA compiles the update; `"auto"` leaves the choice to Keras, which does on one GPU and not on CPUs."""
    mixed_precision: str | None = None
    """`"bfloat16"` or `"float16"` (GPU only): layers compute in 16 bits; weights and outputs stay float32."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("batch_size", "accumulation"):
            checks.at_least(name, getattr(self, name), 1)
        for name in ("steps_per_epoch", "validation_steps"):
            if getattr(self, name) is not None:
                checks.at_least(name, getattr(self, name), 1, "None leaves it out.")
        checks.at_least("seed", self.seed, 0)
        highest = {"learning_rate": 1e6, "momentum": 1.0, "weight_decay": 1e6}
        highest |= {**dict.fromkeys(CLIPPING, 1e12), "ema": 0.999999, "swa": 0.999}
        for name, high in highest.items():
            if getattr(self, name) is not None:
                checks.within(name, getattr(self, name), 0.0, high, "None leaves it out.")
        clipping = {name: getattr(self, name) for name in CLIPPING if getattr(self, name) is not None}
        if len(clipping) > 1:
            checks.refuse(f"at most one of {CLIPPING} must be given", clipping)
        for name, value in clipping.items():
            if value == 0:
                checks.refuse(f"{name} must be above 0", value, "None leaves gradients as they are.")
        checks.within("label_smoothing", self.label_smoothing, 0.0, 0.999)
        checks.one_of("cache_features", self.cache_features, (True, False))
        checks.one_of("jit_compile", self.jit_compile, (True, False, "auto"))
        strategies.check_strategy(self.strategy)
        if not isinstance(self.remat, bool):
            checks.at_least("remat", self.remat, 2, "True chooses the number of segments.")
        if self.swa is not None and self.ema is not None:
            checks.refuse("ema and swa must not both be given", (self.ema, self.swa))
        checks.one_of("mixed_precision", self.mixed_precision, (None, "bfloat16", "float16"))
        self._check_compound()

    def _check_compound(self):
        if isinstance(self.optimizer, str):
            checks.known_name("optimizer", self.optimizer, OPTIMIZERS, "Or pass a Keras optimizer.")
        elif not isinstance(self.optimizer, (keras.optimizers.Optimizer, type(None))):
            checks.refuse("optimizer must be a name or a Keras optimizer", self.optimizer)
        schedules.as_schedule(self.schedule)
        if isinstance(self.class_weights, str):
            checks.one_of("class_weights", self.class_weights, ("balanced",), "Or pass a dict from class to weight.")

    def why_length_is_fixed(self) -> str | None:
        """Returns the reason why a finished run cannot continue for more epochs; None where it can."""
        if self.swa is not None:
            return "swa begins at a share of the run"
        if schedules.follows_length(self.schedule):
            return "its schedule follows from the length of the run"
        return super().why_length_is_fixed()
