"""Plot style shared by all pictures: figure, colours, axes, saving."""

import os

from matplotlib.axes import Axes
from matplotlib.backends import backend_agg
from matplotlib.figure import Figure

from kerasdl.core import files

TRAIN, VALIDATION, INK, FAINT = "#2563eb", "#ea580c", "#1f2937", "#d1d5db"
FADED = "#93c5fd"
GREY = "#6b7280"


def new_figure(width: float, height: float) -> Figure:
    """Returns an empty figure of a width and height in inches."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    backend_agg.FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, title: str, x: str, y: str = "") -> None:
    """Sets title, labels and frame of axes in the shared style."""
    axes.set_title(title, loc="left", color=INK, fontsize=12, fontweight="bold", pad=16)
    axes.set_xlabel(x, color=INK)
    axes.set_ylabel(y, color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, length=0, which="both")


def mark(axes: Axes, at: float, text: str, colour: str, height: float = 1.0) -> None:
    """Draws a dashed vertical line with its label beside it, on the side that has more room."""
    place = axes.transLimits.transform(axes.transScale.transform((at, 1.0)))[0]
    axes.axvline(at, color=colour, linewidth=1.2, linestyle=(0, (4, 3)), zorder=0)
    axes.annotate(
        text,
        (at, height),
        (4 if place < 0.6 else -4, -4),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        va="top",
        ha="left" if place < 0.6 else "right",
        color=colour,
        fontsize=8.5,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def keep(figure: Figure, path: str | os.PathLike | None) -> Figure:
    """Saves a figure if a path is given, and returns the figure."""
    if path is not None:
        with files.writing(path) as draft:
            figure.savefig(draft)
    return figure
