"""Table of the words and characters of tagged texts: tokens as ids, for taggers of words."""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.data import Dataset
from kerasdl.data.sources import Examples

FIRST = 2
"""Id of the first word and the first character; 0 is the padding, 1 all that the table lacks."""


class Token(NamedTuple):
    """A token and its place in its text."""

    text: str
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class TokenTable:
    """Table of words and characters: texts become ids of tokens, tags become numbers.

    A text is a string with its tokens between spaces, or a list of tokens. The id 0 is the padding, 1 is all that the
    table lacks. Words are looked up in lower case with every digit as 0, characters as they are.

    Example:
        >>> table = TokenTable.of(["12 Main St", "7 Main Rd"], word_length=4)
        >>> table.encode(["99 Elm St"])["tokens"].tolist()
        [[4, 1, 6]]
    """

    words: tuple[str, ...]
    """Words of the ids from 2 on."""
    characters: tuple[str, ...] = ()
    """Characters of the ids from 2 on; none for nets that read words alone."""
    word_length: int = 16
    """Characters that are read of a token, its first ones."""

    @classmethod
    def of(
        cls, texts: Iterable[Any], *, minimum: int = 1, characters: bool = True, word_length: int = 16
    ) -> "TokenTable":
        """Returns the table of the words and characters of texts, the most frequent first.

        Args:
            texts: strings, or lists of tokens.
            minimum: times that a word or character must occur.
            characters: whether characters are listed too.
            word_length: characters that are read of a token.

        Raises:
            ArgumentError: an argument breaks its rule, or there is no token.
        """
        checks.at_least("minimum", minimum, 1)
        checks.at_least("word_length", word_length, 1)
        words, letters = Counter(), Counter()
        for text in texts:
            for token in tokens_of(text):
                words[word_form(token.text)] += 1
                letters.update(token.text)
        if not words:
            checks.refuse("texts must hold at least one token", "none")
        chosen = [
            tuple(each for each in sorted(counts, key=lambda key: (-counts[key], key)) if counts[each] >= minimum)
            for counts in (words, letters)
        ]
        return cls(chosen[0], chosen[1] if characters else (), word_length)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> "TokenTable":
        """Returns the table that stands in the settings of a bundle.

        Raises:
            ArgumentError: they hold none, or a faulty one.
        """
        words, letters = settings.get("words"), settings.get("characters", ())
        for name, names in (("words", words), ("characters", letters)):
            if not isinstance(names, (list, tuple)) or not all(isinstance(each, str) and each for each in names):
                checks.refuse(f"{name} of the settings must be a list of texts", f"{names!r}"[:60])
            if len(set(names)) < len(names):
                checks.refuse(f"{name} of the settings must differ", "one twice")
        length = checks.at_least("word_length", settings.get("word_length", 16), 1)
        return cls(tuple(words), tuple(letters), length)

    def settings(self) -> dict[str, Any]:
        """Returns the settings of a bundle that `from_settings` reads."""
        return {"words": list(self.words), "characters": list(self.characters), "word_length": self.word_length}

    @property
    def vocabulary(self) -> int:
        """Number of ids of words, padding and unknown ones included."""
        return len(self.words) + FIRST

    @property
    def character_vocabulary(self) -> int:
        """Number of ids of characters, padding and unknown ones included."""
        return len(self.characters) + FIRST

    def encode(self, texts: Sequence[Any], length: int | None = None) -> Any:
        """Returns texts as the inputs of a tagger.

        Args:
            texts: strings, or lists of tokens.
            length: tokens of a padded text; None takes those of the longest.

        Returns:
            `{"tokens": (B, T), "characters": (B, T, word_length)}` int32; tokens alone from a table without characters.

        Raises:
            ArgumentError: a text is longer than `length`, or is no text.
        """
        rows = [tokens_of(text) for text in texts]
        longest = max(map(len, rows), default=0)
        if length is not None and longest > length:
            checks.refuse(f"a text must have at most {length} tokens", longest, "Cut it into sentences.")
        length = max(longest, 1) if length is None else length
        words, letters = _ids(self.words), _ids(self.characters)
        tokens = np.zeros((len(rows), length), np.int32)
        characters = np.zeros((len(rows), length, self.word_length), np.int32)
        for row, texts_of_row in enumerate(rows):
            for place, token in enumerate(texts_of_row):
                tokens[row, place] = words.get(word_form(token.text), 1)
                ids = [letters.get(letter, 1) for letter in token.text[: self.word_length]]
                characters[row, place, : len(ids)] = ids
        return {"tokens": tokens, "characters": characters} if self.characters else tokens

    def tagged(self, data: Dataset, tags: Sequence[str] | None = None, length: int | None = None) -> Dataset:
        """Returns a dataset of texts and their tags as a tagger takes it.

        Args:
            data: inputs are texts; labels are strings with as many tags between spaces, such as
                `kerasdl.data.load("addresses")`.
            tags: name of each tag; None takes those of the data, by their names.
            length: tokens of a padded text; None takes those of the longest.

        Returns:
            A `Dataset` of ids with labels (B, T) int32, -1 at the padding; its `class_names` are the tags.

        Raises:
            ArgumentError: a text is longer than `length`, or the data cannot be read in any order.
            DataError: a text has more or fewer tags than tokens, or a tag that is not among `tags`.

        Example:
            >>> data = kerasdl.data.load("addresses")
            >>> TokenTable.of(data.source.inputs).tagged(data).source.labels.shape
            (916, 19)
        """
        return tagged_examples(data, tags, lambda texts: self.encode(texts, length))


