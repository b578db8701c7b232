"""MAPPO, independent PPO and VDN: views of members, values of teams by hand, learning where agents depend on others."""

import numpy as np
import pytest
import tensorflow as tf

from kerasdl import rl
from kerasdl.errors import ArgumentError
from kerasdl.ops import generalized_advantages
from kerasdl.rl.agents.multi_agent.teams import member_spaces, member_views


class Meet(rl.Environment):
    """One step an episode: each of two agents sees a coin, and both must say the coin of the other one.

    Each sees its own coin and its partner's, at the second place. The reward is 1 where both are right, else 0.
    """

    name, noise_size, agents, time_limit = "meet", 2, 2, 3
    observation_space, action_space = rl.Box(0.0, 1.0, (2, 2)), rl.MultiDiscrete((2, 2))

    def __init__(self, mask=None):
        self.mask = mask

    def start(self, noise):
        return {"coins": tf.round(noise)}

    def step(self, state, action, noise):
        right = tf.equal(tf.cast(action, tf.float32), tf.reverse(state["coins"], [1]))
        reward = tf.cast(tf.reduce_all(right, -1), tf.float32)
        return state, reward, tf.ones_like(reward, tf.bool)

    def observe(self, state):
        return tf.stack([state["coins"], tf.reverse(state["coins"], [1])], -1)

    def action_mask(self, state):
        return None if self.mask is None else tf.tile([self.mask], (tf.shape(state["coins"])[0], 1, 1))


SMALL = {"environments": 8, "rollout_steps": 8, "hidden": (16,), "discount": 0.9, "jit_compile": False}
TEAM = {**SMALL, "minibatch_size": 64, "learning_rate": 0.02, "epochs": 4}
VALUES = {"environments": 8, "rollout_steps": 4, "updates": 4, "hidden": (16,), "jit_compile": False}
VALUES |= {"capacity": 1024, "learning_starts": 64, "learning_rate": 1e-2, "exploration_share": 0.5, "target_every": 8}
CASES = {
    "mappo": (rl.MAPPO, TEAM),
    "independent_ppo": (rl.MAPPO, {**TEAM, "central_value": False}),
    "vdn": (rl.VDN, VALUES),
    "independent_q": (rl.VDN, {**VALUES, "joint": False}),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [each if each in ("mappo", "vdn") else pytest.param(each, marks=pytest.mark.bars) for each in CASES]
)
def test_both_agents_learn_what_their_team_is_paid_for(case):
    kind, settings = CASES[case]
    agent = kind(Meet(), kind.config_class(**settings), seed=1)
    assert agent.evaluate(64).mean < 0.9
    agent.train(1600, progress="off")
    assert agent.evaluate(64).mean == 1.0
    seen = Meet().observe({"coins": tf.constant([[0.0, 1.0], [1.0, 1.0]])}).numpy()
    np.testing.assert_array_equal(agent.act(seen), [[1, 0], [1, 1]])
    np.testing.assert_array_equal(agent.act(seen[0]), [1, 0])
    assert agent.policy(seen[0]).shape == (2, 2)  # a member acts by what it sees alone


def test_views_have_the_own_observation_first_and_spaces_are_those_of_a_member():
    seen = tf.reshape(tf.range(2 * 3 * 2), (2, 3, 2))
    views = member_views(seen).numpy()
    assert views.shape == (6, 3, 2)
    for row, agent in np.ndindex(2, 3):
        order = [(agent + other) % 3 for other in range(3)]
        np.testing.assert_array_equal(views[3 * row + agent], seen.numpy()[row][order])
    own, acted = member_spaces(rl.make("spread"), "MAPPO")
    assert (own.shape, acted.n) == ((15,), 5)


