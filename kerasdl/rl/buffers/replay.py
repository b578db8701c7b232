"""Replay buffer: a ring of the newest transitions in TensorFlow variables, with n-step returns (Lin 1992).

Source: Lin 1992, https://doi.org/10.1007/BF00992699; Mnih et al. 2015, https://doi.org/10.1038/nature14236; n-step
returns as in Hessel et al. 2018, https://arxiv.org/abs/1710.02298, section "Multi-step learning".

Deviations: returns of n steps are summed when they are drawn, so that the ring holds single steps.
"""

import os
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kerasdl.core import checks, files

from ..envs.spaces import Space
from ..envs.vectors import Transition


class Batch(NamedTuple):
    """Transitions of n steps, drawn from a buffer: the target of `action` is reward + discount * value of the next."""

    observation: tf.Tensor
    """(B, ...) observations."""
    action: tf.Tensor
    """(B, ...) actions."""
    reward: tf.Tensor
    """(B,) float32, discounted sum of the rewards of n steps, or of those up to the end of the episode."""
    discount: tf.Tensor
    """(B,) float32, factor of the value of `next_observation`: 0 after termination, but not after truncation."""
    next_observation: tf.Tensor
    """(B, ...) the true observation behind the last of these steps."""
    weight: tf.Tensor
    """(B,) float32, weight in the loss; 1 where all transitions are drawn alike."""
    index: tf.Tensor
    """(B,) int32, places in the buffer."""
    next_mask: tf.Tensor | None = None
    """(B, A) bool, actions allowed at `next_observation`; None where all always are."""