def tagged_examples(
    data: Dataset,
    tags: Sequence[str] | None,
    encode: Callable[[Sequence[str]], Any],
    places: Callable[[Sequence[str]], Sequence[Sequence[int]]] | None = None,
) -> Dataset:
    """Returns a dataset of texts and their tags as numbers.

    Args:
        data: inputs are texts, labels strings with a tag for each word.
        tags: name of each tag; None takes those of the data.
        encode: makes the inputs of texts.
        places: gives the place of each word's tag for each text; None counts words.

    Raises:
        ArgumentError: the data are no tagged texts in memory, or a text does not fit.
        DataError: a text has more or fewer tags than words, or a tag that is not among `tags`.
    """
    if not data.any_order or data.source.labels is None or getattr(data.source.inputs, "ndim", 0) != 1:
        checks.refuse("tagged data must be texts with their tags, in memory", data.name)
    texts = [str(text) for text in data.source.inputs]
    spelled = [str(row).split() for row in data.source.labels]
    names = sorted({tag for row in spelled for tag in row}) if tags is None else list(tags)
    numbers = {name: number for number, name in enumerate(names)}
    inputs = encode(texts)
    counted = [range(len(row)) for row in spelled] if places is None else places(texts)
    labels = np.full(_leaf(inputs).shape[:2], -1, np.int32)
    for row, (text, of_row) in enumerate(zip(texts, spelled, strict=True)):
        if len(tokens_of(text)) != len(of_row):
            counts = f"{len(tokens_of(text))} tokens and {len(of_row)} tags"
            raise DataError(f"example {row} of {data.name} must have a tag for each token; it has {counts}: {text}")
        unknown = [tag for tag in of_row if tag not in numbers]
        if unknown:
            raise DataError(f"tags of {data.name} must be among {names}; example {row} has {unknown[0]!r}.")
        labels[row, list(counted[row])] = [numbers[tag] for tag in of_row]
    source = Examples(inputs, labels, data.source.weights)
    leaf = _leaf(inputs)
    return dataclasses.replace(
        data,
        task="token_tagging",
        class_names=tuple(names),
        input_shape=leaf.shape[1:],
        input_dtype=leaf.dtype.name,
        source=source,
    )


def tokens_of(text: Any) -> list[Token]:
    """Returns the tokens of a string, which stand between spaces, or of a list, as if one space stood between them.

    Raises:
        ArgumentError: it is neither a string nor a list of tokens without spaces.
    """
    if isinstance(text, (list, tuple, np.ndarray)):
        wrong = [each for each in text if not isinstance(each, str) or not each or re.search(r"\s", each)]
        if wrong:
            checks.refuse("a list must hold tokens, texts without spaces", wrong[0])
        text = " ".join(text)
    if not isinstance(text, str):
        checks.refuse("a text must be a string or a list of tokens", type(text).__name__)
    return [Token(match.group(), match.start(), match.end()) for match in re.finditer(r"\S+", text)]


def word_form(token: str) -> str:
    """Returns the form by which a word is looked up: lower case, every digit 0."""
    return re.sub(r"\d", "0", token.lower())


def _ids(names: Sequence[str]) -> dict[str, int]:
    return {name: number for number, name in enumerate(names, start=FIRST)}


def _leaf(inputs: Any) -> np.ndarray:
    return inputs["tokens"] if isinstance(inputs, Mapping) else inputs
