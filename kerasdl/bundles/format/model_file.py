"""Model file (.keras) of a bundle: checked before Keras builds anything, and never executed.

Keras's safe mode refuses Python code, but builds any size that a file names: 12 kB with `units=1e8` took 20 GB. Here
the classes in the file must be in an allow-list, and the graph is first built without weights; the shapes of its
weights must equal those stored in the file, byte by byte, so that memory is bounded by the size of the file.

Deviations from `keras.models.load_model`: `build_config` and `compile_config` are not read, since with them layers
can build weights that the model does not hold; no layer may unroll its loop; optimizer state is not loaded.
"""

import copy
import io
import json
import math
import os
import tempfile
import warnings
import zipfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf

from kerasdl import layers as own_layers
from kerasdl.core.errors import BundleError
from kerasdl.core.keras_graph import freeze_inside

from .archive import one_error, open_zip, refuse, unpack
from .manifest import parse_json

MAX_PARAMS = 500_000_000
MAX_ELEMENTS = 2**27
MAX_NUMBER = 2**24
MAX_RANK = 8
MAX_LAYERS = 2000
MAX_CONFIG = 4 * 2**20
MAX_ENTRIES = 50_000
MAX_GROUPS_DEEP = 16
CONFIG_DEPTH = 40
HALF_LARGEST = 65_504.0

CONFIG = "config.json"
METADATA = "metadata.json"
UNDATED = "1980-01-01@00:00:00"
WEIGHTS = "model.weights.h5"
ENTRIES = {METADATA, CONFIG, WEIGHTS}
OPTIMIZER = "optimizer"

MODELS = {("keras.src.models.functional", "Functional"), ("keras", "Sequential")}
# Not allowed: layers that run code or open files (Lambda, TFSMLayer, TorchModuleWrapper, JaxLayer, FlaxLayer,
# StringLookup and similar), that hold a graph (Pipeline), or that store a weight twice (SpectralNormalization).
LAYERS = """
    Activation ActivityRegularization AdaptiveAveragePooling2D AdaptiveMaxPooling2D Add AdditiveAttention
    AlphaDropout Attention Average AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization
    Bidirectional CenterCrop Concatenate Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D Conv3DTranspose
    ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D Cropping3D Dense DepthwiseConv1D DepthwiseConv2D Dot
    Dropout ELU EinsumDense Embedding Flatten GRU GRUCell GaussianDropout GaussianNoise GlobalAveragePooling1D
    GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D GlobalMaxPooling2D GlobalMaxPooling3D
    GroupNormalization GroupQueryAttention Identity InputLayer LSTM LSTMCell LayerNormalization LeakyReLU Masking
    MaxPooling1D MaxPooling2D MaxPooling3D Maximum Minimum MultiHeadAttention Multiply Normalization PReLU Permute
    RMSNormalization RNN RandomBrightness RandomContrast RandomCrop RandomFlip RandomRotation RandomTranslation
    RandomZoom ReLU RepeatVector Rescaling Reshape Resizing ReversibleEmbedding SeparableConv1D SeparableConv2D
    SimpleRNN SimpleRNNCell Softmax SpatialDropout1D SpatialDropout2D SpatialDropout3D StackedRNNCells Subtract
    TimeDistributed UnitNormalization UpSampling1D UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D
    ZeroPadding3D
"""
INITIALIZERS = """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform Identity LecunNormal LecunUniform Ones Orthogonal
    RandomNormal RandomUniform TruncatedNormal VarianceScaling Zeros
"""
ACTIVATIONS = """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear log_sigmoid
    log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid
    sparsemax squareplus swish tanh tanh_shrink threshold
"""
CLASSES = {
    "keras": {"DTypePolicy"},
    "keras.layers": set(LAYERS.split()),
    "keras.initializers": set(INITIALIZERS.split()),
    "keras.regularizers": {"L1", "L2", "L1L2", "OrthogonalRegularizer"},
    "keras.constraints": {"MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"},
}
# Integers that are not sizes.
FREE_NUMBERS = ("seed", "shared_object_id")
KEPT_KEYS = ("module", "class_name", "config", "registered_name", "name", "inbound_nodes")


