"""Dyna-Q: what the model holds, values by planning alone, fewer steps in a maze than Q-learning, refusals."""

import numpy as np
import pytest

from kerasdl.core.errors import ArgumentError
from kerasdl.rl import AgentCallback, Dyna, DynaConfig, OutcomeTable, QLearning, TabularConfig, TabularEnvironment, make

BOOK = (".......#G", "..#....#.", "S.#....#.", "..#......", ".....#...", ".........")
"""Maze of figure 8.2 of the book; its shortest way has 14 steps."""


def environment(outcomes, **settings) -> TabularEnvironment:
    """Environment of lists of (probability, next state, reward, ends); it starts in state 0."""
    table = np.array(outcomes, float)
    first = np.eye(len(table))[0]
    parts = OutcomeTable(table[..., 1], table[..., 0], table[..., 2], table[..., 3], first)
    return TabularEnvironment(parts, **settings)


def quick(**settings) -> DynaConfig:
    return DynaConfig(**{"learning_rate": 1.0, "amount": 1.0, "final_amount": 1.0, "jit_compile": False} | settings)


def test_planning_alone_reaches_back_through_a_whole_episode():
    """One way through 5 states: after one episode Q-learning knows the last step alone, Dyna all that led there."""
    env = environment([[[(1.0, min(s + 1, 4), float(s == 4), s == 4)]] for s in range(5)], name="corridor")
    agent = Dyna(env, quick(discount=0.5, planning_steps=100, rollout_steps=5))
    agent.train(5, progress="off")
    np.testing.assert_allclose(agent.table.numpy()[:, 0], 0.5 ** np.arange(4, -1, -1), atol=1e-6)
    assert {f"model/{name}" for name in agent.outcomes._fields} <= set(
        agent.extras()
    )  # a resumed run plans on the same


def test_the_model_holds_the_outcomes_of_the_environment():
    env = make("gridworld", side=3)
    agent = Dyna(env, quick(environments=3, rollout_steps=64, planning_steps=1))
    agent.train(192, progress="off")
    count = agent.outcomes.count.numpy()
    tried = count > 0
    assert count.sum() == 192
    assert 8 < tried.sum() <= 32  # nothing is tried at the goal
    for name in ("next_state", "reward", "terminated"):
        expected = getattr(env.table, name)[..., 0].ravel()
        np.testing.assert_array_equal(getattr(agent.outcomes, name).numpy()[tried], expected[tried], err_msg=name)


@pytest.mark.slow
def test_planning_values_what_follows_a_cut_and_not_a_terminal_step():
    """Both actions pay 1; the first goes on for ever, cut after 2 steps, and the second ends the episode."""
    env = environment([[[(1.0, 0, 1.0, False)], [(1.0, 0, 1.0, True)]]], name="loop", time_limit=2)
    agent = Dyna(env, quick(discount=0.5, rollout_steps=8, planning_steps=40))
    agent.train(8, progress="off")
    np.testing.assert_allclose(agent.table.numpy(), [[2.0, 1.0]], atol=1e-4)


@pytest.mark.slow
def test_drawn_outcomes_have_the_mean_of_those_held():
    env = environment([[[(0.5, 0, -1.0, True), (0.5, 0, 3.0, True)]]], name="coin")
    agent = Dyna(env, quick(outcomes=16, learning_rate=0.02, rollout_steps=16, planning_steps=100))
    agent.train(32, progress="off")  # the second half writes over the first
    held = agent.outcomes.reward.numpy()
    assert set(held) == {-1.0, 3.0}
    assert agent.table.numpy()[0, 0] == pytest.approx(held.mean(), abs=0.6)


@pytest.mark.slow
def test_forbidden_actions_are_not_valued_by_planning():
    env = make("taxi")
    agent = Dyna(env, quick(environments=8, rollout_steps=32, initial_value=5.0, discount=0.5, planning_steps=4))
    agent.train(256, progress="off")
    allowed = env.action_mask({"place": np.arange(env.observation_space.n, dtype="int32")}).numpy()
    table = agent.table.numpy()
    assert (table[~allowed] == 5.0).all()
    held = agent.outcomes.next_mask.numpy().reshape(*table.shape, 6)
    tried = agent.outcomes.count.numpy().reshape(table.shape) > 0
    places = agent.outcomes.next_state.numpy().reshape(table.shape)
    np.testing.assert_array_equal(held[tried], allowed[places[tried]])
    assert not held[tried].all()


class UntilReached(AgentCallback):
    """End of a training once the greedy way leads to the goal within a number of steps."""

    def __init__(self, most):
        self.most = most

    def end_epoch(self, epoch, figures):
        table, place, values = self.agent.env.table, int(self.agent.env.table.start.argmax()), self.agent.table.numpy()
        for _ in range(self.most):
            action = values[place].argmax()
            if table.terminated[place, action, 0]:
                return "the goal is reached"
            place = table.next_state[place, action, 0]
        return None


@pytest.mark.slow
def test_dyna_finds_the_way_through_a_maze_in_less_than_half_of_the_steps():
    """Sutton and Barto 2018, figure 8.2: with planning the maze is learnt in a few episodes."""
    settings = {"learning_rate": 0.1, "discount": 0.95, "amount": 0.1, "final_amount": 0.1, "rollout_steps": 64}

    def steps(agent):
        record = agent.train(20_000, [UntilReached(20)], log_every=64, progress="off")
        assert record.stopped == "early"
        return record.steps[-1]

    env, settings = make("maze", rows=BOOK, time_limit=2000), {**settings, "jit_compile": False}
    planner = Dyna(env, DynaConfig(**settings, planning_steps=20), seed=0)
    assert 2 * steps(planner) <= steps(QLearning(env, TabularConfig(**settings), seed=0))


def test_wrong_settings_of_planning_are_named():
    for wrong in ({"planning_steps": -1}, {"outcomes": 0}):
        with pytest.raises(ArgumentError, match=next(iter(wrong))):
            DynaConfig(**wrong)
    with pytest.raises(ArgumentError, match="Discrete observation_space"):
        Dyna("cartpole")
    with pytest.raises(ArgumentError, match="outcomes must be 2 or more"):
        Dyna("frozen_lake", DynaConfig())
    assert Dyna("frozen_lake", DynaConfig(outcomes=20)).outcomes.reward.shape == (16 * 4 * 20,)
