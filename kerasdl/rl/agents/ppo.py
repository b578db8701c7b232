"""Proximal policy optimization (PPO): several epochs on each rollout, held near the policy that acted.

Source: https://arxiv.org/abs/1707.06347. Two objectives: the clipped one of section 3, and the penalty of section 4
whose weight follows the divergence. Deviations: advantages are scaled in each minibatch; one optimizer trains policy
and value, with a bound on the norm of their joint gradient; values are not clipped, which
https://arxiv.org/abs/2006.05990 found to help nowhere; truncated episodes are bootstrapped from the value of their true
successor.
"""

from dataclasses import dataclass

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences

from .policies.on_policy import ORDER, Batch, OnPolicyAgent, OnPolicyConfig, explained_variance, minimize

OBJECTIVES = ("clip", "penalty")


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class PPOConfig(OnPolicyConfig):
    """Settings of PPO.

    Raises:
        ArgumentError: a setting breaks its rule, or minibatches do not divide a rollout.

    Example:
        >>> PPOConfig(environments=8, rollout_steps=32, minibatch_size=256).epochs
        10
    """

    epochs: int = 10
    """Passes through each rollout."""
    minibatch_size: int = 64
    """Examples in an update; it divides environments * rollout_steps."""
    objective: str = "clip"
    """`"clip"`, or `"penalty"` on the divergence from the policy that acted."""
    clip: float = 0.2
    """Largest relative change of the probability of an action that the objective rewards."""
    target_divergence: float | None = None
    """Kullback-Leibler divergence: with `"clip"`, updates of a rollout stop above 1.5 times it (None never stops them);
    with `"penalty"` it is what the weight of the penalty aims at, and needed."""
    entropy_weight: float = 0.0
    """Weight of the entropy of the policy, which keeps it exploring."""
    value_weight: float = 0.5
    """Weight of the loss of the values."""
    largest_gradient: float = 0.5
    """Bound of the norm of the gradient; longer ones are scaled down to it. 0 sets no bound."""
    anneal: bool = False
    """True if learning rate and clip fall linearly to 0 over the training."""

    def __post_init__(self):
        super().__post_init__()
        checks.at_least("epochs", self.epochs, 1)
        size = self.environments * self.rollout_steps
        if size % checks.at_least("minibatch_size", self.minibatch_size, 1):
            checks.refuse(f"minibatch_size must divide environments * rollout_steps, {size}", self.minibatch_size)
        if self.normalize_advantages and self.minibatch_size < 2:
            hint = "A single advantage is scaled to 0, of which nothing is learnt."
            checks.refuse("normalize_advantages needs a minibatch_size of 2 or more", self.minibatch_size, hint)
        checks.one_of("objective", self.objective, OBJECTIVES)
        checks.one_of("anneal", self.anneal, (True, False))
        for name in ("clip", "value_weight", "entropy_weight", "largest_gradient"):
            checks.within(name, getattr(self, name), 0.0, 1e6)
        if self.target_divergence is not None:
            checks.within("target_divergence", self.target_divergence, 1e-9, 1e6)
        elif self.objective == "penalty":
            checks.refuse('objective "penalty" needs a target_divergence', None, "Pass 0.01, for example.")


