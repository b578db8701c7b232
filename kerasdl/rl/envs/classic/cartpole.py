"""CartPole: a pole on a cart is kept upright by pushes to the left and right.

Source: Barto, Sutton and Anderson, "Neuronlike adaptive elements that can solve difficult learning control problems",
1983; numbers of Gymnasium's CartPole-v1, which has no friction. Equal to it within 1e-5 a step, in float32.
"""

import math

import numpy as np
import tensorflow as tf

from ..environment import Environment
from ..spaces import Box, Discrete
from .drawing import Canvas

GRAVITY, FORCE, SECONDS = 9.8, 10.0, 0.02
POLE_MASS, HALF_LENGTH = 0.1, 0.5
TOTAL_MASS = 1.0 + POLE_MASS
POLE_MASS_LENGTH = POLE_MASS * HALF_LENGTH
X_LIMIT, ANGLE_LIMIT = 2.4, 12 * math.pi / 180


class CartPole(Environment):
    """CartPole: push a cart left (0) or right (1) so that the pole on it stays upright; reward 1 a step.

    Observation: position in metres, speed, angle of the pole in radians, angular speed. An episode terminates beyond
    2.4 metres or 12 degrees, and is truncated after 500 steps.

    Example:
        >>> CartPole().start(tf.fill((1, 4), 0.5))["x"].numpy()
        array([0.], dtype=float32)
    """

    name = "cartpole"
    observation_space = Box(
        (-2 * X_LIMIT, -math.inf, -2 * ANGLE_LIMIT, -math.inf),
        (2 * X_LIMIT, math.inf, 2 * ANGLE_LIMIT, math.inf),
        (4,),
    )
    action_space = Discrete(2)
    time_limit = 500
    reward_bar = 475.0
    noise_size = 4

    def start(self, noise):
        x, speed, angle, angle_speed = tf.unstack(noise * 0.1 - 0.05, axis=1)
        return {"x": x, "speed": speed, "angle": angle, "angle_speed": angle_speed}

    def step(self, state, action, noise):
        x, speed, angle, angle_speed = (state[name] for name in ("x", "speed", "angle", "angle_speed"))
        force = tf.where(tf.equal(action, 1), FORCE, -FORCE)
        cosine, sine = tf.cos(angle), tf.sin(angle)
        pushed = (force + POLE_MASS_LENGTH * tf.square(angle_speed) * sine) / TOTAL_MASS
        turning = (GRAVITY * sine - cosine * pushed) / (
            HALF_LENGTH * (4.0 / 3.0 - POLE_MASS * tf.square(cosine) / TOTAL_MASS)
        )
        moving = pushed - POLE_MASS_LENGTH * turning * cosine / TOTAL_MASS
        after = {
            "x": x + SECONDS * speed,
            "speed": speed + SECONDS * moving,
            "angle": angle + SECONDS * angle_speed,
            "angle_speed": angle_speed + SECONDS * turning,
        }
        terminated = (tf.abs(after["x"]) > X_LIMIT) | (tf.abs(after["angle"]) > ANGLE_LIMIT)
        return after, tf.ones_like(x), terminated

    def observe(self, state):
        return tf.stack([state["x"], state["speed"], state["angle"], state["angle_speed"]], axis=1)

    def draw(self, state):
        x, angle = float(state["x"]), float(state["angle"])
        canvas = Canvas(300, 200, (-2.4, 2.4), (-0.8, 2.4))
        canvas.line([(-2.4, 0), (2.4, 0)], "grey")
        canvas.box((x - 0.25, -0.12), (x + 0.25, 0.12), "black")
        canvas.line([(x, 0), (x + 2 * math.sin(angle), 2 * math.cos(angle))], "orange", 6)
        canvas.dot((x, 0), 3, "blue")
        return np.asarray(canvas.picture)
