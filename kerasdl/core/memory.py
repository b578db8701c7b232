"""How much memory this process holds, and the most it held.

The kernel's own count of a process, since `ru_maxrss` begins at what the process that started this one had held.
"""

import resource
import sys
from contextlib import suppress
from pathlib import Path

PROCESS = Path("/proc/self")


def forget_peak() -> None:
    """Lets the peak memory of this process start at what it holds now, where the system can."""
    with suppress(OSError):  # no Linux, or a sandbox
        (PROCESS / "clear_refs").write_text("5")


def held_memory() -> int:
    """Returns the bytes of memory that this process holds; outside Linux, the most that it held."""
    return _bytes("VmRSS")


def peak_memory() -> int:
    """Returns the most bytes of memory that this process held since `forget_peak`."""
    return _bytes("VmHWM")


def _bytes(field: str) -> int:
    try:
        fields = dict(line.split(":", 1) for line in (PROCESS / "status").read_text().splitlines())
        return 1024 * int(fields[field].split()[0])
    except OSError:  # no Linux
        unit = 1 if sys.platform == "darwin" else 1024
        return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
