"""Launcher of training workers: starts and supervises local processes, or joins a cluster.

It does not load TensorFlow. The end of a worker is handled as follows:

| a worker | action |
|---|---|
| ends with 0 | it is done; the others continue |
| is killed by a signal, or fails after its first minute | all restart, if restarts are left |
| fails within its first minute, imports included | no restart: an error in the program would repeat |
| ends with 2 to 6 (a mistake in the call, unreadable data, a loss that is not a number, ...) | no restart |
| ends with 75 (preempted, its state saved) | the others get the signal to save and end; the job ends with 75 |

The job ends with 0, or with the code of the worker that failed first; 128 + N means signal N. SIGTERM, SIGINT and
SIGHUP are forwarded to all workers, which get `grace` seconds; the job then ends with 75 if they did.
"""

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence

from kerasdl.core import checks
from kerasdl.train.distribute.clusters import cluster_from, environment_of, scheduler_of

from .local_workers import Ended, Share, Workers, cannot_run, cores_here, gpus_here, shares_of

PREEMPTED = 75
FINAL_CODES = range(2, 7)  # deliberate exit codes of the command line; the same call would end the same way
EARLY_SECONDS = 60.0
# A worker that waits for a dead peer in a collective operation does not handle signals.
PEER_GRACE = 3.0
LONGEST_PAUSE = 30.0
FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def launch(
    command: Sequence[str], workers: int | None = None, *, restarts: int = 3, pin: bool = True, grace: float = 30.0
) -> int:
    """Runs a program as several workers on this machine, or as one worker of the cluster that the environment names.

    With `workers`, each worker gets its own loopback port, TF_CONFIG, and its share of the cores, the threads and the
    visible GPUs. The output of the chief, worker 0, is unchanged; lines of the others begin with their number, `[1] `.
    If one worker dies, all are stopped and restart on new ports; with `RunConfig(folder=...)` training resumes. No
    worker outlives this process, however it ends.

    Without `workers`, this process becomes the program (and does not return): as the worker that TF_CONFIG, `srun` or a
    Kubernetes indexed Job names, or as the only process of a TPU VM. Restarts are then left to the scheduler.

    Args:
        command: the program and its arguments, such as `["python", "train.py"]`.
        workers: number of workers on this machine, 1 or more; None joins the cluster of the environment.
        restarts: how often all workers may restart, 0 or more.
        pin: whether each worker runs on its own share of the cores, with as many threads, unless OMP_NUM_THREADS or
            TF_NUM_INTRAOP_THREADS is set.
        grace: seconds that workers have to save after the signal to end, before they are killed.

    Returns:
        The exit code of the job: 0 done; 75 preempted, with the state saved; else that of the worker that failed
        first, or 128 + N if signal N killed it.

    Raises:
        ArgumentError: an argument breaks its rule, or the environment names no cluster.
        DataError: the program does not exist.

    Example:
        >>> launch(["python3", "-c", "import os; os.environ['TF_CONFIG']"], workers=1)
        0
    """
    if not command:
        checks.refuse("a command must follow, as in kerasdl launch --workers 2 -- python train.py", None)
    if workers is None:
        _become(list(command))
    checks.at_least("workers", workers, 1)
    checks.at_least("restarts", restarts, 0)
    checks.within("grace", grace, 0.0, 86_400.0)
    shares = shares_of(workers, cores_here() if pin else None, gpus_here(os.environ))
    return _Supervisor(list(command), shares, restarts, grace).run()


