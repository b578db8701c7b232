"""Advantage actor-critic (A2C): one update of policy and value after every few steps of many environments.

Source: https://arxiv.org/abs/1602.01783, section 4, in its synchronous form: the environments of one process step
together, and their gradients are one mean. The paper's A3C lets processes update shared weights without waiting, so
that gradients belong to older weights; with environments in a compiled loop there is nothing to wait for. Deviations:
two networks rather than one with two heads; truncated episodes are bootstrapped from the value of their true successor.
"""

from dataclasses import dataclass

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences

from .policies.on_policy import OnPolicyAgent, OnPolicyConfig, explained_variance, minimize


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class A2CConfig(OnPolicyConfig):
    """Settings of A2C.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> A2CConfig().rollout_steps
        5
    """

    rollout_steps: int = 5
    """Steps of each environment in a rollout."""
    decay: float = 1.0
    """Lambda of the advantages; 1 gives returns of as many steps as the rollout has left."""
    learning_rate: float = 7e-4
    """Learning rate of RMSprop."""
    normalize_advantages: bool = False
    """True if the advantages of an update are scaled to mean 0 and deviation 1."""
    iterations_per_call: int = 50
    """Rollouts, each with its update, in one compiled call."""
    entropy_weight: float = 0.0
    """Weight of the entropy of the policy, which keeps it exploring."""
    value_weight: float = 0.5
    """Weight of the loss of the values."""
    largest_gradient: float = 0.5
    """Bound of the norm of the gradient; longer ones are scaled down to it. 0 sets no bound."""
    anneal: bool = False
    """True if the learning rate falls linearly to 0 over the training."""

    def __post_init__(self):
        super().__post_init__()
        checks.one_of("anneal", self.anneal, (True, False))
        for name in ("entropy_weight", "value_weight", "largest_gradient"):
            checks.within(name, getattr(self, name), 0.0, 1e6)


class A2C(OnPolicyAgent):
    """Advantage actor-critic, for whole-number and real-number actions, with masks of actions.

    Source: https://arxiv.org/abs/1602.01783, section 4.

    Args:
        env: name for `make`, an `Environment`, or `GymnasiumEnvironments`, which are stepped on the host.
        config: an `A2CConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> config = A2CConfig(environments=2, iterations_per_call=2, jit_compile=False)
        >>> A2C("cartpole", config).train(40, progress="off").steps[-1]
        40
    """

    config_class = A2CConfig
    figure_names = ("loss", "policy_loss", "value_loss", "entropy", "explained_variance", "learning_rate")

    def _build(self):
        super()._build()
        config = self.config
        optimizer = keras.optimizers.RMSprop(
            config.learning_rate, rho=0.99, epsilon=1e-5, global_clipnorm=config.largest_gradient or None
        )
        optimizer.build([*self.policy_variables, *self.value_variables])
        self.optimizers["all"] = optimizer

    def _learn(self, batch, iteration):
        config, law = self.config, self.distribution
        rate = config.learning_rate * (1.0 - self.progress if config.anneal else tf.constant(1.0))
        self.optimizers["all"].learning_rate.assign(rate)
        variables = [*self.policy_variables, *self.value_variables]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            parameters = self.parameters_of(batch.observations, batch.mask)
            log_probabilities = law.log_probability(parameters, batch.actions)
            entropy = tf.reduce_mean(law.entropy(parameters))
            policy_loss = -tf.reduce_mean(log_probabilities * self.scaled(batch.advantages))
            value_loss = tf.reduce_mean(tf.square(self.values_of(batch.observations) - batch.returns))
            loss = policy_loss + config.value_weight * value_loss - config.entropy_weight * entropy
        minimize(loss, tape, variables, self.optimizers["all"])
        known = explained_variance(batch.values, batch.returns)
        return dict(zip(self.figure_names, (loss, policy_loss, value_loss, entropy, known, rate), strict=True))
