"""RandAugment and AugMix: augmentation policies without a search."""

from dataclasses import dataclass

import tensorflow as tf

from kerasdl.core import checks

from .levels import AUG_MIX, RAND_AUGMENT
from .transforms import Transform, drawn


def _levels(image, scale):
    low, high = scale
    return tf.clip_by_value(tf.round((tf.cast(image, tf.float32) - low) * (255.0 / (high - low))), 0.0, 255.0)


def _image(levels, scale, shape):
    low, high = scale
    return tf.ensure_shape(low + levels * ((high - low) / 255.0), shape)


def _applied(operations: dict, levels, place, level, sign, shape):
    branches = [lambda run=run: tf.ensure_shape(run(levels, level, sign), shape) for run in operations.values()]
    return tf.switch_case(place, branches)


class Policy(Transform):
    """Operations drawn by a rule, some of which move the image: boxes and masks would stay behind, so it takes none."""

    def with_targets(self, image, seed, *, boxes=None, masks=None):
        """Returns the changed image; boxes and masks are refused.

        Raises:
            ArgumentError: there are boxes or masks.
        """
        if boxes is not None or masks is not None:
            hint = "Take a Chain of Flip, Crop, Affine and Colour."
            checks.refuse("boxes and masks need transforms that move them", type(self).__name__, hint)
        return super().with_targets(image, seed)


@dataclass(frozen=True)
class RandAugment(Policy):
    """Runs operations drawn evenly from fourteen, all at one strength.

    Pixels are rounded to 256 levels first, and operations are Pillow's; moved images are bilinear, grey where they end.

    Source: https://arxiv.org/abs/1909.13719, section 3 and table 6's operations.

    Example:
        >>> RandAugment(2, 9)(tf.zeros((32, 32, 3)), tf.constant([0, 1])).shape
        TensorShape([32, 32, 3])
    """

    count: int = 2
    """How many operations, N in the paper."""
    magnitude: float = 9.0
    """Their strength from 0 to 30, M in the paper."""
    scale: tuple[float, float] = (-1.0, 1.0)
    """What black and white are."""

    def __post_init__(self):
        checks.at_least("count", self.count, 1)
        checks.within("magnitude", self.magnitude, 0.0, 30.0)

    def __call__(self, image, seed):
        """Returns the changed image, within its range."""
        x = _levels(image, self.scale)
        for number in range(self.count):
            place = tf.cast(drawn(seed, 2 * number, 0.0, len(RAND_AUGMENT)), tf.int32)
            sign = tf.sign(drawn(seed, 2 * number + 1, -1.0, 1.0))
            x = _applied(RAND_AUGMENT, x, place, self.magnitude / 30.0, sign, image.shape)
        return _image(x, self.scale, image.shape)


@dataclass(frozen=True)
class AugMix(Policy):
    """Blends an image with a mixture of several chains of operations.

    Source: https://arxiv.org/abs/1912.02781, section 3 and algorithm 1; without the Jensen-Shannon loss.

    Example:
        >>> AugMix()(tf.zeros((32, 32, 3)), tf.constant([0, 1])).shape
        TensorShape([32, 32, 3])
    """

    severity: float = 3.0
    """The highest strength from 0 to 10."""
    width: int = 3
    """Chains."""
    depth: int = 3
    """Operations in a chain at most; each chain draws from 1 on."""
    alpha: float = 1.0
    """Of the distributions that the shares of chains and image are drawn from."""
    scale: tuple[float, float] = (-1.0, 1.0)
    """What black and white are."""

    def __post_init__(self):
        checks.within("severity", self.severity, 0.1, 10.0)
        checks.at_least("width", self.width, 1)
        checks.at_least("depth", self.depth, 1)
        checks.within("alpha", self.alpha, 1e-3, 1e3)

    def __call__(self, image, seed):
        """Returns the blended image, within its range."""
        fold = tf.random.experimental.stateless_fold_in
        levels = _levels(image, self.scale)
        shares = tf.random.stateless_gamma((self.width,), fold(seed, 9001), self.alpha)
        shares /= tf.reduce_sum(shares)
        parts = tf.random.stateless_gamma((2,), fold(seed, 9002), self.alpha)
        mixed = tf.zeros_like(levels)
        for chain in range(self.width):
            x, own = levels, fold(seed, chain)
            length = tf.cast(drawn(own, 0, 1.0, self.depth + 1.0), tf.int32)
            for number in range(self.depth):
                place = tf.cast(drawn(own, 4 * number + 1, 0.0, len(AUG_MIX)), tf.int32)
                level = drawn(own, 4 * number + 2, 0.1, self.severity) / 10.0
                sign = tf.sign(drawn(own, 4 * number + 3, -1.0, 1.0))
                place = tf.where(number < length, place, -1)  # the default branch, which leaves it
                branches = {
                    index: lambda run=run, x=x, level=level, sign=sign: tf.ensure_shape(
                        run(x, level, sign), image.shape
                    )
                    for index, run in enumerate(AUG_MIX.values())
                }
                x = tf.switch_case(place, branches, default=lambda x=x: tf.ensure_shape(x, image.shape))
            mixed += shares[chain] * x
        original = parts[0] / tf.reduce_sum(parts)
        return _image(original * levels + (1 - original) * mixed, self.scale, image.shape)
