"""Fixed bases of dense layers over time: polynomials of a trend, harmonics of a season."""

import keras
import numpy as np

from kerasdl.core import checks


class _Basis(keras.initializers.Initializer):
    """Base class: rows are functions of time, for the kernel (coefficients, steps) of a dense layer without bias."""

    def __call__(self, shape, dtype=None):
        if len(shape) != 2:
            checks.refuse("a basis must have the shape (coefficients, steps)", tuple(shape))
        times = self.start + np.arange(shape[1])
        return keras.ops.convert_to_tensor(self.rows(shape[0], times), dtype=dtype or keras.config.floatx())

    def rows(self, count: int, times: np.ndarray) -> np.ndarray:
        """Returns `count` functions (count, T) of the times (T,)."""
        raise NotImplementedError


@keras.saving.register_keras_serializable("kerasdl")
class PolynomialBasis(_Basis):
    """Initializer of a dense layer from coefficients of a polynomial to its values: row i is (t / span)^i.

    Source: N-BEATS, https://arxiv.org/abs/1905.10437, section 3.3, equation 2.

    Args:
        span: steps that are one unit of time.
        start: the first time in steps.

    Returns:
        For the shape (coefficients, steps) of a kernel, weights of that shape.

    Raises:
        ArgumentError: `span` is not 1 or more, or the shape is another.

    Example:
        >>> PolynomialBasis(span=2)((3, 3)).numpy()
        array([[1.  , 1.  , 1.  ],
               [0.  , 0.5 , 1.  ],
               [0.  , 0.25, 1.  ]], dtype=float32)
    """

    def __init__(self, span: int, start: int = 0):
        self.span = checks.at_least("span", span, 1)
        self.start = int(start)

    def rows(self, count, times):
        return (times / self.span) ** np.arange(count)[:, np.newaxis]

    def get_config(self):
        return {"span": self.span, "start": self.start}


@keras.saving.register_keras_serializable("kerasdl")
class FourierBasis(_Basis):
    """Initializer of a dense layer from coefficients of harmonics to values: a constant, then cosines, then sines.

    Source: N-BEATS, https://arxiv.org/abs/1905.10437, section 3.3, equation 3.

    Args:
        period: steps of the first harmonic.
        start: the first time in steps.

    Returns:
        For the shape (1 + 2 harmonics, steps) of a kernel, weights of that shape.

    Raises:
        ArgumentError: `period` is not 1 or more, or the number of coefficients is even.

    Example:
        >>> FourierBasis(period=4)((3, 4)).numpy().round(6)
        array([[ 1.,  1.,  1.,  1.],
               [ 1.,  0., -1., -0.],
               [ 0.,  1.,  0., -1.]], dtype=float32)
    """

    def __init__(self, period: int, start: int = 0):
        self.period = checks.at_least("period", period, 1)
        self.start = int(start)

    def rows(self, count, times):
        if count % 2 == 0:
            checks.refuse("a basis of harmonics must have an odd number of coefficients", count)
        angles = 2 * np.pi * np.arange(1, count // 2 + 1)[:, np.newaxis] * times / self.period
        return np.concatenate([np.ones((1, len(times))), np.cos(angles), np.sin(angles)])

    def get_config(self):
        return {"period": self.period, "start": self.start}
