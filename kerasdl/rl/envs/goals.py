"""Environments with a goal in the observation, whose reward can be told for any other goal.

Source: universal value functions as in https://arxiv.org/abs/1707.01495, section 3.2.
"""

from typing import Any

import tensorflow as tf

from .environment import Environment


class GoalEnvironment(Environment):
    """Base class of environments with goals: the last `goal_size` entries of an observation (N, D) are the goal.

    A subclass defines `achieved` and `judge` beside the functions of an environment, and takes reward and end of `step`
    from `judge`. Hindsight replay (`hindsight=` of DQN, DDPG, TD3, SAC and DiscreteSAC) then learns from other goals.

    Attributes:
        goal_size: G, entries of a goal.

    Example:
        >>> env = make("bit_flipping", bits=2)
        >>> env.achieved(tf.constant([[1.0, 0.0, 1.0, 1.0]])).numpy()  # bits, then their goal
        array([[1., 0.]], dtype=float32)
    """

    goal_size: int = 0

    def achieved(self, observations: tf.Tensor) -> tf.Tensor:
        """Returns the goals that observations (N, D) fulfil, (N, G)."""
        raise NotImplementedError(f"{type(self).__name__} has no achieved(observations)")

    def judge(self, achieved: tf.Tensor, goals: tf.Tensor) -> tuple[Any, Any]:
        """Returns the reward (N,) float32 of a step, and whether the episode terminated by it, (N,) bool.

        Args:
            achieved: (N, G), of the successor of the step.
            goals: (N, G).
        """
        raise NotImplementedError(f"{type(self).__name__} has no judge(achieved, goals)")
