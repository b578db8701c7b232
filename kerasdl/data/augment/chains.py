"""Transforms one after another, and now and then."""

from dataclasses import dataclass

import tensorflow as tf

from kerasdl.core import checks

from .transforms import Transform, drawn


@dataclass(frozen=True)
class Chain(Transform):
    """Runs transforms one after another, each with a seed of its own.

    Example:
        >>> Chain((Flip(), Crop(4), Erase()))(tf.zeros((32, 32, 3)), tf.constant([0, 1])).shape
        TensorShape([32, 32, 3])
    """

    transforms: tuple[Transform, ...]
    """What is done, in order."""

    def __call__(self, image, seed):
        """Returns the changed image."""
        for number, transform in enumerate(self.transforms):
            image = transform(image, tf.random.experimental.stateless_fold_in(seed, 1000 + number))
        return image

    def with_targets(self, image, seed, *, boxes=None, masks=None):
        """As in `Transform`."""
        found = {
            "image": image,
            **({} if boxes is None else {"boxes": boxes}),
            **({} if masks is None else {"masks": masks}),
        }
        kept = None
        for number, transform in enumerate(self.transforms):
            own = tf.random.experimental.stateless_fold_in(seed, 1000 + number)
            targets = {name: found[name] for name in ("boxes", "masks") if name in found}
            found = transform.with_targets(found["image"], own, **targets)
            if "kept" in found:
                kept = found["kept"] if kept is None else kept & found["kept"]
        return found if kept is None else {**found, "kept": kept}


@dataclass(frozen=True)
class Sometimes(Transform):
    """Runs a transform that keeps the size of an image by chance.

    Example:
        >>> Sometimes(Blur(), 0.5)(tf.zeros((32, 32, 3)), tf.constant([0, 1])).shape
        TensorShape([32, 32, 3])
    """

    transform: Transform
    """What is done."""
    chance: float = 0.5
    """From 0 to 1."""

    def __post_init__(self):
        checks.within("chance", self.chance, 0.0, 1.0)

    def __call__(self, image, seed):
        """Returns the image, changed or not."""
        image = tf.cast(image, tf.float32)
        own = tf.random.experimental.stateless_fold_in(seed, 2001)  # else one inside another would draw as that did
        return tf.cond(drawn(seed, 2000, 0.0, 1.0) < self.chance, lambda: self.transform(image, own), lambda: image)

    def with_targets(self, image, seed, *, boxes=None, masks=None):
        """As in `Transform`."""
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
