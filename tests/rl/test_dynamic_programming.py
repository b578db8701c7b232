"""Dynamic programming against closed forms, linear solves and linear programs."""

import numpy as np
import pytest
from scipy.optimize import linprog

from kerasdl.core.errors import ArgumentError, TrainingError
from kerasdl.rl import make
from kerasdl.rl.agents.tabular.dynamic_programming import policy_iteration, policy_values, value_iteration
from kerasdl.rl.envs.tabular.tables import OutcomeTable


def of_outcomes(outcomes) -> OutcomeTable:
    """Returns the table of lists of (probability, next state, reward, ends), by state and action."""
    table = np.array(outcomes, float)
    return OutcomeTable(table[..., 1], table[..., 0], table[..., 2], table[..., 3], np.eye(len(table))[0])


def corridor(length: int) -> OutcomeTable:
    """A row of states: left, right; a step costs 1, and right of the last state is the end."""

    def step(state, move):
        return [(1.0, min(max(state + move, 0), length - 1), -1.0, state + move == length)]

    return of_outcomes([[step(state, -1), step(state, 1)] for state in range(length)])


def random_table(seed: int, states=12, actions=4, outcomes=3) -> OutcomeTable:
    rng = np.random.default_rng(seed)
    shape = (states, actions, outcomes)
    return OutcomeTable(
        rng.integers(0, states, shape),
        rng.dirichlet(np.ones(outcomes), (states, actions)),
        rng.normal(size=shape),
        rng.random(shape) < 0.1,
        np.eye(states)[0],
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
    probability = table.probability.astype(float)
    probability /= probability.sum(-1, keepdims=True)
    onward = np.zeros((table.states, table.actions, table.states))
    for state, action, outcome in np.ndindex(probability.shape):
        place = (state, action, outcome)
        if not table.terminated[place]:
            onward[state, action, table.next_state[place]] += probability[place]
    program = linprog(
        np.ones(table.states),
        A_ub=(discount * onward - np.eye(table.states)[:, None]).reshape(-1, table.states),
        b_ub=-(probability * table.reward).sum(-1).ravel(),
        bounds=(None, None),
    )
    for plan in (value_iteration(table, discount), policy_iteration(table, discount)):
        np.testing.assert_allclose(plan.values, program.x, atol=1e-6)
        assert np.abs(plan.values - program.x).max() <= plan.error + 1e-6
        np.testing.assert_allclose(policy_values(table, plan.policy, discount), program.x, atol=1e-6)


def test_values_of_a_random_walk_are_a_straight_line():
    """Sutton and Barto 2018, example 6.2: true values 1/6 to 5/6."""
    steps = [[[(0.5, max(s - 1, 0), 0.0, s == 0), (0.5, min(s + 1, 4), float(s == 4), s == 4)]] for s in range(5)]
    values = policy_values(of_outcomes(steps), np.ones((5, 1)), discount=1.0)
    np.testing.assert_allclose(values, np.arange(1, 6) / 6, atol=1e-12)


def test_values_of_the_gridworld_under_random_moves():
    """Sutton and Barto 2018, figure 4.1: four by four, two corners end, a step costs 1."""
    moves = ((-1, 0), (1, 0), (0, -1), (0, 1))

    def step(state, move):
        row, column = (np.clip(np.add(divmod(state, 4), move), 0, 3)).tolist()
        return [(1.0, 4 * row + column, -1.0 * (state not in (0, 15)), state in (0, 15) or 4 * row + column in (0, 15))]

    table = of_outcomes([[step(state, move) for move in moves] for state in range(16)])
    values = policy_values(table, np.full((16, 4), 0.25), discount=1.0)
    expected = [[0, -14, -20, -22], [-14, -18, -20, -20], [-20, -20, -18, -14], [-22, -20, -14, 0]]
    np.testing.assert_allclose(values.reshape(4, 4), expected, atol=1e-9)


def test_best_shares_of_crossings_of_the_frozen_lake():
    """14 of 17 without a limit of steps; https://gymnasium.farama.org/environments/toy_text/frozen_lake."""
    for solve in (value_iteration, policy_iteration):
        plan = solve(make("frozen_lake").table, 0.9999)
        assert plan.values[0] == pytest.approx(14 / 17, abs=0.005)
    assert value_iteration(make("frozen_lake").table, 1.0).values[0] == pytest.approx(14 / 17, abs=1e-5)


def test_taxi_and_cliff_have_the_same_plan_by_both_methods():
    for name in ("taxi", "cliff_walking"):
        table = make(name).table
        one, other = value_iteration(table, 0.95), policy_iteration(table, 0.95)
        np.testing.assert_allclose(one.action_values, other.action_values, atol=1e-7)
        assert "states" in repr(one)


def test_faults_are_named():
    endless = of_outcomes([[[(1.0, 0, 1.0, False)]]])
    with pytest.raises(ArgumentError, match=r"\[0\] never end"):
        policy_iteration(endless, discount=1.0)
    with pytest.raises(TrainingError, match="after 50 sweeps"):
        value_iteration(endless, discount=1.0, most_sweeps=50)
    for policy in ([1], [[0.5]], [0.0], [0, 0]):
        with pytest.raises(ArgumentError):
            policy_values(endless, policy)
