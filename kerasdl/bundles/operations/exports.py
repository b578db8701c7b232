"""Export of a bundle: file with labels and preprocessing, report and card beside it."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

import keras

from kerasdl.core import checks
from kerasdl.core.keras_graph import copied, copy_into
from kerasdl.core.outputs.activation import output_activations
from kerasdl.deploy import (
    ExportReport,
    export_onnx,
    export_saved_model,
    export_tflite,
    export_trainable_tflite,
    export_with_postprocess,
)
from kerasdl.deploy.export.parity import without_top1

from ..format.calibration_part import without_calibration
from .data_preparation import draw_samples, representative_data
from .file_description import described, write_beside
from .predict_comparison import compared_with_predict

RAW_DTYPES = ("float32", "uint8")


@dataclass(frozen=True)
class ExportOptions:
    """Options of an exported file; each applies to some formats."""

    quantize: str | None = None
    """For .tflite None, "float16", "dynamic", "int8" or "int16x8"; for .onnx None, "dynamic" or "int8"."""
    tolerance: float | None = None
    """Largest drift allowed; None takes the default of the format."""
    selective: str | None = None
    """For .tflite: "auto" keeps the layers of an int8 file that lose most in float."""
    correct_biases: bool | None = None
    """For .tflite in int8: whether the mean error of each channel is subtracted from its bias; None is True for these
    files, unless the bundle itself rounds."""
    integer_io: bool = False
    """For .tflite: whether inputs and outputs of an integer file are integers too."""
    layer_report: bool = False
    """For .tflite: whether the report lists the error of each layer of an int8 file."""
    trainable: bool = False
    """For .tflite in float32: whether it has signatures for training on the device."""
    raw_dtype: str = "float32"
    """With raw_shape: dtype of the pixels 0 to 255 that the file takes, "float32" or "uint8"."""
    scores: bool = False
    """Whether the file gives probabilities in place of logits, by a softmax or sigmoid at its end."""
    threshold_inputs: bool = False
    """For detectors: whether the file takes `min_score` and `overlap`, a number for each image, as inputs."""
    opset: int = 18
    """For .onnx: the operator set, 13 to 22."""
    dynamic_axes: str = "all"
    """For .onnx: which dimensions stay free, "all", "batch" or "none"."""
    image_bytes: bool = False
    """For SavedModel folders of images: whether a signature takes the content of JPEG and PNG files. Its outputs
    include `label` and `score` if each image has one label."""


class ExportKeywords(TypedDict, total=False):
    """Fields of `ExportOptions` that `Bundle.export` takes beside its own arguments; type checkers read them here."""

    selective: str | None
    correct_biases: bool | None
    integer_io: bool
    layer_report: bool
    trainable: bool
    raw_dtype: str
    scores: bool
    threshold_inputs: bool
    opset: int
    dynamic_axes: str
    image_bytes: bool


FORMATS = {
    ".tflite": ("quantize", "tolerance", "selective", "correct_biases", "integer_io", "layer_report", "trainable"),
    ".onnx": ("quantize", "tolerance", "opset", "dynamic_axes"),
    "": ("tolerance", "image_bytes"),
}
IN_GRAPH = ("raw_dtype", "scores", "threshold_inputs")  # of every format


def export_options(**options: Any) -> ExportOptions:
    """Returns the options of a file from keywords.

    Raises:
        UnknownNameError: there is no such option.
    """
    known = [each.name for each in dataclasses.fields(ExportOptions)]
    return ExportOptions(**{checks.known_name("option of export", name, known): options[name] for name in options})


def export_bundle(
    bundle: Any, path: Path, representative: Any, raw_shape: tuple | None, options: ExportOptions
) -> ExportReport:
    """Writes a bundle in the format of the path's suffix, with report, labels and card beside it.

    The file holds its model, or a signature for each of the networks that its task exports.

    Raises:
        ArgumentError: an option is not for that format, for that task, or not for several networks.
        ExportError: the file would compute something else; no file is left.
    """
    hint = "A path without a suffix is the folder of a SavedModel."
    suffix = checks.one_of("the suffix of path", path.suffix, tuple(FORMATS), hint)
    chosen = {name: value for name, value in vars(options).items() if value != getattr(ExportOptions, name)}
    for name, value in chosen.items():
        if name not in (*FORMATS[suffix], *IN_GRAPH):
            homes = [each or "a folder" for each, names in FORMATS.items() if name in names]
            checks.refuse(f"{name} is for {' and '.join(homes)}", f"{name}={value!r} for {path.name!r}")
    if suffix == ".tflite" and options.quantize == "int8" and bundle.quantized is None:
        chosen.setdefault("correct_biases", True)
    if options.image_bytes and bundle.calibration is not None and not options.scores:
        rule = "the signature of image files of a calibrated bundle needs its temperature in the graph"
        checks.refuse(rule, "scores=False", "Pass scores=True.")
    if options.image_bytes and raw_shape is not None:
        checks.refuse("image_bytes needs the model's own input", f"raw_shape={raw_shape}", "Leave raw_shape out.")
    representative = representative_data(bundle, representative)
    if options.trainable:  # training moves the weights that the calibration holds for
        bundle = without_calibration(bundle)
    if bundle.task.exported is None:
        model = _model(bundle, raw_shape, options)
    else:
        model = _networks(bundle, path, raw_shape, chosen)
    gives = "probabilities" if options.scores else bundle.manifest.outputs
    gives = gives if bundle.task.postprocess is None else "answers"
    description = described(bundle, path.name, raw_shape, options.raw_dtype, gives)
    thresholds = _thresholds(bundle) if options.threshold_inputs else {}
    if thresholds:
        description["thresholds"] = {name: values[0] for name, values in thresholds.items()}
    samples = None if representative is None else _samples(bundle, model, representative, raw_shape)
    written = {name: value for name, value in chosen.items() if name not in IN_GRAPH}
    report = _write(bundle, model, path, samples, written, description, thresholds)
    if bundle.task.thresholds is not None:  # objects are no classes: a largest entry of a row of boxes says nothing
        report = without_top1(report)
    if representative is not None and _answers_once(bundle):
        form = (raw_shape, options.raw_dtype, gives)
        report = replace(report, **compared_with_predict(bundle, path, representative, *form))
    answers = f", {report.answers()}" if report.answers() else ""
    line = f"{report.bytes:,} bytes, drift {report.worst_relative:.2g} ({report.measure}){answers}"
    bundle.manifest.provenance[f"exported as {report.format}"] = line
    write_beside(bundle, path, report, description)
    return report


def _model(bundle: Any, raw_shape: tuple | None, options: ExportOptions) -> keras.Model:
    """Returns the graph of the file: preprocessing where raw_shape asks for it, the model, scores on request."""
    checks.one_of("raw_dtype", options.raw_dtype, RAW_DTYPES)
    if options.raw_dtype == "uint8":
        if raw_shape is None:
            checks.refuse("raw_dtype='uint8' needs raw_shape", None, "Pass raw_shape= with height, width and channels.")
        if "image_shape" not in bundle.preprocess:
            checks.refuse("raw_dtype='uint8' is for bundles of images", bundle.task.name)
    if options.trainable and options.scores:
        checks.refuse("a file that learns on the device must give logits", "scores=True", "Leave scores out.")
    kind = bundle.manifest.outputs
    if options.scores and (bundle.task.activation is None or bundle.task.predict is not None or kind == "values"):
        rule = "scores is for tasks whose answers are probabilities"
        checks.refuse(rule, f"{bundle.task.name}, which gives {kind}", "Leave scores out.")
    model = bundle.model
    if raw_shape is not None:
        model = raw_model(bundle, raw_shape, "uint8" if options.raw_dtype == "uint8" else None)
    temperature = 1.0 if bundle.calibration is None else bundle.calibration.temperature
    if kind == "probabilities" and temperature != 1:
        model = _with_scores(before_softmax(bundle, model), "softmax", temperature)
    elif options.scores and kind == "logits":
        copy = copied(model) if model is bundle.model else model
        model = _with_scores(copy, bundle.task.activation, temperature)
    return model


def _with_scores(model: keras.Model, activation: str, temperature: float) -> keras.Model:
    """Returns a model with a division by the temperature, if it is not 1, and an activation after its only output."""
    x = model.outputs[0]
    if temperature != 1:
        x = keras.layers.Rescaling(1 / temperature, name=_free_name(model, "temperature"), dtype="float32")(x)
    scores = keras.layers.Activation(activation, name=_free_name(model, "scores"), dtype="float32")(x)
    return keras.Model(model.input, scores, name=model.name)


def _free_name(model: keras.Model, name: str) -> str:
    """Returns a name for a new layer of a model, with a number behind it if that one is taken."""
    taken = {layer.name for layer in model.layers}
    return next(each for each in (name, *(f"{name}_{k}" for k in range(1, len(taken) + 1))) if each not in taken)


def before_softmax(bundle: Any, model: keras.Model) -> keras.Model:
    """Returns a copy of a model that ends in a softmax, without it, so that a temperature can stand before it.

    Raises:
        ArgumentError: the last layer is not that softmax, or the bundle rounds.
    """
    if bundle.quantized is not None:
        rule = "the file of a bundle that rounds and ends in a softmax cannot hold a temperature"
        checks.refuse(rule, bundle.calibration, "Export it before calibrate, or end the model in logits.")
    model = copied(model)
    end = output_activations(model)[0]
    last = model.outputs[0]._keras_history.operation  # Keras has no public name for it
    if end.kind != "softmax" or end.layer != last.name or not hasattr(last, "activation"):
        if isinstance(last, keras.layers.Softmax):
            return keras.Model(model.input, last.input, name=model.name)
        rule = "to hold a temperature, a file needs a model that ends in a softmax layer"
        checks.refuse(rule, last.name, "End the model in logits, or export it before calibrate.")
    last.activation = keras.activations.linear
    return copied(model)


def _answers_once(bundle: Any) -> bool:
    """Tells whether `predict` gives the only output of the bundle's model, which a file gives too."""
    return bundle.task.exported is None and bundle.task.predict is None and len(bundle.model.outputs) == 1


