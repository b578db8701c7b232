"""Records of the objects of images, from batches of labels and of detections, and in pixels of another size."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kerasdl.core.objects import PredictedObjects, TrueObjects
from kerasdl.data.letterboxing import Inset, movement, place_in
from kerasdl.ops import encode_mask, paste_mask
from kerasdl.ops.suppression import Detections

from .method import true_batch


def records(detections: Detections) -> Iterator[PredictedObjects]:
    """Yields the objects of each image of a batch."""
    boxes, scores, classes, counts, *masks = (np.asarray(each) for each in detections)
    for place, count in enumerate(counts):
        own = [each[place, :count] for each in masks]
        yield PredictedObjects(boxes[place, :count], classes[place, :count], scores[place, :count], *own)


def true_records(labels: Mapping[str, Any], has_masks: bool = False) -> Iterator[TrueObjects]:
    """Yields the true objects of each image of a batch of labels, with masks if asked."""
    truth = true_batch(labels)
    present = np.logical_or(truth.valid, truth.crowd)
    for place, is_one in enumerate(present):
        boxes, classes, crowd = (np.asarray(each[place])[is_one] for each in (truth.boxes, truth.classes, truth.crowd))
        masks = np.asarray(labels["masks"][place])[is_one[: len(labels["masks"][place])]] if has_masks else None
        yield TrueObjects(boxes, classes, crowd, masks=masks)


def resized(objects: PredictedObjects, size: tuple, other: tuple, letterbox: bool = False) -> PredictedObjects:
    """Returns objects of an image of one (height, width) in pixels of the same image in another size.

    Args:
        objects: objects in pixels of an input of `size`. Masks are probabilities inside their boxes, (rows, columns)
            each, and become run lengths of the image.
        size: (height, width) of the input.
        other: (height, width) of the image.
        letterbox: whether the input is a letterbox of the image; boxes are then cut at the image's edges.
    """
    factors, shifts = movement(place_in(other, size, letterbox), Inset(*other))
    boxes, masks = objects.boxes * factors + shifts, objects.masks
    if masks is not None:
        masks = [encode_mask(paste_mask(mask, box, other)) for mask, box in zip(masks, boxes, strict=True)]
    if letterbox:
        boxes = np.clip(boxes, 0.0, [other[1], other[0]] * 2)
    return PredictedObjects(boxes, objects.classes, objects.scores, masks)
