"""Vectors of environments: new episodes, time limits, seeds, resume, compiled loops; spaces and the door."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdl import rl
from kerasdl.errors import ArgumentError, UnknownNameError
from kerasdl.rl.envs.noise import uniform_noise


class Counter(rl.Environment):
    """Counts steps from 0 to `end`, where it terminates; the limit cuts it off before or in the same step."""

    name, noise_size = "counter", 1
    observation_space, action_space = rl.Box(-100.0, 100.0, (1,)), rl.Discrete(2)

    def __init__(self, end=5, limit=None):
        self.end, self.time_limit = end, limit

    def start(self, noise):
        return {"count": tf.zeros_like(noise[:, 0])}

    def step(self, state, action, noise):
        count = state["count"] + 1.0
        return {"count": count}, count, count >= self.end

    def observe(self, state):
        return state["count"][:, None]


def rollout(env, steps, count=2):
    vectors = rl.VectorEnvironment(env, count)
    state, found = vectors.reset(seed=0), []
    for _ in range(steps):
        state, transition = vectors.step(state, tf.zeros(count, tf.int32))
        found.append(transition)
    return state, found


def test_a_limit_truncates_and_the_successor_is_the_true_one():
    state, found = rollout(Counter(end=5, limit=3), 4)
    assert [bool(each.truncated[0]) for each in found] == [False, False, True, False]
    assert not any(np.any(each.terminated) for each in found)
    assert [float(each.next_observation[0, 0]) for each in found] == [1, 2, 3, 1]
    assert [float(each.observation[0, 0]) for each in found] == [0, 1, 2, 0]
    assert float(found[2].episode_return[0]) == 1 + 2 + 3
    assert int(found[2].episode_length[0]) == 3
    assert float(state.episode_return[0]) == 1


def test_a_bootstrapped_target_of_a_truncated_step_needs_its_successor():
    """The value of the truncated step is reward + 0.5 * 3; treated as an end, or with the new episode, it differs."""
    last = rollout(Counter(end=5, limit=3), 3)[1][-1]
    target = last.reward + 0.5 * tf.where(last.terminated, 0.0, last.next_observation[:, 0])
    assert target.numpy().tolist() == [3 + 1.5, 3 + 1.5]


@pytest.mark.parametrize("limit", [5, None])
def test_termination_is_no_truncation_in_the_step_of_the_limit_either(limit):
    last = rollout(Counter(end=5, limit=limit), 5)[1][-1]
    assert last.terminated.numpy().all()
    assert not last.truncated.numpy().any()
    assert last.done.numpy().all()


@pytest.mark.parametrize("name", ["cartpole", "frozen_lake", "gaussian_bandit", "spread"])
def test_a_saved_state_continues_bit_for_bit_in_a_compiled_loop(name):
    vectors = rl.VectorEnvironment(rl.make(name), 3)

    @tf.function
    def run(state, steps):
        def body(index, state, total):
            state, transition = vectors.step(state, vectors.random_actions(state))
            return index + 1, state, total + transition.reward

        return tf.while_loop(lambda index, *_: index < steps, body, (0, state, tf.zeros(3)))[1:]

    whole, _ = run(vectors.reset(seed=7), tf.constant(60))
    half, _ = run(vectors.reset(seed=7), tf.constant(25))
    saved = tf.nest.map_structure(lambda value: value.numpy(), half)
    again, _ = run(tf.nest.map_structure(tf.constant, saved), tf.constant(35))
    other, _ = run(vectors.reset(seed=8), tf.constant(60))
    for one, two in zip(tf.nest.flatten(whole), tf.nest.flatten(again), strict=True):
        np.testing.assert_array_equal(one, two)
    pairs = zip(tf.nest.flatten(whole.state), tf.nest.flatten(other.state), strict=True)
    assert any(not np.array_equal(one, two) for one, two in pairs)


def test_rows_differ_and_new_episodes_are_not_repeated():
    vectors = rl.VectorEnvironment(rl.make("cartpole"), 4)
    state = vectors.reset(seed=0)
    firsts = [state.observation.numpy()]
    for _ in range(40):
        state, transition = vectors.step(state, tf.ones(4, tf.int32))  # falls within 11 steps
        firsts += [state.observation.numpy()[transition.done.numpy()]]
    firsts = np.concatenate(firsts)
    assert len(firsts) >= 12
    assert len(np.unique(firsts, axis=0)) == len(firsts)
    assert np.abs(firsts).max() <= 0.05


def test_the_law_of_starts_and_of_slippery_steps():
    env, count = rl.make("frozen_lake"), 30_000
    noise = tf.constant(np.random.default_rng(0).random((count, 1), dtype="float32"))
    place = tf.fill((count,), 9)
    after, _, _ = env.step({"place": place}, tf.fill((count,), 2), noise)
    shares = np.bincount(after["place"], minlength=16) / count
    np.testing.assert_allclose(shares[[13, 10, 5]], 1 / 3, atol=0.01)  # down, right, up
    edge, _, _ = env.step({"place": tf.constant([9])}, tf.constant([2]), tf.constant([[1 - 2**-24]]))
    assert int(edge["place"][0]) == 5
    starts = np.bincount(rl.make("taxi").start(noise)["place"], minlength=500) / count
    np.testing.assert_allclose(starts, rl.make("taxi").table.start, atol=0.003)


def test_a_table_with_fewer_outcomes_in_a_row_never_draws_an_empty_one():
    probability = np.array([[[0.9, 0.1, 0.0]], [[0.3, 0.3, 0.4]]])
    table = rl.OutcomeTable(
        np.array([[[0, 1, 0]], [[1, 1, 0]]]),
        probability,
        np.array([[[1.0, 2.0, -99.0]], [[3.0, 4.0, 5.0]]]),
        np.zeros((2, 1, 3), bool),
        [1, 0],
    )
    env = rl.TabularEnvironment(table)
    noise = tf.constant([[0.0], [0.89], [0.91], [1 - 2**-24]])
    _, reward, _ = env.step({"place": tf.zeros(4, tf.int32)}, tf.zeros(4, tf.int32), noise)
    assert reward.numpy().tolist() == [1, 1, 2, 2]
    _, reward, _ = env.step({"place": tf.ones(4, tf.int32)}, tf.zeros(4, tf.int32), noise)
    assert reward.numpy().tolist() == [3, 5, 5, 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"probability": [[[0.5, 0.4]]]}, "sum to 1"),
        ({"next_state": [[[0, 1]]]}, "from 0 to 0"),
        ({"reward": [[[np.nan, 0]]]}, "finite"),
        ({"start": [0.5, 0.5]}, "four arrays"),
    ],
)
def test_tables_that_break_rules_are_refused(changes, message):
    parts = {
        **{"next_state": [[[0, 0]]], "probability": [[[0.5, 0.5]]], "reward": [[[0, 0]]]},
        **{"terminated": [[[False, True]]], "start": [1.0]},
    }
    rl.OutcomeTable(**parts)
    with pytest.raises(ArgumentError, match=message):
        rl.OutcomeTable(**{**parts, **changes})


def test_spaces_draw_inside_and_refuse_nonsense():
    noise = tf.constant([[0.0, 0.0], [1 - 2**-24, 1 - 2**-24]])
    assert rl.Discrete(3).draw(noise).numpy().tolist() == [0, 2]
    assert rl.MultiDiscrete((2, 7)).draw(noise).numpy().tolist() == [[0, 0], [1, 6]]
    box = rl.Box((-1.0, 0.0), (1.0, 4.0), (2,))
    assert box.contains(box.draw(noise)).all()
    assert box.contains([[2.0, 0.0], [0.0, 4.0]]).tolist() == [False, True]
    assert hash(box) == hash(rl.Box([-1, 0], [1, 4], [2]))
    with pytest.raises(ArgumentError, match="finite bounds"):
        rl.Box(0.0, np.inf, (2,)).draw(noise)
    for wrong in ((1.0, 0.0, (2,)), (0.0, 1.0, (0,)), ((0.0, 0.0), 1.0, (3,)), (np.nan, 1.0, ())):
        with pytest.raises(ArgumentError):
            rl.Box(*wrong)
    for wrong in (0, 1.5, True):
        with pytest.raises(ArgumentError):
            rl.Discrete(wrong)


def test_names_and_settings_are_checked():
    with pytest.raises(UnknownNameError, match="cartpole"):
        rl.make("cart_pole")
    with pytest.raises(ArgumentError, match="slippery"):
        rl.make("frozen_lake", slipery=False)
    with pytest.raises(ArgumentError, match="Environment"):
        rl.VectorEnvironment("cartpole", 2)
    assert rl.make("frozen_lake", size=["SG"]).table.states == 2
    for rows in (["SF", "G"], ["SF"], ["FG"]):
        with pytest.raises(ArgumentError, match="goal"):
            rl.make("maze", rows=rows)


def test_fractions_are_no_actions():
    vectors = rl.VectorEnvironment(rl.make("cartpole"), 2)
    with pytest.raises(ArgumentError, match="actions must be whole numbers"):
        vectors.step(vectors.reset(0), [0.5, 1.0])


def test_noise_is_uniform_and_its_neighbours_are_independent():
    """Pairs of neighbours in row, column, step, stream and seed fill an 8 x 8 table evenly (chi-square of 63)."""
    rows, size = 5000, 4

    def noise(seed, counter, stream):
        return uniform_noise(tf.constant(seed), tf.constant(counter), stream, rows, size).numpy()

    for seed in (0, 12345):
        here = noise(seed, 7, 0)
        assert here.min() >= 0
        assert here.max() < 1
        counts = np.bincount((here.ravel() * 100).astype(int), minlength=100)
        assert ((counts - 200) ** 2 / 200).sum() < 160  # of 99 degrees of freedom: p < 1e-4 beyond
        others = {
            "row": np.roll(here, 1, 0),
            "column": np.roll(here, 1, 1),
            "step": noise(seed, 8, 0),
            "stream": noise(seed, 7, 1),
            "seed": noise(seed + 1, 7, 0),
        }
        for name, other in others.items():
            table = np.bincount((here.ravel() * 8).astype(int) * 8 + (other.ravel() * 8).astype(int), minlength=64)
            expected = rows * size / 64
            assert ((table - expected) ** 2 / expected).sum() < 120, name


def test_noise_of_one_row_over_steps_is_uniform_too():
    @tf.function
    def run():
        return tf.map_fn(
            lambda step: uniform_noise(tf.constant(3), step, 0, 2, 2), tf.range(6000), fn_output_signature=tf.float32
        )

    values = run().numpy().reshape(6000, 4)
    for column in values.T:
        counts = np.bincount((column * 20).astype(int), minlength=20)
        assert ((counts - 300) ** 2 / 300).sum() < 55
        table = np.bincount((column[1:] * 4).astype(int) * 4 + (column[:-1] * 4).astype(int), minlength=16)
        assert ((table - 375) ** 2 / 375).sum() < 50
