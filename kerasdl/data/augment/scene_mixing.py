"""Mixing of scenes with objects: mosaic, mixup and copy-paste of batches with boxes and masks."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kerasdl.core import checks

from .transforms import LEAST_VISIBLE, area, drawn


class SceneMix:
    """A blend of the scenes of a batch.

    A call with images (B, H, W, C), labels, a dict of ragged tensors with a row for each object, and a seed, int32
    (2,), returns images, float32, and labels. "boxes" (B, N, 4) and "masks" (B, N, H, W) move with their pixels, other
    labels go with their objects. `RunConfig(mix=...)` takes it.
    """

    def __call__(self, images: tf.Tensor, labels: Mapping[str, Any], seed: tf.Tensor) -> tuple[tf.Tensor, dict]:
        """Returns the mixed images and labels."""
        raise NotImplementedError


def check_scenes(labels: Any) -> None:
    """Refuses labels that have no boxes, or that have not a row for each object.

    Raises:
        ArgumentError: the labels are others.
    """
    rule = "scenes are mixed with labels of a row for each object, boxes among them"
    ragged = (tf.RaggedTensor, tf.RaggedTensorSpec)
    if not isinstance(labels, Mapping) or "boxes" not in labels:
        checks.refuse(rule, "labels without boxes")
    others = sorted(name for name, part in labels.items() if not isinstance(part, ragged))
    if others:
        checks.refuse(rule, f"{others} of one row for each image", "Take these labels out.")


@dataclass(frozen=True)
class Mosaic(SceneMix):
    """Mosaic: each image of a batch becomes four scenes around a random middle, the first of them its own.

    Source: https://arxiv.org/abs/2004.10934, section 3.4. Scenes keep the shape of the batch: each is made smaller by a
    factor of its own, stands in its quarter with a corner at the middle, and is cut at the edge of the image.

    Example:
        >>> labels = {"boxes": tf.ragged.constant([[[2.0, 2.0, 9.0, 9.0]]] * 4, ragged_rank=1)}
        >>> images, moved = Mosaic()(tf.zeros((4, 32, 32, 3)), labels, tf.constant([0, 1]))
        >>> images.shape, moved["boxes"].shape
        (TensorShape([4, 32, 32, 3]), TensorShape([4, None, 4]))
    """

    zoom: tuple[float, float] = (0.5, 1.0)
    """Smallest and largest factor by which a scene is made smaller."""
    chance: float = 1.0
    """Share of the images that become a mosaic."""
    fill: float = 0.0
    """Value where no scene is."""

    def __post_init__(self):
        for value in self.zoom:
            checks.within("a bound of zoom", value, 0.05, 4.0)
        checks.within("chance", self.chance, 0.0, 1.0)

    def __call__(self, images, labels, seed):
        """Returns the mixed images and labels."""
        check_scenes(labels)
        images = tf.cast(images, tf.float32)
        count = tf.shape(images)[0]
        height, width = tf.unstack(tf.cast(tf.shape(images)[1:3], tf.float32))
        chosen = drawn(seed, 10, 0.0, 1.0, (count,)) < self.chance
        x = tf.round(drawn(seed, 11, 0.3, 0.7, (count,)) * width)
        y = tf.round(drawn(seed, 12, 0.3, 0.7, (count,)) * height)
        result, parts = images, [(labels, _of_objects(labels["boxes"], ~chosen))]
        for number in range(4):
            order = tf.range(count) if number == 0 else partners(count, seed, 20 + number)
            zoom = drawn(seed, 30 + number, *self.zoom, (count,))
            right, low = float(number % 2), float(number // 2)
            place = tf.stack([x - (1 - right) * zoom * width, y - (1 - low) * zoom * height], -1)
            whole = tf.ones_like(x)
            quarter = [x * right, y * low, whole * width if right else x, whole * height if low else y]
            scene = _Placed(zoom, place, tf.stack(quarter, -1))
            moved = scene.images(tf.gather(images, order), "BILINEAR", self.fill)
            inside = scene.inside(images)[..., tf.newaxis] & chosen[:, tf.newaxis, tf.newaxis, tf.newaxis]
            result = tf.where(inside, moved, result)
            new, visible = scene.labels({name: tf.gather(part, order) for name, part in labels.items()})
            parts.append((new, visible & _of_objects(new["boxes"], chosen)))
        return tf.ensure_shape(result, images.shape), _joined(parts)


@dataclass(frozen=True)
class SceneMixup(SceneMix):
    """Mixup of scenes: each image is blended with another one of the batch, and has the objects of both.

    Source: https://arxiv.org/abs/1902.04103, section 3.1; objects keep their full weight.

    Example:
        >>> labels = {"boxes": tf.ragged.constant([[[2.0, 2.0, 9.0, 9.0]]] * 4, ragged_rank=1)}
        >>> images, moved = SceneMixup()(tf.zeros((4, 32, 32, 3)), labels, tf.constant([0, 1]))
        >>> moved["boxes"].row_lengths().numpy()
        array([2, 2, 2, 2])
    """

    share: tuple[float, float] = (0.4, 0.6)
    """Smallest and largest share of the other image."""
    chance: float = 1.0
    """Share of the images that are blended."""

    def __post_init__(self):
        for value in self.share:
            checks.within("a bound of share", value, 0.0, 1.0)
        checks.within("chance", self.chance, 0.0, 1.0)

    def __call__(self, images, labels, seed):
        """Returns the mixed images and labels."""
        check_scenes(labels)
        images, order, chosen = _pairs(images, seed, self.chance)
        share = drawn(seed, 11, *self.share, (tf.shape(images)[0],))
        share = tf.where(chosen, share, 0.0)[:, tf.newaxis, tf.newaxis, tf.newaxis]
        mixed = (1 - share) * images + share * tf.gather(images, order)
        others = {name: tf.gather(part, order) for name, part in labels.items()}
        everywhere = tf.ones_like(chosen)
        parts = [(labels, _of_objects(labels["boxes"], everywhere)), (others, _of_objects(others["boxes"], chosen))]
        return tf.ensure_shape(mixed, images.shape), _joined(parts)


@dataclass(frozen=True)
class CopyPaste(SceneMix):
    """Copy-paste: objects of another image of the batch, cut out by their masks, stand over each image.

    Boxes and masks of what they cover shrink to what stays visible. Jitter and flips of each image come before.

    Source: https://arxiv.org/abs/2012.07177, section 3.

    Example:
        >>> masks = tf.RaggedTensor.from_tensor(tf.ones((4, 1, 8, 8), tf.uint8))
        >>> labels = {"boxes": tf.ragged.constant([[[0.0, 0.0, 8.0, 8.0]]] * 4, ragged_rank=1), "masks": masks}
        >>> images, moved = CopyPaste(share=1.0)(tf.zeros((4, 8, 8, 3)), labels, tf.constant([0, 1]))
        >>> moved["boxes"].row_lengths().numpy()
        array([1, 1, 1, 1])
    """

    share: float = 0.5
    """Share of the other image's objects that are pasted."""
    chance: float = 1.0
    """Share of the images that get objects."""

    def __post_init__(self):
        for name in ("share", "chance"):
            checks.within(name, getattr(self, name), 0.0, 1.0)

    def __call__(self, images, labels, seed):
        """Returns the mixed images and labels."""
        check_scenes(labels)
        if "masks" not in labels:
            checks.refuse("CopyPaste needs masks of the objects", sorted(labels), "Load the data with masks.")
        images, order, chosen = _pairs(images, seed, self.chance)
        others = {name: tf.gather(part, order) for name, part in labels.items()}
        boxes = others["boxes"]
        taken = drawn(seed, 11, 0.0, 1.0, (tf.shape(boxes.values)[0],)) < self.share
        taken = taken & _of_objects(boxes, chosen) & _has_pixels(others["masks"].values)
        pasted = tf.where(taken[:, tf.newaxis, tf.newaxis], others["masks"].values, 0)
        count = tf.shape(images, boxes.row_splits.dtype)[0]
        over = tf.math.unsorted_segment_max(pasted, boxes.value_rowids(), count) > 0  # (B, H, W); below 0 where none
        result = tf.where(over[..., tf.newaxis], tf.gather(images, order), images)
        own = labels["masks"]
        covered = tf.gather(over, own.value_rowids())
        left_over = tf.where(covered, tf.zeros_like(own.values), own.values)
        touched = tf.reduce_any(covered & (own.values > 0), (1, 2))
        tight = tf.where(touched[:, tf.newaxis], mask_boxes(left_over), labels["boxes"].values)
        before, after = (tf.reduce_sum(tf.cast(each > 0, tf.float32), (1, 2)) for each in (own.values, left_over))
        shrunk = {**labels, "masks": own.with_values(left_over), "boxes": labels["boxes"].with_values(tight)}
        parts = [(shrunk, ~touched | (after >= LEAST_VISIBLE * before)), (others, taken)]
        return tf.ensure_shape(result, images.shape), _joined(parts)


