"""DDPG, TD3, SAC and discrete SAC: their targets and gradients by hand, bounds, exploration, refusals."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from kerasdl import rl
from kerasdl.errors import ArgumentError
from kerasdl.rl.agents.networks import action_scale

SMALL = {"hidden": (8,), "batch_size": 16, "capacity": 64, "jit_compile": False}
REAL = {"DDPG": rl.DDPG, "TD3": rl.TD3, "SAC": rl.SAC}
BOX = rl.Box((-3.0, 0.0), (1.0, 0.5), (2,))
KEY = tf.constant([5, 7])


class Nowhere(rl.Environment):
    """Observations of two numbers, and no reward."""

    name, noise_size, time_limit = "nowhere", 2, 4
    observation_space = rl.Box(-1.0, 1.0, (2,))

    def __init__(self, action_space=BOX, mask=None):
        self.action_space, self.mask = action_space, mask

    def start(self, noise):
        return {"at": 2.0 * noise - 1.0}

    def step(self, state, action, noise):
        at = state["at"]
        return state, tf.zeros_like(at[:, 0]), tf.zeros_like(at[:, 0], tf.bool)

    def observe(self, state):
        return state["at"]

    def action_mask(self, state):
        return None if self.mask is None else tf.tile([self.mask], (tf.shape(state["at"])[0], 1))


@pytest.fixture(scope="module")
def agents():
    """One agent of each kind, its targets unlike the networks that they follow."""
    made = {name: kind(Nowhere(), kind.config_class(**SMALL), seed=1) for name, kind in REAL.items()}
    made["DiscreteSAC"] = rl.DiscreteSAC(Nowhere(rl.Discrete(3)), rl.DiscreteSACConfig(**SMALL), seed=1)
    rng = np.random.default_rng(3)
    for agent in made.values():
        for network in agent.networks.values():
            network.set_weights([rng.normal(size=each.shape) * 0.5 for each in network.get_weights()])
    return made


@pytest.fixture
def restored(agents):
    """The agents, with their weights put back after the test."""
    held = {name: [each.numpy() for each in {**a.weights(), **a.extras()}.values()] for name, a in agents.items()}
    yield agents
    for name, agent in agents.items():
        for variable, value in zip({**agent.weights(), **agent.extras()}.values(), held[name], strict=True):
            variable.assign(value)


def batch_of(agent, rows=16):
    rng = np.random.default_rng(0)
    space = agent.env.action_space
    observations, following = rng.uniform(-1, 1, (2, rows, 2)).astype("float32")
    actions = space.draw(rng.random((rows, space.noise_size))).numpy()
    reward, discount = rng.normal(size=rows).astype("float32"), np.array([0.9, 0.0] * (rows // 2), "float32")
    parts = (observations, actions, reward, discount, following, np.ones(rows, "float32"), np.arange(rows))
    return rl.Batch(*map(tf.constant, parts))


def critic(agent, role, observations, actions):
    return agent.networks[role]([observations, tf.cast(actions, tf.float32)]).numpy()[:, 0].astype(float)


def test_actions_go_from_minus_1_and_1_to_their_bounds_and_back(agents):
    agent = agents["TD3"]
    corners = tf.constant([[-1.0, -1.0], [1.0, 1.0], [0.0, 0.0]])
    np.testing.assert_allclose(agent._to_bounds(corners), [[-3.0, 0.0], [1.0, 0.5], [-1.0, 0.25]], atol=1e-7)
    inner = tf.random.stateless_uniform((50, 2), (0, 0), -1.0, 1.0)
    np.testing.assert_allclose(agent._from_bounds(agent._to_bounds(inner)), inner, atol=1e-6)
    assert action_scale(rl.Box(-1.0, 3.0, (2, 1))) == ([2.0, 2.0], [1.0, 1.0])


@pytest.mark.parametrize("name", REAL)
def test_the_policy_gives_actions_within_their_bounds_also_far_out(name, agents):
    agent = agents[name]
    seen = np.concatenate([np.random.default_rng(0).normal(size=(20, 2)), [[1e6, -1e6], [0.0, 0.0]]])
    actions = agent.act(seen)
    assert BOX.contains(actions).all()
    np.testing.assert_allclose(agent.policy(seen.astype("float32")), actions, atol=1e-6)
    drawn = np.stack([agent.act(seen, deterministic=False) for _ in range(50)])
    assert all(BOX.contains(each).all() for each in drawn)
    assert drawn.std(0)[:20].mean() > 0.02


def test_targets_of_ddpg_by_hand(agents):
    agent, batch = agents["DDPG"], batch_of(agents["DDPG"])
    actions = agent._from_bounds(agent.networks["target_policy"](batch.next_observation))
    following = critic(agent, "target_critic", batch.next_observation, actions)
    np.testing.assert_allclose(agent._targets(batch, KEY), batch.reward + batch.discount * following, rtol=1e-4)


def test_targets_of_td3_are_the_lesser_value_of_a_smoothed_action(agents):
    agent, batch = agents["TD3"], batch_of(agents["TD3"])
    actions = agent._from_bounds(agent.networks["target_policy"](batch.next_observation)).numpy()
    noise = tf.random.stateless_normal((16, 2), KEY, alg="philox").numpy()
    assert (np.abs(0.2 * noise) > 0.5).any() or np.abs(noise).max() > 1
    smoothed = np.clip(actions + np.clip(0.2 * noise, -0.5, 0.5), -1, 1)
    both = [critic(agent, f"target_critic{each}", batch.next_observation, smoothed) for each in (1, 2)]
    assert not np.allclose(*both)
    expected = batch.reward + batch.discount * np.minimum(*both)
    np.testing.assert_allclose(agent._targets(batch, KEY), expected, rtol=1e-4, atol=1e-5)


def test_targets_of_sac_are_soft_values(agents):
    agent, batch = agents["SAC"], batch_of(agents["SAC"])
    noise = np.random.default_rng(1).normal(size=(16, 2)).astype("float32")
    mean, log_deviation = (each.numpy().astype(float) for each in agent._actor(batch.next_observation))
    assert (log_deviation > -5).all()
    assert (log_deviation < 2).all()
    u = mean + np.exp(log_deviation) * noise
    log_density = scipy.stats.norm(mean, np.exp(log_deviation)).logpdf(u).sum(-1) - np.log(1 - np.tanh(u) ** 2).sum(-1)
    both = [critic(agent, f"target_critic{each}", batch.next_observation, np.tanh(u)) for each in (1, 2)]
    expected = batch.reward + batch.discount * (np.minimum(*both) - 1.0 * log_density)
    np.testing.assert_allclose(agent._targets(batch, tf.constant(noise)), expected, rtol=1e-3, atol=1e-4)


def test_targets_of_discrete_sac_sum_over_the_actions(agents):
    agent, batch = agents["DiscreteSAC"], batch_of(agents["DiscreteSAC"])
    seen = batch.next_observation
    share = tf.nn.softmax(agent.policy(seen)).numpy().astype(float)
    values = np.minimum(*(agent.networks[f"target_critic{each}"](seen).numpy() for each in (1, 2)))
    expected = batch.reward + batch.discount * (share * (values - np.log(share))).sum(-1)
    np.testing.assert_allclose(agent._targets(batch), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [*REAL, "DiscreteSAC"])
def test_an_update_fits_the_critics_moves_the_targets_and_gains_value(name, restored):
    agent, batch = restored[name], batch_of(restored[name])
    first = {role: net.get_weights() for role, net in agent.networks.items()}
    losses = []
    for number in range(1, 60, 2):  # odd numbers, at which TD3 moves its policy too
        losses.append(float(agent._improve(batch, tf.constant(number), KEY)["loss"]))
        if number == 1:
            for role in agent.followed:
                pairs = zip(first[role], first[f"target_{role}"], agent.networks[role].get_weights(), strict=True)
                for (before, old, new), found in zip(
                    pairs, agent.networks[f"target_{role}"].get_weights(), strict=True
                ):
                    assert not np.array_equal(before, new)
                    np.testing.assert_allclose(found, 0.995 * old + 0.005 * new, rtol=1e-4, atol=1e-6)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", REAL)
def test_the_policy_climbs_the_value_of_its_critic(name, restored):
    agent, batch = restored[name], batch_of(restored[name])
    role = agent.critics[0]
    if name == "SAC":  # of two critics the lesser counts: both are made the same
        agent.networks["critic2"].set_weights(agent.networks["critic1"].get_weights())
        agent.temperature.log.assign(-20.0)

    def value():
        actions = agent._squashed["policy"](batch.observation)
        return critic(agent, role, batch.observation, actions).mean()

    before, critics = value(), agent.networks[role].get_weights()
    for _ in range(20):
        agent._climb(batch, *([tf.zeros((16, 2))] if name == "SAC" else []))
    assert value() > before + 0.01
    for old, new in zip(critics, agent.networks[role].get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_td3_moves_policy_and_targets_at_every_second_update(restored):
    agent, batch = restored["TD3"], batch_of(restored["TD3"])
    still = []
    for number in range(4):
        before = [agent.networks[role].get_weights()[0] for role in ("policy", "target_critic1", "critic1")]
        agent._improve(batch, tf.constant(number), KEY)
        after = [agent.networks[role].get_weights()[0] for role in ("policy", "target_critic1", "critic1")]
        still.append([np.array_equal(one, other) for one, other in zip(before, after, strict=True)])
    assert still == [[True, True, False], [False, False, False]] * 2


def test_the_temperature_follows_the_target_entropy(restored):
    price = restored["SAC"].temperature
    assert price.target == -2.0
    before = float(price.value)
    price.improve(tf.constant([-3.0, -3.5]))
    assert float(price.value) > before
    price.log.assign(np.log(before))
    for _ in range(3):
        price.improve(tf.constant([5.0, 5.0]))
    assert float(price.value) < before
    assert restored["DiscreteSAC"].temperature.target == pytest.approx(0.5 * np.log(3))


def test_the_entropy_of_sac_is_that_of_tanh_of_a_normal_number(restored):
    agent = restored["SAC"]
    mean = agent.policy.get_layer("mean")
    for variable in (*mean.trainable_variables, *agent._deviation_variables):
        variable.assign(tf.zeros(variable.shape))  # means of 0, deviations in the middle of their range
    u = np.linspace(-4, 4, 4001)
    normal = scipy.stats.norm(0.0, np.exp(-1.5))
    entropy = normal.entropy() + np.trapezoid(normal.pdf(u) * np.log(1 - np.tanh(u) ** 2), u)
    actions, log_densities = agent._sample(tf.zeros((4000, 2)), tf.random.stateless_normal((4000, 2), (0, 1)))
    assert float(-tf.reduce_mean(log_densities)) == pytest.approx(2 * entropy, abs=0.07)
    assert scipy.stats.kstest(np.arctanh(actions[:, 0]), normal.cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", REAL)
def test_first_actions_are_even_and_later_ones_those_of_the_policy(name, agents):
    agent = agents[name]
    seen, noise = tf.zeros((1000, 2)), tf.random.stateless_uniform((1000, 2), (0, 0))
    first = agent._explored(seen, None, noise, tf.constant(0)).numpy()
    assert scipy.stats.kstest(first[:, 0], scipy.stats.uniform(-3, 4).cdf).pvalue > 1e-3
    later = agent._explored(seen, None, noise, tf.constant(1000)).numpy()
    middle = agent.act(np.zeros(2))
    assert np.abs(np.median(later, 0) - middle).max() < 0.1
    if name != "SAC":
        normal = scipy.stats.norm.ppf(noise.numpy())
        expected = np.clip(agent._from_bounds(middle).numpy() + 0.1 * normal, -1, 1)
        np.testing.assert_allclose(agent._from_bounds(later), expected, atol=1e-4)


def test_first_actions_of_discrete_sac_are_even(agents):
    agent = agents["DiscreteSAC"]
    noise = tf.random.stateless_uniform((3000, 3), (0, 0))
    first = agent._explored(tf.zeros((3000, 2)), None, noise, tf.constant(0)).numpy()
    assert scipy.stats.chisquare(np.bincount(first, minlength=3)).pvalue > 1e-3
    later = agent._explored(tf.zeros((3000, 2)), None, noise, tf.constant(1000)).numpy()
    share = tf.nn.softmax(agent.policy(tf.zeros((1, 2))))[0].numpy()
    assert scipy.stats.chisquare(np.bincount(later, minlength=3), share / share.sum() * 3000).pvalue > 1e-3


def test_odd_observations_are_refused_by_name(agents):
    agent = agents["SAC"]
    for wrong in ([np.nan, 0.0], [np.inf, 0.0], [1e300, 0.0]):
        with pytest.raises(ArgumentError, match="observations must be finite"):
            agent.act(wrong)
    with pytest.raises(ArgumentError, match="observations must be numbers"):
        agent.act(["a", "b"])
    with pytest.raises(ArgumentError, match=r"observations must be of the shape \(2,\)"):
        agent.act(np.zeros((2, 2, 2)))
    with pytest.raises(ArgumentError, match="a mask of actions needs whole-number actions"):
        agent.act(np.zeros(2), mask=[True, True])
    assert agent.act(np.zeros(2, "float64")).dtype == "float32"
    assert agent.act(np.zeros((0, 2))).shape == (0, 2)


@pytest.mark.parametrize(
    "space", [rl.Box(-np.inf, np.inf, (1,)), rl.Box(1.0, 1.0, (1,)), rl.Box(0, 255, (1,), "uint8")]
)
@pytest.mark.parametrize("kind", REAL.values())
def test_actions_without_a_range_are_refused(kind, space):
    with pytest.raises(ArgumentError, match="action_space must"):
        kind(Nowhere(space))


def test_environments_and_settings_that_do_not_fit_are_refused():
    with pytest.raises(ArgumentError, match="action_space must be a Box"):
        rl.SAC("cartpole")
    with pytest.raises(ArgumentError, match="DiscreteSAC needs a Discrete action_space"):
        rl.DiscreteSAC("pendulum")
    with pytest.raises(ArgumentError, match="DiscreteSAC needs two actions"):
        rl.DiscreteSAC(Nowhere(rl.Discrete(1)))
    with pytest.raises(ArgumentError, match="DiscreteSAC takes no masks"):
        rl.DiscreteSAC(Nowhere(rl.Discrete(2), mask=[True, False]))
    wrong = {
        rl.DDPGConfig: ({"noise": -1.0}, {"target_rate": 2.0}, {"critic_rate": float("nan")}, {"capacity": 0}),
        rl.TD3Config: ({"policy_every": 0}, {"target_noise": float("nan")}, {"largest_noise": -1.0}),
        rl.SACConfig: ({"temperature": 0.0}, {"learn_temperature": 2}, {"target_entropy": float("inf")}),
        rl.DiscreteSACConfig: ({"temperature_rate": 0.0}, {"batch_size": 2.5}, {"environments": 3}),
    }
    for config, cases in wrong.items():
        for case in cases:
            with pytest.raises(ArgumentError, match=next(iter(case)) if "environments" not in case else "capacity"):
                config(**case)
