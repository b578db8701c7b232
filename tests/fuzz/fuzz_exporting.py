"""Property test of exports: random nets, written, run on hostile and friendly inputs and judged.

`run(seconds, seed)` gives the figures. Every net is written and run in a child process, since a native library may end
it. An export is right on every output, or refused by an error of ours that names a layer or an input.
"""

import faulthandler
import json
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz_child import DRAWN, MARK, Child

ROOT = Path(__file__).parents[2]
LIMIT = 400.0  # seconds for one file of one net, on a busy machine
LIFE = 40  # files that a child writes before a fresh one takes over: TensorFlow keeps what it traced
ALWAYS = ("tflite", "onnx", "tflite int8", "onnx int8")
NOW_AND_THEN = ("tflite float16", "tflite dynamic", "onnx dynamic", "tflite int8 strict", "tflite int8 ends")
ANY_DRIFT = 1e9  # a tolerance that leaves the judgement of drift to us
CALIBRATED = 40
TASKS = 14  # for one file of one net: narrowing down ends there


@dataclass(frozen=True)
class Find:
    """Something that is neither right nor refused by name."""

    seed: int
    format: str
    branch: int | None
    """The branch at fault, None where it is the whole net."""
    row: str
    """The row of the tables that the branch is of."""
    what: str


@dataclass
class Figures:
    """What a run has seen."""

    nets: int = 0
    files: int = 0
    outputs: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    gone: set[tuple[int, int]] = field(default_factory=set)
    """Seed and number of branches that TensorFlow itself cannot run: it ends the process in a kernel of its own."""
    refused: Counter = field(default_factory=Counter)
    """Branches refused by (format, row)."""
    reasons: dict[str, str] = field(default_factory=dict)
    """One message for each (format, row)."""
    finds: list[Find] = field(default_factory=list)

    @property
    def nets_an_hour(self) -> float:
        return 3600 * self.nets / max(self.seconds, 1e-9)

    def __str__(self) -> str:
        lines = [
            f"exports: {self.nets} nets ({self.nets_an_hour:.0f} an hour), {self.files} files, {self.outputs} outputs; "
            f"{sum(self.refused.values())} branches refused by name; "
            f"{len(self.gone)} that TensorFlow itself cannot run; {len(self.finds)} finds"
        ]
        lines += [f"  refused {count:4d} {key}: {self.reasons[key]}" for key, count in sorted(self.refused.items())]
        lines += [
            f"  FIND seed {each.seed}, {each.format}, branch {each.branch} ({each.row}): {each.what}"
            for each in self.finds
        ]
        return "\n".join(lines)