def check_model_file(path: str | os.PathLike, *, max_params: int = MAX_PARAMS) -> None:
    """Checks a .keras file without building its model or reading its weights.

    Args:
        path: a file as `model.save` writes it.
        max_params: the most weights it may hold.

    Raises:
        BundleError: it is damaged, holds a class that is not allowed, or names sizes other than its weights have.

    Example:
        >>> check_model_file("model.keras")
    """
    with tempfile.TemporaryDirectory(prefix="kerasdl-model-") as folder, one_error(path, "model file"):
        _checked_config(Path(path), Path(folder), max_params)


def save_model_file(model: keras.Model, path: str | os.PathLike, *, half: bool = False) -> None:
    """Writes a model without optimizer state; equal models give equal bytes at any time.

    Args:
        model: the model to write.
        path: the new file, ending in .keras.
        half: whether kernels and tables are written as float16, half the size; the model loads in its own precision.
            Arrays of one dimension (biases, factors, statistics) are unchanged.

    Raises:
        BundleError: a kernel holds a number beyond float16, or the model cannot be rebuilt from its configuration, as
            with a Lambda.
    """
    with tempfile.TemporaryDirectory(prefix="kerasdl-model-") as folder:
        _save_bare(model, Path(folder, "model.keras"))
        halved = Path(folder, WEIGHTS)
        with zipfile.ZipFile(Path(folder, "model.keras")) as saved, zipfile.ZipFile(path, "w") as written:
            for name in sorted(saved.namelist()):
                content = saved.read(name)
                if name == METADATA:
                    content = json.dumps({**json.loads(content), "date_saved": UNDATED}).encode()
                elif name == WEIGHTS and half:
                    with h5py.File(io.BytesIO(content)) as whole, h5py.File(halved, "w") as file:
                        _copy_halved(whole, file)
                    content = halved.read_bytes()
                written.writestr(zipfile.ZipInfo(name), content)


def _copy_halved(source: h5py.Group, target: h5py.Group) -> None:
    target.attrs.update(source.attrs)
    for name, entry in source.items():
        if isinstance(entry, h5py.Group):
            _copy_halved(entry, target.create_group(name))
            continue
        array = entry[()]
        if array.ndim > 1 and array.dtype == np.float32:
            if not (np.abs(array) < HALF_LARGEST).all():
                refuse(
                    f"kernels written as float16 must stay below {HALF_LARGEST:,.0f}", entry.name, "Leave half=False."
                )
            array = array.astype(np.float16)
        target.create_dataset(name, data=array).attrs.update(entry.attrs)


def _save_bare(model: keras.Model, path: Path) -> None:
    try:
        # A trained model, and its clone by keras.models.clone_model, would be saved with the optimizer, twice its size.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # about a lambda, which is refused
            bare = type(model).from_config(model.get_config())
        bare.set_weights(model.get_weights())
        bare.save(path)
    except (TypeError, ValueError) as error:
        rule = "a model in a bundle must be one that Keras makes again from its configuration alone"
        hint = "Put built-in layers in the place of Lambda layers and of functions of your own."
        raise BundleError(f"{rule}; {model.name} is not: {' '.join(str(error).split())[:120]}... {hint}") from error


def load_model_file(path: str | os.PathLike, *, max_params: int = MAX_PARAMS) -> keras.Model:
    """Checks a .keras file and loads its model, not compiled.

    Args:
        path: a file as `model.save` writes it.
        max_params: the most weights it may hold.

    Returns:
        The model, of Keras's and kerasdl's own layers alone.

    Raises:
        BundleError: it is damaged, holds a class that is not allowed, or names sizes other than its weights have.

    Example:
        >>> load_model_file("model.keras").output_shape
        (None, 10)
    """
    with tempfile.TemporaryDirectory(prefix="kerasdl-model-") as folder, one_error(path, "model file"):
        config = _checked_config(Path(path), Path(folder), max_params)
        # The checked configuration is built; the file is not opened a second time.
        model = keras.saving.deserialize_keras_object(config, safe_mode=True)
        with warnings.catch_warnings():
            # Keras only warns if it leaves a layer with its initial weights.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(Path(folder) / WEIGHTS)
        return freeze_inside(model)


