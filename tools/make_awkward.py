"""Generator of docs/awkward.md: difficult small models through the exporters of Keras and kerasdl: `make awkward`.

Each model is measured in a process of its own, with a time limit; about a quarter of an hour on two cores, and half an
hour more for the layers of tools/measure_extremes.py. What is measured is kept in docs/awkward.json and
docs/extremes.json, so an interrupted run goes on where it stopped; `--fresh` starts anew, names of models measure those
again, and `--ours` measures what kerasdl makes of all of them again.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

import list_refusals
import measure_extremes
from children import in_child, keep, measured_in_children, taken_up, versions_of, without_paths

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import awkward  # noqa: E402
import comparing  # noqa: E402
import keras  # noqa: E402

from kerasdl.core import KerasdlError, files  # noqa: E402
from kerasdl.deploy import export_onnx, export_tflite  # noqa: E402
from kerasdl.deploy.export.tracing import first_line, silenced  # noqa: E402

MEASURED, PAGE = ROOT / "docs" / "awkward.json", ROOT / "docs" / "awkward.md"
PACKAGES = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert", "numpy")
COLUMNS = {
    "stock_tflite": "Keras TFLite",
    "ours_tflite": "kerasdl TFLite",
    "stock_onnx": "Keras ONNX",
    "ours_onnx": "kerasdl ONNX",
}
LIMIT = 240.0
RIGHT = 1e-4
BY, FORMATS = ("stock", "ours"), ("tflite", "onnx")


def measure(name: str, column: str) -> dict:
    """Exports one model one way, runs the file and compares."""
    by, _, file_format = column.partition("_")
    model, arrays = awkward.MODELS[name]()
    model_in_float32, _ = awkward.IN_FLOAT32.get(name, awkward.MODELS[name])()
    expected = comparing.outputs_of(model_in_float32, arrays)
    comparing.outputs_of(model, arrays)  # Keras exports only what was called
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.tflite" if file_format == "tflite" else "model.onnx")
        try:
            outputs = (write_ours if by == "ours" else write_stock)(model, path, arrays)
        except Exception as error:
            if by == "ours" and not isinstance(error, KerasdlError):
                raise
            return {"outcome": "refused", "why": said(error)}
        seconds = time.perf_counter() - started
        try:
            given = run(model, path, arrays, outputs)
        except Exception as error:
            return {"outcome": "does not run", "why": said(error)}
    gap = comparing.gap(expected, given)
    if gap == float("inf"):
        return {"outcome": "wrong shape"}
    bound = RIGHT if by == "ours" else awkward.ROUNDING.get(name, RIGHT)
    return {"outcome": "right" if gap <= bound else "wrong", "gap": float(f"{gap:.2g}"), "seconds": round(seconds, 1)}


def write_ours(model: keras.Model, path: Path, arrays: list) -> list[str]:
    """Writes a file with kerasdl; returns its outputs' names."""
    exporter = export_tflite if path.suffix == ".tflite" else export_onnx
    report = exporter(model, path, samples=arrays if len(arrays) > 1 else arrays[0])
    return list(dict.fromkeys(drift.output for drift in report.drifts))


def write_stock(model: keras.Model, path: Path, arrays: list) -> list[str]:
    """Writes a file with Keras's own exporter, unchanged; returns its outputs' names."""
    with silenced():
        if path.suffix == ".onnx":
            model.export(str(path), format="onnx", verbose=False, opset_version=18)
        else:
            model.export(str(path), format="litert", verbose=False)
    values = model(keras.tree.pack_sequence_as(comparing.nested_inputs(model), [array[:1] for array in arrays]))
    if isinstance(values, dict):
        return sorted(values)
    return [f"output_{index}" for index, _ in enumerate(keras.tree.flatten(values))]


def run(model: keras.Model, path: Path, arrays: list, outputs: list[str]) -> list:
    """Runs a file in its own runtime."""
    with silenced():
        runtime = comparing.run_onnx if path.suffix == ".onnx" else comparing.run_lite
        return runtime(path, model, arrays, outputs)


def said(error: Exception) -> str:
    """Returns the first line of an error, without paths of this machine."""
    return without_paths(first_line(error))[:240]


