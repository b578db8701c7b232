"""Deep Q-networks (DQN) with double, dueling, n-step, prioritized, noisy, C51 and QR, and Rainbow as their sum.

Source: https://doi.org/10.1038/nature14236 (DQN), https://arxiv.org/abs/1509.06461 (double),
https://arxiv.org/abs/1710.02298 (Rainbow); the other parts name theirs in `values/action_values.py` and `buffers/`.

Deviations: rollouts of several steps alternate with several updates, as in Stable-Baselines3. The loss is Huber's, and
the norm of the gradient is bounded. Cut episodes are bootstrapped from their true successor. Priorities of a
distribution are its losses, as in Rainbow.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences
from kerasdl.ops.value_distributions import categorical_projection, quantile_huber_loss

from ..buffers.prioritized import PrioritizedBuffer
from ..buffers.replay import Batch, ReplayBuffer
from ..envs.spaces import Discrete
from .exploration import check_exploration, draw_actions, exploration_law, linear_schedule, masked
from .policies.on_policy import minimize
from .values.action_values import DISTRIBUTIONS, action_value_network
from .values.off_policy import OffPolicyAgent, OffPolicyConfig

MUCH_BEYOND = 0.1
"""Share of learnt returns outside of the values of a distribution from which on a training is warned of."""


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class DQNConfig(OffPolicyConfig):
    """Settings of DQN.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> DQNConfig(double=True, steps=3).distribution
        'none'
    """

    target_every: int = 250
    """Updates after which the target network takes the weights of the other."""
    largest_gradient: float = 10.0
    """Bound of the norm of the gradient; longer ones are scaled down to it."""
    anneal: bool = False
    """True if the learning rate falls linearly to 0 over the training."""
    exploration: str = "epsilon_greedy"
    """`"epsilon_greedy"` or `"boltzmann"`; without effect where `noisy` explores."""
    amount: float = 1.0
    """Share of random actions, or temperature, at the start."""
    final_amount: float = 0.05
    """Share of random actions, or temperature, at the end."""
    exploration_share: float = 0.1
    """Share of the training in which the first amount falls to the final one."""
    double: bool = False
    """True if the network that learns chooses the next action, and the target network values it."""
    dueling: bool = False
    """True if values of states and advantages of actions have last layers of their own."""
    steps: int = 1
    """Rewards in a return, the n of n-step returns."""
    prioritized: bool = False
    """True if transitions are drawn in proportion to their last errors."""
    priority_exponent: float = 0.5
    """Exponent alpha of the errors, with `prioritized`."""
    importance: float = 0.4
    """Exponent beta of the weights of drawn transitions at the start, with `prioritized`; it grows to 1."""
    noisy: bool = False
    """True if the last layers have learnt noise, which explores in place of `exploration`."""
    distribution: str = "none"
    """`"none"`; `"categorical"` (C51) or `"quantile"` (QR) learn the distribution of the returns."""
    atoms: int = 51
    """Values or quantiles of the distribution."""
    value_range: tuple[float, float] = (-10.0, 10.0)
    """Lowest and highest discounted return of `"categorical"`, those of the environment: returns beyond count as the
    bound, so that actions whose returns all lie beyond are valued alike."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("target_every", "steps"):
            checks.at_least(name, getattr(self, name), 1)
        checks.at_least("atoms", self.atoms, 2)
        check_exploration(self)
        checks.one_of("distribution", self.distribution, DISTRIBUTIONS)
        for name in ("double", "dueling", "prioritized", "noisy", "anneal"):
            checks.one_of(name, getattr(self, name), (True, False))
        for name in ("priority_exponent", "importance"):
            checks.within(name, getattr(self, name), 0.0, 1.0)
        checks.within("largest_gradient", self.largest_gradient, 1e-9, 1e9)
        object.__setattr__(self, "value_range", tuple(map(float, self.value_range)))
        if len(self.value_range) != 2 or not -np.inf < self.value_range[0] < self.value_range[1] < np.inf:
            checks.refuse("value_range must be two finite numbers, the lower one first", self.value_range)
        if self.capacity // self.environments < self.steps:
            checks.refuse("capacity must hold n steps of each environment", self.capacity)


