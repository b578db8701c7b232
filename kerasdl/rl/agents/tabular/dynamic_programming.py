"""Dynamic programming: values of a policy by a linear solve, value iteration and policy iteration.

Source: Bellman 1957, Dynamic Programming; Howard 1960, Dynamic Programming and Markov Processes; in the notation of
Sutton and Barto 2018, http://incompleteideas.net/book/the-book-2nd.html, sections 4.1 to 4.4.

Deviations: the values of a policy are the solution of the Bellman equations, not the limit of sweeps.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.core.display.results import Displayed
from kerasdl.core.errors import TrainingError

from ...envs.tabular.tables import OutcomeTable

MOST_POLICIES = 10_000


@dataclass(frozen=True, repr=False, eq=False)
class Plan(Displayed):
    """Optimal values and policy of a transition table."""

    values: np.ndarray
    """Value of each state under the policy, (S,)."""
    action_values: np.ndarray
    """Value of each action, followed by the policy, (S, A)."""
    policy: np.ndarray
    """Best action of each state, (S,); the first one of equals."""
    discount: float
    """Factor of a reward one step later."""
    iterations: int
    """Sweeps of value iteration, or policies of policy iteration."""
    error: float
    """Bound on the distance of `values` from the optimal values; infinite where no bound is known (discount 1)."""

    def _shown(self) -> tuple[str, dict[str, Any]]:
        rows = {
            "values": f"{self.values.min():.4g} to {self.values.max():.4g}",
            "discount": f"{self.discount:g}",
            "iterations": str(self.iterations),
            "error": f"at most {self.error:.2g}",
        }
        return f"Plan: {len(self.values)} states", rows


def policy_values(table: OutcomeTable, policy: Any, discount: float = 0.99) -> np.ndarray:
    """Returns the values of a policy: the solution of v = r + discount * P v.

    Source: Sutton and Barto 2018, equation 4.4.

    Args:
        table: the dynamics.
        policy: an action for each state, (S,), or the probability of each action, (S, A).
        discount: factor of a reward one step later, 0 to 1.

    Returns:
        The value of each state, float64 (S,).

    Raises:
        ArgumentError: the policy does not fit the table, or the discount is 1 and an episode may never end.

    Example:
        >>> right = np.full(9, 2)
        >>> values = policy_values(kerasdl.rl.make("gridworld", side=3).table, right, discount=0.5)
        >>> values[6:].tolist()  # the last row: two steps, one step, the goal
        [-1.5, -1.0, 0.0]
    """
    checks.within("discount", discount, 0.0, 1.0)
    weights = _weights_of(policy, table)
    probability, ends = _outcomes_of(table)
    rewards = (weights[..., None] * probability * table.reward).sum((1, 2))
    onward = np.zeros((table.states, table.states))
    state = np.broadcast_to(np.arange(table.states)[:, None, None], ends.shape)
    np.add.at(onward, (state, table.next_state), np.where(ends, 0.0, weights[..., None] * probability))
    if discount == 1.0:
        _check_that_it_ends(onward, (ends & (weights[..., None] * probability > 0)).any((1, 2)))
    return np.linalg.solve(np.eye(table.states) - discount * onward, rewards)


def value_iteration(
    table: OutcomeTable, discount: float = 0.99, *, tolerance: float = 1e-8, most_sweeps: int = 100_000
) -> Plan:
    """Returns the optimal policy by value iteration: v(s) = max over a of r(s, a) + discount * sum of P v.

    Source: Sutton and Barto 2018, section 4.4.

    Args:
        table: the dynamics.
        discount: factor of a reward one step later, 0 to 1.
        tolerance: largest distance from the optimal values; with discount 1, the largest change in the last sweep.
        most_sweeps: sweeps after which it gives up.

    Returns:
        The plan.

    Raises:
        ArgumentError: a number is out of its range.
        TrainingError: the values still change after `most_sweeps`.

    Example:
        >>> plan = value_iteration(kerasdl.rl.make("frozen_lake").table, discount=1.0)
        >>> round(float(plan.values[0]), 4)  # 14 / 17, the best share of crossings
        0.8235
    """
    checks.within("discount", discount, 0.0, 1.0)
    checks.within("tolerance", tolerance, 1e-300, 1e300)
    checks.at_least("most_sweeps", most_sweeps, 1)
    values = np.zeros(table.states)
    factor = discount / (1.0 - discount) if discount < 1.0 else np.inf
    for sweep in range(1, most_sweeps + 1):
        action_values = _action_values(table, values, discount)
        change = float(np.abs(action_values.max(-1) - values).max())
        values = action_values.max(-1)
        bound = factor * change if discount < 1.0 else change
        if bound <= tolerance:
            action_values = _action_values(table, values, discount)
            error = bound if discount < 1.0 else np.inf
            return Plan(values, action_values, action_values.argmax(-1), discount, sweep, error)
    hint = "Raise most_sweeps; with discount 1 the values may have no bound."
    raise TrainingError(f"the values change by {change:.3g} after {most_sweeps} sweeps. {hint}")


def policy_iteration(table: OutcomeTable, discount: float = 0.99) -> Plan:
    """Returns the optimal policy by policy iteration: values of a policy, then its best actions, until none changes.

    Source: Howard 1960; Sutton and Barto 2018, section 4.3.

    Args:
        table: the dynamics.
        discount: factor of a reward one step later, 0 to 1. With 1, every policy on the way must end its episodes.

    Returns:
        The plan; its values are exact but for rounding.

    Raises:
        ArgumentError: the discount is out of range, or is 1 and a policy may never end.
        TrainingError: rounding moves the policy in a circle.

    Example:
        >>> plan = policy_iteration(kerasdl.rl.make("cliff_walking").table, discount=1.0)
        >>> float(plan.values[36])
        -13.0
    """
    checks.within("discount", discount, 0.0, 1.0)
    state = np.arange(table.states)
    policy: np.ndarray = np.full((table.states, table.actions), 1.0 / table.actions)
    for count in range(1, MOST_POLICIES + 1):
        values = policy_values(table, policy, discount)
        action_values = _action_values(table, values, discount)
        better = action_values.argmax(-1)
        if policy.ndim == 1:  # equals keep their action, so that rounding cannot move the policy in a circle
            gain = action_values[state, better] - action_values[state, policy]
            better = np.where(gain > 1e-10 * (1.0 + np.abs(values).max()), better, policy)
            if np.array_equal(better, policy):
                residual = float(np.abs(action_values.max(-1) - values).max())
                error = residual / (1.0 - discount) if discount < 1.0 else np.inf
                return Plan(values, action_values, policy, discount, count, error)
        policy = better
    raise TrainingError(f"the policy still changes after {MOST_POLICIES} policies. Pass a discount farther below 1.")


def _outcomes_of(table: OutcomeTable) -> tuple[np.ndarray, np.ndarray]:
    """Returns the probabilities in float64, which sum to 1 as closely, and which outcomes end the episode."""
    probability = table.probability.astype(np.float64)
    return probability / probability.sum(-1, keepdims=True), table.terminated


def _action_values(table: OutcomeTable, values: np.ndarray, discount: float) -> np.ndarray:
    """Returns r(s, a) + discount * sum of P(s', on | s, a) v(s'), (S, A)."""
    probability, ends = _outcomes_of(table)
    later = np.where(ends, 0.0, values[table.next_state])
    return (probability * (table.reward + discount * later)).sum(-1)


def _weights_of(policy: Any, table: OutcomeTable) -> np.ndarray:
    """Returns the probability of each action, (S, A)."""
    policy = np.asarray(policy)
    if policy.shape == (table.states,) and policy.dtype.kind in "iu":
        if policy.min() < 0 or policy.max() >= table.actions:
            checks.refuse(f"actions of a policy must be 0 to {table.actions - 1}", policy)
        return np.eye(table.actions)[policy]
    if policy.shape != (table.states, table.actions):
        shapes = f"integers ({table.states},) or probabilities ({table.states}, {table.actions})"
        checks.refuse(f"policy must be {shapes}", f"{policy.dtype} {policy.shape}")
    if np.any(policy < 0) or not np.allclose(policy.sum(-1), 1.0, atol=1e-6):
        checks.refuse("the probabilities of a policy must be 0 or more and sum to 1", policy.sum(-1))
    return policy


def _check_that_it_ends(onward: np.ndarray, ends: np.ndarray) -> None:
    """Refuses a chain with a state from which no path leads to an end."""
    while True:
        wider = ends | ((onward > 0) & ends).any(-1)
        if np.array_equal(wider, ends):
            break
        ends = wider
    if not ends.all():
        rule = "with discount 1, a policy must reach the end of the episode from every state"
        checks.refuse(rule, f"states {np.flatnonzero(~ends)[:5].tolist()} never end", "Pass a discount below 1.")
