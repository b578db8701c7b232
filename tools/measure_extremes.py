"""Measurement of Keras layers and activations at magnitudes from 1e-30 to 1e30 in every format, for docs/awkward.md.

`make awkward` calls it; half an hour on two cores. What is measured is kept in docs/extremes.json.
"""

import re
import sys
import tempfile
import time
from pathlib import Path

from children import in_child, keep, measured_in_children, taken_up, versions_of, without_paths

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import extremes  # noqa: E402

from kerasdl.core import KerasdlError  # noqa: E402

MEASURED = ROOT / "docs" / "extremes.json"
PACKAGES = ("keras", "tensorflow", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert", "numpy")
COLUMNS = {"float32": "TFLite float32", "float16": "TFLite float16", "int8": "TFLite int8", "onnx": "ONNX"}
LIMIT = 1200.0


def measure(_: str, column: str) -> dict:
    """Exports one model in one format, runs it at every magnitude and compares."""
    name, file_format = column.split()
    with tempfile.TemporaryDirectory() as folder:
        try:
            return {"wrong": extremes.wrong_magnitudes(name, file_format, Path(folder))}
        except KerasdlError as error:
            return {"refused": without_paths(str(error))}


def measured_all(again: list[str], fresh: bool) -> dict[str, dict]:
    """Measures missing entries, group by group, and returns all."""
    versions = versions_of(PACKAGES)
    measured = taken_up(MEASURED, versions, fresh)
    for group, models in extremes.GROUPS.items():
        known = {name: {} if name in again else measured.get(name, {}) for name in models}
        left = [f"{name} {each}" for name in models for each in COLUMNS if each not in known[name]]
        if not left:
            continue
        started = time.perf_counter()
        for column, cell in measured_in_children(Path(__file__), group, left, LIMIT).items():
            name, file_format = column.split()
            known[name][file_format] = cell
        measured |= known
        keep(MEASURED, versions, measured)
        print(f"{group}: {len(left)} files in {time.perf_counter() - started:.0f} s", flush=True)
    measured = {name: measured[name] for name in extremes.MODELS}
    keep(MEASURED, versions, measured)
    return measured


def show(cell: dict) -> str:
    """Returns one cell of the table."""
    if "wrong" not in cell:
        return _refusal(cell.get("refused", cell.get("why", "")))
    if not cell["wrong"]:
        return "right"
    below = [each for each in extremes.MAGNITUDES if each < cell["wrong"][0]]
    if not below or cell["wrong"][0] <= extremes.STATED:
        return f"**wrong** at {', '.join(f'{each:g}' for each in cell['wrong'])}"
    return f"right to {below[-1]:g}"


def _refusal(text: str) -> str:
    lacking = re.search(r"cover the model; (.+?) of ", text)
    drift = re.search(r"(?:differs|is off) by (\S+)", text)
    reason = f"no {lacking[1]}" if lacking else f"off by {drift[1]}" if drift else text
    return f"refused: {reason}"


def section(measured: dict) -> str:
    """Returns the section of the page in Markdown."""
    shown = {name: [show(cells[each]) for each in COLUMNS] for name, cells in measured.items()}
    whole = [f"`{name}`" for name, cells in shown.items() if set(cells) == {"right"}]
    rows = [f"| `{name}` | {' | '.join(cells)} |\n" for name, cells in shown.items() if set(cells) != {"right"}]
    left_out = "; ".join(
        f"{', '.join(f'`{each}`' for each in names)} ({why})" for why, names in extremes.WITHOUT_ROW.items()
    )
    return (
        "## Layers at every magnitude\n\n"
        "Every function of keras.activations and every layer of Keras without weights (and the norms), as a model of "
        "one layer of tests/support/extremes.py: exported with ordinary samples, then run on zeros and on rows of "
        f"magnitudes from {min(extremes.MAGNITUDES):g} to {max(extremes.MAGNITUDES):g} (constant, negative, mixed, "
        f"one-hot, beside ones). A file is right if it is within {extremes.BOUND:g} of Keras over max(1, largest "
        f"output), or {extremes.HALF_BOUND:g} in float16, which rounds constants, wherever Keras's float32 is finite "
        f"and within {extremes.CONDITION:g} of its own float64; int8, whose calibrated ranges end at about 4, must be "
        f"finite. A cell states the largest magnitude at which a file is right; beyond {extremes.STATED:g} nothing is "
        "promised. Most augmentation is the identity outside training. A difference in a cell was refused by the "
        "export.\n\n"
        f"| layer | {' | '.join(COLUMNS.values())} |\n|---{'|---' * len(COLUMNS)}|\n{''.join(rows)}\n"
        f"Right in all four at every magnitude: {', '.join(whole)}.\n\n"
        f"Without a row: {left_out}.\n"
    )


if __name__ == "__main__":
    if "--child" in sys.argv:
        in_child(sys.argv[1:], measure)
    else:
        measured_all([name for name in sys.argv[1:] if not name.startswith("-")], "--fresh" in sys.argv)
