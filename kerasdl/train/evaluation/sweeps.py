"""Sweeps: controlled experiments with the same seeds for every setting, and intervals of the differences."""

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
from .sweep_results import SweepResult, compare_cells

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

    Python, NumPy, TensorFlow and Keras are seeded with the seed of each run; pass it to `RunConfig(seed=)` too, for the
    order of the data. A run that raises TrainingError, or whose figure is not finite, counts as failed, and the others
    continue. With a folder, each finished run is saved at once: after a kill or Ctrl-C the same call makes the missing
    runs, and a call with more seeds makes only those.

    Args:
        run: function of a setting and a seed that returns the figure, figures by name, or a Run, whose figure at the
            best epoch counts, or at the last epoch without a monitored figure.
        settings: values by name, of which every combination is run, or a list of settings. Values are text, numbers,
            booleans, None, and lists and dicts of them.
        seeds: different integers from 0 to 2**32 - 1.
        folder: folder of the finished runs; None saves nothing.
        figure: the name of the figure.
        mode: `"max"` where higher is better, or `"min"`.
        confidence: confidence of the intervals, between 0 and 1.
        progress: `"auto"` prints a line for each run; `"off"` prints nothing.

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
    store = _SweepFolder(
        folder, {"figure": figure, "mode": mode, "run": _identity(run), "cells": [_plain(each) for each in cells]}
    )
    # Seeds in the outer loop: a sweep stopped early has run all settings on some seeds.
    work = [(index, seed) for seed in seeds for index in range(len(cells))]
    with make_progress(progress) as display:
        done = {pair: result for pair in work if (result := store.read(*pair)) is not None}
        if done:
            display.say(f"{len(done)} of {len(work)} runs were found in {store.path}")
        started, missing = time.monotonic(), [pair for pair in work if pair not in done]
        for count, (index, seed) in enumerate(missing, 1):
            try:
                result = _run_once(run, cells[index], seed, figure)
            except KeyboardInterrupt:
                outcome = (
                    f"kept in {store.path}; the same call continues" if store.path else "nothing was kept; pass folder="
                )
                display.say(f"interrupted after {len(done)} of {len(work)} runs: {outcome}")
                raise
            done[index, seed] = result
            store.write(index, seed, result)
            left = (time.monotonic() - started) / count * (len(missing) - count)
            outcome = f"{figure} {result.value:.4g}" if result.error is None else f"failed: {result.error}"
            title = f"{len(done)}/{len(work)}  {labels[index]}  seed {seed}"
            display.say(f"{title}  {outcome}  {result.seconds:.1f} s" + (f"  {_clock(left)} left" if left else ""))
    return compare_cells(
        figure, mode, confidence, seeds, [_row(done, index, labels, cells, seeds) for index in range(len(cells))]
    )


@dataclass(frozen=True)
class _SeedResult:
    value: float | None
    error: str | None
    seconds: float


def _run_once(run: Callable, setting: Mapping[str, Any], seed: int, figure: str) -> _SeedResult:
    # Not core.set_seed, which makes the process deterministic: some operations on GPUs have no deterministic form.
    keras.utils.set_random_seed(seed)
    started = time.monotonic()
    try:
        value, error = _figure(run(dict(setting), seed), figure), None
        if not math.isfinite(value):
            value, error = None, f"{figure} is {value}"
    except TrainingError as problem:
        value, error = None, str(problem)
    return _SeedResult(value, error, time.monotonic() - started)


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


def _row(
    done: Mapping[tuple[int, int], _SeedResult], index: int, labels: list, cells: list, seeds: Sequence[int]
) -> tuple:
    results = {seed: done[index, seed] for seed in seeds}
    values = {seed: each.value for seed, each in results.items() if each.error is None}
    failures = {seed: each.error for seed, each in results.items() if each.error is not None}
    return labels[index], cells[index], values, failures, sum(each.seconds for each in results.values())


class _SweepFolder:
    """Folder of a sweep: plan.json, and one file for each run in runs/."""

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
            differences = "; ".join(f"{name} is {stored.get(name)!r} there, {plan[name]!r} here" for name in differing)
            checks.refuse(
                f"the sweep in {self.path} must have the same settings, figure and run",
                differences,
                "Choose another folder.",
            )

    def read(self, index: int, seed: int) -> _SeedResult | None:
        """Returns the stored result of a run; None where there is none."""
        if self.path is None or not self._file(index, seed).exists():
            return None
        file = self._file(index, seed)
        stored = _read(file)
        try:
            value = None if stored["value"] is None else float(stored["value"])
            return _SeedResult(value, stored["error"] if value is None else None, float(stored["seconds"]))
        except (KeyError, TypeError, ValueError):
            raise DataError(_damaged(file)) from None

    def write(self, index: int, seed: int, result: _SeedResult) -> None:
        """Stores the result of a run."""
        if self.path is not None:
            files.write_json(self._file(index, seed), {"cell": index, "seed": seed, **vars(result)})

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
    return f"{file} is damaged. Remove it; its run is then repeated."


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
        checks.refuse("settings must hold at least one, and no two equal ones", settings)
    return cells


def _seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    values = tuple(checks.at_least("a seed", seed, 0) for seed in seeds)
    if not values or len(set(values)) < len(values) or max(values) >= 2**32:
        checks.refuse("seeds must be different integers from 0 to 2**32 - 1, and at least one", values)
    return values


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
    # The order of a set of texts differs between processes.
    constants = [sorted(map(repr, each)) if isinstance(each, frozenset) else each for each in code.co_consts]
    inner = [_code(each) if isinstance(each, CodeType) else repr(each) for each in constants]
    return " ".join([code.co_code.hex(), *code.co_names, *inner])


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
