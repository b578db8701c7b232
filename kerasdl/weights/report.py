"""What an import of weights did."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ImportReport:
    """What `import_weights` did.

    Example:
        >>> report = import_weights(kerasdl.build("mlp"), kerasdl.build("mlp"))
        >>> report.head, report.numbers == kerasdl.build("mlp").count_params()
        (True, True)
    """

    source: str
    """Where the weights came from."""
    numbers: int
    """How many numbers were taken."""
    head: bool
    """Whether the head's were among them; not where it answers another number of classes."""
    preprocess: Mapping[str, Any] | None
    """What the peer does to pixels, as a setting of a bundle's preprocessing; None where it is not known."""
    difference: float | None = None
    """The largest difference of the two nets' answers to the same random inputs, as a share of the largest answer;
    None where they were not compared."""
    notes: tuple[str, ...] = ()
    """What else to know."""

    def __str__(self) -> str:
        head = "" if self.head else "; the head is fresh, as it answers another number of classes"
        return "\n".join([f"{self.numbers:,} numbers from {self.source}{head}", *self.notes])
