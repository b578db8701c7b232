"""Memory of this process, current and peak resident bytes, and free memory of the machine.

The first two are the kernel's counters of the process: `ru_maxrss` would start at the peak of the parent process.
"""

import math
import resource
import sys
from contextlib import suppress
from pathlib import Path

PROCESS = Path("/proc/self")
MACHINE = Path("/proc/meminfo")


def forget_peak() -> None:
    """Resets the peak memory of this process to the current value, on Linux."""
    with suppress(OSError):  # no Linux, or a sandbox
        (PROCESS / "clear_refs").write_text("5")


def held_memory() -> int:
    """Returns the resident memory of this process in bytes; outside Linux, its peak."""
    return _bytes("VmRSS")


def peak_memory() -> int:
    """Returns the peak resident memory of this process in bytes since `forget_peak`."""
    return _bytes("VmHWM")


def available_memory() -> float:
    """Returns the memory of the machine that is free, in bytes; infinity where the system does not say."""
    with suppress(OSError, KeyError):
        fields = dict(line.split(":", 1) for line in MACHINE.read_text().splitlines())
        return 1024 * int(fields["MemAvailable"].split()[0])
    return math.inf


def _bytes(field: str) -> int:
    try:
        fields = dict(line.split(":", 1) for line in (PROCESS / "status").read_text().splitlines())
        return 1024 * int(fields[field].split()[0])
    except OSError:  # no Linux
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
