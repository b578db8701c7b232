"""Child process of a fuzzer: a native library may end it, and data without end hold it for ever."""

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from typing import Any

MARK = "answer: "
DRAWN = "drawn"  # what a child says once the model has answered all inputs by itself


class Child:
    """A process that answers tasks, started anew where it has ended, hangs or has grown old.

    Args:
        script: what it runs; it reads tasks as JSON, a line each, and prints answers behind `MARK`.
        limit: seconds for one task.
        life: tasks before a fresh process takes over.
    """

    def __init__(self, script: str, limit: float, life: int):
        self.script, self.limit, self.life = script, limit, life
        self.process: subprocess.Popen | None = None
        self.asked = 0

    def ask(self, task: dict) -> dict:
        """Returns the answer to a task, or how the process ended over it."""
        if self.process is None or self.asked >= self.life:
            self._start()
        self.asked += 1
        with suppress(BrokenPipeError):  # it has ended since the last task, as the end of its lines tells
            self.process.stdin.write(json.dumps(task) + "\n")
            self.process.stdin.flush()
        until, drawn = time.monotonic() + self.limit, False
        while True:
            try:
                line = self.lines.get(timeout=max(until - time.monotonic(), 0.01))
            except Empty:
                self.end()
                return {"outcome": "hung", "what": f"not done after {self.limit:g} s"}
            if line is None:
                code = self.process.wait()
                self.end()
                if not drawn:
                    return {"outcome": "gone", "what": f"the model itself ends the process with {code}"}
                return {"outcome": "crashed", "what": f"the process ended with {code} in {_crashed_in(self.stack)}"}
            drawn = drawn or line.strip() == DRAWN
            if line.startswith(MARK):
                return json.loads(line.removeprefix(MARK))

    def _start(self) -> None:
        self.end()
        self.stack = Path(tempfile.gettempdir(), f"fuzz_stack_{os.getpid()}")
        command = [sys.executable, self.script, str(self.stack)]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process, self.asked, self.lines = (
            subprocess.Popen(command, text=True, start_new_session=True, **streams),
            0,
            Queue(),
        )
        threading.Thread(target=read, args=(self.process.stdout, self.lines), daemon=True).start()

    def end(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def _crashed_in(stack: Path) -> str:
    """Returns the innermost frame of the library in the stack that Python left behind."""
    frames = re.findall(r'File "(.*kerasdl.*)", line (\d+) in (\w+)', stack.read_text() if stack.exists() else "")
    return next((f"{Path(file).name}:{line} {name}" for file, line, name in frames), "an unknown place")


def read(stream: Any, lines: Queue) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)
