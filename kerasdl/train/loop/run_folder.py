"""The folder of a run: config.json, log.csv, curves.png, checkpoints/ and, where asked for, tensorboard/."""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core import checks, files
from kerasdl.core.errors import TrainingError

from . import run_logs
from .checkpoints import Checkpoint, Checkpoints
from .coordination import NONE
from .settings import LoopConfig
from .state import State

SECONDS_BETWEEN_CURVES = 30.0


class RunFolder:
    """Keeps a run in its folder; without one, only the best weights, in memory."""

    def __init__(self, state: State, config: LoopConfig):
        self.state, self.config, self.crew = state, config, state.crew
        self.path = None if config.folder is None else Path(config.folder)
        self.checkpoints = self.path and Checkpoints(self.path / "checkpoints", writes=self.crew.chief)
        self.best_weights: dict[str, np.ndarray] | None = None
        self.saved_at = time.monotonic()
        self._drawn_at = -SECONDS_BETWEEN_CURVES

    def open(self, say: Callable[[str], None]) -> Mapping[str, Any] | None:
        """Takes up the run that is kept here; returns what its checkpoint notes, or None where a new run begins.

        Args:
            say: called with a line on a damaged checkpoint.

        Raises:
            ArgumentError: the folder holds a run of another identity.
            TrainingError: what the chief wrote is not seen here, or the checkpoint holds other variables.
        """
        if self.path is None:
            return None
        if not self.crew.chief:
            self.crew.vote(NONE)  # the chief opens the folder first
        found = self._newest(say)
        if self.crew.chief:
            self.crew.vote(NONE)
        steps = self.crew.everyones(-1 if found is None else found.note["place"]["step"])
        if len(set(steps)) > 1:
            raise TrainingError(
                f"all workers must find the same checkpoint; they found steps {steps}. "
                "Keep the folder of the run on storage that all of them share."
            )
        if found is None:
            return None
        _assign({**self.state.weights, **self.state.extras}, found.arrays)
        _assign(self.state.large, found.large)
        return found.note

    def _newest(self, say: Callable[[str], None]) -> Checkpoint | None:
        """Returns the newest checkpoint of the run kept here, or makes the folder that of a new run."""
        identity = {"settings": self.config.describe(), **self.state.identity}
        identity = json.loads(json.dumps(identity))  # tuples become lists, as in the file
        config, writes = self.path / "config.json", self.crew.chief
        if not self.config.resume and writes:
            remove_run(self.path)
        if not config.exists() and not writes:
            raise TrainingError(
                f"{self.path} must be on storage that all workers share; the chief's {config.name} is not seen here."
            )
        if not config.exists():
            files.write_json(config, identity)
            return None
        stored = json.loads(config.read_text(encoding="utf-8"))
        differences, longer = _differences(stored, identity), _is_longer(stored, identity)
        bound = self.config.bound_to_length()
        if differences and not (longer and bound is None):
            reason = f"It cannot have more epochs: {bound}. " if longer else ""
            checks.refuse(
                f"the run in {self.path} must have been started with the same settings, model and data",
                "; ".join(differences),
                f"{reason}Choose another folder, or pass resume=False to remove that run and start anew.",
            )
        if differences and writes:
            files.write_json(config, identity)
        return self.checkpoints.latest(say)

    # Checkpoints

    @property
    def keeps_places(self) -> bool:
        """Whether a run can go on from inside an epoch."""
        return self.path is not None and self.state.seekable and not self.state.large

    def is_due(self, step: int) -> bool:
        """Returns whether a checkpoint belongs after this step."""
        every = self.config.save_every
        return self.keeps_places and every is not None and step % every == 0

    def time_is_up(self) -> bool:
        """Returns whether the last checkpoint is too long ago."""
        seconds = self.config.save_seconds
        return self.keeps_places and seconds is not None and time.monotonic() - self.saved_at >= seconds

    def save(self, step: int, note: Mapping[str, Any]) -> None:
        """Writes a checkpoint of every variable, and a note of plain values."""
        arrays = _values({**self.state.weights, **self.state.extras})
        with self._writing(step):
            self.checkpoints.save(step, arrays, note, self.state.large)
        self.saved_at = time.monotonic()

    def write_logs(self, step: int, history: Mapping[str, Sequence[float]], best_epoch: int | None, final: bool):
        """Writes log.csv, and curves.png when the run is over or the last picture is some time old."""
        if self.path is None or not history or not self.crew.chief:
            return
        with self._writing(step):
            run_logs.write_csv(self.path / "log.csv", history)
            if final or time.monotonic() - self._drawn_at >= SECONDS_BETWEEN_CURVES:
                monitor = self.config.monitor
                run_logs.draw_curves(self.path / "curves.png", history, monitor and monitor[0], best_epoch)
                self._drawn_at = time.monotonic()

    @contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            newest = self.checkpoints.newest()
            kept = "There is no checkpoint yet" if newest is None else f"The checkpoint of step {newest} is whole"
            raise TrainingError(
                f"{self.path} could not be written after step {step}: {error}. {kept}. "
                "Make room or mend the folder; the same call then goes on."
            ) from error

    # The best epoch

    def keep_best(self, step: int) -> str | None:
        """Keeps the present weights as the best; returns the name of their file, None where they are in memory."""
        weights = _values(self.state.weights)
        if self.path is None:
            self.best_weights = weights if self.config.restore_best else None
            return None
        with self._writing(step):
            return self.checkpoints.save_best(step, weights)

    def restore_best(self, name: str | None) -> None:
        """Gives the model the weights kept as best."""
        weights = self.best_weights
        if self.path is not None:
            self.crew.vote(NONE)  # the chief has written by now
            weights = self.checkpoints.load_best(name)
        _assign(self.state.weights, weights)


def epochs_of_run(path: Path) -> int | None:
    """Returns the epochs of the run kept in a folder; None where there is none."""
    try:
        return json.loads((path / "config.json").read_text(encoding="utf-8"))["settings"]["epochs"]
    except (OSError, KeyError, ValueError):  # none, or one that a run there will name
        return None


def remove_run(path: Path) -> None:
    """Removes the run that is kept in a folder."""
    Checkpoints(path / "checkpoints").clear()
    shutil.rmtree(path / "tensorboard", ignore_errors=True)
    for name in ("config.json", "log.csv", "curves.png"):
        (path / name).unlink(missing_ok=True)


def _is_longer(stored: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Returns whether a run differs from the one stored by more epochs alone."""
    before, after = (each.get("settings", {}).get("epochs") for each in (stored, now))
    if not (isinstance(before, int) and isinstance(after, int) and before < after):
        return False
    return not _differences({**stored, "settings": {**stored["settings"], "epochs": after}}, now)


def _differences(stored: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(stored, dict) and isinstance(now, dict):
        keys = [*stored, *(key for key in now if key not in stored)]
        return [
            line
            for key in keys
            for line in _differences(stored.get(key), now.get(key), f"{name}.{key}" if name else key)
        ]
    return [] if stored == now else [f"{name} is {stored!r} there, {now!r} here"]


def _values(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    return {name: np.array(variable.numpy()) for name, variable in variables.items()}


def _assign(variables: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    if shapes != {name: array.shape for name, array in arrays.items()}:
        raise TrainingError("the checkpoint holds other variables than the run. Choose another folder or resume=False.")
    for name, variable in variables.items():
        array = arrays[name]
        # npz knows no bfloat16 and gives back raw bytes.
        variable.assign(array.view(variable.numpy().dtype) if array.dtype.kind == "V" else array)
