"""Parity of a written file and its model: the drift of each output, and the report of an export."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core.display.results import Displayed
from kerasdl.core.errors import ExportError

from ..samples.sampling import SampleCount
from .file_tensors import FileTensor, usage


@dataclass(frozen=True)
class Drift:
    """Difference of one output of a written file from the model's, on one kind of inputs."""

    output: str
    """The name of the output."""
    inputs: str
    """The kind of inputs: "real", "random" or "hostile"."""
    absolute: float
    """Largest |file - model|."""
    relative: float
    """The largest |file - model| of an example over max(1, its largest |model|), the worst of all examples."""
    rmse: float
    """Root of the mean squared difference over root of the model's mean square."""
    top1_agreement: float | None
    """Share of last-axis rows whose largest entry is the same; None where rows have one entry."""


@dataclass(frozen=True)
class Rounding:
    """Bounds of a file whose weights are rounded, where the differences of many layers add up in few entries."""

    rmse: float
    """The largest root mean squared difference over the model's root mean square."""
    entry: float
    """The largest difference of an entry over max(1, its example's largest output)."""

    def allows(self, drifts: list[Drift]) -> bool:
        """Tells whether differences are within both bounds."""
        return worst(drifts, "rmse") <= self.rmse and worst(drifts, "relative") <= self.entry


@dataclass(frozen=True)
class LayerError:
    """Error of one layer of an int8 file, by the integers of its own operations."""

    layer: str
    """The name of the layer, or of the tensor where its name does not contain a layer's."""
    tensor: str
    """The worst of the layer's tensors."""
    operation: str
    """The operation that makes it, such as "CONV_2D"."""
    error: float
    """Share of a channel's signal that is lost, from 0 to 1: root mean square over the channels."""


