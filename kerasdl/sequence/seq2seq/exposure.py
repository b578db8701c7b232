"""Exposure bias: token accuracy on right prefixes beside that on the net's own answers."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasdl.data import as_dataset
from kerasdl.data.pipelines import refuse_endless
from kerasdl.data.trees import unpacked
from kerasdl.metrics import ExactMatch, TokenAccuracy

from .pairs import check_pairs
from .translator import Translator


@dataclass(frozen=True)
class ExposureBias:
    """Accuracies of a translator on labelled data.

    Example:
        >>> round(ExposureBias(0.98, 0.91, 0.85).gap, 2)
        0.07
    """

    teacher_forced: float
    """Token accuracy behind right prefixes."""
    free_running: float
    """Token accuracy behind its own answers."""
    exact_match: float
    """Share of its own answers that are right as a whole."""

    @property
    def gap(self) -> float:
        """Token accuracy that is lost because errors are read again."""
        return self.teacher_forced - self.free_running


def exposure_bias(translator: Translator, data: Any, *, batch_size: int = 64) -> ExposureBias:
    """Returns token accuracies on right prefixes, and on the translator's own greedy answers.

    Source: Ranzato et al. 2016, https://arxiv.org/abs/1511.06732, section 1.

    Args:
        translator: a `Translator`.
        data: data as it learns from, `{"source", "target"}` with labels; weights of sequences count.
        batch_size: examples at once.

    Returns:
        An `ExposureBias`.

    Raises:
        ArgumentError: the data are endless, or have another form.

    Example:
        >>> network = kerasdl.build("seq2seq", length=4, target_length=3, vocabulary=9, embedding=4, units=4)
        >>> target, labels = teacher_forcing([[5, 6, 3], [7, 3, 0]])
        >>> data = {"source": np.array([[5, 6, 3, 0], [7, 3, 0, 0]]), "target": target}, labels
        >>> 0 <= exposure_bias(Translator(network), data).exact_match <= 1
        True
    """
    dataset = as_dataset(data)
    refuse_endless("labelled data", dataset)
    check_pairs(dataset, translator.main.output.shape[-1])
    forced, free, exact = TokenAccuracy(), TokenAccuracy(), ExactMatch()
    for inputs, labels, weights in map(unpacked, dataset.batches(batch_size)):
        forced.update_state(labels, translator.main(inputs, training=False), weights)
        own = translator.translate(np.asarray(inputs["source"]), length=labels.shape[1], batch_size=batch_size)
        free.update_state(labels, own, weights)
        exact.update_state(labels, own, weights)
    return ExposureBias(*(float(metric.result()) for metric in (forced, free, exact)))
