"""Scenes of a dataset on their way into files: their image files, and their objects as plain numbers."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kerasdl.core import checks
from kerasdl.core.files import writing

from ..dataset import Dataset
from ..sources import Examples
from .annotations import upright_size


@dataclass(frozen=True)
class WrittenScene:
    """One example of a dataset."""

    number: int
    """Its place in the dataset."""
    digits: int
    """Digits of the largest number."""
    image: np.ndarray | Path
    """(H, W, 3) uint8, or the file that is copied."""
    size: tuple[int, int]
    """Height and width in pixels."""
    labels: Mapping[str, np.ndarray]
    """Boxes (N, 4), classes (N,), perhaps crowd and areas (N,)."""

    @property
    def stem(self) -> str:
        """Name of its files, without suffix."""
        return f"{self.number + 1:0{self.digits}}"

    def rows(self) -> Iterator[tuple[list[float], int, bool, float]]:
        """Yields edges, class, crowd and area of each object, as Python's numbers."""
        boxes = self.labels["boxes"].astype(np.float64)
        areas = self.labels.get("areas", (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
        crowd = self.labels.get("crowd", np.zeros(len(boxes), bool))
        parts = (boxes, self.labels["classes"], crowd, areas)
        yield from zip(*(part.tolist() for part in parts), strict=True)


def scenes_of(dataset: Dataset, needs: tuple[str, ...] = ("boxes", "classes")) -> Iterator[WrittenScene]:
    """Yields the examples of a dataset.

    Args:
        dataset: raw images.
        needs: labels that it must have.

    Raises:
        ArgumentError: it has no such labels of one class list, or cannot be read in any order.
    """
    labels = dataset.source.labels if dataset.any_order else None
    if not isinstance(labels, Mapping) or not {*needs} <= set(labels) or not dataset.images:
        checks.refuse(f"only raw images with {' and '.join(needs)} can be written", dataset.name)
    if not dataset.class_names:
        checks.refuse("a dataset must have class names to be written", dataset.name)
    raw, shape = dataset.prepared(None, None), dataset.input_shape
    for number in range(dataset.size):
        source = raw.source.pick(np.array([number]))
        image, size = _image(source, shape)
        rows = {name: part[0] for name, part in source.labels.items()}
        yield WrittenScene(number, len(str(dataset.size)), image, size, rows)


def _image(source: Examples, shape: tuple) -> tuple[np.ndarray | Path, tuple[int, int]]:
    """Returns the file of an image that keeps its size, else its pixels; and height and width."""
    item = source.inputs[0]
    if isinstance(item, Path) and shape[2] == 3:
        size = upright_size(item)
        if tuple(shape[:2]) in (size, (None, None)):
            return item, size
    pixels = source.reader(shape)(np.array([0]))[0]
    return pixels, pixels.shape[:2]


def write_image(scene: WrittenScene, folder: Path, prefix: str = "") -> str:
    """Writes the image of a scene into a folder and returns the name of its file."""
    if isinstance(scene.image, Path):
        name = prefix + scene.stem + scene.image.suffix.lower()
        with writing(folder / name) as file:
            shutil.copyfile(scene.image, file)
        return name
    name = prefix + scene.stem + ".png"
    pixels: Any = scene.image[..., 0] if scene.image.shape[2] == 1 else scene.image
    with writing(folder / name) as file:
        Image.fromarray(pixels).save(file)
    return name
