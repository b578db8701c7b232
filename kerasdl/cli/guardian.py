"""Guardian process: kills the workers of a launcher that has ended; started by `local_workers`.

It leads the process group of the workers, and uses the standard library alone. Its input closes when the launcher
ends, for any reason.
"""

import os
import signal
import sys


def main() -> None:
    """Waits for the end of the launcher, then kills the whole group, itself included."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for the workers
        signal.signal(number, signal.SIG_IGN)
    os.write(1, b"ready\n")
    sys.stdin.read()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