def _networks(bundle: Any, path: Path, raw_shape: tuple | None, chosen: Mapping[str, Any]) -> dict[str, keras.Model]:
    """Returns the networks that the task exports, made of copies: the bundle's own layers are not called again."""
    if path.suffix == ".onnx":
        hint = "Write a file for each: export_onnx(network, path) of those in bundle.task.exported(bundle.networks)."
        checks.refuse(f"an .onnx file holds one network, and {bundle.task.name} exports several", path.name, hint)
    for name, value in {"raw_shape": raw_shape, **chosen}.items():
        if name in ("raw_shape", "trainable", "image_bytes", *IN_GRAPH) and value:
            checks.refuse(f"{name} is for tasks that export one network", f"{name}={value!r} for {bundle.task.name}")
    return dict(bundle.task.exported({role: copied(network) for role, network in bundle.networks.items()}))


def _samples(bundle: Any, model: Any, representative: Any, raw_shape: tuple | None) -> Any:
    """Returns up to 256 real inputs of the exported model, or of each network by signature where there are several."""
    inputs = draw_samples(bundle, representative, raw_shape)
    if not isinstance(model, Mapping):
        return inputs if raw_shape is None else inputs.astype(model.inputs[0].dtype)
    if bundle.task.exported_samples is None:
        rule = (
            f"{bundle.task.name} must have exported_samples, which makes inputs of each network, to take representative"
        )
        checks.refuse(rule, tuple(model), "Export without it, in float.")
    return bundle.task.exported_samples(model, inputs)