def _checked_config(path: Path, folder: Path, max_params: int) -> dict[str, Any]:
    """Unpacks the weights into `folder` and returns the configuration, after checking both."""
    with open_zip(path) as (archive, entries):
        names = {entry.filename for entry in entries}
        if names != ENTRIES:
            refuse(f"a model file must hold {sorted(ENTRIES)} and nothing else", sorted(names))
        for entry in entries:
            if entry.filename != WEIGHTS and entry.file_size > MAX_CONFIG:
                refuse(f"{entry.filename} may have at most {MAX_CONFIG} bytes", entry.file_size)
            unpack(archive, entry, folder / entry.filename)
    config = _allowed_model(parse_json((folder / CONFIG).read_bytes(), CONFIG, depth=CONFIG_DEPTH))
    stored = _stored_shapes(folder / WEIGHTS)
    count = sum(map(math.prod, stored.elements()))
    if count > max_params:
        refuse(f"a model may hold at most {max_params} weights", count)
    # Keras keeps uninitialised variables in thread-local state; they end with this thread.
    with ThreadPoolExecutor(max_workers=1) as thread:
        drawn = thread.submit(_drawn_shapes, config).result()
    if drawn != stored:
        apart = {"only in the configuration": list(drawn - stored)[:3], "only in the file": list(stored - drawn)[:3]}
        refuse(f"the weights in {WEIGHTS} must be those of the model in {CONFIG}", apart)
    return config


def _allowed_model(config: Any) -> dict[str, Any]:
    if not isinstance(config, dict) or (config.get("module"), config.get("class_name")) not in MODELS:
        kind = (config.get("module"), config.get("class_name")) if isinstance(config, dict) else config
        refuse("a model in a bundle must be Functional or Sequential", kind)
    if config.get("registered_name") not in (None, config["class_name"]):
        refuse("a Keras class has no registered name of its own", config["registered_name"])
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else None
    if not isinstance(layers, list) or not 0 < len(layers) <= MAX_LAYERS:
        refuse(f"a model must have a list of 1 to {MAX_LAYERS} layers", type(layers).__name__)
    for layer in layers:
        if not isinstance(layer, dict) or "module" not in layer or "class_name" not in layer:
            refuse("every layer must name its module and class_name", layer)
    fields = {key: config[key] for key in KEPT_KEYS if key in config}
    return {**fields, "config": {key: _allowed(value, key) for key, value in inner.items()}}


def _allowed(value: Any, key: str = "") -> Any:
    """Returns a copy of a part of a configuration, checked for allowed classes and without unread keys."""
    if isinstance(value, list):
        return [_allowed(each, key) for each in value]
    if isinstance(value, int) and abs(value) > MAX_NUMBER and key not in FREE_NUMBERS:
        refuse(f"whole numbers in {CONFIG} may go up to {MAX_NUMBER}", f"{key}: {value}")
    if not isinstance(value, dict):
        return value
    if value.get("unroll"):
        refuse("a recurrent layer in a bundle may not unroll its loop", value.get("name"), "Save it with unroll=False.")
    if "class_name" in value:
        _check_class(value)
        value = {name: value[name] for name in KEPT_KEYS if name in value}
    return {name: _allowed(each, name) for name, each in value.items()}


def _check_class(value: dict[str, Any]) -> None:
    name, module, registered = (value.get(key) for key in ("class_name", "module", "registered_name"))
    if not isinstance(name, str):
        refuse("a class_name must be a text", name)
    if name == "__keras_tensor__":
        return
    if name == "function":
        named = value.get("config")
        ours = module in ("builtins", "keras.activations") and named in ACTIVATIONS.split()
        if not ours or registered not in (None, named):
            refuse("a model in a bundle may name no function but Keras's activations", f"{module}: {named}")
    elif isinstance(registered, str) and registered.startswith("kerasdl>"):
        # The first access to a lazy name imports its module, which registers the layer.
        known = getattr(own_layers, name) if name in own_layers.__all__ else None
        if known is None or keras.saving.get_registered_object(registered) is not known:
            refuse(
                "kerasdl must have the layer that a model names", registered, "Upgrade kerasdl if the model is newer."
            )
    elif not isinstance(module, str) or name not in CLASSES.get(module, ()) or registered not in (None, name):
        refuse(
            "a model in a bundle may hold only plain layers of Keras and of kerasdl, no Lambda, no nested model and no"
            " operation outside a layer",
            ".".join(map(str, filter(None, (module, registered or name)))),
            "Put layers of Keras in its place, such as Rescaling for arithmetic on pixels.",
        )


