"""Pictures of results in notebooks: curves of a run, and images with their classes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..plotting import INK, TRAIN, VALIDATION, dress, mark, new_figure

COLUMNS = 6
FEW_CLASSES = 25


def curves(history: Mapping[str, Sequence[float]], best_epoch: int | None) -> Figure | None:
    """Returns a figure of each figure of a run over its epochs, with its validation; None without epochs.

    Args:
        history: the figures of each epoch by name.
        best_epoch: the epoch whose weights are kept, counted from 1; None for none.
    """
    names = [name for name in history if not name.startswith("val_") and name != "learning_rate" and history[name]][:3]
    if not names:
        return None
    figure = new_figure(4.2 * len(names), 3.0)
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        for key, colour in ((name, TRAIN), (f"val_{name}", VALIDATION)):
            values = history.get(key)
            if values:
                label = "validation" if key != name else "training"
                axes.plot(range(1, len(values) + 1), values, color=colour, marker="o", markersize=3, label=label)
        dress(axes, name.replace("_", " "), "epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        if best_epoch is not None:
            rises = history[name][-1] > history[name][0]
            mark(axes, best_epoch, "kept", INK, 0.12 if rises else 1.0)
        axes.legend(frameon=False, fontsize=8)
    return figure


def grid(images: Sequence[Any], titles: Sequence[str]) -> Figure:
    """Returns a figure of images, values from 0 to 1 and (H, W, 1), (H, W, 3) or (H, W, 4), with a title each."""
    rows = -(-len(images) // COLUMNS)
    figure = new_figure(1.25 * COLUMNS, 1.45 * rows)
    for axes in figure.subplots(rows, COLUMNS, squeeze=False).flat:
        axes.set_axis_off()
    for axes, image, title in zip(figure.axes, images, titles, strict=False):
        grey = image.shape[-1] == 1
        axes.imshow(image[..., 0] if grey else image, cmap="gray" if grey else None, vmin=0, vmax=1)
        axes.set_title(title[:18], fontsize=8, color=INK)
    return figure


def confusion(counts: np.ndarray, labels: Sequence[str], title: str) -> Figure:
    """Returns a figure of a confusion matrix, with its counts if the classes are few.

    Args:
        counts: examples by true class (row) and answer (column), (K, K).
        labels: the name of each class.
        title: the title.
    """
    side = min(3.6 + 0.4 * len(labels), 16.0)
    figure = new_figure(side + 0.4, side)
    figure.get_layout_engine().set(w_pad=0.1)
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    few = len(labels) <= FEW_CLASSES
    for row, column in zip(*np.nonzero(counts), strict=True) if few else ():
        colour = "white" if share[row, column] > 0.5 else INK
        axes.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=9)
    slant = 0 if max(map(len, labels)) * len(labels) < 60 else 90
    size = min(9.0, max(2.5, 36 * side / len(labels)))  # points that fit into a row
    axes.set_xticks(range(len(labels)), labels, rotation=slant, fontsize=size)
    axes.set_yticks(range(len(labels)), labels, fontsize=size)
    axes.set(xlabel="the model's answer", ylabel="truth")
    axes.set_title(title, loc="left", color=INK, fontsize=11)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure
