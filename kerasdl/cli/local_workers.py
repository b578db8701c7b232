"""Local worker processes of one start: environment, cores and GPUs, output, exit."""

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

# Below the ports of outgoing connections, one of which could take a port between its choice and its use.
PORTS = range(10_240, 32_768)
LOOPBACK = "127.0.0.1"
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")


class Ended(NamedTuple):
    """Exit of a worker."""

    index: int
    """Number of the worker."""
    code: int
    """Its exit code; -N after signal N."""
    seconds: float
    """Its running time."""


@dataclass(frozen=True)
class Share:
    """Share of the machine for one worker; None stands for the whole machine."""

    cores: tuple[int, ...] | None
    """Cores that it runs on."""
    gpus: tuple[str, ...] | None
    """GPUs in its CUDA_VISIBLE_DEVICES."""


def shares_of(workers: int, cores: Sequence[int] | None, gpus: Sequence[str] | None) -> list[Share]:
    """Returns the share of each worker: equal numbers of GPUs, and of cores up to one.

    Args:
        workers: number of workers.
        cores: cores to share; with fewer cores than workers, several workers run on one core.
        gpus: GPUs to share, the same number for each.

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
        visible = tuple(gpus[index * each : (index + 1) * each]) if gpus else None
        shares.append(Share(tuple(own) if own else None, visible))
    return shares


def cores_here() -> list[int] | None:
    """Returns the cores that this process may use; None if the system cannot pin."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None


def gpus_here(environ: Mapping[str, str]) -> list[str] | None:
    """Returns the GPUs that a program started here would see; None if unknown."""
    if "CUDA_VISIBLE_DEVICES" in environ:
        return [part.strip() for part in environ["CUDA_VISIBLE_DEVICES"].split(",") if part.strip() not in ("", "-1")]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(index) for index, _ in enumerate(folder.iterdir())] if folder.is_dir() else None


def worker_environment(cluster: Cluster, share: Share, environ: Mapping[str, str]) -> dict[str, str]:
    """Returns all environment variables of a worker on this machine."""
    plain = {name: value for name, value in environ.items() if name != "TF_CONFIG"}
    own = environment_of(cluster, plain)
    if share.cores is not None:
        own |= {name: str(len(share.cores)) for name in THREADS if name not in environ}
    if share.gpus is not None:
        own["CUDA_VISIBLE_DEVICES"] = ",".join(share.gpus)
    return plain | own


def free_ports(count: int) -> list[int]:
    """Returns free ports of the loopback interface."""
    ports: list[int] = []
    with contextlib.ExitStack() as sockets:
        for port in random.SystemRandom().sample(PORTS, len(PORTS)):
            if len(ports) == count:
                return ports
            candidate = sockets.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                candidate.bind((LOOPBACK, port))
                ports.append(port)
    raise DataError(f"{LOOPBACK} has no {count} free ports from {PORTS.start} to {PORTS.stop}. Close some servers.")


class Workers:
    """Workers of one start, in a process group that ends with this process in any case."""

    def __init__(self, command: list[str], shares: Sequence[Share], events: queue.SimpleQueue):
        """Starts the workers; the exit of each becomes an `Ended` in `events`.

        Raises:
            DataError: the program does not exist, or no port is free.
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
        """Sends a signal to all running workers and their child processes."""
        if self.guardian.returncode is None:  # its process id stays reserved until it is waited for
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.guardian.pid, number)

    def kill(self) -> None:
        """Kills the remaining workers, after their output has been printed."""
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


def cannot_run(command: Sequence[str], error: OSError) -> DataError:
    """Returns the error for a program that cannot be run."""
    return DataError(f"{command[0]!r} cannot be run: {error.strerror}. Check the command after --.")


def _start(command: list[str], cluster: Cluster, share: Share, group: int, reports: str) -> subprocess.Popen:
    pipe = None if cluster.index == 0 else subprocess.PIPE
    try:
        with _pinned_to(share.cores):
            return subprocess.Popen(
                command,
                env=worker_environment(cluster, share, {**os.environ, FOLDER: reports}),
                stdin=subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                process_group=group,
            )
    except OSError as error:
        raise cannot_run(command, error) from None


def _start_guardian() -> subprocess.Popen:
    command = [sys.executable, "-I", "-S", str(Path(__file__).with_name("guardian.py"))]
    guardian = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, process_group=0)
    guardian.stdout.readline()  # from here on it survives signals to the group
    return guardian


@contextlib.contextmanager
def _pinned_to(cores: tuple[int, ...] | None) -> Iterator[None]:
    """Moves this thread to some cores, so that a process which it starts runs there from the beginning."""
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
    """Copies output line by line with the worker's number; each line is one write, so that lines never mix."""
    with source:
        for line in source:
            text = f"[{index}] " + line.decode(errors="replace")
            with contextlib.suppress(OSError, ValueError):
                sink.write(text if text.endswith("\n") else text + "\n")
                sink.flush()
