"""Text classifier: a network with its tokenizer and labels, for texts, pairs of texts, and several labels a text."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import build, checks, spec
from kerasdl.data import Dataset

from ..classification import MULTI_LABEL
from ..tokenizers import Tokenizer, train_tokenizer
from .text_model import TextModel, length_of, text_settings, usual_length

NET = "gru_classifier"
VOCABULARY = 8_000


class TextClassifier(TextModel):
    """Text classifier: raw texts in, labels and scores out.

    Args:
        network: model of a registered net of the task `text_classification`, such as `gru_classifier` or
            `bert_tiny_classifier`, with an output for each label.
        tokenizer: its `Tokenizer`.
        labels: the name of each label.
        length: tokens of a text, where the network takes any number; texts are cut to it.
        multi_label: whether a text has any number of labels, each with a sigmoid, and not one of them.

    Raises:
        ArgumentError: network, tokenizer and labels do not fit together.

    Example:
        >>> tokenizer = train_tokenizer(["a good film", "a dull film"], "word", 10)
        >>> network = kerasdl.build("gru_classifier", length=6, vocabulary=10, classes=2, embedding=4, units=4)
        >>> answer = TextClassifier(network, tokenizer, ["dull", "good"]).predict(["a good film"])[0]
        >>> answer["label"] in ("dull", "good")
        True
    """

    def __init__(
        self,
        network: keras.Model,
        tokenizer: Tokenizer,
        labels: Sequence[str],
        *,
        length: int | None = None,
        multi_label: bool = False,
    ):
        if len(labels) != network.output_shape[-1]:
            checks.refuse(f"labels must name each of the {network.output_shape[-1]} outputs", len(labels))
        self.multi_label = multi_label
        super().__init__(network, text_settings(network, tokenizer, length_of(network, length)), labels)

    @property
    def task_name(self) -> str:
        """Name of the task, by whether a text has several labels."""
        return MULTI_LABEL if self.multi_label else "text_classification"

    @classmethod
    def from_data(
        cls,
        train: Dataset,
        net: str | None = None,
        *,
        vocabulary: int = VOCABULARY,
        length: int | None = None,
        **arguments: Any,
    ) -> "TextClassifier":
        """Returns an untrained classifier for data, with a new WordPiece tokenizer of their texts.

        Args:
            train: texts, or pairs of texts (N, 2), with classes; rows (N, K) of 0 and 1 for several labels a text.
            net: a registered net of the task `text_classification`; None is `gru_classifier`.
            vocabulary: tokens at most.
            length: tokens of a text; None takes the length that 95 per cent of the texts do not exceed, up to 256.
            **arguments: further arguments of the net.

        Raises:
            ArgumentError: the net is of another task, or the data are no texts with classes in memory.
        """
        net = spec(net or NET)
        checks.one_of(f"the task of {net.name}", net.task, ("text_classification",))
        rows = train.source.inputs if train.any_order else None
        if getattr(rows, "ndim", 0) not in (1, 2) or rows.dtype.kind not in "UO" or not train.class_names:
            checks.refuse("data for a classifier must be texts with named classes, in memory", train.name)
        ends = "transformer" in net.tags  # which answer by the first token
        texts = rows.ravel()
        tokenizer = train_tokenizer(texts, "wordpiece", vocabulary, lowercase=True, ends=ends or rows.ndim == 2)
        length = usual_length(tokenizer, rows.tolist()) if length is None else length
        own = {"length": length, "vocabulary": tokenizer.vocabulary, "classes": len(train.class_names), **arguments}
        multi_label = np.ndim(train.source.labels) == 2
        classifier = cls(build(net.name, **own), tokenizer, train.class_names, multi_label=multi_label)
        return classifier._built_by(net.name, own)
