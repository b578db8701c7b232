"""CSV log of a run: figures of each epoch as CSV, settings and state as JSON."""

import os
from collections.abc import Mapping
from pathlib import Path

from kerasdl.core import checks, files

from ..loop import run_logs
from .tracker import FigureKeys, RunEnd, Tracker


class CSVLog(Tracker):
    """Tracker that writes the figures of each epoch to a CSV file, and settings and state to a JSON file beside it.

    Both files are written whole after each epoch. The state is "running", "finished", "failed" or "killed".

    Args:
        path: the CSV file, ending in .csv; the JSON file has the same name with .json.

    Raises:
        ArgumentError: the path does not end in .csv.

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

    def open(self) -> FigureKeys:
        self._state("running")
        self._write()
        return {(name, epoch) for epoch, figures in self.history for name in figures}

    def send(self, epoch: int, figures: Mapping[str, float]) -> None:
        self._write()

    def _write(self) -> None:
        names = dict.fromkeys(name for _, each in self.history for name in each)
        columns = {name: [each.get(name, "") for _, each in self.history] for name in names}
        run_logs.write_csv(self.path, columns)

    def close(self, ending: RunEnd, artifacts: list[Path]) -> None:
        self._state(ending.state, ending.error)

    def _state(self, state: str, error: str = "") -> None:
        details = {"error": error} if error else {}
        files.write_json(self.path.with_suffix(".json"), {"state": state, **details, "settings": self.settings})
