"""Bases of agents with a replay buffer: those that act by what they learn from it (DQN, SAC), and all others."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences

from ...buffers.hindsight import HindsightBuffer
from ...buffers.replay import Batch, ReplayBuffer
from ...envs.vectors import Transition
from ..agent import STREAMS, Agent
from ..policies.on_policy import scan_steps
from ..training.settings import AgentConfig, Episodes

ACTIONS, SAMPLES, UPDATES = 0, 1, 2  # streams of random numbers


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class ReplayConfig(AgentConfig):
    """Settings of agents with a replay buffer.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> ReplayConfig(rollout_steps=8, updates=8).environments
        1
    """

    environments: int = 1
    """Episodes that run at once."""
    rollout_steps: int = 4
    """Steps of each environment between updates."""
    updates: int = 1
    """Updates after a rollout."""
    batch_size: int = 32
    """Transitions in an update."""
    capacity: int = 100_000
    """Transitions in the replay buffer, a multiple of `environments`."""
    learning_starts: int = 1000
    """Environment steps before the first update; actions are random until then. A loaded agent makes as many without
    updates, to fill its new buffer."""

    def __post_init__(self):
        super().__post_init__()
        for name in ("rollout_steps", "updates", "batch_size", "capacity"):
            checks.at_least(name, getattr(self, name), 1)
        checks.at_least("learning_starts", self.learning_starts, 0)
        rows = self.capacity // self.environments
        if self.capacity % self.environments or rows < self.rollout_steps:
            checks.refuse("capacity must be a multiple of environments that holds a rollout of each", self.capacity)


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class OffPolicyConfig(ReplayConfig):
    """Settings of agents that act by what they learn from a replay buffer.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> OffPolicyConfig(hindsight=0.8).environments
        1
    """

    activation: str = "relu"
    """Activation of the hidden layers."""
    hindsight: float = 0.0
    """Share of drawn transitions with a goal that their episode reached later (HER), in a `GoalEnvironment`."""

    def __post_init__(self):
        super().__post_init__()
        checks.within("hindsight", self.hindsight, 0.0, 1.0)


class ReplayAgent(Agent):
    """Base class of agents with a replay buffer; a subclass makes `buffer` in `_build`."""

    config_class = ReplayConfig
    buffer: ReplayBuffer

    @property
    def steps_per_iteration(self) -> int:
        return self.config.rollout_steps * self.config.environments

    @property
    def large(self):
        return {f"buffer/{name}": each for name, each in self.buffer.variables.items()}

    def _starts(self, iteration: tf.Tensor) -> tf.Tensor:
        """Returns whether enough steps were made for updates, and for actions of the policy."""
        return iteration * self.steps_per_iteration >= self.config.learning_starts


class OffPolicyAgent(ReplayAgent):
    """Base class: rollouts into a replay buffer, and updates on batches drawn from it.

    A subclass defines `_explored` (actions of training) and `_improve` (one update).
    """

    config_class = OffPolicyConfig

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """Shape of the uniform numbers that one action of training takes."""
        return ()

    @property
    def _choices(self) -> int:
        """Actions that are chosen in a step of all environments."""
        return self.config.environments

    def _make_buffer(self, kind: type[ReplayBuffer] = ReplayBuffer, **settings: Any) -> ReplayBuffer:
        """Returns an empty buffer for the steps of the environment.

        Args:
            kind: class of the buffer.
            **settings: those of the class that the config does not hold.

        Raises:
            ArgumentError: the config asks for hindsight, which this environment or buffer cannot have.
        """
        config = self.config
        self._host_actions = tf.function(
            lambda observations, noise, iteration: self._explored(observations, None, noise, iteration), autograph=False
        )
        held = {"capacity": config.capacity, "count": config.environments, "discount": config.discount}
        if not config.hindsight:
            return kind(self.env.observation_space, self.env.action_space, **held, **settings)
        if kind is not ReplayBuffer:
            checks.refuse("hindsight needs transitions that are drawn evenly", kind.__name__, "Set prioritized=False.")
        return HindsightBuffer(self.env, share=config.hindsight, **held, **settings)

    def _explored(self, observations: tf.Tensor, mask: Any, noise: tf.Tensor, iteration: tf.Tensor) -> tf.Tensor:
        """Returns the actions of a training step, random ones before it starts.

        Args:
            observations: (N, ...).
            mask: allowed actions (N, A), or None.
            noise: (N, *noise_shape), uniform in [0, 1).
            iteration: () int32.
        """
        raise NotImplementedError(f"{self.name} has no _explored(observations, mask, noise, iteration)")

    def _draw_batch(self, key: tf.Tensor) -> Batch:
        """Returns the transitions of one update."""
        return self.buffer.sample(self.config.batch_size, key)

    def _improve(self, batch: Batch, number: tf.Tensor, key: tf.Tensor) -> Mapping[str, tf.Tensor]:
        """Makes one update; returns its figures, those of `figure_names` but `updates` and `_own_figures`.

        Args:
            batch: drawn transitions.
            number: () int32, updates before this one, those before `learning_starts` counted too.
            key: (2,) int32 of stateless random numbers.
        """
        raise NotImplementedError(f"{self.name} has no _improve(batch, number, key)")

    def _own_figures(self) -> Mapping[str, tf.Tensor]:
        """Returns figures of an iteration rather than of an update."""
        return {}

    def _before_updates(self) -> None:
        """Sets what holds for all updates of an iteration, such as a learning rate."""

    # Training

    def figures(self):
        found = super().figures()
        share = found["updates"] / self.config.updates  # of the iterations that made updates
        of_updates = [name for name in self.figure_names if name not in (*self._own_figures(), "updates")]
        return {**found, **{name: found[name] / share if share else math.nan for name in of_updates}}

    def _iterate(self, state, iteration):
        config = self.config
        noise = self._action_noise(iteration)

        def step(state, now):
            mask = self.vectors.action_mask(state)
            return self.vectors.step(state, self._explored(state.observation, mask, noise[now], iteration))

        state, transitions = scan_steps(step, state, config.rollout_steps)
        return state, *self._learn_from(transitions, iteration)

    def _learn_from(self, steps, iteration):
        self.buffer.add(steps)
        own = self._own_figures()
        names = [name for name in self.figure_names if name not in (*own, "updates")]
        # A loaded agent has made its first steps, but fills a new buffer before it learns from it.
        needed = max(1, min(self.config.learning_starts, self.config.capacity))
        filled = self.buffer.added * self.config.environments >= needed
        ready = self._starts(iteration) & filled & (self.buffer.size > 0)
        means = tf.cond(ready, lambda: self._learn(iteration, names), lambda: [tf.constant(0.0)] * len(names))
        updates = tf.where(ready, self.config.updates, 0)
        return {**dict(zip(names, means, strict=True)), **own, "updates": updates}, Episodes.of(steps)

    def _collect_on_host(self, state, iteration):
        steps, iteration = [], tf.constant(iteration)
        for now in self._action_noise(iteration):
            actions = self._host_actions(tf.constant(state.observation), now, iteration)
            state, transition = self.vectors.step(state, actions.numpy())
            steps.append(transition)
        columns = zip(*steps, strict=True)
        return state, Transition(*(None if each[0] is None else tf.stack(each) for each in columns))

    def _action_noise(self, iteration: tf.Tensor) -> tf.Tensor:
        """Returns the numbers that the actions of a rollout take, (T, N, *noise_shape)."""
        config = self.config
        return self.noise((config.rollout_steps, self._choices, *self.noise_shape), iteration, ACTIONS)

    def _learn(self, iteration: tf.Tensor, names: list[str]) -> list[tf.Tensor]:
        """Makes the updates after a rollout; returns the means of their figures."""
        updates = self.config.updates
        self._before_updates()

        def body(index, sums):
            samples, own = (
                tf.stack([self.seed + 2 + index, iteration * STREAMS + stream]) for stream in (SAMPLES, UPDATES)
            )
            figures = self._improve(self._draw_batch(samples), iteration * updates + index, own)
            return index + 1, [total + figures[name] for name, total in zip(names, sums, strict=True)]

        loop = (tf.constant(0), [tf.constant(0.0)] * len(names))
        _, sums = tf.while_loop(lambda index, _: index < updates, body, loop, parallel_iterations=1)
        return [total / updates for total in sums]
