"""Grids: a grid world, the cliff walk, frozen lakes and a maze with one reward far away, drawn as maps of letters.

Letters of a map: S start, G goal, H hole (ends the episode), C cliff (back to the start), # wall, any other is free.

Sources: Sutton and Barto, "Reinforcement learning", 2nd edition, example 6.6 (cliff); Gymnasium's CliffWalking-v1 and
FrozenLake-v1, whose tables of outcomes are these.
"""

from collections.abc import Sequence

import numpy as np

from kerasdl.core import checks

from ..classic.drawing import Canvas
from .tables import OutcomeTable, TabularEnvironment

LEFT, DOWN, RIGHT, UP = (0, -1), (1, 0), (0, 1), (-1, 0)
LAKE = (LEFT, DOWN, RIGHT, UP)
CLIFF = (UP, RIGHT, DOWN, LEFT)
LAKES = {
    4: ("SFFF", "FHFH", "FFFH", "HFFG"),
    8: ("SFFFFFFF", "FFFFFFFF", "FFFHFFFF", "FFFFFHFF", "FFFHFFFF", "FHHFFFHF", "FHFFHFHF", "FFFHFFFG"),
}
MAZE = (
    "S..#.......",
    ".#.#.#####.",
    ".#...#...#.",
    ".#####.#.#.",
    ".....#.#...",
    "####.#.####",
    ".....#....#",
    ".#########.",
    "...#.......",
    ".#.#.#####.",
    ".#...#....G",
)
COLOURS = {"G": "green", "H": "blue", "C": "red", "#": "black", "S": "light"}


