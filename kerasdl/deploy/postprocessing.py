"""Export of a model and of what follows it, such as suppression: one file, each part in its own precision."""

import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import onnx

from kerasdl.core import checks, files
from kerasdl.core.errors import ExportError
from kerasdl.core.keras_graph import copied, copy_into

from .export.answer_judgement import judged_by
from .export.file_tensors import FileTensor
from .export.metadata import as_texts, checked_metadata
from .export.parity import ExportReport
from .export.saved_model import export_saved_model
from .onnx.exporter import export_onnx
from .runtimes import run_exported
from .samples.model_inputs import random_arrays
from .samples.sampling import samples_of
from .tflite.chaining import chained
from .tflite.description.delegates import fallbacks
from .tflite.exporter import export_tflite
from .tflite.flatbuffer import with_metadata

SUFFIXES = (".tflite", ".onnx", "")
BETWEEN = "between_"  # before the names of tensors that go from one to the other, so that outputs keep theirs
EMPTY = "every answer that was compared is empty: pass examples that hold something, as representative or samples"
EQUAL = 1e-5  # of the parts alone, over the largest number: the same operations in one file


def export_with_postprocess(
    model: keras.Model,
    postprocess: keras.Model,
    path: str | os.PathLike,
    *,
    quantize: str | None = None,
    representative: Any = None,
    samples: Any = None,
    metadata: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> ExportReport:
    """Writes a model and a second one that reads its outputs as one file, and compares each part with its model.

    `quantize` is for the first model alone; the second one stays in float32, as boxes and scores need it. Each part is
    exported and judged by itself, the second on the outputs of the first file; then the whole file must give what both
    parts give one after another.

    Args:
        model: a built model; or a `QuantizedModel` of `quantize_aware`, which becomes a .tflite file in int8.
        postprocess: a built model whose inputs have the names of the outputs of `model`, and those of `settings`.
        path: the file to write, ending in .tflite or .onnx; a path without a suffix becomes a SavedModel folder.
        quantize: as in `export_tflite` and `export_onnx`, for `model`.
        representative: as there.
        samples: as there.
        metadata: as there.
        settings: values of the inputs of `postprocess` that `model` does not give, such as thresholds: by name as many
            numbers each, with which every example is compared. The file takes each as a float32 input (B,).
        **options: further arguments of the export of `model`, such as `tolerance`; not `integer_io`.

    Returns:
        The report of the export of `model`, with the file's own outputs, the drifts of both parts, and a note.

    Raises:
        ArgumentError: an argument breaks its rule, or the names do not fit.
        ExportError: the format cannot hold a part, or a part differs from its model; no file is left.

    Example:
        >>> net = kerasdl.build("fcos", **kerasdl.spec("fcos").tiny)
        >>> heads = {name: keras.Input(head.shape[1:], name=name) for name, head in net.output.items()}
        >>> objects = keras.Model(heads, kerasdl.vision.detection.ObjectDecoder("fcos", (64, 64))(heads))
        >>> [each.name for each in export_with_postprocess(net, objects, "objects.tflite").outputs]
        ['boxes', 'classes', 'scores', 'count']
    """
    started, path = time.perf_counter(), Path(path)
    suffix = checks.one_of("the suffix of path", path.suffix, SUFFIXES)
    checked_metadata(metadata)
    model, rounds = _network_of(model, suffix, quantize, representative)
    settings = _checked_settings(model, postprocess, settings or {})
    heads = ", ".join(sorted(model.output_names))
    if options.get("integer_io"):
        checks.refuse("integer_io is for files whose outputs are those of the network", "integer_io=True")
    if not suffix:
        if quantize is not None:
            checks.refuse("a SavedModel holds no integers; quantize must be None", quantize)
        samples = _tried(_inputs(model, samples), settings) if settings else samples
        joined = joined_models(model, postprocess)
        return export_saved_model(joined, path, samples=samples, metadata=metadata, **options)
    export = export_tflite if suffix == ".tflite" else export_onnx
    with tempfile.TemporaryDirectory() as folder, judged_by(postprocess):
        first, second, whole = (Path(folder, f"{name}{suffix}") for name in ("first", "second", "whole"))
        given = {"quantize": quantize, "representative": representative}
        report, arrays = _first_part(rounds or model, first, samples, given, options)
        middle = {BETWEEN + name: value for name, value in run_exported(first, arrays).items()}
        middle, arrays = _tried(middle, settings), _tried(arrays, settings)
        of_both = {name: options[name] for name in ("opset", "dynamic_axes") if name in options}
        behind = export(_between(postprocess, settings), second, samples=middle, **of_both)
        if clash := sorted({each.name for each in behind.outputs}.intersection(arrays)):
            checks.refuse("outputs of postprocess must have other names than the inputs of model", clash)
        if suffix == ".tflite":
            content = chained(first.read_bytes(), second.read_bytes(), BETWEEN.encode())
            whole.write_bytes(with_metadata(content, metadata))
        else:
            onnx.save(_chained_onnx(first, second, metadata, settings), whole)
        answers = run_exported(second, middle)
        _check_equal(run_exported(whole, arrays), answers)
        notes = _notes_of(answers, rounds or model, postprocess, arrays)
        with files.writing(path) as draft:
            draft.write_bytes(whole.read_bytes())
    return replace(
        report,
        path=str(path),
        bytes=path.stat().st_size,
        operations=dict(Counter(report.operations) + Counter(behind.operations)),
        drifts=(*report.drifts, *behind.drifts),
        hostile=(*report.hostile, *behind.hostile),
        inputs=(*report.inputs, *_further(behind.inputs, settings, len(report.inputs))),
        outputs=behind.outputs,
        notes=(*report.notes, *behind.notes, *notes, f"{postprocess.name} follows in float32: {heads}"),
        **(fallbacks(path) if suffix == ".tflite" else {}),
        seconds=time.perf_counter() - started,
    )


def _network_of(model: Any, suffix: str, quantize: str | None, representative: Any) -> tuple[keras.Model, Any]:
    """Returns the Keras model of an export, and the `QuantizedModel` that writes it; None where it does not round."""
    if not hasattr(model, "export_tflite"):
        return model, None
    if suffix != ".tflite" or quantize is not None or representative is not None:
        rule = "a model that rounds knows its ranges and becomes a .tflite file"
        checks.refuse(rule, {"suffix": suffix, "quantize": quantize}, "Pass samples= alone.")
    return model.model, model


def _first_part(
    model: Any, path: Path, samples: Any, settings: Mapping[str, Any], options: Mapping[str, Any]
) -> tuple[ExportReport, dict[str, np.ndarray]]:
    """Writes the file of the first model, and returns its report and the examples on which it is compared."""
    if hasattr(model, "export_tflite"):
        report = model.export_tflite(path, samples=samples, **options)
        kept = model.samples.evaluation if samples is None and model.samples is not None else samples
        return report, _inputs(model.model, kept)
    export = export_tflite if path.suffix == ".tflite" else export_onnx
    report = export(model, path, **settings, samples=samples, **options)
    return report, _inputs(model, settings["representative"] if samples is None else samples)


def joined_models(model: keras.Model, postprocess: keras.Model) -> keras.Model:
    """Returns one flat model of copies of two, the second on the outputs of the first.

    Args:
        model: a functional model.
        postprocess: a functional model whose inputs have the names of the outputs of `model`; others become inputs of
            the whole.
    """
    first = copied(model)
    by_name = dict(zip(first.output_names, first.outputs, strict=True))
    others = {
        each.name: keras.Input(batch_shape=each.shape, dtype=each.dtype, name=each.name)
        for each in postprocess.inputs
        if each.name not in by_name
    }
    taken = (*(layer.name for layer in first.layers), *others)
    outputs = copy_into(postprocess, [{**by_name, **others}[each.name] for each in postprocess.inputs], taken=taken)
    inputs = {**{each.name: each for each in first.inputs}, **others} if others else first.input
    return keras.Model(inputs, outputs, name=model.name)


def _checked_settings(
    model: keras.Model, postprocess: keras.Model, settings: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Returns settings as arrays (S,); refuses a model whose inputs are not the outputs of another and the settings."""
    between = {each.name: each for each in postprocess.inputs}
    if sorted(between) != sorted([*model.output_names, *settings]):
        names = sorted(model.output_names)
        checks.refuse(f"postprocess must have inputs of the names {names}, and those of settings", sorted(between))
    if clash := sorted(set(settings).intersection(each.name for each in model.inputs)):
        checks.refuse("settings must have other names than the inputs of model", clash)
    values = {name: np.asarray(value, "float32") for name, value in settings.items()}
    if len({each.shape for each in values.values()}) > 1 or any(each.ndim != 1 for each in values.values()):
        checks.refuse("settings must be rows of numbers of one length", dict(settings))
    if wrong := [name for name in values if tuple(between[name].shape) != (None,) or between[name].dtype != "float32"]:
        checks.refuse("inputs of postprocess for settings must be float32 (B,)", wrong)
    for name, given in zip(model.output_names, model.outputs, strict=True):
        taken = between[name]
        sides = zip(given.shape, taken.shape, strict=False)
        fits = len(given.shape) == len(taken.shape) and all(None in pair or pair[0] == pair[1] for pair in sides)
        if not fits or given.dtype != taken.dtype:
            rule = f"input {name!r} of postprocess must be {given.dtype} {tuple(given.shape)}, as model gives it"
            checks.refuse(rule, f"{taken.dtype} {tuple(taken.shape)}")
    return values


def _tried(arrays: Mapping[str, np.ndarray], settings: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns examples, each once for each of the settings, with these."""
    if not settings:
        return dict(arrays)
    count, times = len(next(iter(arrays.values()))), len(next(iter(settings.values())))
    repeated = {name: np.concatenate([each] * times) for name, each in arrays.items()}
    return {**repeated, **{name: np.repeat(each, count) for name, each in settings.items()}}


def _further(inputs: tuple[FileTensor, ...], settings: Mapping[str, Any], start: int) -> Iterator[FileTensor]:
    """Yields the inputs of a file that are settings, as they are numbered behind those of another."""
    chosen = [each for each in inputs if each.name in settings]
    return (replace(each, index=start + place) for place, each in enumerate(chosen))


def _between(postprocess: keras.Model, settings: Mapping[str, Any]) -> keras.Model:
    """Returns a copy of a model under new names of its inputs but for settings: an output may bear the name of one."""
    inputs = [
        keras.Input(
            batch_shape=each.shape, dtype=each.dtype, name=each.name if each.name in settings else BETWEEN + each.name
        )
        for each in postprocess.inputs
    ]
    return keras.Model(inputs, copy_into(postprocess, inputs), name=postprocess.name)


def _inputs(model: keras.Model, samples: Any) -> dict[str, np.ndarray]:
    """Returns the real inputs on which a file is compared, else random ones."""
    once = hasattr(samples, "__next__")  # a generator, which the export has read to its end
    drawn = samples_of(model, None if once else samples, None)
    return drawn.evaluation or random_arrays(drawn.inputs, 8, {})


def _is_told(answers: Mapping[str, np.ndarray]) -> bool:
    return any(map(np.any, answers.values()))


def _notes_of(answers: Mapping[str, np.ndarray], model: Any, postprocess: Any, arrays: Any) -> tuple[str, ...]:
    """Returns a note on answers that are all empty; refuses them where the model's own are not."""
    if _is_told(answers):
        return ()
    if _is_told(_own_answers(model, postprocess, arrays)):
        rule = "the file must find what the model finds; it finds nothing in any compared example"
        raise ExportError(f"{rule}. Give more representative data, or export with quantize='dynamic'.")
    return (EMPTY,)


def _own_answers(
    model: keras.Model, postprocess: keras.Model, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Returns what both models give one after another, of inputs of the first and settings of the second."""
    whole = joined_models(model.to_keras() if hasattr(model, "to_keras") else model, postprocess)
    names = [each.name for each in whole.inputs]
    given = [arrays[name if name in arrays else name.lower()] for name in names]
    outputs = keras.Model(whole.inputs, whole.outputs).predict(given, batch_size=8, verbose=0)
    return dict(zip(whole.output_names, keras.tree.flatten(outputs), strict=True))


def _chained_onnx(
    first: Path, second: Path, metadata: Mapping[str, Any] | None, settings: Mapping[str, Any]
) -> onnx.ModelProto:
    one, other = onnx.load(first), onnx.load(second)
    versions = {each.domain: each.version for each in (*one.opset_import, *other.opset_import)}
    for proto in (one, other):
        del proto.opset_import[:]
        proto.opset_import.extend(onnx.helper.make_opsetid(*each) for each in versions.items())
        proto.ir_version = max(one.ir_version, other.ir_version)
    _rename(one.graph, {each.name: BETWEEN + each.name for each in one.graph.output})
    pairs = [(each.name, f"after_{each.name}") for each in other.graph.input if each.name not in settings]
    other = onnx.compose.add_prefix(other, "after_")
    proto = onnx.compose.merge_models(one, other, io_map=pairs)
    ends = [*(each.name for each in proto.graph.output), *(f"after_{name}" for name in settings)]
    _rename(proto.graph, {name: name.removeprefix("after_") for name in ends})
    if metadata:
        onnx.helper.set_model_props(proto, as_texts(metadata))
    return proto


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Renames tensors of a graph, and of the graphs inside its operations."""
    for node in graph.node:
        node.input[:] = [names.get(each, each) for each in node.input]
        node.output[:] = [names.get(each, each) for each in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, names)
    for value in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        value.name = names.get(value.name, value.name)


def _check_equal(whole: Mapping[str, np.ndarray], parts: Mapping[str, np.ndarray]) -> None:
    """Refuses a file that gives something else than its parts one after another."""
    for name, expected in parts.items():
        gap = np.abs(whole[name].astype("float64") - expected).max(initial=0.0)
        if not gap <= EQUAL * max(1.0, np.abs(expected).max(initial=0.0)):
            raise ExportError(
                f"the file must give what its parts give one after another; output {name!r} is off by {gap:.3g}. "
                "Export both parts to files of their own."
            )
