"""Export pipeline: trace, write to a temporary path, run the file, compare, move it into place."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks, files
from kerasdl.core.errors import ExportError
from kerasdl.core.keras_graph import all_layers, is_graph
from kerasdl.core.outputs.agreement import Agreement
from kerasdl.core.outputs.broadcast_sums import mended_sums, refused_sums

from ..samples.model_inputs import has_nan, random_arrays
from ..samples.sampling import MIN_TO_HOLD_OUT, Samples
from .answer_judgement import UNSEEN, Judge, in_words, present_judge
from .file_tensors import FileTensor
from .hostile_judgement import Fault, HostileExamples
from .parity import Drift, ExportReport, LayerError, Rounding, drifts_of, worst
from .second_look import second_look
from .signatures import of_signature, together
from .tracing import TRACING_LOCK, Program, first_line, for_inference, graph_names, program_of, silenced

RANDOM_EXAMPLES = 8
FINITE = 1e30  # what is off by no more is a number
MOST_PROBED = 2**25
"""Values that the layers of a model may give together, when the first one that drifts is sought: 134 MB in float32."""

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Target:
    """Kind of file, with the functions that write it, run it and read it, and the bound that it is checked against."""

    format: str
    """Its name in reports and errors."""
    suffix: str
    """The suffix of its path; "" for a folder."""
    measure: str
    """The figure of Drift that the tolerance bounds."""
    tolerance: float
    """The default bound on that figure."""
    remedy: str
    """Advice for a file that differs too much from the model."""
    write: Callable[[Program, Path], None]
    """Writes a program to a path; raises ExportError for what the format cannot hold."""
    run: Callable[..., Arrays]
    """Runs the written file at a path on arrays, in its own runtime; `batch=1` takes the examples one by one."""
    inspect: Callable[[Path], tuple[dict[str, int], tuple[str, ...]]]
    """Returns the count of each operation in the written file, and notes for the user."""
    file_tensors: Callable[[Path], tuple[tuple[FileTensor, ...], tuple[FileTensor, ...]]]
    """Returns the inputs and the outputs of the written file."""
    patches: Callable[[keras.Model], AbstractContextManager] = nullcontext
    """Context manager in which layers compute in a form that the format can hold, while the model is written."""
    calibrated: bool = False
    """Whether ranges come from real inputs: then only real inputs are checked, since random ones leave the ranges."""
    rounding: Rounding | None = None
    """Bounds that also let a file pass which is beyond the default tolerance; its `entry` is for hostile input too."""
    noise: float | None = None
    """Bound of the root mean square on random input, if enough real examples are within the tolerance; None is the
    tolerance."""
    judge: Judge | None = None
    """Judge of the answers that are read from the outputs of a rounded file, in place of its tolerance."""
    notes: tuple[str, ...] = ()
    """Notes of the report on this kind of file."""
    layer_errors: Callable[[], tuple[LayerError, ...]] = tuple
    """Returns the error of each layer in integers, once the file is written."""


def export(model: keras.Model, path: Any, target: Target, samples: Samples, tolerance: float | None) -> ExportReport:
    """Writes a model as one kind of file and returns the report; a file that differs from the model does not appear.

    Args:
        model: a built model.
        path: the file or folder to write.
        target: the kind of file.
        samples: the inputs of the model, and real examples to compare on, if there are any.
        tolerance: bound on the target's measure; None takes the target's own.

    Raises:
        ArgumentError: an argument breaks its rule.
        ExportError: the format cannot hold the model, or the file drifts; nothing is left, and an older file stays.
    """
    started = time.perf_counter()
    path = _checked_path(path, target)
    target, bound = _bounded(target, tolerance)
    with TRACING_LOCK, _subject(model, samples) as subject, _draft(path, target) as draft, for_inference(model):
        with target.patches(model):
            target.write(subject.program, draft)
        report = subject.compared(draft, target, bound)
    return replace(report, path=str(path), seconds=time.perf_counter() - started)


def export_signatures(
    models: Mapping[str, keras.Model],
    path: Any,
    targets: Mapping[str, Target],
    samples: Mapping[str, Samples],
    tolerance: float | None,
    write: Callable[[dict[str, Program], Path], None],
) -> ExportReport:
    """Writes several models into one file, a signature each, and checks each signature of that file as `export` does.

    Args:
        models: built models by the names of their signatures.
        path: the file or folder to write.
        targets: the kind of file, by signature; each runs, inspects and reads that signature alone.
        samples: as in `export`, by signature.
        tolerance: bound on the measure of every signature; None takes the target's own.
        write: writes all programs to a path.

    Raises:
        ArgumentError: an argument breaks its rule.
        ExportError: the format cannot hold a model, or a signature drifts; nothing is left, and an older file stays.
    """
    started = time.perf_counter()
    kind = next(iter(targets.values()))
    path = _checked_path(path, kind)
    targets = {name: _bounded(target, tolerance)[0] for name, target in targets.items()}
    _, bound = _bounded(kind, tolerance)
    reports = {}
    with TRACING_LOCK, ExitStack() as stack:
        subjects = {}
        for name, model in models.items():
            with of_signature(name):
                subjects[name] = stack.enter_context(_subject(model, samples[name]))
        draft = stack.enter_context(_draft(path, kind))
        write({name: subject.program for name, subject in subjects.items()}, draft)
        for name, subject in subjects.items():
            with of_signature(name):
                reports[name] = replace(subject.compared(draft, targets[name], bound), path=str(path), signature=name)
    return together(reports, time.perf_counter() - started)


@dataclass(frozen=True)
class _Subject:
    """A model with its outputs for the examples on which a written file is compared with it."""

    program: Program
    samples: Samples
    cases: dict[str, Arrays]
    """Random examples, and real ones where there are any."""
    expected: dict[str, Arrays]
    """The model's outputs for them."""
    hostile: HostileExamples
    notes: tuple[str, ...]

    def compared(self, draft: Path, target: Target, bound: float) -> ExportReport:
        """Runs a file on all examples and compares; returns the report, but for path and time."""
        expected, notes = dict(self.expected), list(self.notes)
        actual = {
            kind: self.hostile.sets.aligned(expected[kind], _file_outputs(draft, target, arrays))
            for kind, arrays in self.cases.items()
        }
        drifts, checked = _drifts(expected, actual, target)
        if not worst(checked, target.measure) <= bound:
            for kind, arrays in self.cases.items():
                expected[kind], more = second_look(
                    self.hostile, kind, arrays, expected[kind], actual[kind], bound, target.measure
                )
                notes += more
            drifts, checked = _drifts(expected, actual, target)
        entry = bound
        bound, checked, more = self._decided(target, bound, checked, self._agreement(target, expected, actual))
        notes += more
        if not worst(checked, target.measure) <= bound:
            if target.rounding is None or not target.rounding.allows(checked):
                _refuse_drift(self.program, target, self.cases, checked, bound)
            notes.append(
                f"entries differ by up to {worst(checked, 'relative'):.2g} of the largest, more than {bound:g}: "
                "rounded weights of many layers; the root mean square decides"
            )
            bound, entry = target.rounding.rmse, target.rounding.entry
            target = replace(target, measure="rmse")
        verdict = self.hostile.check(partial(target.run, draft, batch=1), entry, finite_alone=target.calibrated)
        if verdict.fault is not None:
            _refuse_fault(self.program, target, verdict.fault, entry)
        operations, remarks = target.inspect(draft)
        inputs, outputs = target.file_tensors(draft)
        return ExportReport(
            path="",
            format=target.format,
            bytes=sum(file.stat().st_size for file in [draft, *draft.rglob("*")] if file.is_file()),
            operations=operations,
            worst_absolute=worst(checked, "absolute"),
            worst_relative=worst(checked, target.measure),
            measure=target.measure,
            tolerance=bound,
            top1_agreement=worst(checked, "top1_agreement"),
            seconds=0.0,
            drifts=tuple(drifts),
            notes=(*notes, *target.notes, *remarks, *self.samples.notes, *verdict.notes),
            hostile=verdict.drifts,
            layers=target.layer_errors(),
            calibrated_on=self.samples.calibrated_on,
            judged_on=self.samples.judged_on,
            held_out=self.samples.held_out,
            inputs=inputs,
            outputs=outputs,
        )

    def _decided(
        self, target: Target, bound: float, checked: list[Drift], agreement: Agreement | None
    ) -> tuple[float, list[Drift], list[str]]:
        """Returns the bound, the drifts that it holds for, and notes, once answers or real input have decided."""
        rmse, real = worst(checked, "rmse"), [each for each in checked if each.inputs == "real"]
        if agreement is not None:
            return bound if rmse <= bound else UNSEEN, checked, [in_words(agreement, rmse, bound)]
        enough = real and self.samples.judged_on.used >= MIN_TO_HOLD_OUT
        if target.noise is not None and enough and worst(real, "rmse") <= bound < rmse <= target.noise:
            return bound, real, [f"random input is off by {rmse:.2g} (rmse), more than {bound:g}: real input decides"]
        return bound, checked, []

    def _agreement(self, target: Target, expected: dict[str, Arrays], actual: dict[str, Arrays]) -> Agreement | None:
        """Returns the agreement of answers on real examples that calibrated nothing; refuses a file of other answers.

        It is None where nothing judges them, and where there are too few.
        """
        if target.judge is None or "real" not in expected or (target.calibrated and not self.samples.held_out):
            return None
        agreement = target.judge(expected["real"], actual["real"])
        if agreement is not None and agreement.faults:
            raise ExportError(
                f"{target.format}: the file must give the answers of the model; of {agreement.compared}: "
                f"{'; '.join(agreement.faults)}. {target.remedy} Or pass a tolerance= that you accept."
            )
        return agreement


