"""Unrolled view of a recurrent net: a copy of each layer for each step and the states between them, printed and drawn.

Source: Goodfellow et al. 2016, https://www.deeplearningbook.org, section 10.1 (unfolding computational graphs).
"""

import math
import os
from dataclasses import dataclass

import keras
from keras import layers
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from kerasdl.core import checks
from kerasdl.core.plotting import FADED, FAINT, GREY, INK, TRAIN, keep, new_figure
from kerasdl.layers import PaddingMask

from .carried_state import AT_EACH_TOKEN, state_names

FORWARDS, BACKWARDS, BOTH, EACH, END = "forwards", "backwards", "both ways", "each step", "end"
MOST_STEPS = 12
BOX, GAP = 16, 9
"""Letters of a box, and of the arrow between two."""
WIDTH, HEIGHT = 0.62, 0.44


@dataclass(frozen=True)
class _Row:
    """Layer of the unrolled view."""

    name: str
    way: str
    carries: str
    weights: int


def unrolled_text(model: keras.Model, steps: int = 3) -> str:
    """Returns the unrolled view of a recurrent net as text, the first layer below.

    Args:
        model: a functional model from one sequence, of recurrent layers and layers that compute each step by itself;
            behind the last recurrent layer there may be any others.
        steps: T, steps that are shown, 1 to 12.

    Returns:
        A line for each layer, with a box a step, and its weights, which are the same at all steps.

    Raises:
        ArgumentError: the model has another form, or `steps` is out of range.

    Example:
        >>> print(unrolled_text(kerasdl.build("rnn_classifier", length=5, vocabulary=9, units=4), 2))
                                               [head]              10 weights
                                                 ^
         0 --->       [rnn1]       --h->       [rnn1]              532 weights, the same at each step
                        ^                        ^
                   [embedding]              [embedding]            1,152 weights, the same at each step
                        ^                        ^
                      step 1                   step 2              tokens
    """
    rows = _rows_of(model, steps)
    lines = []
    for below, row in reversed(list(zip([None, *rows], rows, strict=False))):
        lines += [_line(row, steps) + _note(row, below), _arrows(row, steps)]
    lines.append("".join(" " * GAP + f"{f'step {step + 1}':^{BOX}}" for step in range(steps)))
    return "\n".join(line.rstrip() for line in [*lines[:-1], f"{lines[-1]}{'':<{GAP}}{model.inputs[0].name}"])


def draw_unrolled(model: keras.Model, steps: int = 4, path: str | os.PathLike | None = None) -> Figure:
    """Draws the unrolled view of a recurrent net: a column for each step, the same weights in each row.

    Args:
        model: as in `unrolled_text`.
        steps: T, steps that are drawn, 1 to 12.
        path: file of the picture, such as `unrolled.png`; None writes none.

    Returns:
        A matplotlib figure.

    Raises:
        ArgumentError: the model has another form, or `steps` is out of range.

    Example:
        >>> model = kerasdl.build("lstm_language_model", length=8, vocabulary=9, units=4, embedding=4, depth=2)
        >>> len(draw_unrolled(model, 3).axes[0].patches)  # embedding, two LSTM and the head at three steps
        12
    """
    rows = _rows_of(model, steps)
    figure = new_figure(1.5 * steps + 3.4, 0.85 * len(rows) + 1.3)
    axes = figure.subplots()
    axes.set_xlim(-1.0, steps + 1.5)
    axes.set_ylim(-0.75, len(rows) - 0.2)
    axes.axis("off")
    axes.set_title(f"{model.name}, unrolled", loc="left", color=INK, fontsize=12, fontweight="bold")
    for step in range(steps):
        axes.text(step, -0.6, f"step {step + 1}", ha="center", color=GREY, fontsize=9)
    for height, row in enumerate(rows):
        _draw_row(axes, height, row, steps, rows[height - 1] if height else None)
    return keep(figure, path)


