"""World model with imagined rollouts: a policy and a value learn in latent states that networks predict.

Source: https://arxiv.org/abs/1912.01603 (Dreamer); https://arxiv.org/abs/2010.02193 (DreamerV2: balanced divergence,
policy gradients of whole-number actions).

Deviations: small, and without memory: a latent state is made of one observation, so that environments must show in
each of them all that counts. The model is thus learnt from single steps rather than sequences. The end of an imagined
episode is the more likely case, not a weight. No target network of the value.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences
from kerasdl.ops.returns import lambda_returns

from ...buffers.replay import Batch, ReplayBuffer
from ...envs.spaces import Box, Discrete
from ..agent import STREAMS
from ..networks import picture_scale, value_network
from ..policies.distributions import Categorical, Normal
from ..policies.on_policy import minimize, scan_steps
from ..training.settings import Episodes
from ..values.off_policy import ReplayAgent, ReplayConfig
from .normals import soft_bounds

ACTIONS, SAMPLES, LATENTS, IMAGINED = range(4)  # streams of random numbers
LEAST, MOST = -4.0, 1.0
"""Bounds of the logarithms of deviations of latent states."""


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class WorldModelConfig(ReplayConfig):
    """Settings of a world model.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> WorldModelConfig(horizon=5).latent
        16
    """

    environments: int = 4
    """Episodes that run at once."""
    activation: str = "silu"
    """Activation of the hidden layers."""
    learning_rate: float = 1e-3
    """Learning rate of the model."""
    actor_rate: float = 1e-3
    """Learning rate of the policy."""
    value_rate: float = 1e-3
    """Learning rate of the value."""
    latent: int = 16
    """Width of a latent state."""
    rollout_steps: int = 8
    """Steps of each environment between updates."""
    updates: int = 8
    """Updates of model, policy and value after a rollout."""
    batch_size: int = 64
    """Transitions in an update; an imagined rollout begins at each."""
    capacity: int = 20_000
    """Transitions in the replay buffer, a multiple of `environments`."""
    learning_starts: int = 500
    """Environment steps before the first update; actions are random until then."""
    horizon: int = 8
    """Steps of an imagined rollout."""
    decay: float = 0.95
    """Lambda of the imagined returns, from 0 to 1."""
    divergence_weight: float = 1.0
    """Weight of the divergence between what is seen and what was predicted."""
    balance: float = 0.8
    """Share of its gradient that moves the prediction towards what is seen, rather than the other way."""
    free_nats: float = 1.0
    """Divergence of a step below which nothing more is gained, in nats."""
    entropy_weight: float = 0.01
    """Weight of the entropy of the policy, which keeps it exploring."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("latent", "learning_starts", "horizon"):
            checks.at_least(name, getattr(self, name), 1)
        for name in ("actor_rate", "value_rate"):
            checks.within(name, getattr(self, name), 1e-9, 10.0)
        for name in ("decay", "balance"):
            checks.within(name, getattr(self, name), 0.0, 1.0)
        for name in ("divergence_weight", "free_nats", "entropy_weight"):
            checks.within(name, getattr(self, name), 0.0, 1e6)


class Imagined(NamedTuple):
    """Imagined rollouts of H steps."""

    latent: Any
    """(H, B, Z) states before the steps."""
    action: Any
    """(H, B) int32."""
    reward: Any
    """(H, B)"""
    terminated: Any
    """(H, B) bool."""
    successor: Any
    """(H, B, Z) states after the steps."""