class DQN(OffPolicyAgent):
    """Deep Q-network for whole-number actions; each of its extensions is a setting that works alone.

    Source: https://doi.org/10.1038/nature14236.

    Args:
        env: name for `make`, or an `Environment` with `Discrete` actions.
        config: a `DQNConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> config = DQNConfig(capacity=64, learning_starts=8, hidden=(8,), jit_compile=False)
        >>> DQN("cartpole", config).train(32, progress="off").steps[-1]
        32
    """

    config_class = DQNConfig
    figure_names = ("loss", "value", "exploration", "updates")

    def _check_environment(self):
        super()._check_environment()
        self._check_actions()

    def _check_actions(self) -> None:
        """Refuses actions that the network cannot value."""
        if not isinstance(self.env.action_space, Discrete):
            checks.refuse(f"{self.name} needs a Discrete action_space", self.env.action_space)

    def _build(self):
        config, (seen, actions) = self.config, self._spaces()
        low, high = config.value_range
        self.atoms = np.linspace(low, high, config.atoms, dtype="float32") if config.distribution != "none" else (0.0,)
        settings = {
            name: getattr(config, name) for name in ("hidden", "activation", "dueling", "noisy", "distribution")
        }
        for role in ("policy", "target"):
            self.networks[role] = action_value_network(seen, actions, **settings, atoms=self.atoms, name=role)
        self.networks["target"].set_weights(self.policy.get_weights())
        self._outputs = {
            role: keras.Model(network.inputs, [network.get_layer("distribution").output, network.output])
            for role, network in self.networks.items()
        }
        if config.distribution == "categorical":
            self.figure_names = (*type(self).figure_names, "beyond")
        self.variables = self.policy.trainable_variables
        self.optimizers["policy"] = keras.optimizers.Adam(
            config.learning_rate, epsilon=1e-8, global_clipnorm=config.largest_gradient
        )
        self.optimizers["policy"].build(self.variables)
        kind = PrioritizedBuffer if config.prioritized else ReplayBuffer
        own = {"exponent": config.priority_exponent} if config.prioritized else {}
        mask = None if self.on_host else self.env.action_mask(self.env.start(tf.zeros((1, self.env.noise_size))))
        masked_actions = None if mask is None else actions
        self.buffer = self._make_buffer(kind, steps=config.steps, masked_actions=masked_actions, **own)

    def _spaces(self) -> tuple[Any, int]:
        """Returns the space of what the network sees, and the number of actions that it values."""
        return self.env.observation_space, self.env.action_space.n

    # Acting

    def _amount(self) -> tf.Tensor:
        config = self.config
        if config.noisy:
            return tf.constant(0.0)
        return linear_schedule(self.progress, config.amount, config.final_amount, config.exploration_share)

    def _law(self, observations: tf.Tensor, mask: Any, amount: Any) -> tf.Tensor:
        noisy = self.config.noisy
        kind = "epsilon_greedy" if noisy else self.config.exploration
        return exploration_law(self.policy(observations, training=noisy), amount, kind, mask)

    def _best_actions(self, observations, mask):
        values = self.policy(observations, training=False)
        return tf.argmax(masked(values, mask), -1, output_type=tf.int32)

    def _drawn_actions(self, observations, mask, key):
        noise = tf.random.stateless_uniform((len(observations),), key, alg="philox")
        return draw_actions(self._law(observations, mask, self._amount()), noise)

    def _explored(self, observations: tf.Tensor, mask: Any, noise: tf.Tensor, iteration: tf.Tensor) -> tf.Tensor:
        """Returns the actions of a training step, random ones before it starts."""
        law = self._law(observations, mask, self._amount())
        random = exploration_law(tf.zeros_like(law), 1.0, "epsilon_greedy", mask)
        return draw_actions(tf.where(self._starts(iteration), law, random), noise)

    # Training

    def _look_at(self, record):
        beyond = (record.figures.get("beyond") or (0.0,))[-1]
        if beyond > MUCH_BEYOND:
            low, high = self.config.value_range
            rule = f"{beyond:.0%} of the returns that {self.name} learns lie beyond value_range=({low:g}, {high:g})"
            remedy = "They count as its bounds, and actions are valued alike: pass the range of discounted returns."
            checks.warn(f"{rule}. {remedy}", UserWarning)

    def _own_figures(self):
        return {"exploration": self._amount()}

    def _before_updates(self):
        if self.config.anneal:
            self.optimizers["policy"].learning_rate.assign(self.config.learning_rate * (1.0 - self.progress))

    def _draw_batch(self, key):
        config = self.config
        if not config.prioritized:
            return super()._draw_batch(key)
        importance = linear_schedule(self.progress, config.importance, 1.0, 1.0)
        return self.buffer.sample(config.batch_size, key, importance=importance)

    def _improve(self, batch, number, key):
        targets, beyond = self._targets(batch)
        with tf.GradientTape() as tape:
            outputs, values = self._outputs["policy"](self._rows(batch.observation), training=self.config.noisy)
            action = self._rows(batch.action)
            errors = self._errors(self._joint(tf.gather(outputs, action, batch_dims=1)), targets)
            losses = huber(errors) if self.config.distribution == "none" else errors
            loss = tf.reduce_mean(batch.weight * losses)
        minimize(loss, tape, self.variables, self.optimizers["policy"])
        self.buffer.update(batch.index, errors)
        due = tf.equal((number + 1) % self.config.target_every, 0)
        for target, own in zip(self.networks["target"].weights, self.policy.weights, strict=True):
            target.assign(tf.where(due, own.value, target.value))
        figures = {"loss": loss, "value": tf.reduce_mean(tf.gather(values, action, batch_dims=1))}
        return {**figures, "beyond": beyond} if self.config.distribution == "categorical" else figures

    def _rows(self, values: tf.Tensor) -> tf.Tensor:
        """Returns observations or actions (B, ...) as the network sees them."""
        return values

    def _joint(self, values: tf.Tensor) -> tf.Tensor:
        """Returns the values (B, K) of a transition, of those of the rows that the network saw."""
        return values

    def _targets(self, batch: Batch) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the targets (B, K), a value, the probabilities of the atoms, or quantiles, and what is beyond atoms.

        That is the mean probability of returns outside of `value_range`; 0 for values and quantiles.
        """
        noisy = self.config.noisy
        successor = self._rows(batch.next_observation)
        outputs, values = self._outputs["target"](successor, training=noisy)
        if self.config.double:
            values = self.policy(successor, training=noisy)
        best = tf.argmax(masked(values, batch.next_mask), -1, output_type=tf.int32)
        following = self._joint(tf.gather(outputs, best, batch_dims=1))  # (B, K)
        if self.config.distribution != "categorical":
            return tf.stop_gradient(batch.reward[:, None] + batch.discount[:, None] * following), tf.constant(0.0)
        shares = tf.nn.softmax(following)
        returns = batch.reward[:, None] + batch.discount[:, None] * self.atoms
        bounds, half = self.config.value_range, (self.atoms[1] - self.atoms[0]) / 2
        outside = tf.cast((returns < bounds[0] - half) | (returns > bounds[1] + half), shares.dtype)
        targets = categorical_projection(shares, self.atoms, batch.reward, batch.discount)
        return tf.stop_gradient(targets), tf.reduce_mean(tf.reduce_sum(shares * outside, -1))

    def _errors(self, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns the temporal differences (B,), or the losses of distributions."""
        if self.config.distribution == "categorical":
            return tf.nn.softmax_cross_entropy_with_logits(targets, outputs)
        if self.config.distribution == "quantile":
            return quantile_huber_loss(outputs, targets)
        return (targets - outputs)[:, 0]


def huber(errors: tf.Tensor) -> tf.Tensor:
    """Returns half the square of errors up to 1, and the size minus 1/2 above."""
    size = tf.abs(errors)
    return tf.where(size <= 1.0, 0.5 * tf.square(errors), size - 0.5)


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class RainbowConfig(DQNConfig):
    """Settings of Rainbow: those of DQN with all extensions on.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> RainbowConfig().steps
        3
    """

    double: bool = True
    """As in DQN."""
    dueling: bool = True
    """As in DQN."""
    steps: int = 3
    """As in DQN."""
    prioritized: bool = True
    """As in DQN."""
    noisy: bool = True
    """As in DQN."""
    distribution: str = "categorical"
    """As in DQN."""


class Rainbow(DQN):
    """Rainbow: DQN with double, dueling, n-step, prioritized, noisy and categorical values at once.

    Source: https://arxiv.org/abs/1710.02298.

    Args:
        env: name for `make`, or an `Environment` with `Discrete` actions.
        config: a `RainbowConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> config = RainbowConfig(capacity=64, learning_starts=8, hidden=(8,), jit_compile=False)
        >>> Rainbow("cartpole", config).policy.get_layer("distribution").output.shape
        (None, 2, 51)
    """

    config_class = RainbowConfig
