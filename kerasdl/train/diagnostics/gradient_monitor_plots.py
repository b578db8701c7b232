"""Plot of a `GradientMonitor`: maps of layers over steps."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from kerasdl.core.plotting import INK, dress, new_figure

Table = Mapping[str, Sequence[float]]

MOST_NAMES = 40
LONGEST = 28
STEPS_NAMED = 8
FEWEST_DECADES, MOST_DECADES = 3, 12


def monitor_figure(steps: Sequence[int], history: Mapping[str, Table], updates: tuple[float, float]) -> Figure:
    """Returns a figure of gradient norm, update ratio and, with rectifiers, dead units of each layer over the steps.

    Args:
        steps: the inspected updates.
        history: by measure and layer, a number for each update.
        updates: lowest and highest healthy update ratio; their geometric mean is the middle of the colours.
    """
    low, high = (max(bound, 1e-12) for bound in updates)
    middle, reach = np.sqrt(low * high), max(10 * np.sqrt(high / low), 10.0)
    panels = [
        ("gradient norm", "gradient_norm", _log_norm(history["gradient_norm"]), "viridis"),
        ("update ratio", "update_ratio", LogNorm(middle / reach, middle * reach), "RdBu_r"),
        ("dead units, share", "dead_share", Normalize(0, 1), "Oranges"),
    ]
    panels = [panel for panel in panels if history[panel[1]]]
    heights = [max(1.1, 0.21 * min(MOST_NAMES, len(history[panel[1]]))) for panel in panels]
    figure = new_figure(8.0, sum(heights) + 0.55 * len(panels) + 0.3)
    for axes, panel in zip(np.atleast_1d(figure.subplots(len(panels), 1, height_ratios=heights)), panels, strict=True):
        _draw(figure, axes, steps, history[panel[1]], panel)
    axes.set_xlabel("step", color=INK)
    return figure


def _log_norm(table: Table) -> LogNorm:
    values = np.array(list(table.values()), np.float64)
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        return LogNorm(1e-3, 1.0)
    # Several whole decades, so that small changes look small.
    high = np.ceil(np.log10(values.max()))
    low = np.clip(np.floor(np.log10(values.min())), high - MOST_DECADES, high - FEWEST_DECADES)
    return LogNorm(10.0**low, 10.0**high)


def _draw(figure: Figure, axes: Axes, steps: Sequence[int], table: Table, panel: tuple) -> None:
    title, _, norm, colours = panel
    names = list(table)
    values = np.array([table[name] for name in names], np.float64)
    if isinstance(norm, LogNorm):  # zeros have no logarithm, and are the worst values
        values = np.clip(values, norm.vmin, norm.vmax)
    image = axes.imshow(values, norm=norm, cmap=colours, aspect="auto", interpolation="nearest")
    every = -(-len(names) // MOST_NAMES)
    axes.set_yticks(range(0, len(names), every), [_short(name) for name in names[::every]])
    places = np.unique(np.linspace(0, len(steps) - 1, min(STEPS_NAMED, len(steps))).round().astype(int))
    axes.set_xticks(places, [f"{steps[place]:,}" for place in places])
    dress(axes, title, "")
    axes.spines[["left", "bottom"]].set_visible(False)
    bar = figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=INK, labelsize=8, length=0, which="both")


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"...{name[3 - LONGEST :]}"