@contextmanager
def _subject(model: keras.Model, samples: Samples) -> Iterator[_Subject]:
    """Lets a model compute as files do, under names that files can hold, inside the block; yields its answers."""
    inputs, real = samples.inputs, samples.evaluation
    cases = {"random": random_arrays(inputs, RANDOM_EXAMPLES, real)} | ({"real": real} if real else {})
    with for_inference(model) as notes, graph_names(model) as renamed, mended_sums() as sums:
        program = program_of(model, inputs)
        expected = {kind: _model_outputs(program, arrays) for kind, arrays in cases.items()}
        if sums:
            with refused_sums(ExportError):  # what Keras misreads in batches of some sizes alone is mended
                program.concrete(None)
        hostile = HostileExamples(program, real)
        yield _Subject(program, samples, cases, expected, hostile, (*renamed, *notes))


@contextmanager
def _draft(path: Path, target: Target) -> Iterator[Path]:
    opener = files.writing if target.suffix else files.writing_folder
    with _on_disk(path), opener(path) as draft:
        yield draft


@contextmanager
def _on_disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ExportError(
            f"{path} cannot be written: {error.strerror or error}. Free some space there, or name another folder."
        ) from error


def _bounded(target: Target, tolerance: float | None) -> tuple[Target, float]:
    """Returns a kind of file and the bound on it; one that is given leaves no room for rounding or another judge."""
    if tolerance is None:
        judge = present_judge() if target.measure == "rmse" else None
        return replace(target, judge=judge), target.tolerance
    return replace(target, rounding=None, noise=None), checks.within("tolerance", tolerance, 0, float("inf"))


