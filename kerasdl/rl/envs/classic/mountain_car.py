"""MountainCar: a car too weak for its hill gathers speed by rolling back and forth; with three pushes or any force.

Source: Moore, "Efficient memory-based learning for robot control", 1990; numbers of Gymnasium's MountainCar-v0 and
MountainCarContinuous-v0. Equal to them within 1e-6 a step, in float32.
"""

import math

import numpy as np
import tensorflow as tf

from ..environment import Environment
from ..spaces import Box, Discrete
from .drawing import Canvas

LEFT_END, RIGHT_END, MOST_SPEED = -1.2, 0.6, 0.07
GRAVITY = 0.0025


class MountainCar(Environment):
    """MountainCar: push a car left (0), not at all (1) or right (2) until it is on the right hill.

    Observation: position and speed. Reward -1 a step; an episode terminates at position 0.5 and is truncated after 200
    steps.

    Example:
        >>> MountainCar().start(tf.constant([[0.5]]))["position"].numpy()
        array([-0.5], dtype=float32)
    """

    name = "mountain_car"
    observation_space = Box((LEFT_END, -MOST_SPEED), (RIGHT_END, MOST_SPEED), (2,))
    action_space = Discrete(3)
    time_limit = 200
    reward_bar = -110.0
    noise_size = 1
    goal = 0.5

    def start(self, noise):
        position = noise[:, 0] * 0.2 - 0.6
        return {"position": position, "speed": tf.zeros_like(position)}

    def step(self, state, action, noise):
        after = _rolled(state, 0.001 * (tf.cast(action, tf.float32) - 1.0))
        terminated = (after["position"] >= self.goal) & (after["speed"] >= 0)
        return after, -tf.ones_like(after["speed"]), terminated

    def observe(self, state):
        return tf.stack([state["position"], state["speed"]], axis=1)

    def draw(self, state):
        canvas = Canvas(300, 200, (LEFT_END, RIGHT_END), (0.0, 1.2))
        places = np.linspace(LEFT_END, RIGHT_END, 91)
        canvas.line([(x, _height(x)) for x in places], "grey", 3)
        canvas.line([(self.goal, _height(self.goal)), (self.goal, _height(self.goal) + 0.15)], "green", 4)
        position = float(state["position"])
        canvas.dot((position, _height(position) + 0.05), 9, "blue")
        return np.asarray(canvas.picture)


class ContinuousMountainCar(MountainCar):
    """MountainCar with a force from -1 to 1 as action, beyond which it is cut.

    Reward: 100 in the step that reaches position 0.45, minus 0.1 times the squared action, uncut as in Gymnasium. An
    episode is truncated after 999 steps.

    Example:
        >>> ContinuousMountainCar().action_space
        Box(low=-1.0, high=1.0, shape=(1,))
    """

    name = "mountain_car_continuous"
    action_space = Box(-1.0, 1.0, (1,))
    time_limit = 999
    reward_bar = 90.0
    goal = 0.45

    def step(self, state, action, noise):
        action = action[:, 0]
        after = _rolled(state, 0.0015 * tf.clip_by_value(action, -1.0, 1.0))
        terminated = (after["position"] >= self.goal) & (after["speed"] >= 0)
        return after, tf.where(terminated, 100.0, 0.0) - 0.1 * tf.square(action), terminated


def _rolled(state, force):
    """Returns the state after a step; a car that reaches the left end stops."""
    speed = state["speed"] + force - GRAVITY * tf.cos(3.0 * state["position"])
    speed = tf.clip_by_value(speed, -MOST_SPEED, MOST_SPEED)
    position = tf.clip_by_value(state["position"] + speed, LEFT_END, RIGHT_END)
    return {"position": position, "speed": tf.where((position <= LEFT_END) & (speed < 0), 0.0, speed)}


def _height(position):
    return math.sin(3 * position) * 0.45 + 0.55
