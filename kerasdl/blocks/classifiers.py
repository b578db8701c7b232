"""Classification task shared by all families."""

from collections.abc import Callable

import keras

from kerasdl.core import Task
from kerasdl.core.outputs.decoding import decode_classes

from .heads import replace_head


def classification_task(
    name: str,
    *,
    module: str,
    check: Callable,
    preprocess: Callable,
    preprocess_layers: Callable,
    example: Callable,
    summary: str = "",
    ready: Callable | None = None,
) -> Task:
    """Returns a task of single-label classification: cross-entropy over logits, monitored by accuracy.

    Args:
        name: the task's name.
        module: the module that registers it, `__name__` there.
        check: as in `Task`.
        preprocess: as in `Task`.
        preprocess_layers: as in `Task`.
        example: as in `Task`.
        summary: as in `Task`.
        ready: as in `Task`.

    Returns:
        The task, which the caller registers.

    Example:
        >>> parts = dict(check=print, preprocess=print, preprocess_layers=print, example=print)
        >>> classification_task("sound_classification", module="mine", **parts).monitor
        ('val_accuracy', 'max')
    """
    return Task(
        name=name,
        module=module,
        loss=lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=lambda: [keras.metrics.SparseCategoricalAccuracy(name="accuracy")],
        monitor=("val_accuracy", "max"),
        check=check,
        preprocess=preprocess,
        preprocess_layers=preprocess_layers,
        decode=decode_classes,
        replace_head=replace_head,
        example=example,
        activation="softmax",
        summary=summary,
        ready=ready,
        limits="It knows the labels above and nothing else: any other input still gets one of them.",
    )
