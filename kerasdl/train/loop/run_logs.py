"""Logs of a run: the figures of each epoch as CSV, as a picture, and for TensorBoard."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf
from matplotlib import ticker
from matplotlib.backends import backend_agg
from matplotlib.figure import Figure

from kerasdl.core import files
from kerasdl.core.plotting import FAINT, INK, TRAIN, VALIDATION

from .hooks import RunCallback

History = Mapping[str, Sequence[float]]


def write_csv(path: Path, history: History) -> None:
    """Writes one row for each epoch, the whole file each time, so that a resumed run repeats no row.

    A figure that is missing in an epoch, NaN in the history, is left empty.
    """
    names = list(history)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["epoch", *names])
    for epoch, values in enumerate(zip(*history.values(), strict=True), 1):
        rows.writerow([epoch, *("" if value != value else value for value in values)])
    files.write_text(path, text.getvalue())


def draw_curves(path: Path, history: History, monitor: str | None, best_epoch: int | None) -> None:
    """Writes the picture of `curves_figure` as PNG."""
    figure = curves_figure(history, monitor, best_epoch)
    with files.writing(path) as file:
        figure.savefig(file)


def curves_figure(history: History, monitor: str | None, best_epoch: int | None) -> Figure:
    """Returns loss and monitored figure over the epochs, training beside validation, the best epoch marked."""
    names = _panels(history, monitor)
    figure = Figure(figsize=(5.6 * max(1, len(names)), 3.8), dpi=120, layout="constrained")
    backend_agg.FigureCanvasAgg(figure)
    for column, name in enumerate(names, 1):
        _draw_panel(figure.add_subplot(1, len(names), column), history, name, best_epoch)
    return figure


def _panels(history: History, monitor: str | None) -> list[str]:
    figures = [name for name in history if not name.startswith("val_") and name != "learning_rate"]
    monitored = (monitor or "").removeprefix("val_")
    second = [monitored] if monitored in figures else figures
    return [*[name for name in figures if name == "loss"], *[name for name in second if name != "loss"][:1]]


def _draw_panel(axes, history: History, name: str, best_epoch: int | None) -> None:
    epochs = range(1, len(history[name]) + 1)
    lines = [("training", history[name], TRAIN), ("validation", history.get(f"val_{name}"), VALIDATION)]
    # Dots tell single epochs apart; on a long run they would only make the line thicker.
    marker = "o" if len(epochs) <= 30 else None
    if best_epoch:
        axes.axvline(best_epoch, color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)), zorder=0)
        axes.annotate(
            f"best: epoch {best_epoch}",
            (best_epoch, 1.0),
            (-4 if best_epoch > (len(epochs) + 1) / 2 else 4, 4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right" if best_epoch > (len(epochs) + 1) / 2 else "left",
            color="#6b7280",
            fontsize=8.5,
        )
    for label, values, colour in lines:
        known = [(epoch, value) for epoch, value in zip(epochs, values or (), strict=False) if value == value]
        if known:
            axes.plot(*zip(*known, strict=True), color=colour, label=label, linewidth=2, marker=marker, markersize=4)
    axes.set_title(name.replace("_", " "), loc="left", color=INK, fontsize=12, fontweight="bold", pad=16)
    axes.set_xlabel("epoch", color=INK)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y", color=FAINT, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9, labelcolor=INK)


class TensorBoardLog(RunCallback):
    """TensorBoard scalars of each epoch, training and validation as two runs side by side."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.writers: dict[str, tf.summary.SummaryWriter] = {}

    def end_epoch(self, epoch: int, figures: dict[str, float]) -> str | None:
        for name, value in figures.items():
            part = "validation" if name.startswith("val_") else "train"
            if part not in self.writers:
                self.writers[part] = tf.summary.create_file_writer(str(self.folder / part))
            with self.writers[part].as_default():
                tf.summary.scalar(name.removeprefix("val_"), value, step=epoch + 1)
        for writer in self.writers.values():
            writer.flush()

    def end(self) -> None:
        for writer in self.writers.values():
            writer.close()
        self.writers.clear()
