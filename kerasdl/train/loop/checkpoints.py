"""Checkpoints of a run: folders that appear whole, are verified before they are read, and take turns.

`step_00000120/` holds variables.npz, state.json and SHA256SUMS, and a file large_0000.npy for each large variable;
`best_00000100/` holds the weights of the best epoch.
"""

import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from kerasdl.core import files
from kerasdl.core.errors import TrainingError

Arrays = dict[str, np.ndarray]


class Checkpoint(NamedTuple):
    """What a checkpoint holds."""

    arrays: Arrays
    """Its variables by name."""
    note: dict[str, Any]
    """Its plain values."""
    large: Arrays
    """Its large variables by name, read from disk where they are looked at."""


class Checkpoints:
    """The checkpoints in one folder; the last two are kept, and the best weights that they point to.

    Of several workers one writes; the others read.
    """

    def __init__(self, folder: Path, keep: int = 2, writes: bool = True):
        self.folder, self.keep, self.writes = folder, keep, writes
        if writes:
            for stray in folder.glob(".writing-*"):  # what a kill left half-written
                shutil.rmtree(stray, ignore_errors=True)

    def save(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray],
        state: Mapping[str, Any],
        large: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Writes a checkpoint, large variables one by one, then removes what it makes superfluous."""
        if not self.writes:
            return
        with files.writing_folder(self.folder / f"step_{step:08d}") as folder:
            np.savez(folder / "variables.npz", **arrays)
            for place, variable in enumerate(large.values()):
                np.save(folder / _large_file(place), variable.numpy())
            files.write_json(folder / "state.json", {**state, "large": list(large)})
            _seal(folder)
        self._rotate()

    def save_best(self, step: int, arrays: Mapping[str, np.ndarray]) -> str:
        """Writes the weights of the best epoch so far; returns the name under which `load_best` finds them."""
        name = f"best_{step:08d}"
        if self.writes:
            with files.writing_folder(self.folder / name) as folder:
                np.savez(folder / "variables.npz", **arrays)
                _seal(folder)
        return name

    def newest(self) -> int | None:
        """Returns the step of the newest checkpoint, or None."""
        steps = self._steps()
        return int(steps[-1].name.removeprefix("step_")) if steps else None

    def latest(self, say: Callable[[str], None]) -> Checkpoint | None:
        """Returns the newest checkpoint that is undamaged, or None where there is none.

        Raises:
            TrainingError: there are checkpoints, and all are damaged.
        """
        found = self._steps()
        for folder in reversed(found):
            try:
                arrays = _read(folder)
                state = json.loads(_verify(folder, "state.json").read_text(encoding="utf-8"))
                if state["best_file"]:
                    self.load_best(state["best_file"])
                names = enumerate(state.get("large", ()))  # runs of old have none
                files_of = {name: _verify(folder, _large_file(place)) for place, name in names}
                large = {name: np.load(file, "r", allow_pickle=False) for name, file in files_of.items()}
                return Checkpoint(arrays, state, large)
            except _DAMAGE as error:
                say(f"checkpoint {folder} is damaged ({error}); falling back to the one before it")
        if found:
            raise TrainingError(
                f"every checkpoint in {self.folder} is damaged. Pass resume=False to start anew, or another folder."
            )
        return None

    def load_best(self, name: str) -> Arrays:
        """Returns the weights that `save_best` wrote under this name."""
        return _read(self.folder / name)

    def clear(self) -> None:
        """Removes every checkpoint."""
        for folder in [*self._steps(), *self.folder.glob("best_*")]:
            shutil.rmtree(folder)

    def _steps(self) -> list[Path]:
        return sorted(self.folder.glob("step_*"))

    def _rotate(self) -> None:
        steps = self._steps()
        for folder in steps[: -self.keep]:
            shutil.rmtree(folder)
        wanted = {_best_file(folder) for folder in steps[-self.keep :]}
        for folder in self.folder.glob("best_*"):
            if folder.name not in wanted:
                shutil.rmtree(folder)


_DAMAGE = (OSError, ValueError, KeyError, zipfile.BadZipFile)


def _large_file(place: int) -> str:
    return f"large_{place:04d}.npy"


def _best_file(folder: Path) -> str | None:
    try:
        return json.loads((folder / "state.json").read_text(encoding="utf-8"))["best_file"]
    except _DAMAGE:  # a damaged older checkpoint points nowhere
        return None


def _seal(folder: Path) -> None:
    lines = [f"{files.sha256(file)}  {file.name}\n" for file in sorted(folder.iterdir())]
    files.write_text(folder / "SHA256SUMS", "".join(lines))


def _verify(folder: Path, name: str) -> Path:
    sums = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    if files.sha256(folder / name) != sums[name]:
        raise ValueError(f"{name} does not have its SHA-256")
    return folder / name


def _read(folder: Path) -> Arrays:
    with np.load(_verify(folder, "variables.npz"), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
