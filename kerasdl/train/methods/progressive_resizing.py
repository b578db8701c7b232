"""Progressive resizing: training on images of growing size, https://arxiv.org/abs/2104.00298, section 4.

Deviation from the paper: dropout does not grow with the images, since its rate is part of a model.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from kerasdl.core import checks
from kerasdl.core.registry.tasks import Task
from kerasdl.data import Dataset, as_dataset

from ..config import RunConfig
from ..engine.fitting import DEFAULTS, fit
from ..loop.state import Run
from ..optim import schedules
from .stages import Callbacks, open_stages, stage_callbacks, stage_config


def fit_progressively(
    model: keras.Model,
    train: Any,
    sizes: Sequence[int],
    *,
    validation: Any = None,
    augment: Callable[[int], Callable] | None = None,
    loss: Any = None,
    metrics: Sequence | Mapping | None = None,
    callbacks: Callbacks = (),
    task: Task | str | None = None,
    config: RunConfig = DEFAULTS,
) -> Run:
    """Trains a model in place on images of growing size, and returns the run of the last stage.

    The epochs are divided evenly, one stage for each size, under one learning-rate schedule. Small images train fast
    and need less augmentation. Validation uses images of the last size in all stages. Each stage selects its own best
    epoch.

    Source: https://arxiv.org/abs/2104.00298, section 4.

    Args:
        model: a model for images of any size, built with `image_shape=(None, None, channels)`.
        train: as in `fit`, images that can be resized: `kerasdl.data.load(...)`.
        sizes: height and width in pixels, each larger than the one before; 2 or more, and at most one for each epoch.
        validation: data of the same kind, or None.
        augment: function from a size to its augmentation; None takes that of the config for all sizes.
        loss: as in `fit`.
        metrics: as in `fit`.
        callbacks: as in `fit`, for every stage; or a function from the name of a stage ("size64") to its callbacks, as
            trackers need it, since each stage is a run.
        task: as in `fit`.
        config: total epochs and other settings; with a folder, each stage has a subfolder.

    Returns:
        The run of the last stage, whose model is `model`.

    Raises:
        ArgumentError: an argument breaks its rule, or the model takes images of one size only.

    Example:
        >>> net = kerasdl.build("resnet18", image_shape=(None, None, 1), channels=4, stages=(1, 1), classes=10)
        >>> digits = kerasdl.data.load("digits").take(16)
        >>> run = fit_progressively(net, digits, (16, 32), config=RunConfig(epochs=2, batch_size=8, progress="off"))
        >>> run.model is net
        True
    """
    if list(sizes) != sorted(set(sizes)) or not 2 <= len(sizes) <= config.epochs:
        checks.refuse(f"sizes must grow, and be 2 to {config.epochs}, the epochs", tuple(sizes))
    if config.steps is not None:
        checks.refuse("the length of training on growing images must be set by epochs", f"steps={config.steps}")
    if model.input_shape[1:3] != (None, None):
        hint = "Build it with image_shape=(None, None, 3)."
        checks.refuse("a model for growing images must take images of any size", model.input_shape, hint)
    resized_validation = None if validation is None else _resized(validation, sizes[-1])
    ends = [round(config.epochs * (stage + 1) / len(sizes)) for stage in range(len(sizes))]
    names = [f"size{size}" for size in sizes]
    lengths = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
    open_stages(config, dict(zip(names, lengths, strict=True)))
    run = None
    for number, (size, begin, end) in enumerate(zip(sizes, [0, *ends], ends, strict=False)):
        stage = stage_config(
            config,
            number,
            names[number],
            epochs=end - begin,
            schedule=schedules.Stretch(config.schedule, begin / config.epochs, end / config.epochs),
            augment=config.augment if augment is None else augment(size),
        )
        called = stage_callbacks(callbacks, names[number], len(sizes))
        objective = {"loss": loss, "metrics": metrics, "task": task}
        data = _resized(train, size)
        run = fit(model, data, validation=resized_validation, callbacks=called, config=stage, **objective)
    return run


def _resized(source: Any, size: int) -> Dataset:
    data = as_dataset(source)
    return data.prepared((size, size, data.input_shape[-1]), data.scale)