class WorldModel(ReplayAgent):
    """World model: latent states, their dynamics, rewards and ends are learnt; policy and value learn in imagination.

    Networks: `policy` from observations to logits of actions, for use and export; its two parts `encoder` (mean and
    logarithm of the deviation of a latent state) and `actor`; `dynamics` (of the next latent state, reward, logit of
    the end), `decoder` and `value`.

    Source: https://arxiv.org/abs/1912.01603.

    Args:
        env: name for `make`, or an `Environment` of real-number observations or pictures, with `Discrete` actions
            without masks.
        config: a `WorldModelConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> agent = WorldModel("catch", WorldModelConfig(hidden=(8,), jit_compile=False))
        >>> agent.act(np.zeros((10, 5, 1))).shape
        ()
    """

    config_class = WorldModelConfig
    figure_names = ("loss", "reconstruction", "divergence", "reward_loss", "imagined_return", "entropy", "updates")

    def _check_environment(self):
        super()._check_environment()
        seen, space = self.env.observation_space, self.env.action_space
        if not isinstance(seen, Box) or not isinstance(space, Discrete):
            rule = f"{self.name} needs observations of real numbers and one whole-number action"
            checks.refuse(rule, (seen, space), "Use PPO, or PETS for real-number actions.")
        if self.on_host:
            checks.refuse(f"{self.name} learns in environments of TensorFlow operations", self.env.name, "Use DQN.")
        if self.env.action_mask(self.env.start(tf.zeros((1, self.env.noise_size)))) is not None:
            checks.refuse(f"{self.name} needs an environment without masks of actions", self.env.name, "Use DQN.")

    def _build(self):
        config, seen, space = self.config, self.env.observation_space, self.env.action_space
        settings = {"hidden": config.hidden, "activation": config.activation}
        latents = Box(-np.inf, np.inf, (config.latent,))
        steps = Box(-np.inf, np.inf, (config.latent + space.n,))
        self.scale = picture_scale(seen)
        self.law, self.latent_law = Categorical((space.n,), single=True), Normal(config.latent, (config.latent,))
        encoder = _encoder(value_network(seen, **settings), config)
        actor = _actor(space.n, config)
        logits = encoder.get_layer("mean").output
        for layer in actor.layers[1:]:
            logits = layer(logits)
        self.networks["policy"] = keras.Model(encoder.input, logits, name="policy")
        self.networks |= {"encoder": encoder, "actor": actor}
        self.networks["dynamics"] = value_network(steps, **settings, outputs=2 * config.latent + 2, name="dynamics")
        self.networks["decoder"] = value_network(latents, **settings, outputs=int(np.prod(seen.shape)), name="decoder")
        self.networks["value"] = value_network(latents, **settings)
        rates = {"model": config.learning_rate, "actor": config.actor_rate, "value": config.value_rate}
        self.variables = {
            "model": [each for role in ("encoder", "dynamics", "decoder") for each in self._trainable(role)],
            "actor": self._trainable("actor"),
            "value": self._trainable("value"),
        }
        for role, rate in rates.items():
            self.optimizers[role] = keras.optimizers.Adam(rate, epsilon=1e-6, global_clipnorm=100.0)
            self.optimizers[role].build(self.variables[role])
        self.buffer = ReplayBuffer(seen, space, capacity=config.capacity, count=config.environments)

    def _trainable(self, role: str) -> list[keras.Variable]:
        return self.networks[role].trainable_variables

    def weights(self):
        parts = super().weights()  # those of the policy are in the encoder and the actor
        return {name: each for name, each in parts.items() if not name.startswith("policy/")}

    # Acting

    def _best_actions(self, observations, mask):
        return self.law.mode(self.law.masked(self.policy(observations, training=False), mask))

    def _drawn_actions(self, observations, mask, key):
        noise = tf.random.stateless_uniform((len(observations), self.law.noise_size), key, alg="philox")
        return self.law.sample(self.law.masked(self.policy(observations, training=False), mask), noise)

    # Model

    def encoded(self, observations: tf.Tensor) -> tf.Tensor:
        """Returns means and logarithms of deviations of latent states, (B, 2 Z), of observations (B, ...)."""
        mean, log_deviation = self.networks["encoder"](observations, training=False)
        return tf.concat([mean, soft_bounds(log_deviation, LEAST, MOST)], -1)

    def predicted(self, latents: tf.Tensor, actions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns parameters (B, 2 Z) of the next latent states, rewards (B,), and logits of the end (B,).

        Args:
            latents: (B, Z).
            actions: (B,) int32.
        """
        width = self.config.latent
        rows = tf.concat([latents, tf.one_hot(actions, self.env.action_space.n)], -1)
        outputs = self.networks["dynamics"](rows, training=False)
        mean, log_deviation, reward, end = tf.split(outputs, (width, width, 1, 1), -1)
        parameters = tf.concat([mean, soft_bounds(log_deviation, LEAST, MOST)], -1)
        return parameters, reward[:, 0], end[:, 0]

    def _learn_model(self, batch: Batch, noise: tf.Tensor) -> tuple[tf.Tensor, Mapping[str, tf.Tensor]]:
        """Makes an update of the model; returns latent states (B, Z) of the observations, and the figures."""
        config, size = self.config, self.config.batch_size
        both = tf.concat([batch.observation, batch.next_observation], 0)
        pictures = tf.reshape(tf.cast(both, tf.float32) * self.scale, (2 * size, -1))
        ended = tf.cast(tf.equal(batch.discount, 0.0), tf.float32)
        with tf.GradientTape() as tape:
            seen = self.encoded(both)
            latents = self.latent_law.sample(seen, noise)
            prior, reward, end = self.predicted(latents[:size], batch.action)
            drawn = self.networks["decoder"](latents, training=False)
            reconstruction = 0.5 * tf.reduce_mean(tf.reduce_sum(tf.square(drawn - pictures), -1))
            divergence = self._divergence(seen[size:], prior)
            reward_loss = 0.5 * tf.reduce_mean(tf.square(reward - batch.reward))
            end_loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(ended, end))
            loss = reconstruction + config.divergence_weight * divergence + reward_loss + end_loss
        minimize(loss, tape, self.variables["model"], self.optimizers["model"])
        parts = {"loss": loss, "reconstruction": reconstruction, "divergence": divergence, "reward_loss": reward_loss}
        return latents[:size], parts

    def _divergence(self, seen: tf.Tensor, prior: tf.Tensor) -> tf.Tensor:
        """Returns the balanced divergence of predictions from what is seen, of a step at least the free nats."""
        config, fixed = self.config, tf.stop_gradient
        to_seen = self.latent_law.divergence(fixed(seen), prior)
        to_prior = self.latent_law.divergence(seen, fixed(prior))
        parts = (config.balance, to_seen), (1.0 - config.balance, to_prior)
        return tf.add_n([share * tf.reduce_mean(tf.maximum(each, config.free_nats)) for share, each in parts])

    # Imagination

    def imagine(self, latents: tf.Tensor, noise: tf.Tensor) -> Imagined:
        """Returns rollouts of the policy in the model.

        Args:
            latents: (B, Z) first states.
            noise: (H, B, A + Z) uniform numbers.
        """
        actions = self.env.action_space.n

        def step(state, now):
            action = self.law.sample(self.networks["actor"](state, training=False), noise[now, :, :actions])
            parameters, reward, end = self.predicted(state, action)
            after = self.latent_law.sample(parameters, noise[now, :, actions:])
            return after, Imagined(state, action, reward, end > 0.0, after)

        return scan_steps(step, latents, self.config.horizon)[1]

    def imagined_returns(self, rollout: Imagined) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns lambda returns (H, B) of imagined rollouts, and 1 for steps before an end, 0 for those after it."""
        config = self.config
        values = self.networks["value"](tf.reshape(rollout.successor, (-1, config.latent)), training=False)
        returns = lambda_returns(
            *(rollout.reward, tf.reshape(values, tf.shape(rollout.reward)), rollout.terminated, rollout.terminated),
            discount=config.discount,
            decay=config.decay,
        )
        return returns, tf.math.cumprod(1.0 - tf.cast(rollout.terminated, tf.float32), exclusive=True)

    def _learn_behaviour(self, latents: tf.Tensor, noise: tf.Tensor) -> dict[str, tf.Tensor]:
        """Makes an update of policy and value in imagination; returns the figures."""
        rollout = self.imagine(latents, noise)
        returns, weights = (tf.reshape(each, (-1,)) for each in self.imagined_returns(rollout))
        states, actions = tf.reshape(rollout.latent, (-1, self.config.latent)), tf.reshape(rollout.action, (-1,))
        weights /= tf.reduce_sum(weights)
        with tf.GradientTape() as tape:
            values = self.networks["value"](states, training=False)[:, 0]
            loss = 0.5 * tf.reduce_sum(weights * tf.square(values - returns))
        minimize(loss, tape, self.variables["value"], self.optimizers["value"])
        advantages = returns - values
        deviation = tf.sqrt(tf.reduce_sum(weights * tf.square(advantages)))
        advantages /= tf.maximum(deviation, 1.0)
        with tf.GradientTape() as tape:
            logits = self.networks["actor"](states, training=False)
            gained = self.law.log_probability(logits, actions) * tf.stop_gradient(advantages)
            entropy = self.law.entropy(logits)
            loss = -tf.reduce_sum(weights * (gained + self.config.entropy_weight * entropy))
        minimize(loss, tape, self.variables["actor"], self.optimizers["actor"])
        return {
            "imagined_return": tf.reduce_sum(weights * returns),
            "entropy": tf.reduce_sum(weights * entropy),
        }

    # Training

    def _iterate(self, state, iteration):
        config, space = self.config, self.env.action_space
        starts = self._starts(iteration)
        noise = self.noise((config.rollout_steps, config.environments, space.n), iteration, ACTIONS)

        def step(state, now):
            logits = tf.where(starts, self.policy(state.observation, training=False), 0.0)
            return self.vectors.step(state, self.law.sample(logits, noise[now]))

        state, transitions = scan_steps(step, state, config.rollout_steps)
        self.buffer.add(transitions)
        ready = self.buffer.size >= min(config.learning_starts, config.capacity)
        nothing = tf.zeros(len(self.figure_names) - 1)
        parts = tf.cond(ready, lambda: self._learn(iteration), lambda: nothing)
        figures = dict(zip(self.figure_names, tf.unstack(parts), strict=False))
        return state, {**figures, "updates": tf.where(ready, config.updates, 0)}, Episodes.of(transitions)

    def _learn(self, iteration: tf.Tensor) -> tf.Tensor:
        """Makes the updates after a rollout; returns the means of all figures but the last."""
        config = self.config
        imagined = (config.horizon, config.batch_size, self.env.action_space.n + config.latent)

        def body(index, total):
            keys = [tf.stack([self.seed + 1 + index, iteration * STREAMS + stream]) for stream in range(4)]
            batch = self.buffer.sample(config.batch_size, keys[SAMPLES])
            shape = (2 * config.batch_size, config.latent)
            noise = tf.random.stateless_uniform(shape, keys[LATENTS], alg="philox")
            latents, parts = self._learn_model(batch, noise)
            noise = tf.random.stateless_uniform(imagined, keys[IMAGINED], alg="philox")
            parts = {**parts, **self._learn_behaviour(latents, noise)}
            return index + 1, total + tf.stack([parts[name] for name in self.figure_names[:-1]])

        loop = (tf.constant(0), tf.zeros(len(self.figure_names) - 1))
        total = tf.while_loop(lambda index, _: index < config.updates, body, loop, parallel_iterations=1)[1]
        return total / config.updates


def _encoder(base: keras.Model, config: WorldModelConfig) -> keras.Model:
    """Returns a network from observations to means and logarithms of deviations of latent states."""
    x = base.get_layer(f"hidden{len(config.hidden)}").output
    heads = [layers.Dense(config.latent, dtype="float32", name=name)(x) for name in ("mean", "log_deviation")]
    return keras.Model(base.input, heads, name="encoder")


def _actor(actions: int, config: WorldModelConfig) -> keras.Model:
    """Returns a network from latent states to logits of actions, whose layers may stand behind those of the encoder."""
    inputs = x = keras.Input((config.latent,), name="latent")
    for index, width in enumerate(config.hidden):
        first = keras.initializers.Orthogonal(math.sqrt(2.0))
        name = f"actor_hidden{index + 1}"
        x = layers.Dense(width, activation=config.activation, kernel_initializer=first, name=name)(x)
    small = keras.initializers.Orthogonal(0.01)
    return keras.Model(
        inputs, layers.Dense(actions, kernel_initializer=small, dtype="float32", name="actions")(x), name="actor"
    )
