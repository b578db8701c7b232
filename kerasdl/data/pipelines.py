"""Inspection of foreign tf.data pipelines: endless repeats, reshuffling, batches of one pass."""

from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from kerasdl.core import checks

ENDING = ("_TakeDataset", "_TakeWhileDataset")
PASSING = ("_PrefetchDataset", "_OptionsDataset")
CHOOSING = "_DirectedInterleaveDataset"


def is_endless(data: Any) -> bool:
    """Returns whether a `Dataset` or a `tf.data.Dataset` is endless, as far as its stages show it.

    A filter after `repeat()` hides the length from TensorFlow; the stages before it show it. An endless Python
    generator looks like one that ends.
    """
    source = getattr(data, "source", data)
    return isinstance(source, tf.data.Dataset) and _endless(source)


def refuse_endless(name: str, data: Any, hint: str = "Pass data.take(n), which ends.") -> None:
    """Refuses endless data for a use that reads all of them.

    Args:
        name: their name in the message, such as `"validation data"`.
        data: a `Dataset` or a `tf.data.Dataset`; any other data end.
        hint: the remedy.

    Raises:
        ArgumentError: they are endless.
    """
    if is_endless(data):
        checks.refuse(f"{name} must end, as all of it is read", "an endless pipeline (repeat() without a count)", hint)


def batches_of_pass(data: Any) -> int | None:
    """Returns the number of batches before a final `repeat()` without a count; None for any other pipeline.

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
    """Returns the kind of shuffle that changes at each reading of a pipeline: `"seeded"`, `"unseeded"` or None."""
    shuffles = [stage for stage in _stages(source) if type(stage).__name__ == "_ShuffleDataset"]
    if any(not int(stage._seed) and not int(stage._seed2) for stage in shuffles):
        return "unseeded"
    return "seeded" if any(stage._reshuffle_each_iteration is not False for stage in shuffles) else None


def _endless(source: tf.data.Dataset) -> bool:
    length, kind = int(source.cardinality()), type(source).__name__
    if length == tf.data.INFINITE_CARDINALITY:
        return True
    if length != tf.data.UNKNOWN_CARDINALITY or kind in ENDING:
        return False
    inputs = _inputs(source)[kind == CHOOSING :]  # the first input chooses among the others
    return bool(inputs) and (all if kind == "_ZipDataset" else any)(_endless(each) for each in inputs)


def _stages(source: tf.data.Dataset) -> Iterator[tf.data.Dataset]:
    yield source
    for each in _inputs(source):
        yield from _stages(each)


def _inputs(source: tf.data.Dataset) -> list[tf.data.Dataset]:
    # TensorFlow has no public access to the stages of a pipeline; without it, only the last stage is known.
    return getattr(source, "_inputs", list)()