@dataclass(frozen=True, repr=False)
class ExportReport(Displayed):
    """Report of an export: the written file and its check; figures are the worst over outputs and checked inputs."""

    path: str
    """The written file or folder."""
    format: str
    """The format, such as "tflite int8" or "onnx"."""
    bytes: int
    """Its size; for a folder, of all files in it."""
    operations: dict[str, int]
    """The count of each operation of the format in it."""
    worst_absolute: float
    """Largest |file - model|."""
    worst_relative: float
    """The largest difference by `measure`, which the tolerance bounds."""
    measure: str
    """The measure of that difference: "relative" or "rmse", as in Drift."""
    tolerance: float
    """The bound on it."""
    top1_agreement: float | None
    """Lowest share of rows whose largest entry is the same; None where no output has rows of several."""
    seconds: float
    """Wall time of export and check."""
    drifts: tuple[Drift, ...]
    """The figures of every output on real and on random inputs."""
    notes: tuple[str, ...]
    """Notes for the user, such as that recurrent layers were unrolled."""
    hostile: tuple[Drift, ...] = ()
    """The figures of every output on hostile input: zeros, constants, one-hot, ten times the range and their like."""
    layers: tuple[LayerError, ...] = ()
    """The error of each layer in integers, worst first, where it was asked for."""
    calibrated_on: SampleCount | None = None
    """The count of real examples that calibrated the ranges of activations, and of those that they were drawn from."""
    judged_on: SampleCount | None = None
    """The count of real examples on which file and model were compared; None where none were actual."""
    held_out: bool = False
    """Whether no example of the comparison was used for calibration; of fewer than 20 all are used for both."""
    inputs: tuple[FileTensor, ...] = ()
    """The inputs of the written file, in its own order."""
    outputs: tuple[FileTensor, ...] = ()
    """The outputs of the written file, in its own order."""
    predict_agreement: float | None = None
    """Share of examples to which the file and `Bundle.predict` give the same answer, each from raw input to labels;
    None for figures, and where the file was not compared so."""
    predict_difference: float | None = None
    """The largest difference of a score (of a regression: of a value) there."""
    predict_examples: int = 0
    """The count of those examples; 0 where the file was not compared so."""
    gpu_fallback: tuple[str, ...] | None = None
    """Operations of a TFLite file, over all its signatures, that a GPU delegate never takes; for the others shapes and
    dtypes decide on the device. None for other files, and for those that learn on the device."""
    core_ml_fallback: tuple[str, ...] | None = None
    """The same for the delegate of Core ML, which takes float operations alone."""
    signature: str = ""
    """The signature of this report, where the file was written from several models."""
    signatures: Mapping[str, "ExportReport"] = field(default_factory=dict)
    """The report on each signature by name, where the file was written from several models. The report that holds them
    has the worst figures of all, names the signature of each drift, layer and note, and leaves inputs, outputs and
    counts to them."""

    def _shown(self) -> tuple[str, dict[str, Any]]:
        agreement = "" if self.top1_agreement is None else f"; same answer on {self.top1_agreement:.1%}"
        of_predict = self.predict_agreement
        rows = {
            "predict": None
            if of_predict is None
            else f"same answer on {of_predict:.1%} of {self.predict_examples} raw examples",
            "drift": f"{self.worst_relative:.2g} {self.measure}, tolerance {self.tolerance:g}{agreement}",
            "checked": self.samples(),
            "inputs": "; ".join(map(_tensor_text, self.inputs)),
            "outputs": "; ".join(map(_tensor_text, self.outputs)),
            "notes": "; ".join(self.notes),
        }
        return f"ExportReport {Path(self.path).name}: {self.format}, {self.bytes:,} bytes, {self.seconds:.1f} s", rows

    def to_json(self) -> str:
        """Returns the report as JSON text."""
        return json.dumps(asdict(self), indent=2)

    def samples(self) -> str:
        """Returns a sentence on the real examples: their count, their source and their use."""
        if self.signatures:
            return "; ".join(f"{name}: {each.samples()}" for name, each in self.signatures.items())
        calibration, evaluation = self.calibrated_on, self.judged_on
        if evaluation is None:
            return f"calibrated on {calibration} examples" if calibration else "random noise only"
        drawn = f"drawn by seed {evaluation.seed}"
        if calibration is None:
            return f"compared with the model on {evaluation} examples, {drawn}"
        if calibration == evaluation and not self.held_out:
            return (
                f"calibrated and compared with the model on the same {evaluation} examples, too few to set some apart"
            )
        kept = "that did not calibrate it" if self.held_out else "of which some calibrated it too"
        ranges = f"calibrated on {calibration} examples"
        return f"{ranges}, then compared with the model on {evaluation} {kept}, {drawn}"

    def answers(self) -> str:
        """Returns a sentence on the file's answers beside those of `Bundle.predict`, or of the model."""
        if self.predict_examples:
            same = "" if self.predict_agreement is None else f"same answer as predict on {self._same_as_predict()}, "
            worst_of = "value" if self.predict_agreement is None else "score"
            known = "" if self.calibrated_on is None else "; some of these examples calibrated the file"
            return f"{same}{worst_of}s differ from predict by up to {self.predict_difference:.2g}{known}"
        if self.judged_on is None and not self.signatures:
            return "compared on random noise only, since no data were given"
        return "" if self.top1_agreement is None else f"same answer as the model on {self.top1_agreement:.1%}"

    def _same_as_predict(self) -> str:
        return f"{round(self.predict_agreement * self.predict_examples)} of {self.predict_examples} examples"

    def to_markdown(self) -> str:
        """Returns the report as Markdown: the figures, inputs and outputs, and code that feeds the file by name."""
        agreement = "" if self.top1_agreement is None else f", same answer on {self.top1_agreement:.1%} of rows"
        answers = f"- Answers: {self.answers()}"
        lines = [
            f"## {Path(self.path).name}",
            "",
            f"- Format: {self.format}, {self.bytes:,} bytes",
            f"- Difference from the model: {self.worst_relative:.2g} ({self.measure}), at most {self.tolerance:g}"
            f"{agreement}",
            f"- Samples: {self.samples()}",
            *([answers] if self.predict_examples else []),
            *([] if self.gpu_fallback is None else [f"- GPU delegate: {_taken(self.gpu_fallback)}"]),
            *([] if self.core_ml_fallback is None else [f"- Core ML delegate: {_taken(self.core_ml_fallback)}"]),
            *(f"- Note: {note}" for note in self.notes),
            "",
        ]
        name = Path(self.path).name
        if not self.signatures:
            lines += usage(name, self.format, self.inputs, self.outputs)
        for signature, each in self.signatures.items():
            figure = f"Difference from the model: {each.worst_relative:.2g} ({each.measure})"
            lines += [f"## Signature `{signature}`", "", figure, ""]
            lines += [*usage(name, self.format, each.inputs, each.outputs, signature), ""]
        return "\n".join(lines).rstrip() + "\n"


