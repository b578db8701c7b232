"""Exact match and F1 of answers to questions, as the scripts of SQuAD count them (https://arxiv.org/abs/1606.05250)."""

import re
import string
from collections import Counter
from collections.abc import Sequence

from .text_pairs import TextMetric, Texts

PUNCTUATION = str.maketrans("", "", string.punctuation)
ARTICLES = re.compile(r"\b(a|an|the)\b")
KINDS = ("has_answer", "no_answer")


def normalised_answer(text: str) -> str:
    """Returns an answer in lower case, without ASCII punctuation, articles and further spaces.

    Example:
        >>> normalised_answer("The  Eiffel-Tower!")
        'eiffeltower'
    """
    return " ".join(ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split())


class SQuAD(TextMetric):
    """Exact match and F1 of answers, from 0 to 1: means over questions of the best of each one's references.

    Texts are compared after `normalised_answer`; F1 is that of their words. An empty text is the answer that there is
    none, and right only where the references have none either. With questions of both kinds the result has the figures
    of each too, as the script of SQuAD 2.0 gives them.

    Source: https://arxiv.org/abs/1606.05250, section 6.1; without answer: https://arxiv.org/abs/1806.03822, section 2.

    Example:
        >>> metric = SQuAD()
        >>> metric.update_state([["the red car", "a car"], []], ["red car!", "here"])
        >>> metric.result()["exact_match"], metric.result()["no_answer_exact_match"]
        (0.5, 0.0)
    """

    def reset_state(self) -> None:
        """Forgets all answers."""
        super().reset_state()
        self.sums = {kind: Counter() for kind in KINDS}

    def update_state(self, true: Texts, predicted: Sequence[str]) -> None:
        """Adds answers.

        Args:
            true: the reference of each question, or a list of its references; an empty list where it has no answer.
            predicted: the answers, empty texts for none.

        Raises:
            ArgumentError: references and answers do not belong together, or are not strings.
        """
        if not isinstance(true, (str, bytes)):
            true = [each if isinstance(each, str) else list(each) or [""] for each in true]
        super().update_state(true, predicted)

    def add(self, references: list[str], text: str) -> None:
        """Counts one answer."""
        wanted = [each for each in map(normalised_answer, references) if each] or [""]
        found = normalised_answer(text)
        sums = self.sums[KINDS[wanted == [""]]]
        sums["questions"] += 1
        sums["exact_match"] += float(found in wanted)
        sums["f1"] += max(_f1(each.split(), found.split()) for each in wanted)

    def figures(self) -> dict[str, float]:
        """Returns `exact_match` and `f1`, and those of both kinds of questions if there are both."""
        total = sum(self.sums.values(), Counter())
        figures = {name: total[name] / total["questions"] for name in ("exact_match", "f1")}
        if all(self.sums.values()):
            for kind, sums in self.sums.items():
                figures |= {f"{kind}_{name}": sums[name] / sums["questions"] for name in ("exact_match", "f1")}
        return figures


def squad(true: Texts, predicted: Sequence[str]) -> dict[str, float]:
    """Returns exact match and F1 of answers, from 0 to 1; see the class `SQuAD`.

    Args:
        true: the reference of each question, or a list of its references; an empty list where it has no answer.
        predicted: the answers, empty texts for none.

    Raises:
        ArgumentError: there are no answers, or they do not belong to the references.

    Example:
        >>> squad(["the cat"], ["Cat."])
        {'exact_match': 1.0, 'f1': 1.0}
    """
    metric = SQuAD()
    metric.update_state(true, predicted)
    return metric.result()


def _f1(wanted: list[str], words: list[str]) -> float:
    if not wanted or not words:
        return float(wanted == words)
    both = (Counter(wanted) & Counter(words)).total()
    return 2 * both / (len(wanted) + len(words))
