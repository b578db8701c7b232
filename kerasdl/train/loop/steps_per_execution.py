"""Choice of steps per execution: the number of updates in one compiled call, larger where Python overhead is large."""

import time

CALL_SECONDS = 0.05
"""Target duration of a call; signals, saves and the display wait at most about this long."""
MAX_STEPS = 100
SLOW_UPDATE_SECONDS = 0.004
"""Duration of an update above which the 0.3 to 0.5 ms of Python between two calls are under a tenth of it."""
TIMED_UPDATES = (2, 8)
"""First and last update that are timed; the ones before fill caches."""


class StepsPerExecution:
    """Number of updates in the next compiled call, as set or chosen by timing.

    Args:
        setting: a number, or None to time single updates first and then choose.
        supported: whether several updates can be made in one call.
    """

    def __init__(self, setting: int | None, supported: bool):
        self.chosen = (setting or None) if supported else 1
        self.timed, self.seconds = 0, 0.0

    def next_count(self, limit: int | None) -> int:
        """Returns the number of updates for the next call, `limit` at most; one where the limit is unknown."""
        return 1 if limit is None or self.chosen is None else max(1, min(self.chosen, limit))

    @property
    def measuring(self) -> bool:
        """True if single updates are still being timed."""
        return self.chosen is None

    def record(self, seconds: float, steps_left: int | None, tracing: float) -> str | None:
        """Records the time of one update; returns a message once several updates in a call were chosen, else None.

        Args:
            seconds: time of the update, until its values are read.
            steps_left: updates left in the run; None where unknown.
            tracing: seconds to compile the step once more.
        """
        self.timed += 1
        if self.timed > TIMED_UPDATES[0]:
            self.seconds += seconds
        if self.timed < TIMED_UPDATES[1]:
            return None
        update_seconds = self.seconds / (TIMED_UPDATES[1] - TIMED_UPDATES[0])
        pays = steps_left is not None and steps_left * min(update_seconds, 0.0004) > 2 * tracing
        if update_seconds > SLOW_UPDATE_SECONDS or not pays:
            self.chosen = 1
            return None
        self.chosen = max(1, min(MAX_STEPS, round(CALL_SECONDS / update_seconds)))
        return f"{self.chosen} steps a call, as one step takes {1000 * update_seconds:.1f} ms"


def timed(function, *args):
    """Returns the result of a function call, and the seconds that it took."""
    started = time.perf_counter()
    value = function(*args)
    return value, time.perf_counter() - started
