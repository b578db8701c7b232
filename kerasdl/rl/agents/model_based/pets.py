"""Probabilistic ensembles with trajectory sampling (PETS): networks learn the dynamics, each action is planned in them.

Source: https://arxiv.org/abs/1805.12114.

Deviations: rewards and ends of episodes are learnt too, where the paper knows them. Each plan starts anew, from the
middle of the bounds, so that an action is a function of the observation. Each network is one particle of a plan (TS-inf
with as many particles as networks), and all candidates are compared under the same noise. Bounds of the variances are
fixed. Bootstraps are Poisson(1) counts of each transition (Oza and Russell 2001), since data come one by one.
"""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences
from kerasdl.ops.derivative_free import cross_entropy_method

from ...buffers.replay import Batch, ReplayBuffer
from ...envs.spaces import Box
from ..agent import STREAMS
from ..networks import value_network
from ..policies.on_policy import minimize, scan_steps
from ..training.settings import Episodes
from ..values.off_policy import ReplayAgent, ReplayConfig
from .normals import gaussian_errors, soft_bounds

ACTIONS, SAMPLES, PLANS = 0, 1, 2  # streams of random numbers
LEAST, MOST = -10.0, 0.5
"""Bounds of the logarithms of variances, in units of the variance of what is predicted."""


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class PETSConfig(ReplayConfig):
    """Settings of PETS.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> PETSConfig(horizon=10).members
        5
    """

    environments: int = 1
    """Episodes that run at once."""
    activation: str = "silu"
    """Activation of the hidden layers."""
    learning_rate: float = 1e-3
    """Learning rate of the optimizer."""
    members: int = 5
    """Networks of the ensemble."""
    rollout_steps: int = 50
    """Steps of each environment between updates."""
    updates: int = 200
    """Updates of each network after a rollout."""
    batch_size: int = 64
    """Transitions in an update of a network."""
    capacity: int = 20_000
    """Transitions in the buffer, a multiple of `environments`."""
    learning_starts: int = 200
    """Environment steps before the first update; actions are random until then."""
    horizon: int = 20
    """Steps of a plan."""
    candidates: int = 100
    """Plans that are compared in a round of the cross-entropy method."""
    elites: int = 10
    """Best of them, which make the next distribution."""
    rounds: int = 4
    """Rounds for each action."""
    momentum: float = 0.1
    """Share of the old distribution in the next one."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("members", "learning_starts", "horizon", "candidates", "elites", "rounds"):
            checks.at_least(name, getattr(self, name), 1)
        checks.within("momentum", self.momentum, 0.0, 0.99)
        if self.elites > self.candidates:
            checks.refuse(f"elites must be at most the number of candidates, {self.candidates}", self.elites)


class PETS(ReplayAgent):
    """PETS: an ensemble of networks that predict change, reward and end; actions planned by the cross-entropy method.

    `networks` are the ensemble, functional models from observation and action, side by side, to means, logarithms of
    variances and the logit of the end. There is no network that acts, so that `policy` is refused.

    Source: https://arxiv.org/abs/1805.12114.

    Args:
        env: name for `make`, or an `Environment` of vectors of real numbers, with real-number actions within bounds.
        config: a `PETSConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> config = PETSConfig(hidden=(8,), horizon=2, candidates=8, elites=2, updates=2, jit_compile=False)
        >>> PETS("pendulum", config).networks["dynamics4"].output_shape
        (None, 9)
    """

    config_class = PETSConfig
    figure_names = ("loss", "updates")

    @property
    def policy(self):
        hint = "act and evaluate plan; agent.networks has the dynamics."
        checks.refuse("an agent with a policy is needed", f"{self.name}, which plans each action", hint)

    def _check_environment(self):
        super()._check_environment()
        seen, space = self.env.observation_space, self.env.action_space
        if not isinstance(seen, Box) or len(seen.shape) != 1:
            checks.refuse(f"{self.name} needs observations that are vectors of real numbers", seen, "Use PPO.")
        if not isinstance(space, Box) or space.dtype != "float32" or not space.bounded:
            checks.refuse(f"{self.name} needs real-number actions within bounds", space, "Use DQN or PPO.")

    def _build(self):
        config = self.config
        self.width, self.action_width = self.env.observation_space.shape[0], math.prod(self.env.action_space.shape)
        row = Box(-math.inf, math.inf, (self.width + self.action_width,))
        settings = {"hidden": config.hidden, "activation": config.activation, "normalize": True}
        for member in range(config.members):
            name = f"dynamics{member}"
            self.networks[name] = value_network(row, **settings, outputs=2 * (self.width + 1) + 1, name=name)
        self.variables = [each for net in self.networks.values() for each in net.trainable_variables]
        self.optimizers["all"] = keras.optimizers.Adam(config.learning_rate, global_clipnorm=10.0)
        self.optimizers["all"].build(self.variables)
        self._target_mean = tf.Variable(tf.zeros(self.width + 1), trainable=False, name="target_mean")
        self._target_deviation = tf.Variable(tf.ones(self.width + 1), trainable=False, name="target_deviation")
        self.buffer = ReplayBuffer(
            self.env.observation_space, self.env.action_space, capacity=config.capacity, count=config.environments
        )
        counts = np.random.default_rng(self.seed).poisson(1.0, (config.members, config.capacity))
        self._bootstrap = tf.constant(counts, tf.float32)
        self._planned_actions = tf.function(self._plan, autograph=False, jit_compile=config.jit_compile)

    def extras(self):
        own = {"target_mean": self._target_mean, "target_deviation": self._target_deviation}
        return {**super().extras(), **own}

    # Acting

    def _best_actions(self, observations, mask):
        return self._planned_actions(observations, tf.constant([self.seed, 0]))

    def _drawn_actions(self, observations, mask, key):
        return self._planned_actions(observations, key)

    def _plan(self, observations: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Returns the first actions (B, ...) of the best plans."""
        config, space = self.config, self.env.action_space
        low, high = (
            np.broadcast_to(np.asarray(bound, "float32"), space.shape).reshape(-1) for bound in (space.low, space.high)
        )
        shape = (config.rounds, 1, config.candidates, config.horizon, self.action_width)
        noise = tf.random.stateless_normal(shape, key, alg="philox")
        luck = tf.random.stateless_normal((config.horizon, config.members, self.width + 1), key + 1, alg="philox")
        like = tf.zeros((observations.shape[0], config.horizon, 1))
        mean, _ = cross_entropy_method(
            lambda plans: self._scores(observations, plans, luck),
            like + 0.5 * (low + high),
            like + 0.5 * (high - low),
            noise,
            elites=config.elites,
            low=low,
            high=high,
            momentum=config.momentum,
        )
        return tf.reshape(tf.clip_by_value(mean[:, 0], low, high), (-1, *space.shape))

    def _scores(self, observations: tf.Tensor, plans: tf.Tensor, luck: tf.Tensor) -> tf.Tensor:
        """Returns the mean over the ensemble of the discounted rewards of plans (B, K, H, A), (B, K)."""
        config, (count, candidates) = self.config, plans.shape[:2]
        start = tf.reshape(tf.repeat(observations, candidates, 0), (count * candidates, self.width))
        actions = tf.transpose(tf.reshape(plans, (-1, *plans.shape[2:])), (1, 0, 2))  # (H, B * K, A)
        loop = (
            tf.constant(0),
            [start] * config.members,
            [tf.ones(count * candidates)] * config.members,
            tf.zeros(count * candidates),
        )

        def body(step, states, alive, total):
            after, lives = [], []
            for member, (state, life) in enumerate(zip(states, alive, strict=True)):
                state, reward, ends = self.imagined(member, state, actions[step], luck[step, member])
                total += config.discount ** tf.cast(step, tf.float32) * life * reward
                after.append(state)
                lives.append(life * (1.0 - ends))
            return step + 1, after, lives, total

        total = tf.while_loop(lambda step, *_: step < config.horizon, body, loop, parallel_iterations=1)[-1]
        return tf.reshape(total, (count, candidates)) / config.members

    def imagined(self, member: int, states: tf.Tensor, actions: tf.Tensor, normal: Any) -> tuple[Any, Any, Any]:
        """Returns what a network of the ensemble says of a step.

        Args:
            member: number of the network.
            states: (B, D) observations.
            actions: (B, A).
            normal: standard normal numbers of a shape that broadcasts to (B, D + 1); zeros give the means.

        Returns:
            Next observations (B, D), cut to the bounds of their space, rewards (B,), and probabilities of the end (B,).
        """
        mean, log_variance, end = self._predicted(member, tf.concat([states, actions], -1))
        drawn = self._target_mean + self._target_deviation * (mean + tf.exp(0.5 * log_variance) * normal)
        space = self.env.observation_space
        low, high = tf.constant(space.low, tf.float32), tf.constant(space.high, tf.float32)
        return tf.clip_by_value(states + drawn[:, :-1], low, high), drawn[:, -1], tf.sigmoid(end)

    def _predicted(self, member: int, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns means and logarithms of variances (B, D + 1) of scaled targets, and logits of the end (B,)."""
        outputs = self.networks[f"dynamics{member}"](rows, training=False)
        mean, log_variance, end = tf.split(outputs, (self.width + 1, self.width + 1, 1), -1)
        return mean, soft_bounds(log_variance, LEAST, MOST), end[:, 0]

    # Training

    def _iterate(self, state, iteration):
        config = self.config
        starts = self._starts(iteration)
        random = self.noise(
            (config.rollout_steps, config.environments, self.env.action_space.noise_size), iteration, ACTIONS
        )

        def step(state, now):
            key = tf.stack([self.seed + 1 + now, iteration * STREAMS + PLANS])
            actions = tf.cond(
                starts,
                lambda: self._planned_actions(state.observation, key),
                lambda: self.env.action_space.draw(random[now]),
            )
            return self.vectors.step(state, actions)

        state, transitions = scan_steps(step, state, config.rollout_steps)
        self.buffer.add(transitions)
        ready = self.buffer.size >= min(config.learning_starts, config.capacity)
        loss = tf.cond(ready, lambda: self._learn(iteration), lambda: tf.constant(0.0))
        return state, {"loss": loss, "updates": tf.where(ready, config.updates, 0)}, Episodes.of(transitions)

    def _learn(self, iteration: tf.Tensor) -> tf.Tensor:
        """Sets the scales by the whole buffer and makes the updates after a rollout; returns the mean loss."""
        config = self.config
        self._set_scales()

        def body(index, total):
            key = tf.stack([self.seed + 1 + index, iteration * STREAMS + SAMPLES])
            batch = self.buffer.sample(config.batch_size * config.members, key)
            with tf.GradientTape() as tape:
                loss = self._loss(batch)
            minimize(loss, tape, self.variables, self.optimizers["all"])
            return index + 1, total + loss

        loop = (tf.constant(0), tf.constant(0.0))
        return tf.while_loop(lambda index, _: index < config.updates, body, loop, parallel_iterations=1)[1] / (
            config.updates * config.members
        )

    def _loss(self, batch: Batch) -> tf.Tensor:
        """Returns the sum over the ensemble of the losses, each network on its part and by its bootstrap."""
        config = self.config
        rows, targets = self._examples(batch.observation, batch.action, batch.next_observation, batch.reward)
        targets = (targets - self._target_mean) / self._target_deviation
        ended = tf.cast(tf.equal(batch.discount, 0.0), tf.float32)
        losses = []
        for member, index in enumerate(tf.split(tf.range(rows.shape[0]), config.members)):
            part = [tf.gather(each, index) for each in (rows, targets, ended, batch.index)]
            mean, log_variance, end = self._predicted(member, part[0])
            errors = gaussian_errors(part[1], mean, log_variance)
            errors += tf.nn.sigmoid_cross_entropy_with_logits(part[2], end)
            losses.append(tf.reduce_mean(tf.gather(self._bootstrap[member], part[3]) * errors))
        return tf.add_n(losses)

    def _examples(self, observations, actions, successors, rewards) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns inputs (B, D + A) of the networks, and targets (B, D + 1): the change and the reward."""
        rows = tf.concat([observations, tf.reshape(actions, (-1, self.action_width))], -1)
        return rows, tf.concat([successors - observations, rewards[:, None]], -1)

    def _set_scales(self) -> None:
        """Sets means and deviations of inputs and targets to those of all transitions in the buffer."""
        names = ("observation", "action", "next_observation", "reward")
        rows, targets = self._examples(*(tf.convert_to_tensor(self.buffer.fields[name]) for name in names))
        held = tf.cast(tf.range(self.config.capacity) < self.buffer.size, tf.float32)[:, None]
        mean, variance = weighted_moments(rows, held)
        for network in self.networks.values():
            layer = network.get_layer("normalize")
            layer.moving_mean.assign(mean)
            layer.moving_variance.assign(variance)
        mean, variance = weighted_moments(targets, held)
        self._target_mean.assign(mean)
        self._target_deviation.assign(tf.sqrt(variance))


def weighted_moments(values: tf.Tensor, weights: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns means and variances (D,) of values (B, D) by weights (B, 1); 1 where the variance is 0."""
    mean = tf.reduce_sum(weights * values, 0) / tf.reduce_sum(weights)
    variance = tf.reduce_sum(weights * tf.square(values - mean), 0) / tf.reduce_sum(weights)
    return mean, tf.where(variance > 1e-10, variance, 1.0)
