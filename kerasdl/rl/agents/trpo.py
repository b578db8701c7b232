"""Trust region policy optimization (TRPO): the longest step of the policy within a bound on its divergence.

Source: https://arxiv.org/abs/1502.05477, section 6 and appendix C: the natural gradient by conjugate gradients, its
length from the bound, and a search back along it. Deviations: advantages by GAE; the value network is fitted by Adam;
the Fisher matrix is that of the whole batch, plus a small multiple of the identity.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences

from .policies.on_policy import Batch, OnPolicyAgent, OnPolicyConfig, explained_variance


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class TRPOConfig(OnPolicyConfig):
    """Settings of TRPO.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> TRPOConfig().largest_divergence
        0.01
    """

    rollout_steps: int = 512
    """Steps of each environment in a rollout."""
    environments: int = 2
    """Episodes that run at once."""
    largest_divergence: float = 0.01
    """Bound of the mean Kullback-Leibler divergence of the new policy from the one that acted."""
    conjugate_steps: int = 15
    """Steps of the conjugate gradients."""
    damping: float = 1e-3
    """Multiple of the identity that is added to the Fisher matrix."""
    search_steps: int = 10
    """Lengths that the search tries, before it leaves the policy as it was."""
    shrink: float = 0.8
    """Ratio of two lengths of the search."""
    learning_rate: float = 1e-3
    """Learning rate of the value network."""
    value_updates: int = 40
    """Updates of the value network on each rollout."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("conjugate_steps", "search_steps", "value_updates"):
            checks.at_least(name, getattr(self, name), 1)
        checks.within("largest_divergence", self.largest_divergence, 1e-9, 1e3)
        checks.within("damping", self.damping, 0.0, 1e3)
        checks.within("shrink", self.shrink, 0.01, 0.99)


class TRPO(OnPolicyAgent):
    """Trust region policy optimization, for whole-number and real-number actions, with masks of actions.

    Source: https://arxiv.org/abs/1502.05477.

    Args:
        env: name for `make`, an `Environment`, or `GymnasiumEnvironments`, which are stepped on the host.
        config: a `TRPOConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> config = TRPOConfig(rollout_steps=16, conjugate_steps=2, value_updates=1, jit_compile=False)
        >>> TRPO("cartpole", config).train(32, progress="off").steps[-1]
        32
    """

    config_class = TRPOConfig
    figure_names = ("loss", "value_loss", "entropy", "divergence", "step_length", "explained_variance")

    def _build(self):
        super()._build()
        self.optimizers["value"] = keras.optimizers.Adam(self.config.learning_rate)
        self.optimizers["value"].build(self.value_variables)

    def _learn(self, batch, iteration):
        batch = batch._replace(advantages=self.scaled(batch.advantages))
        loss, gain, divergence, length = self._step(batch)
        value_loss = self.fit_values(batch, self.config.value_updates)
        entropy = tf.reduce_mean(self.distribution.entropy(batch.parameters))
        known = explained_variance(batch.values, batch.returns)
        figures = (loss - gain, value_loss, entropy, divergence, length, known)
        return dict(zip(self.figure_names, figures, strict=True))

    def _losses(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns minus the mean advantage under the present policy, and its divergence from the one that acted."""
        parameters = self.parameters_of(batch.observations, batch.mask)
        log_ratios = self.distribution.log_probability(parameters, batch.actions) - batch.log_probabilities
        apart = self.distribution.divergence(batch.parameters, parameters)
        return -tf.reduce_mean(tf.exp(log_ratios) * batch.advantages), tf.reduce_mean(apart)

    def _step(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Moves the policy; returns its loss before, the gain, the divergence, and the share of the full step."""
        config, variables = self.config, self.policy_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            loss, _ = self._losses(batch)
        gradient = flat(tape.gradient(loss, variables))

        def fisher(vector):
            return self._curvature(batch, vector) + config.damping * vector

        direction = conjugate_gradients(fisher, -gradient, config.conjugate_steps)
        quadratic = tf.reduce_sum(direction * fisher(direction))
        full = direction * tf.sqrt(2 * config.largest_divergence / tf.maximum(quadratic, 1e-12))
        start = flat([tf.convert_to_tensor(variable) for variable in variables])

        def goes_on(index, length, accepted, gain, divergence):
            return (index < config.search_steps) & ~accepted

        def body(index, length, accepted, gain, divergence):
            length = tf.pow(config.shrink, tf.cast(index, tf.float32))
            _assign(variables, start + length * full)
            new_loss, divergence = self._losses(batch)
            accepted = (divergence <= config.largest_divergence) & (new_loss < loss)
            return index + 1, length, accepted, loss - new_loss, divergence

        zero = tf.constant(0.0)
        loop = (tf.constant(0), zero, tf.constant(False), zero, zero)
        _, length, accepted, gain, divergence = tf.while_loop(goes_on, body, loop, parallel_iterations=1)
        share = tf.where(accepted, length, 0.0)
        _assign(variables, start + tf.where(accepted, share * full, 0.0))  # a full step of NaN is left out too
        return loss, tf.where(accepted, gain, 0.0), tf.where(accepted, divergence, 0.0), share

    def _curvature(self, batch: Batch, vector: tf.Tensor) -> tf.Tensor:
        """Returns the Fisher matrix times a vector: the gradient of the gradient of the divergence along it."""
        variables = self.policy_variables
        values = [variable.value for variable in variables]
        with tf.GradientTape(watch_accessed_variables=False) as outer:
            outer.watch(values)
            with tf.GradientTape(watch_accessed_variables=False) as inner:
                inner.watch(values)
                _, divergence = self._losses(batch)
            along = tf.reduce_sum(flat(inner.gradient(divergence, variables)) * vector)
        return flat(outer.gradient(along, variables))


def conjugate_gradients(product: Callable[[tf.Tensor], tf.Tensor], target: tf.Tensor, steps: int) -> tf.Tensor:
    """Returns x (D,) near the solution of product(x) = target, for a symmetric positive matrix.

    Source: Hestenes and Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.

    Args:
        product: function from a vector (D,) to the matrix times it.
        target: (D,).
        steps: steps at most; D of them solve it up to rounding. A residual below 1e-10 ends it earlier.
    """

    def body(index, x, residual, direction, square):
        image = product(direction)
        length = square / tf.reduce_sum(direction * image)
        residual = residual - length * image
        after = tf.reduce_sum(tf.square(residual))
        return index + 1, x + length * direction, residual, residual + after / square * direction, after

    def goes_on(index, x, residual, direction, square):
        return (index < steps) & (square > 1e-10)

    start = (tf.constant(0), tf.zeros_like(target), target, target, tf.reduce_sum(tf.square(target)))
    return tf.while_loop(goes_on, body, start, parallel_iterations=1)[1]


def flat(values: Sequence[tf.Tensor]) -> tf.Tensor:
    """Returns tensors as one vector."""
    return tf.concat([tf.reshape(each, (-1,)) for each in values], 0)


def _assign(variables: Sequence[keras.Variable], vector: tf.Tensor) -> None:
    sizes = [math.prod(variable.shape) for variable in variables]
    for variable, part in zip(variables, tf.split(vector, sizes), strict=True):
        variable.assign(tf.reshape(part, variable.shape))