def _stored_shapes(path: Path) -> Counter:
    """Returns the shapes of the weights in an HDF5 file, which must be stored uncompressed and complete.

    Links, external and virtual data, compression and values other than numbers are refused: Keras writes none of them,
    and each could lead to other files, to unpickling or to more memory than the size of the file.
    """
    shapes: Counter = Counter()
    size, total, count = path.stat().st_size, 0, 0
    with h5py.File(path, "r") as file:
        pending = [(file, "", 0)]
        while pending:
            group, prefix, depth = pending.pop()
            for key in group:
                count += 1
                if count > MAX_ENTRIES or depth > MAX_GROUPS_DEEP:
                    refuse(f"{WEIGHTS} may hold at most {MAX_ENTRIES} entries, {MAX_GROUPS_DEEP} groups deep", prefix)
                name = f"{prefix}/{key}"
                if type(group.get(key, getlink=True)) is not h5py.HardLink:
                    refuse(f"{WEIGHTS} may hold no links", name)
                entry = group[key]
                if isinstance(entry, h5py.Group):
                    pending.append((entry, name, depth + 1))
                    continue
                total += _check_dataset(entry, name)
                if total > size:
                    refuse(f"{WEIGHTS} must hold every byte of its {size} uncompressed", f"{total} declared by {name}")
                if not name.startswith(f"/{OPTIMIZER}/"):
                    shapes[entry.shape] += 1
    return shapes


def _check_dataset(entry: Any, name: str) -> int:
    """Returns the bytes of a plain dataset of numbers."""
    if not isinstance(entry, h5py.Dataset) or entry.dtype.kind not in "fiub" or len(entry.shape) > MAX_RANK:
        refuse(f"{WEIGHTS} may hold only arrays of numbers", f"{name}: {getattr(entry, 'dtype', type(entry).__name__)}")
    if entry.chunks is not None or entry.is_virtual or entry.external:
        refuse(f"arrays in {WEIGHTS} are plain: not chunked, compressed, virtual or in another file", name)
    # Not entry.nbytes: NumPy's product could overflow.
    size = math.prod(entry.shape) * entry.dtype.itemsize
    if entry.id.get_storage_size() != size:
        refuse(f"{name} must be stored whole", f"{entry.id.get_storage_size()} of {size} bytes")
    return size


def _drawn_shapes(config: dict[str, Any]) -> Counter:
    """Returns the shapes of the weights of a configuration, by building it inside a graph that never runs."""
    # StatelessScope prevents the initialisation of variables; in the graph all other values are symbolic too.
    with tf.Graph().as_default(), keras.StatelessScope(initialize_variables=False):
        # Keras modifies the configuration while it reads it.
        model = keras.saving.deserialize_keras_object(copy.deepcopy(config), safe_mode=True)
    built = [layer.name for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    named = [layer["config"].get("name") for layer in config["config"]["layers"] if layer["class_name"] != "InputLayer"]
    if Counter(built) != Counter(named) or len(set(built)) != len(built):
        # A layer outside of the graph would be built too, but its weights are not counted below.
        refuse("every layer must lead from the model's inputs to its outputs and have a name of its own", named)
    # A layer's public `output` covers only its first call.
    drawn = [tensor for layer in model.layers for node in layer._inbound_nodes for tensor in node.output_tensors]
    for tensor in (*model.inputs, *drawn):
        if len(tensor.shape) > MAX_RANK or math.prod(size or 1 for size in tensor.shape) > MAX_ELEMENTS:
            refuse(f"a layer may give at most {MAX_ELEMENTS} numbers in {MAX_RANK} dimensions", tuple(tensor.shape))
    return Counter(tuple(weight.shape) for weight in model.weights)
