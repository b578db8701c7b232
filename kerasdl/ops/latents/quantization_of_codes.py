"""Discrete codes: nearest entries of a codebook, finite scalars, straight-through gradients, perplexity."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops

from kerasdl.core import checks

MARGIN = 1e-3
"""Share of the outer levels that bounded numbers do not reach."""


def nearest_codes(vectors: Any, codebook: Any) -> Any:
    """Returns the index of the entry of a codebook that is nearest to each vector; of two as near, the first.

    Source: van den Oord 2017, https://arxiv.org/abs/1711.00937, equation 1.

    Args:
        vectors: (..., D) floats.
        codebook: (K, D) floats.

    Returns:
        (...) int32.

    Example:
        >>> nearest_codes([[0.9, 0.0]], [[0.0, 0.0], [1.0, 0.0]]).numpy().tolist()
        [1]
    """
    vectors, codebook = ops.convert_to_tensor(vectors), ops.convert_to_tensor(codebook)
    products = ops.matmul(vectors, ops.transpose(codebook))  # |v|^2 is the same for all entries
    return ops.cast(ops.argmin(ops.sum(ops.square(codebook), axis=1) - 2.0 * products, axis=-1), "int32")


def straight_through(quantized: Any, vectors: Any) -> Any:
    """Returns quantized vectors whose gradient goes to the vectors unchanged.

    Source: van den Oord 2017, https://arxiv.org/abs/1711.00937, section 3.2.

    Args:
        quantized: (...) floats.
        vectors: (...) floats, from which they were made.

    Returns:
        (...) floats, the quantized ones up to rounding.

    Example:
        >>> straight_through(tf.constant([1.0]), tf.constant([0.8])).numpy().tolist()
        [1.0]
    """
    return vectors + ops.stop_gradient(quantized - vectors)


def finite_scalars(x: Any, levels: Sequence[int]) -> Any:
    """Returns numbers bounded by a tanh and rounded to a few levels, one number of levels for each channel.

    Source: Mentzer 2023, https://arxiv.org/abs/2309.15505, section 3 and appendix A.

    Args:
        x: (..., D) floats.
        levels: D integers of 2 or more; their product is the size of the codebook.

    Returns:
        (..., D) floats from -1 to 1, with straight-through gradients of the bounded numbers.

    Raises:
        ArgumentError: levels are below 2, or not one a channel.

    Example:
        >>> finite_scalars([[-9.0, 0.1], [9.0, 9.0]], levels=(3, 5)).numpy().tolist()
        [[-1.0, 0.0], [1.0, 1.0]]
    """
    x, levels = ops.convert_to_tensor(x), _checked_levels(levels)
    if x.shape[-1] != len(levels):
        checks.refuse(f"x must have {len(levels)} channels, one for each of levels", tuple(x.shape))
    half = [(each - 1) * (1 - MARGIN) / 2 for each in levels]
    offset = [0.5 if each % 2 == 0 else 0.0 for each in levels]
    shift = [math.tan(by / size) for by, size in zip(offset, half, strict=True)]
    half, offset, shift, width = (
        ops.convert_to_tensor(each, x.dtype) for each in (half, offset, shift, [size // 2 for size in levels])
    )
    bounded = ops.tanh(x + shift) * half - offset
    return straight_through(ops.round(bounded), bounded) / width


def finite_scalar_indices(codes: Any, levels: Sequence[int]) -> Any:
    """Returns the number of each code of finite scalars, the first channel counting fastest.

    Source: Mentzer 2023, https://arxiv.org/abs/2309.15505, appendix A.

    Args:
        codes: (..., D) floats from `finite_scalars`.
        levels: as there.

    Returns:
        (...) int32 below the product of the levels.

    Raises:
        ArgumentError: levels are below 2.

    Example:
        >>> finite_scalar_indices([[1.0, -1.0], [-1.0, 0.0]], levels=(3, 5)).numpy().tolist()
        [2, 6]
    """
    levels = _checked_levels(levels)
    codes = ops.convert_to_tensor(codes)
    width = ops.convert_to_tensor([each // 2 for each in levels], codes.dtype)
    basis = np.cumprod([1, *levels[:-1]]).astype("int32")
    return ops.sum(ops.cast(ops.round(codes * width + width), "int32") * basis, axis=-1)


def code_perplexity(counts: Any) -> Any:
    """Returns the perplexity of the use of codes: K where all K are used alike, 1 where one alone is used.

    Source: van den Oord 2017, https://arxiv.org/abs/1711.00937, section 4.

    Args:
        counts: (K,) uses of each code, 0 or more.

    Returns:
        A scalar; 1 where there are no uses.

    Example:
        >>> code_perplexity([5.0, 5.0, 0.0]).numpy().round(4).item()
        2.0
    """
    counts = ops.convert_to_tensor(counts)
    shares = counts / ops.maximum(ops.sum(counts), 1e-12)
    return ops.exp(-ops.sum(shares * ops.log(ops.maximum(shares, 1e-12))))


def _checked_levels(levels: Sequence[int]) -> tuple[int, ...]:
    levels = checks.counts("levels", levels)
    if min(levels) < 2:
        checks.refuse("levels must be 2 or more each", levels)
    return levels
