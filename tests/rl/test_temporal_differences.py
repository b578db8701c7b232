"""Temporal differences: fixed points by linear solve, windows of n steps, truncation, the cliff, the biased maximum."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError
from kerasdl.rl import OutcomeTable, TabularEnvironment, make
from kerasdl.rl.agents.exploration import exploration_law
from kerasdl.rl.agents.tabular.dynamic_programming import policy_values, value_iteration
from kerasdl.rl.agents.tabular.temporal_differences import (
    SARSA,
    DoubleQLearning,
    ExpectedSARSA,
    QLearning,
    TabularConfig,
)


def environment(outcomes, **settings) -> TabularEnvironment:
    """Environment of lists of (probability, next state, reward, ends); it starts in state 0."""
    table = np.array(outcomes, float)
    start = np.eye(len(table))[0]
    return TabularEnvironment(
        OutcomeTable(table[..., 1], table[..., 0], table[..., 2], table[..., 3], start), **settings
    )


def corridor(length: int, **settings) -> TabularEnvironment:
    """One action: on by one state for the reward 1, to the end behind the last."""
    steps = [[[(1.0, min(s + 1, length - 1), 1.0, s == length - 1)]] for s in range(length)]
    return environment(steps, name="corridor", **settings)


def quick(**settings) -> TabularConfig:
    return TabularConfig(**{"learning_rate": 1.0, "amount": 0.3, "final_amount": 0.3, "jit_compile": False} | settings)


@pytest.mark.parametrize("exploration", [pytest.param("epsilon_greedy", marks=pytest.mark.slow), "boltzmann"])
def test_expected_sarsa_reaches_the_values_of_its_own_policy(exploration):
    env = make("gridworld", side=3)
    settings = {"discount": 0.9, "rollout_steps": 512, "environments": 4, "exploration": exploration}
    agent = ExpectedSARSA(env, quick(**settings, jit_compile=True))
    agent.train(8192, progress="off")
    values = agent.table.numpy()
    law = exploration_law(tf.constant(values), 0.3, exploration).numpy()
    exact = policy_values(env.table, law.astype(float), 0.9)
    np.testing.assert_allclose((law * values).sum(-1)[:-1], exact[:-1], atol=1e-4)


@pytest.mark.parametrize("kind", [QLearning, DoubleQLearning])
def test_q_learning_reaches_the_optimal_values(kind):
    env = make("gridworld", side=3)
    settings = {"discount": 0.9, "rollout_steps": 512, "environments": 4, "amount": 1.0, "final_amount": 1.0}
    agent = kind(env, quick(**settings, jit_compile=True))
    agent.train(8192, progress="off")
    np.testing.assert_allclose(agent.table.numpy()[:-1], value_iteration(env.table, 0.9).action_values[:-1], atol=1e-4)
    assert agent.evaluate(3).mean == env.reward_bar


@pytest.mark.parametrize(("kind", "steps"), [(SARSA, 1), (SARSA, 7), (QLearning, 2), (ExpectedSARSA, 3)])
def test_windows_of_n_steps_learn_n_states_of_an_episode(kind, steps):
    """One episode of 5 steps at rate 1: n steps reach back n states, the others see the first values alone."""
    agent = kind(corridor(5), quick(discount=0.5, steps=steps, rollout_steps=5))
    agent.train(5, progress="off")
    expected = [sum(0.5**k for k in range(min(steps, 5 - s))) for s in range(5)]
    np.testing.assert_allclose(agent.table.numpy()[:, 0], expected, atol=1e-6)


@pytest.mark.parametrize(("steps", "ends", "worth"), [(1, False, 2.0), (3, False, 2.0), (3, True, 1.0)])
def test_truncation_is_bootstrapped_and_termination_is_not(steps, ends, worth):
    """A state that pays 1 for ever is worth 1 / (1 - 0.5), although every episode is cut after 4 steps."""
    env = environment([[[(1.0, 0, 1.0, ends)]]], name="loop", time_limit=4)
    agent = SARSA(env, quick(discount=0.5, steps=steps, rollout_steps=48))
    agent.train(48, progress="off")
    assert agent.table.numpy()[0, 0] == pytest.approx(worth, abs=1e-3)


def test_changes_of_one_entry_by_several_environments_are_averaged():
    env = environment([[[(0.5, 0, -1.0, True), (0.5, 0, 3.0, True)]]], name="coin")
    agent = QLearning(env, quick(environments=64, rollout_steps=1))
    agent.train(64, progress="off")
    paid = agent.table.numpy()[0, 0] * 64
    assert 0 < agent.table.numpy()[0, 0] < 2
    assert paid == pytest.approx(round(paid), abs=1e-3)


@pytest.mark.slow
def test_cliff_walk_as_in_the_book():
    """Sutton and Barto 2018, example 6.6: Q-learning walks along the edge, SARSA keeps away from it."""
    settings = {"learning_rate": 0.5, "amount": 0.1, "final_amount": 0.1, "discount": 1.0}
    risky = QLearning("cliff_walking", TabularConfig(**settings))
    record = risky.train(16_384, progress="off")
    safe = SARSA("cliff_walking", TabularConfig(**settings))
    other = safe.train(16_384, progress="off")
    assert risky.evaluate(1).mean == -13
    assert -18 <= safe.evaluate(1).mean <= -15
    assert other.returns[-8:].mean() > record.returns[-8:].mean()


def test_masked_actions_are_neither_taken_nor_valued():
    env = make("taxi")
    agent = QLearning(env, quick(environments=16, rollout_steps=64, initial_value=5.0, discount=0.5))
    agent.train(1024, progress="off")
    places = np.arange(env.observation_space.n)
    allowed = env.action_mask({"place": tf.constant(places, tf.int32)}).numpy()
    table = agent.table.numpy()
    assert (table[~allowed] == 5.0).all()
    assert (table[allowed] != 5.0).sum() > 200
    assert agent.act(places, mask=allowed).shape == places.shape
    assert allowed[places, agent.act(places, mask=allowed)].all()


def test_seeds_reproduce_and_files_keep_the_window(tmp_path):
    def trained(seed, parts):
        agent = SARSA("gridworld", quick(learning_rate=0.3, steps=3, rollout_steps=20, environments=2), seed=seed)
        for _ in range(parts):
            agent.train(40, progress="off")
        return agent

    first, again, other = trained(0, 2), trained(0, 2), trained(1, 2)
    np.testing.assert_array_equal(first.table, again.table)
    assert not np.array_equal(first.table, other.table)
    half = trained(0, 1)
    half.save(tmp_path / "agent")
    loaded = SARSA.load(tmp_path / "agent")
    loaded.train(40, progress="off")
    np.testing.assert_array_equal(loaded.table, first.table)
    np.testing.assert_array_equal(first.policy(np.arange(25)), first.table)


def test_faults_are_named():
    with pytest.raises(ArgumentError, match="Discrete observation_space"):
        QLearning("cartpole")
    for wrong in ({"amount": 1.5}, {"steps": 0}, {"exploration": "random"}, {"learning_rate": 2.0}):
        with pytest.raises(ArgumentError):
            TabularConfig(**wrong)
    with pytest.raises(ArgumentError, match="amount"):
        TabularConfig(exploration="boltzmann", final_amount=0.0)
