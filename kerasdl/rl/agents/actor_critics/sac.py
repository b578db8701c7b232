"""Soft actor-critic (SAC): the policy gains value and entropy, whose price follows a target entropy.

Source: https://arxiv.org/abs/1812.05905, algorithm 1; the density of squashed actions is that of
https://arxiv.org/abs/1801.01290, appendix C. Deviations: logarithms of deviations are squashed into -5 to 2 by tanh,
and not cut at -20 and 2; the logarithm of the temperature takes the place of the temperature in its loss, as in the
authors' code; truncated episodes are bootstrapped from the value of their true successor.
"""

import math
from dataclasses import dataclass

import keras
import tensorflow as tf
from keras import layers

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences
from kerasdl.ops.actor_critic import tanh_normal_log_density, temperature_loss

from ..policies.on_policy import minimize
from .actor_critic import ActorCriticConfig, RealActorCritic

LEAST_LOG, MOST_LOG = -5.0, 2.0
"""Bounds of the logarithms of deviations."""


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class SoftConfig(ActorCriticConfig):
    """Settings of the temperature, the price of entropy, in soft actor-critics.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> SoftConfig().learn_temperature
        True
    """

    temperature: float = 1.0
    """Alpha, the value of one nat of entropy, at the start."""
    learn_temperature: bool = True
    """True if the temperature follows the target entropy; False keeps it."""
    temperature_rate: float = 1e-3
    """Learning rate of the logarithm of the temperature."""
    target_entropy: float | None = None
    """Entropy in nats that the temperature holds; None takes what the agent's docstring says."""

    def __post_init__(self):
        super().__post_init__()
        checks.within("temperature", self.temperature, 1e-9, 1e9)
        checks.one_of("learn_temperature", self.learn_temperature, (True, False))
        checks.within("temperature_rate", self.temperature_rate, 1e-9, 10.0)
        if self.target_entropy is not None:
            checks.within("target_entropy", self.target_entropy, -1e6, 1e6)


class Temperature:
    """Price of entropy, learnt by its logarithm; a part of an agent.

    Args:
        config: a `SoftConfig`.
        target: target entropy where the config has none.
    """

    def __init__(self, config: SoftConfig, target: float):
        self.target = target if config.target_entropy is None else config.target_entropy
        self.learns = config.learn_temperature
        self.log = keras.Variable(math.log(config.temperature), name="log_temperature")
        self.optimizer = keras.optimizers.Adam(config.temperature_rate, epsilon=1e-8)
        self.optimizer.build([self.log])

    @property
    def value(self) -> tf.Tensor:
        return tf.exp(self.log.value)

    def improve(self, entropies: tf.Tensor) -> None:
        """Makes one update by the entropies (B,) of a batch."""
        if not self.learns:
            return
        with tf.GradientTape() as tape:
            loss = temperature_loss(self.log.value, tf.stop_gradient(entropies), self.target)
        minimize(loss, tape, [self.log], self.optimizer)


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class SACConfig(SoftConfig):
    """Settings of SAC.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> SACConfig(temperature=0.2, learn_temperature=False).hidden
        (256, 256)
    """


class SAC(RealActorCritic):
    """Soft actor-critic, for real-number actions with bounds; `DiscreteSAC` is for whole numbers.

    The target entropy is minus the number of entries of an action, for actions from -1 to 1. The policy gives the
    action at the mean, which is the deterministic one.

    Source: https://arxiv.org/abs/1812.05905.

    Args:
        env: name for `make`, an `Environment`, or `GymnasiumEnvironments`, which are stepped on the host.
        config: an `SACConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> agent = SAC("pendulum", SACConfig(hidden=(8,)), seed=0)
        >>> agent.act(np.zeros(3)).shape  # after agent.train(20_000)
        (1,)
    """

    config_class = SACConfig
    figure_names = ("loss", "value", "entropy", "temperature", "updates")

    def _build(self):
        super()._build()
        self.temperature = Temperature(self.config, -float(len(self.scale)))
        self.optimizers["temperature"] = self.temperature.optimizer

    def _make_networks(self):
        super()._make_networks()
        policy = self.networks["policy"]
        features = policy.get_layer(f"hidden{len(self.config.hidden)}").output
        log = layers.Dense(len(self.scale), activation="tanh", dtype="float32", name="squashed_log_deviation")
        middle, half = (MOST_LOG + LEAST_LOG) / 2, (MOST_LOG - LEAST_LOG) / 2
        deviation = layers.Rescaling(half, middle, dtype="float32", name="log_deviation")(log(features))
        self._actor = keras.Model(policy.inputs, [policy.get_layer("mean").output, deviation])
        self._deviation_variables = log.trainable_variables

    def weights(self):
        kernel, bias = self._deviation_variables
        return {**super().weights(), "policy/log_deviation_kernel": kernel, "policy/log_deviation_bias": bias}

    def extras(self):
        return {**super().extras(), "log_temperature": self.temperature.log}

    @property
    def policy_variables(self):
        return [*super().policy_variables, *self._deviation_variables]

    def _sample(self, observations: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns actions from -1 to 1, (B, D), and their log-densities (B,), from standard normal noise (B, D)."""
        mean, log_deviation = self._actor(observations, training=False)
        unsquashed = mean + tf.exp(log_deviation) * noise
        return tf.tanh(unsquashed), tanh_normal_log_density(unsquashed, mean, log_deviation)

    def _noisy(self, observations, noise):
        return self._sample(observations, noise)[0]

    def _improve(self, batch, number, key):
        now, following = tf.unstack(
            tf.random.stateless_normal((2, self.config.batch_size, len(self.scale)), key, alg="philox")
        )
        loss, value = self.fit_critics(batch, self._targets(batch, following))
        entropies = self._climb(batch, now)
        temperature = self.temperature.value
        self.temperature.improve(entropies)
        self.move_targets()
        return {"loss": loss, "value": value, "entropy": tf.reduce_mean(entropies), "temperature": temperature}

    def _targets(self, batch, noise):
        """Returns the targets of the critics, (B,): rewards, and soft values of what follows."""
        actions, log_densities = self._sample(batch.next_observation, noise)
        following = self.least_target(batch.next_observation, actions) - self.temperature.value * log_densities
        return batch.reward + batch.discount * following

    def _climb(self, batch, noise):
        """Makes one update of the policy; returns an estimate of the entropy at each observation, (B,)."""
        variables = self.policy_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            actions, log_densities = self._sample(batch.observation, noise)
            values = tf.reduce_min(self.values_of(self.critics, batch.observation, actions), 0)
            loss = tf.reduce_mean(self.temperature.value * log_densities - values)
        minimize(loss, tape, variables, self.optimizers["policy"])
        return -log_densities
