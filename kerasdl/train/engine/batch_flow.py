"""Batches of a run over all its epochs: short epochs go on where the last one stopped, resumed runs find their place.

A pass goes once through the data. An epoch is a pass, or `steps_per_epoch` updates where these are fewer; then passes
and epochs part, and a pass that ends inside an epoch is followed by the next.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from kerasdl.data import Dataset
from kerasdl.data.pipelines import is_endless, reshuffles

from ..config import RunConfig

Values = Mapping[str, tf.Tensor]
UNSEEDED = (
    "the pipeline shuffles without a seed: a run that goes on after a kill reads another order; "
    "shuffle(..., seed=...) makes it exact"
)


class BatchFlow:
    """The batches of a run, one after the other.

    Args:
        train: the training data.
        open_at: from a pass and a batch of it, both from 0, to the batches from there on: to the end of the pass, or
            without end where the data can be read in any order.
        length: batches in a pass; None where it is not known.
        per_epoch: updates that the settings give an epoch; None for a pass each.
    """

    def __init__(self, train: Dataset, open_at: Callable, length: int | None, per_epoch: int | None):
        self.train, self.open_at = train, open_at
        self.endless = is_endless(train)
        self.length = None if self.endless else length
        self.per_epoch = None if self.length is not None and (per_epoch or self.length) >= self.length else per_epoch
        self.joined = train.any_order or self.endless  # passes follow each other by themselves
        self.stream: Any = None
        self.number, self.read, self.over = 0, 0, False

    def at(self, epoch: int, batch: int) -> "BatchFlow":
        """Returns itself, at a batch of an epoch: where the last epoch stopped, or where a run is taken up."""
        if self.stream is None:
            self._find(epoch, batch)
        if self.over:
            self._open(self.number + 1, 0)
        return self

    def step(self, step: Callable[[Any], Any]) -> Any:
        """Returns what a step makes of the next batch.

        Raises:
            tf.errors.OutOfRangeError: an epoch that is a pass is over.
        """
        if not self.joined and self.read == self.length:
            self._open(self.number + 1, 0)
        try:
            made = step(self.stream)
        except tf.errors.OutOfRangeError:
            self.over = self.per_epoch is None or self.read < self.per_epoch
            if self.over:
                raise
            self._open(self.number + 1, 0)
            made = step(self.stream)
        self.read += 1
        return made

    def several(self, steps: Callable[[Any, int], Values], count: int) -> Values:
        """Returns the values of `count` steps in one call, or in two where a pass ends on the way."""
        if not self.joined and self.read == self.length:
            self._open(self.number + 1, 0)
        left = count if self.joined else self.length - self.read
        if left < count:
            first, then = self.several(steps, left), self.several(steps, count - left)
            return {name: tf.concat([value, then[name]], 0) for name, value in first.items()}
        made = steps(self.stream, count)
        self.read += count
        return made

    def _find(self, epoch: int, batch: int) -> None:
        place = batch if self.per_epoch is None else epoch * self.per_epoch + batch
        if self.endless:
            self._open(0, place)
        elif self.per_epoch is None:
            self._read_through(epoch)
            self._open(epoch, batch)
        elif self.length is not None:
            number, start = divmod(place, self.length)
            self._read_through(number)
            self._open(number, start)
        else:
            self._replay(epoch)

    def _open(self, number: int, start: int) -> None:
        self.number, self.read, self.over = number, start, False
        self.stream = iter(self.open_at(number, start))

    def _read_through(self, passes: int) -> None:
        """Reads passes of a pipeline whose order follows from how often it was read before."""
        source = self.train.source
        if self.train.foreign and reshuffles(source) == "seeded":
            for _ in range(passes):
                source.reduce(tf.constant(0, tf.int64), _counted)

    def _replay(self, epochs: int) -> None:
        """Reads what earlier epochs read of data whose length is not known."""
        self._open(0, 0)
        for epoch in range(epochs):
            with contextlib.suppress(tf.errors.OutOfRangeError):
                for _ in range(self.per_epoch):
                    self.at(epoch, 0).step(lambda stream: stream.get_next())


def notes_on(train: Dataset, config: RunConfig) -> list[str]:
    """Returns lines on what a run makes of its data that the settings do not say."""
    notes, length = [], train.steps(config.batch_size)
    if length is not None and (config.steps_per_epoch or 0) > length:
        given = f"steps_per_epoch={config.steps_per_epoch}"
        notes.append(f"{given} is more than the {length} batches of the data: an epoch is one pass")
    source = train.source
    if config.folder is not None and train.foreign and reshuffles(source) == "unseeded":
        notes.append(UNSEEDED)
    return notes


@tf.autograph.experimental.do_not_convert
def _counted(count: tf.Tensor, *batch: Any) -> tf.Tensor:
    return count + 1
