"""Spread: several agents share out as many landmarks among themselves, for one reward of the team.

Source: the task "cooperative navigation" of Lowe et al., "Multi-agent actor-critic for mixed cooperative-competitive
environments", 2017, section 5.1; here on a grid, with steps in place of forces and without collisions.
"""

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from ..classic.drawing import Canvas
from ..environment import Environment
from ..spaces import Box, MultiDiscrete

MOVES = ((0, 0), (0, -1), (1, 0), (0, 1), (-1, 0))  # stay, left, down, right, up
COLOURS = ("orange", "blue", "red", "black", "yellow")


class Spread(Environment):
    """Spread: agents on a grid cover all landmarks together; each stays (0) or moves left, down, right, up.

    Observation of each agent: its place, the ways to all landmarks and to the other agents, all divided by the side,
    and its number as one-hot: (agents, 5 * agents). The reward of the team is minus the share of landmarks without an
    agent, each step. An episode terminates when all are covered, and is truncated after 25 steps.

    Args:
        agents: number of agents and of landmarks.
        side: places along each side of the grid.

    Raises:
        ArgumentError: the number of agents is not from 2 to 5, or the side no integer of 3 or more.

    Example:
        >>> Spread().observation_space.shape, Spread().action_space
        ((3, 15), MultiDiscrete(sizes=(5, 5, 5)))
    """

    name = "spread"
    time_limit = 25
    reward_bar = -1.5  # agents that share out the landmarks with full knowledge return -1.2 on 5 x 5 places

    def __init__(self, agents: int = 3, side: int = 5) -> None:
        self.agents = checks.one_of("agents", agents, range(2, 6))
        self.side = checks.at_least("side", side, 3)
        self.noise_size = side * side + agents
        self.observation_space = Box(-1.0, 1.0, (agents, 5 * agents))
        self.action_space = MultiDiscrete((len(MOVES),) * agents)

    def start(self, noise):
        cells = self.side * self.side
        landmarks = tf.math.top_k(noise[:, :cells], self.agents).indices  # all different
        agents = MultiDiscrete((cells,) * self.agents).draw(noise[:, cells:])
        return {"agents": self._places(agents), "landmarks": self._places(landmarks)}  # (N, A, 2)

    def step(self, state, action, noise):
        moved = tf.clip_by_value(state["agents"] + tf.gather(tf.constant(MOVES), action), 0, self.side - 1)
        uncovered = 1.0 - tf.reduce_mean(tf.cast(_covered(moved, state["landmarks"]), tf.float32), axis=1)
        return {"agents": moved, "landmarks": state["landmarks"]}, -uncovered, tf.equal(uncovered, 0.0)

    def observe(self, state):
        scale = 1.0 / self.side
        agents, landmarks = (tf.cast(state[name], tf.float32) * scale for name in ("agents", "landmarks"))
        numbers = tf.eye(self.agents)
        rows = []
        for agent in range(self.agents):
            own = agents[:, agent]  # (N, 2)
            others = tf.roll(agents, -agent, axis=1)[:, 1:] - own[:, None]
            ways = tf.concat([landmarks - own[:, None], others], axis=1)  # (N, 2A - 1, 2)
            flat = tf.reshape(ways, (-1, 2 * (2 * self.agents - 1)))
            rows.append(tf.concat([own, flat, tf.zeros_like(own[:, :1]) + numbers[agent]], axis=1))
        return tf.stack(rows, axis=1)

    def draw(self, state):
        canvas = Canvas(48 * self.side, 48 * self.side, (0, self.side), (0, self.side))
        for line in range(self.side + 1):
            canvas.line([(line, 0), (line, self.side)], "light", 1)
            canvas.line([(0, line), (self.side, line)], "light", 1)
        for row, column in np.asarray(state["landmarks"]):
            canvas.box((column + 0.1, self.side - row - 0.9), (column + 0.9, self.side - row - 0.1), "green")
        for agent, (row, column) in enumerate(np.asarray(state["agents"])):
            shift = 0.16 * (agent - (self.agents - 1) / 2)  # agents at one place stay visible
            canvas.dot((column + 0.5 + shift, self.side - row - 0.5), 9, COLOURS[agent])
        return np.asarray(canvas.picture)

    def _places(self, cells):
        return tf.stack([cells // self.side, cells % self.side], axis=-1)


def _covered(agents, landmarks):
    """Returns which landmarks (N, A) have an agent on them."""
    equal = tf.reduce_all(tf.equal(landmarks[:, :, None], agents[:, None]), axis=-1)  # (N, landmark, agent)
    return tf.reduce_any(equal, axis=-1)
