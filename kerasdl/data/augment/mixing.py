"""Mixup and CutMix: batches of blended images and labels.

The layers of Keras draw by a generator of their own, so that a killed run would go on with other draws.
"""

from dataclasses import dataclass

import tensorflow as tf

from kerasdl.core import checks

from .colours import rectangle
from .transforms import drawn


def smoothed(labels: tf.Tensor, classes: int, smoothing: float = 0.0) -> tf.Tensor:
    """Returns labels as shares of the classes, a part of each spread evenly over all.

    Source: label smoothing, https://arxiv.org/abs/1512.00567, section 7.

    Args:
        labels: integers (B,) or (B, 1), or shares already, (B, K).
        classes: K.
        smoothing: label smoothing, from 0 to below 1.

    Returns:
        (B, K) float32, each row of sum 1.

    Raises:
        ArgumentError: an argument breaks its range, or the labels have another shape.

    Example:
        >>> smoothed(tf.constant([1]), 4, 0.2).numpy().round(2)
        array([[0.05, 0.85, 0.05, 0.05]], dtype=float32)
    """
    checks.at_least("classes", classes, 2)
    checks.within("smoothing", smoothing, 0.0, 0.999)
    shares = tf.one_hot(tf.reshape(labels, [-1]), classes) if is_one_class(labels) else labels
    if shares.shape.rank != 2 or shares.shape[1] != classes:
        checks.refuse(f"labels to be mixed must be integers (B,) or shares (B, {classes})", labels)
    return tf.cast(shares, tf.float32) * (1 - smoothing) + smoothing / classes


def is_one_class(labels: tf.Tensor | tf.TensorSpec) -> bool:
    """Returns whether labels are whole numbers, one for each example: (B,) or (B, 1)."""
    return labels.dtype.is_integer and (labels.shape.rank == 1 or (labels.shape.rank == 2 and labels.shape[1] == 1))


def _beta(seed: tf.Tensor, alpha: float) -> tf.Tensor:
    one, other = (
        tf.random.stateless_gamma((), tf.random.experimental.stateless_fold_in(seed, n), alpha) for n in (0, 1)
    )
    return one / tf.maximum(one + other, 1e-12)


def _partners(count: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    return tf.argsort(tf.random.stateless_uniform((count,), tf.random.experimental.stateless_fold_in(seed, 2)))


@dataclass(frozen=True)
class Mixup:
    """Mixup: each image of a batch and its label are blended with another one.

    Called with images (B, H, W, C), labels, integers (B,) or (B, 1) or shares (B, K), and a seed, int32 (2,), it gives
    images and shares (B, K). The loss is then `CategoricalCrossentropy(from_logits=True)`.

    Source: https://arxiv.org/abs/1710.09412, section 2; one draw a batch, as in the authors' code.

    Example:
        >>> mix = Mixup(classes=10)
        >>> images, shares = mix(tf.zeros((4, 8, 8, 3)), tf.constant([1, 2, 3, 4]), tf.constant([0, 1]))
        >>> shares.shape
        TensorShape([4, 10])
    """

    classes: int
    """How many classes there are."""
    alpha: float = 0.2
    """Both parameters of the Beta distribution that shares are drawn from; the smaller, the less is mixed."""
    smoothing: float = 0.0
    """Label smoothing, from 0 to below 1."""

    def __post_init__(self):
        checks.at_least("classes", self.classes, 2)
        checks.within("alpha", self.alpha, 1e-3, 1e3)
        checks.within("smoothing", self.smoothing, 0.0, 0.999)

    def __call__(self, images, labels, seed):
        """Returns the mixed images, float32, and shares."""
        images, shares = tf.cast(images, tf.float32), smoothed(labels, self.classes, self.smoothing)
        share, order = _beta(seed, self.alpha), _partners(tf.shape(images)[0], seed)
        mixed = share * images + (1 - share) * tf.gather(images, order)
        return tf.ensure_shape(mixed, images.shape), share * shares + (1 - share) * tf.gather(shares, order)


@dataclass(frozen=True)
class CutMix:
    """CutMix: each image of a batch gets a rectangle of another one, and labels are blended by area.

    Source: https://arxiv.org/abs/1905.04899, section 3.1; one rectangle a batch, as in the authors' code, but always
    whole inside the image.

    Example:
        >>> mix = CutMix(classes=10)
        >>> images, shares = mix(tf.zeros((4, 8, 8, 3)), tf.constant([1, 2, 3, 4]), tf.constant([0, 1]))
        >>> images.shape
        TensorShape([4, 8, 8, 3])
    """

    classes: int
    """How many classes there are."""
    alpha: float = 1.0
    """Both parameters of the Beta distribution from which the remaining share of the area is drawn."""
    smoothing: float = 0.0
    """Label smoothing, from 0 to below 1."""

    __post_init__ = Mixup.__post_init__

    def __call__(self, images, labels, seed):
        """Returns the mixed images, float32, and shares."""
        images, shares = tf.cast(images, tf.float32), smoothed(labels, self.classes, self.smoothing)
        height, width = tf.unstack(tf.cast(tf.shape(images)[1:3], tf.float32))
        order = _partners(tf.shape(images)[0], seed)
        inside = rectangle(height, width, 1 - _beta(seed, self.alpha), width / height, drawn(seed, 3, 0.0, 1.0, (2,)))
        share = 1 - tf.reduce_mean(tf.cast(inside, tf.float32))  # of whole pixels
        mixed = tf.where(inside[..., tf.newaxis], tf.gather(images, order), images)
        return tf.ensure_shape(mixed, images.shape), share * shares + (1 - share) * tf.gather(shares, order)


@dataclass(frozen=True)
class Either:
    """Random choice between several ways to blend a batch.

    Source: Mixup or CutMix by turns, https://arxiv.org/abs/2012.12877, section 6.

    Example:
        >>> mix = Either((Mixup(classes=10, alpha=0.8), CutMix(classes=10)))
        >>> images, shares = mix(tf.zeros((4, 8, 8, 3)), tf.constant([1, 2, 3, 4]), tf.constant([0, 1]))
        >>> shares.shape
        TensorShape([4, 10])
    """

    ways: tuple
    """What blends, each as often as any other; one or more."""

    def __post_init__(self):
        checks.at_least("the number of ways", len(self.ways), 1)

    def __call__(self, images, labels, seed):
        """Returns the mixed images, float32, and shares."""
        number = tf.cast(drawn(seed, 4, 0.0, float(len(self.ways))), tf.int32)
        own = tf.random.experimental.stateless_fold_in(seed, 5)  # one Either in another would else draw as that did
        return tf.switch_case(number, [lambda way=way: way(images, labels, own) for way in self.ways])
