"""How many updates one compiled call makes: several where Python between two calls costs as much as an update."""

import time

SECONDS_A_CALL = 0.05
"""A call takes about so long, so that signals, saves and the display wait no longer."""
MOST = 100
WORTH_IT = 0.004
"""Seconds of an update above which Python's 0.3 to 0.5 ms between two calls are under a tenth."""
MEASURED = (2, 8)
"""From which update to which the time is taken; the first ones fill caches."""


class Pace:
    """Chooses how many updates to make in the next call.

    Args:
        setting: a number, or None to measure single updates first and then choose.
        possible: whether several can be made in one call.
    """

    def __init__(self, setting: int | None, possible: bool):
        self.chosen = (setting or None) if possible else 1
        self.seen, self.seconds = 0, 0.0

    def count(self, room: int | None) -> int:
        """Returns the number of updates for the next call, `room` at most; one where the room is unknown."""
        return 1 if room is None or self.chosen is None else max(1, min(self.chosen, room))

    @property
    def measuring(self) -> bool:
        """Whether single updates are still being timed."""
        return self.chosen is None

    def note(self, seconds: float, steps_left: int | None, tracing: float) -> str | None:
        """Takes the time of one update; once it is known, chooses, and returns what to say of the choice.

        Args:
            seconds: time of the update, its values read.
            steps_left: updates left in the run, None where unknown.
            tracing: seconds that it takes to compile the step once more.
        """
        self.seen += 1
        if self.seen > MEASURED[0]:
            self.seconds += seconds
        if self.seen < MEASURED[1]:
            return None
        each = self.seconds / (MEASURED[1] - MEASURED[0])
        pays = steps_left is not None and steps_left * min(each, 0.0004) > 2 * tracing
        if each > WORTH_IT or not pays:
            self.chosen = 1
            return None
        self.chosen = max(1, min(MOST, round(SECONDS_A_CALL / each)))
        return f"{self.chosen} steps a call, as one takes {1000 * each:.1f} ms"


def timed(function, *args):
    """Returns what a function returns, and the seconds that it took."""
    started = time.perf_counter()
    value = function(*args)
    return value, time.perf_counter() - started
