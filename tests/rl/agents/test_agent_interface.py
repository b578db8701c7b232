"""Interface of agents: seeds, act, evaluate, truncation, save and load, resume, callbacks, refusals."""

import json

import numpy as np
import pytest
import tensorflow as tf

from kerasdl import rl
from kerasdl.errors import ArgumentError, DataError, TrainingError, UnknownNameError
from kerasdl.rl.agents.training.observations import read_mask
from kerasdl.train import RunCallback

SMALL = {"environments": 4, "rollout_steps": 16, "hidden": (8,), "jit_compile": False}
CONFIG = rl.A2CConfig(**SMALL, iterations_per_call=1)


def weights_of(agent):
    return {name: each.numpy() for name, each in {**agent.weights(), **agent.extras()}.items()}


def assert_equal(one, other):
    assert set(one) == set(other)
    for name, each in one.items():
        np.testing.assert_array_equal(each, other[name], err_msg=name)


@pytest.fixture(scope="module")
def trained():
    """An agent after 256 steps, and its record."""
    agent = rl.A2C("cartpole", CONFIG, seed=3)
    return agent, agent.train(256, log_every=128, progress="off")


def test_a_training_is_a_function_of_its_seed_and_may_come_in_parts(trained):
    agent, record = trained
    again = rl.A2C("cartpole", CONFIG, seed=3)
    first = again.train(128, log_every=128, progress="off")
    again.train(128, log_every=128, progress="off")
    parts, whole = weights_of(again), weights_of(agent)
    assert_equal({**parts, "sums": 0}, {**whole, "sums": 0})
    assert first.figures["loss"] == record.figures["loss"][:1]
    assert record.steps == [128, 256]
    assert again.steps == 256
    other = rl.A2C("cartpole", CONFIG, seed=4)
    assert not np.array_equal(other.policy.get_weights()[0], again.policy.get_weights()[0])


def test_the_record_shows_and_draws_itself(trained, tmp_path):
    _, record = trained
    assert repr(record).splitlines()[0] == "TrainingRecord: A2C on cartpole, 256 steps"
    assert len(repr(record).splitlines()) <= 6
    assert len(record.returns) == 2
    record.plot(tmp_path / "returns.png")
    assert (tmp_path / "returns.png").stat().st_size > 1000
    assert record.steps_per_second > 0


def test_figures_count_the_episodes_that_ended():
    agent = rl.REINFORCE("cartpole", rl.REINFORCEConfig(**SMALL, value_updates=1), seed=3)
    _, rollout = agent.collect(agent.vectors.reset(3), tf.constant(0))
    found = rl.Episodes.of(rollout.transition)
    done = rollout.transition.done.numpy()
    assert (float(found.count), float(found.rewards)) == (done.sum(), 64.0)
    assert float(found.returns) == rollout.transition.episode_return.numpy()[done].sum()
    assert float(found.lengths) == rollout.transition.episode_length.numpy()[done].sum()


