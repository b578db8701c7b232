"""Model under quantization-aware training: calibration, evaluation, export, saving."""

import dataclasses
import json
import os
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tf_keras

from kerasdl.core import checks, files
from kerasdl.core.data_fit import check_fits
from kerasdl.core.display.results import Displayed, names_text
from kerasdl.core.errors import ArgumentError, DataError, ExportError
from kerasdl.core.keras_graph import all_layers
from kerasdl.core.registry.tasks import Task
from kerasdl.data import as_dataset
from kerasdl.data.pipelines import refuse_endless
from kerasdl.train import Run
from kerasdl.train.engine.compilation import mark_as_own
from kerasdl.train.objectives.input_checks import check_inputs, only_finite
from kerasdl.train.objectives.label_checks import check_labels, label_errors_reported
from kerasdl.train.objectives.loss_and_metrics import check_outputs, check_scales, objective_of, task_of
from kerasdl.train.objectives.single_output import unwrapped
from kerasdl.train.objectives.weight_checks import fitting_weights

from ..export import saved_model
from ..export.parity import ExportReport
from ..export.pipeline import Target, export
from ..export.tracing import Program, first_line, layer_of, silenced
from ..keras2.bridge import Bridge, bridge
from ..keras2.layer_names import check_names, layer_names_of_parts
from ..keras2.training_adapter import TFKerasAdapter
from ..samples.model_inputs import input_forms, structure
from ..samples.sampling import EVALUATION, MIN_TO_HOLD_OUT, Samples, draw, samples_of, split
from ..tflite import converter, flatbuffer, op_patches, runtime
from ..tflite.description.delegates import with_fallbacks
from .fake_quant_layers import FakeQuantized, QuantizedKernel
from .placement import LayerPrecision, QuantizationScheme, fake_quantized

BATCH, CALIBRATION = 32, 128
TOLERANCE = 0.25  # as for any int8 file: single values round the other way, and deep nets add such differences up
DEFAULT_SCHEME = QuantizationScheme()
LARGEST = 8 * 2**30  # bytes of a part of a saved model
SOURCE, WEIGHTS, SCHEME = "source.keras", "weights.npz", "scheme.json"


