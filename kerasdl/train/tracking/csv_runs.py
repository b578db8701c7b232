"""CSV log of a run: figures of each epoch as CSV, settings and state as JSON."""

import os
from collections.abc import Mapping
from pathlib import Path

from kerasdl.core import checks, files

from ..loop import run_logs
from .tracker import Ending, Places, Tracker


class CSVLog(Tracker):
    """Keeps the figures of each epoch in a CSV file; settings and the state of the run stand in a JSON file beside it.

    Both are written whole after each epoch. The state is "running", "finished", "failed" or "killed".

    Args:
        path: the file; it must end in .csv, and the other takes its name with .json.

    Raises:
        ArgumentError: the path ends otherwise.

    Example:
        >>> config = RunConfig(epochs=2, progress="off")
        >>> run = fit(model, (x, y), callbacks=[tracking.CSVLog("first.csv")], config=config)
        >>> len(open("first.csv").readlines())
        3
    """

    title = "the CSV log"

    def __init__(self, path: str | os.PathLike):
        super().__init__()
        self.path = Path(path)
        if self.path.suffix != ".csv":
            checks.refuse("the path of a CSV log must end in .csv", str(path))

    def open(self) -> Places:
        self._state("running")
        self._write()
        return {(name, epoch) for epoch, figures in self.history for name in figures}

    def send(self, epoch: int, figures: Mapping[str, float]) -> None:
        self._write()

    def _write(self) -> None:
        names = dict.fromkeys(name for _, each in self.history for name in each)
        columns = {name: [each.get(name, "") for _, each in self.history] for name in names}
        run_logs.write_csv(self.path, columns)

    def close(self, ending: Ending, artifacts: list[Path]) -> None:
        self._state(ending.state, ending.error)

    def _state(self, state: str, error: str = "") -> None:
        told = {"error": error} if error else {}
        files.write_json(self.path.with_suffix(".json"), {"state": state, **told, "settings": self.settings})
