"""What every layer of a model gave, to find where a bridged model goes astray as a whole."""

from dataclasses import dataclass
from typing import Any

import keras

from kerasdl.core.errors import ExportError

from .masks import Both, is_both
from .verification import TOLERANCE, gap_between

SUDDEN = 1e-3  # rounding grows from layer to layer; what goes astray is there at once


@dataclass(frozen=True)
class Step:
    """One output of one layer."""

    name: str
    """The layer's name."""
    sources: list[Both]
    """What went in."""
    output: Both
    """What came out."""


def steps(name: str, arguments: Any, outputs: list[Both]) -> list[Step]:
    """Returns the steps of one call of a layer."""
    sources = [value for value in keras.tree.flatten(arguments) if is_both(value)]
    return [Step(name, sources, output) for output in outputs]


def check_trail(trail: list[Step], given: Any) -> None:
    """Compares what each layer gave by itself with what it gives in the bridged model.

    Args:
        trail: the steps, in the order of the graph.
        given: what the bridged model gives for each.

    Raises:
        ExportError: a layer's output is another, though its inputs are the same; the text names it.
    """
    gaps: dict[int, float] = {}
    for step, value in zip(trail, keras.tree.flatten(given), strict=True):
        gaps[id(step.output)] = gap = gap_between(step.output.real, value)
        before = max((gaps.get(id(source), 0.0) for source in step.sources), default=0.0)
        if gap > max(SUDDEN, SUDDEN / TOLERANCE * before):
            raise ExportError(
                f"layer {step.name!r} must give in the bridged model what it gives in the source; got a difference of "
                f"{gap:.1e}, though not by itself. Are there masks that reach it by a way of their own?"
            )
