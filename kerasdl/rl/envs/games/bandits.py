"""Bandits: arms with rewards of unknown means, the smallest problem of exploration.

Source: Sutton and Barto, "Reinforcement learning", 2nd edition, section 2.3 (the testbed of ten arms).
"""

import tensorflow as tf

from kerasdl.core import checks

from ..environment import Environment
from ..spaces import Box, Discrete

LEAST = 2.0**-24  # noise may be 0, whose normal quantile is infinite


class GaussianBandit(Environment):
    """Bandit whose arms give normal rewards of deviation 1; the means are standard normal, drawn at each start.

    The observation says nothing, (N, 1) zeros. An episode is one bandit, truncated after `steps` pulls.

    Args:
        arms: number of arms.
        steps: pulls of one bandit.

    Raises:
        ArgumentError: a number is no integer of 1 or more.

    Example:
        >>> GaussianBandit(arms=3).start(tf.fill((1, 3), 0.5))["means"].numpy()
        array([[0., 0., 0.]], dtype=float32)
    """

    name = "gaussian_bandit"
    observation_space = Box(0.0, 1.0, (1,))
    step_noise_size = 1

    def __init__(self, arms: int = 10, steps: int = 1000) -> None:
        self.noise_size = checks.at_least("arms", arms, 1)
        self.time_limit = checks.at_least("steps", steps, 1)
        self.action_space = Discrete(arms)

    def start(self, noise):
        return {"means": _normal(noise)}

    def step(self, state, action, noise):
        reward = tf.gather(state["means"], action, batch_dims=1) + _normal(noise[:, 0])
        return state, reward, tf.zeros_like(reward, tf.bool)

    def observe(self, state):
        return tf.zeros_like(state["means"][:, :1])

    def regret(self, state, action) -> tf.Tensor:
        """Returns the mean of the best arm minus that of the arm pulled, (N,) float32, 0 or more."""
        return tf.reduce_max(state["means"], 1) - tf.gather(state["means"], action, batch_dims=1)


class BernoulliBandit(GaussianBandit):
    """Bandit whose arms give 1 or 0; the probabilities of 1 are uniform from 0 to 1, drawn at each start.

    Example:
        >>> BernoulliBandit(arms=2).start(tf.constant([[0.25, 0.75]]))["means"].numpy()
        array([[0.25, 0.75]], dtype=float32)
    """

    name = "bernoulli_bandit"

    def start(self, noise):
        return {"means": noise}

    def step(self, state, action, noise):
        reward = tf.cast(noise[:, 0] < tf.gather(state["means"], action, batch_dims=1), tf.float32)
        return state, reward, tf.zeros_like(reward, tf.bool)


def _normal(noise: tf.Tensor) -> tf.Tensor:
    """Returns standard normal numbers of uniform ones."""
    return tf.math.ndtri(tf.maximum(noise, LEAST))
