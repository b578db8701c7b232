"""Environments given by a table of outcomes: for each state and action the next states, with probabilities.

Value and policy iteration read the table; all else steps through it as through any environment.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from ..environment import Environment
from ..spaces import Discrete

TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class OutcomeTable:
    """Outcomes of each of A actions in each of S states: M at most, those beyond have probability 0.

    Attributes:
        next_state: (S, A, M) int32.
        probability: (S, A, M) float32, sums to 1 over M.
        reward: (S, A, M) float32.
        terminated: (S, A, M) bool, outcomes that end the episode.
        start: (S,) float32, probability of each state to be the first.

    Raises:
        ArgumentError: shapes differ, probabilities do not sum to 1, a next state is none of S, a reward is not finite.

    Example:
        >>> kerasdl.rl.make("frozen_lake").table.next_state.shape
        (16, 4, 3)
    """

    next_state: np.ndarray
    probability: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    start: np.ndarray

    def __post_init__(self) -> None:
        for name, kind in {"next_state": "int32", "terminated": "bool"}.items():
            object.__setattr__(self, name, np.asarray(getattr(self, name)).astype(kind))
        for name in ("probability", "reward", "start"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), "float32"))
        shapes = {name: getattr(self, name).shape for name in ("next_state", "probability", "reward", "terminated")}
        if len(set(shapes.values())) != 1 or self.next_state.ndim != 3 or self.start.shape != self.next_state.shape[:1]:
            checks.refuse(
                "outcomes must be four arrays (S, A, M), and start (S,)", shapes | {"start": self.start.shape}
            )
        for name, values in {"probability": self.probability, "start": self.start}.items():
            if not (np.all(values >= 0) and np.allclose(values.sum(-1), 1, atol=TOLERANCE)):
                checks.refuse(f"{name} must be 0 or more and sum to 1", values.sum(-1).tolist())
        if not np.all((self.next_state >= 0) & (self.next_state < len(self.start))):
            checks.refuse(f"next_state must be from 0 to {len(self.start) - 1}", self.next_state.max())
        if not np.isfinite(self.reward).all():
            checks.refuse("rewards must be finite", self.reward[~np.isfinite(self.reward)][0])

    @property
    def states(self) -> int:
        """Number of states, S."""
        return self.next_state.shape[0]

    @property
    def actions(self) -> int:
        """Number of actions, A."""
        return self.next_state.shape[1]


class TabularEnvironment(Environment):
    """Environment that draws its outcomes from an `OutcomeTable`; the observation is the number of the state.

    Args:
        table: the outcomes.
        name: short name.
        time_limit: steps after which an episode is truncated; None for none.
        reward_bar: mean return from which it counts as solved; None for none.

    Example:
        >>> kerasdl.rl.make("cliff_walking").observation_space
        Discrete(n=48)
    """

    noise_size = 1

    def __init__(
        self, table: OutcomeTable, name: str = "table", time_limit: int | None = None, reward_bar: float | None = None
    ) -> None:
        self.table, self.name = table, name
        self.time_limit, self.reward_bar = time_limit, reward_bar
        self.observation_space, self.action_space = Discrete(table.states), Discrete(table.actions)
        self.step_noise_size = int(np.any(table.probability[..., :1] < 1))
        self._outcomes = table.next_state.shape[2] if self.step_noise_size else 1

    def start(self, noise):
        edges = tf.constant(np.cumsum(self.table.start)[:-1], tf.float32)
        return {"place": tf.searchsorted(edges, noise[:, 0], side="right")}

    def step(self, state, action, noise):
        table = self.table
        row = state["place"] * table.actions + action
        if self.step_noise_size:
            edges = np.cumsum(table.probability, -1).reshape(-1, self._outcomes)[:, :-1]
            passed = noise >= tf.gather(tf.constant(edges, tf.float32), row)
            # An edge that is rounded below 1 must not lead to an outcome of probability 0.
            last = tf.constant((table.probability > 0).sum(-1).ravel() - 1, tf.int32)
            row = row * self._outcomes + tf.minimum(tf.reduce_sum(tf.cast(passed, tf.int32), 1), tf.gather(last, row))
        place, reward, terminated = (
            tf.gather(tf.constant(values[..., : self._outcomes].ravel()), row)
            for values in (table.next_state, table.reward, table.terminated)
        )
        return {"place": place}, reward, terminated

    def observe(self, state):
        return state["place"]
