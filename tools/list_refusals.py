"""Refused exports with their reasons, over every distinct tiny net of the registry and every format: `make refusals`.

docs/awkward.md has its count.

Weights are random and batch-norm statistics moved, by two seeds; seed 2 fits the statistics to the samples but for a
random tenth. Each net is measured in a process of its own, half an hour for each seed on two cores. What is measured is
kept in docs/refusals.json until `--fresh` starts anew, so an interrupted run goes on where it stopped. Formats and
seeds may be named: `float32 onnx 1`.
"""

import sys
import tempfile
import time
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

from children import in_child, keep, measured_in_children, taken_up, versions_of, without_paths

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(ROOT / "tests" / "contract")]

import exporting  # noqa: E402
import filling  # noqa: E402
from cases import DISTINCT  # noqa: E402

import kerasdl  # noqa: E402
from kerasdl.core import KerasdlError, get_task  # noqa: E402

RECORD = ROOT / "docs" / "refusals.json"
PACKAGES = ("keras", "tensorflow", "tf2onnx", "onnxruntime", "ai-edge-litert")
FORMATS = ("float32", "onnx", "int8", "float16", "dynamic")
SEEDS, SETTLED = (1, 2), 2
SAMPLES = 164  # 123 calibrate, 41 that are held back judge
LIMIT = 900.0


@cache
def prepared(name: str, seed: int) -> tuple:
    """Returns a tiny net and samples, cached for the process."""
    spec = kerasdl.spec(name)
    model = filling.fill_weights(kerasdl.build(name, **spec.tiny), seed)
    samples, _ = get_task(spec.task).example(model, SAMPLES, seed)
    return (filling.settle_statistics(model, samples, seed) if seed == SETTLED else model), samples


def measure(name: str, column: str) -> dict:
    """Exports one net in one format with weights of one seed."""
    export_format, _, seed = column.partition(" ")
    model, samples = prepared(name, int(seed))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        try:
            report = exporting.export_as(model, Path(folder), export_format, samples)
        except KerasdlError as error:
            return {"outcome": "refused", "why": without_paths(str(error))}
    seconds = round(time.perf_counter() - started, 1)
    notes = [note for note in report.notes if note.startswith("hostile")]
    return {"outcome": "right", "gap": float(f"{report.worst_relative:.2g}"), "seconds": seconds, "notes": notes}


def main() -> None:
    """Measures missing entries, and prints the refusals by reason."""
    formats = [each for each in sys.argv[1:] if each in FORMATS] or FORMATS
    versions = versions_of(PACKAGES)
    measured = taken_up(RECORD, versions, "--fresh" in sys.argv)
    seeds = [each for each in SEEDS if str(each) in sys.argv[1:]] or SEEDS
    columns = [f"{each} {seed}" for seed in seeds for each in formats]
    for position, name in enumerate(DISTINCT, start=1):
        left = [each for each in columns if each not in measured.get(name, {})]
        if left:
            started = time.perf_counter()
            measured[name] = measured.get(name, {}) | measured_in_children(Path(__file__), name, left, LIMIT)
            keep(RECORD, versions, measured)
            told = [f"{each} {outcome}" for each in left if (outcome := measured[name][each]["outcome"]) != "right"]
            seconds = time.perf_counter() - started
            print(f"{position}/{len(DISTINCT)} {name}: {'; '.join(told) or 'right'} ({seconds:.0f} s)", flush=True)
    print(section(measured))


def section(measured: dict) -> str:
    """Returns the part of docs/awkward.md in Markdown: the number of files, the refused ones, and the reasons."""
    reasons, held = defaultdict(list), Counter()
    for name, cells in measured.items():
        for column, cell in cells.items():
            held[column.split()[0]] += 1
            if cell["outcome"] != "right":
                reasons[cell["why"]].append(f"`{name}` ({column.split()[0]})")
    named = {name: kerasdl.spec(name).exports for name in DISTINCT if kerasdl.spec(name).exports}
    files = ", ".join(f"{count} {export_format}" for export_format, count in held.items())
    refused = "".join(f"- {', '.join(where)}: {reason}\n" for reason, where in reasons.items())
    without = "".join(
        f"- `{name}` ({export_format}): {reason}\n"
        for name, exports in named.items()
        for export_format, reason in exports.items()
    )
    count = sum(map(len, reasons.values())) or "none"
    return (
        "## The registry\n\n"
        f"The {len(measured)} distinct tiny nets of the registry with random weights and moved batch-norm statistics, "
        f"{SAMPLES} samples each (`make refusals`): {files} files, of which {count} refused.\n\n{refused}"
        + (f"Limits of the formats themselves, by the specs:\n\n{without}" if without else "")
    )


if __name__ == "__main__":
    if "--child" in sys.argv:
        in_child(sys.argv[1:], measure)
    else:
        main()
