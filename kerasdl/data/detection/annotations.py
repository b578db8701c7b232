"""Annotated images as annotation files name them: faults, paths, sizes, and the dataset of what is sound."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from ..dataset import Dataset
from ..folders.reader import DataWarning
from ..image_files import FORMATS, one_line
from ..sources import Examples
from ..trees import LazyMaps, LazyMasks, Ragged
from .object_masks import Segment, masks_of, semantic_names, semantic_of
from .scenes import SEMANTIC, TASK

SHOWN = 8
OVERHANG = 1.0
"""Pixels by which a box may stand over the edge of its image: files round."""
LARGEST_FILE = 2**30
"""Bytes of the largest annotation file that is read."""
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)
"""EXIF tag of the orientation, and its values for which height and width change places."""


@dataclass
class AnnotatedImage:
    """An image file with its objects."""

    path: Path
    size: tuple[int, int]
    """(height, width) in pixels."""
    boxes: list[Sequence[float]] = field(default_factory=list)
    """Left, top, right, bottom in pixels."""
    classes: list[int] = field(default_factory=list)
    crowd: list[bool] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    """Areas of the objects' masks, in files that have them."""
    segments: list[Segment] = field(default_factory=list)
    """Masks of the objects, where they are asked for."""


class Faults:
    """Faults of a data set, each one line; `settle` refuses the data set or warns of what was left out.

    Args:
        place: the file or folder.
        on_bad: `skip` or `refuse`.
        remedy: end of the message of a refusal.
    """

    def __init__(
        self, place: str | os.PathLike, on_bad: str, remedy: str = "Mend them, or skip them by on_bad, empty or crowd."
    ):
        self.remedy = remedy
        self.place, self.on_bad = one_line(place), checks.one_of("on_bad", on_bad, ("skip", "refuse"))
        self.skipped: list[str] = []
        self.refused: list[str] = []

    def add(self, line: str, policy: str | None = None) -> None:
        """Adds a fault, handled by a policy of its own or by `on_bad`."""
        (self.refused if (policy or self.on_bad) == "refuse" else self.skipped).append(one_line(line))

    def settle(self) -> None:
        """Warns of what was left out, or refuses the data set.

        Raises:
            DataError: there are faults that are refused.
        """
        if self.refused:
            raise DataError(f"{_listed(self.refused)} in {self.place}: {_shown(self.refused)}. {self.remedy}")
        if self.skipped:
            note = f"{_listed(self.skipped)} in {self.place}, left out: {_shown(self.skipped)}."
            checks.warn(note, DataWarning)

    def is_sound(self, box: Sequence[float], image: AnnotatedImage, name: str) -> bool:
        """Returns whether a box has an area inside its image; adds a fault if not."""
        left, top, right, bottom = box
        height, width = image.size
        words = f"{name}: the box {[round(float(edge), 2) for edge in box]} (left, top, right, bottom)"
        if not np.isfinite(box).all():
            self.add(f"{words} is not of finite numbers")
        elif right <= left or bottom <= top:
            self.add(f"{words} has no area")
        elif min(left, top) < -OVERHANG or right > width + OVERHANG or bottom > height + OVERHANG:
            self.add(f"{words} stands outside of the image of {width}x{height} pixels")
        else:
            return True
        return False


def numbers(value: object, count: int) -> list[float] | None:
    """Returns a list of `count` numbers, or None if a value from a file is none."""
    if not isinstance(value, (list, tuple)) or len(value) != count:
        return None
    if not all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in value):
        return None
    try:
        return [float(each) for each in value]
    except OverflowError:
        return None


def read_content(path: Path, most: int = LARGEST_FILE) -> bytes:
    """Returns the content of an annotation file.

    Raises:
        DataError: it is missing, or larger than `most` bytes.
    """
    try:
        size = path.stat().st_size
        if size > most:
            rule = f"{one_line(path)} has {size:,} bytes, more than the {most:,} that an annotation file may have"
            raise DataError(f"{rule}. Split it.")
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {one_line(path)}: {error.strerror}. Check the path.") from error


def inner_path(folder: Path, name: object) -> Path | None:
    """Returns the path of a file that an annotation names, or None if the name leads out of the folder."""
    if not isinstance(name, str) or not name or "\0" in name or PureWindowsPath(name).drive:
        return None
    inner = PurePosixPath(name.replace("\\", "/"))
    return None if inner.is_absolute() or ".." in inner.parts else folder / inner


