"""Analogies of words: the share of questions "a is to b as c is to d" that vectors answer.

Source: https://aclanthology.org/N13-1090, section 5.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kerasdl.core import checks
from kerasdl.core.display.results import Displayed

from .word_vectors import WordVectors

Question = tuple[str, str, str, str]
BATCH = 256


@dataclass(frozen=True, repr=False)
class AnalogyAccuracy(Displayed):
    """Accuracy of word vectors on analogies."""

    accuracy: float
    """Share of right answers over the questions that were asked, from 0 to 1; NaN if none was."""
    sections: Mapping[str, float]
    """The share of each section, NaN if none of its questions was asked."""
    asked: int
    """Questions of known words."""
    skipped: int
    """Questions with a word that has no vector."""

    def _shown(self):
        shares = {name: f"{share:.3f}" for name, share in self.sections.items() if len(self.sections) > 1}
        return f"Analogies {self.accuracy:.3f}", {"asked": self.asked, "skipped": self.skipped, **shares}


def analogy_accuracy(
    vectors: WordVectors, questions: Sequence[Question] | Mapping[str, Sequence[Question]]
) -> AnalogyAccuracy:
    """Returns the share of analogies whose last word is the nearest to b - a + c, those three words left out.

    Args:
        vectors: of the words.
        questions: four words (a, b, c, d) each, or lists of them by the name of their section. Questions with a word
            without vector are not asked, and counted as `skipped`.

    Returns:
        AnalogyAccuracy over all questions and by section.

    Raises:
        ArgumentError: there are no questions, or one is not four words.

    Example:
        >>> vectors = WordVectors("abcde", [[1, 0], [1, 1], [2, 0], [2, 1], [-1, 0]])
        >>> analogy_accuracy(vectors, [("a", "b", "c", "d"), ("a", "b", "x", "d")])
        Analogies 1.000
          asked    1
          skipped  1
    """
    sections = questions if isinstance(questions, Mapping) else {"all": questions}
    right, asked, skipped = {}, {}, 0
    for name, section in sections.items():
        for question in section:
            if len(question) != 4 or not all(isinstance(word, str) for word in question):
                checks.refuse("a question must be four words", question)
        known = [[vectors.row(word) for word in each] for each in section if all(word in vectors for word in each)]
        skipped += len(section) - len(known)
        right[name], asked[name] = _right(vectors.directions, np.array(known, int).reshape(-1, 4)), len(known)
    if not skipped and not sum(asked.values()):
        checks.refuse("questions must hold at least one", questions)
    shares = {name: right[name] / asked[name] if asked[name] else float("nan") for name in sections}
    total = sum(asked.values())
    return AnalogyAccuracy(sum(right.values()) / total if total else float("nan"), shares, total, skipped)


def _right(directions: np.ndarray, questions: np.ndarray) -> int:
    count = 0
    for batch in np.split(questions, range(BATCH, len(questions), BATCH)):
        a, b, c, d = batch.T
        cosines = (directions[b] - directions[a] + directions[c]) @ directions.T  # unit length changes no order
        np.put_along_axis(cosines, batch[:, :3], -np.inf, axis=1)
        count += int((cosines.argmax(axis=1) == d).sum()) if len(batch) else 0
    return count
