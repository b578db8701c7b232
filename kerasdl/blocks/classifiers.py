"""Classification tasks shared by all families: one label an example, and several."""

from collections.abc import Callable

import keras

from kerasdl.core import Task
from kerasdl.core.outputs.decoding import decode_classes, decode_labels

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


def multi_label_task(
    name: str,
    *,
    module: str,
    check: Callable,
    preprocess: Callable,
    preprocess_layers: Callable,
    example: Callable,
    seen_in: str,
    ready: Callable | None = None,
) -> Task:
    """Returns a task of independent labels: a sigmoid and a cross-entropy for each, monitored by average precision.

    Args:
        name: the task's name.
        module: the module that registers it, `__name__` there.
        check: as in `Task`.
        preprocess: as in `Task`.
        preprocess_layers: as in `Task`.
        example: as in `Task`; of each label 0 or 1.
        seen_in: words for the model card after "names all that", such as `an image shows`.
        ready: as in `Task`.

    Returns:
        The task, which the caller registers.

    Example:
        >>> parts = dict(check=print, preprocess=print, preprocess_layers=print, example=print)
        >>> multi_label_task("sounds", module="mine", seen_in="a sound has", **parts).activation
        'sigmoid'
    """
    return Task(
        name=name,
        module=module,
        loss=lambda: keras.losses.BinaryCrossentropy(from_logits=True),
        metrics=_label_metrics,
        monitor=("val_average_precision", "max"),
        check=check,
        preprocess=preprocess,
        preprocess_layers=preprocess_layers,
        decode=decode_labels,
        replace_head=replace_head,
        example=example,
        activation="sigmoid",
        summary=f"names all that {seen_in}",
        ready=ready,
        limits="It knows the labels above and nothing else: in any other input it still finds some of them, or none.",
    )


def _label_metrics() -> list[keras.metrics.Metric]:
    # Over logits: 0 is a probability of one half.
    return [
        keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy"),
        keras.metrics.AUC(curve="PR", multi_label=True, from_logits=True, name="average_precision"),
    ]