def _checked_path(path: Any, target: Target) -> Path:
    path = Path(path)
    if path.suffix != target.suffix and target.suffix:
        checks.refuse(f"the path of a {target.format} file must end in {target.suffix!r}", str(path))
    if target.suffix and path.is_dir():
        checks.refuse(f"the path of a {target.format} file must not be a folder", str(path))
    if not target.suffix and path.suffix in (".tflite", ".onnx"):
        checks.refuse(f"the path of a {target.format} must not end as a file of another format", str(path))
    if not target.suffix and set(str(path.absolute())) & {"[", "\\"}:
        rule = f"the path of a {target.format} must hold neither '[' nor a backslash"
        checks.refuse(rule, str(path.absolute()), "TensorFlow takes them for patterns, and would not load it.")
    if not target.suffix and path.exists() and not _is_replaceable(path):
        rule = f"the path of a {target.format} must be new, an empty folder or a {target.format} to replace"
        checks.refuse(rule, str(path), "Name another folder: the content of this one would be lost.")
    return path


def _is_replaceable(path: Path) -> bool:
    return path.is_dir() and ((path / "saved_model.pb").is_file() or not any(path.iterdir()))


def _model_outputs(program: Program, arrays: Arrays) -> Arrays:
    with silenced():
        outputs = program.run(arrays)
    for name, value in outputs.items():
        if np.asarray(value).dtype.kind in "OSU":
            hint = "Let the model return numbers, such as the index of a label, and keep the texts outside the file."
            checks.refuse(
                "the outputs of a model for export must be numbers or truth values", f"texts of {name!r}", hint
            )
        if np.isnan(value.astype("float64")).any():
            with_nan = [layer.name for layer in all_layers(program.model) if has_nan(layer)]
            where = f"and so do the weights of {with_nan[0]!r}" if with_nan else "though its weights do not"
            raise ExportError(f"a model must give numbers; its own output {name!r} holds NaN, {where}. Train it again.")
    return outputs


