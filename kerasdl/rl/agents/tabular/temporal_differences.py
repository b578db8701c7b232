"""Temporal differences in a table: SARSA, expected SARSA, Q-learning and double Q-learning, each with n-step returns.

Source: Sutton and Barto 2018, http://incompleteideas.net/book/the-book-2nd.html, sections 6.4 to 6.7 and 7.2; Watkins
1989 (Q-learning); van Hasselt 2010, https://papers.nips.cc/paper/3964-double-q-learning (double Q-learning).

Deviations: episodes that a time limit cuts are bootstrapped from their true successor. Environments that step together
share the table, and the changes of one entry are averaged. Q-learning with n above 1 does not correct for exploration.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences

from ...envs.spaces import Discrete
from ...envs.vectors import Transition, VectorState
from ..agent import Agent
from ..exploration import check_exploration, draw_actions, exploration_law, linear_schedule, masked
from ..policies.on_policy import scan_steps
from ..training.settings import AgentConfig, Episodes

ACTIONS, SUCCESSORS, COINS = range(3)  # streams of random numbers


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class TabularConfig(AgentConfig):
    """Settings of agents with a table of values.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> TabularConfig(learning_rate=0.5).steps
        1
    """

    environments: int = 1
    """Episodes that run at once."""
    learning_rate: float = 0.1
    """Share of a temporal difference that is added to the table."""
    rollout_steps: int = 256
    """Steps of each environment in a compiled call; the table changes after each of them."""
    steps: int = 1
    """Rewards in a return, the n of n-step methods."""
    exploration: str = "epsilon_greedy"
    """`"epsilon_greedy"` or `"boltzmann"`."""
    amount: float = 1.0
    """Share of random actions, or temperature, at the start."""
    final_amount: float = 0.05
    """Share of random actions, or temperature, at the end."""
    exploration_share: float = 0.5
    """Share of the training in which the first amount falls to the final one; 0 begins with the final one."""
    initial_value: float = 0.0
    """Value of all entries at the start; one above all returns makes a greedy agent try every action."""

    def __post_init__(self):
        super().__post_init__()
        checks.within("learning_rate", self.learning_rate, 1e-9, 1.0)
        for name in ("rollout_steps", "steps"):
            checks.at_least(name, getattr(self, name), 1)
        check_exploration(self)
        checks.within("initial_value", self.initial_value, -1e9, 1e9)


class Window(NamedTuple):
    """The newest n steps of each environment, the newest first."""

    state: tf.Tensor
    """(n, N) int32."""
    action: tf.Tensor
    """(n, N) int32."""
    reward: tf.Tensor
    """(n, N) float32."""
    filled: tf.Tensor
    """(N,) int32, steps of the running episode that were not yet learnt from."""


class Successors(NamedTuple):
    """True successors of a step, from which the values of its returns come."""

    state: tf.Tensor
    """(N,) int32."""
    mask: tf.Tensor | None
    """(N, A) bool, allowed actions; None where all are."""
    law: tf.Tensor
    """(N, A) probabilities of the actions."""
    action: tf.Tensor
    """(N,) int32, an action drawn by this law."""
    coin: tf.Tensor
    """(N,) int32, the table that will change."""


class TabularAgent(Agent):
    """Base class of agents with a table of K x S x A values, whose mean over K acts.

    A subclass defines `_next_value`. `policy` is an embedding from states to the values of their actions.
    """

    config_class = TabularConfig
    figure_names = ("loss", "exploration", "value")
    tables: int = 1
    """K, the number of tables."""

    @property
    def steps_per_iteration(self) -> int:
        return self.config.rollout_steps * self.config.environments

    def _check_environment(self):
        super()._check_environment()
        for name in ("observation_space", "action_space"):
            if not isinstance(getattr(self.env, name), Discrete):
                checks.refuse(f"{self.name} needs a Discrete {name}", getattr(self.env, name), "Use DQN.")

    def _build(self):
        states, actions, count = self.env.observation_space.n, self.env.action_space.n, self.config.environments
        inputs = keras.Input((), dtype="int32", name="observation")
        column = keras.layers.Reshape((1,), name="column")(inputs)
        first = keras.initializers.Constant(self.config.initial_value)
        rows = keras.layers.Embedding(states, actions, embeddings_initializer=first, name="table")(column)
        values = keras.layers.Flatten(name="values")(rows)
        self.networks["policy"] = keras.Model(inputs, values, name="policy")
        self.table = self.policy.get_layer("table").embeddings
        start = tf.fill((self.tables, states, actions), float(self.config.initial_value))
        self._tables = tf.Variable(start, trainable=False, name="tables")
        shape = (self.config.steps, count)
        empty = Window(tf.zeros(shape, tf.int32), tf.zeros(shape, tf.int32), tf.zeros(shape), tf.zeros(count, tf.int32))
        self._window = tf.nest.map_structure(lambda each: tf.Variable(each, trainable=False), empty)
        self._action = tf.Variable(-tf.ones(count, tf.int32), trainable=False, name="action")

    def weights(self):
        return {**super().weights(), "tables": self._tables}

    def extras(self):
        window = {f"window/{name}": each for name, each in self._window._asdict().items()}
        return {**super().extras(), **window, "action": self._action}

    def _next_value(self, tables: tf.Tensor, successors: Successors) -> tf.Tensor:
        """Returns the values (N,) of successors by tables (K, S, A)."""
        raise NotImplementedError(f"{self.name} has no _next_value(tables, successors)")

    def _best_actions(self, observations, mask):
        law = exploration_law(self.policy(observations, training=False), 0.0, "epsilon_greedy", mask)
        return tf.argmax(law, -1, output_type=tf.int32)

    def _drawn_actions(self, observations, mask, key):
        values = self.policy(observations, training=False)
        law = exploration_law(values, self._amount(), self.config.exploration, mask)
        return draw_actions(law, tf.random.stateless_uniform((len(observations),), key, alg="philox"))

    def _amount(self) -> tf.Tensor:
        config = self.config
        return linear_schedule(self.progress, config.amount, config.final_amount, config.exploration_share)

    def _law(self, tables: tf.Tensor, state: tf.Tensor, amount: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        values = tf.gather(tf.reduce_mean(tables, 0), state)
        return exploration_law(values, amount, self.config.exploration, mask)

    def _iterate(self, state, iteration):
        config, amount = self.config, self._amount()
        shape = (config.rollout_steps, config.environments)
        noise = tf.stack([self.noise(shape, iteration, stream) for stream in (ACTIONS, SUCCESSORS, COINS)], -1)
        first = self._law(self._tables, state.observation, amount, self.vectors.action_mask(state))
        action = tf.where(self._action < 0, draw_actions(first, noise[0, :, ACTIONS]), self._action)
        window = Window(*map(tf.convert_to_tensor, self._window))
        loop = (state, tf.convert_to_tensor(self._tables), action, window)
        loop, (transitions, errors) = scan_steps(
            lambda loop, now: self._step(*loop, noise[now], amount), loop, config.rollout_steps
        )
        state, tables, action, window = loop
        self._tables.assign(tables)
        self.table.assign(tf.reduce_mean(tables, 0))
        self._action.assign(action)
        tf.nest.map_structure(lambda variable, value: variable.assign(value), self._window, window)
        figures = {"loss": tf.reduce_mean(tf.square(errors)), "exploration": amount, "value": tf.reduce_mean(tables)}
        return state, figures, Episodes.of(transitions)

    def _step(self, state: VectorState, tables: Any, action: Any, window: Window, noise: Any, amount: Any):
        """Makes a step of the environments and learns from it; returns the loop's values, and (transition, errors)."""
        state, transition = self.vectors.step(state, action)
        window = pushed(window, transition)
        after, mask, done = transition.next_observation, transition.next_mask, transition.done
        coin = tf.minimum(tf.cast(noise[:, COINS] * self.tables, tf.int32), self.tables - 1)
        law = self._law(tables, after, amount, mask)
        following = draw_actions(law, noise[:, ACTIONS])
        value = self._next_value(tables, Successors(after, mask, law, following, coin))
        tables, errors = self._learnt(tables, window, tf.where(transition.terminated, 0.0, value), done, coin)
        tables = self._improved(tables, transition, state.counter)
        law = self._law(tables, state.observation, amount, self.vectors.action_mask(state))
        action = self._next_action(following, draw_actions(law, noise[:, SUCCESSORS]), done)
        filled = tf.where(done, 0, tf.minimum(window.filled, self.config.steps - 1))
        return (state, tables, action, window._replace(filled=filled)), (transition, errors)

    def _improved(self, tables: tf.Tensor, transition: Transition, counter: tf.Tensor) -> tf.Tensor:
        """Returns the tables after what else a step changes; `counter` () int32 counts the steps."""
        return tables

    def _next_action(self, following: tf.Tensor, fresh: tf.Tensor, done: tf.Tensor) -> tf.Tensor:
        """Returns the next actions: fresh ones, drawn after the change of the table."""
        return fresh

    def _learnt(self, tables, window, value, done, coin):
        """Returns the changed tables, and the temporal differences (n, N), 0 where nothing was learnt.

        With n steps in the window the oldest is learnt; at the end of an episode, all that are left.
        """
        returns, reached = [], value
        for age in range(self.config.steps):
            reached = window.reward[age] + self.config.discount * reached
            returns.append(reached)
        age = tf.range(self.config.steps)[:, None]
        learns = (age < window.filled) & (done | (age == self.config.steps - 1))
        place = tf.stack([tf.broadcast_to(coin, learns.shape), window.state, window.action], -1)
        errors = tf.where(learns, tf.stack(returns) - tf.gather_nd(tables, place), 0.0)
        count = tf.scatter_nd(place, tf.cast(learns, tf.float32), tables.shape)
        change = tf.scatter_nd(place, errors, tables.shape)
        return tables + self.config.learning_rate * change / tf.maximum(count, 1.0), errors


