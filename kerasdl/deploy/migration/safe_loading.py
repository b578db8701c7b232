"""Safe loading of a Keras 2 model file (.h5, .keras): checked before anything of it is built, and never executed."""

import json
import math
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import tensorflow as tf
import tf_keras

from kerasdl.core import checks, files
from kerasdl.core.errors import ExportError

from ..export.tracing import first_line
from .op_counterparts import FUNCTIONS

MAX_CONFIG = 4 * 2**20
MAX_NUMBER = 2**24
MAX_DEPTH = 60
MAX_UNSTORED = 1024  # numbers of a variable that the file need not hold, such as the state of a random generator
UNBOUNDED_KEYS = ("seed", "shared_object_id")  # they set no size
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
MODELS = {"Functional", "Model", "Sequential"}
# Layers that run code, or read other files.
REFUSED = {"Lambda", "DenseFeatures", "StringLookup", "IntegerLookup", "TextVectorization", "Layer"}
FUNCTION_LAYERS = {"TFOpLambda", "SlicingOpLambda"}
KINDS = (tf_keras.layers, tf_keras.initializers, tf_keras.regularizers, tf_keras.constraints, tf_keras.mixed_precision)
LOAD_IT = "If you trust it, load it with tf_keras.models.load_model and pass the model."


def load_legacy(path: Path) -> tf_keras.Model:
    """Returns the model of an .h5 or Keras 2 .keras file, not compiled.

    Raises:
        ArgumentError: there is no such file, or it is not of Keras 2.
        ExportError: the file holds something that may not be loaded.
    """
    if not path.is_file():
        hint = "A SavedModel holds no layers: save the model as .h5 or .keras with the TensorFlow that made it."
        checks.refuse("model must be a file that exists", str(path), hint if path.is_dir() else "")
    if files.is_tflite(path):
        checks.refuse("model must be an .h5 or a Keras 2 .keras file", f"{path}, a TFLite file")
    if zipfile.is_zipfile(path):
        return _load_zip(path)
    if not h5py.is_hdf5(path):
        checks.refuse("model must be an .h5 or a Keras 2 .keras file", str(path))
    with h5py.File(path, "r") as file:
        config = file.attrs.get("model_config")
        if config is None:
            raise ExportError(f"{path.name} must hold a model; it holds weights alone. Build the model and load them.")
        _check_version(path, str(file.attrs.get("keras_version", "")))
        _check_config(config, path)
        counts = _array_counts(file.get("model_weights", file), path)
    return _loaded(path, counts)


def _load_zip(path: Path) -> tf_keras.Model:
    with zipfile.ZipFile(path) as archive, tempfile.TemporaryDirectory(prefix="kerasdl-legacy-") as folder:
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
        if not {CONFIG, METADATA, WEIGHTS} <= set(sizes):
            raise ExportError(f"{path.name} must hold {CONFIG}, {METADATA} and {WEIGHTS}; got {sorted(sizes)[:8]}.")
        if max(sizes[CONFIG], sizes[METADATA]) > MAX_CONFIG or sizes[WEIGHTS] > 2 * path.stat().st_size + 2**20:
            raise ExportError(f"{path.name} must not unpack to far more than it is; got {sizes}. {LOAD_IT}")
        _check_version(path, str(json.loads(archive.read(METADATA)).get("keras_version", "")))
        _check_config(archive.read(CONFIG), path)
        with h5py.File(archive.extract(WEIGHTS, folder), "r") as file:
            counts = _array_counts(file, path)
    return _loaded(path, counts)


def _check_version(path: Path, version: str) -> None:
    if version.startswith("3"):
        raise ExportError(
            f"{path.name} must be of Keras 2; it was written by Keras {version}. Load it with keras.models.load_model."
        )


