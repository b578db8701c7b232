"""Samplers for `Dataset.batched_by`: length buckets and few-shot episodes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kerasdl.core import checks


@dataclass(frozen=True, eq=False)
class LengthBuckets:
    """Batches of examples of similar length, to reduce padding.

    Each epoch is shuffled, cut into pools of `pool` batches, and each pool sorted by length before it is cut into
    batches, which come in random order.

    Source: bucketing as in https://arxiv.org/abs/1705.03122, section 4.2, with pools in place of fixed bounds.

    Example:
        >>> lengths = np.array([3, 50, 4, 48, 5, 51])
        >>> buckets = LengthBuckets(lengths, batch_size=3, pool=2)
        >>> sorted(sorted(lengths[batch].tolist()) for batch in buckets(0, 0))
        [[3, 4, 5], [48, 50, 51]]
    """

    lengths: np.ndarray
    """The length of each example, (N,)."""
    batch_size: int = 32
    """Examples a batch, 1 or more; the last one of an epoch may have fewer."""
    pool: int = 50
    """Number of batches that are sorted together, 1 or more: with more there is less padding and less randomness."""

    def __post_init__(self):
        checks.at_least("batch_size", self.batch_size, 1)
        checks.at_least("pool", self.pool, 1)
        if np.ndim(self.lengths) != 1 or not len(self.lengths):
            checks.refuse("lengths must be one number for each example, (N,)", f"shape {np.shape(self.lengths)}")

    def __call__(self, seed: int, epoch: int) -> list[np.ndarray]:
        """Returns the indices of the examples of each batch."""
        rng, lengths = np.random.default_rng((seed, epoch, 3)), np.asarray(self.lengths)
        order, room = rng.permutation(len(lengths)), self.batch_size * self.pool
        pools = [order[start : start + room] for start in range(0, len(order), room)]
        ordered = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
        batches = [ordered[start : start + self.batch_size] for start in range(0, len(ordered), self.batch_size)]
        return [batches[place] for place in rng.permutation(len(batches))]


@dataclass(frozen=True, eq=False)
class Episodes:
    """Few-shot episodes: batches of `ways` random classes with `shots` random examples each, class after class.

    With all classes a batch is balanced. In few-shot learning the first shots of each class are the support set, and
    the others the query set.

    Source: https://arxiv.org/abs/1606.04080, section 2.2.

    Example:
        >>> labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
        >>> [labels[batch].tolist() for batch in Episodes(labels, ways=2, shots=2, batches=1)(0, 0)]
        [[2, 2, 0, 0]]
    """

    labels: Sequence[int] | np.ndarray
    """The class of each example, (N,)."""
    shots: int
    """Examples of each class in a batch, 1 or more, all different."""
    ways: int | None = None
    """Classes in a batch, 1 or more; None takes all."""
    batches: int = 100
    """Batches an epoch, 1 or more."""

    def __post_init__(self):
        for name in ("shots", "batches"):
            checks.at_least(name, getattr(self, name), 1)
        if np.ndim(self.labels) != 1 or not len(self.labels):
            checks.refuse("labels must be one class for each example, (N,)", f"shape {np.shape(self.labels)}")
        classes, counts = np.unique(np.asarray(self.labels), return_counts=True)
        if self.ways is not None:
            checks.at_least("ways", self.ways, 1)
            if self.ways > len(classes):
                checks.refuse(f"ways must be at most {len(classes)}, the number of classes", self.ways)
        if counts.min() < self.shots:
            few = classes[counts.argmin()]
            checks.refuse(f"shots must be at most {counts.min()}, the size of class {few}", self.shots)

    def __call__(self, seed: int, epoch: int) -> list[np.ndarray]:
        """Returns the indices of the examples of each batch."""
        rng, labels = np.random.default_rng((seed, epoch, 4)), np.asarray(self.labels)
        members = [np.flatnonzero(labels == each) for each in np.unique(labels)]
        ways = len(members) if self.ways is None else self.ways

        def one() -> np.ndarray:
            chosen = rng.permutation(len(members))[:ways]
            return np.concatenate([rng.permutation(members[each])[: self.shots] for each in chosen])

        return [one() for _ in range(self.batches)]
