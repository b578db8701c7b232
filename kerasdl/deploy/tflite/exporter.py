"""TFLite exporter for phones: a batch of 1, built-in operations only; the file is run in LiteRT and compared."""

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks
from kerasdl.core.errors import ExportError
from kerasdl.core.keras_graph import all_layers
from kerasdl.core.keywords import explained

from ..export import saved_model
from ..export.answer_judgement import UNSEEN
from ..export.parity import ExportReport, LayerError, Rounding, drifts_of, worst
from ..export.pipeline import Target, export, export_signatures
from ..export.signatures import by_signature, check_models, of_signature
from ..export.tracing import Program, first_line, layer_in_words, layer_of, nodes_of
from ..samples.sampling import samples_of
from . import converter, flatbuffer, runtime
from .description.delegates import with_fallbacks
from .integers.bias_correction import corrected_file
from .integers.selective_quantization import layer_errors, selective_file
from .joining import joined
from .layer_patches import CALIBRATED, for_tflite
from .trial_run import check_runs

# Measure and default bound by kind of file. Rounding adds up with depth: right files of full-size nets with random
# weights were off by up to 0.019 (float16), 0.15 (dynamic), 0.17 (int8) and 0.14 (int16x8); wrong files, of masked
# recurrent nets, by 0.5.
BOUNDS = {
    None: ("relative", 1e-4),
    "float16": ("relative", 3e-2),
    "dynamic": ("rmse", 0.2),
    "int8": ("rmse", 0.25),
    "int16x8": ("rmse", 0.2),
}
# A net that was tuned has small logits, beside which its rounding is larger: see docs/exporting.md.
ROUNDING = {"float16": Rounding(rmse=0.1, entry=0.2)}
# Dtypes, by the compiler's names, in which TFLite lacks operations that it has in float32.
UNSUPPORTED_DTYPES = {"f64": "float64", "f16": "float16", "bf16": "bfloat16", "complex<f32>": "complex64"}
UNSUPPORTED_DTYPES |= {"complex<f64>": "complex128"} | {f"ui{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)}
DELEGATES = ("TfLiteXNNPackDelegate",)  # LiteRT's own parts, named in its errors
ENOUGH = 100  # examples that calibrate
MEASURED_EXAMPLES = 32  # calibration examples on which layers are chosen for float


@explained(lambda: converter.REMEDIES)
def export_tflite(
    model: keras.Model | Mapping[str, keras.Model],
    path: str | os.PathLike,
    *,
    quantize: str | None = None,
    representative: Any = None,
    samples: Any = None,
    tolerance: float | None = None,
    selective: str | None = None,
    correct_biases: bool = False,
    integer_io: bool = False,
    layer_report: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> ExportReport:
    """Writes a model as a TFLite file with the signature `serve`, runs it in LiteRT and compares.

    Recurrent layers become a loop in float files, and unrolled steps in integer ones, which cannot hold a loop.

    Args:
        model: a built model of one's own or of kerasdl; the batch size is free or 1. A dict of models becomes a file
            with a signature for each, by its name, such as an encoder and a decode step; weights that they share are
            stored once. Each is judged by itself.
        path: the file to write, ending in .tflite.
        quantize: None for float32; "float16" for weights alone; "dynamic" for int8 weights (try this first for
            transformers and recurrent nets); "int8" or "int16x8" for activations too, where an operation without such
            a kernel stays in float and the report says so.
        representative: real inputs that show the ranges of activations, for "int8" and "int16x8": an array, a list or
            dict of arrays, a pair (x, y) of any of these and labels, a dataset, a tf.data pipeline, a PyDataset or a
            generator of batches. 200 examples are drawn from all of it, or from the first 10,000 of a stream. For
            several models a dict of these by signature, as `samples` is.
        samples: real inputs to compare on besides random ones, in the same forms, of which 64 are drawn; if None,
            examples of `representative` that do not calibrate, or the same ones where there are fewer than 20.
        tolerance: bound on each output; if None, max|file - model| over max(1, max|model|) within 1e-4 (float32) or
            3e-2 (float16), or root mean squared difference over the model's root mean square within 0.2 (dynamic,
            int16x8) or 0.25 (int8, on real inputs). A float16 file beyond its bound also passes where that second
            figure is within 0.1 and the first within 0.2.
        selective: "auto" keeps in float the layers of an "int8" file that lose most by integers, as few as bring the
            file within the tolerance (TensorFlow's selective quantization).
        correct_biases: whether the mean error of each channel is subtracted from the biases of an "int8" file, as
            measured on examples of `representative`. The corrected file is kept where it is nearer to the model on
            other examples; a note of the report gives both figures.
        integer_io: whether the inputs and outputs of an "int8" or "int16x8" file are integers too; the report gives
            their scales, and run_exported still takes and returns real numbers.
        layer_report: whether the report lists the error of each layer of an "int8" file.
        metadata: values to store in the file, by name, for `read_metadata`: such as "labels", a list of texts,
            "preprocessing" or "description"; anything that JSON holds.

    Returns:
        The report of the export.

    Raises:
        ArgumentError: an argument breaks its rule, such as "int8" without representative data.
        ExportError: the format lacks an operation, or the file differs from the model; no file is left.

    Example:
        >>> export_tflite(model, "model.tflite", quantize="int8", representative=images).top1_agreement
        1.0
        >>> report = export_tflite({"encode": model, "again": model}, "two.tflite")
        >>> report.signatures["encode"].worst_relative < 1e-4
        True
    """
    checks.one_of("quantize", quantize, BOUNDS)
    calibrated = quantize in CALIBRATED
    if calibrated and representative is None:
        checks.refuse(
            f"quantize={quantize!r} needs representative data", None, "Pass representative= with about 100 real inputs."
        )
    checks.one_of(
        "selective", selective, (None, "auto") if quantize == "int8" else (None,), "It is for quantize='int8'."
    )
    for name, value, allowed in (
        ("correct_biases", correct_biases, quantize == "int8"),
        ("integer_io", integer_io, calibrated),
        ("layer_report", layer_report, quantize == "int8"),
    ):
        checks.one_of(name, value, (False, True) if allowed else (False,), "It is for quantize='int8'.")
    flatbuffer.checked_metadata(metadata)
    options = _Options(quantize, tolerance, selective, correct_biases, integer_io, layer_report)
    if isinstance(model, Mapping):
        return with_fallbacks(_export_several(model, path, options, representative, samples, metadata))
    compared = representative if samples is None else samples
    drawn = samples_of(model, compared, representative if calibrated else None)
    target = _target(model, _Writer(options, drawn.calibration, metadata))
    return with_fallbacks(export(model, path, target, drawn, tolerance))


@dataclass(frozen=True)
class _Options:
    """Arguments of export_tflite that say what to write."""

    quantize: str | None
    tolerance: float | None
    selective: str | None
    correct_biases: bool
    integer_io: bool
    layer_report: bool


def _target(model: keras.Model, writer: "_Writer") -> Target:
    quantize = writer.options.quantize
    measure, default = BOUNDS[quantize]
    loops = [layer.name for layer in all_layers(model) if isinstance(layer, keras.layers.RNN) and not layer.unroll]
    calibrated = quantize in CALIBRATED
    return Target(
        format=f"tflite {quantize or 'float32'}",
        suffix=".tflite",
        measure=measure,
        tolerance=default,
        remedy=_remedy(quantize, writer.options.selective, len(next(iter(writer.ranges.values()), ()))),
        write=writer.write,
        run=runtime.run_file,
        inspect=writer.inspect,
        file_tensors=flatbuffer.file_tensors,
        patches=partial(for_tflite, quantize=quantize, unrolled=writer.unrolled),
        calibrated=calibrated,
        rounding=ROUNDING.get(quantize),
        noise=UNSEEN if quantize == "dynamic" else None,
        layer_errors=lambda: writer.layer_errors,
        notes=(f"a loop over time, for batches of 1: {', '.join(loops)}",) if loops and not calibrated else (),
    )


def _export_several(
    models: Mapping[str, keras.Model], path: Any, options: _Options, representative: Any, samples: Any, metadata: Any
) -> ExportReport:
    """Converts each model alone, joins the files, and compares each signature of the joined file."""
    check_models(models)
    names = tuple(models)
    calibrating = by_signature("representative", representative, names)
    compared = calibrating if samples is None else by_signature("samples", samples, names)
    targets, drawn = {}, {}
    for name, model in models.items():
        calibration = calibrating[name] if options.quantize in CALIBRATED else None
        with of_signature(name):
            if options.quantize in CALIBRATED and calibration is None:
                checks.refuse(f"quantize={options.quantize!r} needs representative data", None)
            drawn[name] = samples_of(model, compared[name], calibration)
        targets[name] = _signature_target(name, _target(model, _Writer(options, drawn[name].calibration, None)))

    def write(programs: dict[str, Program], path: Path) -> None:
        files = {}
        for name, program in programs.items():
            with of_signature(name), targets[name].patches(program.model):
                targets[name].write(program, path)
            files[name] = path.read_bytes()
        path.write_bytes(flatbuffer.with_metadata(joined(files), metadata))

    return export_signatures(models, path, targets, drawn, options.tolerance, write)


def _signature_target(name: str, alone: Target) -> Target:
    """Returns the kind of file that has a model as one of its signatures, from that of the model alone."""
    inspected: list[tuple[dict[str, int], tuple[str, ...]]] = []

    def write(program: Program, path: Path) -> None:
        alone.write(program, path)
        inspected.append(alone.inspect(path))
        path.write_bytes(joined({name: path.read_bytes()}))

    return replace(
        alone,
        write=write,
        run=partial(runtime.run_file, signature=name),
        inspect=lambda path: inspected[0],
        file_tensors=partial(flatbuffer.file_tensors, signature=name),
    )


def _remedy(quantize: str | None, selective: str | None, examples: int) -> str:
    if quantize is None:
        return "Look for layers that keep state between calls or ignore training=False."
    if quantize == "float16":
        return "Export float32 (quantize=None)."
    if quantize == "dynamic":
        return "Export with quantize='float16'."
    few = f"Only {examples} examples calibrated the ranges, which may be too narrow: give about {ENOUGH} by "
    advice = f"{few}representative=" if examples < ENOUGH else "Give representative data like the inputs in use"
    advice += ", or export with "
    return advice + ("selective='auto' or " if quantize == "int8" and not selective else "") + "quantize='dynamic'."


class _Writer:
    """Writer of one kind of TFLite file, which collects the notes for the report."""

    def __init__(self, options: _Options, ranges: dict[str, np.ndarray], metadata: Mapping[str, Any] | None):
        self.options, self.quantize, self.ranges, self.metadata = options, options.quantize, ranges, metadata
        self.unrolled: dict[str, int] = {}
        self.layer_errors: tuple[LayerError, ...] = ()
        self.notes: list[str] = []

    def write(self, program: Program, path: Path) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            graph = saved_model.write_for_conversion(program, folder, runtime.SIGNATURE)
            if self.quantize in CALIBRATED:
                converter.check_calibration(program.model, graph, self.quantize)
            try:
                content = self._integers(program, folder, path) if self.quantize == "int8" else None
                content = content or converter.convert(
                    folder, self.quantize, self.ranges, _exact_tensors(program.model)
                )
                if self.ranges:  # a missing int16 kernel shows only when the file runs
                    check_runs(content)
                    path.write_bytes(content)
                    runtime.run_file(path, {name: array[:1] for name, array in self.ranges.items()})
            except OSError:
                raise
            except Exception as error:
                raise _conversion_error(program, folder, self.quantize, error, path) from error
        if self.options.integer_io:
            content = self._with_quantized_io(content)
        path.write_bytes(flatbuffer.with_metadata(content, self.metadata))

    def _integers(self, program: Program, folder: Path, path: Path) -> bytes:
        calibrated = converter.calibrated(folder, self.ranges)
        if self.options.selective or self.options.layer_report:
            self.layer_errors = layer_errors(program.model, calibrated, self.ranges)

        def run(content: bytes, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            path.write_bytes(content)
            return runtime.run_file(path, arrays)

        def corrected(content: bytes) -> bytes:
            if not self.options.correct_biases:
                return content
            correction = corrected_file(content, calibrated.content, self.ranges, program.run, run)
            self.notes = [correction.note]
            return correction.content

        quantized = calibrated.quantized()
        check_runs(quantized)
        content = corrected(quantized)
        if not self.options.selective:
            return content
        arrays = {name: array[:MEASURED_EXAMPLES] for name, array in self.ranges.items()}
        expected = program.run(arrays)

        def drift(content: bytes) -> float:
            return worst(drifts_of("real", expected, run(content, arrays)), "rmse")

        bound = BOUNDS["int8"][1] if self.options.tolerance is None else self.options.tolerance
        if drift(content) <= bound:
            return content
        selected = selective_file(calibrated, self.layer_errors, drift, bound)
        content = corrected(selected.content)
        if selected.layers:
            in_float = f"{len(selected.layers)} of {len(self.layer_errors)} layers in float to stay within {bound:g}"
            self.notes.append(f"{in_float}: {', '.join(selected.layers)}")
        return content

    def _with_quantized_io(self, content: bytes) -> bytes:
        try:
            return converter.with_quantized_io(content, self.quantize)
        except ValueError as error:
            raise ExportError(
                f"integer_io needs inputs and outputs that are integers inside the file; {first_line(error)} "
                "Export with integer_io=False."
            ) from error

    def inspect(self, path: Path) -> tuple[dict[str, int], tuple[str, ...]]:
        steps = ", ".join(f"{name} over {count} steps" for name, count in self.unrolled.items())
        notes = [f"unrolled, as a loop cannot hold integers: {steps}"] if steps else []
        if self.quantize in CALIBRATED:
            floats = {each.name for each in flatbuffer.operators(path.read_bytes()) if each.is_float}
            floats = ", ".join(sorted(floats - {"DEQUANTIZE"}))
            notes += [*([f"in float: {floats}"] if floats else []), *self.notes, *runtime.quantized_io(path)]
        return flatbuffer.count_operations(path), tuple(notes)


def _exact_tensors(model: keras.Model) -> Callable[[str], bool]:
    """Returns a function that tells whether a tensor belongs to a spectrogram layer, which needs float32.

    Waves in half precision do not cancel exactly, and a logarithm magnifies the rest.
    """
    waves = (keras.layers.STFTSpectrogram, keras.layers.MelSpectrogram)
    names = {layer.name for layer in all_layers(model) if isinstance(layer, waves)}
    return lambda tensor: bool(names) and layer_of(model, tensor) in names


def _conversion_error(
    program: Program, folder: Path, quantize: str | None, error: Exception, path: Path
) -> ExportError:
    """Returns the error of a failed conversion: its reason and layer, read from the converter's long text."""
    text = str(error)
    if unknown := re.search(r"'tf\.(\w+)' op|\bFlex(\w+)", text):
        operation = unknown[1] or unknown[2]
        nodes = {node.op: node.name for node in reversed(nodes_of(program.concrete(1).graph))}
        # the place comes before the operation: loc(callsite(fused["MatMul:", "model/dense/MatMul@__inference_serve_1"]
        place = re.search(rf'"{operation}:", "([^"@]+)@', text)
        dtype = _unsupported_dtype(text, operation)
        return ExportError(
            f"TFLite's built-in operations must cover the model; {operation}{dtype} of "
            f"{layer_in_words(program.model, place[1] if place else nodes.get(operation, ''))} is not one of them. "
            "Write that layer with operations that TFLite has, or export to ONNX or SavedModel."
        )
    lacking = re.search(r"for op: '(\w+)'|to delegate (\w+) node|\((\w+)\) failed|for tensor (\S+)", text)
    name = next(filter(None, lacking.groups())) if lacking else None
    if name in DELEGATES:  # LiteRT names its own delegate, not the operation that this refused
        names = sorted(set(flatbuffer.count_operations(path)) - {"QUANTIZE", "DEQUANTIZE"})
        return ExportError(
            f"LiteRT refuses the {quantize} file and does not name the operation; the file holds {', '.join(names)}. "
            f"Export with quantize={_safer(quantize)!r}, or replace the layer."
        )
    if name is not None:
        return ExportError(
            f"quantize={quantize!r} has no kernel for {_operation_and_layer(program, folder, name)}. "
            f"Export with quantize={_safer(quantize)!r}, or replace the layer."
        )
    reason, place = _compiler_error(text)
    where = f" at {layer_in_words(program.model, place)}" if place else ""
    remedy = f" Export with quantize={_safer(quantize)!r}, or replace the layer." if quantize in CALIBRATED else ""
    return ExportError(
        f"the model does not convert to TFLite ({quantize or 'float32'}){where}: {reason or first_line(error)}{remedy}"
    )


def _unsupported_dtype(text: str, operation: str) -> str:
    """Returns the dtype in words, where TFLite lacks the dtype of an operation rather than the operation."""
    line = re.search(rf'"tf\.{operation}"\(.*', text)
    dtypes = re.findall(r"tensor<(?:[\d?]+x)*([^!>]+?>?)>", line[0]) if line else []
    return next((f" in {UNSUPPORTED_DTYPES[each]}" for each in dtypes if each in UNSUPPORTED_DTYPES), "")


def _compiler_error(text: str) -> tuple[str, str]:
    """Returns the first error in a compiler's text without its place, and the graph node of that place."""
    line = next((line for line in text.splitlines() if re.search(r"\berror: loc\(|\): error: ", line)), "")
    place = re.search(r'"([^"@]+)@', line) or re.search(r'loc\("([^"]+)"\): error: ', line)
    return line.rpartition("): ")[2].removeprefix("error: ").strip(), place[1] if place else ""


def _safer(quantize: str | None) -> str:
    return "int8" if quantize == "int16x8" else "dynamic"


def _operation_and_layer(program: Program, folder: Path, name: str) -> str:
    """Describes the first operation of the float file that has a name or reads a tensor of it; and its layer."""
    for operator in flatbuffer.operators(converter.convert(folder, None, {})):
        if name in (operator.name, *operator.inputs):
            layer = next((layer for tensor in operator.outputs if (layer := layer_of(program.model, tensor))), None)
            return f"the operation {operator.name}" + (f" of layer {layer!r}" if layer else "")
    return f"the operation {name}"
