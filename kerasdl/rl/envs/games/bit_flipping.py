"""Bit flipping: bits are flipped one at a time until they equal the goal, a test of sparse rewards.

Source: https://arxiv.org/abs/1707.01495, section 3.1.
"""

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from ..goals import GoalEnvironment
from ..spaces import Box, Discrete


class BitFlipping(GoalEnvironment):
    """Bits that start at random, and a random goal: each action flips one bit.

    Observation: n bits, then the n bits of the goal. Reward: -1 a step, 0 in the step that reaches the goal and ends
    the episode. An episode is truncated after n steps.

    Args:
        bits: n, number of bits.

    Raises:
        ArgumentError: bits is no integer of 1 or more.

    Example:
        >>> BitFlipping(bits=4).action_space
        Discrete(n=4)
    """

    name = "bit_flipping"

    def __init__(self, bits: int = 10) -> None:
        self.goal_size = self.time_limit = checks.at_least("bits", bits, 1)
        self.noise_size = 2 * bits
        self.observation_space, self.action_space = Box(0.0, 1.0, (2 * bits,)), Discrete(bits)

    def start(self, noise):
        bits, goal = tf.split(tf.cast(noise >= 0.5, tf.float32), 2, -1)
        return {"bits": bits, "goal": goal}

    def step(self, state, action, noise):
        bits = tf.abs(state["bits"] - tf.one_hot(action, self.goal_size))
        reward, terminated = self.judge(bits, state["goal"])
        return {"bits": bits, "goal": state["goal"]}, reward, terminated

    def observe(self, state):
        return tf.concat([state["bits"], state["goal"]], -1)

    def achieved(self, observations):
        return observations[:, : self.goal_size]

    def judge(self, achieved, goals):
        reached = tf.reduce_all(tf.equal(achieved, goals), -1)
        return tf.where(reached, 0.0, -1.0), reached

    def draw(self, state):
        rows = np.stack([state["bits"], state["goal"]])[..., None]
        picture = np.where(rows > 0, (37, 99, 235), (255, 255, 255)).astype("uint8")
        return picture.repeat(24, 0).repeat(24, 1)