def _file_outputs(path: Path, target: Target, arrays: Arrays) -> Arrays:
    try:
        return target.run(path, arrays)
    except OSError:
        raise
    except Exception as error:
        raise ExportError(f"the {target.format} file does not run: {first_line(error)}. {target.remedy}") from error


def _drifts(expected: dict, actual: dict, target: Target) -> tuple[list[Drift], list[Drift]]:
    """Returns the drift of every output on every kind of input, and the drifts that the bound applies to."""
    drifts = [drift for kind, outputs in expected.items() for drift in drifts_of(kind, outputs, actual[kind])]
    return drifts, [each for each in drifts if each.inputs == "real" or not (target.calibrated and "real" in expected)]


def _refuse_drift(program: Program, target: Target, cases: dict, checked: list[Drift], bound: float) -> None:
    largest = max(checked, key=lambda drift: getattr(drift, target.measure))
    value = getattr(largest, target.measure)
    layer = _first_drifting_layer(program, target, cases[largest.inputs], bound)
    where = f"; the first layer that drifts is {layer!r}" if layer else ""
    room = target.rounding
    rounded = f", or {room.rmse:g} (rmse) and {room.entry:g} in each entry" if room else ""
    raise ExportError(
        f"{target.format}: the file must stay within {bound:g} of the model ({target.measure} difference){rounded}; "
        f"output {largest.output!r} differs by {value:.3g} on {largest.inputs} inputs{where}. "
        f"{target.remedy} Or pass a tolerance= that you accept."
    )


def _refuse_fault(program: Program, target: Target, fault: Fault, bound: float) -> None:
    layer = _first_drifting_layer(program, target, fault.arrays, min(bound, FINITE) if target.calibrated else bound)
    where = f" The first layer that drifts is {layer!r}." if layer else ""
    raise ExportError(
        f"{target.format}: the file must be finite and equal where the model is, on hostile input too; it {fault.text} "
        f"(input: {fault.example}).{where} {target.remedy}"
    )


def _first_drifting_layer(program: Program, target: Target, arrays: Arrays, bound: float) -> str | None:
    """Exports the model once more with all outputs of layers; returns the first layer that drifts, None if unknown.

    As many examples are run as keep the outputs of all layers below MOST_PROBED values, one at the least.
    """
    if not is_graph(program.model):
        return None
    outputs = list(_layer_outputs(program.model))
    if not outputs:
        return None
    try:
        of_one = sum(math.prod(size or 1 for size in tensor.shape[1:]) for _, tensor in outputs)
        arrays = {name: value[: max(1, MOST_PROBED // of_one)] for name, value in arrays.items()}
        probe = keras.Model(program.model.inputs, [tensor for _, tensor in outputs])
        probe_program = program_of(probe, program.inputs)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"probe{target.suffix}")
            with target.patches(program.model):
                target.write(probe_program, path)
            drifts = drifts_of("", probe_program.run(arrays), target.run(path, arrays))
    except Exception:  # the search only adds to a message that is raised anyway
        return None
    within = [getattr(drift, target.measure) <= bound for drift in drifts]
    return outputs[within.index(False)][0] if False in within else None


def _layer_outputs(model: keras.Model) -> Iterator[tuple[str, keras.KerasTensor]]:
    for layer in model.layers:
        if isinstance(layer, (keras.layers.InputLayer, keras.Model)):
            continue  # the output of a nested model belongs to another graph
        try:
            outputs = keras.tree.flatten(layer.output)
        except (AttributeError, ValueError):  # called more than once
            continue
        yield from ((layer.name, tensor) for tensor in outputs)
