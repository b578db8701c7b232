"""Generator of docs/applications.md: nets of keras.applications through bridge, TFLite and ONNX.

`make applications`: every family's smallest net and some larger ones, without pretrained weights: random weights, and
batch-norm statistics that fit them but for a random tenth. Each is measured in a process of its own; about half an hour
on two cores. What is measured is kept in docs/applications.json, so an interrupted run goes on where it stopped;
`--fresh` starts anew, and names of nets measure those again.
"""

import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from children import in_child, keep, measured_in_children, taken_up, versions_of, without_paths

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import applications  # noqa: E402

from kerasdl.core import KerasdlError, files  # noqa: E402
from kerasdl.deploy import export_onnx, export_tflite  # noqa: E402

MEASURED, PAGE = ROOT / "docs" / "applications.json", ROOT / "docs" / "applications.md"
PACKAGES = ("keras", "tensorflow", "tf-keras", "tf2onnx", "onnxruntime", "ai-edge-litert")
COLUMNS = {"size": "input, weights", "bridge": "tf_keras", "tflite": "TFLite float32", "onnx": "ONNX"}
LIMIT = 1200.0


@cache
def prepared(name: str) -> tuple:
    """Returns a net and images, cached for the process."""
    return applications.make(name)


def measure(name: str, column: str) -> dict:
    """Measures one net in one form."""
    model, images = prepared(name)
    if column == "size":
        return {"outcome": "right", "pixels": images.shape[1], "weights": model.count_params()}
    started = time.perf_counter()
    try:
        if column == "bridge":
            gap, wrapped = applications.bridge_gap(model, images)
            more, bound = {"wrapped": wrapped}, applications.BRIDGE
        else:
            exporter, suffix = (export_tflite, ".tflite") if column == "tflite" else (export_onnx, ".onnx")
            with tempfile.TemporaryDirectory() as folder:
                report = exporter(model, Path(folder, f"model{suffix}"), samples=images)
            gap, more, bound = report.worst_relative, {"megabytes": report.bytes / 1e6}, applications.FILE
    except KerasdlError as error:
        return {"outcome": "refused", "why": without_paths(str(error))}
    seconds = round(time.perf_counter() - started, 1)
    return {"outcome": "right" if gap <= bound else "wrong", "gap": float(f"{gap:.2g}"), "seconds": seconds, **more}


def show(cell: dict) -> str:
    """Returns one cell of the table."""
    if "pixels" in cell:
        return f"{cell['pixels']} px, {cell['weights'] / 1e6:.3g} M"
    if "gap" not in cell:
        return f"**{cell['outcome']}**: {cell['why']}"
    parts = [f"{cell['gap']:.1e}" if cell["outcome"] == "right" else f"**{cell['gap']:.1e}**"]
    if "megabytes" in cell:
        parts.append(f"{cell['megabytes']:.3g} MB")
    if cell.get("wrapped"):
        parts.append(f"{cell['wrapped']} wrapped")
    return ", ".join([*parts, f"{cell['seconds']:.0f} s"])


def page(measured: dict, versions: dict) -> str:
    """Returns the table in Markdown."""
    used = ", ".join(f"{package} {version}" for package, version in versions.items())
    rows = [f"| `{name}` | {' | '.join(show(cells[each]) for each in COLUMNS)} |\n" for name, cells in measured.items()]
    return (
        "# keras.applications\n\n"
        "Each family's smallest net and some larger ones, with random weights, batch-norm statistics that fit them but "
        "for a random tenth, 10 classes and logits for outputs. The largest difference from the model over max(1, "
        f"largest output): at most {applications.BRIDGE:g} for the net rebuilt in tf_keras (layers without a "
        f"counterpart there are wrapped), at most {applications.FILE:g} for files. Seconds are for rebuilding or "
        "writing, and for the check, on a machine that may have done other work too. "
        "Batch-norm shifts are about 1, where activations are nearly linear: about 0, a random net "
        "magnifies rounding with its depth, and EfficientNetB1's files were off by 5e-4 to 8e-4, in both runtimes. "
        f"`make applications` measures it anew.\n\nMeasured with {used}.\n\n"
        f"| net | {' | '.join(COLUMNS.values())} |\n|---{'|---' * len(COLUMNS)}|\n{''.join(rows)}"
    )


def main() -> None:
    """Measures missing entries, and writes the page."""
    versions = versions_of(PACKAGES)
    measured = taken_up(MEASURED, versions, "--fresh" in sys.argv)
    again = [name for name in sys.argv[1:] if not name.startswith("-")]
    for position, name in enumerate(applications.NETS, start=1):
        if name in measured and name not in again:
            continue
        started = time.perf_counter()
        measured[name] = measured_in_children(Path(__file__), name, list(COLUMNS), LIMIT)
        keep(MEASURED, versions, measured)
        shown = "; ".join(f"{each} {show(measured[name][each])}" for each in COLUMNS)
        seconds = time.perf_counter() - started
        print(f"{position}/{len(applications.NETS)} {name}: {shown} ({seconds:.0f} s)", flush=True)
    measured = {name: measured[name] for name in applications.NETS}
    keep(MEASURED, versions, measured)
    files.write_text(PAGE, page(measured, versions))


if __name__ == "__main__":
    if "--child" in sys.argv:
        in_child(sys.argv[1:], measure)
    else:
        main()
