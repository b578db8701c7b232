"""Pendulum: a hanging rod is swung up and held upright by a limited torque.

Source: numbers of Gymnasium's Pendulum-v1. Equal to it within 1e-5 a step (the reward within 1e-4), in float32.
Deviation: the angle is kept in [-pi, pi], so that float32 does not lose digits in long episodes; observations and
rewards are the same.
"""

import math

import numpy as np
import tensorflow as tf

from ..environment import Environment
from ..spaces import Box
from .drawing import Canvas

GRAVITY, SECONDS, MOST_TORQUE, MOST_SPEED = 10.0, 0.05, 2.0, 8.0


class Pendulum(Environment):
    """Pendulum: swing a rod up and hold it by a torque from -2 to 2, beyond which actions are cut.

    Observation: cosine and sine of the angle (0 is upright), angular speed. Reward: minus squared angle, 0.1 times
    squared speed and 0.001 times squared torque, at most 0. An episode never terminates; it is truncated after 200
    steps.

    Example:
        >>> Pendulum().action_space
        Box(low=-2.0, high=2.0, shape=(1,))
    """

    name = "pendulum"
    observation_space = Box((-1.0, -1.0, -MOST_SPEED), (1.0, 1.0, MOST_SPEED), (3,))
    action_space = Box(-MOST_TORQUE, MOST_TORQUE, (1,))
    time_limit = 200
    noise_size = 2

    def start(self, noise):
        return {"angle": (noise[:, 0] * 2 - 1) * math.pi, "speed": noise[:, 1] * 2 - 1}

    def step(self, state, action, noise):
        angle, speed = state["angle"], state["speed"]
        torque = tf.clip_by_value(action[:, 0], -MOST_TORQUE, MOST_TORQUE)
        cost = tf.square(angle) + 0.1 * tf.square(speed) + 0.001 * tf.square(torque)
        speed = speed + (1.5 * GRAVITY * tf.sin(angle) + 3.0 * torque) * SECONDS
        speed = tf.clip_by_value(speed, -MOST_SPEED, MOST_SPEED)
        angle = tf.math.floormod(angle + speed * SECONDS + math.pi, 2 * math.pi) - math.pi
        return {"angle": angle, "speed": speed}, -cost, tf.zeros_like(angle, tf.bool)

    def observe(self, state):
        return tf.stack([tf.cos(state["angle"]), tf.sin(state["angle"]), state["speed"]], axis=1)

    def draw(self, state):
        angle = float(state["angle"])
        canvas = Canvas(200, 200, (-1.3, 1.3), (-1.3, 1.3))
        canvas.line([(0, 0), (-math.sin(angle), math.cos(angle))], "orange", 12)
        canvas.dot((0, 0), 5, "black")
        return np.asarray(canvas.picture)
