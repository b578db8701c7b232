"""Behaviour cloning: a policy that learns an expert's actions as labels of observations.

Source: Pomerleau 1989, https://proceedings.neurips.cc/paper/1988/hash/812b4ba287f5ee0bc9d43bbf5bbe87fb-Abstract.html.
Deviations: minibatches are drawn with replacement. Real-number actions are learnt by their squared error.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import short_repr, with_field_sentences

from ..agents.networks import ACTIVATIONS, policy_network
from ..agents.training.minibatches import run_updates
from ..control.players import PolicyPlayer
from ..envs.environment import Environment
from ..envs.making import make
from ..envs.spaces import Box, Discrete
from ..envs.vectors import VectorEnvironment


class Demonstrations(NamedTuple):
    """Observations and what an expert does there."""

    observations: np.ndarray
    """(B, *observation_space.shape)."""
    actions: np.ndarray
    """(B,) whole numbers, or (B, *action_space.shape) real ones."""


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class CloningConfig:
    """Settings of a policy that learns from demonstrations.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> CloningConfig(updates=100)
        CloningConfig(updates=100)
    """

    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers."""
    activation: str = "tanh"
    """Activation of the hidden layers."""
    updates: int = 1000
    """Updates of a training."""
    batch_size: int = 64
    """Examples in an update, drawn with replacement."""
    learning_rate: float = 3e-3
    """Learning rate of Adam; it falls linearly to 0."""

    __repr__ = short_repr

    def __post_init__(self):
        object.__setattr__(self, "hidden", checks.counts("hidden", tuple(self.hidden)))
        checks.one_of("activation", self.activation, ACTIVATIONS)
        checks.at_least("updates", self.updates, 1)
        checks.at_least("batch_size", self.batch_size, 1)
        checks.within("learning_rate", self.learning_rate, 1e-9, 10.0)


def collect_demonstrations(
    env: str | Environment,
    expert: Callable[..., Any],
    steps: int = 2048,
    *,
    environments: int = 8,
    seed: int = 0,
) -> Demonstrations:
    """Returns what an expert meets and does in an environment.

    Args:
        env: name for `make`, or an `Environment`.
        expert: function from observations (B, ...) to actions, such as `agent.act`; where the environment forbids
            actions it gets those allowed too, as `mask`.
        steps: B, number of examples.
        environments: episodes that run at once, each started anew when it ends.
        seed: seed of the episodes.

    Returns:
        The demonstrations, in the order of time.

    Raises:
        ArgumentError: an argument breaks its rule, or an action lies outside its space.
        UnknownNameError: no environment has the name.

    Example:
        >>> shown = collect_demonstrations("cartpole", lambda seen: (seen[:, 2] > 0).astype("int32"), 64)
        >>> shown.observations.shape, shown.actions.shape
        ((64, 4), (64,))
    """
    return walk(environment_for(env), expert, None, steps, environments, seed, 1.0)


def clone_policy(
    env: str | Environment, demonstrations: tuple[Any, Any], config: CloningConfig | None = None, *, seed: int = 0
) -> PolicyPlayer:
    """Returns a policy that has learnt to act as demonstrations do.

    Errors add up: what the policy does wrong leads where no demonstration was. `dagger` asks the expert there.

    Args:
        env: name for `make`, or an `Environment` with `Discrete` or `Box` actions.
        demonstrations: `Demonstrations`, or a pair of observations and actions.
        config: settings; None takes the defaults.
        seed: seed of weights and minibatches.

    Returns:
        The player, whose `policy` is a functional model.

    Raises:
        ArgumentError: demonstrations do not fit the environment, or an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> seen = np.random.default_rng(0).normal(size=(256, 4)).astype("float32")
        >>> player = clone_policy("cartpole", (seen, seen[:, 2] > 0), CloningConfig(updates=200))
        >>> bool(np.mean(player.act(seen) == (seen[:, 2] > 0)) > 0.9)
        True
    """
    env = environment_for(env)
    learner = Cloner(env, config or CloningConfig(), seed)
    learner.learn(checked_demonstrations(env, demonstrations), 0)
    return learner.player


