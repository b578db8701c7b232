"""Adapter of Gymnasium's environments: successors, truncation, preparation, refusals."""

import gymnasium
import numpy as np
import pytest

from kerasdl import rl
from kerasdl.errors import ArgumentError, DataError, UnknownNameError


class Counting(gymnasium.Env):
    """Counts its steps; terminates at step `end`, or never; the first observation of episode k is 100 k."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, end=None, reward=1.0):
        self.end, self.reward, self.episode, self.count = end, reward, -1, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode, self.count = self.episode + 1, 0
        return np.array([100.0 * self.episode]), {}

    def step(self, action):
        self.count += 1
        return np.array([100.0 * self.episode + self.count]), self.reward, self.count == self.end, False, {}


class Colours(gymnasium.Env):
    """Pictures whose upper half is red and lower half grey; the number of steps is the blue of the first pixel."""

    observation_space = gymnasium.spaces.Box(0, 255, (4, 6, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def picture(self):
        picture = np.full((4, 6, 3), 100, np.uint8)
        picture[:2] = (200, 0, 0)
        picture[0, 0, 2] = self.count
        return picture

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return self.picture(), {}

    def step(self, action):
        self.count += 1
        return self.picture(), float(self.count), False, self.count == 5, {}


class NoFirst(Counting):
    """Its first observation is not a number."""

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.array([np.nan]), {}


def rollout(envs, steps):
    state, found = envs.reset(seed=0), []
    for _ in range(steps):
        state, transition = envs.step(state, np.zeros(envs.count, "int32"))
        found.append(transition)
    return state, found


@pytest.mark.parametrize("processes", [False, True])
def test_successors_are_true_and_time_limits_truncate(processes):
    limit = rl.Preparation(time_limit=3)
    with rl.GymnasiumEnvironments(Counting, 2, processes=processes, preparation=limit) as envs:
        state, found = rollout(envs, 4)
    assert [each.next_observation[0, 0] for each in found] == [1, 2, 3, 101]
    assert [each.observation[0, 0] for each in found] == [0, 1, 2, 100]
    assert [bool(each.truncated[0]) for each in found] == [False, False, True, False]
    assert not any(each.terminated.any() for each in found)
    assert (found[2].episode_return == 3).all()
    assert (found[2].episode_length == 3).all()
    assert state.observation[0, 0] == 101
    assert (state.elapsed == 1).all()


class InPlace(Counting):
    """Counts in one array, which it gives again and again."""

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        self.held = observation
        return self.held, info

    def step(self, action):
        observation, *rest = super().step(action)
        self.held[:] = observation
        return self.held, *rest


class OneArray(InPlace):
    """The same array in all episodes."""

    held = np.zeros(1)

    def reset(self, *, seed=None, options=None):
        observation, info = Counting.reset(self, seed=seed)
        self.held[:] = observation
        return self.held, info


def test_an_environment_that_changes_its_array_does_not_change_what_it_gave():
    with rl.GymnasiumEnvironments(lambda: OneArray(end=2), 1) as envs:
        found = rollout(envs, 3)[1]
    assert [each.next_observation[0, 0] for each in found] == [1, 2, 101]
    with rl.GymnasiumEnvironments(InPlace, 1, preparation=rl.Preparation(frame_stack=2)) as envs:
        found = rollout(envs, 2)[1]
    assert [each.next_observation[0].tolist() for each in found] == [[0, 1], [1, 2]]


@pytest.mark.parametrize(("steps", "limit"), [(None, 500), (1000, 1000), (7, 7), (-1, None)])
def test_the_limit_is_that_of_the_settings(steps, limit):
    with rl.GymnasiumEnvironments("CartPole-v1", settings={"max_episode_steps": steps}) as envs:
        assert envs.time_limit == limit
        if steps == 7:
            assert [bool(each.truncated[0]) for each in rollout(envs, 7)[1]].index(True) == 6


def test_termination_at_the_limit_is_no_truncation():
    with rl.GymnasiumEnvironments(lambda: Counting(end=3), 1, preparation=rl.Preparation(time_limit=3)) as envs:
        last = rollout(envs, 3)[1][-1]
    assert last.terminated.all()
    assert not last.truncated.any()


def test_a_limit_replaces_a_shorter_one_of_the_environment():
    with rl.GymnasiumEnvironments("MountainCar-v0", 1, preparation=rl.Preparation(time_limit=210)) as envs:
        assert envs.time_limit == 210
        found = rollout(envs, 210)[1]
    assert [bool(each.truncated[0]) for each in found].index(True) == 209


def test_actions_are_repeated_and_pictures_prepared():
    preparation = rl.Preparation(action_repeat=2, grey=True, resize=(2, 3), frame_stack=3)
    with rl.GymnasiumEnvironments(Colours, 1, preparation=preparation) as envs:
        assert envs.observation_space == rl.Box(0, 255, (2, 3, 3), "uint8")
        state, found = rollout(envs, 3)
    assert [each.reward[0] for each in found] == [3, 7, 5]  # 1 + 2, 3 + 4, and 5 alone, where the episode ends
    assert [bool(each.truncated[0]) for each in found] == [False, False, True]
    assert found[0].observation.dtype == np.uint8
    np.testing.assert_array_equal(state.observation[0, 0, 1], [60] * 3)  # 0.299 * 200, rounded
    np.testing.assert_array_equal(state.observation[0, 1, 1], [100] * 3)


def test_the_first_frame_fills_the_stack_and_later_ones_push_it_out():
    with rl.GymnasiumEnvironments(Counting, 1, preparation=rl.Preparation(frame_stack=3)) as envs:
        found = rollout(envs, 3)[1]
    assert [each.next_observation[0].tolist() for each in found] == [[0, 0, 1], [0, 1, 2], [1, 2, 3]]


def test_seeds_reproduce_and_environments_differ():
    with rl.GymnasiumEnvironments("CartPole-v1", 2) as envs:
        first, second, other = envs.reset(5), envs.reset(5), envs.reset(6)
        actions = envs.random_actions(second)
    np.testing.assert_array_equal(first.observation, second.observation)
    assert (first.observation[0] != first.observation[1]).all()
    np.testing.assert_array_equal(first.observation[1], other.observation[0])
    np.testing.assert_array_equal(actions, envs.random_actions(first))


def test_dicts_become_vectors_when_asked():
    class Dicts(Counting):
        observation_space = gymnasium.spaces.Dict(
            {"place": gymnasium.spaces.Box(-1, 1, (2,)), "door": gymnasium.spaces.Discrete(3)}
        )

        def reset(self, *, seed=None, options=None):
            return {"place": np.array([0.5, -0.5], "float32"), "door": 2}, {}

    with pytest.raises(ArgumentError, match="flatten=True"):
        rl.GymnasiumEnvironments(Dicts)
    with rl.GymnasiumEnvironments(Dicts, preparation=rl.Preparation(flatten=True)) as envs:
        np.testing.assert_array_equal(envs.reset(0).observation, [[0, 0, 1, 0.5, -0.5]])


def test_refusals_name_the_fault():
    with pytest.raises(UnknownNameError, match="CartPole-v1"):
        rl.GymnasiumEnvironments("CartPole-v11")
    with pytest.raises(ArgumentError, match="pictures"):
        rl.GymnasiumEnvironments(Counting, preparation=rl.Preparation(grey=True))
    with pytest.raises(ArgumentError, match="action_repeat"):
        rl.Preparation(action_repeat=0)
    with rl.GymnasiumEnvironments(lambda: Counting(reward=np.nan)) as envs:
        state = envs.reset(0)
        with pytest.raises(ArgumentError, match=r"must lie in Discrete\(n=2\)"):
            envs.step(state, [2])
        with pytest.raises(ArgumentError, match=r"must lie in Discrete\(n=2\)"):
            envs.step(state, [0.7])
        with pytest.raises(ArgumentError, match="shape"):
            envs.step(state, [[0, 1]])
        with pytest.raises(DataError, match="reward of environment 0"):
            envs.step(state, [0])
    with rl.GymnasiumEnvironments(NoFirst) as envs, pytest.raises(DataError, match="observation of environment 0"):
        envs.reset(0)
    with rl.GymnasiumEnvironments(Counting) as envs:
        old = envs.reset(0)
        envs.step(old, [0])
        with pytest.raises(ArgumentError, match="latest state"):
            envs.step(old, [0])
