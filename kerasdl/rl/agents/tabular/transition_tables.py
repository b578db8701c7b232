"""Transition table of a finite Markov decision process: the outcomes of each action in each state.

Source: Sutton and Barto 2018, http://incompleteideas.net/book/the-book-2nd.html, section 3.1 (dynamics of a process).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.core.display.results import Displayed

Outcome = tuple[float, int, float, bool]


@dataclass(frozen=True, repr=False, eq=False)
class TransitionTable(Displayed):
    """Dynamics of a finite process: B outcomes for each of A actions in each of S states.

    Outcomes that a state lacks have the probability 0. Source: Sutton and Barto 2018, section 3.1.

    Raises:
        ArgumentError: the shapes differ, the probabilities of an action do not sum to 1, a successor is no state, or a
            reward is not finite.

    Example:
        >>> left, right = [(1.0, 0, 0.0, False)], [(1.0, 1, 1.0, True)]
        >>> TransitionTable.of_outcomes([[left, right], [left, right]])
        TransitionTable: 2 states, 2 actions, 1 outcomes
          rewards  0 to 1
          ends     2 of 4 outcomes
    """

    probabilities: np.ndarray
    """Probability of each outcome, (S, A, B); those of an action sum to 1."""
    successors: np.ndarray
    """Next state of each outcome, (S, A, B) of 0 to S - 1."""
    rewards: np.ndarray
    """Reward of each outcome, (S, A, B)."""
    ends: np.ndarray
    """True where an outcome ends the episode, (S, A, B); nothing is earned after it."""

    def __post_init__(self):
        kinds = {"probabilities": np.float64, "successors": np.int64, "rewards": np.float64, "ends": np.bool_}
        for name, kind in kinds.items():
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        shapes = {name: getattr(self, name).shape for name in kinds}
        if len(set(shapes.values())) > 1 or self.probabilities.ndim != 3 or not self.probabilities.size:
            checks.refuse("the arrays of a transition table must have one shape (S, A, B)", shapes)
        sums = self.probabilities.sum(-1)
        if np.any(self.probabilities < 0) or not np.allclose(sums, 1.0, atol=1e-6):
            worst = np.unravel_index(np.argmax(np.abs(sums - 1.0)), sums.shape)
            place = f"state {worst[0]}, action {worst[1]}: {self.probabilities[worst]}"
            checks.refuse("the probabilities of each action must be 0 or more and sum to 1", place)
        if self.successors.min() < 0 or self.successors.max() >= self.states:
            got = (int(self.successors.min()), int(self.successors.max()))
            checks.refuse(f"successors must be states from 0 to {self.states - 1}", got)
        if not np.isfinite(self.rewards).all():
            checks.refuse("rewards must be finite", self.rewards[~np.isfinite(self.rewards)][:3])

    @classmethod
    def of_outcomes(cls, outcomes: Sequence | Mapping[int, Any]) -> "TransitionTable":
        """Returns the table of lists of outcomes, as `env.unwrapped.P` of Gymnasium's toy texts holds them.

        Args:
            outcomes: by state and then by action, a list of (probability, successor, reward, ends). Sequences, or
                mappings from numbers.

        Returns:
            The table, padded to the largest number of outcomes.

        Raises:
            ArgumentError: the states differ in their actions, or an outcome has no four parts.
        """
        rows = [[list(actions[action]) for action in range(len(actions))] for actions in _in_order(outcomes)]
        if not rows or len({len(actions) for actions in rows}) > 1:
            checks.refuse("every state must have the same actions", sorted({len(actions) for actions in rows}))
        most = max(len(branch) for actions in rows for branch in actions)
        table = np.zeros((len(rows), len(rows[0]), most, 4))
        for state, actions in enumerate(rows):
            for action, branch in enumerate(actions):
                for place, outcome in enumerate(branch):
                    if len(outcome) != 4:
                        checks.refuse("an outcome must be (probability, successor, reward, ends)", outcome)
                    table[state, action, place] = outcome
        return cls(table[..., 0], table[..., 1], table[..., 2], table[..., 3] > 0)

    @property
    def states(self) -> int:
        """S, the number of states."""
        return self.probabilities.shape[0]

    @property
    def actions(self) -> int:
        """A, the number of actions."""
        return self.probabilities.shape[1]

    def expected_rewards(self) -> np.ndarray:
        """Returns the mean reward of each action, (S, A)."""
        return (self.probabilities * self.rewards).sum(-1)

    def continuations(self) -> np.ndarray:
        """Returns the probability that the episode goes on in each state, (S, A, S); the rest of a row ends it."""
        onward = np.where(self.ends, 0.0, self.probabilities)
        matrix = np.zeros((self.states, self.actions, self.states))
        state, action = np.indices((self.states, self.actions))
        np.add.at(matrix, (state[..., None], action[..., None], self.successors), onward)
        return matrix

    def _shown(self) -> tuple[str, dict[str, Any]]:
        size = f"{self.states} states, {self.actions} actions, {self.probabilities.shape[2]} outcomes"
        possible = self.probabilities > 0
        rewards = self.rewards[possible]
        rows = {
            "rewards": f"{rewards.min():g} to {rewards.max():g}",
            "ends": f"{int(self.ends[possible].sum())} of {int(possible.sum())} outcomes",
        }
        return f"TransitionTable: {size}", rows


def _in_order(outcomes: Sequence | Mapping[int, Any]) -> list:
    return [outcomes[state] for state in range(len(outcomes))]
