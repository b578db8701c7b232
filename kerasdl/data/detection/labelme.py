"""labelme's annotation files (JSON, one beside each image): https://github.com/wkentaro/labelme."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kerasdl.core.errors import DataError
from kerasdl.ops.run_lengths import encode_mask

from ..dataset import Dataset
from ..image_files import one_line
from .annotations import AnnotatedImage, Faults, annotated_dataset, inner_path, numbers, read_content, sized
from .object_masks import circle

LARGEST_JSON = 2**28
"""Bytes: a file may hold its image too."""
FORMS = {"rectangle": 2, "circle": 2, "polygon": 3}
"""Forms that have an area, with the fewest points of each; a circle has its middle and a point of its edge."""


def read_labelme(
    folder: str | os.PathLike,
    *,
    images: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
    on_bad: str = "skip",
    empty: str = "keep",
    masks: bool = False,
    semantic: bool = False,
) -> Dataset:
    """Returns the images of a folder of labelme's files with the boxes around their forms, masks or maps.

    Args:
        folder: with one JSON file for each image.
        images: folder that `imagePath` starts from; None is the folder of the files.
        class_names: names of the classes; None takes the labels in all files, sorted.
        on_bad: as in `read_coco`, for the same faults, and for lines and points, which have no area.
        empty: as in `read_coco`.
        masks: adds the labels "masks", (N, H, W) uint8: polygons as `read_coco` draws them, of circles the pixels
            whose middle is inside.
        semantic: in place of objects gives "semantic" as `read_coco` does, but with later forms over earlier ones, as
            labelme draws them.

    Returns:
        A `Dataset` as of `read_coco`, without areas and crowds.

    Raises:
        ArgumentError: a policy is unknown, masks and maps are both asked for, or maps of more than 254 classes.
        DataError: there are no files, or faults that are refused, or no image is left.

    Example:
        >>> shape = {"label": "cat", "shape_type": "rectangle", "points": [[4, 5], [40, 30]]}
        >>> with open("cat.json", "w") as file:
        ...     file.write(json.dumps({"imagePath": "cat.jpg", "shapes": [shape]})) > 0
        True
        >>> read_labelme(".")[0][1]["boxes"].tolist()
        [[4.0, 5.0, 40.0, 30.0]]
    """
    folder = Path(folder).expanduser()
    faults = Faults(folder, on_bad)
    files = {file: _content(file, faults) for file in sorted(folder.glob("*.json"))}
    if not files:
        raise DataError(f"{one_line(folder)} holds no JSON files. Give the folder of labelme's files.")
    files = {file: content for file, content in files.items() if content is not None}
    if class_names is None:
        class_names = sorted({str(each.get("label")) for content in files.values() for each in content["shapes"]})
    base = folder if images is None else Path(images).expanduser()
    paths = [inner_path(base, content.get("imagePath")) for content in files.values()]
    found = []
    names = [file.name for file in files]
    for (file, content), image in zip(files.items(), sized(paths, faults, names), strict=True):
        if image is None:
            continue
        stated = content.get("imageHeight"), content.get("imageWidth")
        if None not in stated and stated != image.size:
            faults.add(f"{file.name}: {image.path.name} has {image.size[::-1]} pixels, not {stated[::-1]}")
            continue
        for place, each in enumerate(content["shapes"]):
            _add(each, f"{file.name}, shape {place + 1}", image, list(class_names), faults, masks or semantic)
        found.append(image)
    policies = {"empty": empty, "crowd": "keep", "masks": masks, "semantic": semantic, "by_area": False}
    return annotated_dataset(f"labelme:{folder}", found, class_names, faults, **policies)


def _content(file: Path, faults: Faults) -> dict | None:
    try:
        content = json.loads(read_content(file, LARGEST_JSON))
    except (ValueError, RecursionError, DataError) as error:
        faults.add(f"{file.name}: no annotation: {error}")
        return None
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(each, dict) for each in shapes):
        faults.add(f"{file.name}: no annotation of labelme: it must hold a list of shapes")
        return None
    return content


def _add(
    entry: dict, name: str, image: AnnotatedImage, class_names: list[str], faults: Faults, segmented: bool
) -> None:
    form, points = entry.get("shape_type") or "polygon", entry.get("points")
    if form not in list(FORMS):
        faults.add(f"{name}: a {form!r:.40} has no area; forms with one are {', '.join(FORMS)}")
        return
    pairs = [numbers(each, 2) for each in points] if isinstance(points, list) else []
    if len(pairs) < FORMS[form] or None in pairs or (form == "circle" and len(pairs) != 2):
        faults.add(f"{name}: its points {points!r:.60} are not those of a {form}")
        return
    label = str(entry.get("label"))
    if label not in class_names:
        faults.add(f"{name}: the class {label!r:.60} is unknown")
        return
    ring, radius = pairs, 0.0
    if form == "circle":
        (x, y), edge = pairs
        radius = math.dist((x, y), edge)
        pairs = [[x - radius, y - radius], [x + radius, y + radius]]
    across, down = zip(*pairs, strict=True)
    edges = [min(across), min(down), max(across), max(down)]
    if faults.is_sound(edges, image, name):
        image.boxes.append(edges)
        image.classes.append(class_names.index(label))
        image.crowd.append(False)
        if segmented and form == "circle":
            image.segments.append(encode_mask(circle(tuple(ring[0]), radius, image.size)))
        elif segmented:
            left, top, right, bottom = edges
            corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
            image.segments.append([np.array(ring if form == "polygon" else corners)])
