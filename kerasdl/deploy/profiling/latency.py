"""Latency, memory and size of exported files and models, measured side by side."""

import json
import os
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from matplotlib.backends import backend_agg
from matplotlib.figure import Figure

from kerasdl.core import checks, files
from kerasdl.core.child_process import ChildProcess, child_process
from kerasdl.core.display.results import Displayed, text_table
from kerasdl.core.errors import ExportError

from ..export.saved_model import export_saved_model
from ..samples.model_inputs import FREE_SIZE

KINDS = {".tflite": "tflite", ".onnx": "onnx"}
TURN = 10  # runs of one file before the next has its turn
INK, BAR, FAINT = "#1f2937", "#2563eb", "#9ca3af"

Source = str | os.PathLike | keras.Model


@dataclass(frozen=True)
class Latency:
    """Time of one example, inputs handed over and outputs read back, in milliseconds."""

    median_ms: float
    """Half of the runs took less."""
    p95_ms: float
    """95 of 100 runs took less."""
    runs: int
    """The number of timed runs, after a few for warming up."""
    threads: int
    """The number of threads of the runtime."""


@dataclass(frozen=True)
class ComparedFile:
    """Latency, memory and size of one file or model."""

    name: str
    """Its name in the comparison."""
    kind: str
    """"tflite", "onnx", "SavedModel", or "Keras graph" for a model."""
    bytes: int
    """Its size; for a folder, of all files in it; for a model, of its weights."""
    gzip_bytes: int
    """The same, compressed."""
    median_ms: float
    """Half of the runs took less, in milliseconds."""
    p95_ms: float
    """95 of 100 runs took less."""
    memory_bytes: int
    """The peak memory of its process beyond that of the runtime before the file was opened."""
    ratio: float
    """Median over that of the first."""


@dataclass(frozen=True, repr=False)
class Comparison(Displayed):
    """Files and models measured side by side, in turns, so that disturbances of the machine reach all of them."""

    rows: tuple[ComparedFile, ...]
    """One row for each file or model, in their order."""
    runs: int
    """The number of timed runs of each."""
    threads: int
    """The number of threads of each."""

    def _shown(self) -> tuple[str, str]:
        return f"Comparison: {self.runs} runs of each, threads: {self.threads}", self.table()

    def table(self) -> str:
        """Returns the rows as a table for people."""
        head = ("name", "kind", "MB", "MB gzip", "median ms", "p95 ms", "memory MB", "ratio")
        cells = [
            (row.name, row.kind, *(f"{value:.4g}" for value in _figures(row)), f"{row.ratio:.2f}") for row in self.rows
        ]
        return text_table(head, cells, left=(0, 1))

    def to_json(self) -> str:
        """Returns the comparison as JSON text."""
        return json.dumps(asdict(self), indent=2)

    def plot(self, path: str | os.PathLike) -> None:
        """Draws the medians as bars, with a line to the 95th percentile, into a picture such as a .png."""
        figure = Figure(figsize=(8, 1.2 + 0.5 * len(self.rows)), dpi=120, layout="constrained")
        backend_agg.FigureCanvasAgg(figure)
        axes = figure.subplots()
        places = range(len(self.rows))
        medians, tails = ([getattr(row, name) for row in self.rows] for name in ("median_ms", "p95_ms"))
        axes.barh(places, medians, color=BAR, height=0.6)
        axes.hlines(places, medians, tails, color=FAINT, linewidth=2)
        for place, row in zip(places, self.rows, strict=True):
            text = f"  {row.median_ms:.3g} ms, {row.ratio:.2f}x, {row.bytes / 1e6:.3g} MB"
            axes.annotate(text, (max(row.median_ms, row.p95_ms), place), va="center", color=INK)
        axes.set_yticks(places, [_label(row) for row in self.rows])
        axes.invert_yaxis()
        axes.set(xlabel="median latency of one example in ms; the line reaches to p95", xlim=(0, max(tails) * 1.45))
        threads = f"{self.threads} thread" + "s" * (self.threads > 1)
        axes.set_title(f"{self.runs} runs of each in turns, {threads}", loc="left", color=INK)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        with files.writing(path) as draft:
            figure.savefig(draft)


