"""TensorFlow SavedModels, traced for inference: tensors in, and image files in on request."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from kerasdl.core import checks
from kerasdl.core.errors import ExportError
from kerasdl.core.keras_graph import all_layers
from kerasdl.core.outputs.activation import gives_probabilities
from kerasdl.data import prepare_images

from ..formulas.layer_patches import ComparedLookupTable
from ..samples.model_inputs import NamedInput
from ..samples.sampling import samples_of
from .file_tensors import FileTensor
from .image_decoding import image_reader
from .metadata import checked_metadata, label_lines
from .parity import ExportReport, drifts_of, worst
from .pipeline import Target, export, export_signatures
from .signatures import by_signature, check_models, of_signature
from .tracing import Program, first_line, in_batches, nodes_of, silenced

SIGNATURE, ALIAS, FROM_FILES = "serving_default", "serve", "serving_bytes"
EXTRA, METADATA = "assets.extra", "kerasdl.json"
FILES = "image_bytes"  # TensorFlow Serving decodes base64 for names that end in _bytes


def export_saved_model(
    model: keras.Model | Mapping[str, keras.Model],
    path: str | os.PathLike,
    *,
    image_bytes: Mapping[str, Any] | None = None,
    labels: Sequence[str] = (),
    least_score: float = 0.0,
    samples: Any = None,
    tolerance: float | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> ExportReport:
    """Writes a model as a SavedModel folder with the signature `serving_default`, runs it and compares.

    It is traced with `training=False`: unlike `model.export`, random augmentation inside the graph is off. `serve` is
    the same signature under Keras's name. `serving_bytes`, on request, takes the content of image files: a tensor of
    strings `image_bytes` (B,), PNG or JPEG of any size, grey or colour, alpha dropped, turned upright as the EXIF tag
    says (one in XMP alone is not read); it prepares them bit for bit as `kerasdl.data.prepare_images` does.

    Args:
        model: a built model of one's own or of kerasdl; the batch size is free or 1. A dict of models becomes a folder
            with a signature for each, by its name, in which layers that they share are stored once; `serving_default`
            is the first of them.
        path: the folder to write; for TensorFlow Serving `<name>/<version>`.
        image_bytes: settings of the signature `serving_bytes`, for a model of one input: `image_shape`, `scale` and,
            for files of 16 bits, `levels`, as `prepare_images` takes them and as a bundle of images keeps them.
        labels: names of the classes, where the only output is logits or probabilities (B, classes): then
            `serving_bytes` gives `label` (B,) and `score` (B,), the probability of that label, beside them.
        least_score: score below which `label` is the empty text, none of the classes; from 0 to 1.
        samples: real inputs to compare on besides random ones: an array, a list or dict of arrays, a pair (x, y) of
            any of these and labels, a dataset, a tf.data pipeline, a PyDataset or a generator of batches; 64 are drawn.
            Of several models a dict of these by signature.
        tolerance: bound on max|file - model| over max(1, max|model|), each output; 1e-4 if None.
        metadata: values to store in assets.extra/kerasdl.json, by name, for `read_metadata`; "labels", a list of texts,
            also stand in assets.extra/labels.txt, one a line.

    Returns:
        The report of the export.

    Raises:
        ArgumentError: an argument breaks its rule.
        ExportError: the model cannot be written, or the folder does not compute what the model does; nothing is left.

    Example:
        >>> settings = {"image_shape": (32, 32, 3), "scale": (-1, 1)}
        >>> export_saved_model(model, "served/1", image_bytes=settings).worst_relative < 1e-4
        True
        >>> serve = tf.saved_model.load("served/1").signatures["serving_bytes"]
        >>> serve(image_bytes=tf.constant([open("cat.jpg", "rb").read()]))["head"].shape
        TensorShape([1, 4])
    """
    if labels and image_bytes is None:
        checks.refuse("labels belong to the signature that takes image files", tuple(labels), "Pass image_bytes=.")
    checks.within("least_score", least_score, 0.0, 1.0)
    checked_metadata(metadata)
    if isinstance(model, Mapping):
        if image_bytes is not None:
            checks.refuse("image_bytes is for one model", tuple(model), "Export the model of images alone.")
        return _export_several(model, path, samples, tolerance, metadata)
    drawn = samples_of(model, samples)
    if image_bytes is not None:
        _check_settings(drawn.inputs, image_bytes)
    answer = (tuple(labels), least_score)
    write_one = partial(_write, settings=image_bytes, answer=answer, metadata=metadata)
    return export(model, path, _target(write_one), drawn, tolerance)


def _export_several(
    models: Mapping[str, keras.Model], path: Any, samples: Any, tolerance: float | None, metadata: Any
) -> ExportReport:
    def write_all(programs: Mapping[str, Program], folder: Path) -> None:
        write(programs, folder)
        _write_metadata(folder, metadata)

    check_models(models)
    targets, drawn = {}, {}
    for name, examples in by_signature("samples", samples, tuple(models)).items():
        with of_signature(name):
            drawn[name] = samples_of(models[name], examples)
        targets[name] = _target(lambda program, folder, name=name: write({name: program}, folder), name)
    return export_signatures(models, path, targets, drawn, tolerance, write_all)


def _target(write_one: Callable[[Program, Path], None], signature: str = SIGNATURE) -> Target:
    load = lru_cache(maxsize=1)(partial(_load, signature=signature))  # a draft is loaded once
    return Target(
        format="SavedModel",
        suffix="",
        measure="relative",
        tolerance=1e-4,
        remedy="Layers that ignore training=False or keep state between calls cannot be served.",
        write=write_one,
        run=lambda folder, arrays, batch=None: _run(load(folder), arrays, batch),
        inspect=lambda folder: (dict(sorted(Counter(node.op for node in nodes_of(load(folder).graph)).items())), ()),
        file_tensors=lambda folder: _tensors(load(folder)),
    )


def write_for_conversion(program: Program, folder: Path, signature: str) -> tf.Graph:
    """Writes a program as a SavedModel for batches of 1 that a converter alone reads; returns its traced graph.

    It is quicker than `write`: no converter reads gradients, or functions beside the signature.
    """
    with _graph_errors():
        function = program.concrete(1)
        module = tf.Module()
        module.held = [*function.graph.variables, *_without_weights([program])]
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, str(folder), signatures={signature: function}, options=options)
    return function.graph


def write(
    programs: Mapping[str, Program],
    folder: Path,
    more: Mapping[str, tf.types.experimental.GenericFunction] | None = None,
) -> None:
    """Writes programs as a SavedModel for batches of any size, each under the name of its signature."""
    with _graph_errors():
        archive = keras.export.ExportArchive()
        for layer in _without_weights(programs.values()):
            archive.track(layer)  # one with weights would be saved twice, as an endpoint brings its own
        for name, program in programs.items():
            archive.add_endpoint(name, program.traced(None))
        for name, function in (more or {}).items():
            archive.add_endpoint(name, function)
        archive.write_out(str(folder), verbose=False)


@contextmanager
def _graph_errors() -> Iterator[None]:
    try:
        with silenced():
            yield
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"the model must run as a TensorFlow graph; tracing it failed: {first_line(error)}"
        ) from error


def _without_weights(programs: Iterable[Program]) -> list[keras.Layer]:
    """Returns the layers that may hold tables; a patched table is not for the file."""
    layers = {id(layer): layer for program in programs for layer in all_layers(program.model)}
    return [
        layer
        for layer in layers.values()
        if layer.built
        and not layer.weights
        and not isinstance(getattr(layer, "lookup_table", None), ComparedLookupTable)
    ]


def _write(
    program: Program,
    folder: Path,
    settings: Mapping[str, Any] | None,
    answer: tuple[tuple[str, ...], float],
    metadata: Any,
) -> None:
    with _graph_errors():
        more = {ALIAS: program.traced(None)}
    if settings is not None:
        more[FROM_FILES] = _from_files(program, settings, *answer)
    write({SIGNATURE: program}, folder, more=more)
    _write_metadata(folder, metadata)
    if settings is not None:
        _check_files(program, folder, settings)


def _write_metadata(folder: Path, metadata: Mapping[str, Any] | None) -> None:
    """Writes metadata into assets.extra, which SavedModels keep for readers other than TensorFlow."""
    if not metadata:
        return
    extra = folder / EXTRA
    extra.mkdir(exist_ok=True)
    (extra / METADATA).write_text(json.dumps(dict(metadata), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    if metadata.get("labels"):
        (extra / "labels.txt").write_text(label_lines(metadata["labels"]), encoding="utf-8")


def stored_metadata(folder: Path) -> dict[str, Any]:
    """Returns the values that were stored with a SavedModel."""
    path = folder / EXTRA / METADATA
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _check_settings(inputs: tuple[NamedInput, ...], settings: Mapping[str, Any]) -> None:
    image_reader(settings)
    shape = tuple(settings["image_shape"])
    fits = len(inputs) == 1 and len(inputs[0].shape) == 4
    if not (fits and all(own in (None, size) for own, size in zip(inputs[0].shape[1:], shape, strict=True))):
        rule = f"image_shape must fit the model's only input, got inputs {[each.shape for each in inputs]}"
        checks.refuse(rule, shape, "Leave image_bytes out for models of other inputs.")


def _from_files(program: Program, settings: Mapping[str, Any], labels: tuple[str, ...], least_score: float) -> Any:
    """Returns the traced function from the content of image files to the model's outputs."""
    (source,) = program.inputs
    read, serve = image_reader(settings), program.traced(None)
    added = {"label", "score"} if labels else set()
    shapes = [tensor.shape for tensor in serve.get_concrete_function(**program.specs(None)).outputs]
    if labels and (added & set(program.outputs) or [shape[1:] for shape in shapes] != [(len(labels),)]):
        checks.refuse("labels must name the columns of the model's only output (B, classes)", (len(labels), shapes))

    scores = tf.identity if gives_probabilities(program.model) else tf.nn.softmax

    def serve_files(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        outputs = serve(**{source.name: tf.cast(read(image_bytes), source.dtype)})
        if not labels:
            return outputs
        (answer,) = outputs.values()
        score = tf.reduce_max(scores(answer), axis=-1)
        label = tf.gather(tf.constant(labels), tf.argmax(answer, axis=-1))
        return outputs | {"label": tf.where(score < least_score, "", label), "score": score}

    function = tf.function(serve_files, autograph=False)
    function.get_concrete_function(tf.TensorSpec((program.batch,), tf.string, FILES))
    return function


def _check_files(program: Program, folder: Path, settings: Mapping[str, Any]) -> None:
    """Compares the served outputs for a picture of the model's size, and a taller grey one, with the model's."""
    height, width, channels = settings["image_shape"]
    pixels = np.random.default_rng(0).integers(0, 256, (height or 48, width or 40, channels), np.uint8)
    tall = np.repeat(pixels[..., :1], 3, axis=0)[:-1]
    for picture in (pixels, tall):
        arrays = {program.inputs[0].name: prepare_images([picture], (height, width, channels), settings["scale"])}
        expected = program.run({name: array.astype(program.inputs[0].dtype) for name, array in arrays.items()})
        with silenced(), tf.device("/cpu:0"):
            serve = tf.saved_model.load(str(folder)).signatures[FROM_FILES]
            outputs = serve(**{FILES: tf.stack([tf.io.encode_png(picture)])})
        drift = worst(drifts_of("files", expected, {name: outputs[name].numpy() for name in expected}), "relative")
        if not drift <= 1e-4:
            raise ExportError(
                f"the signature {FROM_FILES!r} must compute what the model does; a picture of shape {picture.shape} "
                f"gives outputs off by {drift:.3g}. Export without image_bytes, and prepare images outside."
            )


def signatures(folder: Path) -> list[str]:
    """Returns the names of the signatures of a SavedModel, without the one that Keras adds as another name."""
    content = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    names = sorted(name for name in content.meta_graphs[0].signature_def if not name.startswith("__"))
    others = [name for name in names if name != SIGNATURE]
    return names if ALIAS in names or len(others) < 2 else others


def input_names(folder: Path, signature: str = SIGNATURE) -> list[str]:
    """Returns the names of the inputs of a SavedModel's signature."""
    return list(_load(folder, signature).structured_input_signature[1])


def run_file(
    folder: Path, arrays: dict[str, np.ndarray], batch: int | None = None, signature: str = SIGNATURE
) -> dict[str, np.ndarray]:
    """Runs a signature of a SavedModel folder, all examples at once or `batch` of them; returns its outputs."""
    return _run(_load(folder, signature), arrays, batch)


def file_tensors(folder: Path, signature: str = SIGNATURE) -> tuple[tuple[FileTensor, ...], tuple[FileTensor, ...]]:
    """Returns the inputs and outputs of a SavedModel's signature."""
    return _tensors(_load(folder, signature))


def _load(folder: Path, signature: str) -> Any:
    with silenced(), tf.device("/cpu:0"):
        return tf.saved_model.load(str(folder)).signatures[signature]


def _run(serve: Any, arrays: dict[str, np.ndarray], batch: int | None) -> dict[str, np.ndarray]:
    sizes = [spec.shape[0] for spec in serve.structured_input_signature[1].values()]

    def run(part: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = serve(**{name: tf.constant(array) for name, array in part.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    with silenced(), tf.device("/cpu:0"):
        return in_batches(sizes[0] or batch, arrays, run)


def _tensors(serve: Any) -> tuple[tuple[FileTensor, ...], tuple[FileTensor, ...]]:
    sides = serve.structured_input_signature[1], serve.structured_outputs
    return tuple(
        tuple(
            FileTensor(index, name, _sizes(spec.shape), spec.dtype.name)
            for index, (name, spec) in enumerate(specs.items())
        )
        for specs in sides
    )


def _sizes(shape: tf.TensorShape) -> tuple[int | None, ...]:
    return () if shape.rank is None else tuple(shape)
