"""Hindsight replay: goals of later steps alone, rewards and ends by hand, and what it learns of sparse rewards."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdl import rl
from kerasdl.errors import ArgumentError

COUNT, ROWS, BITS = 2, 6, 3


def filled(rows, share=1.0, capacity=ROWS * COUNT):
    """A buffer after random steps of bit flipping, and those steps, (T, N, ...)."""
    env = rl.make("bit_flipping", bits=BITS)
    vectors = rl.VectorEnvironment(env, COUNT)
    buffer = rl.HindsightBuffer(env, capacity=capacity, count=COUNT, share=share, discount=0.9)
    state, steps = vectors.reset(seed=1), []
    for _ in range(rows):
        state, transition = vectors.step(state, vectors.random_actions(state))
        buffer.add(transition)
        steps.append(transition)
    names = ("observation", "next_observation", "reward", "terminated", "truncated")
    return buffer, {name: np.stack([getattr(each, name) for each in steps]) for name in names}


@pytest.mark.parametrize("rows", [4, 15])
def test_goals_are_those_of_later_steps_of_the_same_episode(rows):
    buffer, steps = filled(rows)
    ended = steps["terminated"] | steps["truncated"]
    assert ended[:-1].any()
    batch = buffer.sample(600, seed=[0, 3])
    seen = {}
    for place, goal in zip(batch.index.numpy(), batch.observation[:, BITS:].numpy(), strict=True):
        seen.setdefault(place, set()).add(tuple(goal))
    held = range(max(0, rows - ROWS), rows)
    assert set(seen) == {row % ROWS * COUNT + env for row in held for env in range(COUNT)}
    for row in held:
        for env in range(COUNT):
            stop = next((later for later in range(row, rows) if ended[later, env]), rows - 1)
            reached = steps["next_observation"][row : stop + 1, env, :BITS]
            assert seen[row % ROWS * COUNT + env] == {tuple(each) for each in reached}


def test_rewards_and_discounts_are_those_of_the_new_goals():
    buffer, _ = filled(15)
    batch = buffer.sample(200, seed=[0, 3])
    goals = batch.observation[:, BITS:].numpy()
    np.testing.assert_array_equal(goals, batch.next_observation[:, BITS:])
    reached = (batch.next_observation[:, :BITS].numpy() == goals).all(-1)
    assert 0 < reached.mean() < 1
    np.testing.assert_array_equal(batch.reward, np.where(reached, 0.0, -1.0))
    np.testing.assert_allclose(batch.discount, np.where(reached, 0.0, 0.9), rtol=1e-6)
    bits = tf.gather(buffer.fields["observation"], batch.index)[:, :BITS]
    np.testing.assert_array_equal(batch.observation[:, :BITS], bits)


@pytest.mark.parametrize("share", [0.0, 0.8])
def test_a_share_of_goals_is_exchanged(share):
    buffer, _ = filled(6, share)
    batch = buffer.sample(4000, seed=[2, 3])
    own = tf.gather(buffer.fields["observation"], batch.index)
    all_new = filled(6, 1.0)[0].sample(4000, seed=[2, 3])
    differs = (all_new.observation != own).numpy().any(-1)
    changed = (batch.observation != own).numpy().any(-1)
    assert changed[differs].mean() == pytest.approx(share, abs=0.03)
    assert not changed[~differs].any()
    np.testing.assert_array_equal(batch.reward[~changed], tf.gather(buffer.fields["reward"], batch.index)[~changed])


def test_bit_flipping_ends_where_the_goal_is_reached():
    env = rl.make("bit_flipping", bits=2)
    state = {"bits": tf.constant([[0.0, 1.0], [0.0, 1.0]]), "goal": tf.constant([[1.0, 1.0]] * 2)}
    after, reward, terminated = env.step(state, tf.constant([0, 1]), None)
    np.testing.assert_array_equal(after["bits"], [[1, 1], [0, 0]])
    np.testing.assert_array_equal(reward, [0.0, -1.0])
    np.testing.assert_array_equal(terminated, [True, False])
    np.testing.assert_array_equal(env.observe(after), [[1, 1, 1, 1], [0, 0, 1, 1]])
    rl.check_env(env)


@pytest.mark.bars
def test_sparse_rewards_are_learnt_in_hindsight_and_not_without():
    def share_of_successes(hindsight):
        sizes = {"environments": 8, "rollout_steps": 8, "updates": 16, "batch_size": 128, "hidden": (128,)}
        rates = {"learning_rate": 2e-3, "discount": 0.95, "target_every": 100, "final_amount": 0.1}
        config = rl.DQNConfig(**sizes, **rates, capacity=80_000, double=True, hindsight=hindsight)
        agent = rl.DQN(rl.make("bit_flipping", bits=12), config, seed=0)
        agent.train(16_000, progress="off")
        return float(np.mean(agent.evaluate(100).returns > -12))

    assert share_of_successes(0.8) > 0.9
    assert share_of_successes(0.0) < 0.3


def test_what_has_no_goals_is_refused():
    settings = {"capacity": 64, "hidden": (8,), "jit_compile": False, "hindsight": 0.8}
    with pytest.raises(ArgumentError, match="hindsight needs a GoalEnvironment"):
        rl.SAC("pendulum", rl.SACConfig(**settings))
    with pytest.raises(ArgumentError, match="steps must be 1"):
        rl.DQN("bit_flipping", rl.DQNConfig(**settings, steps=3))
    with pytest.raises(ArgumentError, match="drawn evenly"):
        rl.DQN("bit_flipping", rl.DQNConfig(**settings, prioritized=True))
    with pytest.raises(ArgumentError, match="hindsight must be a number"):
        rl.SACConfig(hindsight=float("nan"))
    assert isinstance(rl.DiscreteSAC("bit_flipping", rl.DiscreteSACConfig(**settings)).buffer, rl.HindsightBuffer)