class QuantizedModel(Displayed):
    """A model that rounds as its int8 file does; `quantize_aware` makes it.

    Args:
        source: the Keras 3 model that it comes from.
        scheme: the settings of the rounding.

    Example:
        >>> quantized = QuantizedModel(model, QuantizationScheme())
        >>> quantized.calibrate((x, y))
        >>> quantized.report[0].precision
        'int8'
    """

    def __init__(self, source: keras.Model, scheme: QuantizationScheme):
        self.source, self.scheme = source, scheme
        check_names("in_float", scheme.in_float, source)
        self.bridge = bridge(source, split=True)
        fake_quant_model, self.report = _fake_quantized(self.bridge, source, scheme)

        def rebuild() -> tf_keras.Model:
            return _fake_quantized(bridge(source, split=True), source, scheme)[0]

        self.model = TFKerasAdapter(fake_quant_model, source, {"scheme": dataclasses.asdict(scheme)}, rebuild)
        self.run: Run | None = None
        self.samples: Samples | None = None  # the examples that set the ranges, and those that check the file
        self.loaded = False

    source: keras.Model
    """The Keras 3 model that it comes from, with its weights from before the training."""
    scheme: QuantizationScheme
    """The settings of the rounding."""
    model: keras.Model
    """The Keras model that rounds; it trains and evaluates as any other."""
    report: tuple[LayerPrecision, ...]
    """The precision of each layer, and its reason."""
    run: Run | None
    """The training run, with its history; None for a model that was loaded or only calibrated."""

    def _shown(self) -> tuple[str, dict[str, Any]]:
        floats = sorted({row.layer for row in self.report if row.precision == "float"})
        integers = len(self.report) - sum(row.precision == "float" for row in self.report)
        rows = {"in float": names_text(floats), "trained": None if self.run is None else f"{self.run.steps:,} updates"}
        return f"QuantizedModel of {self.source.name}: {integers} of {len(self.report)} layers in int8", rows

    def settle_kernels(self) -> None:
        """Sets the range of each kernel to that of its last values, which the file then holds without a cut."""
        for layer in self.model.tf_keras_model.layers:
            if isinstance(layer, QuantizedKernel):
                layer.set_range()

    def state(self) -> dict[str, Any]:
        """Returns scheme and ranges as plain values, from which `restored` makes this model beside `to_keras()`.

        Ranges of kernels are not among them, as `settle_kernels` makes these from the kernels.
        """
        ranges = {layer.name: [float(each) for each in layer.limits_now()] for layer in self._following()}
        return {"scheme": dataclasses.asdict(self.scheme), "ranges": ranges}

    @classmethod
    def restored(cls, source: keras.Model, state: Mapping[str, Any]) -> "QuantizedModel":
        """Returns the model that a `state` describes, around a model with the trained weights.

        Args:
            source: what `to_keras` gave.
            state: what `state` gave.

        Raises:
            ExportError: the state does not fit the model.
        """
        try:
            scheme, ranges = state["scheme"], dict(state["ranges"])
            scheme = QuantizationScheme(**{name: tuple(v) if isinstance(v, list) else v for name, v in scheme.items()})
            quantized = cls(source, scheme)
            names = [layer.name for layer in quantized._following()]
            if sorted(names) != sorted(ranges):
                raise ValueError(f"ranges are of {sorted(ranges)[:3]} and not of {sorted(names)[:3]}")
            quantized._take_ranges(ranges)
        except (ArgumentError, KeyError, ValueError, TypeError) as error:
            raise ExportError(
                f"the rounding of {source.name!r} does not fit the model: {first_line(error)}."
            ) from error
        quantized.settle_kernels()
        quantized.loaded = True
        return quantized

    def extended(self, whole: keras.Model, samples: Any) -> "QuantizedModel":
        """Returns a model that rounds as this one does, with further layers before or behind it.

        Args:
            whole: `to_keras()` with further layers; its own layers keep their names.
            samples: inputs of `whole`, which set the ranges of the further layers.

        Raises:
            ArgumentError: the samples do not fit the model.
        """
        longer = QuantizedModel(whole, self.scheme)
        longer.calibrate(samples)
        longer._take_ranges(self.state()["ranges"])
        return longer

    def _following(self) -> list[FakeQuantized]:
        """Returns the layers whose ranges follow the data."""
        layers = self.model.tf_keras_model.layers
        return [layer for layer in layers if isinstance(layer, FakeQuantized) and layer.limits is None]

    def _take_ranges(self, ranges: Mapping[str, Sequence[float]]) -> None:
        for layer in self._following():
            if layer.name in ranges:
                layer.take_limits(*ranges[layer.name])

    def calibrate(self, data: Any) -> None:
        """Sets the ranges of kernels, and those of activations from up to 128 examples drawn over all the data.

        Up to 64 other examples are kept to check the exported file on. Of fewer than 148 examples none is kept apart,
        as the ranges, which file and model share, need them all.

        Args:
            data: as `quantize_aware` takes it; a stream is read for 10,000 examples or 30 seconds.

        Raises:
            ArgumentError: the data do not fit the model.
        """
        forms = input_forms(self.source)
        drawn = split(
            draw(data, forms, CALIBRATION + EVALUATION).cast(forms), forms, CALIBRATION, CALIBRATION + MIN_TO_HOLD_OUT
        )
        first = [drawn.calibration[form.name][:1] for form in forms]
        check_fits(self.source, keras.tree.pack_sequence_as(structure(self.source), first), name="calibration data")
        self.samples = drawn
        self.recalibrate()

    def recalibrate(self) -> None:
        """Sets all ranges anew from the examples of `calibrate`, for the weights as they are now.

        Raises:
            ArgumentError: `calibrate` was not called.
        """
        if self.samples is None:
            checks.refuse("a quantised model must have examples to set its ranges anew", None, "Call calibrate first.")
        forms, drawn = input_forms(self.source), self.samples
        activations = [layer for layer in self.model.tf_keras_model.layers if isinstance(layer, FakeQuantized)]
        self.settle_kernels()
        try:
            for layer in activations:
                layer.record_ranges([])
            for start in range(0, drawn.calibrated_on.used, BATCH):
                batch = [drawn.calibration[form.name][start : start + BATCH] for form in forms]
                self.model(keras.tree.pack_sequence_as(structure(self.source), batch), training=False)
            for layer in activations:
                layer.set_range()
        finally:
            for layer in activations:
                layer.record_ranges(None)

    def predict(self, inputs: Any) -> Any:
        """Returns the outputs for arrays (B, ...), as arrays."""
        return self.model.predict(inputs, batch_size=BATCH, verbose=0)

    def evaluate(
        self, data: Any, *, loss: Any = None, metrics: Sequence | None = None, task: Task | str | None = None
    ) -> dict[str, float]:
        """Returns the loss and the metrics on data of any kind that `fit` takes; None takes those of the task.

        Raises:
            ArgumentError: the data never end, or data, model, loss and metrics do not fit together.
            DataError: the data are empty, not finite, or hold labels that the loss does not take.
        """
        data = as_dataset(data)
        refuse_endless("data to evaluate", data)
        check_inputs(self.source, data)
        data = unwrapped(data, self.source)
        loss, metrics = objective_of(task_of(task, data, loss, self.source), self.source, loss, metrics)
        check_outputs(loss, metrics, self.source)
        check_scales(loss, metrics, self.source, self.source)
        data = fitting_weights(data, loss, self.source)
        data = only_finite(check_labels(loss, metrics, self.source, data))  # rounding would turn NaN into numbers
        self.model.compile(loss=loss, metrics=metrics)
        mark_as_own(self.model)
        with label_errors_reported():
            results = self.model.evaluate(data.batches(BATCH), verbose=0, return_dict=True)
        if not results:
            raise DataError("data to evaluate hold no batches. Check their size, and filters in the pipeline.")
        return results

    def to_keras(self) -> keras.Model:
        """Returns a float Keras 3 model of the source's structure with the trained weights."""
        for layer in self.model.tf_keras_model.layers:
            if isinstance(layer, QuantizedKernel):
                layer.kernel.assign(layer.effective_kernel())
        return self.bridge.pull()

    def export_tflite(
        self,
        path: str | os.PathLike,
        *,
        integer_io: bool = False,
        metadata: Mapping[str, Any] | None = None,
        samples: Any = None,
        tolerance: float | None = None,
    ) -> ExportReport:
        """Writes the int8 TFLite file, runs it in LiteRT and compares it with this model.

        Args:
            path: the file to write, ending in .tflite.
            integer_io: whether inputs and outputs are int8 too, with the scales that the file states.
            metadata: what to store in the file, as in `export_tflite`.
            samples: real inputs to compare on, in the forms of `export_tflite`; None takes those that `calibrate` kept.
            tolerance: bound on the root mean squared difference over the model's root mean square; 0.25 if None.

        Returns:
            The report of the export.

        Raises:
            ArgumentError: an argument breaks its rule.
            ExportError: the file does not compute what the model does; nothing is left.
        """
        if self.samples is None and not self.loaded:
            checks.refuse("a quantised model must know its ranges to be exported", None, "Call calibrate first.")
        takes_own = samples is None and self.samples is not None
        examples = self.samples if takes_own else samples_of(self.model, samples)
        if self.samples is not None and not takes_own:
            examples = dataclasses.replace(examples, calibrated_on=self.samples.calibrated_on, held_out=True)
        flatbuffer.checked_metadata(metadata)
        floats = [row.layer for row in self.report if row.precision == "float"]
        target = Target(
            format="tflite int8 by training",
            suffix=".tflite",
            measure="rmse",
            tolerance=TOLERANCE,
            remedy="Train with another QuantizationScheme(in_float=...), or export the float model.",
            write=partial(_write, integer_io=integer_io, metadata=metadata),
            run=runtime.run_file,
            inspect=_inspect,
            patches=lambda _: op_patches.tflite_functions(),
            file_tensors=flatbuffer.file_tensors,
            calibrated=True,
            notes=(f"layers in float: {', '.join(floats)}",) * bool(floats),
        )
        return with_fallbacks(export(self.model, path, target, examples, tolerance))

    def save(self, path: str | os.PathLike) -> None:
        """Writes a .zip file from which `load_quantized` makes the same model.

        Raises:
            ArgumentError: the path does not end in .zip.
        """
        path = Path(path)
        if path.suffix != ".zip":
            checks.refuse("the path of a quantised model must end in '.zip'", str(path))
        with tempfile.TemporaryDirectory() as folder, files.writing(path) as draft:
            self.to_keras().save(Path(folder, SOURCE))
            weights = {
                f"{index:04d}": variable.numpy() for index, variable in enumerate(self.model.tf_keras_model.variables)
            }
            np.savez(Path(folder, WEIGHTS), **weights)
            Path(folder, SCHEME).write_text(json.dumps(dataclasses.asdict(self.scheme)))
            with zipfile.ZipFile(draft, "w") as archive:
                for name in (SOURCE, WEIGHTS, SCHEME):
                    archive.write(Path(folder, name), name)


