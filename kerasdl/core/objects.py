"""Records of the objects of one image, true and predicted: boxes, classes, scores."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import checks


@dataclass(frozen=True, eq=False)
class TrueObjects:
    """True objects of one image, as a data set has them.

    Example:
        >>> truth = TrueObjects(boxes=[[0, 0, 4, 2]], classes=[1])
        >>> truth.areas.tolist(), truth.crowd.tolist()
        ([8.0], [False])
    """

    boxes: Any
    """(N, 4) float64: left, top, right and bottom edge in pixels of the image, where the first pixel spans 0 to 1."""
    classes: Any
    """(N,) int64: index of each object's class."""
    crowd: Any = None
    """(N,) booleans: regions of many objects. Predictions inside are ignored. None is no such region."""
    areas: Any = None
    """(N,) float64: square pixels of each object. None takes those of the masks, without masks of the boxes."""
    masks: Any = None
    """N masks: booleans (H, W) each, or `kerasdl.ops.RunLengths`. None is no masks."""

    def __post_init__(self):
        boxes, classes = _checked(self)
        _keep_masks(self, len(boxes))
        width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
        if (width < 0).any() or (height < 0).any():
            wrong = int(np.argmax((width < 0) | (height < 0)))
            checks.refuse("a true box must have its left edge left of the right, its top above", boxes[wrong].tolist())
        crowd = np.zeros(len(boxes), bool) if self.crowd is None else np.asarray(self.crowd, bool)
        areas = self.areas
        if areas is None:
            areas = width * height if self.masks is None else [mask_area(mask) for mask in self.masks]
        areas = np.asarray(areas, np.float64)
        for name, value in {"boxes": boxes, "classes": classes, "crowd": crowd, "areas": areas}.items():
            _keep(self, name, value, len(boxes))


@dataclass(frozen=True, eq=False)
class PredictedObjects:
    """Objects that a model finds in one image, in any order.

    Example:
        >>> PredictedObjects(boxes=[[0, 0, 4, 2]], classes=[1], scores=[0.9]).scores.tolist()
        [0.9]
    """

    boxes: Any
    """(N, 4) float64, as in `TrueObjects`."""
    classes: Any
    """(N,) int64: index of each object's class."""
    scores: Any
    """(N,) float64, higher for what is more likely."""
    masks: Any = None
    """N masks, as in `TrueObjects`."""

    def __post_init__(self):
        boxes, classes = _checked(self)
        _keep_masks(self, len(boxes))
        scores = np.asarray(self.scores, np.float64)
        if not np.isfinite(scores).all():
            checks.refuse("scores must be finite", scores[~np.isfinite(scores)].tolist()[:4])
        for name, value in {"boxes": boxes, "classes": classes, "scores": scores}.items():
            _keep(self, name, value, len(boxes))


def mask_area(mask: Any) -> int:
    """Returns the pixels of the foreground of a mask, booleans (H, W) or run lengths."""
    return mask.area if hasattr(mask, "area") else int(np.count_nonzero(mask))


def _checked(objects: Any) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.asarray(objects.boxes, np.float64)
    boxes = boxes.reshape(0, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not np.isfinite(boxes).all():
        checks.refuse("boxes must be finite numbers (N, 4)", f"shape {boxes.shape}")
    classes = np.asarray(objects.classes)
    if classes.size and classes.dtype.kind not in "iu":
        checks.refuse("classes must be whole numbers", f"dtype {classes.dtype}")
    if classes.size and classes.min() < 0:
        checks.refuse("classes must be 0 or more", int(classes.min()))
    return boxes, classes.astype(np.int64)


def _keep(objects: Any, name: str, value: np.ndarray, count: int) -> None:
    if name != "boxes" and value.shape != (count,):
        checks.refuse(f"{name} must have one entry for each of the {count} boxes", f"shape {value.shape}")
    object.__setattr__(objects, name, value)


def _keep_masks(objects: Any, count: int) -> None:
    if objects.masks is None:
        return
    masks = tuple(objects.masks)
    if len(masks) != count:
        checks.refuse(f"masks must have one entry for each of the {count} boxes", len(masks))
    object.__setattr__(objects, "masks", masks)
