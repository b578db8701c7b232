"""Stream of batches over all epochs of a run: short epochs continue where the last one stopped, and runs resume inside.

A pass reads the data once. An epoch is a pass, or `steps_per_epoch` updates where these are fewer; then a pass may end
inside an epoch, and the next pass follows at once.
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
    "the pipeline shuffles without a seed: a run that resumes after a kill reads another order; "
    "shuffle(..., seed=...) makes it exact"
)


class BatchFlow:
    """Batches of a run in order, pass after pass.

    Args:
        train: the training data.
        open_at: function from a pass and a batch, both counted from 0, to the batches from there on: to the end of the
            pass, or endless where the data can be read in any order.
        length: batches in a pass; None where unknown.
        per_epoch: updates in an epoch as set by the user; None for one pass.
    """

    def __init__(self, train: Dataset, open_at: Callable, length: int | None, per_epoch: int | None):
        self.train, self.open_at = train, open_at
        self.endless = is_endless(train)
        self.length = None if self.endless else length
        self.per_epoch = None if self.length is not None and (per_epoch or self.length) >= self.length else per_epoch
        self.continuous = train.any_order or self.endless  # the stream itself continues with the next pass
        self.stream: Any = None
        self.pass_index, self.batches_read, self.pass_ended = 0, 0, False

    def at(self, epoch: int, batch: int) -> "BatchFlow":
        """Returns itself, positioned at a batch of an epoch: after the last epoch, or where a run resumes."""
        if self.stream is None:
            self._seek(epoch, batch)
        if self.pass_ended:
            self._open_pass(self.pass_index + 1, 0)
        return self

    def step(self, step: Callable[[Any], Any]) -> Any:
        """Returns the result of a step on the next batch.

        Raises:
            tf.errors.OutOfRangeError: the pass is over, and the epoch with it.
        """
        if not self.continuous and self.batches_read == self.length:
            self._open_pass(self.pass_index + 1, 0)
        try:
            result = step(self.stream)
        except tf.errors.OutOfRangeError:
            self.pass_ended = self.per_epoch is None or self.batches_read < self.per_epoch
            if self.pass_ended:
                raise
            self._open_pass(self.pass_index + 1, 0)
            result = step(self.stream)
        self.batches_read += 1
        return result

    def run_many(self, steps: Callable[[Any, int], Values], count: int) -> Values:
        """Returns the values of `count` steps in one call, or in two where a pass ends between them."""
        if not self.continuous and self.batches_read == self.length:
            self._open_pass(self.pass_index + 1, 0)
        left = count if self.continuous else self.length - self.batches_read
        if left < count:
            first, then = self.run_many(steps, left), self.run_many(steps, count - left)
            return {name: tf.concat([value, then[name]], 0) for name, value in first.items()}
        result = steps(self.stream, count)
        self.batches_read += count
        return result

    def _seek(self, epoch: int, batch: int) -> None:
        position = batch if self.per_epoch is None else epoch * self.per_epoch + batch
        if self.endless:
            self._open_pass(0, position)
        elif self.per_epoch is None:
            self._skip_passes(epoch)
            self._open_pass(epoch, batch)
        elif self.length is not None:
            pass_index, start = divmod(position, self.length)
            self._skip_passes(pass_index)
            self._open_pass(pass_index, start)
        else:
            self._replay(epoch)

    def _open_pass(self, pass_index: int, start: int) -> None:
        self.pass_index, self.batches_read, self.pass_ended = pass_index, start, False
        self.stream = iter(self.open_at(pass_index, start))

    def _skip_passes(self, passes: int) -> None:
        """Reads and drops passes of a pipeline whose order depends on the number of earlier passes."""
        source = self.train.source
        if self.train.foreign and reshuffles(source) == "seeded":
            for _ in range(passes):
                source.reduce(tf.constant(0, tf.int64), _counted)

    def _replay(self, epochs: int) -> None:
        """Reads and drops the batches of earlier epochs of data of unknown length."""
        self._open_pass(0, 0)
        for epoch in range(epochs):
            with contextlib.suppress(tf.errors.OutOfRangeError):
                for _ in range(self.per_epoch):
                    self.at(epoch, 0).step(lambda stream: stream.get_next())


def data_notes(train: Dataset, config: RunConfig) -> list[str]:
    """Returns start-up lines on the data: epochs shorter than asked for, and pipelines that cannot resume exactly."""
    notes, length = [], train.steps(config.batch_size)
    if length is not None and (config.steps_per_epoch or 0) > length:
        setting = f"steps_per_epoch={config.steps_per_epoch}"
        notes.append(f"{setting} is more than the {length} batches of the data: an epoch is one pass")
    source = train.source
    if config.folder is not None and train.foreign and reshuffles(source) == "unseeded":
        notes.append(UNSEEDED)
    return notes


@tf.autograph.experimental.do_not_convert
def _counted(count: tf.Tensor, *batch: Any) -> tf.Tensor:
    return count + 1
