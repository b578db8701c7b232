"""Plots of learning-rate schedules over the steps of a run, one panel for each."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kerasdl.core import checks
from kerasdl.core.plotting import FAINT, TRAIN, dress, new_figure

from .schedules import as_schedule

COLUMNS = 4
POINTS = 400


def plot_schedules(schedules: Mapping[str, Any], *, steps: int, learning_rate: float) -> Figure:
    """Returns a figure of schedules, one panel for each, all with the same axes.

    A plateau is drawn as a constant, since its drops depend on the run.

    Args:
        schedules: values for `RunConfig(schedule=...)` by label.
        steps: length of the run.
        learning_rate: learning rate of the run.

    Returns:
        A matplotlib Figure; `figure.savefig(path)` writes it.

    Raises:
        ArgumentError: there is no schedule, or a value that is none.

    Example:
        >>> figure = plot_schedules({"cosine": "cosine", "step": "step"}, steps=1000, learning_rate=0.1)
        >>> [axes.get_title(loc="left") for axes in figure.axes]
        ['cosine', 'step']
    """
    checks.at_least("steps", steps, 2)
    if not schedules:
        checks.refuse("schedules must hold one or more", schedules)
    columns = min(COLUMNS, len(schedules))
    rows = math.ceil(len(schedules) / columns)
    figure = new_figure(3.2 * columns + 0.3, 2.5 * rows + 0.2)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for place, (axes, (label, source)) in enumerate(zip(grid, schedules.items(), strict=False)):
        _draw(axes, label, as_schedule(source).over(learning_rate, steps), steps)
        axes.set_ylabel("learning rate" if place % columns == 0 else "")
        axes.set_xlabel("step" if place + columns >= len(schedules) else "")
        # Shared axes show tick labels in the last row alone, which may be incomplete.
        axes.xaxis.set_tick_params(labelbottom=place + columns >= len(schedules))
    for axes in grid[len(schedules) :]:
        axes.remove()
    return figure


def _draw(axes: Axes, label: str, rate: Any, steps: int) -> None:
    places = np.unique(np.linspace(0, steps - 1, POINTS).round().astype(int))
    values = [float(rate(int(place))) if callable(rate) else rate for place in places]
    axes.plot(places, values, color=TRAIN, linewidth=2)
    dress(axes, label, "")
    axes.set_xlim(0, steps)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4, steps=(1, 2, 5, 10), integer=True))
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5, steps=(1, 2, 5, 10)))
