"""Matching of predicted to true objects by COCO's rules, for all images, classes, IoU bounds and sizes at once.

In each image and class the predicted objects come by falling score, and each takes the free true object of highest IoU
at or above the bound; an ignored one (a crowd, or one of another size) only if there is no other. The n-th objects
of all images and classes are matched in one step of array operations.

Source: the evaluation of COCO, https://cocodataset.org/#detection-eval.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from kerasdl.core.objects import PredictedObjects, TrueObjects
from kerasdl.ops import RunLengths, encode_mask, mask_overlaps

MOST_OBJECTS = 100  # predicted ones of a class in an image
MOST_NUMBERS = 4_000_000  # of an array inside one step


@dataclass(frozen=True)
class Flat:
    """Objects of all images in arrays, sorted by image and class; predicted ones then by falling score."""

    group: np.ndarray
    """(N,) image * classes + class."""
    boxes: np.ndarray
    """(N, 4) `xyxy`."""
    areas: np.ndarray
    """(N,) square pixels."""
    crowd: np.ndarray
    """(N,) booleans; of true objects."""
    scores: np.ndarray
    """(N,) of predicted objects; 0 of true ones."""
    masks: np.ndarray | None = None
    """(N,) run lengths where masks are matched, not boxes."""

    @property
    def rank(self) -> np.ndarray:
        """(N,) place of each object in its group."""
        starts = np.flatnonzero(np.diff(self.group, prepend=-1))
        return np.arange(len(self.group)) - np.repeat(starts, np.diff(starts, append=len(self.group)))


def flat_objects(
    records: Sequence[TrueObjects] | Sequence[PredictedObjects], classes: int, has_masks: bool = False
) -> Flat:
    """Returns the objects of a record for each image in arrays; of each class in an image those of the highest scores.

    Args:
        records: at least one record, all of one kind.
        classes: number of classes.
        has_masks: whether masks are matched; areas of predicted objects are then those of their masks.
    """
    is_true = isinstance(records[0], TrueObjects)
    image = np.repeat(np.arange(len(records)), [len(each.boxes) for each in records])
    group = image * classes + np.concatenate([each.classes for each in records])
    boxes = np.concatenate([each.boxes for each in records])
    scores = np.zeros(len(boxes)) if is_true else np.concatenate([each.scores for each in records])
    crowd = np.concatenate([each.crowd for each in records]) if is_true else np.zeros(len(boxes), bool)
    areas = np.concatenate([each.areas for each in records]) if is_true else (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)
    masks = run_lengths_of(records) if has_masks else None
    if has_masks and not is_true:
        areas = np.array([each.area for each in masks], float)
    columns = [group, boxes, areas, crowd, scores] + ([masks] if has_masks else [])
    order = np.lexsort((-scores, group))
    flat = Flat(*(each[order] for each in columns))
    if is_true or (first := flat.rank < MOST_OBJECTS).all():
        return flat
    return Flat(*(each[order][first] for each in columns))


def run_lengths_of(records: Sequence[TrueObjects] | Sequence[PredictedObjects]) -> np.ndarray:
    """Returns the masks of all records (N,) as run lengths.

    Raises:
        ArgumentError: a mask is not (H, W).
    """
    masks = [mask for each in records for mask in each.masks or ()]
    coded = np.empty(len(masks), object)
    coded[:] = [mask if isinstance(mask, RunLengths) else encode_mask(mask) for mask in masks]
    return coded


@dataclass(frozen=True)
class Matches:
    """Pairs of a predicted and a true object, for each of T IoU bounds and S ranges of size; few, so one by one."""

    predicted: np.ndarray
    """(Q,) place of the predicted object."""
    true: np.ndarray
    """(Q,) place of the true object that it takes."""
    bound: np.ndarray
    """(Q,) place of the IoU bound."""
    size: np.ndarray
    """(Q,) place of the range of size."""
    is_ignored: np.ndarray
    """(Q,) booleans: the true object is a crowd or of another size, so the predicted one is neither right nor wrong."""


def is_outside(areas: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Returns (N, S) booleans: areas (N,) beyond each range (S, 2)."""
    return (areas[:, None] < sizes[:, 0]) | (areas[:, None] > sizes[:, 1])


def matched(true: Flat, predicted: Flat, bounds: np.ndarray, sizes: np.ndarray) -> Matches:
    """Returns how predicted objects match true ones.

    Args:
        true: true objects.
        predicted: predicted objects.
        bounds: (T,) IoU.
        sizes: (S, 2) smallest and largest area in square pixels.
    """
    is_other = true.crowd[:, None] | is_outside(true.areas, sizes)
    bounds = np.minimum(bounds, 1 - 1e-10)
    pairs = [np.zeros((4, 0), int)]
    for rows, columns in _buckets(true, predicted, len(bounds) * len(sizes)):
        pairs += _match(true, predicted, rows, columns, bounds, is_other)
    rows, columns, bound, size = np.concatenate(pairs, axis=1)
    return Matches(rows, columns, bound, size, is_other[columns, size])


