"""Foreign tf.data pipelines: whether they end, and whether two readings give the same order."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from kerasdl.core import checks

ENDING = ("_TakeDataset", "_TakeWhileDataset")
PASSING = ("_PrefetchDataset", "_OptionsDataset")
CHOOSING = "_DirectedInterleaveDataset"


def is_endless(data: Any) -> bool:
    """Returns whether a `Dataset` or a `tf.data.Dataset` never ends, as far as its stages tell.

    A filter behind `repeat()` hides the length from TensorFlow; the stages before it do not. A Python generator without
    end cannot be told from one that ends.
    """
    source = getattr(data, "source", data)
    return isinstance(source, tf.data.Dataset) and _endless(source)


def refuse_endless(name: str, data: Any, hint: str = "Pass data.take(n), which ends.") -> None:
    """Refuses data that never end where all of them are read.

    Args:
        name: how the message calls them, such as `"validation data"`.
        data: a `Dataset` or a `tf.data.Dataset`; all else ends.
        hint: the way out.

    Raises:
        ArgumentError: they are endless.
    """
    if is_endless(data):
        checks.refuse(f"{name} must end, as all of it is read", "an endless pipeline (repeat() without a count)", hint)


def batches_of_pass(data: Any) -> int | None:
    """Returns how many batches stand before `repeat()` without a count, where it ends a pipeline of known length.

    Args:
        data: a `Dataset` or a `tf.data.Dataset`.
    """
    stage = getattr(data, "source", data)
    while type(stage).__name__ in PASSING:
        (stage,) = _inputs(stage)
    if type(stage).__name__ != "_RepeatDataset":
        return None
    length = int(_inputs(stage)[0].cardinality())
    return length if length > 0 else None


def reshuffles(source: tf.data.Dataset) -> str | None:
    """Returns how each reading of a pipeline is shuffled anew: `"seeded"`, `"unseeded"`, or None where it is not."""
    found = [stage for stage in _stages(source) if type(stage).__name__ == "_ShuffleDataset"]
    if any(not int(stage._seed) and not int(stage._seed2) for stage in found):
        return "unseeded"
    return "seeded" if any(stage._reshuffle_each_iteration is not False for stage in found) else None


def _endless(source: tf.data.Dataset) -> bool:
    length, kind = int(source.cardinality()), type(source).__name__
    if length == tf.data.INFINITE_CARDINALITY:
        return True
    if length != tf.data.UNKNOWN_CARDINALITY or kind in ENDING:
        return False
    inputs = _inputs(source)[kind == CHOOSING :]  # the first of those that choose tells which of the others is next
    return bool(inputs) and (all if kind == "_ZipDataset" else any)(_endless(each) for each in inputs)


def _stages(source: tf.data.Dataset) -> Iterator[tf.data.Dataset]:
    yield source
    for each in _inputs(source):
        yield from _stages(each)


def _inputs(source: tf.data.Dataset) -> list[tf.data.Dataset]:
    # TensorFlow has no public way to the stages of a pipeline; without it, only what the last stage says is known.
    return getattr(source, "_inputs", list)()
