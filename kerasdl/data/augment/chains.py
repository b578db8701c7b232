"""Composition of transforms: in sequence, or with a probability."""

from dataclasses import dataclass

import tensorflow as tf

from kerasdl.core import checks

from .transforms import Transform, drawn


@dataclass(frozen=True)
class Chain(Transform):
    """Sequence of transforms, each with its own seed.

    Example:
        >>> Chain((Flip(), Crop(4), Erase()))(tf.zeros((32, 32, 3)), tf.constant([0, 1])).shape
        TensorShape([32, 32, 3])
    """

    transforms: tuple[Transform, ...]
    """Transforms in order."""

    def __call__(self, image, seed):
        """Returns the changed image."""
        for number, transform in enumerate(self.transforms):
            image = transform(image, tf.random.experimental.stateless_fold_in(seed, 1000 + number))
        return image

    def with_targets(self, image, seed, *, boxes=None, masks=None):
        """Returns the changed image and targets; see `Transform`."""
        result = {
            "image": image,
            **({} if boxes is None else {"boxes": boxes}),
            **({} if masks is None else {"masks": masks}),
        }
        visible = None
        for number, transform in enumerate(self.transforms):
            own = tf.random.experimental.stateless_fold_in(seed, 1000 + number)
            targets = {name: result[name] for name in ("boxes", "masks") if name in result}
            result = transform.with_targets(result["image"], own, **targets)
            if "kept" in result:
                visible = result["kept"] if visible is None else visible & result["kept"]
        return result if visible is None else {**result, "kept": visible}


@dataclass(frozen=True)
class Sometimes(Transform):
    """Transform applied with a probability; it must keep the size of the image.

    Example:
        >>> Sometimes(Blur(), 0.5)(tf.zeros((32, 32, 3)), tf.constant([0, 1])).shape
        TensorShape([32, 32, 3])
    """

    transform: Transform
    """The transform."""
    chance: float = 0.5
    """Its probability, from 0 to 1."""

    def __post_init__(self):
        checks.within("chance", self.chance, 0.0, 1.0)

    def __call__(self, image, seed):
        """Returns the image, changed or not."""
        image = tf.cast(image, tf.float32)
        own = tf.random.experimental.stateless_fold_in(seed, 2001)  # a nested one must not draw the same numbers
        return tf.cond(drawn(seed, 2000, 0.0, 1.0) < self.chance, lambda: self.transform(image, own), lambda: image)

    def with_targets(self, image, seed, *, boxes=None, masks=None):
        """Returns the changed image and targets; see `Transform`."""
        image = tf.cast(image, tf.float32)
        own = tf.random.experimental.stateless_fold_in(seed, 2001)
        changed = self.transform.with_targets(image, own, boxes=boxes, masks=masks)
        same = Transform.with_targets(_SAME, image, seed, boxes=boxes, masks=masks)
        chosen = drawn(seed, 2000, 0.0, 1.0) < self.chance
        return {name: tf.where(chosen, changed[name], same[name]) for name in changed}


class _Same(Transform):
    def __call__(self, image, seed):
        return image


_SAME = _Same()
