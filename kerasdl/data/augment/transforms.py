"""Base classes of image transforms: settings that are called with an image and a seed."""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

LEAST_VISIBLE = 0.1  # share of a box's area; with less it counts as gone


def drawn(seed: tf.Tensor, number: int, low: float, high: float, shape: tuple = ()) -> tf.Tensor:
    """Returns uniform random numbers; `number` distinguishes the draws of one seed."""
    return tf.random.stateless_uniform(shape, tf.random.experimental.stateless_fold_in(seed, number), low, high)


class Transform:
    """A random change of an image (H, W, C); subclasses are frozen dataclasses.

    A call with an image and a seed, int32 (2,), returns the changed image, float32. `RunConfig(augment=...)` takes it.
    """

    def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the changed image."""
        raise NotImplementedError

    def with_targets(
        self, image: tf.Tensor, seed: tf.Tensor, *, boxes: Any = None, masks: Any = None
    ) -> dict[str, tf.Tensor]:
        """Returns the changed image with its boxes and masks; a change of colours does not move them.

        Args:
            image: (H, W, C).
            seed: int32 (2,).
            boxes: (N, 4), left, top, right, bottom in pixels from the upper left corner.
            masks: (H, W) or (H, W, M), integers.

        Returns:
            `{"image": ...}`; with boxes also "boxes", clipped, and "kept", (N,) booleans, false for boxes of which
            less than a tenth is visible; with masks also "masks".
        """
        result = {"image": self(image, seed)}
        if boxes is not None:
            boxes = tf.convert_to_tensor(boxes, tf.float32)
            result |= {"boxes": boxes, "kept": tf.ones(tf.shape(boxes)[:1], tf.bool)}
        return result if masks is None else {**result, "masks": tf.convert_to_tensor(masks)}


@dataclass(frozen=True)
class Warp:
    """Affine map from the pixels of the result to those of the image."""

    back: tf.Tensor
    """(3, 3), from places (column, row, 1) in the result to places in the image; whole numbers are pixel centres."""
    size: tf.Tensor
    """Height and width of the result."""


class Geometric(Transform):
    """A random change of places: boxes and masks move with the image."""

    fill: float = 0.0

    def warp(self, height: tf.Tensor, width: tf.Tensor, seed: tf.Tensor) -> Warp:
        """Returns a random map of pixels for an image of that height and width (float32)."""
        raise NotImplementedError

    def __call__(self, image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the moved image, bilinear."""
        return moved(image, self._drawn(image, seed), "BILINEAR", self.fill)

    def with_targets(
        self, image: tf.Tensor, seed: tf.Tensor, *, boxes: Any = None, masks: Any = None
    ) -> dict[str, tf.Tensor]:
        """Returns image and targets moved; masks take the nearest pixel, and 0 outside of the image."""
        warp = self._drawn(image, seed, boxes)
        result = {"image": moved(image, warp, "BILINEAR", self.fill)}
        if boxes is not None:
            result["boxes"], result["kept"] = moved_boxes(tf.convert_to_tensor(boxes, tf.float32), warp)
        if masks is None:
            return result
        masks = tf.convert_to_tensor(masks)
        layered = masks if masks.shape.rank == 3 else masks[..., tf.newaxis]
        layered = tf.cast(moved(layered, warp, "NEAREST", 0.0), masks.dtype)
        return {**result, "masks": layered if masks.shape.rank == 3 else layered[..., 0]}

    def _drawn(self, image: tf.Tensor, seed: tf.Tensor, boxes: Any = None) -> Warp:
        height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
        return self.warp(height, width, seed)


def moved(image: tf.Tensor, warp: Warp, interpolation: str, fill: float) -> tf.Tensor:
    """Returns an image (H, W, C) moved, float32."""
    image = tf.cast(image, tf.float32)
    result = tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=tf.reshape(warp.back, (1, 9))[:, :8],
        output_shape=warp.size,
        fill_value=fill,
        interpolation=interpolation,
        fill_mode="CONSTANT",
    )[0]
    sizes = tf.get_static_value(warp.size)
    return tf.ensure_shape(result, (*((None, None) if sizes is None else sizes), image.shape[-1]))


def moved_boxes(boxes: tf.Tensor, warp: Warp) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the clipped boxes around the moved corners, and whether a tenth or more of each is visible."""
    left, top, right, bottom = tf.unstack(boxes, axis=-1)
    corners = tf.stack([tf.stack([x, y], -1) for x in (left, right) for y in (top, bottom)], 1) - 0.5  # (N, 4, 2)
    placed = tf.concat([corners, tf.ones_like(corners[..., :1])], -1)
    forth = tf.linalg.inv(warp.back)
    places = tf.einsum("ij,nkj->nki", forth, placed)
    places = places[..., :2] / places[..., 2:] + 0.5
    whole = tf.concat([tf.reduce_min(places, 1), tf.reduce_max(places, 1)], -1)
    height, width = tf.unstack(tf.cast(warp.size, tf.float32))
    clipped = tf.clip_by_value(whole, 0.0, tf.stack([width, height, width, height]))
    return clipped, area(clipped) >= LEAST_VISIBLE * tf.maximum(area(whole), 1e-6)


def area(boxes: tf.Tensor) -> tf.Tensor:
    """Returns the area of each box."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
