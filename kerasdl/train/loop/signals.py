"""Signal handling of a run: Ctrl-C and SIGTERM stop it between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .coordination import NO_REQUEST, Request

PREEMPTED = 75


class Preempted(SystemExit):
    """Exit after SIGTERM, raised once the state is saved; uncaught, it ends the process with code 75.

    75 is the code of a temporary failure (EX_TEMPFAIL): the same call continues where this one stopped.

    Example:
        >>> Preempted().code
        75
    """

    def __init__(self):
        super().__init__(PREEMPTED)


class SignalListener:
    """Stop requests from signals received so far."""

    requested: Request = NO_REQUEST


@contextmanager
def listen_for_signals(can_be_preempted: bool) -> Iterator[SignalListener]:
    """Yields a listener that records the first Ctrl-C, so that a run stops between two steps; the second stops at once.

    Args:
        can_be_preempted: whether SIGTERM is recorded too; otherwise it ends the process, as by default.
    """
    listener = SignalListener()
    if threading.current_thread() is not threading.main_thread():  # only the main thread receives signals
        yield listener
        return

    def interrupt(number, frame):
        if listener.requested & Request.INTERRUPT:
            raise KeyboardInterrupt
        listener.requested |= Request.INTERRUPT

    def preempt(number, frame):
        listener.requested |= Request.PREEMPT

    previous = {signal.SIGINT: signal.signal(signal.SIGINT, interrupt)}
    if can_be_preempted:
        previous[signal.SIGTERM] = signal.signal(signal.SIGTERM, preempt)
    try:
        yield listener
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
