"""Base of agents that learn from rollouts of their present policy: PPO, A2C, REINFORCE and TRPO."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences
from kerasdl.ops.returns import generalized_advantages

from ...envs.spaces import Box
from ...envs.vectors import Transition, VectorState
from ..agent import Agent
from ..networks import policy_network, value_network
from ..training.settings import AgentConfig, Episodes
from .distributions import Normal, distribution_of

ACTIONS, ORDER = 0, 1  # streams of random numbers


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class OnPolicyConfig(AgentConfig):
    """Settings of agents that learn from rollouts of their present policy.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> OnPolicyConfig(rollout_steps=32).decay
        0.95
    """

    rollout_steps: int = 128
    """Steps of each environment in a rollout."""
    decay: float = 0.95
    """Lambda of the advantages (GAE), from 0 to 1."""
    normalize_advantages: bool = True
    """True if the advantages of an update are scaled to mean 0 and deviation 1."""
    normalize_observations: bool = False
    """True if networks normalize observations by running statistics, which are saved and exported with them."""
    initial_log_deviation: float = 0.0
    """Logarithm of the first standard deviation of real-number actions."""

    def __post_init__(self):
        super().__post_init__()
        checks.at_least("rollout_steps", self.rollout_steps, 1)
        checks.within("decay", self.decay, 0.0, 1.0)
        checks.within("initial_log_deviation", self.initial_log_deviation, -20.0, 5.0)
        for name in ("normalize_advantages", "normalize_observations"):
            checks.one_of(name, getattr(self, name), (True, False))
        if self.normalize_advantages and self.environments * self.rollout_steps < 2:
            hint = "A single advantage is scaled to 0, of which nothing is learnt; pass normalize_advantages=False."
            checks.refuse("normalize_advantages needs rollouts of two steps or more", self.rollout_steps, hint)


class Rollout(NamedTuple):
    """Steps of one rollout, (T, N, ...)."""

    transition: Transition
    actions: tf.Tensor
    """Actions as drawn, before they were clipped to the bounds of their space."""
    mask: Any
    """Allowed actions, or None."""


class Batch(NamedTuple):
    """Examples of an update, (B, ...) with B = T * N."""

    observations: Any
    actions: Any
    mask: Any
    """(B, P) bool, or None."""
    parameters: Any
    """(B, P) parameters of the distributions under which the actions were drawn."""
    log_probabilities: Any
    """(B,)"""
    values: Any
    """(B,)"""
    advantages: Any
    """(B,)"""
    returns: Any
    """(B,) targets of the values: advantages plus values."""

    def rows(self, index: tf.Tensor) -> "Batch":
        """Returns the examples of an index."""
        return Batch(*(None if each is None else tf.gather(each, index) for each in self))


class OnPolicyAgent(Agent):
    """Base class: networks of a policy and a value, rollouts, and advantages of their steps.

    A subclass defines `_learn(batch, iteration)`, which returns the figures. Truncated steps are bootstrapped from the
    value of the true successor.
    """

    config_class = OnPolicyConfig

    @property
    def steps_per_iteration(self) -> int:
        return self.config.rollout_steps * self.config.environments

    def _build(self) -> None:
        config, (seen, judged, acted) = self.config, self._spaces()
        settings = {"hidden": config.hidden, "activation": config.activation}
        settings["normalize"] = config.normalize_observations
        self.distribution = distribution_of(acted)
        self.networks["policy"] = policy_network(seen, acted, **settings)
        self.networks["value"] = value_network(judged, **settings)
        self.log_deviation = None
        if isinstance(self.distribution, Normal):
            first = np.full(self.distribution.width, config.initial_log_deviation, "float32")
            self.log_deviation = keras.Variable(first, name="log_deviation")
        self._drawn_and_clipped = tf.function(self._draw, autograph=False, jit_compile=config.jit_compile)
        self.statistics = Statistics(self.networks.values()) if config.normalize_observations else None

    @property
    def examples(self) -> int:
        """Examples of a rollout."""
        return self.steps_per_iteration

    def _spaces(self) -> tuple[Any, Any, Any]:
        """Returns the spaces of what the policy sees, of what the value sees, and of actions."""
        return self.env.observation_space, self.env.observation_space, self.env.action_space

    def weights(self) -> dict[str, Any]:
        own = {} if self.log_deviation is None else {"policy/log_deviation": self.log_deviation}
        return {**super().weights(), **own}

    def extras(self) -> dict[str, Any]:
        own = {} if self.statistics is None else {"statistics/count": self.statistics.count}
        return {**super().extras(), **own}

    @property
    def policy_variables(self) -> list[keras.Variable]:
        """Trainable variables of the policy."""
        own = [] if self.log_deviation is None else [self.log_deviation]
        return [*self.networks["policy"].trainable_variables, *own]

    @property
    def value_variables(self) -> list[keras.Variable]:
        """Trainable variables of the value."""
        return self.networks["value"].trainable_variables

    # Networks

    def parameters_of(self, observations: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
        """Returns the parameters of the distributions of actions, (B, P)."""
        outputs = self.networks["policy"](observations, training=False)
        if self.log_deviation is not None:
            deviations = tf.zeros_like(outputs) + tf.convert_to_tensor(self.log_deviation)
            outputs = tf.concat([outputs, deviations], -1)
        return self.distribution.masked(outputs, mask)

    def values_of(self, observations: tf.Tensor) -> tf.Tensor:
        """Returns the values of observations, (B,)."""
        return self.networks["value"](observations, training=False)[:, 0]

    def _clipped(self, actions: tf.Tensor) -> tf.Tensor:
        space = self.env.action_space
        if not isinstance(space, Box):
            return actions
        return tf.clip_by_value(actions, tf.constant(space.low, tf.float32), tf.constant(space.high, tf.float32))

    def _draw(self, observations: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns actions as drawn, and clipped to the bounds of their space."""
        actions = self.distribution.sample(self.parameters_of(observations), noise)
        return actions, self._clipped(actions)

    def _best_actions(self, observations, mask):
        return self._clipped(self.distribution.mode(self.parameters_of(observations, mask)))

    def _drawn_actions(self, observations, mask, key):
        noise = tf.random.stateless_uniform((len(observations), self.distribution.noise_size), key, alg="philox")
        return self._clipped(self.distribution.sample(self.parameters_of(observations, mask), noise))

    # Training

    def _iterate(self, state, iteration):
        state, rollout = self.collect(state, iteration)
        return state, *self._learn_from(rollout, iteration)

    def _learn_from(self, steps, iteration):
        batch = self.batch_of(steps)
        figures = self._learn(batch, iteration)
        if self.statistics is not None:  # after the updates, whose ratios compare with the networks that acted
            self.statistics.add(batch.observations)
        return figures, Episodes.of(steps.transition)

    def _learn(self, batch: Batch, iteration: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Makes the updates of one rollout; returns the figures."""
        raise NotImplementedError(f"{self.name} has no _learn(batch, iteration)")

    def collect(self, state: VectorState, iteration: tf.Tensor) -> tuple[VectorState, Rollout]:
        """Returns the state after a rollout, and its steps."""
        count, length = self.config.environments, self.config.rollout_steps
        noise = self.noise((length, count, self.distribution.noise_size), iteration, ACTIONS)

        def step(state, now):
            mask = self.vectors.action_mask(state)
            actions = self.distribution.sample(self.parameters_of(state.observation, mask), noise[now])
            state, transition = self.vectors.step(state, self._clipped(actions))
            return state, Rollout(transition, actions, mask)

        return scan_steps(step, state, length)

    def _collect_on_host(self, state, iteration):
        config = self.config
        shape = (config.rollout_steps, config.environments, self.distribution.noise_size)
        noise, steps, drawn = self.noise(shape, tf.constant(iteration), ACTIONS), [], []
        for now in noise:
            actions, clipped = self._drawn_and_clipped(tf.constant(state.observation), now)
            state, transition = self.vectors.step(state, clipped.numpy())
            steps.append(transition)
            drawn.append(actions)
        columns = zip(*steps, strict=True)
        transition = Transition(*(None if each[0] is None else tf.stack(each) for each in columns))
        return state, Rollout(transition, tf.stack(drawn), None)

    def batch_of(self, rollout: Rollout) -> Batch:
        """Returns the examples of a rollout, with values and advantages of the networks that acted."""
        config, steps = self.config, rollout.transition
        shape = tf.shape(steps.reward)
        observations, successors = _flat(steps.observation), _flat(steps.next_observation)
        actions, mask = _flat(rollout.actions), None if rollout.mask is None else _flat(rollout.mask)
        both = tf.reshape(self.values_of(tf.concat([observations, successors], 0)), (2, shape[0], shape[1]))
        advantages = generalized_advantages(
            *(steps.reward, both[0], both[1], steps.terminated, steps.done),
            discount=config.discount,
            decay=config.decay,
        )
        parameters = self.parameters_of(observations, mask)
        log_probabilities = self.distribution.log_probability(parameters, actions)
        values = _flat(both[0])
        advantages = _flat(advantages)
        return Batch(
            observations, actions, mask, parameters, log_probabilities, values, advantages, advantages + values
        )

    def fit_values(self, batch: Batch, updates: int) -> tf.Tensor:
        """Makes updates of the value network by the optimizer `value` on a whole batch; returns the mean loss."""

        def body(index, total):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch([variable.value for variable in self.value_variables])
                loss = tf.reduce_mean(tf.square(self.values_of(batch.observations) - batch.returns))
            minimize(loss, tape, self.value_variables, self.optimizers["value"])
            return index + 1, total + loss

        loop = (tf.constant(0), tf.constant(0.0))
        return tf.while_loop(lambda index, _: index < updates, body, loop, parallel_iterations=1)[1] / updates

    def scaled(self, advantages: tf.Tensor) -> tf.Tensor:
        """Returns advantages of mean 0 and deviation 1, where the settings ask for it."""
        if not self.config.normalize_advantages:
            return advantages
        centred = advantages - tf.reduce_mean(advantages)
        return centred / (tf.math.reduce_std(advantages) + 1e-8)


class Statistics:
    """Running mean and variance of observations, held by the layers `normalize` of networks.

    Source: merging of counts, means and variances of Chan, Golub and LeVeque, 1979.
    """

    def __init__(self, networks: Any):
        self.layers = [network.get_layer("normalize") for network in networks]
        self.count = keras.Variable(1e-4, trainable=False, name="count")

    def add(self, observations: tf.Tensor) -> None:
        """Adds observations (B, ...) to the statistics of every layer."""
        new = tf.cast(tf.shape(observations)[0], tf.float32)
        observations = tf.reshape(observations, (-1, *self.layers[0].moving_mean.shape))
        mean, variance = tf.nn.moments(observations, 0)
        count = tf.convert_to_tensor(self.count)
        total, layer = count + new, self.layers[0]
        old_mean, old = tf.convert_to_tensor(layer.moving_mean), tf.convert_to_tensor(layer.moving_variance)
        shift = mean - old_mean
        joint = (count * old + new * variance + tf.square(shift) * count * new / total) / total
        for layer in self.layers:
            layer.moving_mean.assign(old_mean + shift * new / total)
            layer.moving_variance.assign(joint)
        self.count.assign(total)


def scan_steps(step: Any, state: Any, length: int) -> tuple[Any, Any]:
    """Returns the last state, and the stacked outputs, of `step(state, index) -> (state, outputs)` called in a loop.

    Args:
        step: the function; outputs are a nest of tensors, in which None may stand.
        state: first state, a nest of tensors.
        length: number of calls.
    """
    template = tf.function(lambda state: step(state, tf.constant(0))[1], autograph=False)
    template = template.get_concrete_function(state).structured_outputs
    held = [each for each in tf.nest.flatten(template) if each is not None]
    arrays = [tf.TensorArray(each.dtype, length, element_shape=each.shape) for each in held]

    def body(index, state, arrays):
        state, outputs = step(state, index)
        values = [each for each in tf.nest.flatten(outputs) if each is not None]
        return index + 1, state, [array.write(index, value) for array, value in zip(arrays, values, strict=True)]

    loop = (tf.constant(0), state, arrays)
    _, state, arrays = tf.while_loop(lambda index, *_: index < length, body, loop, parallel_iterations=1)
    stacked = iter([array.stack() for array in arrays])
    leaves = [each if each is None else next(stacked) for each in tf.nest.flatten(template)]
    return state, tf.nest.pack_sequence_as(template, leaves)


def _flat(values: tf.Tensor) -> tf.Tensor:
    """Returns (T, N, ...) as (T * N, ...)."""
    return tf.reshape(values, (-1, *values.shape[2:]))


def minimize(loss: tf.Tensor, tape: tf.GradientTape, variables: list, optimizer: keras.optimizers.Optimizer) -> None:
    """Makes one update of variables."""
    optimizer.apply(tape.gradient(loss, variables), variables)


def explained_variance(values: tf.Tensor, returns: tf.Tensor) -> tf.Tensor:
    """Returns 1 minus the share of the variance of the returns that the values leave; 1 is perfect."""
    left = tf.math.reduce_variance(returns - values)
    return 1.0 - left / tf.maximum(tf.math.reduce_variance(returns), 1e-8)
