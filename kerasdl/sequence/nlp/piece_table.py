"""Words of texts and pieces of a tokenizer: a tagger over pieces reads each word at its first one."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.data import Dataset

from ..text_inputs import tokenizer_of
from ..tokenizers import Tokenizer
from .token_table import tagged_examples, tokens_of


@dataclasses.dataclass(frozen=True)
class PieceTable:
    """Table of pieces: texts become ids of pieces, and the tag of a word stands at its first piece.

    A text is a string with its words between spaces, or a list of words, as of `TokenTable`.

    Source: https://arxiv.org/abs/1810.04805, section 5.3.
    """

    tokenizer: Tokenizer
    """Tokenizer that cuts words into pieces."""
    segments: bool = False
    """Whether the net reads segments, all 0 here."""

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "PieceTable":
        """Returns the table of the `tokenizer` and the `segments` in the settings of a bundle."""
        return cls(tokenizer_of(settings["tokenizer"]), bool(settings.get("segments")))

    def encode(self, texts: Sequence[Any], length: int | None = None) -> Any:
        """Returns texts as the inputs of a tagger.

        Args:
            texts: strings, or lists of words.
            length: pieces of a padded text, those of the template included; None takes those of the longest.

        Returns:
            (B, T) int32, or `{"tokens", "segments"}` of that form.

        Raises:
            ArgumentError: a text has more pieces than `length`, or is no text.
        """
        rows = [self.tokenizer.encode(_joined(text)) for text in texts]
        longest = max(map(len, rows), default=0)
        if length is not None and longest > length:
            checks.refuse(f"a text must have at most {length} pieces", longest, "Cut it into sentences.")
        tokens = np.full(
            (len(rows), max(longest, 1) if length is None else length), self.tokenizer.padding_id, np.int32
        )
        for row, ids in zip(tokens, rows, strict=True):
            row[: len(ids)] = ids
        return {"tokens": tokens, "segments": np.zeros_like(tokens)} if self.segments else tokens

    def places(self, texts: Sequence[Any]) -> list[list[int]]:
        """Returns the place of the first piece of each word of each text.

        Raises:
            ArgumentError: the tokenizer leaves a word out.
        """
        return [self._places_of(text) for text in texts]

    def _places_of(self, text: Any) -> list[int]:
        encoded = self.tokenizer.encoded(_joined(text))
        pieces = [
            (place, start, end)
            for place, ((start, end), special) in enumerate(zip(encoded.offsets, encoded.special, strict=True))
            if end > start and not special
        ]
        places = []
        for word in tokens_of(text):
            first = next((place for place, start, end in pieces if start < word.end and end > word.start), None)
            if first is None:
                checks.refuse("each word of a text must have a piece of the tokenizer", word.text)
            places.append(first)
        return places

    def tagged(self, data: Dataset, tags: Sequence[str] | None = None, length: int | None = None) -> Dataset:
        """Returns a dataset of texts and the tags of their words as a tagger takes it.

        Labels are -1 at further pieces of a word, at those of the template and at the padding. Arguments and errors are
        those of `TokenTable.tagged`.
        """
        return tagged_examples(data, tags, lambda texts: self.encode(texts, length), self.places)


def _joined(text: Any) -> str:
    """Returns a text as one string, in which the places of `tokens_of` are counted."""
    tokens_of(text)
    return text if isinstance(text, str) else " ".join(text)
