"""Checkpoints of a run: folders that are written whole, verified before they are read, and rotated.

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
    """Contents of a checkpoint."""

    arrays: Arrays
    """The variables by name."""
    state: dict[str, Any]
    """The plain values, such as position and history."""
    large: Arrays
    """The large variables by name, memory-mapped: read from disk on access."""


class Checkpoints:
    """Checkpoints in one folder: the last two, and the best weights that they refer to.

    With several workers, one writes and the others read.
    """

    def __init__(self, folder: Path, keep: int = 2, writes: bool = True):
        self.folder, self.keep, self.writes = folder, keep, writes
        if writes:
            for stray in folder.glob(".writing-*"):  # files that a killed process left half-written
                shutil.rmtree(stray, ignore_errors=True)

    def save(
        self,
        step: int,
        arrays: Mapping[str, np.ndarray],
        state: Mapping[str, Any],
        large: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Writes a checkpoint, large variables one at a time, then removes checkpoints no longer needed."""
        if not self.writes:
            return
        with files.writing_folder(self.folder / f"step_{step:08d}") as folder:
            np.savez(folder / "variables.npz", **arrays)
            for index, variable in enumerate(large.values()):
                np.save(folder / _large_file(index), variable.numpy())
            files.write_json(folder / "state.json", {**state, "large": list(large)})
            _seal(folder)
        self._rotate()

    def save_best(self, step: int, arrays: Mapping[str, np.ndarray]) -> str:
        """Writes the weights of the best epoch so far; returns the name that `load_best` takes."""
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
        """Returns the newest undamaged checkpoint, or None where there is none.

        Raises:
            TrainingError: there are checkpoints, and all are damaged.
        """
        folders = self._steps()
        for folder in reversed(folders):
            try:
                arrays = _await_values(folder)
                state = json.loads(_verify(folder, "state.json").read_text(encoding="utf-8"))
                if state["best_file"]:
                    self.load_best(state["best_file"])
                names = enumerate(state.get("large", ()))  # older runs have none
                files_of = {name: _verify(folder, _large_file(index)) for index, name in names}
                large = {name: np.load(file, "r", allow_pickle=False) for name, file in files_of.items()}
                return Checkpoint(arrays, state, large)
            except _DAMAGE as error:
                say(f"checkpoint {folder} is damaged ({error}); falling back to the one before it")
        if folders:
            raise TrainingError(
                f"every checkpoint in {self.folder} is damaged. Pass resume=False to start anew, or another folder."
            )
        return None

    def load_best(self, name: str) -> Arrays:
        """Returns the weights that `save_best` wrote under this name."""
        return _await_values(self.folder / name)

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
        referenced = {_best_file(folder) for folder in steps[-self.keep :]}
        for folder in self.folder.glob("best_*"):
            if folder.name not in referenced:
                shutil.rmtree(folder)


_DAMAGE = (OSError, ValueError, KeyError, zipfile.BadZipFile)


def _large_file(index: int) -> str:
    return f"large_{index:04d}.npy"


def _best_file(folder: Path) -> str | None:
    try:
        return json.loads((folder / "state.json").read_text(encoding="utf-8"))["best_file"]
    except _DAMAGE:  # a damaged older checkpoint refers to none
        return None


def _seal(folder: Path) -> None:
    lines = [f"{files.sha256(file)}  {file.name}\n" for file in sorted(folder.iterdir())]
    files.write_text(folder / "SHA256SUMS", "".join(lines))


def _verify(folder: Path, name: str) -> Path:
    sums = dict(line.split("  ")[::-1] for line in (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    if files.sha256(folder / name) != sums[name]:
        raise ValueError(f"{name} does not have its SHA-256")
    return folder / name


def _await_values(folder: Path) -> Arrays:
    with np.load(_verify(folder, "variables.npz"), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