@pytest.mark.parametrize("central", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_advantages_are_those_of_each_member_under_the_reward_of_the_team(central):
    config = rl.MAPPOConfig(**SMALL, minibatch_size=32, central_value=central)
    agent = rl.MAPPO("spread", config)
    _, rollout = agent.collect(agent.vectors.reset(0), tf.constant(0))
    batch, steps = agent.batch_of(rollout), rollout.transition
    assert agent.networks["value"].input_shape == ((None, 3, 15) if central else (None, 15))
    for member in range(3):
        seen, after = (np.roll(each.numpy(), -member, 2) for each in (steps.observation, steps.next_observation))
        parts = []
        for each in (seen, after):
            flat = each.reshape(64, 3, 15) if central else each[:, :, 0].reshape(64, 15)
            parts.append(agent.networks["value"](flat).numpy().reshape(8, 8))
        expected = generalized_advantages(
            steps.reward, *parts, steps.terminated, steps.done, discount=0.9, decay=config.decay
        )
        found = batch.advantages.numpy().reshape(8, 8, 3)[:, :, member]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
        actions = batch.actions.numpy().reshape(8, 8, 3)[:, :, member]
        np.testing.assert_array_equal(actions, steps.action.numpy()[:, :, member])
        logits = agent.policy(steps.observation.numpy()[:, :, member].reshape(64, 15)).numpy()
        np.testing.assert_allclose(batch.parameters.numpy().reshape(64, 3, 5)[:, member], logits, atol=1e-5)


@pytest.mark.parametrize(("joint", "double"), [(True, False), (True, True), (False, False)])
def test_targets_of_a_team_are_sums_of_the_best_values_of_its_members(monkeypatch, joint, double):
    agent = rl.VDN("spread", rl.VDNConfig(**VALUES, joint=joint, double=double))
    rng = np.random.default_rng(0)
    for variable in agent.networks["target"].trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    following = rng.normal(size=(4, 3, 15)).astype("float32")
    reward, discount = rng.normal(size=4).astype("float32"), np.array([0.9, 0.0, 0.9, 0.9], "float32")
    action, ones = rng.integers(0, 5, (4, 3)).astype("int32"), np.ones(4, "float32")
    batch = rl.Batch(*map(tf.constant, (following, action, reward, discount, following, ones, np.arange(4))), None)
    target = agent.networks["target"](following.reshape(12, 15)).numpy().reshape(4, 3, 5)
    chooser = agent.policy(following.reshape(12, 15)).numpy().reshape(4, 3, 5) if double else target
    best = np.take_along_axis(target, chooser.argmax(-1)[..., None], -1)[..., 0]  # (4, 3)
    own = agent.policy(following.reshape(12, 15)).numpy().reshape(4, 3, 5)
    taken = np.take_along_axis(own, action[..., None], -1)[..., 0]
    if joint:
        expected = reward + discount * best.sum(-1) - taken.sum(-1)
    else:
        expected = (reward[:, None] + discount[:, None] * best - taken).ravel()
    errors = []
    monkeypatch.setattr(agent.buffer, "update", lambda _, found: errors.append(found))
    agent._improve(batch, tf.constant(0), tf.constant([1, 2]))
    np.testing.assert_allclose(errors[0], expected, rtol=1e-4, atol=1e-5)


def test_forbidden_actions_of_members_are_never_drawn():
    mask = [[True, False], [False, True]]
    agent = rl.MAPPO(Meet(mask), rl.MAPPOConfig(**TEAM))
    _, rollout = agent.collect(agent.vectors.reset(0), tf.constant(0))
    np.testing.assert_array_equal(rollout.transition.action.numpy().reshape(-1, 2), [[0, 1]] * 64)
    drawn = agent.act(np.zeros((20, 2, 2)), deterministic=False, mask=[mask] * 20)
    np.testing.assert_array_equal(drawn, [[0, 1]] * 20)
    with pytest.raises(ArgumentError, match="without masks"):
        rl.VDN(Meet(mask), rl.VDNConfig(**VALUES))


@pytest.mark.slow
@pytest.mark.parametrize("case", ["mappo", pytest.param("vdn", marks=pytest.mark.bars)])
def test_a_saved_team_acts_the_same_and_a_seed_reproduces(case, tmp_path):
    kind, settings = CASES[case]
    first, again = (kind("spread", kind.config_class(**settings), seed=0) for _ in range(2))
    for agent in (first, again):
        agent.train(128, progress="off")
    assert all(map(np.array_equal, first.policy.get_weights(), again.policy.get_weights()))
    first.save(tmp_path / "team")
    seen = np.random.default_rng(0).normal(size=(5, 3, 15))
    np.testing.assert_array_equal(kind.load(tmp_path / "team").act(seen), first.act(seen))


def test_environments_and_settings_that_make_no_team_are_refused():
    for kind in (rl.MAPPO, rl.VDN):
        with pytest.raises(ArgumentError, match="several agents"):
            kind("cartpole", kind.config_class())
    with pytest.raises(ArgumentError, match="one agent"):
        rl.PPO("spread", rl.PPOConfig())
    unlike = Meet()
    unlike.action_space = rl.MultiDiscrete((2, 3))
    flat = Meet()
    flat.observation_space = rl.Box(0.0, 1.0, (4,))
    for env, match in ((unlike, "of the same size"), (flat, "vector of real numbers for each of 2 agents")):
        for kind in (rl.MAPPO, rl.VDN):
            with pytest.raises(ArgumentError, match=match):
                kind(env, kind.config_class())
    with pytest.raises(ArgumentError, match="normalize_observations"):
        rl.MAPPOConfig(normalize_observations=True)
    with pytest.raises(ArgumentError, match="distribution"):
        rl.VDNConfig(distribution="categorical")
    with pytest.raises(ArgumentError, match="prioritized needs joint"):
        rl.VDNConfig(prioritized=True, joint=False)


@pytest.mark.bars  # not measured yet
def test_mappo_solves_spread():
    agent = rl.MAPPO("spread", seed=0)
    agent.train(rl.preset("MAPPO", "spread").steps, progress="off")
    assert agent.evaluate(100).mean >= agent.env.reward_bar