def _match(
    true: Flat, predicted: Flat, rows: np.ndarray, columns: np.ndarray, bounds: np.ndarray, is_other: np.ndarray
) -> Iterator[np.ndarray]:
    """Yields pairs (4, Q) of groups: `rows` (G, D) and `columns` (G, M) are places of their objects, -1 for none."""
    exists = columns >= 0
    crowd = true.crowd[columns] & exists
    other = is_other[columns].transpose(0, 2, 1)[:, None]  # (G, 1, S, M)
    free = np.broadcast_to(exists[:, None, None], (len(rows), len(bounds), is_other.shape[1], columns.shape[1])).copy()
    of_masks = None if true.masks is None else _overlaps_of_masks(true, predicted, rows, columns)
    for k, place in enumerate(rows.T):
        count = int((place >= 0).sum())  # groups come by their number of predicted objects
        if of_masks is None:
            overlaps = overlaps_of(predicted.boxes[place[:count]], true.boxes[columns[:count]], crowd[:count])
        else:
            overlaps = of_masks[:count, k]  # (count, M)
        near = np.flatnonzero((overlaps >= bounds.min()).any(axis=-1))
        overlaps = overlaps[near]
        allowed = free[near] | crowd[near, None, None]
        allowed &= (overlaps[:, None] >= bounds[:, None])[:, :, None]
        usual = allowed & ~other[near]
        allowed = np.where(usual.any(axis=-1, keepdims=True), usual, allowed)
        value = np.where(allowed, overlaps[:, None, None], -1.0)[..., ::-1]  # of equal ones COCO takes the last
        best = columns.shape[1] - 1 - value.argmax(axis=-1)  # (near, T, S)
        group, bound, size = np.nonzero(allowed.any(axis=-1))
        best, group = best[group, bound, size], near[group]
        free[group, bound, size, best] = False
        yield np.stack([place[group], columns[group, best], bound, size])


def overlaps_of(boxes: np.ndarray, others: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Returns IoU (G, M) of a box (G, 4) with others (G, M, 4); with a crowd the share of the box that lies in it.

    Args:
        boxes: a box of each group.
        others: true boxes of the same groups.
        crowd: (G, M) booleans.
    """
    low = np.maximum(boxes[:, None, :2], others[..., :2])
    high = np.minimum(boxes[:, None, 2:], others[..., 2:])
    shared = np.clip(high - low, 0, None).prod(axis=-1)
    own = (boxes[:, 2:] - boxes[:, :2]).prod(axis=-1)[:, None]
    union = np.where(crowd, own, own + (others[..., 2:] - others[..., :2]).prod(axis=-1) - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def overlaps_between(some: Flat, rows: np.ndarray, others: Flat, columns: np.ndarray) -> np.ndarray:
    """Returns IoU (R, C) of some objects with others, of masks where they have any, else of boxes."""
    if others.masks is not None:
        return mask_overlaps(some.masks[rows], others.masks[columns], np.zeros(len(columns), bool))
    return overlaps_of(some.boxes[rows], others.boxes[columns][None], np.zeros((1, 1), bool))


def _overlaps_of_masks(true: Flat, predicted: Flat, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns IoU (G, D, M) of the masks of groups: `rows` (G, D) predicted, `columns` (G, M) true, 0 for none."""
    overlaps = np.zeros((*rows.shape, columns.shape[1]))
    for group, (row, column) in enumerate(zip(rows, columns, strict=True)):
        row, column = row[row >= 0], column[column >= 0]
        shares = mask_overlaps(predicted.masks[row], true.masks[column], true.crowd[column])
        overlaps[group, : len(row), : len(column)] = shares
    return overlaps


def _buckets(true: Flat, predicted: Flat, states: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields places of predicted and true objects for groups of about as many true ones, most predicted first."""
    groups, first_true, true_count = np.unique(true.group, return_index=True, return_counts=True)
    first_predicted = np.searchsorted(predicted.group, groups)
    predicted_count = np.searchsorted(predicted.group, groups, side="right") - first_predicted
    both = predicted_count > 0
    first_true, true_count, first_predicted, predicted_count = (
        each[both] for each in (first_true, true_count, first_predicted, predicted_count)
    )
    power = np.ceil(np.log2(np.maximum(true_count, 1))).astype(int)
    for size in np.unique(power):
        inside = np.flatnonzero(power == size)
        inside = inside[np.argsort(-predicted_count[inside], kind="stable")]
        step = max(1, MOST_NUMBERS // (states * 2**size))
        for start in range(0, len(inside), step):
            part = inside[start : start + step]
            yield _places(first_predicted[part], predicted_count[part]), _places(first_true[part], true_count[part])


def _places(first: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Returns (G, largest count) places from the first on, -1 beyond the count."""
    steps = np.arange(count.max())
    return np.where(steps < count[:, None], first[:, None] + steps, -1)