def partners(count: tf.Tensor, seed: tf.Tensor, number: int) -> tf.Tensor:
    """Returns a random order of the images of a batch."""
    return tf.argsort(drawn(seed, number, 0.0, 1.0, (count,)))


def mask_boxes(masks: tf.Tensor) -> tf.Tensor:
    """Returns the boxes, (M, 4) float32, around the pixels of masks (M, H, W); of no area where there are none."""
    edges = []
    for axis in (1, 2):  # columns, then rows
        filled = tf.cast(tf.reduce_any(masks > 0, axis), tf.int32)
        first = tf.argmax(filled, 1, tf.int32)
        last = tf.shape(filled)[1] - tf.argmax(filled[:, ::-1], 1, tf.int32)
        edges.append((first, tf.where(tf.reduce_max(filled, 1) > 0, last, first)))
    (left, right), (top, bottom) = edges
    return tf.cast(tf.stack([left, top, right, bottom], -1), tf.float32)


@dataclass(frozen=True)
class _Placed:
    """Places of the scenes of a batch: made smaller, moved, and cut."""

    zoom: tf.Tensor
    """(B,) factors."""
    place: tf.Tensor
    """(B, 2): left and upper edge of the scene in the result."""
    cut: tf.Tensor
    """(B, 4): the part of the result in which it is shown."""

    def images(self, images: tf.Tensor, interpolation: str, fill: float, rows: tf.Tensor | None = None) -> tf.Tensor:
        """Returns images, one for each scene or for each of the scenes `rows`, where they go."""
        back = 1 / self.zoom
        offsets = (0.5 - self.place) * back[:, tf.newaxis] - 0.5  # to centres of pixels
        zero = tf.zeros_like(back)
        transforms = tf.stack([back, zero, offsets[:, 0], zero, back, offsets[:, 1], zero, zero], -1)
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=images,
            transforms=transforms if rows is None else tf.gather(transforms, rows),
            output_shape=tf.shape(images)[1:3],
            fill_value=fill,
            interpolation=interpolation,
            fill_mode="CONSTANT",
        )

    def inside(self, images: tf.Tensor) -> tf.Tensor:
        """Returns which pixels of the result show the scene, (B, H, W)."""
        height, width = tf.unstack(tf.cast(tf.shape(images)[1:3], tf.float32))
        down, across = tf.range(height)[:, tf.newaxis], tf.range(width)
        left, top, right, bottom = (edge[:, tf.newaxis, tf.newaxis] for edge in tf.unstack(self.cut, axis=-1))
        return (down >= top) & (down < bottom) & (across >= left) & (across < right)

    def labels(self, labels: Mapping[str, tf.RaggedTensor]) -> tuple[dict, tf.Tensor]:
        """Returns moved labels, and which objects are visible by a tenth or more."""
        boxes, rows = labels["boxes"], labels["boxes"].value_rowids()
        shift, cut = tf.gather(tf.tile(self.place, [1, 2]), rows), tf.gather(self.cut, rows)
        whole = boxes.values * tf.gather(self.zoom, rows)[:, tf.newaxis] + shift
        clipped = tf.clip_by_value(whole, tf.tile(cut[:, :2], [1, 2]), tf.tile(cut[:, 2:], [1, 2]))
        moved = {**labels, "boxes": boxes.with_values(clipped)}
        if "masks" in labels:
            masks = labels["masks"]
            layers = tf.cast(masks.values, tf.float32)[..., tf.newaxis]
            layers = self.images(layers, "NEAREST", 0.0, rows)[..., 0]
            layers = tf.where(tf.gather(self.inside(layers[..., tf.newaxis]), rows), layers, 0.0)
            moved["masks"] = masks.with_values(tf.cast(layers, masks.dtype))
        return moved, area(clipped) >= LEAST_VISIBLE * tf.maximum(area(whole), 1e-6)


def _pairs(images: tf.Tensor, seed: tf.Tensor, chance: float) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns images as float32, the number of each one's partner, and which are mixed."""
    images = tf.cast(images, tf.float32)
    count = tf.shape(images)[0]
    return images, partners(count, seed, 20), drawn(seed, 10, 0.0, 1.0, (count,)) < chance


def _of_objects(boxes: tf.RaggedTensor, values: tf.Tensor) -> tf.Tensor:
    """Returns the value of each image for each of its objects."""
    return tf.gather(values, boxes.value_rowids())


def _has_pixels(masks: tf.Tensor) -> tf.Tensor:
    return tf.reduce_any(masks > 0, (1, 2))


def _joined(parts: list[tuple[Mapping[str, tf.RaggedTensor], tf.Tensor]]) -> dict[str, tf.RaggedTensor]:
    """Returns the objects of several labels that are chosen, image by image."""
    chosen = tf.concat([labels["boxes"].with_values(each) for labels, each in parts], 1)
    joined = {name: tf.concat([labels[name] for labels, _ in parts], 1) for name in parts[0][0]}
    return {name: tf.ragged.boolean_mask(part, chosen) for name, part in joined.items()}