def pushed(window: Window, transition) -> Window:
    """Returns the window with a step of each environment as its newest."""
    newest = (transition.observation, transition.action, transition.reward)
    parts = (tf.concat([new[None], held[:-1]], 0) for new, held in zip(newest, window[:3], strict=True))
    return Window(*parts, window.filled + 1)


class SARSA(TabularAgent):
    """SARSA: the value of a successor is that of the action which will be taken there.

    Source: Rummery and Niranjan 1994; Sutton and Barto 2018, section 6.4, and 7.2 for n steps.

    Args:
        env: name for `make`, or an `Environment` with `Discrete` observations and actions.
        config: a `TabularConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> agent = SARSA("gridworld", TabularConfig(learning_rate=0.5, jit_compile=False))
        >>> agent.train(512, progress="off").steps[-1]
        512
    """

    def _next_value(self, tables, successors):
        return tf.gather_nd(tables[0], tf.stack([successors.state, successors.action], -1))

    def _next_action(self, following, fresh, done):
        return tf.where(done, fresh, following)


class ExpectedSARSA(TabularAgent):
    """Expected SARSA: the value of a successor is the mean over the actions by their probabilities.

    Source: van Seijen et al. 2009, https://doi.org/10.1109/ADPRL.2009.4927542; Sutton and Barto 2018, section 6.6.

    Args:
        env: name for `make`, or an `Environment` with `Discrete` observations and actions.
        config: a `TabularConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> ExpectedSARSA("taxi", TabularConfig(jit_compile=False)).policy.output_shape
        (None, 6)
    """

    def _next_value(self, tables, successors):
        return tf.reduce_sum(successors.law * tf.gather(tables[0], successors.state), -1)


