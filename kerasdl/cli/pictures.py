"""Pictures of the quickstart: images with the answers to them, learning curves, a confusion matrix."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kerasdl.core.display.pictures import confusion
from kerasdl.core.plotting import INK, keep, new_figure

FINE_TUNED, FROM_SCRATCH, FAINT = "#2563eb", "#9ca3af", "#e5e7eb"
WRONG = "#dc2626"
ANSWERS_A_CLASS = 2
IN_A_ROW = 8


def draw_comparison(path: Path, curves: Mapping[str, Sequence[float]], final: Mapping[str, float], title: str) -> None:
    """Draws the validation accuracy of each run over its epochs, labelled with its test accuracy, as PNG."""
    figure = new_figure(7.2, 4.0)
    axes = figure.subplots()
    for (name, values), colour in zip(curves.items(), (FINE_TUNED, FROM_SCRATCH), strict=True):
        epochs = range(1, len(values) + 1)
        axes.plot(epochs, values, color=colour, linewidth=2.2)
        label = f"  {name}: {final[name]:.1%} on the test set"
        axes.annotate(label, (epochs[-1], values[-1]), color=colour if colour != FROM_SCRATCH else INK, va="center")
    longest = max(map(len, curves.values()))
    axes.set(xlim=(1, longest * 1.62), ylim=(0, 1.02), xlabel="epoch", ylabel="validation accuracy")
    axes.set_xticks([tick for tick in axes.get_xticks() if 1 <= tick <= longest])
    axes.set_title(title, loc="left", color=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=FAINT)
    keep(figure, path)


def draw_answers(path: Path, rows: Sequence[tuple], labels: Sequence[str]) -> None:
    """Draws images in rows, the first ones of every class, as PNG.

    Args:
        path: the file.
        rows: a title, images (B, H, W, 3), their classes (B,), and the answers to them (B,), or None for no answers.
        labels: the name of each class.
    """
    figure = new_figure(8.4, 1.15 * len(rows) * ANSWERS_A_CLASS)
    parts = figure.subfigures(len(rows), 1)
    for part, (title, images, truth, answers) in zip(np.atleast_1d(parts), rows, strict=True):
        part.suptitle(title, x=0.01, ha="left", color=INK, fontsize=11)
        axes = part.subplots(ANSWERS_A_CLASS, len(labels), squeeze=False)
        for label in range(len(labels)):
            for row, place in enumerate(np.flatnonzero(truth == label)[:ANSWERS_A_CLASS]):
                axes[row, label].imshow(images[place])
                given = label if answers is None else int(answers[place])
                colour = INK if answers is None else FINE_TUNED if given == label else WRONG
                axes[row, label].set_title(labels[given], color=colour, fontsize=9, pad=2)
        for each in axes.flat:
            each.set_axis_off()
    keep(figure, path)


def draw_confusion(path: Path, counts: np.ndarray, labels: Sequence[str], title: str) -> None:
    """Draws a confusion matrix as PNG, with its counts if the classes are few.

    Args:
        path: the file.
        counts: examples by true class (row) and answer (column), (K, K).
        labels: the name of each class.
        title: the title.
    """
    keep(confusion(counts, labels, title), path)


def draw_contact_sheet(path: Path, pictures: Sequence[tuple[np.ndarray, str, str]], title: str) -> None:
    """Draws images in rows of eight, each under two short lines of text, as PNG.

    Args:
        path: the file.
        pictures: images (H, W, 1 or 3) of any size, uint8, with a line in ink and a line in red.
        title: the title of the sheet.
    """
    rows = max(1, math.ceil(len(pictures) / IN_A_ROW))
    figure = new_figure(1.45 * IN_A_ROW, 1.75 * rows + 0.5)
    figure.suptitle(f"{title}\n", x=0.01, ha="left", color=INK, fontsize=11)
    grid = figure.subplots(rows, IN_A_ROW, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (image, first, second) in zip(grid.flat, pictures, strict=False):
        axes.imshow(image.squeeze(), cmap="gray", vmin=0, vmax=255)
        above = {"xy": (0.5, 1), "xycoords": "axes fraction", "textcoords": "offset points", "ha": "center"}
        axes.annotate(first, xytext=(0, 15), color=INK, fontsize=8, **above)  # points: the axes of a flat image are low
        axes.annotate(second, xytext=(0, 4), color=WRONG, fontsize=8, **above)
    keep(figure, path)
