"""COCO's annotation files (JSON): https://cocodataset.org/#format-data."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasdl.core.errors import DataError
from kerasdl.core.files import write_json
from kerasdl.ops.run_lengths import encode_mask

from ..dataset import Dataset
from ..image_files import one_line
from .annotations import AnnotatedImage, Faults, annotated_dataset, inner_path, numbers, read_content, sized
from .object_masks import read_segment
from .writing import scenes_of, write_image


def read_coco(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    *,
    on_bad: str = "skip",
    empty: str = "keep",
    crowd: str = "keep",
    masks: bool = False,
    semantic: bool = False,
) -> Dataset:
    """Returns the images of a COCO file with their boxes, masks or maps; images are decoded when they are read.

    Classes are in the order of their ids, from 0. Boxes keep their place to the bit of float32. Polygons and run
    lengths, packed or not, become the masks that pycocotools draws, when an image is read.

    Args:
        path: the JSON file.
        images: folder of the images; None is the folder of the file, or its subfolder `images` where the first image is
            there alone.
        on_bad: `skip` leaves out, with a `DataWarning` that names each, boxes outside of their image or of no area, of
            unknown images or classes, and images that are missing, doubled, unreadable or of another size; `refuse`
            raises.
        empty: `keep`, `skip` or `refuse`, for images without objects.
        crowd: the same for regions of many objects (`iscrowd`).
        masks: adds the labels "masks", (N, H, W) uint8. Objects without a sound mask are faults.
        semantic: in place of objects gives "semantic", (H, W) uint8: 0 for the background, else the class plus 1.
            Smaller objects lie over larger ones; pixels of a crowd that show no other object are 255, left out.

    Returns:
        A `Dataset` of raw images with the labels "boxes", (N, 4) float32, left, top, right, bottom in pixels;
        "classes", (N,) int32; "crowd", (N,) booleans; and "areas", (N,) float64, square pixels.

    Raises:
        ArgumentError: a policy is unknown, masks and maps are both asked for, or maps of more than 254 classes.
        DataError: the file is no COCO file, or has faults that are refused, or no image is left.

    Example:
        >>> write_coco(draw_shapes(2, side=64), "shapes.json", "pictures")
        >>> image, labels = read_coco("shapes.json", "pictures")[0]
        >>> image.shape, labels["boxes"].dtype
        ((64, 64, 3), dtype('float32'))
    """
    path = Path(path).expanduser()
    faults = Faults(path, on_bad)
    content = _content(path)
    ids, class_names = _classes(content["categories"], path)
    folder = _folder_of(content["images"], path.parent) if images is None else Path(images).expanduser()
    by_id = _images(content["images"], folder, faults)
    for place, entry in enumerate(content["annotations"]):
        _add(entry, f"annotation {_id(entry, place)}", by_id, ids, faults, masks or semantic)
    found = [each for each in by_id.values() if each is not None]
    policies = {"empty": empty, "crowd": crowd, "masks": masks, "semantic": semantic}
    return annotated_dataset(f"coco:{path}", found, class_names, faults, **policies)


def _content(path: Path) -> dict[str, list]:
    rule = f"{one_line(path)} is no COCO file"
    text = read_content(path)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        hint = "Give a JSON file of images, annotations and categories."
        raise DataError(f"{rule}: {one_line(error)}. {hint}") from error
    for name in ("images", "annotations", "categories"):
        part = content.get(name) if isinstance(content, dict) else None
        if not isinstance(part, list) or not all(isinstance(each, dict) for each in part):
            raise DataError(f"{rule}: it must have a list of objects under {name!r}. Files of captions have none.")
    return content


def _classes(categories: list[dict], path: Path) -> tuple[dict[int, int], list[str]]:
    rule = f"the categories of {one_line(path)} must have unlike ids, whole numbers, and unlike names"
    pairs = [(each.get("id"), each.get("name")) for each in categories]
    sound = all(type(key) is int and isinstance(name, str) for key, name in pairs)
    if not pairs or not sound or any(len(set(part)) < len(pairs) for part in zip(*pairs, strict=True)):
        raise DataError(f"{rule}; got {one_line(pairs[:8])}. Mend them.")
    pairs.sort()
    return {key: place for place, (key, _) in enumerate(pairs)}, [name for _, name in pairs]


def _folder_of(entries: list[dict], beside: Path) -> Path:
    """Returns the folder of a file, or its subfolder `images` where the first image is there alone."""
    first = str(entries[0].get("file_name", "")) if entries else ""
    return beside / "images" if (beside / "images" / first).is_file() and not (beside / first).is_file() else beside


def _images(entries: list[dict], folder: Path, faults: Faults) -> dict[Any, AnnotatedImage | None]:
    """Returns the images by id; None for one that was left out, whose annotations are no faults of their own."""
    by_id: dict[Any, AnnotatedImage | None] = {}
    kept = []
    for place, entry in enumerate(entries):
        key = _id(entry, place)
        if key in by_id:
            faults.add(f"image {key}: the id is there twice")
            continue
        by_id[key] = None
        kept.append((key, entry))
    names = [f"image {key} ({entry.get('file_name')})" for key, entry in kept]
    paths = [inner_path(folder, entry.get("file_name")) for _, entry in kept]
    for (key, entry), name, image in zip(kept, names, sized(paths, faults, names), strict=True):
        stated = entry.get("height"), entry.get("width")
        if image is not None and None not in stated and stated != image.size:
            faults.add(f"{name}: it has {image.size[1]}x{image.size[0]} pixels, not {stated[1]}x{stated[0]}")
            image = None
        by_id[key] = image
    return by_id


def _add(
    entry: dict, name: str, images: Mapping[Any, AnnotatedImage | None], ids: dict, faults: Faults, segmented: bool
) -> None:
    """Adds one annotation to its image, if it is sound; with its mask, if that is asked for."""
    key, label, box = entry.get("image_id"), entry.get("category_id"), numbers(entry.get("bbox"), 4)
    hashable = all(isinstance(each, (int, str)) for each in (key, label))
    if not hashable or key not in images:
        faults.add(f"{name}: the image {key!r} is not there")
        return
    image = images[key]
    if image is None:
        return
    name = f"{name} of {image.path.name}"
    if label not in ids:
        faults.add(f"{name}: the class {label!r} is unknown")
    elif box is None:
        faults.add(f"{name}: its bbox {entry.get('bbox')!r:.60} is not four numbers")
    else:
        edges = [box[0], box[1], box[0] + box[2], box[1] + box[3]]
        segment = read_segment(entry.get("segmentation"), image.size) if segmented else None
        if isinstance(segment, str):
            faults.add(f"{name}: {segment}")
        elif faults.is_sound(edges, image, name):
            area = numbers([entry.get("area")], 1)
            image.boxes.append(edges)
            image.classes.append(ids[label])
            image.crowd.append(entry.get("iscrowd") in (1, True))
            image.areas.append(area[0] if area else box[2] * box[3])
            image.segments += [] if segment is None else [segment]


def _id(entry: dict, place: int) -> Any:
    key = entry.get("id")
    return key if isinstance(key, (int, str)) else f"at place {place + 1}"


def write_coco(dataset: Dataset, path: str | os.PathLike, images: str | os.PathLike) -> None:
    """Writes a dataset of boxes as a COCO file, and its images into a folder.

    Images that come from files of their own size are copied, others become PNG files. Numbers keep every bit, so that
    `read_coco` gives the same boxes, of edges at 0 or beyond a thousandth of a pixel. Masks are written as packed run
    lengths. Ids of images, annotations and classes count from 1.

    Args:
        dataset: images with the labels "boxes" and "classes", and perhaps "crowd", "areas" and "masks".
        path: the JSON file to write.
        images: folder for the images.

    Raises:
        ArgumentError: the dataset has no boxes or classes, or cannot be read in any order.

    Example:
        >>> write_coco(draw_shapes(2, side=64), "shapes.json", "pictures")
        >>> read_coco("shapes.json", "pictures").size
        2
    """
    content: dict[str, list] = {"images": [], "annotations": [], "categories": []}
    for scene in scenes_of(dataset):
        name = write_image(scene, Path(images))
        content["images"].append(
            {"id": scene.number + 1, "file_name": name, "width": scene.size[1], "height": scene.size[0]}
        )
        masks = [encode_mask(each) for each in scene.labels.get("masks", ())]
        for place, ((left, top, right, bottom), label, crowd, area) in enumerate(scene.rows()):
            entry = {"id": len(content["annotations"]) + 1, "image_id": scene.number + 1, "category_id": label + 1}
            area = masks[place].area if masks and "areas" not in scene.labels else area
            entry |= {"bbox": [left, top, right - left, bottom - top], "area": area, "iscrowd": int(crowd)}
            content["annotations"].append(entry | {"segmentation": masks[place].to_json() if masks else []})
    content["categories"] = [{"id": place + 1, "name": name} for place, name in enumerate(dataset.class_names)]
    write_json(path, content)
