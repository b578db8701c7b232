"""Normalised environments against NumPy's moments, their file and layers; films of episodes."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerasdl import rl
from kerasdl.errors import ArgumentError, DataError


def rollout(envs, steps, state):
    found = []
    for _ in range(steps):
        raw = envs.random_actions(state)
        state, transition = envs.step(state, raw)
        found.append((state, transition))
    return found


@pytest.fixture(scope="module")
def run():
    vectors = rl.VectorEnvironment(rl.make("cartpole"), 8)
    envs = rl.NormalizedEnvironments(vectors, discount=0.9)
    envs.step = tf.function(envs.step)
    first = envs.reset(seed=1)
    return vectors, envs, first, rollout(envs, 40, first)


def test_statistics_are_the_moments_of_all_that_was_seen(run):
    _, _, first, found = run
    seen = np.concatenate([first.inner.observation, *(state.inner.observation for state, _ in found)])
    mean, variance, count = found[-1][0].statistics.observation
    np.testing.assert_allclose(mean, seen.mean(0), atol=1e-4)
    np.testing.assert_allclose(variance, seen.var(0), rtol=1e-4)
    assert float(count) == len(seen) == 8 * 41


def test_rewards_are_divided_by_the_deviation_of_discounted_sums(run):
    vectors, _, _, found = run
    state, sums, total = vectors.reset(seed=1), [], np.zeros(8)
    for _ in found:
        state, transition = vectors.step(state, vectors.random_actions(state))
        total = total * 0.9 + transition.reward.numpy()
        sums.append(total)
        total = np.where(transition.done, 0, total)
    last = found[-1][1]
    np.testing.assert_allclose(last.reward, transition.reward / np.std(sums), rtol=1e-3)
    np.testing.assert_allclose(last.episode_return, transition.episode_return)  # raw


def test_observations_and_successors_are_normalised_by_the_statistics(run):
    _, envs, first, found = run
    previous = first
    for state, transition in found[:3]:
        np.testing.assert_array_equal(transition.observation, previous.observation)
        mean, variance, _ = state.statistics.observation
        raw = envs.vectors.step(previous.inner, transition.action)[1].next_observation
        np.testing.assert_allclose(transition.next_observation, (raw - mean) / np.sqrt(variance), atol=1e-5)
        previous = state


def test_a_file_a_layer_and_evaluation_agree(run, tmp_path):
    vectors, _, _, found = run
    statistics = found[-1][0].statistics
    statistics.save(tmp_path / "statistics.npz")
    loaded = rl.Statistics.load(tmp_path / "statistics.npz")
    for one, two in zip(tf.nest.flatten(statistics), tf.nest.flatten(loaded), strict=True):
        np.testing.assert_array_equal(one, two)
    evaluation = rl.NormalizedEnvironments(vectors, learn=False, clip=1.0)
    state = evaluation.reset(seed=9, statistics=loaded)
    after, _ = evaluation.step(state, tf.zeros(8, tf.int32))
    np.testing.assert_array_equal(after.statistics.observation.mean, statistics.observation.mean)
    inputs = keras.Input((4,))
    model = keras.Model(inputs, rl.normalized(inputs, loaded, clip=1.0))
    last = rollout(evaluation, 12, state)[-1][0]
    np.testing.assert_allclose(model(last.inner.observation), last.observation, atol=1e-6)
    assert np.abs(last.observation).max() == 1


def test_a_run_of_the_adapter_is_normalised_too():
    with rl.GymnasiumEnvironments("CartPole-v1", 2) as inner:
        envs = rl.NormalizedEnvironments(inner)
        found = rollout(envs, 30, envs.reset(seed=0))
    state, transition = found[-1]
    assert float(state.statistics.observation.count) == 62
    assert any(np.any(each.done) for _, each in found)
    assert np.isfinite(transition.reward).all()


def test_what_is_not_normalised_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="learn=False needs statistics"):
        rl.NormalizedEnvironments(rl.VectorEnvironment(rl.make("pendulum"), 2), learn=False).reset(seed=0)
    with pytest.raises(ArgumentError, match="real numbers"):
        rl.NormalizedEnvironments(rl.VectorEnvironment(rl.make("taxi"), 2))
    taxi = rl.NormalizedEnvironments(rl.VectorEnvironment(rl.make("taxi"), 2), observations=False)
    assert taxi.reset(seed=0).observation.dtype == tf.int32
    (tmp_path / "other.npz").write_bytes(b"PK")
    for path in ("other.npz", "none.npz"):
        with pytest.raises(DataError, match=path):
            rl.Statistics.load(tmp_path / path)


def test_a_film_shows_each_state_of_one_episode(tmp_path):
    recording = rl.record_episode("cartpole", tmp_path / "film.gif", lambda observation: [1], frames_per_second=20)
    assert recording.length == recording.episode_return
    with Image.open(recording.path) as film:
        times = [film.seek(frame) or film.info["duration"] for frame in range(film.n_frames)]
        # The first state, and one after each step but the last; equal pictures are one frame of twice the time.
        assert sum(times) == 50 * recording.length
        assert film.n_frames > recording.length // 2
        assert film.size == (300, 200)
        film.seek(0)
        first = np.asarray(film.convert("RGB"), int)
        film.seek(film.n_frames - 1)
        assert np.abs(np.asarray(film.convert("RGB"), int) - first).max() > 100
    assert [each.name for each in tmp_path.iterdir()] == ["film.gif"]


@pytest.mark.parametrize("name", sorted(set(rl.list_environments()) - {"gaussian_bandit", "bernoulli_bandit"}))
def test_every_environment_has_pictures_that_show_its_state(name):
    env = rl.make(name)
    vectors = rl.VectorEnvironment(env, 1)
    state, pictures = vectors.reset(seed=0), []
    for _ in range(7):
        pictures.append(env.draw({key: np.asarray(value)[0] for key, value in state.state.items()}))
        state, _ = vectors.step(state, vectors.random_actions(state))
    assert {(each.dtype.name, each.shape) for each in pictures} == {("uint8", pictures[0].shape)}
    assert pictures[0].shape[-1] == 3
    assert any((each != pictures[0]).any() for each in pictures)


def test_films_that_cannot_be_made_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="gif"):
        rl.record_episode("cartpole", tmp_path / "film.mp4")
    with pytest.raises(ArgumentError, match="drawn"):
        rl.record_episode("gaussian_bandit", tmp_path / "film.gif")
    with rl.GymnasiumEnvironments("CartPole-v1") as envs, pytest.raises(ArgumentError, match="rgb_array"):
        rl.record_episode(envs, tmp_path / "film.gif")
    assert not [*tmp_path.iterdir()]
