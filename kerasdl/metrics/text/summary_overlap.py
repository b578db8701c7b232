"""ROUGE: overlap of words and of the longest common subsequence with references (https://aclanthology.org/W04-1013)."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from kerasdl.core import checks

from .text_pairs import TextMetric, Texts, ngram_counts

KINDS = ("rouge1", "rouge2", "rougeL")


def latin_words(text: str) -> list[str]:
    """Returns the runs of a to z and digits of a text in lower case, as the package rouge-score cuts it."""
    return re.findall(r"[a-z0-9]+", text.lower())


class ROUGE(TextMetric):
    """ROUGE-1, ROUGE-2 and ROUGE-L: mean over texts of the F1 of words, pairs of words, longest common subsequence.

    Equal to the package rouge-score without stemming, from 0 to 1. Of several references the one of the best F1 counts.
    Texts in other scripts need a `tokenize`: the default, like that package, sees only a to z and digits in them.

    Source: https://aclanthology.org/W04-1013, sections 2 and 3.

    Args:
        kinds: of `rouge1`, `rouge2`, `rougeL`.
        tokenize: function from a text to its words, such as `str.split`; None takes runs of a to z and digits.

    Raises:
        ArgumentError: a kind is unknown.

    Example:
        >>> metric = ROUGE()
        >>> metric.update_state(["the cat sat"], ["the cat ran"])
        >>> metric.result()
        {'rouge1': 0.666..., 'rouge2': 0.5, 'rougeL': 0.666...}
    """

    def __init__(self, kinds: Sequence[str] = KINDS, tokenize: Callable[[str], Sequence[str]] | None = None):
        self.kinds = tuple(checks.one_of("a kind", each, KINDS) for each in kinds)
        self.tokenize = tokenize or latin_words
        super().__init__()

    def reset_state(self) -> None:
        """Forgets all texts."""
        super().reset_state()
        self.sums = dict.fromkeys(self.kinds, 0.0)

    def add(self, references: list[str], text: str) -> None:
        """Counts one text."""
        words = list(self.tokenize(text))
        targets = [list(self.tokenize(each)) for each in references]
        for kind in self.kinds:
            self.sums[kind] += max(_f1(kind, words, each) for each in targets)

    def figures(self) -> dict[str, float]:
        """Returns the mean F1 by kind."""
        return {kind: total / self.texts for kind, total in self.sums.items()}


def rouge(true: Texts, predicted: Sequence[str], *, tokenize: Callable | None = None) -> dict[str, float]:
    """Returns ROUGE-1, ROUGE-2 and ROUGE-L of texts, from 0 to 1; see the class `ROUGE`.

    Args:
        true: the reference of each text, or a list of its references.
        predicted: the texts.
        tokenize: function from a text to its words; None takes runs of a to z and digits.

    Raises:
        ArgumentError: there are no texts, or they do not belong to the references.

    Example:
        >>> rouge(["the cat sat"], ["the cat sat"])
        {'rouge1': 1.0, 'rouge2': 1.0, 'rougeL': 1.0}
    """
    metric = ROUGE(tokenize=tokenize)
    metric.update_state(true, predicted)
    return metric.result()


def _f1(kind: str, words: list[str], target: list[str]) -> float:
    if kind == "rougeL":
        both, mine, its = longest_common_subsequence(words, target), len(words), len(target)
    else:
        found, expected = (ngram_counts(each, int(kind[-1])) for each in (words, target))
        both, mine, its = (found & expected).total(), found.total(), expected.total()
    return 2 * both / (mine + its) if both else 0.0


def longest_common_subsequence(first: Sequence, second: Sequence) -> int:
    """Returns the length of the longest sequence that both contain in this order, not always side by side."""
    numbers = {token: number for number, token in enumerate(dict.fromkeys([*first, *second]))}
    column = np.array([numbers[token] for token in second])
    row = np.zeros(len(second) + 1, int)
    for token in first:
        row[1:] = np.maximum.accumulate(np.where(column == numbers[token], row[:-1] + 1, row[1:]))
    return int(row[-1])
