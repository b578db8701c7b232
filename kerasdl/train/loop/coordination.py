"""Coordination between training processes: which one writes files, and how requests reach all of them."""

import enum
from collections.abc import Mapping, Sequence
from typing import Any


class Request(enum.IntFlag):
    """Actions that one process can ask all processes of a run to take after the same step."""

    SAVE = 1
    """Write a checkpoint now."""
    INTERRUPT = 2
    """Stop as on Ctrl-C: save and leave."""
    PREEMPT = 4
    """Stop as on SIGTERM: save and leave with its own exit code."""
    END = 8
    """End the run, as a callback may ask."""


NO_REQUEST = Request(0)


class Coordinator:
    """Coordination of a run in one process; `distribute.workers.Workers` is the one for several."""

    chief = True
    """True if this process writes files."""

    def requests_after_step(self, values: Mapping[str, Any], own: Request) -> Request:
        """Returns the requests on which all processes act now.

        Args:
            values: the values that the step returned.
            own: the requests of this process.
        """
        return own

    def all_reduce_requests(self, own: Request) -> Request:
        """Returns the requests of all processes; all of them call it at the same place between two steps."""
        return own

    def all_gather(self, number: float) -> Sequence[float]:
        """Returns the number of each process; all of them call it at the same place."""
        return [number]

    def broadcast_from_chief(self, value: Any) -> Any:
        """Returns the chief's value in every process; all of them call it at the same place.

        Args:
            value: plain values for JSON; only the chief's is used.
        """
        return value
