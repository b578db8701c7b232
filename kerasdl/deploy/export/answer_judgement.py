"""Judgement of a rounded file by the answers that another model reads from its outputs, such as a detector's objects.

Most places of a detector's maps show no object. Rounding there changes no answer, and yet makes most of the root mean
square. So a file of such a network is held to its answers. A layer of the reading model whose `judges` is true has a
method `agreement(expected, actual)`: it takes what the layer takes, made of the outputs of network and of file, and
returns an `Agreement`, or None if they hold too few answers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import keras
import numpy as np

from kerasdl.core.outputs.agreement import Agreement

UNSEEN = 0.5
"""The largest root mean squared difference, over the model's root mean square, where answers or real input agree: files
that were really wrong were off by as much."""

Arrays = dict[str, np.ndarray]
Judge = Callable[[Arrays, Arrays], Agreement | None]
_judge: ContextVar[Judge | None] = ContextVar("judge", default=None)


@contextmanager
def judged_by(reader: Any) -> Iterator[None]:
    """Lets rounded files that are exported inside the block be judged by the answers of a model.

    Args:
        reader: a model that reads the outputs of the exported one; without a layer whose `judges` is true it
            judges nothing.
    """
    layers = [each for each in reader.layers if getattr(each, "judges", False)]
    token = _judge.set(_judge_of(layers[0], reader) if layers else None)
    try:
        yield
    finally:
        _judge.reset(token)


def _judge_of(layer: Any, reader: keras.Model) -> Judge:
    """Returns what judges by a layer; the reader computes what stands before it, such as heads of a second stage."""
    nodes = [node for level in reader._nodes_by_depth.values() for node in level]  # no public name in Keras
    arguments = next(node.arguments for node in nodes if node.operation is layer)
    taken = arguments.args[0]
    if all(any(each is given for given in reader.inputs) for each in keras.tree.flatten(taken)):
        return layer.agreement
    others = keras.tree.flatten((arguments.args[1:], arguments.kwargs))
    inputs = {each.name: each for each in reader.inputs if not any(each is other for other in others)}
    before = keras.Model(inputs, taken)

    def judge(expected: Arrays, actual: Arrays) -> Agreement | None:
        return layer.agreement(
            *(
                before.predict({name: each[name] for name in inputs}, verbose=0, batch_size=8)
                for each in (expected, actual)
            )
        )

    return judge


def present_judge() -> Judge | None:
    """Returns what judges answers in the present block; None outside."""
    return _judge.get()


def in_words(agreement: Agreement, rmse: float, bound: float) -> str:
    """Returns the note on a file that is judged by its answers."""
    unseen = f"; none stands on {', '.join(agreement.unseen)}" if agreement.unseen else ""
    raw = (
        f"outputs differ by {rmse:.2g} (rmse), more than {bound:g}, mostly where no answer is; " if rmse > bound else ""
    )
    return f"{raw}judged by answers on examples that did not calibrate, {agreement}{unseen}"
