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
from .coordination import NO_REQUEST
from .settings import LoopConfig
from .state import State

CURVES_SECONDS = 30.0


class RunFolder:
    """Saving and restoring of a run in its folder; without a folder, only the best weights in memory."""

    def __init__(self, state: State, config: LoopConfig):
        self.state, self.config, self.coordinator = state, config, state.coordinator
        self.path = None if config.folder is None else Path(config.folder)
        self.checkpoints = self.path and Checkpoints(self.path / "checkpoints", writes=self.coordinator.chief)
        self.best_weights: dict[str, np.ndarray] | None = None
        self.saved_at = time.monotonic()
        self._drawn_at = -CURVES_SECONDS

    def open(self, say: Callable[[str], None]) -> Mapping[str, Any] | None:
        """Restores the run in the folder; returns the plain values of its checkpoint, or None where a new run begins.

        Args:
            say: function that prints a line, called for a damaged checkpoint.

        Raises:
            ArgumentError: the folder holds a run of another identity.
            TrainingError: this worker does not see the files of the chief, or the checkpoint holds other variables.
        """
        if self.path is None:
            return None
        if not self.coordinator.chief:
            self.coordinator.all_reduce_requests(NO_REQUEST)  # the chief opens the folder first
        checkpoint = self._newest(say)
        if self.coordinator.chief:
            self.coordinator.all_reduce_requests(NO_REQUEST)
        steps = self.coordinator.all_gather(-1 if checkpoint is None else checkpoint.state["place"]["step"])
        if len(set(steps)) > 1:
            raise TrainingError(
                f"all workers must find the same checkpoint; they found steps {steps}. "
                "Keep the folder of the run on storage that all of them share."
            )
        if checkpoint is None:
            return None
        _assign({**self.state.weights, **self.state.extras}, checkpoint.arrays)
        _assign(self.state.large, checkpoint.large)
        return checkpoint.state

    def _newest(self, say: Callable[[str], None]) -> Checkpoint | None:
        """Returns the newest checkpoint of the run in the folder, or prepares the folder for a new run."""
        identity = {"settings": self.config.describe(), **self.state.identity}
        identity = json.loads(json.dumps(identity))  # tuples become lists, as in the file
        config, writes = self.path / "config.json", self.coordinator.chief
        if not self.config.resume and writes:
            remove_run(self.path)
        if not config.exists() and not writes:
            raise TrainingError(
                f"{self.path} must be on storage that all workers share; "
                f"this worker does not see the chief's {config.name}."
            )
        if not config.exists():
            files.write_json(config, identity)
            return None
        stored = json.loads(config.read_text(encoding="utf-8"))
        differences, longer = _differences(stored, identity), _is_longer(stored, identity)
        fixed_reason = self.config.why_length_is_fixed()
        if differences and not (longer and fixed_reason is None):
            reason = f"It cannot have more epochs: {fixed_reason}. " if longer else ""
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
    def saves_inside_epochs(self) -> bool:
        """True if checkpoints are written inside an epoch, from which the run can resume."""
        return self.path is not None and self.state.seekable and not self.state.large

    def is_due(self, step: int) -> bool:
        """Returns whether `save_every` asks for a checkpoint after this step."""
        every = self.config.save_every
        return self.saves_inside_epochs and every is not None and step % every == 0

    def time_is_up(self) -> bool:
        """Returns whether `save_seconds` have passed since the last checkpoint."""
        seconds = self.config.save_seconds
        return self.saves_inside_epochs and seconds is not None and time.monotonic() - self.saved_at >= seconds

    def save(self, step: int, values: Mapping[str, Any]) -> None:
        """Writes a checkpoint of every variable, and of plain values."""
        arrays = _values({**self.state.weights, **self.state.extras})
        with self._writing(step):
            self.checkpoints.save(step, arrays, values, self.state.large)
        self.saved_at = time.monotonic()

    def write_logs(self, step: int, history: Mapping[str, Sequence[float]], best_epoch: int | None, final: bool):
        """Writes log.csv, and curves.png where the run is over or the last picture is older than 30 seconds."""
        if self.path is None or not history or not self.coordinator.chief:
            return
        with self._writing(step):
            run_logs.write_csv(self.path / "log.csv", history)
            if final or time.monotonic() - self._drawn_at >= CURVES_SECONDS:
                monitor = self.config.monitor
                run_logs.draw_curves(self.path / "curves.png", history, monitor and monitor[0], best_epoch)
                self._drawn_at = time.monotonic()

    @contextmanager
    def _writing(self, step: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            newest = self.checkpoints.newest()
            checkpoint = "There is no checkpoint yet" if newest is None else f"The checkpoint of step {newest} is whole"
            raise TrainingError(
                f"{self.path} could not be written after step {step}: {error}. {checkpoint}. "
                "Free space or repair the folder; the same call then continues."
            ) from error

    # The best epoch

    def save_best(self, step: int) -> str | None:
        """Saves the current weights as the best; returns the name of their file, None where they are in memory."""
        weights = _values(self.state.weights)
        if self.path is None:
            self.best_weights = weights if self.config.restore_best else None
            return None
        with self._writing(step):
            return self.checkpoints.save_best(step, weights)

    def restore_best(self, name: str | None) -> None:
        """Assigns the best weights to the model."""
        weights = self.best_weights
        if self.path is not None:
            self.coordinator.all_reduce_requests(NO_REQUEST)  # the chief has finished writing
            weights = self.checkpoints.load_best(name)
        _assign(self.state.weights, weights)


def epochs_of_run(path: Path) -> int | None:
    """Returns the epochs of the run in a folder; None where there is no run."""
    try:
        return json.loads((path / "config.json").read_text(encoding="utf-8"))["settings"]["epochs"]
    except (OSError, KeyError, ValueError):  # no run, or a damaged file that the next run reports
        return None


def remove_run(path: Path) -> None:
    """Removes the run in a folder."""
    Checkpoints(path / "checkpoints").clear()
    shutil.rmtree(path / "tensorboard", ignore_errors=True)
    for name in ("config.json", "log.csv", "curves.png"):
        (path / name).unlink(missing_ok=True)


def _is_longer(stored: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Returns whether a run differs from the stored one only by more epochs."""
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
        # npz has no bfloat16 and returns raw bytes.
        variable.assign(array.view(variable.numpy().dtype) if array.dtype.kind == "V" else array)
