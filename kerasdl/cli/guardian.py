"""Kills the workers of a launcher that is gone; run as a program by `local_workers`, on the standard library alone.

It heads the process group in which the workers are. Its input closes when the launcher ends, in whatever way.
"""

import os
import signal
import sys


def main() -> None:
    """Waits until the launcher is gone, then kills the whole group, itself included."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for the workers
        signal.signal(number, signal.SIG_IGN)
    os.write(1, b"ready\n")
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
