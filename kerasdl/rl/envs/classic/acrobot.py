"""Acrobot: a pendulum of two links is swung up by a motor at the joint between them.

Source: Sutton, "Generalization in reinforcement learning: successful examples using sparse coarse coding", 1996;
dynamics of Sutton and Barto's book as in Gymnasium's Acrobot-v1: one Runge-Kutta step of order 4 of 0.2 seconds. Equal
to it within 1e-3 a step, in float32: cosines near the wrap of an angle and the speed limits magnify rounding.
"""

import math

import numpy as np
import tensorflow as tf

from ..environment import Environment
from ..spaces import Box, Discrete
from .drawing import Canvas

SECONDS, GRAVITY = 0.2, 9.8
CENTRE = 0.5  # of mass, along a link of length, mass and moment of inertia 1
SPEED_LIMITS = (4 * math.pi, 9 * math.pi)
NAMES = ("angle1", "angle2", "speed1", "speed2")


class Acrobot(Environment):
    """Acrobot: turn the joint between two links with torque -1, 0 or 1 (actions 0, 1, 2) until the end is up.

    Observation: cosine and sine of the first angle (0 hangs down), the same of the second, relative to the first link,
    and both angular speeds. Reward -1 a step, 0 in the step that lifts the end one link above the upper joint, which
    terminates the episode; it is truncated after 500 steps.

    Example:
        >>> Acrobot().observe(Acrobot().start(tf.fill((1, 4), 0.5))).shape
        TensorShape([1, 6])
    """

    name = "acrobot"
    observation_space = Box((-1.0,) * 4 + tuple(-each for each in SPEED_LIMITS), (1.0,) * 4 + SPEED_LIMITS, (6,))
    action_space = Discrete(3)
    time_limit = 500
    reward_bar = -100.0
    noise_size = 4

    def start(self, noise):
        return dict(zip(NAMES, tf.unstack(noise * 0.2 - 0.1, axis=1), strict=True))

    def step(self, state, action, noise):
        torque = tf.cast(action, tf.float32) - 1.0
        values = [state[name] for name in NAMES]
        slope1 = _slopes(values, torque)
        slope2 = _slopes(_moved(values, slope1, SECONDS / 2), torque)
        slope3 = _slopes(_moved(values, slope2, SECONDS / 2), torque)
        slope4 = _slopes(_moved(values, slope3, SECONDS), torque)
        total = [a + 2 * b + 2 * c + d for a, b, c, d in zip(slope1, slope2, slope3, slope4, strict=True)]
        angle1, angle2, speed1, speed2 = _moved(values, total, SECONDS / 6)
        speeds = [
            tf.clip_by_value(each, -limit, limit) for each, limit in zip((speed1, speed2), SPEED_LIMITS, strict=True)
        ]
        after = dict(zip(NAMES, (_wrapped(angle1), _wrapped(angle2), *speeds), strict=True))
        terminated = -tf.cos(after["angle1"]) - tf.cos(after["angle1"] + after["angle2"]) > 1.0
        return after, tf.where(terminated, 0.0, -1.0), terminated

    def observe(self, state):
        angle1, angle2, speed1, speed2 = (state[name] for name in NAMES)
        return tf.stack([tf.cos(angle1), tf.sin(angle1), tf.cos(angle2), tf.sin(angle2), speed1, speed2], axis=1)

    def draw(self, state):
        first, second = float(state["angle1"]), float(state["angle1"]) + float(state["angle2"])
        middle = (math.sin(first), -math.cos(first))
        end = (middle[0] + math.sin(second), middle[1] - math.cos(second))
        canvas = Canvas(240, 240, (-2.3, 2.3), (-2.3, 2.3))
        canvas.line([(-2.3, 1), (2.3, 1)], "grey", 1)
        canvas.line([(0, 0), middle], "blue", 8)
        canvas.line([middle, end], "orange", 8)
        for joint in ((0, 0), middle):
            canvas.dot(joint, 5, "black")
        return np.asarray(canvas.picture)


def _slopes(values, torque):
    """Returns the time derivatives of both angles and both speeds."""
    angle1, angle2, speed1, speed2 = values
    cosine2, sine2 = tf.cos(angle2), tf.sin(angle2)
    inertia1 = CENTRE**2 + (1 + CENTRE**2 + 2 * CENTRE * cosine2) + 2.0
    inertia2 = CENTRE**2 + CENTRE * cosine2 + 1.0
    weight2 = CENTRE * GRAVITY * tf.sin(angle1 + angle2)
    weight1 = (
        -CENTRE * tf.square(speed2) * sine2
        - 2 * CENTRE * speed2 * speed1 * sine2
        + (CENTRE + 1) * GRAVITY * tf.sin(angle1)
        + weight2
    )
    turning2 = (torque + inertia2 / inertia1 * weight1 - CENTRE * tf.square(speed1) * sine2 - weight2) / (
        CENTRE**2 + 1.0 - tf.square(inertia2) / inertia1
    )
    turning1 = -(inertia2 * turning2 + weight1) / inertia1
    return [speed1, speed2, turning1, turning2]


def _moved(values, slopes, seconds):
    return [value + seconds * slope for value, slope in zip(values, slopes, strict=True)]


def _wrapped(angle):
    """Returns an angle in [-pi, pi]; one that lies there is not changed."""
    return angle - 2 * math.pi * tf.round(angle / (2 * math.pi))
