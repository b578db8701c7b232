"""Pictures of the quickstart: images with the answers to them, learning curves, a confusion matrix."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends import backend_agg
from matplotlib.figure import Figure

from kerasdl.core import files

FINE_TUNED, FROM_SCRATCH, INK, FAINT = "#2563eb", "#9ca3af", "#1f2937", "#e5e7eb"
WRONG = "#dc2626"
ANSWERS_A_CLASS = 2


def draw_comparison(path: Path, curves: Mapping[str, Sequence[float]], final: Mapping[str, float], title: str) -> None:
    """Draws the validation accuracy of each run over its epochs, labelled with its test accuracy, as PNG."""
    figure, axes = _canvas((7.2, 4.0))
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
    _save(figure, path)


def draw_answers(path: Path, rows: Sequence[tuple], labels: Sequence[str]) -> None:
    """Draws images in rows, the first ones of every class, as PNG.

    Args:
        path: the file.
        rows: a title, images (B, H, W, 3), their classes (B,), and the answers to them (B,), or None for no answers.
        labels: the name of each class.
    """
    figure = Figure(figsize=(8.4, 1.15 * len(rows) * ANSWERS_A_CLASS), dpi=120, layout="constrained")
    backend_agg.FigureCanvasAgg(figure)
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
    _save(figure, path)


def draw_confusion(path: Path, truth: np.ndarray, guess: np.ndarray, labels: Sequence[str], title: str) -> None:
    """Draws a confusion matrix as PNG: counts of true and predicted classes."""
    counts = np.zeros((len(labels), len(labels)), int)
    np.add.at(counts, (truth, guess), 1)
    figure, axes = _canvas((5.6, 5.2))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(counts), strict=True):
        colour = "white" if share[row, column] > 0.5 else INK
        axes.text(column, row, counts[row, column], ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="the model's answer", ylabel="truth")
    axes.set_title(title, loc="left", color=INK)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    _save(figure, path)


def _canvas(size: tuple[float, float]):
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    backend_agg.FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _save(figure: Figure, path: Path) -> None:
    with files.writing(path) as file:
        figure.savefig(file)
