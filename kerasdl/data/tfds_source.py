"""Datasets that tensorflow-datasets has prepared on this machine, read without network access."""

import json
import os
import re
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from .dataset import Dataset
from .sources import MEMORY_LIMIT, Examples, Stream, collect

NAME = re.compile(r"(?P<name>[a-z]\w*)(/(?P<config>[\w.\-]+))?(:(?P<version>\d+\.\d+\.\d+))?(#(?P<boxes>[a-z]\w*))?")
OBJECTS = "objects"
"""Feature of tfds that holds the boxes, labels and flags of COCO and VOC."""
DETECTION = "object_detection"


def read_tfds(name: str, split: str, *, size: int | None, data_dir: str | os.PathLike | None) -> Dataset:
    """Returns a split of a prepared dataset with an image or float features as input, and a label or boxes.

    Boxes are those of the feature `objects` where there is no label, or of the feature behind `#` in the name, as in
    `oxford_iiit_pet#head_bbox`: in pixels of the image, without those of no area. Regions of a crowd and objects that
    VOC calls difficult are "crowd": they neither teach nor count.

    Up to 1 GB it is read into memory; larger data are streamed in a fixed order. `split` may be a slice, as tfds writes
    it (`train[:90%]`); `size` takes the first examples.
    """
    builder = prepared_builder(name, data_dir)
    asked = NAME.fullmatch(name)["boxes"]
    has_objects = builder.info.supervised_keys is None and OBJECTS in builder.info.features
    boxes = asked or (OBJECTS if has_objects else None)
    task, class_names, shape = (
        _describe(builder.info, name) if boxes is None else _describe_boxes(builder.info, name, boxes)
    )
    examples, size = first_examples(builder, name, split, size, as_supervised=boxes is None)
    label_type = tf.float32 if task == "tabular_regression" else tf.int32
    input_type = tf.uint8 if task in ("image_classification", DETECTION) else tf.float32
    if boxes is None:
        examples = examples.map(lambda x, y: (tf.cast(x, input_type), tf.cast(y, label_type)))
    else:
        examples = examples.map(lambda example: _with_boxes(example, boxes))
    source: Examples | Stream | None = collect(examples, MEMORY_LIMIT)
    return Dataset(
        name=f"tfds:{name}",
        task=task,
        class_names=class_names,
        input_shape=shape,
        input_dtype=input_type.name,
        size=size,
        licence=builder.info.redistribution_info.license or "not stated",
        seekable=True,
        scale=None,
        source=source or Stream(examples, size),
        images=input_type == tf.uint8,
    )


def prepared_builder(name: str, data_dir: str | os.PathLike | None) -> tfds.core.DatasetBuilder:
    """Returns the builder of a prepared dataset.

    Raises:
        ArgumentError: the name breaks its rule.
        DataError: the dataset is not prepared, or damaged.
    """
    home = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()
    folder = _find_prepared(name, home)
    try:
        return tfds.builder_from_directory(folder)
    except Exception as error:  # a damaged description makes tfds raise errors of any kind
        raise DataError(f"{folder} is not a complete tfds dataset: {error}. Prepare or copy it again.") from error


def first_examples(
    builder: tfds.core.DatasetBuilder, name: str, split: str, size: int | None, *, as_supervised: bool = False
) -> tuple[tf.data.Dataset, int]:
    """Returns the first examples of a split, as dicts or as pairs (input, label), and their number.

    Raises:
        ArgumentError: there is no such split, or it is smaller.
    """
    base = re.split(r"[\[+]", split)[0]
    checks.one_of("split", base, tuple(builder.info.splits), f"These are what {name!r} has.")
    total = builder.info.splits[split].num_examples
    if size is not None and size > total:
        checks.refuse(f"size must be at most {total}, the size of split {split!r} of {name}", size)
    # One file after the other: interleaved reading is faster, but tfds does not guarantee its order.
    config = tfds.ReadConfig(interleave_cycle_length=1, shuffle_seed=None, try_autocache=False)
    examples = builder.as_dataset(split=split, shuffle_files=False, as_supervised=as_supervised, read_config=config)
    return examples.take(size or total), size or total


def _describe_boxes(info: tfds.core.DatasetInfo, name: str, boxes: str) -> tuple[str, tuple[str, ...], tuple]:
    """Returns the task, the class names and the shape of an image of a dataset with boxes in a feature."""
    features = dict(info.features.items())
    inner = dict(getattr(getattr(features.get(boxes), "feature", None), "items", dict)())
    box, label = (inner.get("bbox"), inner.get("label")) if inner else (features.get(boxes), features.get("label"))
    image = features.get("image")
    is_known = isinstance(box, tfds.features.BBoxFeature) and isinstance(label, tfds.features.ClassLabel)
    if not is_known or not isinstance(image, tfds.features.Image) or image.np_dtype != np.uint8:
        raise DataError(
            f"tfds dataset {name!r} must have an image, and in {boxes!r} boxes with classes, or one box of the class "
            f"'label'; it has {sorted(features)}. Read it with tfds and pass the tf.data.Dataset."
        )
    return DETECTION, tuple(label.names or map(str, range(label.num_classes or 0))), tuple(image.shape)