def test_one_observation_and_several(trained):
    agent, _ = trained
    several = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    actions = agent.act(several)
    assert actions.shape == (5,)
    assert [int(agent.act(each)) for each in several] == list(actions)
    logits = agent.policy(several).numpy()
    np.testing.assert_array_equal(actions, logits.argmax(-1))
    np.testing.assert_array_equal(agent.act(several, mask=np.eye(2, dtype=bool)[[0] * 5]), 0)
    drawn = np.stack([agent.act(several, deterministic=False) for _ in range(20)])
    assert 0 < drawn.mean() < 1
    with pytest.raises(ArgumentError, match=r"observations must be of the shape \(4,\)"):
        agent.act(np.zeros(3))


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        ([[True], [True]], r"bools \(2, 2\)"),
        ([True, False, False, True], r"bools \(2, 2\)"),
        ([[True, True, False]] * 2, r"bools \(2, 2\)"),
        ([[0.5, 0.5]] * 2, r"bools \(2, 2\)"),
        ([[True, False], [False, False]], "allow an action"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(trained, mask, reason):
    agent, _ = trained
    for acts in (agent, rl.PolicyPlayer(agent.policy, "cartpole")):
        with pytest.raises(ArgumentError, match=reason):
            acts.act(np.zeros((2, 4)), mask=mask)
        assert acts.act(np.zeros(4), mask=[False, True]) == 1


def test_masks_of_several_numbers_allow_one_of_each():
    space = rl.MultiDiscrete((2, 3))
    np.testing.assert_array_equal(read_mask(space, [1, 0, 0, 0, 1], 1), [[True, False, False, False, True]])
    assert read_mask(space, None, 4) is None
    assert read_mask(space, np.ones((0, 5)), 0).shape == (0, 5)
    with pytest.raises(ArgumentError, match="allow an action"):
        read_mask(space, [[1, 1, 0, 0, 0]], 1)
    with pytest.raises(ArgumentError, match="whole-number actions"):
        read_mask(rl.Box(-1.0, 1.0, (2,)), [True, True], 1)
    team = rl.VDN("spread", rl.VDNConfig(capacity=64, hidden=(8,), jit_compile=False))
    for deterministic in (True, False):
        with pytest.raises(ArgumentError, match="VDN takes no masks"):
            team.act(np.zeros((3, 15)), deterministic, mask=np.ones((3, 5)))


def test_an_evaluation_runs_each_first_episode_to_its_end(trained):
    agent, _ = trained
    found = agent.evaluate(3, seed=5)
    vectors = rl.VectorEnvironment(agent.env, 3)
    state, returns, alive = vectors.reset(5), np.zeros(3), np.ones(3, bool)
    while alive.any():
        state, transition = vectors.step(state, agent.act(state.observation.numpy()))
        returns += alive * transition.reward.numpy()
        alive &= ~transition.done.numpy()
    np.testing.assert_array_equal(found.returns, returns)
    np.testing.assert_array_equal(found.lengths, returns)
    assert (found.mean, found.deviation) == (pytest.approx(returns.mean()), pytest.approx(returns.std()))
    assert agent.evaluate(3, most_steps=4).lengths.max() <= 4


class Endless(rl.Environment):
    """Reward 1 a step, for ever; cut off after each step, or terminated where `ends`."""

    name, noise_size, time_limit = "endless", 1, 1
    observation_space, action_space = rl.Box(0.0, 1.0, (1,)), rl.Discrete(2)

    def __init__(self, ends=False):
        self.ends = ends

    def start(self, noise):
        return {"x": noise[:, 0]}

    def step(self, state, action, noise):
        return state, tf.ones_like(state["x"]), tf.fill(tf.shape(state["x"]), self.ends)

    def observe(self, state):
        return state["x"][:, None]


@pytest.mark.parametrize(("ends", "expected"), [(False, 1 + 0.99 * 10 - 10), (True, 1 - 10)])
def test_truncation_is_bootstrapped_and_termination_is_not(ends, expected):
    agent = rl.A2C(Endless(ends), CONFIG)
    *_, kernel, bias = agent.networks["value"].trainable_variables
    kernel.assign(tf.zeros_like(kernel))
    bias.assign([10.0])
    _, rollout = agent.collect(agent.vectors.reset(0), tf.constant(0))
    np.testing.assert_allclose(agent.batch_of(rollout).advantages, np.full(64, expected), rtol=1e-5)


def test_a_loaded_agent_acts_the_same_and_trains_on_the_same(trained, tmp_path):
    agent, _ = trained
    agent.save(tmp_path / "agent")
    loaded = rl.A2C.load(tmp_path / "agent")
    assert loaded.config == agent.config
    assert_equal(weights_of(loaded), weights_of(agent))
    one, other = agent.train(64, progress="off"), loaded.train(64, progress="off")
    np.testing.assert_equal(one.figures, other.figures)
    assert_equal(weights_of(loaded), weights_of(agent))


def test_a_damaged_or_foreign_agent_is_refused(trained, tmp_path):
    agent, _ = trained
    folder = tmp_path / "agent"
    agent.save(folder)
    with pytest.raises(DataError, match="must hold a TRPO of format 1; it holds A2C"):
        rl.TRPO.load(folder)
    with pytest.raises(ArgumentError, match="env must be 'cartpole'"):
        rl.A2C.load(folder, rl.make("acrobot"))
    about = json.loads((folder / "agent.json").read_text())
    about["config"]["hidden"] = [17]
    (folder / "agent.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match="'policy/00_kernel' does not fit"):
        rl.A2C.load(folder)
    (folder / "variables.npz").write_bytes(b"no arrays")
    with pytest.raises(DataError, match="reading it failed"):
        rl.A2C.load(folder)


def test_an_environment_of_the_same_name_and_other_rules_is_refused(tmp_path):
    config = rl.TabularConfig(rollout_steps=8, jit_compile=False)
    agent = rl.QLearning(rl.make("frozen_lake", slippery=False), config)
    agent.train(8, folder=tmp_path / "run", progress="off")
    agent.save(tmp_path / "agent")
    with pytest.raises(ArgumentError, match="env must have the settings"):  # the default one is slippery
        rl.QLearning.load(tmp_path / "agent")
    assert rl.QLearning.load(tmp_path / "agent", rl.make("frozen_lake", slippery=False)).steps == 8
    with pytest.raises(ArgumentError, match="environment_rules is"):
        rl.QLearning(rl.make("frozen_lake"), config).train(8, folder=tmp_path / "run", progress="off")


class Interrupt(RunCallback):
    """Ctrl-C after a number of calls."""

    def __init__(self, calls):
        self.left = calls

    def end_step(self, batch):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt
        return False


@pytest.mark.slow
def test_an_interrupted_training_continues_bit_for_bit(tmp_path):
    def run(callbacks=()):
        agent = rl.A2C("cartpole", CONFIG, seed=1)
        record = agent.train(256, callbacks, log_every=64, folder=tmp_path / "run", progress="off")
        return agent, record

    with pytest.raises(KeyboardInterrupt):
        run([Interrupt(3)])
    agent, record = run()
    whole = rl.A2C("cartpole", CONFIG, seed=1)
    expected = whole.train(256, log_every=64, progress="off")
    assert_equal(weights_of(agent), weights_of(whole))
    np.testing.assert_equal(record.figures, expected.figures)
    with pytest.raises(ArgumentError, match="seed is 1 there, 2 here"):
        rl.A2C("cartpole", CONFIG, seed=2).train(256, folder=tmp_path / "run", progress="off")


def test_callbacks_evaluate_and_stop():
    agent = rl.A2C("cartpole", CONFIG)
    callbacks = [rl.EvaluateOften(4, every=2, seed=9), rl.StopOnReward(1.0, "evaluation_return")]
    record = agent.train(640, callbacks, log_every=64, progress="off")
    assert record.stopped == "early"
    assert record.steps == [64, 128]
    assert np.isnan(record.figures["evaluation_return"][0])
    assert record.figures["evaluation_return"][1] == agent.evaluate(4, seed=9).mean
    with pytest.raises(ArgumentError, match="needs a bar"):
        rl.A2C(Endless(), CONFIG).train(64, [rl.StopOnReward()], progress="off")


class Broken(Endless):
    """Rewards that are not numbers."""

    name = "broken"

    def step(self, state, action, noise):
        state, reward, terminated = super().step(state, action, noise)
        return state, reward * float("nan"), terminated


def test_a_reward_that_is_no_number_ends_the_training():
    with pytest.raises(TrainingError, match=r"reward|loss"):
        rl.A2C(Broken(), rl.A2CConfig(**SMALL, iterations_per_call=2)).train(128, progress="off")


def test_wrong_arguments_are_refused_by_name():
    with pytest.raises(UnknownNameError, match="unknown environment"):
        rl.A2C("cartpoel")
    with pytest.raises(ArgumentError, match="env must be a name, an Environment"):
        rl.A2C(7)
    with pytest.raises(ArgumentError, match="config of A2C must be of the class A2CConfig"):
        rl.A2C("cartpole", rl.PPOConfig())
    with pytest.raises(ArgumentError, match="minibatch_size must divide"):
        rl.PPOConfig(environments=8, rollout_steps=32, minibatch_size=100)
    with pytest.raises(ArgumentError, match="minibatch_size of 2 or more"):  # one advantage, scaled, is 0
        rl.PPOConfig(minibatch_size=1)
    with pytest.raises(ArgumentError, match="rollouts of two steps"):
        rl.REINFORCEConfig(environments=1, rollout_steps=1)
    assert rl.PPOConfig(minibatch_size=1, normalize_advantages=False).minibatch_size == 1
    with pytest.raises(ArgumentError, match="needs a target_divergence"):
        rl.PPOConfig(objective="penalty")
    with pytest.raises(ArgumentError, match="discount must be a number"):
        rl.TRPOConfig(discount=1.5)
    with pytest.raises(UnknownNameError, match="unknown preset"):
        rl.preset("PPO", "cartpoel")
