"""The check of environments: every environment of ours keeps the rules, and each broken rule is named."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdl import rl
from kerasdl.errors import ArgumentError


@pytest.mark.parametrize("name", rl.list_environments())
def test_our_environments_keep_the_rules(name):
    env = rl.make(name)
    assert env.name == name
    rl.check_env(env, steps=4)


class Walk(rl.Environment):
    """Walk on a line that keeps all rules; each case below breaks one."""

    name, noise_size, step_noise_size, time_limit = "walk", 1, 1, 10
    observation_space, action_space = rl.Box(-50.0, 50.0, (2,)), rl.Discrete(2)

    def start(self, noise):
        return {"x": noise[:, 0], "steps": tf.zeros_like(noise[:, 0], tf.int32)}

    def step(self, state, action, noise):
        x = state["x"] + tf.cast(action, tf.float32) - noise[:, 0]
        return {"x": x, "steps": state["steps"] + 1}, x, x > 3

    def observe(self, state):
        return tf.stack([state["x"], tf.cast(state["steps"], tf.float32)], 1) * 0.1


def _unseen(self, state, action, noise):
    return Walk.step(self, state, action, tf.random.uniform((len(noise), 1)))


def _mixing(self, state, action, noise):
    after, reward, terminated = Walk.step(self, state, action, noise)
    return after, reward - tf.reduce_mean(reward), terminated


def _changing(self, state, action, noise):
    state["x"] = state["x"] + 1.0
    return Walk.step(self, state, action, noise)


def _host(self, state, action, noise):
    x = tf.constant(np.asarray(state["x"]) + 1.0)
    return {"x": x, "steps": state["steps"] + 1}, x, x > 100


def changed(place, value):
    """Returns a step whose result at a place (0 state, 1 reward, 2 end) is changed by a function."""

    def step(self, state, action, noise):
        results = list(Walk.step(self, state, action, noise))
        results[place] = value(results[place])
        return tuple(results)

    return step


BROKEN = {
    "observation_space must be": {"observation_space": (4,)},
    "time_limit must be an integer": {"time_limit": 0},
    "noise_size must be an integer": {"noise_size": 1.0},
    "action_space must have finite bounds": {"action_space": rl.Box(-np.inf, np.inf, (1,))},
    "start must return a dict": {"start": lambda self, noise: noise},
    "one row an episode": {"start": lambda self, noise: {"x": noise[0, 0], "steps": 0}},
    "must be a tensor float32 (8, 2)": {"observe": lambda self, state: state["x"]},
    "must lie in Box": {"observe": lambda self, state: 100.0 + Walk.observe(self, state)},
    "must be finite": {"observe": lambda self, state: Walk.observe(self, state) / 0.0},
    "rewards must be finite": {"step": changed(1, lambda reward: reward / 0.0)},
    "reward must be a tensor float32 (8,)": {"step": changed(1, lambda reward: reward[:, None])},
    "terminated must be a tensor bool": {"step": changed(2, lambda end: tf.cast(end, tf.float32))},
    "keep names, dtypes and shapes": {"step": changed(0, lambda state: {**state, "steps": state["x"]})},
    "draw what is random from noise": {"step": _unseen},
    "each row must depend on its own": {"step": _mixing},
    "step must not change the state": {"step": _changing},
    "must compile into a loop": {"step": _host},
    "allow one action or more": {"action_mask": lambda self, state: tf.zeros((8, 2), tf.bool)},
    "action_mask must be (N, 2)": {"action_mask": lambda self, state: tf.ones((8, 3), tf.bool)},
    "a call raised ZeroDivisionError": {"observe": lambda self, state: 1 // 0},
}


@pytest.mark.parametrize(("message", "change"), BROKEN.items(), ids=list(BROKEN))
def test_each_broken_rule_is_named(message, change):
    with pytest.raises(ArgumentError) as caught:
        rl.check_env(type("Broken", (Walk,), change)(), steps=3)
    assert message in str(caught.value)
    assert "got 'Broken'" in str(caught.value)


def test_the_example_without_a_fault_passes_and_other_things_are_refused():
    rl.check_env(Walk(), steps=12)
    with pytest.raises(ArgumentError, match="Environment"):
        rl.check_env("cartpole")
