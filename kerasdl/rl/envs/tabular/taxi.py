"""Taxi: a taxi fetches a passenger at one of four stands and sets him down at another.

Source: Dietterich, "Hierarchical reinforcement learning with the MAXQ value function decomposition", 2000, section 3;
Gymnasium's Taxi-v3 and Taxi-v4, whose table of outcomes this is.
"""

import itertools

import numpy as np
import tensorflow as tf

from ..classic.drawing import Canvas
from .tables import OutcomeTable, TabularEnvironment

SIDE, STANDS, INSIDE = 5, ((0, 0), (0, 4), (4, 0), (4, 3)), 4
WALLS = {(0, 1), (1, 1), (3, 0), (4, 0), (3, 2), (4, 2)}  # right of these places
SOUTH, NORTH, EAST, WEST, PICKUP, DROPOFF = range(6)
COLOURS = ("red", "green", "yellow", "blue")


class Taxi(TabularEnvironment):
    """Taxi: fetch a passenger and set him down at his destination; actions south, north, east, west, pickup, dropoff.

    State: ((row * 5 + column) * 5 + passenger) * 4 + destination, where passenger 4 sits in the taxi. Reward -1 a step,
    20 for the right dropoff, which terminates, -10 for a pickup or dropoff that is not possible. Actions that change
    nothing are masked by `action_mask`. Episodes are truncated after 200 steps.

    Example:
        >>> Taxi().observation_space, Taxi().action_space
        (Discrete(n=500), Discrete(n=6))
    """

    def __init__(self) -> None:
        super().__init__(_table(), "taxi", time_limit=200, reward_bar=8.0)
        changes = self.table.next_state[..., 0] != np.arange(self.table.states)[:, None]
        self._allowed = changes | self.table.terminated[..., 0]

    def action_mask(self, state):
        """Returns which actions change the state or end the episode, (N, 6) bool."""
        return tf.gather(tf.constant(self._allowed), state["place"])

    def draw(self, state):
        row, column, passenger, destination = _parts(int(state["place"]))
        canvas = Canvas(250, 250, (0, SIDE), (0, SIDE))
        for stand, (stand_row, stand_column) in enumerate(STANDS):
            low = (stand_column + 0.05, SIDE - stand_row - 0.95)
            canvas.box(low, (low[0] + 0.9, low[1] + 0.9), COLOURS[stand])
        for wall_row, wall_column in WALLS:
            canvas.line([(wall_column + 1, SIDE - wall_row - 1), (wall_column + 1, SIDE - wall_row)], "black", 5)
        goal = STANDS[destination]
        canvas.box((goal[1] + 0.35, SIDE - goal[0] - 0.65), (goal[1] + 0.65, SIDE - goal[0] - 0.35), "white")
        canvas.dot((column + 0.5, SIDE - row - 0.5), 16, "orange")
        at = (row, column) if passenger == INSIDE else STANDS[passenger]
        canvas.dot((at[1] + 0.5, SIDE - at[0] - 0.5), 6, "black")
        return np.asarray(canvas.picture)


def _table() -> OutcomeTable:
    shape = (SIDE * SIDE * 5 * 4, 6, 1)
    next_state, reward = np.zeros(shape, "int32"), np.full(shape, -1.0, "float32")
    terminated, first = np.zeros(shape, bool), np.zeros(shape[0], "float32")
    for row, column, passenger, destination in itertools.product(range(SIDE), range(SIDE), range(5), range(4)):
        state = _number(row, column, passenger, destination)
        first[state] = passenger not in (INSIDE, destination)
        for action in range(6):
            after, reward[state, action, 0], terminated[state, action, 0] = _outcome(
                row, column, passenger, destination, action
            )
            next_state[state, action, 0] = _number(*after, destination)
    return OutcomeTable(next_state, np.ones(shape), reward, terminated, first / first.sum())


def _outcome(row: int, column: int, passenger: int, destination: int, action: int):
    """Returns (row, column, passenger) after an action, its reward, and whether the episode terminates."""
    here = (row, column)
    if action in (SOUTH, NORTH):
        return (min(max(row + (1 if action == SOUTH else -1), 0), SIDE - 1), column, passenger), -1.0, False
    if action == EAST:
        return (row, column if here in WALLS else min(column + 1, SIDE - 1), passenger), -1.0, False
    if action == WEST:
        return (row, column if (row, column - 1) in WALLS else max(column - 1, 0), passenger), -1.0, False
    if action == PICKUP:
        fits = passenger != INSIDE and STANDS[passenger] == here
        return (row, column, INSIDE if fits else passenger), -1.0 if fits else -10.0, False
    if passenger == INSIDE and here == STANDS[destination]:
        return (row, column, destination), 20.0, True
    if passenger == INSIDE and here in STANDS:
        return (row, column, STANDS.index(here)), -1.0, False
    return (row, column, passenger), -10.0, False


def _number(row: int, column: int, passenger: int, destination: int) -> int:
    return ((row * SIDE + column) * 5 + passenger) * 4 + destination


def _parts(state: int) -> tuple[int, int, int, int]:
    rest, destination = divmod(state, 4)
    rest, passenger = divmod(rest, 5)
    return *divmod(rest, SIDE), passenger, destination