def upright_size(path: Path) -> tuple[int, int] | str:
    """Returns (height, width) of an image file, turned upright by its EXIF tag; or the fault, as a text."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
            return (width, height) if image.getexif().get(ORIENTATION) in TURNED else (height, width)
    except FileNotFoundError:
        return "the file is missing"
    except Exception as error:  # the errors of Pillow's readers are of any kind
        return "the file cannot be read" + (": no image" if "cannot identify" in str(error) else f": {error}")


def sized(paths: Sequence[Path | None], faults: Faults, names: Sequence[str]) -> Iterator[AnnotatedImage | None]:
    """Yields an image without objects for each file; None, with a fault, for one that is missing or doubled."""
    with ThreadPoolExecutor() as pool:
        sizes = list(pool.map(lambda path: "" if path is None else upright_size(path), paths))
    seen: set[Path] = set()
    for path, size, name in zip(paths, sizes, names, strict=True):
        if path is None:
            faults.add(f"{name}: the file's name leads out of the folder")
        elif isinstance(size, str):
            faults.add(f"{name}: {size}")
        elif path in seen:
            faults.add(f"{name}: the image is there twice")
        else:
            seen.add(path)
            yield AnnotatedImage(path, size)
            continue
        yield None


def annotated_dataset(
    name: str,
    images: Sequence[AnnotatedImage],
    class_names: Sequence[str],
    faults: Faults,
    *,
    empty: str,
    crowd: str,
    masks: bool = False,
    semantic: bool = False,
    by_area: bool = True,
) -> Dataset:
    """Returns sound images as a dataset, after the policy on empty images and crowd regions was followed.

    Args:
        name: name of the dataset.
        images: images with their objects, and these with segments where `masks` or `semantic` is true.
        class_names: names of the classes of objects.
        faults: what was found so far.
        empty: policy on images without objects.
        crowd: policy on crowd regions.
        masks: whether to add the masks of objects.
        semantic: whether to give a map of classes in place of objects.
        by_area: see `semantic_of`.

    Raises:
        ArgumentError: a policy is unknown, masks and maps are both asked for, or maps of more than 254 classes.
        DataError: there are faults and they are refused, or no image is left.
    """
    if masks and semantic:
        checks.refuse("masks=True and semantic=True exclude each other: a map stands in place of objects", True)
    for setting, value in {"empty": empty, "crowd": crowd}.items():
        checks.one_of(setting, value, ("keep", "skip", "refuse"))
    if crowd != "keep":
        images = [_without_crowd(each, faults, crowd) for each in images]
    if empty != "keep":
        for each in (each for each in images if not each.boxes):
            faults.add(f"{each.path.name}: the image has no object", empty)
        images = [each for each in images if each.boxes]
    faults.settle()
    if not images:
        raise DataError(f"no image is left of {faults.place}. Check the paths, and images=, the folder of the images.")
    labels = _maps(images, class_names, by_area) if semantic else _objects(images, masks)
    sizes = np.array([each.size for each in images], np.int64)
    same = (sizes == sizes[0]).all()
    return Dataset(
        name=name,
        task=SEMANTIC if semantic else TASK,
        class_names=semantic_names(class_names) if semantic else tuple(class_names),
        input_shape=(*(sizes[0].tolist() if same else (None, None)), 3),
        input_dtype="uint8",
        size=len(images),
        licence="not stated",
        seekable=True,
        scale=None,
        source=Examples([each.path for each in images], labels, sizes=sizes),
        images=True,
    )


def _objects(images: Sequence[AnnotatedImage], masks: bool) -> dict[str, Any]:
    """Returns the labels of images with objects."""
    labels = {
        "boxes": Ragged.of([np.array(each.boxes, np.float32).reshape(-1, 4) for each in images]),
        "classes": Ragged.of([np.array(each.classes, np.int32) for each in images]),
        "crowd": Ragged.of([np.array(each.crowd, bool) for each in images]),
    }
    if any(each.areas for each in images):
        labels["areas"] = Ragged.of([np.array(each.areas, np.float64) for each in images])
    if masks:
        sizes, counts = [each.size for each in images], [len(each.boxes) for each in images]
        labels["masks"] = LazyMasks(images, lambda image: masks_of(image.segments, image.size), sizes, counts)
    return labels


def _maps(images: Sequence[AnnotatedImage], class_names: Sequence[str], by_area: bool) -> dict[str, Any]:
    """Returns the labels of images with maps of classes."""
    names = semantic_names(class_names)
    if len(names) > 255:
        checks.refuse("maps of bytes have at most 255 classes, the background among them", len(names))
    values = [names.index(name) for name in class_names]

    def draw(image: AnnotatedImage) -> np.ndarray:
        labels = [values[each] for each in image.classes]
        return semantic_of(image.segments, labels, image.crowd, image.size, by_area)

    return {"semantic": LazyMaps(images, draw, [each.size for each in images])}


def _without_crowd(image: AnnotatedImage, faults: Faults, policy: str) -> AnnotatedImage:
    """Returns the image without its crowd regions, each of which is a fault."""
    rows = [place for place, each in enumerate(image.crowd) if not each]
    for place, each in enumerate(image.crowd):
        if each:
            faults.add(f"{image.path.name}: object {place + 1} is a crowd region", policy)
    parts = (image.boxes, image.classes, image.areas, image.segments)
    boxes, classes, areas, segments = ([values[at] for at in rows] if values else [] for values in parts)
    return AnnotatedImage(image.path, image.size, boxes, classes, [False] * len(rows), areas, segments)


def _listed(lines: Sequence[str]) -> str:
    return f"{len(lines)} fault{'s' * (len(lines) > 1)}"


def _shown(lines: Sequence[str]) -> str:
    more = [f"and {len(lines) - SHOWN} more"] * (len(lines) > SHOWN)
    return "; ".join([*lines[:SHOWN], *more])