class Grid(TabularEnvironment):
    """Base class of environments on a map: a place a state, moves to the four neighbours; borders and walls stop.

    Args:
        rows: lines of the map, of equal length, with one S or more and one G or more.
        name: short name.
        moves: steps (down, right) of each action.
        slippery: whether a move goes to each side of the wanted direction with probability 1/3.
        rewards: reward of a step, of reaching the goal, of a hole, of the cliff.
        time_limit: steps after which an episode is truncated; None for none.
        reward_bar: mean return from which it counts as solved; None for none.

    Raises:
        ArgumentError: the lines differ in length, or there is no S or no G.

    Example:
        >>> kerasdl.rl.make("maze").observation_space
        Discrete(n=121)
    """

    def __init__(
        self,
        rows: Sequence[str],
        name: str,
        moves: Sequence[tuple[int, int]] = LAKE,
        *,
        slippery: bool = False,
        rewards: tuple[float, float, float, float] = (0.0, 1.0, 0.0, 0.0),
        time_limit: int | None = None,
        reward_bar: float | None = None,
    ) -> None:
        if len({len(row) for row in rows}) != 1 or not all(any(sign in row for row in rows) for sign in "SG"):
            checks.refuse("a map must have lines of equal length, a start S and a goal G", tuple(rows))
        self.letters = np.array([list(row) for row in rows])
        super().__init__(_table(self.letters, moves, slippery, rewards), name, time_limit, reward_bar)

    def draw(self, state):
        height, width = self.letters.shape
        side = max(16, 256 // max(height, width))
        canvas = Canvas(side * width, side * height, (0, width), (0, height))
        for (row, column), letter in np.ndenumerate(self.letters):
            low = (column + 0.03, height - row - 0.97)
            canvas.box(low, (low[0] + 0.94, low[1] + 0.94), COLOURS.get(letter, "ice" if letter == "F" else "light"))
        row, column = divmod(int(state["place"]), width)
        canvas.dot((column + 0.5, height - row - 0.5), side * 0.3, "orange")
        return np.asarray(canvas.picture)


class FrozenLake(Grid):
    """FrozenLake: cross slippery ice to the goal without falling into a hole; actions left, down, right, up.

    Reward 1 at the goal, else 0. On slippery ice the wanted direction and both sides of it have probability 1/3 each.

    Args:
        size: 4 or 8, side of the lake; or the lines of a map of your own.
        slippery: False makes every move certain.

    Raises:
        ArgumentError: the size is neither 4 nor 8, or the map breaks the rules of maps.

    Example:
        >>> FrozenLake(slippery=False).table.probability.max(-1).min()
        np.float32(1.0)
    """

    def __init__(self, size: int | Sequence[str] = 4, slippery: bool = True) -> None:
        is_map = isinstance(size, (list, tuple))
        rows = size if is_map else LAKES[checks.one_of("size", size, LAKES, "Or pass the lines of a map.")]
        limits = {4: (100, 0.70), 8: (200, 0.85)}
        limit, bar = (100, None) if is_map else limits[size]
        super().__init__(rows, "frozen_lake", slippery=slippery, time_limit=limit, reward_bar=bar)


class CliffWalking(Grid):
    """CliffWalking: walk along a cliff to the goal; actions up, right, down, left.

    Reward -1 a step, and -100 for a step into the cliff, which leads back to the start. The best return is -13.
    Deviation from Gymnasium's, which has no limit of steps: episodes are truncated after `time_limit`.

    Args:
        slippery: whether the wanted direction and both sides of it have probability 1/3 each.
        time_limit: steps after which an episode is truncated; None for none, as in the book.

    Example:
        >>> CliffWalking().table.states
        48
    """

    def __init__(self, slippery: bool = False, time_limit: int | None = 200) -> None:
        rows = ("." * 12, "." * 12, "." * 12, "S" + "C" * 10 + "G")
        rewards = (-1.0, -1.0, -1.0, -100.0)
        super().__init__(
            rows, "cliff_walking", CLIFF, slippery=slippery, rewards=rewards, time_limit=time_limit, reward_bar=-13.0
        )


class GridWorld(Grid):
    """Grid world: walk from one corner of a square to the other; actions left, down, right, up.

    Reward -1 a step, so that the best return is minus the shortest way, -2 (side - 1).

    Args:
        side: places along each side.

    Raises:
        ArgumentError: the side is no integer of 2 or more.

    Example:
        >>> GridWorld(3).reward_bar
        -4.0
    """

    def __init__(self, side: int = 5) -> None:
        checks.at_least("side", side, 2)
        lines = [["."] * side for _ in range(side)]
        lines[0][0], lines[-1][-1] = "S", "G"
        rows = tuple("".join(line) for line in lines)
        rewards = (-1.0, -1.0, -1.0, -1.0)
        super().__init__(rows, "gridworld", rewards=rewards, time_limit=20 * side, reward_bar=-2.0 * (side - 1))


class Maze(Grid):
    """Maze with a sparse reward: 1 at a goal that random walks seldom find, 0 elsewhere; actions as in FrozenLake.

    Args:
        rows: lines of a map of your own; None for one of 11 x 11 places whose shortest way has 32 steps.
        time_limit: steps after which an episode is truncated.

    Raises:
        ArgumentError: the map breaks the rules of maps.

    Example:
        >>> Maze().time_limit
        200
    """

    def __init__(self, rows: Sequence[str] | None = None, time_limit: int = 200) -> None:
        checks.at_least("time_limit", time_limit, 1)
        super().__init__(rows or MAZE, "maze", time_limit=time_limit, reward_bar=0.95)


def _table(letters: np.ndarray, moves: Sequence[tuple[int, int]], slippery: bool, rewards: tuple) -> OutcomeTable:
    """Returns the outcomes on a map; the order of those of slippery moves is Gymnasium's."""
    height, width = letters.shape
    begin = int(np.flatnonzero(letters.ravel() == "S")[0])
    step, goal, hole, cliff = rewards
    turns = (-1, 0, 1) if slippery else (0,)
    shape = (letters.size, len(moves), len(turns))
    next_state, reward, terminated = np.zeros(shape, "int32"), np.zeros(shape, "float32"), np.zeros(shape, bool)
    for place, letter in enumerate(letters.ravel()):
        row, column = divmod(place, width)
        for action in range(len(moves)):
            for outcome, turn in enumerate(turns):
                at = (place, action, outcome)
                if letter in "GH" or letter == "#":  # no episode goes on from here
                    next_state[at], terminated[at] = place, True
                    continue
                down, right = moves[(action + turn) % len(moves)]
                there = min(max(row + down, 0), height - 1), min(max(column + right, 0), width - 1)
                there = (row, column) if letters[there] == "#" else there
                sign = letters[there]
                next_state[at] = begin if sign == "C" else there[0] * width + there[1]
                reward[at] = {"G": goal, "H": hole, "C": cliff}.get(sign, step)
                terminated[at] = sign in "GH"
    first = (letters.ravel() == "S").astype("float32")
    return OutcomeTable(next_state, np.full(shape, 1 / len(turns)), reward, terminated, first / first.sum())
