"""Controlled experiments: the same seeds for every setting, and what can be said of the differences."""

import hashlib
import itertools
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Any

import keras

from kerasdl.core import checks, files
from kerasdl.core.errors import DataError, TrainingError

from ..loop.progress import make_progress
from ..loop.state import Run
from .sweep_results import SweepResult, compared

Outcome = Run | Mapping[str, float] | float


def sweep(
    run: Callable[[dict[str, Any], int], Outcome],
    settings: Mapping[str, Sequence] | Sequence[Mapping[str, Any]],
    *,
    seeds: Iterable[int] = (0, 1, 2),
    folder: str | os.PathLike | None = None,
    figure: str = "val_accuracy",
    mode: str = "max",
    confidence: float = 0.95,
    progress: str = "auto",
) -> SweepResult:
    """Runs every setting with every seed, and compares the settings with the first.

    Before each run, Python, NumPy, TensorFlow and Keras are seeded with its seed; pass it to `RunConfig(seed=)` too,
    for the order of the data. A run that raises TrainingError, or whose figure is not finite, is kept as failed, and
    the others go on. With a folder, each finished run is kept there at once; after a kill or Ctrl-C the same call goes
    on with those that are missing, and a call with more seeds makes those alone.

    Args:
        run: called with a setting and a seed; returns the figure, figures by name, or a Run, of which the figure at
            its best epoch counts, or at the last where nothing was monitored.
        settings: from name to values, of which every combination is run; or a list of settings. The values are plain:
            text, numbers, booleans, None, and lists and dicts of them.
        seeds: different integers from 0 to 2**32 - 1.
        folder: where finished runs are kept; None keeps nothing.
        figure: the name of the figure.
        mode: `"max"` or `"min"`: what is better.
        confidence: of the intervals, between 0 and 1.
        progress: `"auto"` prints a line a run; `"off"` prints nothing.

    Returns:
        The SweepResult, with `cells`, `best`, `table()`, `to_json()` and `plot(path)`.

    Raises:
        ArgumentError: an argument breaks its rule, or the folder holds another sweep.
        DataError: a file in the folder is damaged.

    Example:
        >>> def run(setting, seed):
        ...     return setting["height"] + np.random.normal()
        >>> result = sweep(run, {"height": [1.0, 9.0]}, seeds=range(4), figure="sum", progress="off")
        >>> [(cell.label, cell.verdict) for cell in result.cells]
        [('height=1.0', 'first'), ('height=9.0', 'better')]
    """
    checks.one_of("mode", mode, ("max", "min"))
    checks.one_of("progress", progress, ("auto", "off"))
    if not 0 < checks.within("confidence", confidence, 0.0, 1.0) < 1:
        checks.refuse("confidence must lie between 0 and 1", confidence, "0.95 is usual.")
    cells, seeds = _cells(settings), _seeds(seeds)
    labels = _labels(cells)
    kept = _Kept(
        folder, {"figure": figure, "mode": mode, "run": _identity(run), "cells": [_plain(each) for each in cells]}
    )
    # By seed first: a sweep that is stopped early has compared all settings on some seeds.
    work = [(index, seed) for seed in seeds for index in range(len(cells))]
    with make_progress(progress) as display:
        done = {place: found for place in work if (found := kept.read(*place)) is not None}
        if done:
            display.say(f"{len(done)} of {len(work)} runs were found in {kept.path}")
        started, missing = time.monotonic(), [place for place in work if place not in done]
        for count, (index, seed) in enumerate(missing, 1):
            try:
                found = _made(run, cells[index], seed, figure)
            except KeyboardInterrupt:
                how = f"kept in {kept.path}; the same call goes on" if kept.path else "nothing was kept; pass folder="
                display.say(f"interrupted after {len(done)} of {len(work)} runs: {how}")
                raise
            done[index, seed] = found
            kept.write(index, seed, found)
            left = (time.monotonic() - started) / count * (len(missing) - count)
            told = f"{figure} {found.value:.4g}" if found.error is None else f"failed: {found.error}"
            place = f"{len(done)}/{len(work)}  {labels[index]}  seed {seed}"
            display.say(f"{place}  {told}  {found.seconds:.1f} s" + (f"  {_clock(left)} left" if left else ""))
    return compared(
        figure, mode, confidence, seeds, [_row(done, index, labels, cells, seeds) for index in range(len(cells))]
    )


@dataclass(frozen=True)
class _Found:
    value: float | None
    error: str | None
    seconds: float


def _made(run: Callable, setting: Mapping[str, Any], seed: int, figure: str) -> _Found:
    # Not core.set_seed: it makes all of the process deterministic, which some operations on GPUs refuse.
    keras.utils.set_random_seed(seed)
    started = time.monotonic()
    try:
        value, error = _figure(run(dict(setting), seed), figure), None
        if not math.isfinite(value):
            value, error = None, f"{figure} is {value}"
    except TrainingError as problem:
        value, error = None, str(problem)
    return _Found(value, error, time.monotonic() - started)


