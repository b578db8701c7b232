"""Alignment picture: the source token that each written token attends to."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.core.plotting import dress, keep, new_figure


def draw_alignment(
    alignment: Any, source: Sequence[str], target: Sequence[str], path: str | os.PathLike | None = None
) -> Any:
    """Returns a heat map of attention: a row for each written token, a column for each token of the source.

    Source: https://arxiv.org/abs/1409.0473, figure 3.

    Args:
        alignment: weights (T, S) from 0 to 1; rows and columns behind the tokens, the padding, are cut off.
        source: texts of the source's tokens, at most S.
        target: texts of the written tokens, at most T.
        path: file of the picture, such as `alignment.png`; None writes none.

    Returns:
        A matplotlib figure.

    Raises:
        ArgumentError: the weights are not (T, S) of finite numbers, or the tokens are more, or none.

    Example:
        >>> draw_alignment(np.eye(3), "abc", "ABC").axes[0].get_title(loc="left")
        'Attention'
    """
    weights = np.asarray(alignment, float)
    if weights.ndim != 2 or not np.isfinite(weights).all():
        checks.refuse("alignment must be finite weights (T, S)", weights.shape)
    rows, columns = len(target), len(source)
    if not (1 <= rows <= weights.shape[0] and 1 <= columns <= weights.shape[1]):
        rule = f"source and target must be of 1 to {weights.shape[1]} and 1 to {weights.shape[0]} tokens"
        checks.refuse(rule, (columns, rows))
    letters = max(map(len, source)) == 1
    side = 0.26 if letters else 0.5
    figure = new_figure(1.6 + side * columns, 1.2 + side * rows)
    axes = figure.subplots()
    axes.imshow(weights[:rows, :columns], cmap="Blues", vmin=0.0, vmax=1.0)
    dress(axes, "Attention", "source", "written")
    axes.set_xticks(range(columns), source, rotation=0 if letters else 60)
    axes.set_yticks(range(rows), target)
    return keep(figure, path)