def _fake_quantized(bridged: Bridge, source: keras.Model, scheme: QuantizationScheme) -> tuple[tf_keras.Model, tuple]:
    with silenced():
        return fake_quantized(bridged.model, scheme, layer_names_of_parts(source))


def load_quantized(path: str | os.PathLike) -> QuantizedModel:
    """Returns the model that `QuantizedModel.save` wrote, with the very weights and ranges.

    Args:
        path: the .zip file.

    Returns:
        The model; its outputs equal those of the saved one bit for bit.

    Raises:
        ArgumentError: there is no such file.
        ExportError: the file does not hold a quantised model.

    Example:
        >>> quantized = quantize_aware(model, (x, y), epochs=0)
        >>> quantized.save("quantized.zip")
        >>> load_quantized("quantized.zip").scheme == quantized.scheme
        True
    """
    path = Path(path)
    if not path.is_file():
        checks.refuse("path must be a file that QuantizedModel.save wrote", str(path))
    try:
        with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(path) as archive:
            for name in (SOURCE, WEIGHTS, SCHEME):
                if archive.getinfo(name).file_size > LARGEST:
                    raise ValueError(f"{name} has more than {LARGEST:,} bytes")
                archive.extract(name, folder)
            source = keras.models.load_model(Path(folder, SOURCE), compile=False)
            scheme = json.loads(Path(folder, SCHEME).read_text())
            with np.load(Path(folder, WEIGHTS), allow_pickle=False) as arrays:
                weights = [arrays[name] for name in sorted(arrays)]
            scheme = QuantizationScheme(**{name: tuple(v) if isinstance(v, list) else v for name, v in scheme.items()})
            quantized = QuantizedModel(source, scheme)
            for variable, value in zip(quantized.model.tf_keras_model.variables, weights, strict=True):
                variable.assign(value)
            quantized.loaded = True
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise ExportError(f"{path} does not hold a quantised model: {first_line(error)}. Save it again.") from error
    return quantized