class ReplayBuffer:
    """Ring of the newest transitions of N environments, drawn evenly; all in variables and TensorFlow's operations.

    Place t * N + e holds step t of environment e. A transition is drawn once the n steps from it on are complete.

    Args:
        observation_space: space of the observations.
        action_space: space of the actions.
        capacity: transitions that fit, of all environments together; a multiple of `count`.
        count: N, environments that step together.
        steps: n of the returns.
        discount: factor of a reward one step later, 0 to 1.
        masked_actions: A, number of actions whose masks are stored; None where all are allowed.
        dtype: type in which observations are stored, such as `"uint8"` for pictures of whole numbers; None takes that
            of the space.

    Raises:
        ArgumentError: a number is out of range.

    Example:
        >>> vectors = VectorEnvironment(make("cartpole"), 2)
        >>> buffer = ReplayBuffer(vectors.observation_space, vectors.action_space, capacity=100, count=2)
        >>> state, transition = vectors.step(vectors.reset(seed=0), [0, 1])
        >>> buffer.add(transition)
        >>> buffer.sample(8, seed=[0, 0]).observation.shape
        TensorShape([8, 4])
    """

    def __init__(
        self,
        observation_space: Space,
        action_space: Space,
        *,
        capacity: int,
        count: int = 1,
        steps: int = 1,
        discount: float = 0.99,
        masked_actions: int | None = None,
        dtype: str | None = None,
    ):
        self.count, self.steps = checks.at_least("count", count, 1), checks.at_least("steps", steps, 1)
        self.discount = checks.within("discount", discount, 0.0, 1.0)
        self.capacity = checks.at_least("capacity", capacity, self.count * self.steps)
        if capacity % self.count:
            checks.refuse(f"capacity must be a multiple of {count}, the number of environments", capacity)
        self.rows = self.capacity // self.count
        seen = tf.as_dtype(dtype or observation_space.dtype)
        self.observation_dtype = tf.as_dtype(observation_space.dtype)
        fields = {
            "observation": (observation_space.shape, seen),
            "next_observation": (observation_space.shape, seen),
            "action": (action_space.shape, tf.as_dtype(action_space.dtype)),
            "reward": ((), tf.float32),
            "terminated": ((), tf.bool),
            "ended": ((), tf.bool),
        }
        if masked_actions is not None:
            fields["next_mask"] = ((checks.at_least("masked_actions", masked_actions, 1),), tf.bool)
        self.fields = {
            name: tf.Variable(tf.zeros((self.capacity, *shape), kind), trainable=False, name=name)
            for name, (shape, kind) in fields.items()
        }
        self.added = tf.Variable(0, dtype=tf.int64, trainable=False, name="added")
        """Rows of N transitions that were added so far."""

    @property
    def variables(self) -> dict[str, tf.Variable]:
        """All variables by name: their values are the whole buffer."""
        return {**self.fields, "added": self.added}

    @property
    def size(self) -> tf.Tensor:
        """Transitions that can be drawn, a scalar int32."""
        return self.count * self._starts()

    def add(self, transition: Transition) -> None:
        """Adds one step of the N environments, or T steps in their order; the oldest make room.

        Args:
            transition: arrays (N, ...), or (T, N, ...) with T at most the rows of the ring.

        Raises:
            ArgumentError: the number of environments or of steps does not fit.
        """
        reward = tf.convert_to_tensor(transition.reward)
        if reward.shape.rank not in (1, 2) or reward.shape[-1] != self.count:
            checks.refuse(f"rewards must be (N,) or (T, N) of {self.count} environments", reward.shape)
        rows = reward.shape[0] if reward.shape.rank == 2 else 1
        if rows is None or rows > self.rows:
            checks.refuse(f"the steps added at once must be a fixed number up to {self.rows}", rows)
        if (transition.next_mask is None) == ("next_mask" in self.fields):
            checks.refuse("masked_actions must be set if and only if transitions have masks", transition.next_mask)
        values = {name: getattr(transition, name) for name in self.fields if name != "ended"}
        values["ended"] = tf.logical_or(transition.terminated, transition.truncated)
        ring = tf.cast((self.added + tf.range(rows, dtype=tf.int64)) % self.rows, tf.int32)
        index = tf.reshape(ring[:, None] * self.count + tf.range(self.count), (-1,))
        for name, variable in self.fields.items():
            value = tf.cast(tf.reshape(values[name], (rows * self.count, *variable.shape[1:])), variable.dtype)
            variable.scatter_update(tf.IndexedSlices(value, index))
        self.added.assign_add(rows)

    def sample(self, batch: int, seed: Any) -> Batch:
        """Returns transitions drawn evenly, with replacement; the buffer must hold one.

        Args:
            batch: B, their number.
            seed: two integers, such as (seed of the run, number of the draw); the same ones draw the same places.

        Returns:
            The batch, its weights 1.
        """
        key = tf.cast(seed, tf.int32)
        noise = tf.random.stateless_uniform((batch,), key, dtype=tf.float64, alg="philox")
        place = tf.cast(noise * tf.cast(self.size, tf.float64), tf.int32)
        first = tf.cast(tf.maximum(self.added - self.rows, 0) % self.rows, tf.int32)
        row = (first + place // self.count) % self.rows
        return self.read(row * self.count + place % self.count, tf.ones(batch))

    def read(self, index: tf.Tensor, weight: tf.Tensor) -> Batch:
        """Returns the transitions of n steps from places on.

        Args:
            index: (B,) int32 places whose n steps are complete.
            weight: (B,) weights of the batch.
        """
        reward = tf.zeros(tf.shape(index))
        goes_on = tf.ones(tf.shape(index), tf.bool)
        last, factor, discount = index, 1.0, tf.ones(tf.shape(index))
        for step in range(self.steps):
            place = (index + step * self.count) % self.capacity
            reward += tf.where(goes_on, factor * tf.gather(self.fields["reward"], place), 0.0)
            last = tf.where(goes_on, place, last)
            factor *= self.discount
            discount = tf.where(goes_on, factor, discount)
            goes_on &= ~tf.gather(self.fields["ended"], place)
        discount = tf.where(tf.gather(self.fields["terminated"], last), 0.0, discount)
        observation, following = (
            tf.cast(tf.gather(self.fields[name], place), self.observation_dtype)
            for name, place in (("observation", index), ("next_observation", last))
        )
        action = tf.gather(self.fields["action"], index)
        mask = tf.gather(self.fields["next_mask"], last) if "next_mask" in self.fields else None
        return Batch(observation, action, reward, discount, following, weight, index, mask)

    def update(self, index: tf.Tensor, errors: tf.Tensor) -> None:
        """Notes the temporal differences of transitions; without effect here, where all are drawn alike."""

    def save(self, path: str | os.PathLike) -> None:
        """Writes the whole buffer to a file (.npz), from which `restore` continues bit for bit."""
        with files.writing(path) as draft, open(draft, "wb") as file:
            np.savez(file, **{name: variable.numpy() for name, variable in self.variables.items()})

    def restore(self, path: str | os.PathLike) -> None:
        """Reads a file of `save` into this buffer.

        Raises:
            ArgumentError: the file is of a buffer of other fields, shapes or types.
        """
        with np.load(path, allow_pickle=False) as saved:
            layout = {name: (each.shape, each.dtype.name) for name, each in saved.items()}
            own = {name: (tuple(each.shape), each.dtype.name) for name, each in self.variables.items()}
            if layout != own:
                checks.refuse(f"the file must hold a buffer of {own}", layout)
            for name, variable in self.variables.items():
                variable.assign(saved[name])

    def _starts(self) -> tf.Tensor:
        """Returns the number of rows whose n steps are complete, a scalar int32."""
        held = tf.minimum(self.added, self.rows)
        return tf.cast(tf.maximum(held - (self.steps - 1), 0), tf.int32)