def _rows_of(model: keras.Model, steps: int) -> list[_Row]:
    """Returns the layers with weights, and sums, in the order of the graph."""
    if checks.at_least("steps", steps, 1) > MOST_STEPS:
        checks.refuse(f"steps must be an integer of {MOST_STEPS} at most", steps)
    if not getattr(model, "inputs", None) or len(model.inputs) != 1:
        checks.refuse("a model to unroll must be functional, with one input", model.name)
    rows: list[_Row] = []
    for layer in model.operations:
        count = sum(math.prod(weight.shape) for weight in getattr(layer, "weights", ()))
        both = isinstance(layer, layers.Bidirectional)
        cell = layer.forward_layer if both else layer
        if isinstance(cell, layers.RNN):
            way = BOTH if both else BACKWARDS if cell.go_backwards else FORWARDS
            rows.append(_Row(layer.name, way, ", ".join(state_names(cell)), count))
            continue
        if len(layer.output.shape) < 3 and not isinstance(layer, (layers.InputLayer, PaddingMask)):
            way = END
        elif isinstance(layer, (*AT_EACH_TOKEN, PaddingMask)):
            way = EACH
        else:
            rule = "a layer of a model to unroll must be recurrent, or compute each step by itself"
            checks.refuse(rule, f"{layer.name}, a {type(layer).__name__}")
        if count or isinstance(layer, layers.Add):
            rows.append(_Row(layer.name, way, "", count))
    if all(not row.carries for row in rows):
        checks.refuse("a model to unroll must have a recurrent layer", model.name)
    return rows


def _note(row: _Row, below: _Row | None) -> str:
    if not row.weights:
        return "sum with the input of the layer below"
    ends = ", of both ends" if below is not None and below.way == BOTH else ""
    return f"{row.weights:,} weights{ends if row.way == END else ', the same at each step'}"


def _line(row: _Row, steps: int) -> str:
    """Returns the boxes of a layer in a line, with the states that go from one to the next."""
    links = {FORWARDS: f"--{row.carries}->", BACKWARDS: f"<-{row.carries}--", BOTH: f"<-{row.carries}->"}
    link, first = links.get(row.way, ""), "0 --->" if row.way in (FORWARDS, BOTH) else ""
    line = ""
    for step in range(steps):
        box = "" if row.way == END and step < steps - 1 else f"[{row.name[: BOX - 2]}]"
        line += f"{link if step else first:^{GAP}}{box:^{BOX}}"
    return f"{line}{'<--- 0' if row.way in (BACKWARDS, BOTH) else '':<{GAP}}"


def _arrows(row: _Row, steps: int) -> str:
    """Returns the line of arrows into the boxes of a layer."""
    shown = (" " if row.way == END and step < steps - 1 else "^" for step in range(steps))
    return "".join(" " * GAP + f"{arrow:^{BOX}}" for arrow in shown)


def _draw_row(axes: Axes, height: int, row: _Row, steps: int, below: _Row | None) -> None:
    """Draws the boxes of a layer, the arrows from the row below, and the states between its steps."""
    shown = [steps - 1] if row.way == END else range(steps)
    for step in shown:
        colour = TRAIN if row.carries else FADED
        axes.add_patch(Rectangle((step - WIDTH / 2, height - HEIGHT / 2), WIDTH, HEIGHT, color=colour, linewidth=0))
        text = row.name if len(row.name) <= 14 else f"{row.name[:13]}…"
        ink = "white" if row.carries else INK
        axes.text(step, height, text, ha="center", va="center", fontsize=8 if len(text) < 11 else 6.5, color=ink)
        _arrow(axes, (step, height - 1 + HEIGHT / 2 if below else -0.48), (step, height - HEIGHT / 2))
    if row.way == END and below is not None and below.way == BOTH:
        _arrow(axes, (0, height - 1 + HEIGHT / 2), (steps - 1 - WIDTH / 2, height))  # the other way ends at step 1
    axes.text(steps - 0.2, height, _note(row, below), va="center", fontsize=8, color=GREY)
    for left in range(-1, steps) if row.carries else ():
        lift = 0.08 if row.way == BOTH else 0.0
        start, stop = left + WIDTH / 2, left + 1 - WIDTH / 2
        if row.way in (FORWARDS, BOTH) and left < steps - 1:
            _arrow(axes, (start, height + lift), (stop, height + lift))
        if row.way in (BACKWARDS, BOTH) and left >= 0:
            _arrow(axes, (stop, height - lift), (start, height - lift))
        outside = FORWARDS if left < 0 else BACKWARDS if left == steps - 1 else None  # of the way that starts there
        if outside is not None and row.way not in (outside, BOTH):
            continue
        label = row.carries if outside is None else "0"
        axes.text((start + stop) / 2, height + 0.16, label, ha="center", fontsize=8, color=INK)


def _arrow(axes: Axes, start: tuple[float, float], stop: tuple[float, float]) -> None:
    axes.annotate("", stop, start, arrowprops={"arrowstyle": "->", "color": FAINT if start == stop else GREY})
