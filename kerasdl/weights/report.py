"""Report of a weight import."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ImportReport:
    """Report of `import_weights`.

    Example:
        >>> report = import_weights(kerasdl.build("mlp"), kerasdl.build("mlp"))
        >>> report.head, report.numbers == kerasdl.build("mlp").count_params()
        (True, True)
    """

    source: str
    """Source of the weights."""
    numbers: int
    """Number of imported numbers."""
    head: bool
    """True if the head was imported; False if it has another number of classes."""
    preprocess: Mapping[str, Any] | None
    """Pixel scaling of the source, as a setting of a bundle's preprocessing; None if unknown."""
    difference: float | None = None
    """Largest difference between the outputs of both nets for the same random inputs, relative to the largest output;
    None if they were not compared."""
    notes: tuple[str, ...] = ()
    """Further remarks."""

    def __str__(self) -> str:
        head = "" if self.head else "; the head is fresh, as it answers another number of classes"
        return "\n".join([f"{self.numbers:,} numbers from {self.source}{head}", *self.notes])