def _thresholds(bundle: Any) -> Mapping[str, tuple]:
    """Returns the thresholds that a file of a bundle takes as inputs, each as a default and another value."""
    if bundle.task.postprocess is None or bundle.task.thresholds is None:
        checks.refuse(
            "threshold_inputs is for tasks whose files decode by thresholds, such as detection", bundle.task.name
        )
    return bundle.task.thresholds(bundle.networks, bundle.preprocess)


def _write(
    bundle: Any,
    model: Any,
    path: Path,
    samples: Any,
    chosen: dict[str, Any],
    metadata: dict[str, Any],
    thresholds: Mapping[str, tuple],
) -> ExportReport:
    if bundle.task.postprocess is not None:
        return _write_with_postprocess(bundle, model, path, samples, chosen, metadata, thresholds)
    if bundle.quantized is not None:
        return _write_quantized(bundle, model, path, samples, metadata, **chosen)
    if path.suffix == ".tflite":
        if chosen.pop("trainable", False):
            for name in set(chosen) - {"tolerance"}:
                checks.refuse("a file that learns on the device must be plain float32", f"{name}={chosen[name]!r}")
            return export_trainable_tflite(model, path, samples=samples, metadata=metadata, **chosen)
        return export_tflite(model, path, representative=samples, samples=samples, metadata=metadata, **chosen)
    if path.suffix == ".onnx":
        return export_onnx(model, path, representative=samples, samples=samples, metadata=metadata, **chosen)
    from_files = chosen.pop("image_bytes", False)
    labels = (
        bundle.labels if bundle.task.activation == "softmax" else ()
    )  # with several labels there is no single answer
    least = 0.0 if bundle.calibration is None else bundle.calibration.threshold
    reader = {"image_bytes": bundle.preprocess, "labels": labels, "least_score": least} if from_files else {}
    return export_saved_model(model, path, samples=samples, metadata=metadata, **reader, **chosen)