def page(measured: dict, versions: dict) -> str:
    """Returns the table of models in Markdown, and below it the reasons for refusals."""
    held = [name for name, cells in measured.items() if all(right(cells, column) for column in COLUMNS)]
    broken = [name for name, cells in measured.items() if any(not right(cells, f"stock_{each}") for each in FORMATS)]
    counts = {by: sum(right(cells, f"{by}_{each}") for cells in measured.values() for each in FORMATS) for by in BY}
    used = ", ".join(f"{package} {version}" for package, version in versions.items())
    rows, reasons = [], {}
    for name in (name for name in measured if name not in held):
        shown = [show(measured[name][column], column.startswith("ours"), reasons) for column in COLUMNS]
        rows.append(f"| `{name}` | {' | '.join(shown)} |\n")
    notes = "".join(f"\n({number}) {reason}\n" for reason, number in reasons.items())
    return (
        "# Awkward models\n\n"
        "Small models of tests/support/awkward.py, with random weights, exported by Keras's own exporters "
        '(`model.export(format="litert")`, `model.export(format="onnx", opset_version=18)`) and by ours. Each file was '
        "run by LiteRT or onnxruntime and compared with the model. A file is right if its largest difference over "
        f"max(1, largest output) is at most {RIGHT:g}. `make awkward` measures it anew.\n\n"
        "Keras's exporters were called with their default settings. The TFLite one leaves the batch free and uses "
        "TensorFlow's own operations (Flex) where TFLite has none, which no LiteRT from the package index can run; "
        "ours fixes the batch at 1 and uses built-in operations only.\n\n"
        f"Keras's exporters fail on {len(broken)} of the {len(measured)} models in one format or both: "
        f"{counts['stock']} of {len(measured) * len(FORMATS)} files are right. Of ours {counts['ours']} are right; the "
        "others are refused with a reason.\n\n"
        f"Measured with {used}.\n\n"
        f"| model | {' | '.join(COLUMNS.values())} |\n|---{'|---' * len(COLUMNS)}|\n{''.join(rows)}{notes}\n"
        f"Right in all four: {', '.join(f'`{name}`' for name in held)}.\n"
    )


def right(cells: dict, column: str) -> bool:
    """Returns whether a file is right."""
    return cells[column]["outcome"] == "right"


def show(cell: dict, is_ours: bool, reasons: dict[str, int]) -> str:
    """Returns one cell of the table."""
    if cell["outcome"] == "wrong":
        return f"wrong by {cell['gap']:.2g}"
    if cell["outcome"] == "right":
        return "right"
    mark = f" ({reasons.setdefault(cell['why'], len(reasons) + 1)})" if is_ours else ""
    return cell["outcome"] + mark


def main() -> None:
    """Measures missing entries, and writes the page after each model."""
    versions = versions_of(PACKAGES)
    measured = taken_up(MEASURED, versions, "--fresh" in sys.argv)
    again = [name for name in sys.argv[1:] if not name.startswith("-")]
    for position, name in enumerate(awkward.MODELS, start=1):
        known = {} if name in again else measured.get(name, {})
        columns = [each for each in COLUMNS if each not in known or ("--ours" in sys.argv and each.startswith("ours"))]
        if not columns:
            continue
        started = time.perf_counter()
        measured[name] = known | measured_in_children(Path(__file__), name, columns, LIMIT)
        keep(MEASURED, versions, measured)
        outcomes = "; ".join(f"{column} {show(measured[name][column], False, {})}" for column in COLUMNS)
        seconds = time.perf_counter() - started
        print(f"{position}/{len(awkward.MODELS)} {name}: {outcomes} ({seconds:.0f} s)", flush=True)
    measured = {name: measured[name] for name in awkward.MODELS}
    keep(MEASURED, versions, measured)
    layers = measure_extremes.section(measure_extremes.measured_all(again, "--fresh" in sys.argv))
    registry = list_refusals.section(json.loads(list_refusals.RECORD.read_text())["measured"])
    files.write_text(PAGE, "\n".join([page(measured, versions), layers, registry]))


if __name__ == "__main__":
    if "--child" in sys.argv:
        in_child(sys.argv[1:], measure)
    else:
        main()