def _become(command: list[str]) -> None:
    """Replaces this process by a worker of the cluster that the environment names."""
    cluster = cluster_from(os.environ)
    if cluster is None and scheduler_of(os.environ) != "tpu":
        advice = "Pass --workers N to start N here. In a SLURM job start it with srun; see docs/scaling.md."
        checks.refuse("without --workers the environment must name a cluster", None, advice)
    own = {} if cluster is None else environment_of(cluster, os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execvpe(command[0], command, {**os.environ, **own})
    except OSError as error:
        raise cannot_run(command, error) from None


class _Supervisor:
    """Supervisor of the workers of a job: starts them, waits, restarts within the limit."""

    def __init__(self, command: list[str], shares: list[Share], restarts: int, grace: float):
        self.command, self.shares, self.restarts, self.grace = command, shares, restarts, grace
        self.events: queue.SimpleQueue[Ended | int] = queue.SimpleQueue()
        self.end_signal: int | None = None  # the signal that ends the job

    def run(self) -> int:
        with _signals_to(self.events):
            for attempt in range(self.restarts + 1):
                workers = Workers(self.command, self.shares, self.events)
                try:
                    failed, code = self._watch(workers)
                finally:
                    workers.kill()
                self._drop_events()
                if failed is None or not self._may_restart(failed, attempt):
                    break
                self._pause(min(2.0**attempt, LONGEST_PAUSE))
                if self.end_signal is not None:
                    return 128 + self.end_signal
        return code

    def _watch(self, workers: Workers) -> tuple[Ended | None, int]:
        """Waits for the workers; returns the failed worker for which all may restart, or None, and the exit code."""
        while workers.running:
            event = self.events.get()
            if isinstance(event, int):
                _say(f"{signal.Signals(event).name} goes to all workers, which have {self.grace:g} s to save")
                return None, self._dismiss(workers, event)
            workers.running.discard(event.index)
            if event.code == PREEMPTED:
                _say(f"worker {event.index} was preempted; the others are asked to save")
                return None, self._dismiss(workers, signal.SIGTERM, event)
            if event.code:
                workers.signal(signal.SIGTERM)
                self._wait(workers, min(PEER_GRACE, self.grace))
                return event, _exit_code(event.code)
        return None, 0

    def _dismiss(self, workers: Workers, number: int, *ended: Ended) -> int:
        """Forwards a signal and waits; returns 75 if all saved or were done, else the first other exit code."""
        workers.signal(number)
        ends = [*ended, *self._wait(workers, self.grace)]
        if workers.running:
            _say(f"workers {sorted(workers.running)} did not end within {self.grace:g} s and are killed")
            return 128 + signal.SIGKILL
        others = [end.code for end in ends if end.code not in (0, PREEMPTED)]
        if others:
            return _exit_code(others[0])
        return PREEMPTED if any(end.code for end in ends) else 0

    def _wait(self, workers: Workers, seconds: float) -> list[Ended]:
        """Returns the workers that end in time; forwards signals to the others."""
        ends, limit = [], time.monotonic() + seconds
        while workers.running and (left := limit - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                event = self.events.get(timeout=left)
                if isinstance(event, int):
                    self.end_signal = event
                    workers.signal(event)
                else:
                    workers.running.discard(event.index)
                    ends.append(event)
        return ends

    def _drop_events(self) -> None:
        while not self.events.empty():
            event = self.events.get()
            self.end_signal = event if isinstance(event, int) else self.end_signal

    def _pause(self, seconds: float) -> None:
        """Waits before the next start; a signal that ends the job ends the wait."""
        with contextlib.suppress(queue.Empty):
            self.end_signal = self.events.get(timeout=seconds)

    def _may_restart(self, failed: Ended, attempt: int) -> bool:
        story = f"worker {failed.index} {_end_of(failed.code)} after {failed.seconds:.0f} s"
        if self.end_signal is not None:
            _say(story)
        elif failed.code in FINAL_CODES:
            _say(f"{story}; starting again would end the same way")
        elif failed.code > 0 and failed.seconds < EARLY_SECONDS:
            _say(f"{story}, too early for a restart: it would fail the same way")
        elif attempt == self.restarts:
            _say(f"{story}; all {self.restarts} restarts are used up" if attempt else story)
        else:
            _say(f"{story}; all {len(self.shares)} start again, {attempt + 1} of {self.restarts}")
            return True
        return False


@contextlib.contextmanager
def _signals_to(events: queue.SimpleQueue) -> Iterator[None]:
    """Turns the signals that end a job into events; other threads than the main one cannot handle signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda number, frame: events.put(number)) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_code(code: int) -> int:
    return 128 - code if code < 0 else code


def _end_of(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _say(text: str) -> None:
    print(f"launch: {text}.", file=sys.stderr, flush=True)
