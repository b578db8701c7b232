"""Channel pruning to half the multiply-accumulates: `python benchmarks/channels.py`, about a minute.

Prints, for MobileNetV2 and ResNet18 at 224 with random weights, what is left of multiply-accumulates and file size, and
the float TFLite latency after over before: the median of pairs measured in turn, on one thread pinned to one core. Bar:
at most 0.65, on a machine with nothing else to do.
"""

import os
import statistics
import tempfile
from pathlib import Path

import keras

import kerasdl
from kerasdl.deploy import benchmark, export_tflite, profile_model, prune_channels

MODELS, SHARE, PAIRS, RUNS = ("mobilenet_v2", "resnet18"), 0.5, 15, 10


def compare(name: str, folder: Path) -> None:
    """Prunes one model and prints the gain."""
    keras.utils.set_random_seed(0)
    model = kerasdl.build(name)
    smaller = prune_channels(model, macs=SHARE)
    reports = [export_tflite(each, folder / f"{name}{index}.tflite") for index, each in enumerate((model, smaller))]
    times = [[benchmark(report.path, runs=RUNS).median_ms for report in reports] for _ in range(PAIRS)]
    ratios = [after / before for before, after in times]
    before, after = (statistics.median(column) for column in zip(*times, strict=True))
    print(
        f"{name}: MACs {profile_model(smaller).macs / profile_model(model).macs:.3f}, "
        f"bytes {reports[1].bytes / reports[0].bytes:.3f}, {before:.1f} ms to {after:.1f} ms, "
        f"latency {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
        flush=True,
    )


def main() -> None:
    """Runs the comparison for each model."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as folder:
        for name in MODELS:
            compare(name, Path(folder))


if __name__ == "__main__":
    main()