class Cloner:
    """Policy in training on demonstrations; used by `clone_policy` and `dagger`.

    Args:
        env: an environment.
        config: settings.
        seed: seed of weights and minibatches.
    """

    def __init__(self, env: Environment, config: CloningConfig, seed: int):
        if not isinstance(config, CloningConfig):
            checks.refuse("config must be a CloningConfig", config)
        self.config, self.seed = config, checks.at_least("seed", seed, 0)
        self.is_real = isinstance(env.action_space, Box)
        if not (self.is_real or isinstance(env.action_space, Discrete)):
            checks.refuse("actions that are cloned must be Discrete or Box", env.action_space)
        keras.utils.set_random_seed(seed % 2**32)
        spaces = (env.observation_space, env.action_space)
        policy = policy_network(*spaces, hidden=config.hidden, activation=config.activation)
        self.player = PolicyPlayer(policy, env)
        self.optimizer = keras.optimizers.Adam(config.learning_rate)
        self.optimizer.build(policy.trainable_variables)
        self._compiled = tf.function(self._updates, autograph=False, reduce_retracing=True)

    def learn(self, shown: Demonstrations, turn: int) -> float:
        """Makes the updates of a training; returns the mean loss.

        Args:
            shown: the demonstrations.
            turn: number of the training, for its minibatches.
        """
        actions = shown.actions.reshape(len(shown.actions), -1) if self.is_real else shown.actions
        return float(self._compiled(tf.constant(shown.observations), tf.constant(actions), tf.constant(turn)))

    def _updates(self, observations: tf.Tensor, actions: tf.Tensor, turn: tf.Tensor) -> tf.Tensor:
        config, variables = self.config, self.player.policy.trainable_variables

        def update(batch, index):
            left = 1.0 - tf.cast(index, tf.float32) / config.updates
            self.optimizer.learning_rate.assign(config.learning_rate * left)
            with tf.GradientTape() as tape:
                loss = self._loss(self.player.policy(batch[0], training=True), batch[1])
            self.optimizer.apply(tape.gradient(loss, variables), variables)
            return loss

        key = tf.stack([self.seed % 2**31, turn * config.updates])
        sizes = {"batch_size": config.batch_size, "updates": config.updates}
        return run_updates(update, (observations, actions), key=key, **sizes)

    def _loss(self, outputs: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        if self.is_real:
            return tf.reduce_mean(tf.square(outputs - actions))
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(actions, outputs))


def checked_demonstrations(env: Environment, demonstrations: tuple[Any, Any]) -> Demonstrations:
    """Returns demonstrations in the dtypes of an environment.

    Raises:
        ArgumentError: they do not fit its spaces, or are none.
    """
    if not isinstance(demonstrations, tuple) or len(demonstrations) != 2:
        checks.refuse("demonstrations must be a pair of observations and actions", type(demonstrations).__name__)
    seen, done = (np.asarray(each) for each in demonstrations)
    space, actions = env.observation_space, env.action_space
    if done.dtype == bool and isinstance(actions, Discrete):
        done = done.astype("int32")
    if not len(seen) or seen.shape != (len(seen), *space.shape):
        checks.refuse(f"observations must be (B, {', '.join(map(str, space.shape))})", seen.shape)
    if done.shape != (len(seen), *actions.shape):
        checks.refuse(f"actions must be {(len(seen), *actions.shape)}", done.shape)
    if not (np.isfinite(seen).all() and np.isfinite(done).all()):
        checks.refuse("demonstrations must be finite", "numbers that are not")
    fits = np.asarray(actions.contains(done))
    if not fits.all():
        checks.refuse(f"actions must lie in {actions}", done[~fits].tolist()[:3])
    return Demonstrations(seen.astype(space.dtype), done.astype(actions.dtype))


def environment_for(env: str | Environment) -> Environment:
    env = make(env) if isinstance(env, str) else env
    if not isinstance(env, Environment):
        checks.refuse("env must be a name or an Environment", env)
    return env


def walk(
    env: Environment,
    expert: Callable[..., Any],
    learner: Callable[..., Any] | None,
    steps: int,
    environments: int,
    seed: int,
    share: float,
) -> Demonstrations:
    """Returns what an expert would do where a mixture of expert and learner leads.

    Args:
        env: the environment.
        expert: gives every label.
        learner: acts too; None stands for the expert alone.
        steps: number of examples.
        environments: episodes that run at once.
        seed: seed of the episodes and of the mixture.
        share: share of the steps in which the expert acts.
    """
    checks.at_least("steps", steps, 1)
    lanes = min(checks.at_least("environments", environments, 1), steps)
    rng = np.random.default_rng(checks.at_least("seed", seed, 0))
    vectors = VectorEnvironment(env, lanes)
    step = tf.function(vectors.step, autograph=False)
    state, seen, labels = vectors.reset(seed), [], []
    while len(seen) * lanes < steps:
        mask = vectors.action_mask(state)
        allowed = {} if mask is None else {"mask": mask}
        observations = np.asarray(state.observation)
        wanted = checked_demonstrations(env, (observations, np.asarray(expert(observations, **allowed))))
        seen.append(wanted.observations)
        labels.append(wanted.actions)
        actions = wanted.actions
        if learner is not None:
            by_expert = (rng.random(lanes) < share).reshape(-1, *(1 for _ in env.action_space.shape))
            actions = np.where(by_expert, actions, learner(observations, **allowed))
        state, _ = step(state, tf.constant(actions))
    return Demonstrations(np.concatenate(seen)[:steps], np.concatenate(labels)[:steps])
