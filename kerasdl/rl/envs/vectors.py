"""Vectors of environments: N episodes stepped together, each started anew when it ends.

The functions are pure, as those of an environment are: all that is random follows from the seed and the count of steps
in the state. A state that is saved and read again continues bit for bit.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from kerasdl.core import checks

from .environment import Environment, State
from .noise import uniform_noise

START, STEP, ACT = 0, 1, 2  # streams of random numbers of one step


class VectorState(NamedTuple):
    """State of N running episodes: a nest of tensors, fit for `tf.while_loop` and for checkpoints."""

    state: State
    """dict of tensors (N, ...), as the environment defines them."""
    observation: tf.Tensor
    """(N, ...) observations on which to act next."""
    elapsed: tf.Tensor
    """(N,) int32, steps of each running episode."""
    episode_return: tf.Tensor
    """(N,) float32, sum of rewards of each running episode."""
    seed: tf.Tensor
    """() int32."""
    counter: tf.Tensor
    """() int32, steps of the vector since `reset`."""


class Transition(NamedTuple):
    """Result of one step of N episodes."""

    observation: tf.Tensor
    """(N, ...) observation before the step."""
    action: tf.Tensor
    """(N, ...) action."""
    reward: tf.Tensor
    """(N,) float32."""
    terminated: tf.Tensor
    """(N,) bool, episodes that ended by the rules of the environment: nothing follows."""
    truncated: tf.Tensor
    """(N,) bool, episodes that were cut off, by the time limit: the value of `next_observation` still counts."""
    next_observation: tf.Tensor
    """(N, ...) the true successor, also where a new episode has begun since."""
    episode_return: tf.Tensor
    """(N,) float32, return of the episode so far; that of the whole episode where it ended."""
    episode_length: tf.Tensor
    """(N,) int32, steps of the episode so far; those of the whole episode where it ended."""
    next_mask: tf.Tensor | None = None
    """(N, n) bool, actions allowed at `next_observation`; None where all always are."""

    @property
    def done(self) -> tf.Tensor:
        """(N,) bool, episodes that ended with this step, terminated or truncated."""
        return self.terminated | self.truncated


class VectorEnvironment:
    """N episodes of one environment, stepped together, each started anew when it ends.

    An episode that terminates in the very step of its time limit is terminated and not truncated, so that what is
    bootstrapped is right.

    Args:
        env: the environment.
        count: N, number of episodes at once.

    Raises:
        ArgumentError: env is no `Environment`, or count no integer of 1 or more.

    Example:
        >>> vectors = VectorEnvironment(make("cartpole"), 3)
        >>> state = vectors.reset(seed=0)
        >>> state, transition = vectors.step(state, tf.constant([0, 1, 0]))
        >>> transition.reward.numpy()
        array([1., 1., 1.], dtype=float32)
    """

    def __init__(self, env: Environment, count: int) -> None:
        if not isinstance(env, Environment):
            checks.refuse("env must be an Environment", env, "kerasdl.rl.make gives one by its name.")
        if env.time_limit is not None:
            checks.at_least("time_limit of the environment", env.time_limit, 1)
        self.env = env
        self.count = checks.at_least("count", count, 1)

    @property
    def observation_space(self) -> Any:
        return self.env.observation_space

    @property
    def action_space(self) -> Any:
        return self.env.action_space

    def reset(self, seed: Any) -> VectorState:
        """Returns the first state of N new episodes.

        Args:
            seed: a whole number of 0 or more, or a scalar tensor of one.

        Returns:
            The state, whose `observation` is (N, *observation_space.shape).
        """
        seed, counter = tf.cast(seed, tf.int32), tf.constant(0, tf.int32)
        state = dict(self.env.start(self._noise(seed, counter, START, self.env.noise_size)))
        elapsed, returns = tf.zeros(self.count, tf.int32), tf.zeros(self.count, tf.float32)
        return VectorState(state, self.env.observe(state), elapsed, returns, seed, counter)

    def step(self, vector_state: VectorState, actions: Any) -> tuple[VectorState, Transition]:
        """Returns the state after one step of every episode, and what happened in it.

        Args:
            vector_state: state from `reset` or `step`.
            actions: (N,) int32 of a `Discrete` space, else (N, *action_space.shape).

        Returns:
            The next state, in which ended episodes have begun anew, and the `Transition`.

        Raises:
            ArgumentError: actions that are whole numbers come as floats, which may have fractions.
        """
        env, seed, counter = self.env, vector_state.seed, vector_state.counter + 1
        action = tf.convert_to_tensor(actions)
        if action.dtype.is_floating and "int" in env.action_space.dtype:
            checks.refuse(f"actions must be whole numbers of {env.action_space}", action.dtype.name)
        action = tf.cast(action, env.action_space.dtype)
        after, reward, terminated = env.step(
            vector_state.state, action, self._noise(seed, counter, STEP, env.step_noise_size)
        )
        after, elapsed = dict(after), vector_state.elapsed + 1
        at_limit = tf.zeros_like(terminated) if env.time_limit is None else elapsed >= env.time_limit
        truncated = at_limit & ~terminated
        done, returns = terminated | truncated, vector_state.episode_return + reward
        successor = env.observe(after)
        fresh = env.start(self._noise(seed, counter, START, env.noise_size))
        state = {name: _where(done, fresh[name], value) for name, value in after.items()}
        transition = Transition(
            *(vector_state.observation, action, reward, terminated, truncated, successor, returns, elapsed),
            next_mask=env.action_mask(after),
        )
        return VectorState(
            state=state,
            observation=_where(done, env.observe(fresh), successor),
            elapsed=tf.where(done, 0, elapsed),
            episode_return=tf.where(done, 0.0, returns),
            seed=seed,
            counter=counter,
        ), transition

    def action_mask(self, vector_state: VectorState) -> tf.Tensor | None:
        """Returns which actions are allowed in a state, (N, n) bool; None where all always are."""
        return self.env.action_mask(vector_state.state)

    def random_actions(self, vector_state: VectorState) -> tf.Tensor:
        """Returns actions of equal probability for a state, the same for the same state; masks are not heeded."""
        space, at = self.env.action_space, vector_state.counter + 1
        return space.draw(self._noise(vector_state.seed, at, ACT, space.noise_size))

    def _noise(self, seed: tf.Tensor, counter: tf.Tensor, stream: int, size: int) -> tf.Tensor:
        return uniform_noise(seed, counter, stream, self.count, size)


def _where(done: tf.Tensor, fresh: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    """Returns rows of `fresh` where an episode is done, else those of `value`; both (N, ...)."""
    return tf.where(tf.reshape(done, (-1, *(1 for _ in value.shape[1:]))), fresh, value)