def run(
    seconds: float,
    seed: int = 0,
    *,
    nets: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
    formats: tuple[str, ...] | None = None,
) -> Figures:
    """Draws nets from `seed` on until the time is over or so many are done, and returns what was seen.

    Args:
        seconds: how long to go on; the net under way is given up then.
        seed: of the first net; the next ones count on.
        nets: how many nets at most.
        tell: gets a line for every net and find.
        formats: which files to write of each net; if None, four always and one of the others in turn.
    """
    started, figures, child = time.monotonic(), Figures(), Child(__file__, LIMIT, LIFE)
    until = started + seconds
    try:
        while time.monotonic() < until and figures.nets != nets:
            rare = (NOW_AND_THEN[(seed // 3) % len(NOW_AND_THEN)],)
            for each in formats or (*ALWAYS, *rare):
                _examine(child, seed, each, figures, until, tell)
            figures.nets += 1
            figures.seconds = time.monotonic() - started
            speed, left = f"{figures.nets_an_hour:.0f} an hour", f"{until - time.monotonic():.0f} s left"
            tell(f"{figures.nets} nets, {speed}, {len(figures.finds)} finds, {left}")
            seed += 1
    except KeyboardInterrupt:
        figures.interrupted = True
    finally:
        child.end()
    figures.seconds = time.monotonic() - started
    return figures


def _examine(child: Child, seed: int, form: str, figures: Figures, until: float, tell: Callable) -> None:
    """Writes one kind of file of a net; what is refused or fails is taken out and the rest written again."""
    gone = [number for net, number in figures.gone if net == seed]
    left = [number for number in range(12) if number not in gone] if gone else None
    waiting: list[tuple[list[int] | None, bool]] = [(left, False)]
    before, together = len(figures.finds), None
    for _ in range(TASKS):
        if not waiting or time.monotonic() > until:
            break
        only, confirming = waiting.pop(0)
        answer = child.ask({"seed": seed, "format": form, "only": only})
        if answer["outcome"] == "empty":
            continue
        rows = {int(number): row for number, row in answer.get("rows", {}).items()} or dict.fromkeys(only or [], "?")
        figures.files += 1
        figures.outputs += len(rows) if answer["outcome"] == "judged" else 0
        if answer["outcome"] == "judged":
            for number, what in answer["wrong"]:
                if len(rows) > 1:
                    waiting.append(([number], True))
                if len(rows) == 1 or not confirming:
                    _found(figures, Find(seed, form, number, rows[number], what), tell)
            for number, drift in answer["drifting"] if not confirming else ():
                key = f"{form} {rows[number]}"
                figures.refused[key] += 1
                figures.reasons[key] = f"drifts by {drift:.3g}, written all the same with a tolerance of {ANY_DRIFT:g}"
        elif answer["outcome"] == "refused" and (named := [k for k in answer["named"] if k in rows]):
            for number in named:
                key = f"{form} {rows[number]}"
                figures.refused[key] += 1
                figures.reasons[key] = answer["what"]
            if rest := [number for number in rows if number not in named]:
                waiting.append((rest, False))
        elif answer["outcome"] == "refused" and answer.get("by_input"):
            figures.refused[f"{form} input"] += 1
            figures.reasons[f"{form} input"] = answer["what"]
        elif answer["outcome"] == "gone" and len(only or []) == 1:  # TensorFlow's own kernel: nothing to export
            figures.gone.add((seed, only[0]))
        elif len(only or rows) == 1:  # crashed, hung, raised, or refused without a name
            number = (only or list(rows))[0]
            _found(figures, Find(seed, form, number, rows[number], f"{answer['outcome']}: {answer['what']}"), tell)
        else:
            numbers = only or list(rows) or list(range(12))
            middle = len(numbers) // 2
            waiting += [(numbers[:middle], False), (numbers[middle:], False)]
            if answer["outcome"] != "gone":
                together = together or f"{answer['outcome']}: {answer['what']}"
            tell(f"seed {seed}, {form}: {answer['outcome']}: {answer['what']}; looking for the branch")
    if together and not waiting and len(figures.finds) == before:
        _found(figures, Find(seed, form, None, "several branches together", together), tell)


def _found(figures: Figures, find: Find, tell: Callable) -> None:
    same = [
        each for each in figures.finds if (each.seed, each.format, each.branch) == (find.seed, find.format, find.branch)
    ]
    if not same:
        figures.finds.append(find)
        tell(f"FIND seed {find.seed}, {find.format}, branch {find.branch} ({find.row}): {find.what}")


def answer_tasks() -> None:
    """Answers tasks from standard input until it ends; the child's side."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
    faulthandler.enable(open(sys.argv[1], "w"))  # noqa: SIM115  it stays open for a crash to write to
    for line in sys.stdin:
        try:
            answer = _answer(json.loads(line))
        except Exception as error:
            rows = _last["net"].rows if "net" in _last else {}
            answer = {"outcome": "raised", "what": f"{_brief(error)} | {_place(error)}", "rows": rows}
        print("\n" + MARK + json.dumps(answer), flush=True)


def _brief(error: Exception) -> str:
    text = re.sub(r"\x1b\[\d+m", "", str(error))
    return f"{type(error).__name__}: {' '.join(text.split())[:300]}"


def _place(error: Exception) -> str:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "kerasdl" in frame.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "outside"


_last: dict[str, Any] = {}


def _answer(task: dict) -> dict:
    import fuzz_judging as judging
    import fuzz_nets
    import keras
    import numpy as np

    from kerasdl.core import KerasdlError

    key = (task["seed"], tuple(task["only"]) if task["only"] else None)
    if _last.get("key") != key:
        keras.backend.clear_session()
        net = fuzz_nets.drawn(*key)
        _last.clear()
        if not net.rows:
            return {"outcome": "empty"}
        names, arrays = judging.hostile(net.friendly, np.random.default_rng([task["seed"], 77]))
        held = [array[CALIBRATED:] for array in net.friendly]
        names = [*names, *(f"friendly {k}" for k in range(len(held[0])))]
        arrays = [np.concatenate(pair) for pair in zip(arrays, held, strict=True)]
        expected = judging.answers(net.model, arrays)
        moved = judging.noise(net.model, arrays, expected)
        _last.update(key=key, net=net, names=names, arrays=arrays, expected=expected, moved=moved)
    net = _last["net"]
    print(f"\n{DRAWN}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"net.{task['format'].split()[0]}")
        try:
            drifts = _export(task["format"], net, path)
        except KerasdlError as error:
            text = " ".join(str(error).split())
            named = sorted({int(number) for number in re.findall(r"\bb(\d+)_", text)})
            by_input = bool(re.search(r"\bin\d\b", text))
            return {"outcome": "refused", "what": text[:300], "named": named, "by_input": by_input, "rows": net.rows}
        given = _outputs(net.model, path, _last["arrays"])
    wrong = []
    for index, (number, expected) in enumerate(zip(net.rows, _last["expected"], strict=True)):
        what = _judge(task["format"], expected, _last["moved"][index], given[index], drifts[index])
        if what and "exact" not in _last and len(task["format"].split()) == 1:  # float32 may be off itself
            _last["exact"] = fuzz_nets.in_float64(task["seed"], net)
            _count_own_error(_last["exact"], net)
            what = _judge(task["format"], expected, _last["moved"][index], given[index], drifts[index])
        wrong += [(number, what)] if what else []
    quantize = [*task["format"].split(), None][1]
    far = [(number, drift) for number, drift in zip(net.rows, drifts, strict=True) if drift > _promised(quantize)]
    return {"outcome": "judged", "wrong": wrong, "rows": net.rows, "drifting": far}


def _count_own_error(exact: Any, net: Any) -> None:
    """Adds to what each entry moves by how far the model is off from the same branch in float64, where there is one.

    The file's rounding inside a layer is another draw of the same size, so that an example whose float32 is off by a
    fifth of the bound at one entry is left out as a whole.
    """
    import fuzz_judging as judging
    import numpy as np

    values = dict(zip(exact.rows, judging.answers(exact.model, _last["arrays"]) if exact.rows else (), strict=True))
    for index, number in enumerate(net.rows):
        if number in values:
            gap = judging.difference(_last["expected"][index], values[number])
            worst = gap.max(axis=tuple(range(1, gap.ndim)), keepdims=True)
            np.maximum(_last["moved"][index], np.maximum(gap, 0.5 * worst), out=_last["moved"][index])


def _export(form: str, net: Any, path: Path) -> list[float]:
    """Writes a file; returns the drift that the library has reported of each output."""
    from kerasdl.deploy import export_onnx, export_tflite

    kind, *rest = form.split()
    quantize = rest[0] if rest else None
    samples = [array[:CALIBRATED] for array in net.friendly]
    samples = samples if len(samples) > 1 else samples[0]
    settings = {"representative": samples} if quantize == "int8" else {"samples": samples}
    if quantize and "strict" not in rest:
        settings["tolerance"] = ANY_DRIFT
    if "ends" in rest:
        settings["integer_io"] = True
    report = (export_tflite if kind == "tflite" else export_onnx)(net.model, path, quantize=quantize, **settings)
    real = [drift for drift in report.drifts if drift.inputs == "real"]
    return [getattr(drift, report.measure) for drift in real]


def _outputs(model: Any, path: Path, arrays: list) -> list:
    """Runs a file on one example at a time; returns its outputs in the order of the model's."""
    import numpy as np

    from kerasdl.deploy import run_exported

    named = {tensor.name.lower(): array for tensor, array in zip(model.inputs, arrays, strict=True)}
    if path.suffix == ".onnx":  # a batch would share the ranges of a dynamic file
        session = _onnx_session(path)
        names = [output.name for output in session.get_outputs()]
        singles = [{name: array[k : k + 1] for name, array in named.items()} for k in range(len(arrays[0]))]
        parts = [session.run(names, single) for single in singles]
        given = dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))
    else:
        given = run_exported(path, named)
    return (
        [given[name] for name in model.output_names] if set(given) == set(model.output_names) else list(given.values())
    )


def _onnx_session(path: Path) -> Any:
    """Opens an ONNX file without the library under test."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _promised(quantize: str | None) -> float:
    """Returns up to which drift that the library reports a file is held to be right."""
    import fuzz_judging as judging

    return 0.25 if quantize == "int8" else judging.LOSSY.get(quantize, judging.BOUND)


def _judge(form: str, expected: Any, moved: Any, given: Any, drift: float) -> str | None:
    import fuzz_judging as judging

    names, quantize = _last["names"], [*form.split(), None][1]
    if quantize is None:
        return judging.wrong_entry(names, expected, moved, given)
    if what := judging.lost(names, expected, given):
        return what
    friendly = [k for k, name in enumerate(names) if name.startswith("friendly")]
    loss, bound = judging.rmse(expected[friendly], given[friendly]), judging.LOSSY[quantize]
    if drift <= _promised(quantize) and not loss <= bound:
        return f"reported drift {drift:.3g}, on held-out examples {loss:.3g}"
    return None


if __name__ == "__main__":
    answer_tasks()
