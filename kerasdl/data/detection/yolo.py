"""YOLO's folders: data.yaml, and a text file of boxes beside each image.

A line of a text file is class, centre x, centre y, width, height, as shares of the image's sides.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.core.files import write_text
from kerasdl.core.startup.packages import optional

from ..dataset import Dataset
from ..folders.layout import images_in
from ..image_files import one_line
from .annotations import AnnotatedImage, Faults, annotated_dataset, inner_path, read_content, sized
from .writing import scenes_of, write_image

KEYS = {"train": "train", "validation": "val", "test": "test"}
LARGEST_TEXT = 2**22
NEAR = 1e-9
"""Pixels from a whole one, within which an edge counts as whole: shares round."""


def read_yolo(
    path: str | os.PathLike,
    split: str = "train",
    *,
    images: str | os.PathLike | None = None,
    on_bad: str = "skip",
    empty: str = "keep",
) -> Dataset:
    """Returns the images of a split of a data.yaml with their boxes; images are decoded when they are read.

    An image without text file has no objects. A line of a polygon, with three points or more, gives the box around it.

    Args:
        path: the data.yaml; its `train`, `val` and `test` name folders of images, or text files that list images. The
            text file of images/a.jpg is labels/a.txt.
        split: `train`, `validation` or `test`.
        images: folder that the names in data.yaml start from; None is the folder of data.yaml, and `path` in it, which
            must not lead out of that folder.
        on_bad: as in `read_coco`, for the same faults.
        empty: as in `read_coco`.

    Returns:
        A `Dataset` as of `read_coco`, without areas; "crowd" is false, since YOLO has no crowds. Edges within 1e-9 of a
        whole pixel are whole; shares lose up to about 1e-12 pixels.

    Raises:
        ArgumentError: an argument breaks its rule.
        DataError: data.yaml is damaged or names no such split, or there are faults that are refused, or no image is
            left.
        MissingPackageError: PyYAML is not installed.

    Example:
        >>> write_yolo(draw_shapes(2, side=64), "shapes")
        >>> read_yolo("shapes/data.yaml").class_names[:2]
        ('circle', 'square')
    """
    checks.one_of("split", split, tuple(KEYS))
    path = Path(path).expanduser()
    faults, content = Faults(path, on_bad), _content(path)
    class_names = _class_names(content.get("names"), path)
    root = Path(images).expanduser() if images is not None else _inside(path.parent, content.get("path") or ".", path)
    files = [file for name in _parts(content, split, path) for file in _images_of(root, name, path)]
    found = [each for each in sized(files, faults, [file.name for file in files]) if each is not None]
    for image in found:
        text = _text_file(image.path)
        lines = read_content(text, LARGEST_TEXT).decode("utf-8", "replace").splitlines() if text.is_file() else []
        for number, line in enumerate(lines):
            if line.strip():
                _add(line, f"{text.name}, line {number + 1}", image, len(class_names), faults)
    return annotated_dataset(f"yolo:{path}", found, class_names, faults, empty=empty, crowd="keep")


def named_splits(path: str | os.PathLike) -> tuple[str, ...]:
    """Returns the splits that a data.yaml names.

    Raises:
        DataError: data.yaml is damaged.
        MissingPackageError: PyYAML is not installed.

    Example:
        >>> write_yolo(draw_shapes(2, side=64), "shapes")
        >>> named_splits("shapes/data.yaml")
        ('train',)
    """
    content = _content(Path(path).expanduser())
    keys = {**KEYS, "validation": "valid"}
    return tuple(split for split, key in KEYS.items() if content.get(key) or content.get(keys[split]))


def _content(path: Path) -> dict:
    yaml = optional("yaml", "yolo")
    try:
        content = yaml.safe_load(read_content(path, LARGEST_TEXT))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise DataError(f"{one_line(path)} is no YAML: {one_line(error)[:200]}. Mend it.") from error
    if not isinstance(content, dict):
        raise DataError(f"{one_line(path)} must hold names, train and val. Give the data.yaml of the data set.")
    return content


def _class_names(names: Any, path: Path) -> list[str]:
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[place] for place in range(len(names))]
    # Nested lists are not printed: YAML's aliases make a short file long.
    plain = isinstance(names, list) and all(isinstance(name, (str, int, float)) for name in names)
    if not plain or not names or len(set(map(str, names))) < len(names):
        rule = f"names of {one_line(path)} must be a list of unlike names, or one for each number from 0"
        raise DataError(f"{rule}; got {f'{names!r:.80}' if plain else type(names).__name__}. Mend them.")
    return [str(name) for name in names]


def _parts(content: dict, split: str, path: Path) -> list[Any]:
    part = content.get(KEYS[split], content.get("valid") if split == "validation" else None)
    if not part:
        raise DataError(f"{one_line(path)} names no images of split {split!r}. It has {[*named_splits(path)]}.")
    return part if isinstance(part, list) else [part]


def _inside(folder: Path, name: Any, path: Path) -> Path:
    inner = inner_path(folder, name)
    if inner is None:
        hint = "Pass images=, the folder that its names start from."
        shown = repr(one_line(name)[:80]) if isinstance(name, str) else type(name).__name__
        raise DataError(f"{one_line(path)} names {shown}, which leads out of its folder. {hint}")
    return inner


def _images_of(root: Path, name: Any, path: Path) -> list[Path]:
    place = _inside(root, name, path)
    if place.is_dir():
        return images_in(place)
    if place.suffix == ".txt":
        lines = read_content(place).decode("utf-8", "replace").splitlines()
        return [_inside(root, line.strip(), place) for line in lines if line.strip()]
    raise DataError(f"{one_line(place)}, which {one_line(path)} names, is no folder. Pass images=, where names start.")


def _text_file(image: Path) -> Path:
    """Returns the text file of an image: in the folder `labels` in place of the last `images`, else beside it."""
    parts = list(image.parts)
    places = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def _add(line: str, name: str, image: AnnotatedImage, classes: int, faults: Faults) -> None:
    try:
        label, *shares = (float(word) for word in line.split())
    except ValueError:
        faults.add(f"{name}: {line!r:.60} is not numbers")
        return
    if len(shares) != 4 and (len(shares) < 6 or len(shares) % 2):
        faults.add(f"{name}: it must have 5 numbers, or the points of a polygon; it has {len(shares) + 1}")
        return
    if not (label.is_integer() and 0 <= label < classes):
        faults.add(f"{name}: the class {label:g} is unknown")
        return
    height, width = image.size
    points = np.array(shares, np.float64).reshape(-1, 2) * (width, height)
    if len(shares) == 4:
        edges = np.concatenate([points[0] - points[1] / 2, points[0] + points[1] / 2])
    else:
        edges = np.concatenate([points.min(0), points.max(0)])
    whole = np.rint(edges)
    edges = np.where(np.abs(edges - whole) < NEAR, whole, edges).tolist()
    if faults.is_sound(edges, image, name):
        image.boxes.append(edges)
        image.classes.append(int(label))
        image.crowd.append(False)


def write_yolo(dataset: Dataset, folder: str | os.PathLike, split: str = "train") -> None:
    """Writes a dataset of boxes in YOLO's form: images/SPLIT, labels/SPLIT, and data.yaml, which names all splits.

    Args:
        dataset: images with the labels "boxes" and "classes", without crowd regions, which YOLO does not have.
        folder: folder to write to. Splits may share one, if their classes are the same.
        split: `train`, `validation` or `test`.

    Raises:
        ArgumentError: the dataset has no boxes or classes, or has crowd regions, or the split is unknown.

    Example:
        >>> for split in ("train", "validation"):
        ...     write_yolo(draw_shapes(2, split=split, side=64), "shapes", split)
        >>> read_yolo("shapes/data.yaml", "validation").size
        2
    """
    key, folder = KEYS[checks.one_of("split", split, tuple(KEYS))], Path(folder)
    for scene in scenes_of(dataset):
        name = write_image(scene, folder / "images" / key)
        height, width = scene.size
        lines = []
        for (left, top, right, bottom), label, crowd, _ in scene.rows():
            if crowd:
                checks.refuse("YOLO has no crowd regions", f"one in example {scene.number}", "Take them out first.")
            middle = (left + right) / 2 / width, (top + bottom) / 2 / height
            shares = (*middle, (right - left) / width, (bottom - top) / height)
            lines.append(" ".join([str(label), *(f"{share:.17g}" for share in shares)]) + "\n")
        write_text(folder / "labels" / key / f"{Path(name).stem}.txt", "".join(lines))
    splits = [each for each in KEYS.values() if (folder / "images" / each).is_dir()]
    # JSON is YAML: names with colons or quotes need no rules of their own.
    names = "".join(f"  {place}: {json.dumps(name)}\n" for place, name in enumerate(dataset.class_names))
    write_text(folder / "data.yaml", "".join(f"{each}: images/{each}\n" for each in splits) + "names:\n" + names)
