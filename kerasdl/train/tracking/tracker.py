"""Base class of experiment trackers; a tracker that fails does not stop the run."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..loop.hooks import RunCallback, RunInfo

RETRY_SECONDS = 60.0
ARTIFACTS = ("log.csv", "curves.png")

FigureKeys = set[tuple[str, int]]


@dataclass(frozen=True)
class RunEnd:
    """State and error at the end of a run."""

    state: str
    """`"finished"`, `"failed"` where it ended by an error, `"killed"` where Ctrl-C or SIGTERM stopped it."""
    error: str = ""
    """Text of the error; empty without one."""


class Tracker(RunCallback):
    """Base class of trackers, which send the settings, the figures of each epoch and the end of a run.

    It keeps all figures and reads on every connection which ones are stored, so that a killed and resumed run has each
    epoch exactly once. A failure is reported once and the run continues; the tracker tries again after a minute, and at
    the end of the run.
    """

    writes = True
    title = "the tracker"

    def __init__(self):
        self._start(None)

    def _start(self, run_info: RunInfo | None) -> None:
        self.run_info = run_info
        self.settings = {} if run_info is None else flat(run_info.settings)
        self.id: str | None = None
        self.history: list[tuple[int, dict[str, float]]] = []
        self.stored: FigureKeys = set()
        self.resumed = self.begun = self.connected = self.failure_reported = False
        self.quiet_until = 0.0

    # Methods of a subclass

    def open(self) -> FigureKeys:
        """Opens the run `self.id`, or a new one whose id it stores there, and sends `self.settings`.

        Returns:
            The names, as in `stored_name`, and epochs of all figures that are already stored.
        """
        raise NotImplementedError

    def stored_name(self, name: str) -> str:
        """Returns the name of a figure in the tracker."""
        return name

    def send(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Sends figures of an epoch, counted from 1."""
        raise NotImplementedError

    def close(self, ending: RunEnd, artifacts: list[Path]) -> None:
        """Sends the end of the run and its files."""
        raise NotImplementedError

    # The hooks

    def setup(self, run_info: RunInfo) -> None:
        self._start(run_info)

    def begin_epoch(self, epoch: int) -> None:
        self.begun = True
        self._try(self._connect)

    def end_epoch(self, epoch: int, figures: dict[str, float]) -> str | None:
        self.history.append((epoch + 1, dict(figures)))
        self._try(self._send_missing)

    def end(self) -> None:
        self._finish(RunEnd("finished"))

    def fail(self, error: BaseException) -> None:
        # KeyboardInterrupt and SystemExit are no errors, and no Exceptions.
        self._finish(RunEnd("failed" if isinstance(error, Exception) else "killed", _error_text(error)))

    def saved(self) -> dict[str, Any]:
        return {"id": self.id, "history": self.history}

    def restore(self, saved: dict[str, Any]) -> None:
        self.id, self.history = saved["id"], [(epoch, figures) for epoch, figures in saved["history"]]
        self.resumed = True

    # Sending and failures

    def _connect(self) -> None:
        if not self.connected:
            self.stored = self.open()
            self.connected = True

    def _send_missing(self) -> None:
        self._connect()
        for epoch, figures in self.history:
            missing = {name: value for name, value in figures.items() if not self._has(name, epoch)}
            if missing:
                self.send(epoch, missing)
                self.stored |= {(self.stored_name(name), epoch) for name in missing}

    def _has(self, name: str, epoch: int) -> bool:
        return (self.stored_name(name), epoch) in self.stored

    def _finish(self, ending: RunEnd) -> None:
        if not self.begun:
            return
        folder = self.run_info.folder
        files = [] if folder is None else [folder / name for name in ARTIFACTS if (folder / name).exists()]

        def finish():
            self._send_missing()
            self.close(ending, files)
            self.connected = False

        if not self._try(finish, now=True):
            missing = [epoch for epoch, names in self.history if any(not self._has(name, epoch) for name in names)]
            lost = f"{len(missing)} of {len(self.history)} epochs" if missing else "the end of the run"
            self.run_info.say(f"{self.title} never received {lost}")

    def _try(self, action: Callable[[], None], now: bool = False) -> bool:
        if not now and time.monotonic() < self.quiet_until:
            return False
        try:
            action()
        except Exception as error:  # any error of the other package: the run matters more than its log
            self.quiet_until = time.monotonic() + RETRY_SECONDS
            if not self.failure_reported:
                self.run_info.say(f"{self.title} failed, and the run continues without it: {_error_text(error)}")
            self.failure_reported = True
            return False
        return True


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings as a flat dict with dotted keys; a list becomes its JSON text.

    Args:
        settings: plain values, nested in mappings.
        prefix: prefix of the keys.

    Returns:
        Text, numbers, booleans and None by key.

    Example:
        >>> flat({"optimizer": {"class": "Adam", "betas": [0.9, 0.999]}, "clip_norm": None})
        {'optimizer.class': 'Adam', 'optimizer.betas': '[0.9, 0.999]', 'clip_norm': None}
    """
    values = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            values |= flat(value, f"{prefix}{key}.")
        elif value is None or isinstance(value, (str, bool, int, float)):
            values[f"{prefix}{key}"] = value
        else:
            values[f"{prefix}{key}"] = json.dumps(value, default=str)
    return values


def _error_text(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}"[:300] if lines else type(error).__name__
