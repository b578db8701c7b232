"""BLEU and chrF: overlap of n-grams of words and of characters with references, over a corpus, from 0 to 100."""

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from kerasdl.core import checks

from .text_pairs import TextMetric, Texts, ngram_counts

ENTITIES = {"&quot;": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">"}
# The tokenizer of the NIST program mteval-v13a: symbols stand alone; a period or comma does but between digits, and a
# hyphen after a digit.
RULES = (
    (re.compile(r"([!-&(-+/:-@\[-`{-~])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)


def mteval_words(text: str) -> list[str]:
    """Returns the words and symbols of a text as the NIST program mteval-v13a cuts it, sacrebleu's `13a`."""
    text = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, symbol in ENTITIES.items():
        text = text.replace(entity, symbol)
    text = f" {text} "
    for pattern, parts in RULES:
        text = pattern.sub(parts, text)
    return text.split()


class BLEU(TextMetric):
    """BLEU of a corpus: the geometric mean of clipped precisions of n-grams, times the brevity penalty, 0 to 100.

    Equal to sacrebleu's `corpus_bleu` with its defaults: tokenizer `13a`, exponential smoothing of precisions of 0.

    Source: https://aclanthology.org/P02-1040; smoothing: https://aclanthology.org/W14-3346, method 3.

    Args:
        order: longest n-grams.
        tokenize: function from a text to its words; None takes the rules of `13a`, for languages with spaces. `list`
            measures by characters, as is usual for Chinese and Japanese.

    Raises:
        ArgumentError: `order` is below 1.

    Example:
        >>> metric = BLEU()
        >>> metric.update_state(["the cat sat on the mat"], ["the cat sat on a mat"])
        >>> metric.result()
        {'bleu': 53.7284...}
    """

    def __init__(self, order: int = 4, tokenize: Callable[[str], Sequence[str]] | None = None):
        self.order = checks.at_least("order", order, 1)
        self.tokenize = tokenize or mteval_words
        super().__init__()

    def reset_state(self) -> None:
        """Forgets all texts."""
        super().reset_state()
        self.matches, self.totals = [0] * self.order, [0] * self.order
        self.length = self.reference_length = 0

    def add(self, references: list[str], text: str) -> None:
        """Counts one text."""
        tokens = list(self.tokenize(text))
        targets = [list(self.tokenize(each)) for each in references]
        self.length += len(tokens)
        self.reference_length += min((abs(len(each) - len(tokens)), len(each)) for each in targets)[1]
        for length in range(1, self.order + 1):
            most = Counter()
            for each in targets:
                most |= ngram_counts(each, length)
            found = ngram_counts(tokens, length)
            self.matches[length - 1] += (found & most).total()
            self.totals[length - 1] += found.total()

    def figures(self) -> dict[str, float]:
        """Returns BLEU."""
        if not all(self.totals) or not any(self.matches):
            return {"bleu": 0.0}
        logarithms, smoothing = 0.0, 1.0
        for matches, total in zip(self.matches, self.totals, strict=True):
            smoothing *= 1 if matches else 2
            logarithms += math.log((matches or 1 / smoothing) / total)
        penalty = min(0.0, 1 - self.reference_length / self.length)
        return {"bleu": 100 * math.exp(logarithms / self.order + penalty)}


class ChrF(TextMetric):
    """chrF of a corpus: F of the mean precision and recall of character n-grams, 0 to 100; chrF++ with words.

    Equal to sacrebleu's `corpus_chrf`; white space does not count. Of several references the best counts.

    Source: https://aclanthology.org/W15-3049; words: https://aclanthology.org/W17-4770.

    Args:
        order: longest n-grams of characters.
        word_order: longest n-grams of words: 0 for chrF, 2 for chrF++.
        beta: weight of the recall against the precision.

    Raises:
        ArgumentError: `order` is below 1 or `word_order` below 0.

    Example:
        >>> metric = ChrF()
        >>> metric.update_state(["the cat sat on the mat"], ["the cat sat on a mat"])
        >>> metric.result()
        {'chrf': 65.97...}
    """

    def __init__(self, order: int = 6, word_order: int = 0, beta: float = 2.0):
        self.order, self.word_order = checks.at_least("order", order, 1), checks.at_least("word_order", word_order, 0)
        self.beta = checks.within("beta", beta, 0.0, 1e6)
        super().__init__()

    def reset_state(self) -> None:
        """Forgets all texts."""
        super().reset_state()
        self.counts = [(0, 0, 0)] * (self.order + self.word_order)

    def add(self, references: list[str], text: str) -> None:
        """Counts one text."""
        found = self._ngrams(text)
        candidates = [self._pair_counts(found, self._ngrams(each)) for each in references]
        best = max(candidates, key=self._score)  # the first of equal ones
        self.counts = [tuple(map(sum, zip(*pair, strict=True))) for pair in zip(self.counts, best, strict=True)]

    def figures(self) -> dict[str, float]:
        """Returns chrF."""
        return {"chrf": self._score(self.counts)}

    def _ngrams(self, text: str) -> list[Counter]:
        characters, words = "".join(text.split()), _words_of_chrf(text)
        return [ngram_counts(characters, length) for length in range(1, self.order + 1)] + [
            ngram_counts(words, length) for length in range(1, self.word_order + 1)
        ]

    @staticmethod
    def _pair_counts(counted: list[Counter], expected: list[Counter]) -> list[tuple[int, int, int]]:
        """Returns for each length the n-grams of the text, those of the reference, and those of both."""
        return [
            (mine.total() if its else 0, its.total(), (mine & its).total())
            for mine, its in zip(counted, expected, strict=True)
        ]

    def _score(self, counts: Sequence[tuple[int, int, int]]) -> float:
        shares = [(both / mine, both / its) for mine, its, both in counts if mine and its]
        if not shares:
            return 0.0
        precision, recall = (sum(each) / len(shares) for each in zip(*shares, strict=True))
        weight = self.beta**2
        below = weight * precision + recall
        return 100 * (1 + weight) * precision * recall / below if below else 0.0


def _words_of_chrf(text: str) -> list[str]:
    """Returns the words of a text; a symbol at the end of a word, or else at its start, stands alone."""
    words = []
    for word in text.split():
        if len(word) > 1 and word[-1] in string.punctuation:
            words += [word[:-1], word[-1]]
        elif len(word) > 1 and word[0] in string.punctuation:
            words += [word[0], word[1:]]
        else:
            words.append(word)
    return words


def bleu(true: Texts, predicted: Sequence[str], *, order: int = 4, tokenize: Callable | None = None) -> float:
    """Returns BLEU of texts, from 0 to 100; see the class `BLEU`.

    Args:
        true: the reference of each text, or a list of its references.
        predicted: the texts.
        order: longest n-grams.
        tokenize: function from a text to its words; None takes the rules of sacrebleu's `13a`.

    Raises:
        ArgumentError: there are no texts, or they do not belong to the references.

    Example:
        >>> bleu(["the cat sat on the mat"], ["the cat sat on the mat"])
        100.0
    """
    return _measured(BLEU(order, tokenize), true, predicted)["bleu"]


def chrf(true: Texts, predicted: Sequence[str], *, order: int = 6, word_order: int = 0, beta: float = 2.0) -> float:
    """Returns chrF of texts, from 0 to 100; see the class `ChrF`.

    Args:
        true: the reference of each text, or a list of its references.
        predicted: the texts.
        order: longest n-grams of characters.
        word_order: longest n-grams of words: 0 for chrF, 2 for chrF++.
        beta: weight of the recall against the precision.

    Raises:
        ArgumentError: there are no texts, or they do not belong to the references.

    Example:
        >>> chrf(["the cat"], ["the cat"])
        100.0
    """
    return _measured(ChrF(order, word_order, beta), true, predicted)["chrf"]


def _measured(metric: TextMetric, true: Texts, predicted: Sequence[str]) -> dict[str, float]:
    metric.update_state(true, predicted)
    return metric.result()
