"""Pictures of a detector's figures: precision over recall, and errors by kind."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kerasdl.core.display.colours import class_colours
from kerasdl.core.plotting import FAINT, GREY, INK, TRAIN, VALIDATION, dress, new_figure

from .coco_counting import RECALLS

MOST_NAMED = 12


def curves_figure(panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]]) -> Figure:
    """Returns a figure of precision over recall, with a name for each class if they are few.

    Args:
        panels: recall (Q,) and precision (Q,) of each class, of each title.
    """
    figure = new_figure(0.6 + 4.2 * len(panels), 4.0)
    for axes, (title, curves) in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels.items(), strict=True):
        if len(curves) <= MOST_NAMED:
            for (name, curve), colour in zip(curves.items(), class_colours(len(curves)), strict=True):
                _step(axes, *curve, color=[value / 255 for value in colour], linewidth=1.6, label=name)
        else:
            for place, curve in enumerate(curves.values()):
                label = f"{len(curves)} classes" if not place else None
                _step(axes, *curve, color=GREY, linewidth=0.8, alpha=0.3, label=label)
            mean = np.mean([_at_recalls(*curve) for curve in curves.values()], axis=0)
            axes.plot(RECALLS, mean, color=TRAIN, linewidth=2.2, label="mean")
        dress(axes, title, "recall", "precision")
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
        axes.grid(color=FAINT, linewidth=0.5)
    if curves:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _step(axes: Axes, recall: np.ndarray, precision: np.ndarray, **style: Any) -> None:
    """Draws the highest precision from each recall on."""
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    x, y = np.concatenate([[0.0], recall, recall[-1:]]), np.concatenate([highest[:1], highest, [0.0]])
    axes.plot(x, y, drawstyle="steps-pre", **style)


def _at_recalls(recall: np.ndarray, precision: np.ndarray) -> np.ndarray:
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return np.append(highest, 0.0)[np.searchsorted(recall, RECALLS)]


def errors_figure(counts: Mapping[str, int], gains: Mapping[str, float], name: str) -> Figure:
    """Returns a figure with the number of errors of each kind, and the average precision that fixing it adds."""
    figure = new_figure(7.6, 3.0)
    left, right = figure.subplots(1, 2, sharey=True)
    kinds = list(counts)
    for axes, values, title, colour, form in (
        (left, [counts[kind] for kind in kinds], "errors", TRAIN, "{:,}"),
        (right, [gains[kind] for kind in kinds], f"{name} gained if fixed", VALIDATION, "{:.3f}"),
    ):
        bars = axes.barh(kinds, values, color=colour, height=0.6)
        axes.bar_label(bars, [form.format(value) for value in values], padding=3, color=INK, fontsize=9)
        dress(axes, title, "")
        axes.set_xlim(min(0.0, *values) * 1.25, max(max(values), 1e-3) * 1.25)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
    left.invert_yaxis()
    return figure
