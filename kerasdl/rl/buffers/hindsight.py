"""Hindsight replay (HER): drawn transitions whose goal is one that their episode reached later.

Source: https://arxiv.org/abs/1707.01495, algorithm 1 and section 3.3, strategy "future".

Deviations: goals are exchanged when transitions are drawn and not when they are stored, so that each draw has another
goal; the share of exchanged goals is that of k / (k + 1) of the paper.
"""

from typing import Any

import tensorflow as tf

from kerasdl.core import checks

from ..envs.goals import GoalEnvironment
from .replay import Batch, ReplayBuffer


class HindsightBuffer(ReplayBuffer):
    """Replay buffer of an environment with goals: a share of what is drawn has a goal that was reached later.

    Args:
        env: a `GoalEnvironment` with a time limit.
        share: share of drawn transitions with another goal, 0 to 1; 0.8 is k = 4 of the paper.
        **settings: capacity, count and discount of `ReplayBuffer`.

    Raises:
        ArgumentError: a number is out of range, or the environment has no goals or no time limit.

    Example:
        >>> env = make("bit_flipping", bits=3)
        >>> vectors = VectorEnvironment(env, 2)
        >>> buffer = HindsightBuffer(env, capacity=100, count=2, share=1.0)
        >>> buffer.add(vectors.step(vectors.reset(seed=0), [0, 1])[1])
        >>> buffer.sample(4, seed=[0, 0]).reward.numpy()  # every bit string was reached by itself
        array([0., 0., 0., 0.], dtype=float32)
    """

    def __init__(self, env: GoalEnvironment, *, share: float = 0.8, **settings: Any):
        if not isinstance(env, GoalEnvironment) or env.time_limit is None:
            checks.refuse("hindsight needs a GoalEnvironment with a time limit", env)
        if settings.get("steps", 1) != 1:
            checks.refuse("hindsight needs returns of one step: steps must be 1", settings["steps"])
        self.env, self.share = env, checks.within("share", share, 0.0, 1.0)
        super().__init__(env.observation_space, env.action_space, **settings)

    def sample(self, batch: int, seed: Any) -> Batch:
        """Returns transitions drawn evenly, a share of them with the goal that a later step of the episode achieved.

        Args:
            batch: B, their number.
            seed: two integers; the same ones draw the same places and goals.

        Returns:
            The batch; rewards and discounts are those of the goals in its observations.
        """
        drawn = super().sample(batch, seed)
        key = tf.random.fold_in(tf.cast(seed, tf.int32), 1, alg="philox")
        noise = tf.unstack(tf.random.stateless_uniform((2, batch), key, dtype=tf.float64, alg="philox"))
        later = tf.gather(self.fields["next_observation"], self._later(drawn.index, noise[0]))
        return self._with_goals(drawn, self.env.achieved(later), noise[1] < self.share)

    def _later(self, index: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Returns a place of the same episode for each place (B,), of equal probability from there to its end."""
        ahead = tf.range(min(self.env.time_limit, self.rows))
        places = (index[:, None] + ahead * self.count) % self.capacity  # (B, L)
        newest = tf.cast((self.added - 1) % self.rows, tf.int32)
        held = ahead <= ((newest - index // self.count) % self.rows)[:, None]
        ends = tf.cumsum(tf.cast(tf.gather(self.fields["ended"], places), tf.int32), axis=1, exclusive=True)
        length = tf.reduce_sum(tf.cast(held & (ends == 0), tf.int32), 1)
        at = tf.minimum(tf.cast(noise * tf.cast(length, tf.float64), tf.int32), length - 1)
        return (index + at * self.count) % self.capacity

    def _with_goals(self, batch: Batch, goals: tf.Tensor, chosen: tf.Tensor) -> Batch:
        """Returns the batch with other goals where they are chosen, (B,) bool."""
        reward, terminated = self.env.judge(self.env.achieved(batch.next_observation), goals)
        discount = tf.where(terminated, 0.0, self.discount)

        def moved(observation):
            other = tf.concat([observation[:, : -self.env.goal_size], goals], -1)
            return tf.where(chosen[:, None], other, observation)

        return batch._replace(
            observation=moved(batch.observation),
            next_observation=moved(batch.next_observation),
            reward=tf.where(chosen, reward, batch.reward),
            discount=tf.where(chosen, discount, batch.discount),
        )