def _check_config(text: str | bytes, path: Path) -> None:
    if len(text) > MAX_CONFIG:
        raise ExportError(f"the configuration in {path.name} may have at most {MAX_CONFIG} bytes; got {len(text)}.")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ExportError(f"the configuration in {path.name} must be JSON; got {first_line(error)}.") from error
    if not isinstance(config, dict) or config.get("class_name") not in MODELS:
        kind = config.get("class_name") if isinstance(config, dict) else config
        raise ExportError(f"{path.name} must hold a functional or Sequential model; got {kind}.")
    for key, part in _parts("model", config, 0, path):
        _check_part(key, part, path)


def _parts(key: str, value: Any, depth: int, path: Path) -> Iterator[tuple[str, Any]]:
    if depth > MAX_DEPTH:
        raise ExportError(f"the configuration in {path.name} may be nested {MAX_DEPTH} deep at most.")
    yield key, value
    if isinstance(value, (dict, list)):
        for name, each in value.items() if isinstance(value, dict) else [(key, each) for each in value]:
            yield from _parts(name, each, depth + 1, path)


def _check_part(key: str, part: Any, path: Path) -> None:
    """Refuses one part of a configuration that is code, not a built-in class, or a number beyond all sizes."""
    if isinstance(part, int) and abs(part) > MAX_NUMBER and key not in UNBOUNDED_KEYS:
        raise ExportError(f"{key} in {path.name} may go up to {MAX_NUMBER}; got {part}. {LOAD_IT}")
    kind = part.get("class_name") if isinstance(part, dict) else None
    if kind is None:
        return
    modules = (part.get("module"), part.get("registered_name"))
    built_in = (
        isinstance(kind, str)
        and kind not in REFUSED
        and (kind in MODELS or any(isinstance(getattr(each, kind, None), type) for each in KINDS))
    )
    function = (
        kind == "function" and isinstance(part.get("config"), str) and hasattr(tf_keras.activations, part["config"])
    )
    tensor = kind in ("__tuple__", "__ellipsis__", "TensorShape", "__keras_tensor__")
    from_keras = (modules[0] or "keras").split(".")[0] in ("keras", "tf_keras", "builtins", "tensorflow")
    if not (built_in or function or tensor or _is_known_call(part)) or not from_keras or modules[1] not in (None, kind):
        raise ExportError(
            f"{path.name} may hold plain layers of Keras 2 alone, no Lambda and no custom class; got {kind!r}"
            f" ({part.get('registered_name') or part.get('module') or 'no module'}). {LOAD_IT}"
        )


def _is_known_call(part: dict[str, Any]) -> bool:
    config = part.get("config")
    return part["class_name"] in FUNCTION_LAYERS and isinstance(config, dict) and config.get("function") in FUNCTIONS


def _array_counts(file: h5py.Group, path: Path) -> Counter:
    """Returns how many arrays of each size a file of weights holds."""
    counts: Counter = Counter()
    size = path.stat().st_size

    def look(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset) and not name.startswith("optimizer"):
            if entry.is_virtual or entry.external or math.prod(entry.shape) * entry.dtype.itemsize > size:
                raise ExportError(f"{path.name} must hold its weights in the plain; got {name} of {entry.shape}.")
            counts[math.prod(entry.shape)] += 1

    file.visititems(look)
    return counts


def _loaded(path: Path, counts: Counter) -> tf_keras.Model:
    """Returns the model of a checked file; a weight that the file lacks is refused before memory is taken for it.

    A file of 12 kB could ask for a weight of 20 GB.
    """
    left = counts.copy()

    def make(make_variable: Callable, **settings: Any) -> tf.Variable:
        shape = settings.get("shape")
        size = math.prod(tf.TensorShape(shape).as_list()) if shape is not None else 0
        left[size] -= 1
        if size > MAX_UNSTORED and left[size] < 0:
            raise ExportError(f"{path.name} must hold the weights of its model; it lacks one of {size} numbers.")
        return make_variable(**settings)

    with tf.variable_creator_scope(make):
        try:
            return tf_keras.models.load_model(path, compile=False, safe_mode=True)
        except (TypeError, ValueError, LookupError, AttributeError, OSError) as error:
            raise ExportError(
                f"{path.name} must be a model that tf_keras can read; got {first_line(error)}."
            ) from error
