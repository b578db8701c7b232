"""Word and character error rates by edit distance (Levenshtein), as for speech and handwriting."""

from collections.abc import Sequence

import numpy as np

from .text_pairs import TextMetric


class _ErrorRate(TextMetric):
    several = False
    short: str

    def reset_state(self) -> None:
        """Forgets all texts."""
        super().reset_state()
        self.errors = self.length = 0

    def add(self, references: list[str], text: str) -> None:
        """Counts one text."""
        target = self.units(references[0])
        self.errors += edit_distance(target, self.units(text))
        self.length += len(target)

    def figures(self) -> dict[str, float]:
        """Returns the rate; where all references are empty, the number of errors."""
        return {self.short: self.errors / max(1, self.length)}

    @staticmethod
    def units(text: str) -> Sequence[str]:
        """Returns the units of a text that are compared."""
        raise NotImplementedError


class WordErrorRate(_ErrorRate):
    """Word error rate: substitutions, deletions and insertions of words over the words of the references.

    Equal to jiwer's `wer`: words are cut at spaces, capitals and punctuation count. Tabs and line ends cut words too,
    which jiwer takes for parts of a word. Above 1 where more is wrong than there are words.

    Example:
        >>> metric = WordErrorRate()
        >>> metric.update_state(["the cat sat down"], ["a cat sat"])
        >>> metric.result()
        {'wer': 0.5}
    """

    short = "wer"

    @staticmethod
    def units(text: str) -> list[str]:
        """Returns the words of a text."""
        return text.split()


class CharacterErrorRate(_ErrorRate):
    """Character error rate: substitutions, deletions and insertions of characters over those of the references.

    Equal to jiwer's `cer`: spaces between words count, those around the text do not.

    Example:
        >>> metric = CharacterErrorRate()
        >>> metric.update_state(["abcd"], ["abxd"])
        >>> metric.result()
        {'cer': 0.25}
    """

    short = "cer"

    @staticmethod
    def units(text: str) -> str:
        """Returns the characters of a text."""
        return text.strip()


def edit_distance(first: Sequence, second: Sequence) -> int:
    """Returns the least number of substitutions, deletions and insertions that make one sequence of another.

    Args:
        first: a string or a list of tokens.
        second: the same.

    Example:
        >>> edit_distance("kitten", "sitting"), edit_distance(["a", "cat"], ["the", "cat"])
        (3, 1)
    """
    numbers = {token: number for number, token in enumerate(dict.fromkeys([*first, *second]))}
    column = np.array([numbers[token] for token in second], int)
    places = np.arange(len(second) + 1)
    row = places.copy()
    for token in first:
        changed = np.minimum(row[:-1] + (column != numbers[token]), row[1:] + 1)
        # An insertion costs one more than the entry before it; the running minimum makes all of them at once.
        row = np.minimum.accumulate(np.concatenate([row[:1] + 1, changed]) - places) + places
    return int(row[-1])