class PPO(OnPolicyAgent):
    """Proximal policy optimization, for whole-number and real-number actions, with masks of actions.

    Source: https://arxiv.org/abs/1707.06347.

    Args:
        env: name for `make`, an `Environment`, or `GymnasiumEnvironments`, which are stepped on the host.
        config: a `PPOConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> config = PPOConfig(environments=2, rollout_steps=8, minibatch_size=16, epochs=1, jit_compile=False)
        >>> PPO("cartpole", config).train(32, progress="off").steps[-1]
        32
    """

    config_class = PPOConfig
    figure_names = (
        *("loss", "policy_loss", "value_loss", "entropy", "divergence", "clip_share", "explained_variance"),
        *("learning_rate", "penalty"),
    )

    def _build(self):
        super()._build()
        config = self.config
        optimizer = keras.optimizers.Adam(
            config.learning_rate, epsilon=1e-5, global_clipnorm=config.largest_gradient or None
        )
        optimizer.build([*self.policy_variables, *self.value_variables])
        self.optimizers["all"] = optimizer
        self.penalty = keras.Variable(1.0, trainable=False, name="penalty")

    def extras(self):
        return {**super().extras(), "penalty": self.penalty}

    def _learn(self, batch, iteration):
        config, optimizer = self.config, self.optimizers["all"]
        left = 1.0 - self.progress if config.anneal else tf.constant(1.0)
        rate = config.learning_rate * left
        optimizer.learning_rate.assign(rate)
        order = self._order(iteration)
        updates = order.shape[0]

        def goes_on(index, divergence, sums):
            stops = config.target_divergence is not None and config.objective == "clip"
            return (index < updates) & (divergence <= 1.5 * config.target_divergence if stops else True)

        def body(index, divergence, sums):
            figures = self._update(batch.rows(order[index]), config.clip * left)
            return index + 1, figures[4], sums + tf.stack(figures)

        loop = (tf.constant(0), tf.constant(0.0), tf.zeros(6))
        made, _, sums = tf.while_loop(goes_on, body, loop, parallel_iterations=1)
        means = tf.unstack(sums / tf.cast(made, tf.float32))
        if config.objective == "penalty":
            self._adapt_penalty(batch)
        known = dict(zip(self.figure_names, means, strict=False))
        return {
            **known,
            "explained_variance": explained_variance(batch.values, batch.returns),
            "learning_rate": rate,
            "penalty": tf.convert_to_tensor(self.penalty),
        }

    def _order(self, iteration: tf.Tensor) -> tf.Tensor:
        """Returns the examples of each update, (updates, minibatch_size): a new order in every epoch."""
        config = self.config
        orders = tf.argsort(self.noise((config.epochs, self.examples), iteration, ORDER))
        return tf.reshape(orders, (-1, config.minibatch_size))

    def _update(self, batch: Batch, clip: tf.Tensor) -> list[tf.Tensor]:
        """Makes one update; returns its first six figures."""
        config, law = self.config, self.distribution
        variables = [*self.policy_variables, *self.value_variables]
        advantages = self.scaled(batch.advantages)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            parameters = self.parameters_of(batch.observations, batch.mask)
            log_ratios = law.log_probability(parameters, batch.actions) - batch.log_probabilities
            ratios = tf.exp(log_ratios)
            entropy = tf.reduce_mean(law.entropy(parameters))
            if config.objective == "clip":
                bounded = tf.clip_by_value(ratios, 1.0 - clip, 1.0 + clip)
                policy_loss = -tf.reduce_mean(tf.minimum(ratios * advantages, bounded * advantages))
            else:
                apart = tf.reduce_mean(law.divergence(batch.parameters, parameters))
                policy_loss = -tf.reduce_mean(ratios * advantages) + tf.convert_to_tensor(self.penalty) * apart
            value_loss = tf.reduce_mean(tf.square(self.values_of(batch.observations) - batch.returns))
            loss = policy_loss + config.value_weight * value_loss - config.entropy_weight * entropy
        minimize(loss, tape, variables, self.optimizers["all"])
        divergence = tf.reduce_mean(ratios - 1.0 - log_ratios)  # an estimate that is never negative
        clip_share = tf.reduce_mean(tf.cast(tf.abs(ratios - 1.0) > clip, tf.float32))
        return [loss, policy_loss, value_loss, entropy, divergence, clip_share]

    def _adapt_penalty(self, batch: Batch) -> None:
        """Doubles or halves the weight of the penalty where the divergence is far from its target."""
        new = self.parameters_of(batch.observations, batch.mask)
        divergence, target = (
            tf.reduce_mean(self.distribution.divergence(batch.parameters, new)),
            self.config.target_divergence,
        )
        factor = tf.where(divergence > 1.5 * target, 2.0, tf.where(divergence < target / 1.5, 0.5, 1.0))
        self.penalty.assign(tf.clip_by_value(tf.convert_to_tensor(self.penalty) * factor, 1e-6, 1e6))
