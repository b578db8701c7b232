"""Laws of bandits, catch, spread and grids: what good and bad play must return."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from kerasdl import rl


def mean_return(env, act, episodes=64, steps=60, seed=0):
    """Returns the mean return of the first episodes of a policy from states to actions."""
    vectors = rl.VectorEnvironment(env, episodes)
    state, returns = vectors.reset(seed), np.full(episodes, np.nan)
    for _ in range(steps):
        state, transition = vectors.step(state, act(state.state))
        first = transition.done.numpy() & np.isnan(returns)
        returns[first] = transition.episode_return.numpy()[first]
    assert not np.isnan(returns).any()
    return returns


def test_catching_returns_1_and_missing_minus_1():
    env = rl.make("catch")
    assert (mean_return(env, lambda state: 1 + tf.sign(state["column"] - state["paddle"]), steps=9) == 1).all()
    away = mean_return(env, lambda state: tf.where(state["column"] > 2, 0, 2), steps=9)
    assert (away == -1).all()
    picture = env.observe({"row": tf.constant([3]), "column": tf.constant([1]), "paddle": tf.constant([4])})
    assert np.argwhere(picture[0, :, :, 0].numpy() == 1).tolist() == [[3, 1], [9, 4]]


def test_bandits_have_the_law_of_the_testbed():
    env, pulls = rl.make("gaussian_bandit", arms=4), 4000
    noise = tf.constant(np.random.default_rng(0).random((pulls, 4), dtype="float32"))
    means = env.start(noise)["means"].numpy()
    np.testing.assert_allclose([means.mean(), means.std()], [0, 1], atol=0.03)
    state = {"means": tf.constant([[0.0, 2.0, -1.0, 0.5]] * pulls)}
    _, reward, ends = env.step(state, tf.fill((pulls,), 1), noise[:, :1])
    np.testing.assert_allclose([reward.numpy().mean(), reward.numpy().std()], [2, 1], atol=0.06)
    assert not ends.numpy().any()
    assert env.regret(state, tf.fill((pulls,), 3)).numpy()[0] == 1.5
    _, worst, _ = env.step(state, tf.zeros((pulls,), tf.int32), tf.zeros((pulls, 1)))
    assert np.isfinite(worst.numpy()).all()
    coin = rl.make("bernoulli_bandit", arms=2)
    _, reward, _ = coin.step({"means": tf.constant([[0.2, 0.7]] * pulls)}, tf.ones((pulls,), tf.int32), noise[:, :1])
    np.testing.assert_allclose(reward.numpy().mean(), 0.7, atol=0.03)
    assert set(np.unique(reward)) == {0, 1}


def shared_out(state):
    """Returns moves of agents that share out the landmarks so that the longest way is shortest."""
    agents, landmarks = state["agents"].numpy(), state["landmarks"].numpy()
    actions = np.zeros(agents.shape[:2], "int32")
    for row, (places, goals) in enumerate(zip(agents, landmarks, strict=True)):
        orders = itertools.permutations(range(len(goals)))
        best = min(orders, key=lambda order: sorted(np.abs(places - goals[list(order)]).sum(1))[::-1])
        for agent, goal in enumerate(best):
            down, right = goals[goal] - places[agent]
            actions[row, agent] = (2 if down > 0 else 4) if down else (3 if right > 0 else 1) if right else 0
    return actions


def test_agents_that_share_out_the_landmarks_reach_the_bar_and_random_ones_do_not():
    env = rl.make("spread")
    shared = mean_return(env, shared_out, episodes=200, steps=25)
    assert shared.mean() > env.reward_bar
    vectors = rl.VectorEnvironment(env, 64)
    randomly = mean_return(env, lambda state: vectors.random_actions(vectors.reset(3)), steps=25)
    assert randomly.mean() < env.reward_bar - 5


def test_observations_of_spread_are_relative_and_name_the_agent():
    env = rl.make("spread", agents=2, side=4)
    state = {"agents": tf.constant([[[0, 0], [3, 1]]]), "landmarks": tf.constant([[[0, 2], [1, 1]]])}
    seen = env.observe(state).numpy()[0] * 4
    np.testing.assert_array_equal(seen[0], [0, 0, 0, 2, 1, 1, 3, 1, 4, 0])
    np.testing.assert_array_equal(seen[1], [3, 1, -3, 1, -2, 0, -3, -1, 0, 4])
    after, reward, ended = env.step(state, tf.constant([[3, 4]]), tf.zeros((1, 0)))
    assert after["agents"].numpy().tolist() == [[[0, 1], [2, 1]]]
    assert (reward.numpy()[0], bool(ended[0])) == (-1, False)
    after, reward, ended = env.step(after, tf.constant([[3, 4]]), tf.zeros((1, 0)))
    assert (reward.numpy()[0], bool(ended[0])) == (0, True)


@pytest.mark.parametrize(("name", "best"), [("gridworld", -8), ("cliff_walking", -13), ("maze", 1)])
def test_shortest_ways_of_grids(name, best):
    """Value iteration on the table finds the known best return."""
    table = rl.make(name).table
    value = np.zeros(table.states)
    for _ in range(200):
        outcomes = table.reward + np.where(table.terminated, 0, value[table.next_state])
        value = (table.probability * outcomes).sum(-1).max(-1)
    assert value @ table.start == pytest.approx(best)


def test_a_wall_stops_and_the_cliff_leads_back():
    cliff = rl.make("cliff_walking")
    after, reward, ended = cliff.step({"place": tf.constant([36])}, tf.constant([1]), tf.zeros((1, 0)))
    assert (int(after["place"][0]), float(reward[0]), bool(ended[0])) == (36, -100, False)
    maze = rl.make("maze")
    after, _, _ = maze.step({"place": tf.constant([2])}, tf.constant([2]), tf.zeros((1, 0)))
    assert int(after["place"][0]) == 2
