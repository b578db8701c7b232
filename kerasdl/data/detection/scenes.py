"""Record of one drawn scene, and the dataset of many: images with boxes, classes, crowd, masks, maps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from kerasdl.core import checks

from ..dataset import Dataset
from ..sources import Examples
from ..trees import Ragged

TASK, SEMANTIC, PANOPTIC = "object_detection", "semantic_segmentation", "panoptic_segmentation"
GROUND = "ground"
"""Name of the class of pixels that show no object."""
SIDE = 128
"""Side of a drawn scene in pixels, by default."""
SMALLEST = 32
DIVISOR = 1000
"""A panoptic map holds `DIVISOR * (class + 1) + number of the object, from 1`; 0 is the ground."""


@dataclass(frozen=True)
class Scene:
    """A drawn picture, and the object that each of its pixels shows."""

    image: np.ndarray
    """(H, W, 3) uint8."""
    numbers: np.ndarray
    """(H, W) uint8: the number of the object on top, from 1; 0 is the ground."""
    classes: np.ndarray
    """(N,) int32: index of each object's class."""

    @property
    def boxes(self) -> np.ndarray:
        """(N, 4) float32: the edges around the visible pixels of each object."""
        return tight_boxes(self.numbers, len(self.classes))

    @property
    def masks(self) -> np.ndarray:
        """(N, H, W) uint8: 1 where an object is visible."""
        return (self.numbers == np.arange(1, len(self.classes) + 1)[:, np.newaxis, np.newaxis]).astype(np.uint8)

    @property
    def semantic(self) -> np.ndarray:
        """(H, W) uint8: 0 for the ground, else the class plus 1."""
        return np.concatenate([[0], self.classes + 1]).astype(np.uint8)[self.numbers]

    @property
    def panoptic(self) -> np.ndarray:
        """(H, W) int32; see `DIVISOR`."""
        codes = DIVISOR * (self.classes + 1) + np.arange(1, len(self.classes) + 1)
        return np.concatenate([[0], codes]).astype(np.int32)[self.numbers]


def tight_boxes(numbers: np.ndarray, count: int) -> np.ndarray:
    """Returns the box (count, 4) around the pixels of each number from 1 to `count`; zeros where it has none."""
    spans = ndimage.find_objects(numbers, count)
    edges = [(0, 0, 0, 0) if s is None else (s[1].start, s[0].start, s[1].stop, s[0].stop) for s in spans]
    return np.array(edges, np.float32).reshape(count, 4)


def scene_dataset(
    scenes: Sequence[Scene],
    name: str,
    class_names: Sequence[str],
    licence: str,
    *,
    masks: bool,
    panoptic: bool,
    semantic: bool,
) -> Dataset:
    """Returns scenes of one size as a dataset of objects, or of semantic maps."""
    images = np.stack([each.image for each in scenes])
    if semantic:
        if masks or panoptic:
            checks.refuse("semantic maps stand in place of objects", {"masks": masks, "panoptic": panoptic})
        labels = {"semantic": np.stack([each.semantic for each in scenes])}
        return _of_images(images, labels, name, SEMANTIC, (GROUND, *class_names), licence)
    labels = {
        "boxes": Ragged.of([each.boxes for each in scenes]),
        "classes": Ragged.of([each.classes for each in scenes]),
        "crowd": Ragged.of([np.zeros(len(each.classes), bool) for each in scenes]),
    }
    if masks:
        labels["masks"] = Ragged.of([each.masks for each in scenes])
    if panoptic:
        labels["panoptic"] = np.stack([each.panoptic for each in scenes])
    return _of_images(images, labels, name, TASK, class_names, licence)


def panoptic_maps(scenes: Dataset) -> Dataset:
    """Returns scenes with their panoptic maps alone, and the names of the classes of those: the ground comes first."""
    labels = {"panoptic": scenes.source.labels["panoptic"]}
    source = replace(scenes.source, labels=labels)
    return replace(scenes, source=source, task=PANOPTIC, class_names=(GROUND, *scenes.class_names))


def _of_images(
    images: np.ndarray, labels: dict, name: str, task: str, class_names: Sequence[str], licence: str
) -> Dataset:
    return Dataset(
        name=name,
        task=task,
        class_names=tuple(class_names),
        input_shape=images.shape[1:],
        input_dtype="uint8",
        size=len(images),
        licence=licence,
        seekable=True,
        scale=None,
        source=Examples(images, labels),
        images=True,
    )


def check_side(value: int) -> int:
    """Returns the side of a drawn scene, `SMALLEST` to 2048, else raises `ArgumentError`."""
    if checks.at_least("side", value, SMALLEST) > 2048:
        checks.refuse(f"side must be {SMALLEST} to 2048 pixels", value)
    return int(value)