def compare(sources: Mapping[str, Source] | Sequence[Source], *, runs: int = 50, threads: int = 1) -> Comparison:
    """Measures latency, memory and size of exported files and models side by side.

    Each is opened in a fresh process, on the same cores where the system allows a choice, and they run in turns: a busy
    machine slows all of them. A Keras model is timed as a compiled graph. Free dimensions are 64; floats are random,
    integers 0 or 1. The time of single layers is not measured: LiteRT's Python interface has no profiler.

    Args:
        sources: .tflite and .onnx files, SavedModel folders and models, by name or in a row; the ratios are to the
            first.
        runs: the number of timed runs of each, 1 or more.
        threads: the number of threads of each, 1 or more.

    Returns:
        The comparison: `rows`, `table()`, `to_json()`, `plot(path)`.

    Raises:
        ArgumentError: an argument breaks its rule.
        ExportError: a file does not run.

    Example:
        >>> reports = [export_tflite(model, "model.tflite"), export_onnx(model, "model.onnx")]
        >>> result = compare(["model.tflite", "model.onnx"], runs=10)
        >>> [(row.name, row.kind) for row in result.rows]
        [('model.tflite', 'tflite'), ('model.onnx', 'onnx')]
        >>> result.plot("latency.png")
    """
    checks.at_least("runs", runs, 1)
    checks.at_least("threads", threads, 1)
    named = (
        dict(sources) if isinstance(sources, Mapping) else {_unique_name(sources, k): s for k, s in enumerate(sources)}
    )
    if not named:
        checks.refuse("sources must hold a file or a model", sources)
    for source in named.values():
        _check_source(source)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        paths = {name: _on_disk(source, Path(folder, str(k))) for k, (name, source) in enumerate(named.items())}
        workers = {name: stack.enter_context(_worker(path, threads)) for name, path in paths.items()}
        times: dict[str, list[float]] = {name: [] for name in named}
        for start in range(0, runs, TURN):
            for name, worker in workers.items():
                times[name] += worker.time(min(TURN, runs - start))
        memory = {name: worker.finish() for name, worker in workers.items()}
        first = float(np.median(next(iter(times.values()))))
        rows = [
            ComparedFile(
                name=name,
                kind="Keras graph" if isinstance(source, keras.Model) else _kind(paths[name]),
                **_sizes(source),
                median_ms=float(np.median(times[name])),
                p95_ms=float(np.percentile(times[name], 95)),
                memory_bytes=memory[name],
                ratio=float(np.median(times[name])) / first,
            )
            for name, source in named.items()
        ]
    return Comparison(tuple(rows), runs, threads)


def benchmark(path: Source, *, runs: int = 50, threads: int = 1) -> Latency:
    """Times one example through a .tflite file, an .onnx file, a SavedModel folder or a Keras model.

    It runs in a process of its own, as in `compare`, which measures several side by side.

    Args:
        path: the file or folder, or the model.
        runs: the number of timed runs, 1 or more.
        threads: the number of threads of the runtime, 1 or more.

    Returns:
        The latency.

    Raises:
        ArgumentError: an argument breaks its rule.
        ExportError: the file does not run.

    Example:
        >>> report = export_tflite(model, "model.tflite")
        >>> benchmark("model.tflite").median_ms > 0
        True
    """
    (row,) = compare([path], runs=runs, threads=threads).rows
    return Latency(row.median_ms, row.p95_ms, runs, threads)


class _Worker:
    """Client of the process that runs one file; see latency_worker."""

    def __init__(self, child: ChildProcess, path: Path):
        self._child, self._path = child, path

    def send(self, line: Any) -> Any:
        """Sends one line, and returns the answer."""
        return self._checked_answer(self._child.ask(line))

    def time(self, runs: int) -> list[float]:
        return self.send(runs)

    def finish(self) -> int:
        self._child.process.stdin.close()
        return max(0, self._checked_answer(self._child.answer()))

    def _checked_answer(self, answer: Any) -> Any:
        if answer is not None:
            return answer
        last = (self._child.last_words() or [f"its process ended with {self._child.process.returncode}"])[-1][:300]
        raise ExportError(f"{self._path} does not run: {last}. Export it again.")


@contextmanager
def _worker(path: Path, threads: int) -> Iterator[_Worker]:
    """Context manager of the process that runs one file."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    settings = {
        "path": str(path),
        "kind": _kind(path),
        "threads": threads,
        "cores": usable[:threads],
        "free": FREE_SIZE,
    }
    with child_process("kerasdl.deploy.profiling.latency_worker") as child:
        worker = _Worker(child, path)
        worker.send(json.dumps(settings))
        yield worker


def _check_source(source: Source) -> None:
    if isinstance(source, keras.Model):
        return
    path = Path(source)
    if not path.exists():
        checks.refuse("path must be a file, a folder or a model", str(path), "Export a model there first.")
    if not path.is_dir():
        checks.one_of("the suffix of path", path.suffix, tuple(KINDS))


def _unique_name(sources: Sequence[Source], index: int) -> str:
    """Returns the name of a file (its whole path where several end alike), or that of a model."""
    names = [each.name if isinstance(each, keras.Model) else Path(each).name for each in sources]
    if names.count(names[index]) == 1:
        return names[index]
    source = sources[index]
    again = isinstance(source, keras.Model) or list(map(str, sources)).count(str(source)) > 1
    return f"{names[index]} {index}" if again else str(source)


def _on_disk(source: Source, place: Path) -> Path:
    if not isinstance(source, keras.Model):
        return Path(source).absolute()
    export_saved_model(source, place, tolerance=float("inf"))
    return place


def _kind(path: Path) -> str:
    return "SavedModel" if path.is_dir() else KINDS[path.suffix]


def _sizes(source: Source) -> dict[str, int]:
    if isinstance(source, keras.Model):
        parts = [np.asarray(weight).tobytes() for weight in source.weights]
    else:
        path = Path(source)
        parts = [file.read_bytes() for file in sorted([path, *path.rglob("*")]) if file.is_file()]
    return {"bytes": sum(map(len, parts)), "gzip_bytes": sum(len(zlib.compress(part)) for part in parts)}


def _label(row: ComparedFile) -> str:
    return row.name if row.kind.lower() in row.name.lower() else f"{row.name}\n{row.kind}"


def _figures(row: ComparedFile) -> tuple[float, ...]:
    return row.bytes / 1e6, row.gzip_bytes / 1e6, row.median_ms, row.p95_ms, row.memory_bytes / 1e6
