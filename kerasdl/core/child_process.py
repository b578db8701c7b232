"""Child process that runs a module of kerasdl and answers each line with a line of JSON."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


class ChildProcess:
    """Child process as its caller sees it: lines in, JSON out."""

    def __init__(self, process: subprocess.Popen, errors: Any):
        self.process, self._errors = process, errors

    def ask(self, line: Any) -> Any:
        """Sends one line, and returns the decoded answer; None if the process has ended."""
        try:
            # Written without Python's buffer: its last flush would fail on the closed pipe.
            os.write(self.process.stdin.fileno(), f"{line}\n".encode())
        except BrokenPipeError:
            return None
        return self.answer()

    def answer(self) -> Any:
        """Returns the decoded next line of the process; None if it has ended."""
        line = self.process.stdout.readline()
        return json.loads(line) if line else None

    def last_words(self) -> list[str]:
        """Waits for the end of the process, and returns the lines of its standard error that are not empty."""
        self.process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        return [line.strip() for line in lines if line.strip()]


@contextmanager
def child_process(module: str, settings: Mapping[str, str] | None = None) -> Iterator[ChildProcess]:
    """Starts `python -m module` on the CPU, with this process's import path, and ends it with the block.

    Args:
        module: the module.
        settings: further variables of its environment.
    """
    search = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    environment = os.environ | {"PYTHONPATH": search, "CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment |= settings or {}
    with tempfile.TemporaryFile() as errors:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
        with subprocess.Popen([sys.executable, "-m", module], env=environment, **pipes) as process:
            try:
                yield ChildProcess(process, errors)
            finally:
                process.kill()