def _write_with_postprocess(
    bundle: Any,
    model: keras.Model,
    path: Path,
    samples: Any,
    chosen: dict[str, Any],
    metadata: dict[str, Any],
    thresholds: Mapping[str, tuple],
) -> ExportReport:
    """Writes a network with the decoding of its outputs behind it."""
    for name in ("trainable", "image_bytes", "integer_io"):
        if chosen.pop(name, False):
            checks.refuse(f"{name} is for files whose outputs are those of the network", bundle.task.name)
    if bundle.quantized is not None:
        hint = "Export bundle.to_float()."
        checks.refuse("a bundle that rounds must have no decoding behind its network", bundle.task.name, hint)
    asked = {**bundle.preprocess, "threshold_inputs": True} if thresholds else bundle.preprocess
    postprocess = bundle.task.postprocess(bundle.networks, asked, tuple(model.inputs[0].shape[1:]))
    settings = {"representative": samples, "samples": samples} if path.suffix else {"samples": samples}
    settings["settings"] = thresholds
    return export_with_postprocess(model, postprocess, path, metadata=metadata, **settings, **chosen)


def _write_quantized(
    bundle: Any,
    model: keras.Model,
    path: Path,
    samples: Any,
    metadata: Mapping[str, Any],
    quantize: str = "int8",
    **chosen: Any,
) -> ExportReport:
    """Writes a bundle that rounds: TFLite in int8, with the ranges of its training."""
    hint = "Export bundle.to_float() so."
    if path.suffix != ".tflite" or quantize != "int8":
        checks.refuse("a bundle that rounds must be written as .tflite in int8", f"{path.name!r}, {quantize!r}", hint)
    for name in set(chosen) - {"tolerance", "integer_io"}:
        checks.refuse(f"{name} is for bundles that do not round", f"{name}={chosen[name]!r}", hint)
    quantized = bundle.quantized
    if model is not bundle.model:
        if samples is None:
            rule = "with preprocessing or scores in the file of a bundle that rounds, representative must be given"
            checks.refuse(rule, None, "Its examples set the ranges of what is added.")
        quantized, samples = quantized.extended(model, samples), None
    return quantized.export_tflite(path, samples=samples, metadata=metadata, **chosen)


def raw_model(bundle: Any, raw_shape: tuple, raw_dtype: str | None = None) -> keras.Model:
    """Returns the model of a bundle with its preprocessing in front, and with the answer layers of its task behind."""
    layers = bundle.task.preprocess_layers(bundle.preprocess, raw_shape)
    model = with_preprocessing(bundle.model, layers, raw_shape, raw_dtype)
    if bundle.task.answer_layers is None:
        return model
    (x,) = model.outputs
    for layer in bundle.task.answer_layers(bundle.preprocess, bundle.model):
        x = layer(x)
    return keras.Model(model.input, x, name=model.name)


def with_preprocessing(
    model: keras.Model, layers: Sequence[keras.Layer], raw_shape: tuple, raw_dtype: str | None = None
) -> keras.Model:
    """Returns a flat model of the same weights, with preprocessing layers in front; models inside it are opened.

    Args:
        model: a functional model of one input.
        layers: preprocessing layers, new and without weights.
        raw_shape: the shape of one raw input.
        raw_dtype: the dtype of raw input; None takes that of the model's input.

    Returns:
        A model whose input is named `raw`, with outputs in the structure of the model's own.

    Raises:
        ArgumentError: the model has several inputs.
    """
    if len(model.inputs) > 1:
        names = [tensor.name for tensor in model.inputs]
        checks.refuse("a model that takes its preprocessing into its graph must have one input", names)
    raw = x = keras.Input(raw_shape, dtype=raw_dtype or model.inputs[0].dtype, name="raw")
    for layer in layers:
        x = layer(x)
    outputs = copy_into(model, [x], taken=("raw", *(layer.name for layer in layers)))
    return keras.Model(raw, outputs, name=f"{model.name}_deployable")
