"""Use of a codebook: perplexity of its codes, and the share of codes that are used at all."""

from typing import Any

import keras
from keras import ops

from kerasdl.core import checks
from kerasdl.ops import code_perplexity


class _CodeCounts(keras.metrics.Metric):
    """Base of metrics of the counts of codes."""

    def __init__(self, codes: int, name: str, **kwargs: Any):
        super().__init__(name=name, **kwargs)
        self.codes = checks.at_least("codes", codes, 1)
        self.counts = self.add_variable((self.codes,), "zeros", name="counts")

    def update_state(self, y_true: Any, y_pred: Any = None, sample_weight: Any = None) -> None:
        """Adds codes.

        Args:
            y_true: (...) whole numbers below the size of the codebook; others are not counted.
            y_pred: not read.
            sample_weight: not read.
        """
        found = ops.one_hot(ops.cast(ops.reshape(y_true, (-1,)), "int32"), self.codes, dtype="float32")
        self.counts.assign_add(ops.sum(found, axis=0))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "codes": self.codes}


@keras.saving.register_keras_serializable("kerasdl")
class CodePerplexity(_CodeCounts):
    """Perplexity of codes: K where all are used alike, 1 where one alone is used.

    Source: https://arxiv.org/abs/1711.00937, section 4.

    Args:
        codes: K, size of the codebook.
        name: name of the metric.
        **kwargs: arguments of every metric.

    Raises:
        ArgumentError: codes is out of range.

    Example:
        >>> metric = CodePerplexity(8)
        >>> metric.update_state([[0, 1], [2, 3]])
        >>> round(float(metric.result()), 4)
        4.0
    """

    def __init__(self, codes: int, name: str = "perplexity", **kwargs: Any):
        super().__init__(codes, name, **kwargs)

    def result(self) -> Any:
        return code_perplexity(self.counts)


@keras.saving.register_keras_serializable("kerasdl")
class CodeUsage(_CodeCounts):
    """Share of codes that were used, from 0 to 1.

    Source: https://arxiv.org/abs/2005.00341, section 3.1.

    Args:
        codes: K, size of the codebook.
        name: name of the metric.
        **kwargs: arguments of every metric.

    Raises:
        ArgumentError: codes is out of range.

    Example:
        >>> metric = CodeUsage(8)
        >>> metric.update_state([[0, 1], [2, 3]])
        >>> float(metric.result())
        0.5
    """

    def __init__(self, codes: int, name: str = "usage", **kwargs: Any):
        super().__init__(codes, name, **kwargs)

    def result(self) -> Any:
        return ops.mean(ops.cast(self.counts > 0, "float32"))
