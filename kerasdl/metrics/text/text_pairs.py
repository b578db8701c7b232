"""Base class of metrics of texts: pairs of references and a text, checked and added up."""

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence

from kerasdl.core import checks

Texts = Sequence[str] | Sequence[Sequence[str]]


class TextMetric:
    """Metric of texts against their references; `add(references, text)` counts one."""

    several = True
    """True if a text may have several references."""

    def __init__(self):
        self.reset_state()

    def reset_state(self) -> None:
        """Forgets all texts."""
        self.texts = 0

    def update_state(self, true: Texts, predicted: Sequence[str]) -> None:
        """Adds texts.

        Args:
            true: the reference of each text, or a list of its references.
            predicted: the texts.

        Raises:
            ArgumentError: texts and references do not belong together, or are not strings.
        """
        for name, each in (("true", true), ("predicted", predicted)):
            if isinstance(each, (str, bytes)):
                checks.refuse(f"{name} must be a list of texts", each[:40], "Pass [text].")
        if len(true) != len(predicted):
            checks.refuse(f"predicted must hold a text for each of the {len(true)} references", len(predicted))
        pairs = [
            ([references] if isinstance(references, str) else list(references), text)
            for references, text in zip(true, predicted, strict=True)
        ]
        for references, text in pairs:
            if not references or not all(isinstance(each, str) for each in [*references, text]):
                checks.refuse("a text must be a string, and so must each of its references", (references, text))
            if len(references) > 1 and not self.several:
                checks.refuse(f"{type(self).__name__} takes one reference a text", references)
        for references, text in pairs:
            self.add(references, text)
            self.texts += 1

    def add(self, references: list[str], text: str) -> None:
        """Counts one text."""
        raise NotImplementedError

    def result(self) -> dict[str, float]:
        """Returns the figures of all texts by name.

        Raises:
            ArgumentError: no text was added.
        """
        if not self.texts:
            checks.refuse("a metric must have seen at least one text", 0, "Call update_state first.")
        return self.figures()

    def figures(self) -> dict[str, float]:
        """Returns the figures of one text or more."""
        raise NotImplementedError


def ngram_counts(tokens: Sequence[Hashable], length: int) -> Counter:
    """Returns the number of occurrences of each n-gram of a length, as a slice of a string or a tuple."""
    ngrams: Iterator = (tokens[start : start + length] for start in range(len(tokens) - length + 1))
    return Counter(ngrams if isinstance(tokens, str) else map(tuple, ngrams))
