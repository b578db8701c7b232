"""Dynamic programming against closed forms, linear solves and linear programs."""

import numpy as np
import pytest
from scipy.optimize import linprog

from kerasdl.core.errors import ArgumentError, TrainingError
from kerasdl.rl.agents.tabular.dynamic_programming import policy_iteration, policy_values, value_iteration
from kerasdl.rl.agents.tabular.transition_tables import TransitionTable


def corridor(length: int) -> TransitionTable:
    """A row of states: left, right; a step costs 1, and right of the last state is the end."""

    def step(state, move):
        return [(1.0, min(max(state + move, 0), length - 1), -1.0, state + move == length)]

    return TransitionTable.of_outcomes([[step(state, -1), step(state, 1)] for state in range(length)])


def random_table(seed: int, states=12, actions=4, outcomes=3) -> TransitionTable:
    rng = np.random.default_rng(seed)
    shape = (states, actions, outcomes)
    return TransitionTable(
        rng.dirichlet(np.ones(outcomes), (states, actions)),
        rng.integers(0, states, shape),
        rng.normal(size=shape),
        rng.random(shape) < 0.1,
    )


@pytest.mark.parametrize("solve", [value_iteration, policy_iteration])
@pytest.mark.parametrize("discount", [0.5, 0.9, 1.0])
def test_corridor_has_the_values_of_the_geometric_sum(solve, discount):
    distance = np.arange(6, 0, -1)
    expected = -distance if discount == 1.0 else -(1 - discount**distance) / (1 - discount)
    plan = solve(corridor(6), discount)
    np.testing.assert_allclose(plan.values, expected, atol=1e-8)
    assert (plan.policy == 1).all()


@pytest.mark.parametrize("seed", range(3))
def test_both_solve_the_linear_program_of_optimal_values(seed):
    """Optimal values are the least that are at least r + discount * P v for every action."""
    table, discount = random_table(seed), 0.95
    onward = discount * table.continuations() - np.eye(table.states)[:, None]
    program = linprog(
        np.ones(table.states),
        A_ub=onward.reshape(-1, table.states),
        b_ub=-table.expected_rewards().ravel(),
        bounds=(None, None),
    )
    for plan in (value_iteration(table, discount), policy_iteration(table, discount)):
        np.testing.assert_allclose(plan.values, program.x, atol=1e-6)
        assert np.abs(plan.values - program.x).max() <= plan.error + 1e-6
        np.testing.assert_allclose(policy_values(table, plan.policy, discount), program.x, atol=1e-6)


def test_values_of_a_random_walk_are_a_straight_line():
    """Sutton and Barto 2018, example 6.2: true values 1/6 to 5/6."""
    steps = [[[(0.5, max(s - 1, 0), 0.0, s == 0), (0.5, min(s + 1, 4), float(s == 4), s == 4)]] for s in range(5)]
    values = policy_values(TransitionTable.of_outcomes(steps), np.ones((5, 1)), discount=1.0)
    np.testing.assert_allclose(values, np.arange(1, 6) / 6, atol=1e-12)


def test_values_of_the_gridworld_under_random_moves():
    """Sutton and Barto 2018, figure 4.1: four by four, two corners end, a step costs 1."""
    moves = ((-1, 0), (1, 0), (0, -1), (0, 1))

    def step(state, move):
        row, column = (np.clip(np.add(divmod(state, 4), move), 0, 3)).tolist()
        return [(1.0, 4 * row + column, -1.0 * (state not in (0, 15)), state in (0, 15) or 4 * row + column in (0, 15))]

    table = TransitionTable.of_outcomes([[step(state, move) for move in moves] for state in range(16)])
    values = policy_values(table, np.full((16, 4), 0.25), discount=1.0)
    expected = [[0, -14, -20, -22], [-14, -18, -20, -20], [-20, -20, -18, -14], [-22, -20, -14, 0]]
    np.testing.assert_allclose(values.reshape(4, 4), expected, atol=1e-9)


def test_continuations_leave_out_the_ends():
    table = random_table(5)
    counted = np.zeros((table.states, table.actions, table.states))
    for place in np.ndindex(table.probabilities.shape):
        if not table.ends[place]:
            counted[(*place[:2], table.successors[place])] += table.probabilities[place]
    np.testing.assert_allclose(table.continuations(), counted, atol=1e-12)


def test_faults_are_named():
    with pytest.raises(ArgumentError, match="sum to 1"):
        TransitionTable.of_outcomes([[[(0.5, 0, 0.0, True)]]])
    with pytest.raises(ArgumentError, match="same actions"):
        TransitionTable.of_outcomes([[[(1.0, 0, 0.0, True)]], []])
    with pytest.raises(ArgumentError, match="states from 0 to 0"):
        TransitionTable.of_outcomes([[[(1.0, 1, 0.0, True)]]])
    with pytest.raises(ArgumentError, match="finite"):
        TransitionTable.of_outcomes([[[(1.0, 0, np.nan, True)]]])
    with pytest.raises(ArgumentError, match=r"four|successor, reward"):
        TransitionTable.of_outcomes([[[(1.0, 0, 0.0)]]])
    with pytest.raises(ArgumentError, match="one shape"):
        TransitionTable(np.ones((1, 1, 1)), np.zeros((1, 1, 1)), np.zeros((1, 1, 2)), np.zeros((1, 1, 1)))
    endless = TransitionTable.of_outcomes([[[(1.0, 0, 1.0, False)]]])
    with pytest.raises(ArgumentError, match=r"\[0\] never end"):
        policy_iteration(endless, discount=1.0)
    with pytest.raises(TrainingError, match="after 50 sweeps"):
        value_iteration(endless, discount=1.0, most_sweeps=50)
    for policy in ([1], [[0.5]], [0.0], [0, 0]):
        with pytest.raises(ArgumentError):
            policy_values(endless, policy)
