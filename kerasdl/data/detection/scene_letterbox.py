"""Letterbox of a dataset: scenes of any size with their aspect ratio kept, grey borders; boxes and masks move along."""

import dataclasses
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from .. import trees
from ..dataset import Dataset
from ..images import Scale, check_image_shape, to_pixels
from ..letterboxing import BORDERS, Inset, Letterboxed, boxed_maps, inset, movement
from ..sources import Examples, Stream, refuse_other_sizes, refuse_shares
from ..trees import MOVING, Ragged
from .annotations import upright_size


def letterbox(data: Dataset, image_shape: tuple, scale: Scale | None = (-1.0, 1.0)) -> Dataset:
    """Returns raw images with boxes, masks or maps in a letterbox, their aspect ratio kept between grey borders.

    An image is resized as by `prepare_images(..., letterbox=True)`; its boxes and the masks of its objects are then in
    pixels of the letterbox, and so are maps of classes, whose borders do not count. Train a detector on such data if it
    predicts with `letterbox=True`. Source: Ultralytics' `LetterBox`.

    Args:
        data: a `Dataset` of raw images of any size with boxes, masks or maps; a stream with boxes alone.
        image_shape: (height, width, channels) of the letterbox, all known.
        scale: as in `Dataset.prepared`.

    Returns:
        A `Dataset` of images (height, width, channels). Borders have level 114, in `semantic` 255, in `panoptic` -1,
        and 0 in `masks` and `pixel_weights`.

    Raises:
        ArgumentError: the data are not raw images with such labels, or a side is None.
        DataError: an image cannot be read, boxes are in shares of their image, or a map has another size than its
            image.

    Example:
        >>> scenes = kerasdl.data.detection.draw_shapes(4, side=128)
        >>> letterbox(scenes, (96, 160, 3)).input_shape
        (96, 160, 3)
    """
    shape = check_image_shape(image_shape)
    labels = None
    if data.images:
        labels = data.source.labels if data.any_order else trees.unpacked(data.source.examples.element_spec)[1]
    moving = sorted(set(MOVING) & set(labels)) if isinstance(labels, Mapping) else []
    if not moving:
        hint = "Use Dataset.prepared, which stretches images, for others."
        checks.refuse("a letterbox is for raw images with boxes, masks or maps", data.name, hint)
    if isinstance(data.source, Stream) and moving != ["boxes"]:
        hint = "Use Dataset.take, which reads the first images into memory."
        checks.refuse("a letterbox of a stream moves boxes alone", f"{data.name}: {moving}", hint)
    if None in shape:
        checks.refuse("image_shape of a letterbox must have known sides", shape)
    source = _streamed(data.source, shape) if isinstance(data.source, Stream) else _held(data, shape[:2])
    return dataclasses.replace(data, source=source, input_shape=shape).prepared(None, scale)


def _streamed(source: Stream, shape: tuple) -> Stream:
    """Returns a stream of images in a letterbox, with their boxes."""
    raw = source.examples if source.raw is None else source.raw

    def moved(pixels: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size = pixels.shape[:2]
        factors, shifts = movement(Inset(*size), inset(size, shape[:2]))
        return to_pixels(Letterboxed(pixels, shape[:2]), shape), (boxes * factors + shifts).astype(boxes.dtype)

    def boxed(image: tf.Tensor, labels: dict, *weights: Any) -> tuple:
        boxes = labels["boxes"]
        pixels, edges = tf.numpy_function(moved, [image, boxes], [tf.uint8, boxes.dtype], stateful=False)
        labels = {**labels, "boxes": tf.ensure_shape(edges, boxes.shape)}
        return tf.ensure_shape(pixels, shape), labels, *weights

    return Stream(raw.map(boxed, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True), source.size, raw)


def _held(data: Dataset, new: tuple[int, int]) -> Examples:
    """Returns images in memory or in files in a letterbox, with their boxes, masks and maps."""
    source, old, labels = data.source, data.input_shape[:2], data.source.labels
    refuse_shares(labels.get("boxes"))
    items = [each.image if isinstance(each, Letterboxed) else each for each in source.inputs]
    sizes = _raw_sizes(items)
    before = [_present_inset(each, size, old) for each, size in zip(source.inputs, sizes, strict=True)]
    after = [inset(size, new) for size in sizes]
    factors, shifts = movement(before, after)
    areas = factors[:, 0] * factors[:, 1]
    moves = {"boxes": (factors, shifts), "areas": (areas, np.zeros_like(areas))}
    moved = {**labels, **{name: _moved(labels[name], *moves[name]) for name in moves.keys() & labels.keys()}}
    present = np.array([[now or raw for now, raw in zip(old, size, strict=True)] for size in sizes])
    for name in BORDERS.keys() & labels.keys():
        refuse_other_sizes(name, labels[name], present)
        moved[name] = boxed_maps(labels[name], before, after, new, BORDERS[name])
    return Examples([Letterboxed(each, new) for each in items], moved, source.weights, levels=source.levels)


def _raw_sizes(items: list) -> list[tuple[int, int]]:
    """Returns height and width of images, arrays or files."""

    def size_of(item: Any) -> tuple[int, int]:
        if isinstance(item, np.ndarray):
            return item.shape[:2]
        size = upright_size(item)
        if isinstance(size, str):
            raise DataError(f"{item}: {size}. Repair or remove the file.")
        return size

    with ThreadPoolExecutor() as pool:
        return list(pool.map(size_of, items))


def _present_inset(item: Any, size: tuple[int, int], old: tuple) -> Inset:
    """Returns the place of an image in pixels of which its boxes are: stretched to `old`, perhaps from a letterbox."""
    if not isinstance(item, Letterboxed):
        return Inset(*(side if wanted is None else wanted for side, wanted in zip(size, old, strict=True)))
    place, (down, across) = inset(size, item.size), (new / side for new, side in zip(old, item.size, strict=True))
    return Inset(place.height * down, place.width * across, place.top * down, place.left * across)


def _moved(rows: Any, factors: np.ndarray, shifts: np.ndarray) -> Any:
    """Returns rows of each example, an array or `Ragged`, multiplied and shifted by the numbers of that example."""
    if not isinstance(rows, Ragged):
        return (rows * factors[:, np.newaxis] + shifts[:, np.newaxis]).astype(rows.dtype)
    factors, shifts = (np.repeat(each, rows.lengths, axis=0) for each in (factors, shifts))
    return Ragged((rows.values * factors + shifts).astype(rows.dtype), rows.lengths)
