"""F1 score of entities, as the evaluation of CoNLL-2000 counts them (Tjong Kim Sang and Buchholz 2000)."""

from collections import Counter
from collections.abc import Sequence

from kerasdl.core import checks
from kerasdl.ops import tag_spans
from kerasdl.ops.sequences.tag_schemes import SCHEMES

SHORT = ("precision", "recall", "f1")


class EntityF1:
    """Precision, recall and F1 score of entities: one is right only if its name, its first and its last token are.

    Source: https://www.clips.uantwerpen.be/conll2000/chunking/conlleval.txt.

    Args:
        scheme: `BIO`, `BIOES`, or `runs`, in which an entity is a run of one tag.
        strict: whether entities whose tags break the scheme are left out; else they are read as in CoNLL.

    Raises:
        ArgumentError: the scheme is unknown.

    Example:
        >>> metric = EntityF1()
        >>> metric.update_state([["B-CITY", "I-CITY", "O"]], [["B-CITY", "O", "B-ROAD"]])
        >>> metric.result()
        {'precision': 0.0, 'recall': 0.0, 'f1': 0.0}
    """

    def __init__(self, scheme: str = "BIO", *, strict: bool = False):
        self.scheme = checks.one_of("scheme", scheme, SCHEMES)
        self.strict = strict
        self.reset_state()

    def reset_state(self) -> None:
        """Forgets all sequences."""
        self._right, self._found, self._true = Counter(), Counter(), Counter()

    def update_state(self, true: Sequence[Sequence[str]], predicted: Sequence[Sequence[str]]) -> None:
        """Adds sequences of tags.

        Args:
            true: a list of tags for each sequence.
            predicted: the same of the same tokens.

        Raises:
            ArgumentError: sequences do not belong together, or a tag is none of the scheme.
        """
        if [len(each) for each in true] != [len(each) for each in predicted]:
            checks.refuse(
                "predicted must have a tag for each true one", _sizes(predicted), f"True ones: {_sizes(true)}."
            )
        for each, other in zip(true, predicted, strict=True):
            wanted, found = (set(tag_spans(tags, self.scheme, strict=self.strict)) for tags in (each, other))
            for counts, spans in ((self._true, wanted), (self._found, found), (self._right, wanted & found)):
                counts.update(span.label for span in spans)

    def result(self) -> dict[str, float]:
        """Returns `precision`, `recall` and `f1` of all entities together, from 0 to 1; 0 without any."""
        return _figures(self._right.total(), self._found.total(), self._true.total())

    def per_class(self) -> dict[str, dict[str, float]]:
        """Returns the same of each entity by its name, and `support`, how many there are."""
        return {
            name: {**_figures(self._right[name], self._found[name], self._true[name]), "support": self._true[name]}
            for name in sorted({*self._true, *self._found})
        }


def _figures(right: int, predicted: int, true: int) -> dict[str, float]:
    shares = (right / max(predicted, 1), right / max(true, 1), 2 * right / max(predicted + true, 1))
    return dict(zip(SHORT, shares, strict=True))


def _sizes(sequences: Sequence[Sequence[str]]) -> str:
    return f"{len(sequences)} sequences of {[len(each) for each in sequences][:5]} tags"
