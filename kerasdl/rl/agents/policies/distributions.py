"""Distributions of actions from the outputs of a policy: whole numbers, and independent normal numbers.

Parameters are one tensor (B, P): logits of whole numbers, or means and logarithms of deviations side by side.
"""

import math
from dataclasses import dataclass

import tensorflow as tf

from kerasdl.core import checks

from ...envs.spaces import Box, Discrete, MultiDiscrete, Space

FORBIDDEN = -1e8
"""Logit of an action that a mask forbids; its probability is 0 in float32."""


@dataclass(frozen=True)
class Categorical:
    """One or several independent whole numbers; P is the sum of the sizes.

    Args:
        sizes: number of values of each.
        single: True if an action is one number (B,) rather than a vector (B, len(sizes)).
    """

    sizes: tuple[int, ...]
    single: bool = False

    @property
    def noise_size(self) -> int:
        """Uniform numbers that a sample of one action takes."""
        return sum(self.sizes)

    def sample(self, parameters: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Returns actions int32 by the Gumbel trick, from uniform noise (B, P)."""
        gumbel = -tf.math.log(-tf.math.log(tf.clip_by_value(noise, 1e-20, 1.0 - 1e-7)))
        return self.mode(parameters + gumbel)

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns the most likely actions, int32."""
        picked = [tf.argmax(part, -1, output_type=tf.int32) for part in self._parts(parameters)]
        return picked[0] if self.single else tf.stack(picked, -1)

    def log_probability(self, parameters: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Returns log-probabilities of actions, (B,)."""
        columns = [actions] if self.single else tf.unstack(actions, axis=-1)
        parts = zip(self._parts(parameters), columns, self.sizes, strict=True)
        return tf.add_n(
            [tf.reduce_sum(tf.nn.log_softmax(part) * tf.one_hot(column, n), -1) for part, column, n in parts]
        )

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns entropies in nats, (B,)."""
        logs = [tf.nn.log_softmax(part) for part in self._parts(parameters)]
        return -tf.add_n([tf.reduce_sum(tf.exp(log) * log, -1) for log in logs])

    def divergence(self, old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
        """Returns the Kullback-Leibler divergence of new parameters from old ones, KL(old, new), (B,)."""
        pairs = zip(self._parts(old), self._parts(new), strict=True)
        logs = [(tf.nn.log_softmax(before), tf.nn.log_softmax(after)) for before, after in pairs]
        return tf.add_n([tf.reduce_sum(tf.exp(before) * (before - after), -1) for before, after in logs])

    def masked(self, parameters: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """Returns the parameters under which forbidden actions (mask False, (B, P)) have probability 0.

        Source: https://arxiv.org/abs/2006.14171, section 4.
        """
        return parameters if mask is None else tf.where(mask, parameters, FORBIDDEN)

    def _parts(self, parameters: tf.Tensor) -> list[tf.Tensor]:
        return [parameters] if self.single else tf.split(parameters, self.sizes, -1)


@dataclass(frozen=True)
class Normal:
    """Independent normal numbers; P is twice their count D: means, then logarithms of standard deviations.

    Args:
        width: D, numbers of an action.
        shape: shape of one action.
    """

    width: int
    shape: tuple[int, ...]

    @property
    def noise_size(self) -> int:
        """Uniform numbers that a sample of one action takes, by the inverse of the normal distribution."""
        return self.width

    def sample(self, parameters: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Returns actions (B, *shape), not clipped to bounds, from uniform noise (B, D)."""
        mean, log_deviation = self._parts(parameters)
        normal = tf.math.ndtri(tf.clip_by_value(noise, 1e-7, 1.0 - 1e-7))
        return self._shaped(mean + tf.exp(log_deviation) * normal)

    def mode(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns the means, (B, *shape)."""
        return self._shaped(self._parts(parameters)[0])

    def log_probability(self, parameters: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Returns logarithms of densities of actions, (B,)."""
        mean, log_deviation = self._parts(parameters)
        scaled = (tf.reshape(actions, tf.shape(mean)) - mean) * tf.exp(-log_deviation)
        return -tf.reduce_sum(0.5 * tf.square(scaled) + log_deviation + 0.5 * math.log(2 * math.pi), -1)

    def entropy(self, parameters: tf.Tensor) -> tf.Tensor:
        """Returns differential entropies in nats, (B,)."""
        return tf.reduce_sum(self._parts(parameters)[1] + 0.5 * math.log(2 * math.pi * math.e), -1)

    def divergence(self, old: tf.Tensor, new: tf.Tensor) -> tf.Tensor:
        """Returns the Kullback-Leibler divergence of new parameters from old ones, KL(old, new), (B,)."""
        (mean, log), (new_mean, new_log) = self._parts(old), self._parts(new)
        scaled = (tf.exp(2 * log) + tf.square(mean - new_mean)) * tf.exp(-2 * new_log)
        return tf.reduce_sum(new_log - log + 0.5 * scaled - 0.5, -1)

    def masked(self, parameters: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """Returns the parameters.

        Raises:
            ArgumentError: there is a mask, which real numbers cannot have.
        """
        if mask is not None:
            checks.refuse("a mask of actions needs whole-number actions", f"actions of shape {self.shape}")
        return parameters

    def _parts(self, parameters: tf.Tensor) -> list[tf.Tensor]:
        return tf.split(parameters, 2, -1)

    def _shaped(self, values: tf.Tensor) -> tf.Tensor:
        return tf.reshape(values, (-1, *self.shape))


def distribution_of(space: Space) -> Categorical | Normal:
    """Returns the distribution of the actions of a space.

    Raises:
        ArgumentError: the space is unknown.
    """
    if isinstance(space, Discrete):
        return Categorical((space.n,), single=True)
    if isinstance(space, MultiDiscrete):
        return Categorical(tuple(space.sizes))
    if isinstance(space, Box):
        return Normal(math.prod(space.shape), tuple(space.shape))
    checks.refuse("action_space must be Discrete, MultiDiscrete or Box", space)