class QLearning(TabularAgent):
    """Q-learning: the value of a successor is that of its best action, whatever the agent does there.

    Source: Watkins and Dayan 1992, https://doi.org/10.1007/BF00992698; Sutton and Barto 2018, section 6.5.

    Args:
        env: name for `make`, or an `Environment` with `Discrete` observations and actions.
        config: a `TabularConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> QLearning("cliff_walking", TabularConfig(jit_compile=False)).act(36).shape
        ()
    """

    def _next_value(self, tables, successors):
        return tf.reduce_max(masked(tf.gather(tables[0], successors.state), successors.mask), -1)


class DoubleQLearning(TabularAgent):
    """Double Q-learning: of two tables one chooses the best action, and the other values it.

    A fair coin says at each step which one changes. Source: van Hasselt 2010; Sutton and Barto 2018, section 6.7.

    Args:
        env: name for `make`, or an `Environment` with `Discrete` observations and actions.
        config: a `TabularConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> DoubleQLearning("gridworld", TabularConfig(jit_compile=False)).train(256, progress="off").stopped
        'finished'
    """

    tables = 2

    def _next_value(self, tables, successors):
        own = tf.gather_nd(tables, tf.stack([successors.coin, successors.state], -1))
        best = tf.argmax(masked(own, successors.mask), -1, output_type=tf.int32)
        return tf.gather_nd(tables, tf.stack([1 - successors.coin, successors.state, best], -1))
