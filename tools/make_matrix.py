"""Generator of the matrix in docs/exporting.md, every model in every format: `make matrix`.

Full-size nets with randomised weights and batch-norm statistics; about half an hour on two cores. What is measured is
kept in docs/matrix.json after each model, so an interrupted run goes on where it stopped; `--fresh` starts anew.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support"), str(ROOT / "tests" / "contract")]

from cases import FULL_SIZE  # noqa: E402
from exporting import export_as  # noqa: E402
from filling import fill_weights, settle_statistics  # noqa: E402

import kerasdl  # noqa: E402
from kerasdl.core import EXPORT_FORMATS, ExportError, files, get_task  # noqa: E402

MEASURED = ROOT / "docs" / "matrix.json"
PAGE = ROOT / "docs" / "exporting.md"
START, END = "<!-- matrix -->", "<!-- end of matrix -->"


def measure(name: str) -> dict:
    """Returns size and worst difference of one model in every format, or the reason of its refusal."""
    spec = kerasdl.spec(name)
    model = fill_weights(kerasdl.build(name))
    samples, _ = get_task(spec.task).example(model, 24, 0)
    settle_statistics(model, samples)
    cells = {}
    with tempfile.TemporaryDirectory() as folder:
        for export_format in EXPORT_FORMATS:
            try:
                report = export_as(model, Path(folder), export_format, samples)
            except ExportError:
                if export_format not in spec.exports:
                    raise
                cells[export_format] = {"refused": spec.exports[export_format]}
                continue
            cells[export_format] = {"megabytes": report.bytes / 1e6, "worst": report.worst_relative}
    return cells


def table(measured: dict) -> str:
    """Returns the matrix in Markdown, followed by the reasons of refusals."""
    head = "| model | " + " | ".join(EXPORT_FORMATS) + " |\n|---" + "|---" * len(EXPORT_FORMATS) + "|\n"
    rows, reasons = [], {}
    for name, cells in measured.items():
        shown = []
        for cell in (cells[each] for each in EXPORT_FORMATS):
            if "refused" in cell:
                number = reasons.setdefault(cell["refused"], len(reasons) + 1)
                shown.append(f"no ({number})")
            else:
                shown.append(f"{cell['megabytes']:.3g} MB, {cell['worst']:.2g}")
        rows.append(f"| `{name}` | " + " | ".join(shown) + " |\n")
    notes = "".join(f"\n({number}) {reason}\n" for reason, number in reasons.items())
    return head + "".join(rows) + notes


def main() -> None:
    """Measures missing entries, and writes the page after each model."""
    measured = json.loads(MEASURED.read_text()) if MEASURED.exists() and "--fresh" not in sys.argv else {}
    for position, name in enumerate(FULL_SIZE, start=1):
        if name not in measured:
            started = time.perf_counter()
            measured[name] = measure(name)
            files.write_json(MEASURED, measured)
            print(f"{position}/{len(FULL_SIZE)} {name}: {time.perf_counter() - started:.0f} s", flush=True)
    measured = {name: measured[name] for name in FULL_SIZE}
    before, _, rest = PAGE.read_text().partition(START)
    files.write_text(PAGE, f"{before}{START}\n{table(measured)}{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
