"""Report on pruning, clustering or channel pruning: zeros and values of kernels, file sizes, and latency."""

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import keras
import numpy as np

from kerasdl.core.keras_graph import all_layers

from ..profiling.latency import Comparison, compare
from ..tflite.exporter import export_tflite

ZEROS_ARE_MULTIPLIED = (
    "Zeros and repeated values make a compressed file smaller. The runtime multiplies by them all the same, so that "
    "latency hardly changes; cut channels (prune_channels) or use integers for speed."
)


@dataclass(frozen=True)
class Kernel:
    """One weight of two or more dimensions."""

    layer: str
    """The name of its layer."""
    weights: int
    """The count of numbers in it."""
    zeros: float
    """The share of them that is zero."""
    values: int
    """The count of different numbers in it."""


@dataclass(frozen=True)
class CompressionReport:
    """Comparison of a model before and after it was compressed."""

    kernels: tuple[Kernel, ...]
    """The kernels of the model after."""
    comparison: Comparison
    """Float32 TFLite files of both, "before" first: size, compressed size, latency."""
    notes: tuple[str, ...]
    """Notes on the figures."""

    @property
    def gzip_ratio(self) -> float:
        """Compressed size after over before."""
        before, after = self.comparison.rows
        return after.gzip_bytes / before.gzip_bytes

    @property
    def latency_ratio(self) -> float:
        """Median latency after over before."""
        return self.comparison.rows[1].ratio

    def table(self) -> str:
        """Returns the report as text for people."""
        wide = max(len(kernel.layer) for kernel in self.kernels)
        head = f"{'layer'.ljust(wide)}  {'weights':>10}  {'zeros':>6}  {'values':>7}"
        rows = [
            f"{row.layer.ljust(wide)}  {row.weights:>10,}  {row.zeros:>6.1%}  {row.values:>7,}" for row in self.kernels
        ]
        return "\n".join([head, *rows, "", self.comparison.table(), "", *self.notes])

    def to_json(self) -> str:
        """Returns the report as JSON text."""
        return json.dumps(asdict(self), indent=2)


def compression_report(
    before: keras.Model, after: keras.Model, *, runs: int = 50, threads: int = 1
) -> CompressionReport:
    """Compares a model before and after compression: zeros, file sizes and latency.

    PairedTensor are exported as float32 TFLite files, sized as they are and compressed with gzip, and timed in turns.

    Args:
        before: the model before.
        after: the model after `prune`, `cluster` or `prune_channels`.
        runs: the number of timed runs of each, 1 or more.
        threads: the number of threads of each, 1 or more.

    Returns:
        The report: `kernels`, `comparison`, `gzip_ratio`, `latency_ratio`, `table()`, `to_json()`.

    Raises:
        ArgumentError: an argument breaks its rule.
        ExportError: a model does not export.

    Example:
        >>> report = compression_report(model, model, runs=5)
        >>> report.gzip_ratio
        1.0
    """
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder, f"{name}.tflite") for name in ("before", "after")}
        for model, path in zip((before, after), paths.values(), strict=True):
            export_tflite(model, path)
        comparison = compare(paths, runs=runs, threads=threads)
    same_size = before.count_params() == after.count_params()
    return CompressionReport(tuple(kernels_of(after)), comparison, (ZEROS_ARE_MULTIPLIED,) * same_size)


def kernels_of(model: keras.Model) -> list[Kernel]:
    """Returns a row for each weight of two or more dimensions."""
    kernels = []
    for layer in all_layers(model):
        for weight in layer._trainable_variables + layer._non_trainable_variables:  # without those of inner layers
            if len(weight.shape) >= 2:
                values = weight.numpy()
                kernels.append(Kernel(layer.name, values.size, float(np.mean(values == 0)), len(np.unique(values))))
    return kernels
