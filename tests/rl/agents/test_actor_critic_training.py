"""Trainings of actor-critics: they learn, resume bit for bit with their buffer, and their files act the same."""

import numpy as np
import pytest
import tensorflow as tf

import kerasdl
from kerasdl import rl
from kerasdl.errors import TrainingError
from kerasdl.train import RunCallback

SMALL = {"environments": 4, "rollout_steps": 4, "updates": 4, "hidden": (16,), "batch_size": 32, "capacity": 2048}
RATES = {"learning_rate": 3e-3, "critic_rate": 3e-3, "target_rate": 0.05, "learning_starts": 64}
SETTINGS = {**SMALL, **RATES, "iterations_per_call": 8, "jit_compile": False}
KINDS = {"DDPG": rl.DDPG, "TD3": rl.TD3, "SAC": rl.SAC, "DiscreteSAC": rl.DiscreteSAC}
QUICK = ("DiscreteSAC",)


class Mirror(rl.Environment):
    """One step an episode: the reward falls with the distance of the action from what the observation asks for."""

    name, noise_size, time_limit = "mirror", 1, 5
    observation_space = rl.Box(-1.0, 1.0, (1,))

    def __init__(self, action_space, reward=1.0):
        self.action_space, self.reward = action_space, reward

    def start(self, noise):
        return {"side": tf.where(noise < 0.5, -1.0, 1.0)}

    def step(self, state, action, noise):
        wanted = 0.5 * state["side"][:, 0] + 0.5
        reward = self.reward - tf.square(tf.reshape(tf.cast(action, tf.float32), (-1,)) - wanted)
        return state, reward, tf.ones_like(reward, tf.bool)

    def observe(self, state):
        return state["side"]


def env_of(name, **settings):
    return Mirror(rl.Discrete(2) if name == "DiscreteSAC" else rl.Box(-1.0, 3.0, (1,)), **settings)


def agent_of(name, seed=0, **settings):
    kind = KINDS[name]
    return kind(env_of(name), kind.config_class(**{**SETTINGS, **settings}), seed=seed)


@pytest.mark.parametrize(
    "name", [each if each in QUICK else pytest.param(each, marks=pytest.mark.slow) for each in KINDS]
)
def test_each_agent_learns_which_action_an_observation_asks_for(name):
    # Steps of the policy that are as quick as those of the critic drive it into the flat end of tanh.
    own = {"temperature": 0.1} if "SAC" in name else {"learning_rate": 3e-4, "critic_rate": 3e-3, "noise": 0.3}
    agent = agent_of(name, **own)
    before = agent.evaluate(32).mean
    steps = 2560 if name in QUICK else 10240
    record = agent.train(steps, progress="off")
    after = agent.evaluate(32).mean
    assert after > 0.97 > before, (before, after)
    assert record.figures["updates"][0] < record.figures["updates"][-1] == 4.0  # a part of the first line waits
    assert int(agent.buffer.added) == steps // 4
    if "SAC" in name:
        assert record.figures["temperature"][-1] != record.figures["temperature"][0]


class Stop(RunCallback):
    """Ctrl-C after the second line."""

    def end_epoch(self, epoch, figures):
        if epoch == 1:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_an_interrupted_training_continues_bit_for_bit_with_its_buffer(tmp_path):
    def trained(seed, folder=None, callbacks=()):
        agent = agent_of("SAC", seed, iterations_per_call=2, capacity=128)
        agent.train(256, callbacks, progress="off", folder=folder, log_every=32)
        variables = {**agent.weights(), **agent.extras(), **agent.large}
        return {key: each.numpy() for key, each in variables.items()}

    whole, other = trained(0), trained(1)
    assert not np.array_equal(whole["policy/00_kernel"], other["policy/00_kernel"])
    with pytest.raises(KeyboardInterrupt):
        trained(0, tmp_path / "run", [Stop()])
    resumed = trained(0, tmp_path / "run")
    assert set(resumed) == set(whole)
    for key, each in whole.items():
        np.testing.assert_array_equal(each, resumed[key], err_msg=key)


@pytest.mark.parametrize("name", ["SAC", "DiscreteSAC"])
def test_a_loaded_agent_acts_the_same_drawn_actions_too(name, tmp_path):
    agent = agent_of(name, seed=2)
    rng = np.random.default_rng(0)
    for variable in agent.weights().values():
        variable.assign(rng.normal(size=variable.shape))
    agent.save(tmp_path / "agent")
    loaded = KINDS[name].load(tmp_path / "agent", env_of(name))
    assert loaded.config == agent.config
    seen = rng.normal(size=(7, 1)).astype("float32")
    for deterministic in (True, False):
        np.testing.assert_array_equal(loaded.act(seen, deterministic), agent.act(seen, deterministic))
    assert set(loaded.extras()) == set(agent.extras())
    assert float(loaded.temperature.value) == float(agent.temperature.value)


@pytest.mark.slow
def test_the_policy_of_sac_exports_to_both_formats_and_gives_actions_within_their_bounds(tmp_path):
    agent = agent_of("SAC", seed=4)
    agent.policy.get_layer("mean").set_weights([np.full((16, 1), 2.0), np.array([0.5])])
    seen = np.random.default_rng(0).normal(size=(16, 1)).astype("float32")
    kerasdl.deploy.export_tflite(agent.policy, tmp_path / "policy.tflite")
    kerasdl.deploy.export_onnx(agent.policy, tmp_path / "policy.onnx")
    for name in ("policy.tflite", "policy.onnx"):
        found = kerasdl.deploy.run_exported(tmp_path / name, seen)["actions"]
        np.testing.assert_allclose(found, agent.act(seen), atol=1e-4)
        assert np.ptp(found) > 0.1


@pytest.mark.slow
def test_steps_of_gymnasium_fill_the_buffer_and_are_learnt_from():
    pytest.importorskip("gymnasium")
    with rl.GymnasiumEnvironments("Pendulum-v1", count=2) as envs:
        config = {"environments": 2, "rollout_steps": 2, "updates": 1, "learning_starts": 8, "capacity": 64}
        agent = rl.TD3(envs, rl.TD3Config(**{**SETTINGS, **config, "iterations_per_call": 2}))
        record = agent.train(32, progress="off")
        held = agent.buffer.fields["action"].numpy()
    assert int(agent.buffer.added) == 16
    assert np.ptp(held[:32]) > 1
    assert np.abs(held).max() <= 2
    assert record.figures["updates"][-1] == 1


@pytest.mark.slow
def test_a_reward_that_is_no_number_ends_the_training():
    agent = rl.DDPG(env_of("DDPG", reward=float("nan")), rl.DDPGConfig(**{**SETTINGS, "learning_starts": 0}))
    with pytest.raises(TrainingError, match=r"reward|loss"):
        agent.train(256, progress="off")


@pytest.mark.bars
@pytest.mark.parametrize("kind", [rl.TD3, rl.SAC])
def test_pendulum_by_its_preset_reaches_the_bar(kind):
    preset = rl.preset(kind.__name__, "pendulum")
    agent = kind("pendulum", seed=0)
    agent.train(preset.steps, progress="off")
    assert agent.evaluate(100).mean >= preset.bar