def _taken(left: tuple[str, ...]) -> str:
    """Returns what a delegate takes, in words, from the operations that it leaves."""
    taken = "takes each operation in some form; shapes and dtypes decide on the device"
    return f"leaves {', '.join(left)} to the CPU" if left else taken


def without_top1(report: ExportReport) -> ExportReport:
    """Returns a report without `top1_agreement`, for outputs whose rows are no scores of classes, such as boxes."""
    sides = {
        side: tuple(replace(each, top1_agreement=None) for each in getattr(report, side))
        for side in ("drifts", "hostile")
    }
    signatures = {name: without_top1(each) for name, each in report.signatures.items()}
    return replace(report, top1_agreement=None, signatures=signatures, **sides)


def drifts_of(kind: str, expected: dict[str, np.ndarray], actual: dict[str, np.ndarray]) -> list[Drift]:
    """Returns the drift of every output, matched by name.

    Args:
        kind: "real" or "random".
        expected: the model's outputs by name.
        actual: the file's outputs by name.

    Raises:
        ExportError: an output is missing or of another shape.
    """
    if sorted(expected) != sorted(actual):
        raise ExportError(f"the file must have the model's outputs {sorted(expected)}; got {sorted(actual)}.")
    return [_drift(name, kind, value, actual[name]) for name, value in expected.items()]


def worst(drifts: list[Drift], name: str) -> float | None:
    """Returns the worst value of one figure of several drifts: the lowest agreement, the largest difference."""
    values = [value for drift in drifts if (value := getattr(drift, name)) is not None]
    return (min if name == "top1_agreement" else max)(values, default=None)


def _drift(name: str, kind: str, expected: np.ndarray, actual: np.ndarray) -> Drift:
    if expected.shape != actual.shape:
        raise ExportError(f"output {name!r} must have the model's shape {expected.shape}; got {actual.shape}.")
    rows = expected.ndim > 1 and expected.shape[-1] > 1
    agreement = float(np.mean(expected.argmax(-1) == actual.argmax(-1))) if rows else None
    expected, actual = expected.astype("float64"), actual.astype("float64")
    with np.errstate(invalid="ignore", over="ignore"):  # infinity equals infinity here, as in a masked score
        gap = np.where(expected == actual, 0.0, np.abs(expected - actual))
        gap = np.where(np.isnan(gap), np.inf, gap)
    finite = expected[np.isfinite(expected)]
    square = np.sqrt(np.mean(finite**2)) if finite.size else 0.0
    absolute = float(gap.max(initial=0.0))
    rmse = np.sqrt(np.mean(gap**2)) / max(square, 1e-12) if gap.any() else 0.0
    return Drift(name, kind, absolute, _relative(expected, gap), float(rmse), agreement)


def _relative(expected: np.ndarray, gap: np.ndarray) -> float:
    """Returns the worst relative difference of single examples: large outputs of one hide no error in another."""
    if not expected.size:
        return 0.0
    rows = (len(expected), -1) if expected.ndim else (1, 1)
    sizes = np.where(np.isfinite(expected), np.abs(expected), 0.0).reshape(rows).max(axis=1)
    return float((gap.reshape(rows).max(axis=1) / np.maximum(sizes, 1.0)).max())


def _tensor_text(tensor: FileTensor) -> str:
    scale = "" if tensor.scale is None else f" = {tensor.scale:.4g} * (integer - {tensor.zero_point})"
    shape = ", ".join("any" if side is None else str(side) for side in tensor.shape)
    return f"{tensor.name} ({shape}) {tensor.dtype}{scale}"
