"""The worker processes of one start: their environment, their share of the machine, their output, their end."""

import contextlib
import os
import queue
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.core.refusals import FOLDER
from kerasdl.train.distribute.clusters import Cluster, environment_of

# Below those that systems hand out for outgoing connections, which could take one between its choice and its use.
PORTS = range(10_240, 32_768)
LOOPBACK = "127.0.0.1"
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


class Ended(NamedTuple):
    """A worker's end."""

    index: int
    """Which worker."""
    code: int
    """Its exit code; -N after signal N."""
    seconds: float
    """How long it lived."""


@dataclass(frozen=True)
class Share:
    """What a worker has of this machine; None where it sees all of it."""

    cores: tuple[int, ...] | None
    """The cores that it runs on."""
    gpus: tuple[str, ...] | None
    """What it sees as CUDA_VISIBLE_DEVICES."""


def shares_of(workers: int, cores: Sequence[int] | None, gpus: Sequence[str] | None) -> list[Share]:
    """Returns what each worker gets: as many cores and GPUs as the others, give or take one core.

    Args:
        workers: how many there are.
        cores: what there is to share; with fewer than workers, several stand on one core.
        gpus: what there is to share, the same number for each.

    Raises:
        ArgumentError: there are GPUs, but fewer than workers.
    """
    if gpus and len(gpus) < workers:
        advice = "One process trains on several by strategy 'mirrored'; CUDA_VISIBLE_DEVICES= trains on cores."
        checks.refuse(f"workers must be at most {len(gpus)}, the number of GPUs", workers, advice)
    shares = []
    for index in range(workers):
        own = cores and (cores[index * len(cores) // workers : (index + 1) * len(cores) // workers])
        own = cores and (own or [cores[index % len(cores)]])
        each = len(gpus) // workers if gpus else 0
        seen = tuple(gpus[index * each : (index + 1) * each]) if gpus else None
        shares.append(Share(tuple(own) if own else None, seen))
    return shares


def cores_here() -> list[int] | None:
    """Returns the cores that this process may use; None where the system does not pin."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def gpus_here(environ: Mapping[str, str]) -> list[str] | None:
    """Returns the GPUs that a program started here would see; None where nothing tells."""
    if "CUDA_VISIBLE_DEVICES" in environ:
        return [part.strip() for part in environ["CUDA_VISIBLE_DEVICES"].split(",") if part.strip() not in ("", "-1")]
    found = Path("/proc/driver/nvidia/gpus")
    return [str(index) for index, _ in enumerate(found.iterdir())] if found.is_dir() else None


def worker_environment(cluster: Cluster, share: Share, environ: Mapping[str, str]) -> dict[str, str]:
    """Returns the whole environment of a worker on this machine."""
    plain = {name: value for name, value in environ.items() if name != "TF_CONFIG"}
    own = environment_of(cluster, plain)
    if share.cores is not None:
        own |= {name: str(len(share.cores)) for name in THREADS if name not in environ}
    if share.gpus is not None:
        own["CUDA_VISIBLE_DEVICES"] = ",".join(share.gpus)
    return plain | own


def free_ports(count: int) -> list[int]:
    """Returns ports of loopback that nobody listens on."""
    found: list[int] = []
    with contextlib.ExitStack() as held:
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            if len(found) == count:
                return found
            candidate = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                candidate.bind((LOOPBACK, port))
                found.append(port)
    raise DataError(f"{LOOPBACK} has no {count} free ports from {PORTS.start} to {PORTS.stop}. Close some servers.")


class Workers:
    """The workers of one start, all in one process group, which ends with this process whatever becomes of it."""

    def __init__(self, command: list[str], shares: Sequence[Share], events: queue.SimpleQueue):
        """Starts them; the end of each becomes an `Ended` among the events.

        Raises:
            DataError: the program is not there, or no port is free.
        """
        self.threads: list[threading.Thread] = []
        self.refusals = tempfile.TemporaryDirectory(prefix="kerasdl_")
        self.running = set(range(len(shares)))
        addresses = tuple(f"{LOOPBACK}:{port}" for port in free_ports(len(shares)))
        sys.stdout.flush()
        self.guardian = _start_guardian()
        try:
            for index, share in enumerate(shares):
                process = _start(command, Cluster(addresses, index), share, self.guardian.pid, self.refusals.name)
                self._follow(index, process, events)
        except BaseException:
            self.kill()
            raise

    def signal(self, number: int) -> None:
        """Sends a signal to all that run, and to what they started."""
        if self.guardian.returncode is None:  # until it is waited for, nobody else gets its number
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.guardian.pid, number)

    def kill(self) -> None:
        """Ends all that is left; what the workers printed is shown by then."""
        self.signal(signal.SIGKILL)
        self.guardian.stdin.close()
        self.guardian.stdout.close()
        self.guardian.wait()
        for thread in self.threads:
            thread.join(timeout=5.0)
        self.refusals.cleanup()
        self.running.clear()

    def _follow(self, index: int, process: subprocess.Popen, events: queue.SimpleQueue) -> None:
        started = time.monotonic()

        def wait():
            events.put(Ended(index, process.wait(), time.monotonic() - started))

        self.threads.append(_thread(wait))
        for source, sink in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
            if source is not None:
                self.threads.append(_thread(lambda source=source, sink=sink: _copy(source, sink, index)))


def not_there(command: Sequence[str], error: OSError) -> DataError:
    """Returns the error of a program that cannot be run."""
    return DataError(f"{command[0]!r} cannot be run: {error.strerror}. Check the command after --.")


def _start(command: list[str], cluster: Cluster, share: Share, group: int, told: str) -> subprocess.Popen:
    pipe = None if cluster.index == 0 else subprocess.PIPE
    try:
        with _standing_on(share.cores):
            return subprocess.Popen(
                command,
                env=worker_environment(cluster, share, {**os.environ, FOLDER: told}),
                stdin=subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                process_group=group,
            )
    except OSError as error:
        raise not_there(command, error) from None


def _start_guardian() -> subprocess.Popen:
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("guardian.py"))]
    guardian = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)
    guardian.stdout.readline()  # from here on it outlives the signals that go to the group
    return guardian


@contextlib.contextmanager
def _standing_on(cores: tuple[int, ...] | None) -> Iterator[None]:
    """Moves this thread to some cores, so that the process which it starts is there from its first moment."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _thread(function: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    return thread


def _copy(source: Any, sink: Any, index: int) -> None:
    """Copies line by line, each with the worker's number; a line is one write, so that two never mix."""
    with source:
        for line in source:
            text = f"[{index}] " + line.decode(errors="replace")
            with contextlib.suppress(OSError, ValueError):
                sink.write(text if text.endswith("\n") else text + "\n")
                sink.flush()
