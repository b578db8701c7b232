"""Catch: a paddle catches a falling ball, seen as pixels.

Source: Mnih et al., "Recurrent models of visual attention", 2014, section 4.2; the numbers are those of bsuite's catch.
"""

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from ..environment import Environment
from ..spaces import Box, Discrete


class Catch(Environment):
    """Catch: move a paddle in the lowest row left (0), not at all (1) or right (2) to catch a ball that falls straight.

    Observation: picture (rows, columns, 1) of 0 and 1. Reward 1 for a caught ball, -1 for a missed one, else 0; an
    episode terminates when the ball is down, after rows - 1 steps.

    Args:
        rows: height of the picture.
        columns: width of the picture.

    Raises:
        ArgumentError: a side is no integer of 2 or more.

    Example:
        >>> Catch().observe(Catch().start(tf.constant([[0.1]])))[0, :, :, 0].numpy()[[0, -1]]
        array([[1., 0., 0., 0., 0.],
               [0., 0., 1., 0., 0.]], dtype=float32)
    """

    name = "catch"
    action_space = Discrete(3)
    reward_bar = 0.95
    noise_size = 1

    def __init__(self, rows: int = 10, columns: int = 5) -> None:
        self.rows, self.columns = checks.at_least("rows", rows, 2), checks.at_least("columns", columns, 2)
        self.observation_space = Box(0.0, 1.0, (rows, columns, 1))

    def start(self, noise):
        column = Discrete(self.columns).draw(noise)
        return {
            "row": tf.zeros_like(column),
            "column": column,
            "paddle": tf.fill(tf.shape(column), self.columns // 2),
        }

    def step(self, state, action, noise):
        row = state["row"] + 1
        paddle = tf.clip_by_value(state["paddle"] + action - 1, 0, self.columns - 1)
        terminated = row >= self.rows - 1
        caught = tf.where(tf.equal(paddle, state["column"]), 1.0, -1.0)
        return {"row": row, "column": state["column"], "paddle": paddle}, tf.where(terminated, caught, 0.0), terminated

    def observe(self, state):
        pixels = self.rows * self.columns
        ball = tf.one_hot(state["row"] * self.columns + state["column"], pixels)
        paddle = tf.one_hot((self.rows - 1) * self.columns + state["paddle"], pixels)
        return tf.reshape(tf.maximum(ball, paddle), (-1, self.rows, self.columns, 1))

    def draw(self, state):
        picture = np.full((self.rows, self.columns, 3), 255, "uint8")
        picture[-1, int(state["paddle"])] = (37, 99, 235)
        picture[min(int(state["row"]), self.rows - 1), int(state["column"])] = (234, 88, 12)
        return picture.repeat(24, 0).repeat(24, 1)
