"""How a run is asked to stop from outside: Ctrl-C and SIGTERM, heard between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .coordination import NONE, Wish

PREEMPTED = 75


class Preempted(SystemExit):
    """Raised after SIGTERM, once the state is saved; uncaught, it ends the process with the code 75.

    The code is that of a temporary failure (EX_TEMPFAIL): the same call goes on where this one stopped.

    Example:
        >>> Preempted().code
        75
    """

    def __init__(self):
        super().__init__(PREEMPTED)


class Ears:
    """What was heard so far."""

    wish: Wish = NONE


@contextmanager
def listening(can_be_preempted: bool) -> Iterator[Ears]:
    """Yields what notes the first Ctrl-C, so that a run stops between two steps; the second stops at once.

    Args:
        can_be_preempted: whether SIGTERM is heard too; if not it ends the process, as it does by itself.
    """
    ears = Ears()
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears signals
        yield ears
        return

    def interrupt(number, frame):
        if ears.wish & Wish.INTERRUPT:
            raise KeyboardInterrupt
        ears.wish |= Wish.INTERRUPT

    def preempt(number, frame):
        ears.wish |= Wish.PREEMPT

    before = {signal.SIGINT: signal.signal(signal.SIGINT, interrupt)}
    if can_be_preempted:
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, preempt)
    try:
        yield ears
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