def _with_boxes(example: dict, boxes: str) -> tuple[tf.Tensor, dict]:
    """Returns an image and its labels, of which tfds has boxes as shares: top, left, bottom, right."""
    image, part = example["image"], example[boxes]
    if not isinstance(part, dict):  # one box
        part = {"bbox": part[None], "label": example["label"][None]}
    sides = tf.cast(tf.shape(image)[:2], tf.float32)
    edges = tf.gather(part["bbox"] * tf.concat([sides, sides], 0), [1, 0, 3, 2], axis=1)
    is_box = tf.reduce_all(edges[:, 2:] > edges[:, :2], axis=1)
    crowd = tf.zeros_like(is_box)
    for flag in {"is_crowd", "is_difficult"} & set(part):
        crowd |= part[flag]
    labels = {"boxes": edges, "classes": tf.cast(part["label"], tf.int32), "crowd": crowd}
    return image, {key: tf.boolean_mask(value, is_box) for key, value in labels.items()}


def _find_prepared(name: str, home: Path) -> Path:
    """Returns the folder home/name[/config]/version that holds dataset_info.json, the newest version."""
    parts = NAME.fullmatch(name)
    if parts is None:
        checks.refuse("a tfds name must be NAME, NAME/CONFIG or NAME/CONFIG:1.2.3, perhaps with #FEATURE", name)
    root = home / parts["name"] / (parts["config"] or "")
    versions = _versions(root)
    configs = sorted(path.name for path in root.iterdir() if _versions(path)) if root.is_dir() else []
    if not versions and not parts["config"] and len(configs) == 1:
        versions = _versions(root / configs[0])
    elif not versions and configs:
        raise DataError(f"tfds dataset {name!r} has the configurations {configs} in {root}. Name one: NAME/CONFIG.")
    if parts["version"]:
        versions = [path for path in versions if path.name == parts["version"]]
    if not versions:
        raise DataError(_how_to_fetch(name.partition("#")[0], root, home))
    return versions[-1]


def _versions(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    folders = [
        path.parent for path in folder.glob("*/dataset_info.json") if re.fullmatch(r"\d+\.\d+\.\d+", path.parent.name)
    ]
    return sorted(folders, key=lambda path: tuple(map(int, path.name.split("."))))


def _how_to_fetch(name: str, root: Path, home: Path) -> str:
    base = root.relative_to(home).parts[0]
    infos = [path for depth in ("*/*", "*/*/*") for path in home.glob(f"{depth}/dataset_info.json")]
    prepared = sorted({path.relative_to(home).parts[0] for path in infos})
    command = f"tfds.builder({json.dumps(name)}, data_dir='tfds').download_and_prepare()"
    return (
        f"tfds dataset {name!r} is not prepared: no dataset_info.json in {root}/VERSION. On a machine with network "
        f"run python -c 'import tensorflow_datasets as tfds; {command}' and copy the folder tfds/{base} to "
        f"{home / base}, or pass the folder that holds {base} as data_dir. "
        f"Prepared there now: {', '.join(prepared) or 'nothing'}."
    )


def _describe(info: tfds.core.DatasetInfo, name: str) -> tuple[str, tuple[str, ...], tuple]:
    """Returns the task, the class names and the shape of one input."""
    keys = info.supervised_keys
    if keys is None or len(keys) != 2 or not all(isinstance(key, str) for key in keys):
        raise DataError(
            f"tfds dataset {name!r} has no (input, label) pair. Read it with tfds and pass the tf.data.Dataset."
        )
    value, label = (info.features[key] for key in keys)
    is_class = isinstance(label, tfds.features.ClassLabel)
    names = tuple(label.names or map(str, range(label.num_classes or 0))) if is_class else ()
    if isinstance(value, tfds.features.Image) and value.np_dtype == np.uint8 and is_class:
        return "image_classification", names, tuple(value.shape)
    is_figures = (
        type(value) is tfds.features.Tensor and len(value.shape) == 1 and np.issubdtype(value.np_dtype, np.floating)
    )
    if is_figures and is_class:
        return "tabular_classification", names, tuple(value.shape)
    if is_figures and label.shape == () and np.issubdtype(label.np_dtype, np.floating):
        return "tabular_regression", (), tuple(value.shape)
    raise DataError(
        f"tfds dataset {name!r} maps {type(value).__name__} to {type(label).__name__}; kerasdl reads images or float "
        "features with a class, and float features with a figure. Read it with tfds and pass the tf.data.Dataset."
    )