def _figure(outcome: Outcome, figure: str) -> float:
    if isinstance(outcome, Run):
        history, best = outcome.history, outcome.best
        figures = {name: values[best.epoch - 1 if best else -1] for name, values in history.items()}
    elif isinstance(outcome, Mapping):
        figures = outcome
    else:
        try:
            return float(outcome)
        except (TypeError, ValueError):
            checks.refuse("run must return a Run, figures by name or a number", outcome)
    if figure not in figures:
        checks.refuse(f"figure must name one of {tuple(figures)}", figure)
    return float(figures[figure])


def _row(done: Mapping[tuple[int, int], _Found], index: int, labels: list, cells: list, seeds: Sequence[int]) -> tuple:
    found = {seed: done[index, seed] for seed in seeds}
    values = {seed: each.value for seed, each in found.items() if each.error is None}
    failures = {seed: each.error for seed, each in found.items() if each.error is not None}
    return labels[index], cells[index], values, failures, sum(each.seconds for each in found.values())


class _Kept:
    """The folder of a sweep: plan.json, and a file a run in runs/."""

    def __init__(self, folder: str | os.PathLike | None, plan: Mapping[str, Any]):
        self.path = None if folder is None else Path(folder)
        if self.path is None:
            return
        file = self.path / "plan.json"
        if not file.exists():
            files.write_json(file, plan)
        stored = _read(file)
        differing = [name for name in plan if stored.get(name) != plan[name]]
        if differing:
            told = "; ".join(f"{name} is {stored.get(name)!r} there, {plan[name]!r} here" for name in differing)
            checks.refuse(
                f"the sweep in {self.path} must have the same settings, figure and run", told, "Choose another folder."
            )

    def read(self, index: int, seed: int) -> _Found | None:
        """Returns what is known of a run."""
        if self.path is None or not self._file(index, seed).exists():
            return None
        file = self._file(index, seed)
        stored = _read(file)
        try:
            value = None if stored["value"] is None else float(stored["value"])
            return _Found(value, stored["error"] if value is None else None, float(stored["seconds"]))
        except (KeyError, TypeError, ValueError):
            raise DataError(_damaged(file)) from None

    def write(self, index: int, seed: int, found: _Found) -> None:
        """Keeps what came of a run."""
        if self.path is not None:
            files.write_json(self._file(index, seed), {"cell": index, "seed": seed, **vars(found)})

    def _file(self, index: int, seed: int) -> Path:
        return self.path / "runs" / f"{index:03d}_seed_{seed}.json"


def _read(file: Path) -> dict[str, Any]:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        stored = None
    if not isinstance(stored, dict):
        raise DataError(_damaged(file))
    return stored


def _damaged(file: Path) -> str:
    return f"{file} is damaged. Remove it; what it stood for is then made again."


def _cells(settings: Any) -> list[dict[str, Any]]:
    rule = "settings must be a mapping from names to values, or a list of mappings"
    if isinstance(settings, Mapping):
        for name, values in settings.items():
            if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__iter__"):
                checks.refuse(f"{rule}; the values of {name!r} must be a list", values)
        lists = [list(values) for values in settings.values()]
        cells = [dict(zip(settings, each, strict=True)) for each in itertools.product(*lists)]
    elif isinstance(settings, Sequence) and all(isinstance(each, Mapping) for each in settings):
        cells = [dict(each) for each in settings]
    else:
        checks.refuse(rule, settings)
    texts = [json.dumps(_plain(cell), sort_keys=True) for cell in cells]
    if not cells or len(set(texts)) < len(texts):
        checks.refuse("there must be settings, and no two of them the same", settings)
    return cells


def _seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    found = tuple(checks.at_least("a seed", seed, 0) for seed in seeds)
    if not found or len(set(found)) < len(found) or max(found) >= 2**32:
        checks.refuse("seeds must be different integers from 0 to 2**32 - 1, and at least one", found)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    checks.refuse("a setting must hold text, numbers, booleans, None, and lists and dicts of them", value, "Name it.")


def _labels(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    names = list(dict.fromkeys(name for cell in cells for name in cell))
    texts = {name: [json.dumps(_plain(cell[name])) if name in cell else None for cell in cells] for name in names}
    varying = [name for name in names if len(set(texts[name])) > 1] or names
    return [", ".join(f"{name}={cell[name]}" for name in varying if name in cell) or "as it is" for cell in cells]


def _identity(run: Callable) -> str:
    name = getattr(run, "__qualname__", type(run).__qualname__)
    code = getattr(run, "__code__", None)
    return f"{name} {hashlib.sha256(_code(code).encode()).hexdigest()[:8]}" if code else name


def _code(code: CodeType) -> str:
    # A set of texts has another order in another process.
    constants = [sorted(map(repr, each)) if isinstance(each, frozenset) else each for each in code.co_consts]
    inner = [_code(each) if isinstance(each, CodeType) else repr(each) for each in constants]
    return " ".join([code.co_code.hex(), *code.co_names, *inner])


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
