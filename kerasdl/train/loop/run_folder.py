"""The folder of a run: config.json, log.csv, curves.png, checkpoints/ and, where asked for, tensorboard/."""

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kerasdl.core import checks, files
from kerasdl.core.errors import TrainingError

from . import run_logs
from .checkpoints import Arrays, Checkpoints

SECONDS_BETWEEN_CURVES = 30.0


class RunFolder:
    """Where a run is kept."""

    def __init__(self, path: Path, writes: bool = True):
        self.path, self.writes = path, writes
        self.checkpoints = Checkpoints(path / "checkpoints", writes=writes)
        self._drawn_at = -SECONDS_BETWEEN_CURVES

    def open(
        self, identity: Mapping[str, Any], resume: bool, say: Callable[[str], None]
    ) -> tuple[Arrays, dict[str, Any]] | None:
        """Returns the newest checkpoint of the run kept here, or makes the folder that of a new run and returns None.

        Raises:
            ArgumentError: the folder holds a run of another identity.
            TrainingError: what the chief wrote is not seen here.
        """
        identity = json.loads(json.dumps(identity))  # tuples become lists, as in the file
        config = self.path / "config.json"
        if not resume and self.writes:
            self.clear()
        if not config.exists() and not self.writes:
            raise TrainingError(
                f"{self.path} must be on storage that all workers share; the chief's {config.name} is not seen here."
            )
        if config.exists():
            stored = json.loads(config.read_text(encoding="utf-8"))
            differences = _differences(stored, identity)
            if differences:
                checks.refuse(
                    f"the run in {self.path} must have been started with the same settings, model and data",
                    "; ".join(differences),
                    "Choose another folder, or pass resume=False to remove that run and start anew.",
                )
            return self.checkpoints.latest(say)
        files.write_json(config, identity)
        return None

    def write_logs(
        self, history: Mapping[str, Sequence[float]], monitor: str | None, best_epoch: int | None, final: bool
    ) -> None:
        """Writes log.csv, and curves.png when the run is over or the last picture is some time old."""
        if not history or not self.writes:
            return
        run_logs.write_csv(self.path / "log.csv", history)
        if final or time.monotonic() - self._drawn_at >= SECONDS_BETWEEN_CURVES:
            run_logs.draw_curves(self.path / "curves.png", history, monitor, best_epoch)
            self._drawn_at = time.monotonic()

    def clear(self) -> None:
        """Removes the run that is kept here."""
        self.checkpoints.clear()
        shutil.rmtree(self.path / "tensorboard", ignore_errors=True)
        for name in ("config.json", "log.csv", "curves.png"):
            (self.path / name).unlink(missing_ok=True)


def _differences(stored: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(stored, dict) and isinstance(now, dict):
        keys = [*stored, *(key for key in now if key not in stored)]
        return [
            line
            for key in keys
            for line in _differences(stored.get(key), now.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if stored == now else [f"{name} is {stored!r} there, {now!r} here"]
