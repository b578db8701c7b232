"""Prioritized replay: transitions drawn in proportion to their last temporal difference (Schaul et al. 2016).

Source: https://arxiv.org/abs/1511.05952, section 3.3 (proportional variant), algorithm 1, appendix B.2.1 (strata).

Deviations: weights are divided by the largest of the batch, not of the buffer. New transitions have the largest
priority so far, which is 1 at first.
"""

from typing import Any

import tensorflow as tf

from kerasdl.core import checks

from ..envs.spaces import Space
from ..envs.vectors import Transition
from .replay import Batch, ReplayBuffer
from .sum_trees import SumTree

SMALLEST = 1e-6


class PrioritizedBuffer(ReplayBuffer):
    """Replay buffer whose transitions are drawn by P(i) = p_i / sum of p, p_i = (|temporal difference| + 1e-6)^alpha.

    Args:
        observation_space: space of the observations.
        action_space: space of the actions.
        exponent: alpha, 0 (even) to 1 (in proportion).
        **settings: capacity, count, steps, discount and dtype of `ReplayBuffer`.

    Raises:
        ArgumentError: a number is out of range.

    Example:
        >>> vectors = VectorEnvironment(make("cartpole"), 2)
        >>> buffer = PrioritizedBuffer(vectors.observation_space, vectors.action_space, capacity=100, count=2)
        >>> buffer.add(vectors.step(vectors.reset(seed=0), [0, 1])[1])
        >>> buffer.update(tf.constant([0, 1]), tf.constant([1.0, 0.0]))
        >>> buffer.sample(4, seed=[0, 0]).index.numpy()
        array([0, 0, 0, 0], dtype=int32)
    """

    def __init__(self, observation_space: Space, action_space: Space, *, exponent: float = 0.6, **settings: Any):
        super().__init__(observation_space, action_space, **settings)
        self.exponent = checks.within("exponent", exponent, 0.0, 1.0)
        self.tree = SumTree(self.capacity)
        self.largest = tf.Variable(1.0, dtype=tf.float64, trainable=False, name="largest")
        """Largest priority so far."""

    @property
    def variables(self) -> dict[str, tf.Variable]:
        return {**super().variables, **self.tree.variables, "largest": self.largest}

    def add(self, transition: Transition) -> None:
        before = tf.identity(self.added)
        super().add(transition)
        rows = transition.reward.shape[0] if len(transition.reward.shape) == 2 else 1
        later = self.steps - 1
        end = before + rows
        # From the rows that were incomplete so far to the newest; those that fall out here stand for the first left.
        steps = tf.maximum(before - later + tf.range(rows + later, dtype=tf.int64), tf.maximum(end - self.rows, 0))
        priority = tf.where(steps < end - later, self.largest, 0.0)
        index = tf.cast(steps % self.rows, tf.int32)[:, None] * self.count + tf.range(self.count)
        self.tree.assign(tf.reshape(index, (-1,)), tf.repeat(priority, self.count))

    def sample(self, batch: int, seed: Any, importance: Any = 1.0) -> Batch:
        """Returns transitions in proportion to their priorities, one from each of B equal strata of their sum.

        Args:
            batch: B, their number.
            seed: two integers; the same ones draw the same places.
            importance: beta, the share of the bias that the weights take away, 0 to 1.

        Returns:
            The batch with the weights (size * P(i))^-beta, divided by the largest of the batch.
        """
        noise = tf.random.stateless_uniform((batch,), tf.cast(seed, tf.int32), dtype=tf.float64, alg="philox")
        total = self.tree.total
        index = self.tree.find((tf.range(batch, dtype=tf.float64) + noise) / batch * total)
        share = self.tree.read(index) / total
        weight = (tf.cast(self.size, tf.float64) * share) ** -tf.cast(importance, tf.float64)
        return self.read(index, tf.cast(weight / tf.reduce_max(weight), tf.float32))

    def update(self, index: tf.Tensor, errors: tf.Tensor) -> None:
        """Sets the priorities of transitions by their temporal differences.

        Args:
            index: (B,) places, as in the batch.
            errors: (B,) temporal differences; the sign does not matter.
        """
        priority = (tf.abs(tf.cast(errors, tf.float64)) + SMALLEST) ** self.exponent
        self.largest.assign(tf.maximum(self.largest, tf.reduce_max(priority)))
        self.tree.assign(index, priority)
