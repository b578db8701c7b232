"""Measurement of answers to labelled data: figures, a table of classes, values for programs, pictures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Measurement:
    """Figures of answers to labelled data, as a task measures them, with what a report shows beside them."""

    figures: Mapping[str, float]
    """Figures by name, such as AP50."""
    columns: tuple[str, ...] = ()
    """Columns of the table of classes; empty without a table."""
    rows: Sequence[tuple] = ()
    """Rows of that table."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Further values for programs, which JSON can hold."""
    pictures: Mapping[str, Callable[[Path], Any]] = field(default_factory=dict)
    """Pictures by the name of a file, each as a function that writes it to a path."""
