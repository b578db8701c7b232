"""Normalised observations and rewards, by running statistics that are a part of the state.

Source: Engstrom et al., "Implementation matters in deep policy gradients", 2020, section 3: observations are brought to
mean 0 and deviation 1, rewards divided by the deviation of the discounted sum of rewards, and both are clipped.
Moments of batches are joined as in Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing
sample variances", 1979.
"""

import os
import zipfile
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks, files
from kerasdl.core.errors import DataError

from .host.gymnasium_environments import GymnasiumEnvironments
from .spaces import Box
from .vectors import Transition, VectorEnvironment, VectorState

LEAST = keras.config.epsilon()  # of a deviation, as in keras.layers.Normalization


class Moments(NamedTuple):
    """Mean and variance of what was seen so far."""

    mean: Any
    """float32 tensor of the shape of one value."""
    variance: Any
    """likewise."""
    count: Any
    """() float32, number of values; 0 before the first."""


class Statistics(NamedTuple):
    """Statistics of observations and of discounted sums of rewards."""

    observation: Moments
    """Moments of each entry of an observation."""
    discounted_reward: Moments
    """Moments of the discounted sum of rewards of a running episode."""

    def save(self, path: str | os.PathLike) -> None:
        """Writes the statistics to a file, ending in .npz, whole or not at all."""
        arrays = {f"{part}.{name}": np.asarray(value) for part, name, value in self._named()}
        with files.writing(path) as file, open(file, "wb") as out:
            np.savez(out, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Statistics":
        """Returns the statistics of a file that `save` wrote.

        Raises:
            DataError: the file is missing or damaged, or holds something else.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                parts = [
                    Moments(*(tf.constant(arrays[f"{part}.{name}"]) for name in Moments._fields))
                    for part in cls._fields
                ]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(f"statistics must be a file that Statistics.save wrote; got {path}: {error}") from error
        return cls(*parts)

    def _named(self):
        return [(part, name, getattr(getattr(self, part), name)) for part in self._fields for name in Moments._fields]


class NormalizedState(NamedTuple):
    """State of `NormalizedEnvironments`: that of the environments within, and the statistics."""

    inner: VectorState
    """State of the environments within, with raw observations and returns."""
    observation: tf.Tensor
    """(N, ...) normalised observations on which to act next."""
    statistics: Statistics
    """Statistics of all that was seen."""
    discounted: tf.Tensor
    """(N,) float32, discounted sum of rewards of each running episode."""


class NormalizedEnvironments:
    """Environments whose observations have mean 0 and deviation 1, and whose rewards are scaled by returns.

    The functions are pure if those of the environments within are. Returns of episodes stay raw. A policy that acts on
    normalised observations takes raw ones after `normalized` stands before its first layer.

    Args:
        vectors: the environments, whose observations are a `Box` of float32.
        observations: whether observations are normalised.
        rewards: whether rewards are.
        discount: gamma of the discounted sums, from 0 to 1.
        clip: bound of both; normalised values lie in [-clip, clip].
        learn: whether the statistics are updated; False for evaluation, with those of training passed to `reset`.

    Raises:
        ArgumentError: the observations are no real numbers, or a value is outside its range.

    Example:
        >>> envs = NormalizedEnvironments(VectorEnvironment(make("pendulum"), 4))
        >>> state, transition = envs.step(envs.reset(seed=0), tf.zeros((4, 1)))
        >>> float(state.statistics.observation.count)
        8.0
    """

    def __init__(
        self,
        vectors: VectorEnvironment | GymnasiumEnvironments,
        *,
        observations: bool = True,
        rewards: bool = True,
        discount: float = 0.99,
        clip: float = 10.0,
        learn: bool = True,
    ) -> None:
        space = vectors.observation_space
        if observations and not (isinstance(space, Box) and space.dtype == "float32"):
            checks.refuse("only observations of real numbers are normalised", space, "Pass observations=False.")
        self.vectors, self.observations, self.rewards, self.learn = vectors, observations, rewards, learn
        self.discount = checks.within("discount", discount, 0, 1)
        self.clip = checks.within("clip", clip, 1, 1e6)
        self.count, self.action_space = vectors.count, vectors.action_space
        self.observation_space = Box(-self.clip, self.clip, space.shape) if observations else space

    def reset(self, seed: Any, statistics: Statistics | None = None) -> NormalizedState:
        """Returns the first state of N new episodes.

        Args:
            seed: as of the environments within.
            statistics: those to start from, such as `state.statistics` of training; None for none.

        Returns:
            The state, whose `observation` is normalised.

        Raises:
            ArgumentError: there are no statistics, and with `learn=False` there never will be.
        """
        if statistics is None and not self.learn:
            checks.refuse("learn=False needs statistics to normalise by", None, "Pass state.statistics of training.")
        inner = self.vectors.reset(seed)
        if statistics is None:
            shape = self.vectors.observation_space.shape
            statistics = Statistics(*(Moments(tf.zeros(each), tf.ones(each), tf.constant(0.0)) for each in (shape, ())))
        statistics = self._updated(statistics, inner.observation, None)
        observation = self._normal(inner.observation, statistics)
        return NormalizedState(inner, observation, statistics, tf.zeros(self.count))

    def step(self, state: NormalizedState, actions: Any) -> tuple[NormalizedState, Transition]:
        """Returns the state after one step of every episode, and what happened in it, normalised.

        Args:
            state: state from `reset` or `step`.
            actions: as of the environments within.

        Returns:
            The next state and the `Transition`; its successor is normalised by the statistics after the step.
        """
        inner, raw = self.vectors.step(state.inner, actions)
        discounted = state.discounted * self.discount + raw.reward
        statistics = self._updated(state.statistics, inner.observation, discounted)
        reward = tf.convert_to_tensor(raw.reward)
        if self.rewards:
            deviation = tf.maximum(tf.sqrt(statistics.discounted_reward.variance), LEAST)
            reward = tf.clip_by_value(reward / deviation, -self.clip, self.clip)
        transition = raw._replace(
            observation=state.observation,
            reward=reward,
            next_observation=self._normal(raw.next_observation, statistics),
        )
        observation = self._normal(inner.observation, statistics)
        return NormalizedState(inner, observation, statistics, tf.where(raw.done, 0.0, discounted)), transition

    def action_mask(self, state: NormalizedState) -> tf.Tensor | None:
        """Returns which actions are allowed in a state, (N, n) bool; None where all always are."""
        return self.vectors.action_mask(state.inner)

    def random_actions(self, state: NormalizedState) -> Any:
        """Returns actions of equal probability for a state, the same for the same state."""
        return self.vectors.random_actions(state.inner)

    def _normal(self, values: Any, statistics: Statistics) -> tf.Tensor:
        values = tf.convert_to_tensor(values)
        if not self.observations:
            return values
        mean, variance, _ = statistics.observation
        return tf.clip_by_value((values - mean) / tf.maximum(tf.sqrt(variance), LEAST), -self.clip, self.clip)

    def _updated(self, statistics: Statistics, observation: Any, discounted: Any) -> Statistics:
        if not self.learn:
            return statistics
        parts = statistics._asdict()
        if self.observations:
            parts["observation"] = _joined(statistics.observation, observation)
        if self.rewards and discounted is not None:
            parts["discounted_reward"] = _joined(statistics.discounted_reward, discounted)
        return Statistics(**parts)


def normalized(x: Any, statistics: Statistics, clip: float = 10.0) -> Any:
    """Returns observations normalised inside a model, so that an exported policy takes raw ones.

    Args:
        x: symbolic tensor (B, ...) of raw observations.
        statistics: those of training.
        clip: bound, as of `NormalizedEnvironments`.

    Returns:
        Tensor of the same shape, between -clip and clip.

    Example:
        >>> envs = NormalizedEnvironments(VectorEnvironment(make("pendulum"), 4))
        >>> statistics = envs.reset(seed=0).statistics
        >>> normalized(keras.Input((3,)), statistics).shape
        (None, 3)
    """
    mean, variance, _ = (np.asarray(each) for each in statistics.observation)
    layer = keras.layers.Normalization(mean=mean, variance=variance, name="normalize_observation")
    x = keras.layers.Rescaling(1.0, offset=clip, name="normalize_shift")(layer(x))
    x = keras.layers.ReLU(max_value=2 * clip, name="normalize_clip")(x)
    return keras.layers.Rescaling(1.0, offset=-clip, name="normalize_shift_back")(x)


def _joined(moments: Moments, values: Any) -> Moments:
    """Returns the moments of what was seen and of a batch (N, ...) together."""
    values = tf.convert_to_tensor(values)
    fresh = tf.cast(tf.shape(values)[0], tf.float32)
    mean, variance = tf.nn.moments(values, axes=[0])
    total = moments.count + fresh
    apart = mean - moments.mean
    squares = moments.variance * moments.count + variance * fresh + tf.square(apart) * moments.count * fresh / total
    return Moments(moments.mean + apart * fresh / total, squares / total, total)