def _write(program: Program, path: Path, integer_io: bool, metadata: Mapping[str, Any] | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        saved_model.write_for_conversion(program, Path(folder), runtime.SIGNATURE)
        try:
            content = converter.convert(Path(folder), "dynamic", {})  # integers wherever the graph states ranges
            if integer_io:
                content = converter.with_quantized_io(content, "int8")
        except OSError:
            raise  # such as a full disk, which the export pipeline reports
        except Exception as error:
            raise ExportError(_conversion_error(program.model.source, error)) from error
    path.write_bytes(flatbuffer.with_metadata(content, metadata))


def _conversion_error(source: keras.Model, error: Exception) -> str:
    """Returns the message of a failed conversion: the operation, its layer, and the converter's own words."""
    text = str(error)
    operation, place = re.search(r"'tfl?\.(\w+)' op", text), re.search(r'fused\["\w+:", "([^"@]+)@', text)
    layer = _source_layer_of(source, place[1]) if place else None
    words = re.search(r"'tfl?\.\w+' op [^\n]+", text)
    where = (f" the operation {operation[1]}" if operation else "") + (f" of layer {layer!r}" if layer else "")
    reason = words[0] if words else first_line(error)
    return f"the quantised model does not convert to TFLite{':' if where else ''}{where} ({reason}). Replace the layer."


def _source_layer_of(source: keras.Model, node: str) -> str | None:
    """Returns the Keras 3 layer of a graph node, whose name scope is: adapter, tf_keras model, layer."""
    scopes = node.split("/")
    if source.name not in scopes:
        return layer_of(source, node)
    known, layer_name_of = {layer.name for layer in all_layers(source)}, layer_names_of_parts(source)
    inner = map(layer_name_of, reversed(scopes[scopes.index(source.name) + 1 :]))
    return next((name for name in inner if name in known), None)


def _inspect(path: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    return flatbuffer.count_operations(path), tuple(runtime.quantized_io(path))
