"""Agreement of the answers of an exported file with those of its model, such as the objects of a detector."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Agreement:
    """Agreement of the answers that are read from the outputs of a file with those of its model."""

    compared: str
    """The answers that were compared, in words: "43 objects of 6 examples"."""
    gaps: Mapping[str, tuple[float, float]]
    """Differences by their words, such as "share of objects missed": each with the largest that is allowed."""
    unseen: tuple[str, ...] = ()
    """Outputs on which none of the compared answers stands."""

    @property
    def faults(self) -> tuple[str, ...]:
        """Sentences on the differences that are too large."""
        return tuple(
            f"{words} {value:.2g}, at most {bound:g}" for words, (value, bound) in self.gaps.items() if value > bound
        )

    def __str__(self) -> str:
        return f"{self.compared}: " + ", ".join(f"{words} {value:.2g}" for words, (value, _) in self.gaps.items())
