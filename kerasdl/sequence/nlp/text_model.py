"""Network with what it needs to take raw texts: the base of classifiers, taggers and answerers of texts."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np

from kerasdl.core import Task, checks, get_task
from kerasdl.core.outputs.activation import gives_probabilities
from kerasdl.core.outputs.decoding import to_scores
from kerasdl.core.registry.prediction import predict_outputs
from kerasdl.data import Dataset, as_dataset, load

from ..tokenizers import Tokenizer

LONGEST = 256
"""Tokens of a net of short texts at most, where its length follows from data."""
SHARE = 95
"""Per cent of the texts that are not cut then."""
SHORTEST = 8


class TextModel:
    """Network with its tokenizer and labels: raw texts in, answers of its task out.

    It is the way from a tokenizer and a net to a bundle: `bundle_parts` are the arguments of `Bundle.of`, and `ready`
    makes the inputs of the net for `kerasdl.train.fit`. It keeps no state of its own.

    Args:
        network: functional model.
        settings: settings of the task's preprocessing.
        labels: name of each output.

    Raises:
        ArgumentError: network, settings and labels do not fit together.
    """

    task_name: ClassVar[str]
    """Name of the task."""

    def __init__(self, network: keras.Model, settings: Mapping[str, Any], labels: Sequence[str] = ()):
        self.network, self.settings, self.labels = network, dict(settings), tuple(labels)
        self.builder, self.arguments = "", {}
        self.task.check(self.settings, self.labels, network)

    @property
    def task(self) -> Task:
        """The task of its answers."""
        return get_task(self.task_name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.network.name!r}, {len(self.labels)} labels)"

    def ready(self, data: Any) -> Dataset:
        """Returns data as inputs and labels of the network.

        Args:
            data: a `Dataset` of raw texts, a name for `kerasdl.data.load`, or arrays (texts, numbers of labels).

        Raises:
            ArgumentError: the data are of another task or form.
        """
        if isinstance(data, str):
            data = load(data)
        elif not isinstance(data, Dataset):
            data = as_dataset(data, task=self.task_name, class_names=self.labels or None)
        return self.task.ready(data, self.settings)

    def predict(self, raw: Any, *, batch_size: int = 64) -> list[dict[str, Any]]:
        """Returns an answer to each raw input, in the form of a bundle of the task.

        Args:
            raw: texts, or what else the task takes.
            batch_size: examples computed at once.

        Raises:
            ArgumentError: raw input has another form.
            DataError: an answer is not finite.
        """
        task = self.task
        outputs, context = predict_outputs({"model": self.network}, task, raw, self.settings, batch_size)
        if task.predict is None:
            kind = "probabilities" if gives_probabilities(self.network) else "logits"
            outputs = to_scores(outputs, task.activation, kind)
        return task.decode(outputs, self.labels, context)

    def bundle_parts(self, name: str) -> dict[str, Any]:
        """Returns the arguments of `Bundle.of` for a bundle of a name."""
        made = {"builder": self.builder, "arguments": self.arguments}
        parts = {"name": name, "task": self.task_name, "preprocess": self.settings, "labels": self.labels}
        return {"model": self.network, **parts, **made}

    def _built_by(self, builder: str, arguments: Mapping[str, Any]) -> "TextModel":
        """Notes the registered net and its arguments, by which a bundle builds it for other labels."""
        self.builder, self.arguments = builder, dict(arguments)
        return self


def length_of(network: keras.Model, length: int | None) -> int:
    """Returns the tokens of a text: those of the network, or `length` where it takes any.

    Raises:
        ArgumentError: neither says, or they differ.
    """
    own = keras.tree.flatten(network.input)[0].shape[1]
    if length is None and own is None:
        checks.refuse("length must be given where the network takes texts of any length", None)
    if length is not None and own not in (None, length):
        checks.refuse(f"length must be that of the network, {own}", length, "Leave it out.")
    return own if length is None else checks.at_least("length", length, 1)


def usual_length(tokenizer: Tokenizer, rows: Sequence[Any], longest: int = LONGEST) -> int:
    """Returns the tokens that 95 per cent of texts, or pairs of texts, do not exceed, from 8 to `longest`."""
    few = rows[:: 1 + len(rows) // 5_000]
    lengths = [len(tokenizer.encode(*([row] if isinstance(row, str) else map(str, row)))) for row in few]
    return int(np.clip(np.percentile(lengths, SHARE), SHORTEST, longest))


def text_settings(network: keras.Model, tokenizer: Tokenizer, length: int) -> dict[str, Any]:
    """Returns the settings of the preprocessing of a network of texts."""
    settings = {"length": length, "padding_id": tokenizer.padding_id, "tokenizer": tokenizer.to_text()}
    return settings | ({"segments": True} if len(network.inputs) > 1 else {})
