"""Settings of the training loop: length, monitoring, the folder of the run and the display."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import keras

from kerasdl.core import checks
from kerasdl.core.display.settings import short_repr, with_field_sentences
from kerasdl.core.keywords import explained

REMEDIES = {
    **dict.fromkeys(("lr", "max_lr", "base_lr"), "Did you mean 'learning_rate'?"),
    **dict.fromkeys(("num_epochs", "max_epochs", "n_epochs", "num_train_epochs"), "Did you mean 'epochs'?"),
    **dict.fromkeys(("max_steps", "num_steps"), "Did you mean 'steps'?"),
    **dict.fromkeys(("bs", "per_device_train_batch_size"), "Did you mean 'batch_size'?"),
    **dict.fromkeys(("scheduler", "lr_scheduler", "lr_schedule"), "Did you mean 'schedule'?"),
    **dict.fromkeys(("output_dir", "log_dir", "checkpoint_dir", "save_dir"), "Did you mean 'folder'?"),
    **dict.fromkeys(("amp", "fp16", "bf16", "precision", "dtype"), "Did you mean 'mixed_precision'?"),
    **dict.fromkeys(("gradient_accumulation_steps", "grad_accum"), "Did you mean 'accumulation'?"),
    **dict.fromkeys(("max_grad_norm", "global_clipnorm"), "Did you mean 'clip_norm'?"),
    "clipnorm": "Did you mean 'clip_each_norm'?",
    "clipvalue": "Did you mean 'clip_value'?",
    "class_weight": "Did you mean 'class_weights'?",
    "early_stopping": "Pass patience=, the epochs without improvement.",
    "verbose": 'Pass progress="off" for silence.',
    **dict.fromkeys(
        ("loss", "metrics", "callbacks", "validation", "validation_data", "task"),
        "Pass loss, metrics, callbacks, validation and task to fit itself.",
    ),
}
"""Remedy for settings that do not exist, by their name in other libraries."""


@explained(lambda: REMEDIES)
@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class LoopConfig:
    """Settings that `run_steps` reads: length of a run, monitoring, folder and display.

    Example:
        >>> LoopConfig(epochs=5, patience=2).restore_best
        True
    """

    NOT_PART_OF_THE_RESULT: ClassVar = (
        "folder",
        "resume",
        "save_every",
        "save_seconds",
        "tensorboard",
        "progress",
        "stage",
        "steps_per_execution",
    )

    epochs: int = 10
    """Number of passes through the data, unless `steps` sets the length. A finished run in a folder continues when this
    number is raised."""
    steps: int | None = None
    """Number of updates in the whole run; replaces `epochs`."""
    steps_per_execution: int | None = None
    """Updates in one compiled call; None times a few and chooses several where Python overhead would be large."""
    monitor: tuple[str, str] | None = None
    """The figure that selects the best epoch, and `"max"` or `"min"`; None takes the task's, with validation."""
    patience: int | None = None
    """Epochs without improvement after which the run stops early; None never stops it."""
    min_delta: float = 0.0
    """Smallest change of the monitored figure that early stopping counts as improvement."""
    restore_best: bool = True
    """True if the model ends with the weights of its best epoch rather than of its last."""
    folder: str | Path | None = None
    """Folder of the run, from which it continues after it was killed; None writes nothing."""
    resume: bool = True
    """True if a run in the folder continues; False removes it and starts a new one."""
    save_every: int | None = None
    """Updates between checkpoints inside an epoch, in addition to the one at the end of each epoch."""
    save_seconds: float | None = 300.0
    """Seconds between checkpoints inside an epoch; None leaves them to `save_every`."""
    tensorboard: bool = False
    """True if the figures of each epoch are written for TensorBoard too."""
    progress: str = "auto"
    """`"auto"` shows a live display on a terminal and plain lines elsewhere; `"off"` prints nothing."""
    stage: tuple[int, str] | None = None
    """Number, from 0, and name of the stage of a training that this run is; progress lines begin with the name."""

    __repr__ = short_repr

    def __post_init__(self):
        checks.at_least("epochs", self.epochs, 1)
        for name in ("steps", "patience", "save_every", "steps_per_execution"):
            if getattr(self, name) is not None:
                checks.at_least(name, getattr(self, name), 1, "None leaves it out.")
        if self.save_seconds is not None:
            checks.within("save_seconds", self.save_seconds, 0.0, 1e9, "None leaves it out.")
        checks.within("min_delta", self.min_delta, 0.0, 1e12)
        checks.one_of("progress", self.progress, ("auto", "off"))
        if self.monitor is not None:
            rule = 'monitor must be a pair such as ("val_accuracy", "max")'
            if not isinstance(self.monitor, (tuple, list)) or len(self.monitor) != 2:
                checks.refuse(rule, self.monitor)
            if self.monitor[1] not in ("max", "min"):
                checks.refuse(rule, self.monitor, 'The second part is "max" or "min".')

    def why_length_is_fixed(self) -> str | None:
        """Returns the reason why a finished run cannot continue for more epochs; None where it can."""
        return None if self.steps is None else "steps sets its length"

    def describe(self) -> dict[str, Any]:
        """Returns the settings on which the result of the run depends, as plain values for JSON."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: plain_values(value) for name, value in fields.items() if name not in self.NOT_PART_OF_THE_RESULT}


def plain_values(value: Any) -> Any:
    """Returns settings as plain values for JSON, optimizers, schedules, functions and nested settings included."""
    if isinstance(value, (keras.optimizers.Optimizer, keras.optimizers.schedules.LearningRateSchedule)):
        inner = {"inner_optimizer": value.inner_optimizer} if hasattr(value, "inner_optimizer") else {}
        settings = {key: plain_values(part) for key, part in {**value.get_config(), **inner}.items() if key != "name"}
        return {"class": type(value).__name__, **settings}
    if dataclasses.is_dataclass(value):
        parts = {field.name: plain_values(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {"class": type(value).__name__, **parts}
    if isinstance(value, Mapping):
        return {str(key): plain_values(part) for key, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain_values(part) for part in value]
    if callable(value):
        code = getattr(value, "__code__", None)
        body = hashlib.sha256(code.co_code + repr(code.co_names).encode()).hexdigest()[:8] if code else ""
        return f"{getattr(value, '__qualname__', type(value).__qualname__)} {body}".rstrip()
    return value.item() if hasattr(value, "item") else value
