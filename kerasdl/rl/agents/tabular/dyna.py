"""Dyna-Q: Q-learning that also learns from steps of a model, which is a table of the outcomes seen.

Source: Sutton 1990, https://doi.org/10.1016/B978-1-55860-141-3.50030-4; Sutton and Barto 2018,
http://incompleteideas.net/book/the-book-2nd.html, section 8.2.

Deviations: the model may hold several outcomes of an action, for environments that draw them. Environments that step
together share the model, and plan together after each step.
"""

from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences

from ...envs.vectors import Transition
from ..exploration import masked
from .temporal_differences import QLearning, TabularConfig


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class DynaConfig(TabularConfig):
    """Settings of Dyna-Q.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> DynaConfig(planning_steps=50).outcomes
        1
    """

    planning_steps: int = 10
    """Steps of the model after each step of an environment."""
    outcomes: int = 1
    """Newest outcomes that the model holds of each action in each state; 1 where an action has one outcome."""

    def __post_init__(self):
        super().__post_init__()
        checks.at_least("planning_steps", self.planning_steps, 0)
        checks.at_least("outcomes", self.outcomes, 1)


class OutcomeModel(NamedTuple):
    """Variables of the model: M outcomes of each of S x A pairs of state and action."""

    count: tf.Variable
    """(S * A,) int32, outcomes seen."""
    next_state: tf.Variable
    """(S * A * M,) int32."""
    reward: tf.Variable
    """(S * A * M,) float32."""
    terminated: tf.Variable
    """(S * A * M,) bool."""
    next_mask: tf.Variable
    """(S * A * M, A) bool, actions allowed in the next state."""


class Dyna(QLearning):
    """Dyna-Q: after each step, Q-learning from drawn steps of a model of what was seen.

    A planning step draws one of the pairs of state and action that were tried, and one of the outcomes held of it. A
    cut episode has an outcome as any other. With `planning_steps=0` it is `QLearning`.

    Source: Sutton and Barto 2018, section 8.2.

    Args:
        env: name for `make`, or an `Environment` with `Discrete` observations and actions.
        config: a `DynaConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule, or the environment draws its outcomes and the model holds only one.
        UnknownNameError: no environment has the name.

    Example:
        >>> agent = Dyna("gridworld", DynaConfig(planning_steps=5, jit_compile=False))
        >>> agent.outcomes.next_state.shape  # an outcome of each of 4 actions in 25 states
        TensorShape([100])
    """

    config_class = DynaConfig

    def _check_environment(self):
        super()._check_environment()
        if not self.on_host and self.env.step_noise_size and self.config.outcomes == 1:
            rule = "outcomes must be 2 or more where the environment draws them: a model of the last one is wrong"
            checks.refuse(rule, self.config.outcomes, "Pass outcomes=20, for example.")

    def _build(self):
        super()._build()
        actions = self.env.action_space.n
        pairs = self.env.observation_space.n * actions
        held = pairs * self.config.outcomes
        empty = OutcomeModel(
            tf.zeros(pairs, tf.int32),
            tf.zeros(held, tf.int32),
            tf.zeros(held),
            tf.zeros(held, tf.bool),
            tf.ones((held, actions), tf.bool),
        )
        self.outcomes = OutcomeModel(*(tf.Variable(each, trainable=False) for each in empty))

    def extras(self):
        return {**super().extras(), **{f"model/{name}": each for name, each in self.outcomes._asdict().items()}}

    def _improved(self, tables, transition, counter):
        if not self.config.planning_steps:
            return tables
        self._remember(transition)
        seen = tf.cumsum(tf.cast(self.outcomes.count > 0, tf.int32))  # place of each pair among those that were tried
        # Keys of the other random numbers are (seed + 1, 0 or more).
        key = tf.stack([tf.constant(self.seed + 1, tf.int32), -1 - counter])
        shape = (self.config.planning_steps, self.config.environments, 2)
        noise = tf.random.stateless_uniform(shape, key, alg="philox")

        def body(index, tables):
            return index + 1, self._learnt_from_model(tables, seen, noise[index])

        goes_on = (tf.constant(0), tables)
        return tf.while_loop(lambda index, _: index < self.config.planning_steps, body, goes_on, parallel_iterations=1)[
            1
        ]

    def _remember(self, transition: Transition) -> None:
        """Writes the outcomes of a step over the oldest ones of their pairs, one environment after the other."""
        model, held = self.outcomes, self.config.outcomes
        pairs = transition.observation * self.env.action_space.n + transition.action
        for row in range(self.config.environments):
            pair = pairs[row : row + 1]
            place = pair * held + tf.gather(model.count, pair) % held
            values = (transition.next_observation, transition.reward, transition.terminated, transition.next_mask)
            for variable, value in zip(model[1:], values, strict=True):
                if value is not None:
                    variable.scatter_update(tf.IndexedSlices(value[row : row + 1], place))
            model.count.scatter_add(tf.IndexedSlices(tf.ones(1, tf.int32), pair))

    def _learnt_from_model(self, tables: tf.Tensor, seen: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Returns the tables (1, S, A) after one planning step for each row of noise (N, 2)."""
        config, model, actions = self.config, self.outcomes, self.env.action_space.n
        tried = tf.cast(seen[-1], tf.float32)
        pair = tf.searchsorted(seen, tf.cast(noise[:, 0] * tried, tf.int32) + 1)
        most = tf.minimum(tf.gather(model.count, pair), config.outcomes)
        place = pair * config.outcomes + tf.cast(noise[:, 1] * tf.cast(most, tf.float32), tf.int32)
        following = tf.gather(tables[0], tf.gather(model.next_state, place))
        value = tf.reduce_max(masked(following, tf.gather(model.next_mask, place)), -1)
        value = tf.where(tf.gather(model.terminated, place), 0.0, config.discount * value)
        index = tf.stack([tf.zeros_like(pair), pair // actions, pair % actions], -1)
        errors = tf.gather(model.reward, place) + value - tf.gather_nd(tables, index)
        count = tf.scatter_nd(index, tf.ones_like(errors), tables.shape)
        return tables + config.learning_rate * tf.scatter_nd(index, errors, tables.shape) / tf.maximum(count, 1.0)
