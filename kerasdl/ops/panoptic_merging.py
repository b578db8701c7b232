"""Merging of objects with masks and of classes of pixels to one panoptic map; NumPy on the host."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.core.objects import PredictedObjects


def merge_panoptic(
    objects: PredictedObjects,
    semantic: Any,
    things: Sequence[int],
    *,
    min_score: float = 0.5,
    visible: float = 0.5,
    least_area: int = 0,
    void: int = 255,
) -> np.ndarray:
    """Returns the class and the object of each pixel, from an instance and a semantic segmenter.

    The likeliest object comes first. A later one has the pixels of its mask that are left, and is dropped if these are
    too small a share of it. The pixels without an object have their class of stuff. Those that the semantic segmenter
    calls a thing, and those of a class of stuff of few pixels, are void.

    Source: Panoptic segmentation, https://arxiv.org/abs/1801.00868, section 7; panoptic feature pyramid networks,
    https://arxiv.org/abs/1901.02446, section 3.2.

    Args:
        objects: predicted objects with masks of the image, as `MaskRCNN.predict` gives them.
        semantic: (H, W) whole numbers, the class of each pixel, as `Segmenter.predict` gives them.
        things: the class of pixels of each class of objects; all other classes of pixels are stuff.
        min_score: lowest score of an object that counts, from 0 to 1.
        visible: least share of an object's pixels that must be left, from 0 to 1.
        least_area: pixels that a class of stuff must have; the papers take 4,096 in photos of COCO.
        void: class of pixels without a class.

    Returns:
        (H, W, 2) int32, the class of each pixel and the number of its object, from 1, or 0; as
        `kerasdl.metrics.PanopticQuality` takes them.

    Raises:
        ArgumentError: an argument breaks its rule, objects have no masks or masks of another size, or a class of
            objects has no entry in `things`.

    Example:
        >>> masks = [np.array([[1, 1, 0, 0]]), np.array([[0, 1, 1, 0]])]
        >>> found = PredictedObjects(boxes=[[0, 0, 2, 1], [1, 0, 3, 1]], classes=[0, 0], scores=[0.9, 0.8], masks=masks)
        >>> merge_panoptic(found, np.array([[1, 0, 1, 0]]), things=[1])[0].tolist()
        [[1, 1], [1, 1], [1, 2], [0, 0]]
    """
    checks.within("min_score", min_score, 0.0, 1.0)
    checks.within("visible", visible, 0.0, 1.0)
    checks.at_least("least_area", least_area, 0)
    semantic, classes = np.asarray(semantic), np.asarray(things, int).reshape(-1)
    if semantic.ndim != 2 or semantic.dtype.kind not in "iu":
        checks.refuse("semantic must be whole numbers (H, W)", f"{semantic.dtype} {semantic.shape}")
    if void in classes:
        checks.refuse("void must be the number of no class", void)
    if objects.masks is None and len(objects.boxes):
        checks.refuse("objects must have masks", "masks=None", "Take those of MaskRCNN.predict.")
    if (objects.classes >= len(classes)).any():
        checks.refuse("things must have an entry for each class of objects", f"{len(classes)} entries")
    merged = np.zeros((*semantic.shape, 2), np.int32)
    merged[..., 0] = void
    free = np.ones(semantic.shape, bool)
    for place in np.argsort(-objects.scores, kind="stable"):
        mask = objects.masks[place]
        mask = np.asarray(mask.mask() if hasattr(mask, "mask") else mask) != 0
        if mask.shape != semantic.shape:
            checks.refuse(f"masks must have the size of semantic, {semantic.shape}", mask.shape)
        left = mask & free
        if objects.scores[place] < min_score or not left.any() or left.sum() < visible * mask.sum():
            continue
        merged[left] = classes[objects.classes[place]], merged[..., 1].max() + 1
        free &= ~left
    for each in np.setdiff1d(semantic, [*classes, void]):
        stuff = free & (semantic == each)
        if stuff.sum() >= least_area:
            merged[stuff, 0] = each
    return merged
