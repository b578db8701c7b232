"""Coordination between training processes: which one writes files, and how requests reach all of them."""

import enum
from collections.abc import Mapping, Sequence
from typing import Any


class Wish(enum.IntFlag):
    """What a worker may ask of all."""

    SAVE = 1
    """A checkpoint, now."""
    INTERRUPT = 2
    """A stop as on Ctrl-C: save and leave."""
    PREEMPT = 4
    """A stop as on SIGTERM: save and leave with an exit code of its own."""
    END = 8
    """The end of the run, as a callback may ask for it."""


NONE = Wish(0)


class Crew:
    """One process, which agrees with itself."""

    chief = True
    """Whether this process writes files."""

    def heard(self, values: Mapping[str, Any], own: Wish) -> Wish:
        """Takes what a step returned and this process's wishes; returns what all do now."""
        return own

    def vote(self, own: Wish) -> Wish:
        """Returns what anyone wishes; called by all at the same place, between steps."""
        return own

    def everyones(self, number: float) -> Sequence[float]:
        """Returns the number of each process; called by all at the same place."""
        return [number]

    def chiefs(self, value: Any) -> Any:
        """Returns the chief's value, plain and fit for JSON; called by all at the same place, others' do not count."""
        return value
