"""Buffers: contents against a list in Python, the law of draws, weights of the paper, files bit for bit."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from kerasdl.core.errors import ArgumentError
from kerasdl.rl import Box, Discrete, Transition
from kerasdl.rl.buffers.prioritized import PrioritizedBuffer
from kerasdl.rl.buffers.replay import Batch, ReplayBuffer
from kerasdl.rl.buffers.sum_trees import SumTree

SPACES = (Box(-1.0, 1.0, (2,)), Discrete(5))


def stream(rows: int, count: int, seed: int = 0) -> Transition:
    """Steps in time order whose observations name the step and the environment; some end."""
    rng = np.random.default_rng(seed)
    step, env = np.indices((rows, count))
    seen = np.stack([step, env], -1).astype("float32")
    ends = rng.random((rows, count, 2)) < (0.15, 0.15)
    return Transition(
        observation=seen,
        action=rng.integers(0, 5, (rows, count)).astype("int32"),
        reward=rng.normal(size=(rows, count)).astype("float32"),
        terminated=ends[..., 0],
        truncated=ends[..., 1] & ~ends[..., 0],
        next_observation=seen + 0.5,
        episode_return=np.zeros((rows, count), "float32"),
        episode_length=np.zeros((rows, count), "int32"),
    )


def part(steps: Transition, start: int, stop: int | None = None) -> Transition:
    held = {name: each for name, each in steps._asdict().items() if each is not None}
    return Transition(**{name: tf.constant(each[start:stop] if stop else each[start]) for name, each in held.items()})


def add_in_parts(buffer, steps: Transition, rows: int) -> None:
    """Adds single steps and several at once, in turns."""
    start = 0
    while start < rows:
        stop = min(start + 3, rows)
        if start % 2:
            buffer.add(part(steps, start, stop))
        else:
            buffer.add(part(steps, start))
            stop = start + 1
        start = stop


@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritizedBuffer])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("rows", [5, 23])
def test_batches_hold_the_sums_of_n_steps(kind, steps, rows):
    """All that may be drawn, and nothing else; truncation keeps the value of what follows, termination does not."""
    count, ring, discount = 3, 8, 0.9
    buffer = kind(*SPACES, capacity=ring * count, count=count, steps=steps, discount=discount)
    transitions = stream(rows, count)
    add_in_parts(buffer, transitions, rows)
    batch = Batch(*(each.numpy() for each in buffer.sample(512, seed=[1, 2]) if each is not None))
    seen = batch.observation.astype(int)
    expected = {(t, e) for t in range(max(rows - ring, 0), rows - steps + 1) for e in range(count)}
    assert {tuple(each) for each in seen} == expected
    assert int(buffer.size) == len(expected)
    for place, (t, e) in enumerate(seen):
        total, factor, last = 0.0, 1.0, t
        for last in range(t, t + steps):
            total += factor * transitions.reward[last, e]
            factor *= discount
            if transitions.terminated[last, e] or transitions.truncated[last, e]:
                break
        assert batch.reward[place] == pytest.approx(total, abs=1e-5)
        assert batch.discount[place] == pytest.approx(0.0 if transitions.terminated[last, e] else factor)
        np.testing.assert_array_equal(batch.next_observation[place], transitions.next_observation[last, e])
        assert batch.action[place] == transitions.action[t, e]


def test_masks_of_successors_are_those_behind_the_last_step():
    buffer = ReplayBuffer(*SPACES, capacity=24, count=2, steps=2, masked_actions=5)
    steps = stream(12, 2)
    masks = np.random.default_rng(4).random((12, 2, 5)) < 0.5
    buffer.add(part(steps._replace(next_mask=masks), 0, 12))
    batch = buffer.sample(100, seed=[0, 0])
    last = (batch.next_observation.numpy() - 0.5).astype(int)
    np.testing.assert_array_equal(batch.next_mask, masks[last[:, 0], last[:, 1]])
    with pytest.raises(ArgumentError, match="masked_actions"):
        buffer.add(part(steps, 0))


def test_even_draws_are_even():
    buffer = ReplayBuffer(*SPACES, capacity=20, count=2)
    buffer.add(part(stream(10, 2), 0, 10))
    counts = np.bincount(buffer.sample(20_000, seed=[0, 1]).index, minlength=20)
    assert stats.chisquare(counts).pvalue > 0.001


@pytest.mark.parametrize("size", [1, 64, 65, 5000])
def test_sum_tree_finds_what_the_running_sum_passes(size):
    rng, tree = np.random.default_rng(size), SumTree(size)
    numbers = np.zeros(size)
    for _ in range(20):
        index = rng.choice(size, min(size, 50), replace=False)
        numbers[index] = rng.exponential(size=len(index)) * (rng.random(len(index)) < 0.7)
        tree.assign(index, numbers[index])
    numbers[0] = 0.3
    tree.assign([0], [0.3])
    assert float(tree.total) == pytest.approx(numbers.sum(), rel=1e-12)
    sums = numbers.cumsum()
    middles = (sums - numbers / 2)[numbers > 0]
    np.testing.assert_array_equal(tree.find(middles), np.flatnonzero(numbers > 0))
    edges = tree.find([0.0, float(tree.total)])
    assert (numbers[edges.numpy()] > 0).all()


def test_prioritized_draws_follow_their_law_and_weights_the_paper():
    buffer = PrioritizedBuffer(*SPACES, capacity=100, count=1, exponent=0.7)
    buffer.add(part(stream(100, 1), 0, 100))
    errors = np.random.default_rng(3).normal(size=100).astype("float32")
    buffer.update(tf.range(100), tf.constant(errors))
    law = (np.abs(errors.astype(float)) + 1e-6) ** 0.7
    law /= law.sum()
    draws = tf.function(lambda key: buffer.sample(50, tf.stack([0, key])).index)
    counts = np.bincount(np.concatenate([draws(tf.constant(key)) for key in range(400)]), minlength=100)
    # Strata make the counts more even than independent draws, never less.
    assert stats.chisquare(counts, law * counts.sum()).pvalue > 0.001
    batch = buffer.sample(50, seed=[5, 6], importance=0.4)
    weights = (100 * law[batch.index]) ** -0.4
    np.testing.assert_allclose(batch.weight, weights / weights.max(), rtol=1e-5)
    assert np.all(buffer.sample(50, seed=[5, 6], importance=0.0).weight == 1.0)


def test_each_stratum_gives_one_draw():
    buffer = PrioritizedBuffer(*SPACES, capacity=64, count=1)
    buffer.add(part(stream(64, 1), 0, 64))
    assert sorted(buffer.sample(64, seed=[0, 0]).index.numpy()) == list(range(64))


def test_new_transitions_have_the_largest_priority_so_far():
    buffer = PrioritizedBuffer(*SPACES, capacity=8, count=1, exponent=1.0, steps=2)
    steps = stream(16, 1)
    buffer.add(part(steps, 0, 6))
    buffer.update(tf.constant([0]), tf.constant([7.0]))
    buffer.add(part(steps, 6))
    np.testing.assert_allclose(buffer.tree.read(tf.range(8)), [7, 1, 1, 1, 1, 7, 0, 0], atol=1e-5)
    buffer.add(part(steps, 7, 15))  # as many as fit: the newest one is incomplete
    np.testing.assert_allclose(buffer.tree.read(tf.range(8)), [7, 7, 7, 7, 7, 7, 0, 7], atol=1e-5)


@pytest.mark.parametrize("kind", [ReplayBuffer, PrioritizedBuffer])
def test_files_restore_bit_for_bit(kind, tmp_path):
    first, second = (kind(*SPACES, capacity=24, count=2, steps=3, dtype="float16") for _ in range(2))
    add_in_parts(first, stream(17, 2), 17)
    first.update(tf.constant([2, 5]), tf.constant([0.3, 9.0]))
    first.save(tmp_path / "buffer.npz")
    second.restore(tmp_path / "buffer.npz")
    for buffer in (first, second):
        buffer.add(part(stream(3, 2, seed=9), 0, 3))
    for one, other in zip(first.sample(64, [3, 4])[:-1], second.sample(64, [3, 4])[:-1], strict=True):
        np.testing.assert_array_equal(one, other)
    for name, variable in first.variables.items():
        np.testing.assert_array_equal(variable, second.variables[name])
    other = ReplayBuffer(*SPACES, capacity=22, count=2)
    with pytest.raises(ArgumentError, match="must hold a buffer of"):
        other.restore(tmp_path / "buffer.npz")


def test_faults_are_named():
    with pytest.raises(ArgumentError, match="multiple of 3"):
        ReplayBuffer(*SPACES, capacity=10, count=3)
    with pytest.raises(ArgumentError, match="capacity"):
        ReplayBuffer(*SPACES, capacity=2, steps=3)
    with pytest.raises(ArgumentError, match="exponent"):
        PrioritizedBuffer(*SPACES, capacity=2, exponent=1.5)
    buffer = ReplayBuffer(*SPACES, capacity=6, count=3)
    with pytest.raises(ArgumentError, match="3 environments"):
        buffer.add(part(stream(2, 2), 0))
    with pytest.raises(ArgumentError, match="up to 2"):
        buffer.add(part(stream(3, 3), 0, 3))
