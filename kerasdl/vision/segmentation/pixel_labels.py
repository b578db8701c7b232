"""Labels of the pixels of a batch of images, checked against the logits."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.data import Dataset, DataWarning
from kerasdl.data.trees import unpacked
from kerasdl.train.objectives.label_checks import demand

IGNORED = 255
LOOKED_AT = 4
"""Batches of a pipeline that are read before a run."""
HINT = (
    'Labels are maps of classes (B, H, W), or {"semantic": maps}; kerasdl.data.load(..., labels="semantic") has them.'
)


def checked_labels(y: Any, size: Any, logits: Any, *, multi_label: bool = False) -> tuple[Any, Any]:
    """Returns labels (B, H, W), or (B, H, W, K), int32 of the size of the logits, and the weights of pixels or None.

    Args:
        y: labels of a batch, as `Segmenter` learns from.
        size: (height, width) of the images.
        logits: (B, h, w, K), or probabilities.
        multi_label: whether classes overlap.

    Raises:
        ArgumentError: the labels have another form.
        DataError: a class is none of K; in a graph it is checked as it runs.
    """
    if isinstance(y, Mapping) and "semantic" not in y:
        checks.refuse("labels of a segmenter must have semantic", sorted(y), HINT)
    labels = tf.convert_to_tensor(y["semantic"] if isinstance(y, Mapping) else y)
    is_flat = labels.shape.rank == 4 and labels.shape[-1] == 1 and not multi_label
    labels = tf.squeeze(labels, -1) if is_flat else labels
    fits = labels.shape.rank == 4 and labels.shape[-1] == logits.shape[-1] if multi_label else labels.shape.rank == 3
    if not fits or not (labels.dtype.is_integer or labels.dtype.is_bool or labels.dtype.is_floating):
        form = f"(B, H, W, {logits.shape[-1]})" if multi_label else "(B, H, W)"
        checks.refuse(f"labels of a segmenter must be numbers {form}", f"{labels.dtype.name} {labels.shape}", HINT)
    is_narrow = labels.dtype.is_bool or (labels.dtype.is_integer and labels.dtype.size < 4)
    labels = tf.cast(labels, tf.int32) if is_narrow else labels  # 255 has no place in int8
    labels = _middle("labels", labels, size, logits)
    classes = 2 if multi_label else max(2, logits.shape[-1])
    wrong = ((labels < 0) | (labels >= classes)) & (labels != IGNORED)
    wrong = wrong | (labels != tf.floor(labels)) if labels.dtype.is_floating else wrong
    rule = f"classes of pixels must be whole numbers from 0 to {classes - 1}, or {IGNORED} where they do not count"
    checked = demand(wrong, rule, labels)
    with tf.control_dependencies([] if checked is None else [checked]):
        labels = tf.cast(labels, tf.int32)
    if not isinstance(y, Mapping) or "pixel_weights" not in y:
        return labels, None
    weights = _middle("pixel_weights", tf.cast(y["pixel_weights"], tf.float32), size, logits)
    checked = demand(~(weights >= 0), "pixel_weights must be numbers of 0 or more", weights)
    with tf.control_dependencies([] if checked is None else [checked]):
        return labels, tf.identity(weights)


def check_foreground(data: Dataset) -> None:
    """Refuses maps in memory that hold 0 and 255 alone: a foreground of 255 would count nowhere.

    Raises:
        DataError: they do so.
    """
    labels = data.source.labels if data.any_order else None
    labels = labels.get("semantic") if isinstance(labels, Mapping) else labels
    if not isinstance(labels, np.ndarray) or labels.ndim < 3 or not (labels == IGNORED).any():
        return
    if (labels == 0).any() and ((labels == 0) | (labels == IGNORED)).all():
        rule = f"maps of {data.name} must show a class besides 0, and {IGNORED} counts nowhere"
        raise DataError(
            f"{rule}; got 0 and {IGNORED} alone. Divide a foreground of {IGNORED} by it: maps // {IGNORED}."
        )


def warn_of_foreground(data: Dataset) -> None:
    """Warns of a pipeline whose first maps hold 0 and 255 alone; those in memory `check_foreground` refuses."""
    if data.any_order or not isinstance(data.source, tf.data.Dataset):
        return
    count, shown = 0, set()
    for _, labels, _ in map(unpacked, data.source.take(LOOKED_AT)):
        labels = labels.get("semantic") if isinstance(labels, Mapping) else labels
        if not isinstance(labels, tf.Tensor) or labels.shape.rank not in (3, 4):
            return
        count, shown = count + len(labels), shown | set(np.unique(labels).tolist())
    if shown == {0, IGNORED}:
        rule = f"the first {count} maps of {data.name} show 0 and {IGNORED} alone, and {IGNORED} counts nowhere"
        remedy = f"If {IGNORED} is a foreground, divide it: dataset.map(lambda x, y: (x, y // {IGNORED}))"
        checks.warn(f"{rule}. {remedy}.", DataWarning)


def _middle(name: str, values: Any, size: Any, logits: Any) -> Any:
    """Returns the middle (B, h, w) of values (B, H, W) of the pixels of images, of the size of logits (B, h, w, K)."""
    given, wanted = tuple(values.shape[1:3]), tuple(logits.shape[1:3])
    if any(None not in pair and pair[0] != pair[1] for pair in zip(given, size, strict=True)):
        checks.refuse(f"{name} must have the size of their images, {tuple(size)}", given, HINT)
    if None in (*given, *wanted) or given == wanted:
        return values
    top, left = ((one - other) // 2 for one, other in zip(given, wanted, strict=True))
    return values[:, top : top + wanted[0], left : left + wanted[1]]
