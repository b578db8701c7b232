"""DQN: targets of each switch by hand, what it learns, resume bit for bit, and Rainbow as the sum."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError
from kerasdl.ops import categorical_projection
from kerasdl.rl import (
    DQN,
    Batch,
    DQNConfig,
    GymnasiumEnvironments,
    OutcomeTable,
    Rainbow,
    RainbowConfig,
    TabularEnvironment,
    make,
)
from kerasdl.rl.agents.tabular.dynamic_programming import value_iteration
from kerasdl.train import RunCallback

SWITCHES = {
    "plain": {},
    "double": {"double": True},
    "dueling": {"dueling": True},
    "n-step": {"steps": 3},
    "prioritized": {"prioritized": True},
    "noisy": {"noisy": True},
    "categorical": {"distribution": "categorical", "value_range": (-10.0, 2.0)},
    "quantile": {"distribution": "quantile", "atoms": 11},
    "boltzmann": {"exploration": "boltzmann", "amount": 5.0, "final_amount": 0.5},
}


def small(**settings) -> DQNConfig:
    sizes = {"hidden": (8,), "capacity": 64, "batch_size": 8, "learning_starts": 8, "target_every": 2}
    return DQNConfig(**{**sizes, "jit_compile": False, "environments": 2, **settings})


def random_batch(seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    seen, following = rng.normal(size=(2, 6, 4)).astype("float32")
    reward, discount = rng.normal(size=6).astype("float32"), np.array([0.9, 0.0] * 3, "float32")
    mask = np.array([[True, True]] * 4 + [[True, False], [False, True]])
    parts = (seen, np.array([0, 1] * 3), reward, discount, following, np.ones(6, "float32"), np.arange(6), mask)
    return Batch(*map(tf.constant, parts))


def disturbed(agent: DQN) -> DQN:
    """Gives the target network other weights, so that a mix-up of both would be seen."""
    rng = np.random.default_rng(1)
    for variable in agent.networks["target"].trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    return agent


@pytest.mark.parametrize("double", [False, True])
def test_targets_of_values_by_hand(double):
    agent, batch = disturbed(DQN("cartpole", small(double=double))), random_batch()
    target = agent.networks["target"](batch.next_observation).numpy()
    chooser = agent.policy(batch.next_observation).numpy() if double else target
    best = np.where(batch.next_mask, chooser, -np.inf).argmax(-1)
    expected = batch.reward + batch.discount * target[np.arange(6), best]
    np.testing.assert_allclose(agent._targets(batch)[0][:, 0], expected, rtol=1e-5)


def test_targets_of_distributions_by_hand():
    batch, rows = random_batch(), np.arange(6)
    for kind in ("categorical", "quantile"):
        agent = disturbed(DQN("cartpole", small(distribution=kind, atoms=7, value_range=(-2.0, 2.0))))
        outputs, values = agent._outputs["target"](batch.next_observation)
        mass = tf.nn.softmax(outputs).numpy() if kind == "categorical" else np.full(outputs.shape, 1 / 7)
        points = np.linspace(-2, 2, 7) if kind == "categorical" else outputs.numpy()
        np.testing.assert_allclose((mass * points).sum(-1), values, rtol=1e-4, atol=1e-5)
        best = np.where(batch.next_mask, values, -np.inf).argmax(-1)
        if kind == "categorical":
            atoms = np.linspace(-2, 2, 7, dtype="float32")
            expected = categorical_projection(mass[rows, best], atoms, batch.reward, batch.discount)
        else:
            expected = batch.reward[:, None] + batch.discount[:, None] * outputs.numpy()[rows, best]
        targets, beyond = agent._targets(batch)
        np.testing.assert_allclose(targets, expected, rtol=1e-4, atol=1e-5)
        if kind == "categorical":
            returns = batch.reward[:, None] + batch.discount[:, None] * atoms
            outside = np.abs(returns) > 2 + 1 / 3
            assert float(beyond) == pytest.approx((mass[rows, best] * outside).sum(-1).mean(), rel=1e-4)


def test_dueling_values_are_the_value_and_centred_advantages():
    network = DQN("cartpole", small(dueling=True)).policy
    seen = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    names = ("advantages", "value", "values")
    parts = keras.Model(network.inputs, [network.get_layer(name).output for name in names])
    advantages, value, values = parts(seen)
    np.testing.assert_allclose(values, value + advantages - np.mean(advantages, -1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(network(seen[:2]), values[:2], atol=1e-5)  # as many examples as actions


def lane(switch: str):
    return switch if switch in ("plain", "dueling", "prioritized") else pytest.param(switch, marks=pytest.mark.slow)


@pytest.mark.parametrize("switch", [lane(switch) for switch in SWITCHES])
def test_each_switch_alone_learns_the_values_of_a_small_process(switch):
    """A chain of 2 states: going on pays -1 and then 2, leaving pays 0; values 0.8 and 2 at the discount 0.9."""
    outcomes = np.array(
        [[[(1.0, 0, 0.0, True)], [(1.0, 1, -1.0, False)]], [[(1.0, 1, 0.0, True)], [(1.0, 1, 2.0, True)]]]
    )
    following, probability, reward, ends = (outcomes[..., place] for place in (1, 0, 2, 3))
    env = TabularEnvironment(OutcomeTable(following, probability, reward, ends, [1.0, 0.0]), name="chain", time_limit=9)
    exact = value_iteration(env.table, 0.9).action_values
    settings = {"rollout_steps": 4, "updates": 2, "discount": 0.9, "learning_rate": 1e-2, "final_amount": 0.3}
    own = SWITCHES[switch] | ({"amount": 1.0} if switch != "boltzmann" else {})
    sizes = {"capacity": 4096, "batch_size": 32, "target_every": 10, "learning_starts": 256}  # all actions are tried
    agent = DQN(env, small(**{**settings, **sizes, **own}))
    record = agent.train(2400, progress="off")
    found = agent.policy(tf.range(2)).numpy()
    greedy = exact.argmax(-1)
    np.testing.assert_array_equal(found.argmax(-1), greedy)
    tolerance = 0.35 if switch in ("n-step", "noisy", "categorical") else 0.2  # n steps see explored actions
    np.testing.assert_allclose(found.max(-1), exact.max(-1), atol=tolerance)
    assert record.figures["updates"][-1] == 2


@pytest.mark.slow
def test_the_grid_is_learnt():
    settings = {"discount": 0.95, "target_every": 64, "learning_rate": 1e-3, "double": True}
    agent = DQN("gridworld", DQNConfig(environments=4, hidden=(64,), **settings), seed=0)
    agent.train(24_000, progress="off")
    assert agent.evaluate(2).mean == make("gridworld").reward_bar


@pytest.mark.bars  # not met: docs/reinforcing.md has five seeds
def test_cartpole_by_its_preset_reaches_the_bar():
    agent = DQN("cartpole", seed=0)
    agent.train(50_000, progress="off")
    assert agent.evaluate(100).mean >= 475


def test_rainbow_is_all_switches_at_once():
    config = RainbowConfig(capacity=64, hidden=(8,), batch_size=8, learning_starts=8, jit_compile=False)
    on = ("double", "dueling", "prioritized", "noisy")
    assert all(getattr(config, name) for name in on)
    assert (config.steps, config.distribution) == (3, "categorical")
    agent = Rainbow("cartpole", config, seed=3)
    before = agent.policy.get_weights()
    agent.train(24, progress="off")
    assert any(not np.array_equal(one, other) for one, other in zip(before, agent.policy.get_weights(), strict=True))
    assert float(agent.buffer.tree.total) > 0
    assert agent.act(np.zeros((3, 4)), deterministic=False).shape == (3,)


@pytest.mark.parametrize("switch", ["plain", "prioritized"])
def test_seeds_reproduce_and_a_run_resumes_bit_for_bit(switch, tmp_path):
    def trained(seed, folder=None, callbacks=()):
        agent = DQN("cartpole", small(rollout_steps=8, noisy=True, **SWITCHES[switch]), seed=seed)
        agent.train(96, callbacks, progress="off", folder=folder, log_every=16)
        return agent.policy.get_weights()

    class Stop(RunCallback):
        def end_epoch(self, epoch, figures):
            if epoch == 2:
                raise KeyboardInterrupt

    first = trained(0)
    assert all(map(np.array_equal, first, trained(0)))
    assert not all(map(np.array_equal, first, trained(1)))
    with pytest.raises(KeyboardInterrupt):
        trained(0, tmp_path, [Stop()])
    assert all(map(np.array_equal, first, trained(0, tmp_path)))


def test_steps_of_gymnasium_fill_the_buffer_and_are_learnt_from():
    pytest.importorskip("gymnasium")
    with GymnasiumEnvironments("CartPole-v1", count=2) as envs:
        agent = DQN(envs, small(learning_starts=0))
        record = agent.train(32, progress="off", log_every=8)
        seen = agent.buffer.fields["observation"].numpy()
    assert int(agent.buffer.added) == 16
    assert (np.abs(seen[:32]).sum(-1) > 0).all()
    assert not seen[32:].any()
    assert record.figures["updates"][-1] == 1


def test_a_loaded_agent_fills_its_buffer_before_it_learns(tmp_path):
    sizes = {"rollout_steps": 4, "learning_starts": 16}
    agent = DQN("cartpole", small(**sizes))
    assert agent.train(40, progress="off", log_every=8).figures["updates"] == [0, 0, 1, 1, 1]
    agent.save(tmp_path / "agent")
    loaded = DQN.load(tmp_path / "agent")
    assert loaded.train(24, progress="off", log_every=8).figures["updates"] == [0, 1, 1]


def test_returns_beyond_the_values_of_a_distribution_are_told():
    settings = {"distribution": "categorical", "learning_starts": 0}
    with pytest.warns(UserWarning, match=r"lie beyond value_range=\(-0.5, 0.5\)"):
        DQN("cartpole", small(**settings, value_range=(-0.5, 0.5))).train(16, progress="off")
    with warnings.catch_warnings(record=True) as told:
        record = DQN("cartpole", small(**settings, value_range=(0.0, 101.0))).train(16, progress="off")
    assert record.figures["beyond"][-1] == 0.0
    assert not [each for each in told if "beyond" in str(each.message)]


def test_figures_are_means_over_updates():
    """Rollouts before the first update count in the means of rewards alone."""
    whole = DQN("cartpole", small(learning_starts=32)).train(64, progress="off", log_every=64).figures
    lines = DQN("cartpole", small(learning_starts=32)).train(64, progress="off", log_every=8).figures
    made = np.array(lines["updates"])
    assert np.isnan(lines["loss"][0])
    assert whole["loss"][0] == pytest.approx(np.average(np.nan_to_num(lines["loss"]), weights=made), rel=1e-4)


def test_target_takes_the_weights_every_few_updates():
    agent = DQN("cartpole", small(target_every=3, learning_starts=0))
    same = []
    for _ in range(6):
        agent.train(8, progress="off")
        pairs = zip(agent.policy.get_weights(), agent.networks["target"].get_weights(), strict=True)
        same.append(all(np.array_equal(one, other) for one, other in pairs))
    assert same == [False, False, True] * 2


def test_faults_are_named():
    with pytest.raises(ArgumentError, match="Discrete action_space"):
        DQN("pendulum")
    wrong = ({"distribution": "normal"}, {"value_range": (1.0, 0.0)}, {"capacity": 7}, {"atoms": 1}, {"steps": 0})
    for each in wrong:
        with pytest.raises(ArgumentError):
            small(**each)
