"""Plot of a sweep: one row for each setting, with mean, interval and single seeds."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import lines, ticker
from matplotlib.figure import Figure

from kerasdl.core.plotting import FADED, FAINT, GREY, INK, TRAIN, dress, mark, new_figure

WIDEST, MOST_LINES = 38, 3


def sweep_figure(name: str, confidence: float, cells: Sequence[Any]) -> Figure:
    """Returns a figure of mean, interval and seeds of each cell, with the mean of the first as a vertical line.

    Args:
        name: name of the measured figure.
        confidence: confidence of the intervals.
        cells: `Cell`s, drawn from top to bottom.
    """
    labels = [_wrapped(cell.label) for cell in cells]
    figure = new_figure(7.6, 1.5 + max(0.42, 0.2 + 0.16 * max(label.count("\n") + 1 for label in labels)) * len(cells))
    axes = figure.add_subplot()
    for row, cell in enumerate(cells):
        _draw(axes, row, cell)
    axes.set_ylim(len(cells) - 0.4, -0.6)
    axes.set_yticks(range(len(cells)), labels)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    dress(axes, name.replace("_", " "), "")
    if cells[0].interval is not None:
        mark(axes, cells[0].interval.mean, "", GREY)
    keys = [
        lines.Line2D(
            [], [], color=TRAIN, marker="o", markersize=7, linewidth=2.5, label=f"mean, {100 * confidence:g} % interval"
        ),
        lines.Line2D([], [], color=FADED, marker="o", markersize=4.5, linewidth=0, label="single seeds"),
        lines.Line2D([], [], color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), label="mean of the first"),
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=3, frameon=False, fontsize=9, labelcolor=INK)
    return figure


def _draw(axes, row: int, cell: Any) -> None:
    values = list(cell.values.values())
    if not values:
        axes.annotate(
            "every run failed", (0.02, row), xycoords=("axes fraction", "data"), va="center", color=GREY, fontsize=9
        )
        return
    # Below the mean, which would hide some.
    axes.plot(values, np.full(len(values), row + 0.22), "o", color=FADED, markersize=4.5, zorder=2)
    interval = cell.interval
    if interval.low is not None:
        axes.plot(
            [interval.low, interval.high], [row, row], color=TRAIN, linewidth=2.5, zorder=3, solid_capstyle="butt"
        )
    axes.plot([interval.mean], [row], "o", color=TRAIN, markersize=7, zorder=4)


def _wrapped(label: str) -> str:
    return "\n".join(textwrap.wrap(label, WIDEST, max_lines=MOST_LINES, placeholder=" ..."))
