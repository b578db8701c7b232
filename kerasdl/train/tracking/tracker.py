"""What trackers of experiments have in common, and how a run outlives a tracker that fails."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..loop.hooks import RunCallback, RunInfo

RETRY_SECONDS = 60.0
ARTIFACTS = ("log.csv", "curves.png")

Places = set[tuple[str, int]]


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    state: str
    """`"finished"`, `"failed"` where it ended by an error, `"killed"` where Ctrl-C or SIGTERM stopped it."""
    error: str = ""
    """What the error said."""


class Tracker(RunCallback):
    """Sends settings, the figures of each epoch and the end of a run somewhere; a subclass says how.

    It keeps all figures and, each time that it connects, asks what has arrived, so that a run which was killed and
    resumed leaves no epoch out and none twice. Where it fails, it says so once, and the run goes on; it tries again
    after a minute, and at the end of the run.
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
        self.arrived: Places = set()
        self.resumed = self.begun = self.connected = self.complained = False
        self.quiet_until = 0.0

    # What a subclass says

    def open(self) -> Places:
        """Opens the run: that of `self.id`, or a new one whose id it puts there; sends `self.settings`.

        Returns:
            The names, as `named` gives them, and epochs of all figures that are there already.
        """
        raise NotImplementedError

    def named(self, name: str) -> str:
        """Returns what a figure is called there."""
        return name

    def send(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Sends figures of an epoch, counted from 1."""
        raise NotImplementedError

    def close(self, ending: Ending, artifacts: list[Path]) -> None:
        """Sends the end of the run, and files that it left."""
        raise NotImplementedError

    # The hooks

    def setup(self, run_info: RunInfo) -> None:
        self._start(run_info)

    def begin_epoch(self, epoch: int) -> None:
        self.begun = True
        self._try(self._connect)

    def end_epoch(self, epoch: int, figures: dict[str, float]) -> str | None:
        self.history.append((epoch + 1, dict(figures)))
        self._try(self._deliver)

    def end(self) -> None:
        self._finish(Ending("finished"))

    def fail(self, error: BaseException) -> None:
        # KeyboardInterrupt and SystemExit are no errors, and no Exceptions.
        self._finish(Ending("failed" if isinstance(error, Exception) else "killed", _told(error)))

    def saved(self) -> dict[str, Any]:
        return {"id": self.id, "history": self.history}

    def restore(self, saved: dict[str, Any]) -> None:
        self.id, self.history = saved["id"], [(epoch, figures) for epoch, figures in saved["history"]]
        self.resumed = True

    # Sending, and what happens where it fails

    def _connect(self) -> None:
        if not self.connected:
            self.arrived = self.open()
            self.connected = True

    def _deliver(self) -> None:
        self._connect()
        for epoch, figures in self.history:
            missing = {name: value for name, value in figures.items() if not self._has(name, epoch)}
            if missing:
                self.send(epoch, missing)
                self.arrived |= {(self.named(name), epoch) for name in missing}

    def _has(self, name: str, epoch: int) -> bool:
        return (self.named(name), epoch) in self.arrived

    def _finish(self, ending: Ending) -> None:
        if not self.begun:
            return
        folder = self.run_info.folder
        files = [] if folder is None else [folder / name for name in ARTIFACTS if (folder / name).exists()]

        def finish():
            self._deliver()
            self.close(ending, files)
            self.connected = False

        if not self._try(finish, now=True):
            missing = [epoch for epoch, names in self.history if any(not self._has(name, epoch) for name in names)]
            lost = f"{len(missing)} of {len(self.history)} epochs" if missing else "the end of the run"
            self.run_info.say(f"{self.title} never got {lost}")

    def _try(self, action: Callable[[], None], now: bool = False) -> bool:
        if not now and time.monotonic() < self.quiet_until:
            return False
        try:
            action()
        except Exception as error:  # whatever a foreign package raises, the run is worth more than its log
            self.quiet_until = time.monotonic() + RETRY_SECONDS
            if not self.complained:
                self.run_info.say(f"{self.title} failed, and the run goes on without it: {_told(error)}")
            self.complained = True
            return False
        return True


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns nested settings with dotted keys; a list becomes its JSON text.

    Args:
        settings: plain values, nested in mappings.
        prefix: what the keys begin with.

    Returns:
        Text, numbers, booleans and None by key.

    Example:
        >>> flat({"optimizer": {"class": "Adam", "betas": [0.9, 0.999]}, "clip_norm": None})
        {'optimizer.class': 'Adam', 'optimizer.betas': '[0.9, 0.999]', 'clip_norm': None}
    """
    found = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{prefix}{key}.")
        elif value is None or isinstance(value, (str, bool, int, float)):
            found[f"{prefix}{key}"] = value
        else:
            found[f"{prefix}{key}"] = json.dumps(value, default=str)
    return found


def _told(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}"[:300] if lines else type(error).__name__
