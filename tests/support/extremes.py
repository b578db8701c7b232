"""Layers and activations of Keras as models of one layer each, judged at magnitudes from 1e-30 to 1e30.

docs/awkward.md shows what becomes of each in every format; tools/make_awkward.py measures it.
"""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path

import comparing
import keras
import numpy as np
from keras import ops

from kerasdl.deploy import export_onnx, export_tflite

L = keras.layers
FORMATS = ("float32", "float16", "int8", "onnx")
BOUND = 1e-4  # on the largest difference over max(1, largest output); int8 beyond its ranges must be finite alone
HALF_BOUND = 2e-3  # of float16, whose constants are rounded by up to 5e-4
CONDITION = 0.1 * BOUND  # where Keras is further than this from itself in 64 bits, no file is judged
STATED = 1e15  # beyond it a cell states what happens and promises nothing
MAGNITUDES = (1e-30, 1e-20, 1e-10, 1e-7, 1e-5, 1e-3, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0)
MAGNITUDES += (1e4, 1e6, 1e8, 1e10, 1e12, 1e15, 1e20, 1e25, 1e30)
ROW, SEQUENCE, IMAGE, PHOTO, VOLUME = (6,), (6, 4), (6, 6, 2), (8, 8, 3), (4, 4, 4, 2)
SHAPES = {1: SEQUENCE, 2: IMAGE, 3: VOLUME}
RANKS = (1, 2, 3)


def one(layer: Callable, *shapes: tuple[int, ...]) -> keras.Model:
    """Returns a model of one layer."""
    inputs = [keras.Input(shape, name=f"x{index}") for index, shape in enumerate(shapes)]
    return keras.Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0]))


def made(shape: tuple, *settings: tuple[str, str, dict]) -> dict[str, Callable]:
    """Returns makers of models by name; each setting is a name, a layer's class and its arguments."""
    return {
        name: lambda layer=layer, arguments=arguments: one(getattr(L, layer)(**arguments), shape)
        for name, layer, arguments in settings
    }


def every_rank(layer: str, **arguments) -> dict[str, Callable]:
    """Returns makers of the layers that exist for sequences, images and volumes."""
    return {
        f"{layer}{rank}D": lambda rank=rank: one(getattr(L, f"{layer}{rank}D")(**arguments), SHAPES[rank])
        for rank in RANKS
    }


def function(name: str, *shapes: tuple, **arguments) -> dict[str, Callable]:
    """Returns the maker of a function of keras.ops."""
    label = "_".join([f"ops.{name}", *(f"{key}_{value}" for key, value in arguments.items())])
    return {label: lambda: one(lambda x: getattr(ops, name)(x, **arguments), *(shapes or (ROW,)))}


FUNCTIONS = sorted({*dir(keras.activations)} - {"get", "serialize", "deserialize"})
FUNCTIONS = [each for each in FUNCTIONS if each != "threshold" and not each.startswith("_")]
ACTIVATIONS = {
    **{name: lambda name=name: one(L.Activation(name), ROW) for name in FUNCTIONS},
    "threshold": lambda: one(lambda x: keras.activations.threshold(x, 0.5, -2.0), ROW),
    "gelu_approximate": lambda: one(lambda x: keras.activations.gelu(x, approximate=True), ROW),
    **made(ROW, ("ELU", "ELU", {"alpha": 0.7}), ("LeakyReLU", "LeakyReLU", {}), ("Softmax", "Softmax", {})),
    **made(ROW, ("ReLU", "ReLU", {"max_value": 6.0, "negative_slope": 0.1, "threshold": 0.5})),
    **made(ROW, ("PReLU", "PReLU", {"alpha_initializer": "ones"})),
    **made(SEQUENCE, ("Softmax_of_axes", "Softmax", {"axis": (1, 2)})),
}
POOLING = {
    **every_rank("GlobalAveragePooling"),
    **every_rank("GlobalMaxPooling"),
    **every_rank("AveragePooling", pool_size=2),
    **every_rank("MaxPooling", pool_size=2),
    **every_rank("AdaptiveAveragePooling", output_size=2),
    **every_rank("AdaptiveMaxPooling", output_size=2),
}
MERGING = {
    **{
        name: lambda name=name: one(getattr(L, name)(), ROW, ROW)
        for name in ("Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")
    },
    "Dot": lambda: one(L.Dot(axes=1), ROW, ROW),
    "Dot_normalized": lambda: one(L.Dot(axes=1, normalize=True), ROW, ROW),
    "Dot_of_sequences": lambda: one(L.Dot(axes=2, normalize=True), SEQUENCE, SEQUENCE),
    "Attention": lambda: one(L.Attention(), SEQUENCE, SEQUENCE),
    "Attention_scaled": lambda: one(L.Attention(use_scale=True), SEQUENCE, SEQUENCE),
    "AdditiveAttention": lambda: one(L.AdditiveAttention(), SEQUENCE, SEQUENCE),
}
STATISTICS = {"mean": [0.1, 2.0, -3.0, 0.0], "variance": [4.0, 1.0, 2.0, 0.0]}
NORMALIZATION = {
    **made(IMAGE, ("BatchNormalization", "BatchNormalization", {})),
    **made(IMAGE, ("GroupNormalization", "GroupNormalization", {"groups": 2})),
    **made(SEQUENCE, ("LayerNormalization", "LayerNormalization", {})),
    **made(SEQUENCE, ("LayerNormalization_of_axes", "LayerNormalization", {"axis": (1, 2)})),
    **made(SEQUENCE, ("RMSNormalization", "RMSNormalization", {})),
    **made(SEQUENCE, ("UnitNormalization", "UnitNormalization", {})),
    **made(SEQUENCE, ("UnitNormalization_of_axes", "UnitNormalization", {"axis": (1, 2)})),
    **made(SEQUENCE, ("Normalization", "Normalization", STATISTICS)),
    "SpectralNormalization": lambda: one(L.SpectralNormalization(L.Dense(3)), ROW),
    **function("normalize", order=1),
    **function("normalize", order=2),
    **function("normalize", order=3),
    **function("norm", axis=-1),
    **function("logsumexp", axis=-1),
    **function("std", axis=-1),
}
REGULARIZATION = {
    **made(ROW, ("Dropout", "Dropout", {"rate": 0.5}), ("AlphaDropout", "AlphaDropout", {"rate": 0.5})),
    **made(ROW, ("GaussianDropout", "GaussianDropout", {"rate": 0.5}), ("Identity", "Identity", {})),
    **made(ROW, ("GaussianNoise", "GaussianNoise", {"stddev": 0.5})),
    **made(ROW, ("ActivityRegularization", "ActivityRegularization", {"l1": 0.1})),
    **made(SEQUENCE, ("Masking", "Masking", {})),
    **every_rank("SpatialDropout", rate=0.5),
}
SHAPING = {
    **made(SEQUENCE, ("Flatten", "Flatten", {}), ("Reshape", "Reshape", {"target_shape": (4, 6)})),
    **made(SEQUENCE, ("Permute", "Permute", {"dims": (2, 1)})),
    **made(ROW, ("RepeatVector", "RepeatVector", {"n": 3})),
    **every_rank("Cropping", cropping=1),
    **every_rank("ZeroPadding", padding=1),
    **every_rank("UpSampling", size=2),
    **made(
        IMAGE,
        *(
            (f"UpSampling2D_{way}", "UpSampling2D", {"interpolation": way})
            for way in ("bilinear", "bicubic", "lanczos3", "lanczos5")
        ),
    ),
}
RESIZED = {"height": 5, "width": 9}
WAYS = ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5")
RATE_800 = {"fft_length": 32, "sequence_stride": 16, "sampling_rate": 800, "num_mel_bins": 6, "max_freq": 300}
PREPROCESSING = {
    **made(PHOTO, ("Rescaling", "Rescaling", {"scale": 1 / 127.5, "offset": -1})),
    **made(PHOTO, *((f"Resizing_{way}", "Resizing", {**RESIZED, "interpolation": way}) for way in WAYS)),
    **made(PHOTO, ("Resizing_antialias", "Resizing", {"height": 4, "width": 3, "antialias": True})),
    **made(PHOTO, ("CenterCrop", "CenterCrop", {"height": 4, "width": 3})),
    "Pipeline": lambda: one(L.Pipeline([L.Rescaling(0.5), L.CenterCrop(4, 3)]), PHOTO),
    **made(ROW, ("Discretization", "Discretization", {"bin_boundaries": [-1.0, 0.0, 0.5]})),
    **made((64, 1), ("STFTSpectrogram", "STFTSpectrogram", {"frame_length": 16, "frame_step": 8, "fft_length": 16})),
    **made((128,), ("MelSpectrogram", "MelSpectrogram", RATE_800)),
}
AUGMENTATION = {
    name: lambda name=name, arguments=arguments: one(getattr(L, name)(**arguments), PHOTO)
    for name, arguments in {
        "RandomFlip": {},
        "RandomRotation": {"factor": 0.2},
        "RandomZoom": {"height_factor": 0.2},
        "RandomTranslation": {"height_factor": 0.2, "width_factor": 0.2},
        "RandomShear": {"x_factor": 0.2},
        "RandomPerspective": {},
        "RandomCrop": {"height": 6, "width": 6},
        "RandomContrast": {"factor": 0.2},
        "RandomBrightness": {"factor": 0.2},
        "RandomHue": {"factor": 0.2},
        "RandomSaturation": {"factor": 0.2},
        "RandomSharpness": {"factor": 0.2},
        "RandomColorDegeneration": {"factor": 0.2},
        "RandomColorJitter": {},
        "RandomPosterization": {"factor": 4},
        "RandomGrayscale": {},
        "RandomInvert": {},
        "RandomErasing": {},
        "RandomGaussianBlur": {},
        "RandomElasticTransform": {},
        "AugMix": {},
        "RandAugment": {},
        "AutoContrast": {},
        "Solarization": {},
        "MixUp": {},
        "CutMix": {},
        "ContrastLimitedAdaptiveHistogramEqualization": {},
    }.items()
}
GROUPS = {
    "activations": ACTIVATIONS,
    "pooling": POOLING,
    "merging": MERGING,
    "normalization": NORMALIZATION,
    "regularization": REGULARIZATION,
    "shaping": SHAPING,
    "preprocessing": PREPROCESSING,
    "augmentation": AUGMENTATION,
}
MODELS = {name: make for group in GROUPS.values() for name, make in group.items()}
# Layers of Keras that have no row: by why.
WITHOUT_ROW = {
    "ids, texts and boxes have no magnitude": (
        *("CategoryEncoding", "HashedCrossing", "Hashing", "IntegerLookup", "StringLookup"),
        *("TextVectorization", "MaxNumBoundingBoxes"),
    ),
    "products with weights, which awkward models and fuzzed nets show": (
        *("Dense", "EinsumDense", "Embedding", "ReversibleEmbedding", "Conv1D", "Conv2D", "Conv3D"),
        *("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "DepthwiseConv1D", "DepthwiseConv2D"),
        *("SeparableConv1D", "SeparableConv2D", "MultiHeadAttention", "GroupQueryAttention"),
    ),
    "loops over time": (
        *("RNN", "SimpleRNN", "GRU", "LSTM", "SimpleRNNCell", "GRUCell", "LSTMCell", "StackedRNNCells"),
        *("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"),
    ),
    "wrappers of other layers or frameworks": (
        *("Layer", "Wrapper", "TimeDistributed", "Bidirectional", "Lambda", "FlaxLayer", "JaxLayer", "TFSMLayer"),
        "TorchModuleWrapper",
    ),
    "Keras 3.15 does not build it in a graph": ("Equalization",),
}


def rows(model: keras.Model) -> tuple[list[np.ndarray], list[float]]:
    """Returns rows for each input, and the magnitude of each: both signs, mixed, one-hot, beside ones; 0 for zeros.

    Where a model has several inputs, one more row has the magnitude in the first input alone.
    """
    generator = np.random.default_rng(0)
    sizes = [int(np.prod(tensor.shape[1:])) for tensor in model.inputs]
    columns, magnitudes = [[np.zeros(size)] for size in sizes], [0.0]
    for magnitude in MAGNITUDES:
        for index, (size, column) in enumerate(zip(sizes, columns, strict=True)):
            mixed, ordinary = generator.uniform(-1, 1, (2, size))
            hot, every_other = np.eye(size)[(3 * index) % size], np.arange(size) % 2
            scaled = [magnitude * each for each in (np.ones(size), np.full(size, -0.7), mixed, hot)]
            column += [*scaled, np.where(every_other, 1.0, magnitude * mixed), ordinary if index else scaled[2]]
        magnitudes += [magnitude] * 6
    shapes = [(-1, *tensor.shape[1:]) for tensor in model.inputs]
    return [
        np.stack(each).reshape(shape).astype("float32") for each, shape in zip(columns, shapes, strict=True)
    ], magnitudes


def in_64_bits(make: Callable, arrays: list[np.ndarray]) -> list[np.ndarray] | None:
    """Returns what the model answers when it computes in float64; None where Keras has no kernel for that."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        return comparing.outputs_of(make(), [array.astype("float64") for array in arrays])
    except Exception:  # resizing and spectrograms compute in 32 bits
        return None
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")


def write(model: keras.Model, path: Path, file_format: str) -> list[str]:
    """Writes a file from ordinary samples alone; returns its outputs' names."""
    generator = np.random.default_rng(1)
    samples = [generator.normal(size=(164, *tensor.shape[1:])).astype("float32") for tensor in model.inputs]
    samples = samples if len(samples) > 1 else samples[0]
    if file_format == "onnx":
        report = export_onnx(model, path, samples=samples)
    else:
        quantize = None if file_format == "float32" else file_format
        report = export_tflite(model, path, quantize=quantize, representative=samples)
    return list(dict.fromkeys(drift.output for drift in report.drifts))


@lru_cache(maxsize=1)
def answers(name: str) -> tuple[keras.Model, list[np.ndarray], list[float], list[np.ndarray], list[np.ndarray]]:
    """Returns a model, its rows, their magnitudes, and its answers in 32 and in 64 bits."""
    model = MODELS[name]()
    arrays, magnitudes = rows(model)
    expected = comparing.outputs_of(model, arrays)
    return model, arrays, magnitudes, expected, in_64_bits(MODELS[name], arrays) or expected


def wrong_magnitudes(name: str, file_format: str, folder: Path) -> list[float]:
    """Exports a model of one layer and returns the magnitudes at which its file is wrong.

    Raises:
        ExportError: the format cannot hold the layer.
    """
    model, arrays, magnitudes, expected, exact = answers(name)
    path = folder / ("model.onnx" if file_format == "onnx" else "model.tflite")
    outputs = write(model, path, file_format)
    run = partial(comparing.run_onnx, one_by_one=True) if file_format == "onnx" else comparing.run_lite
    given = run(path, model, arrays, outputs)
    wrong, bound = np.zeros(len(magnitudes), bool), HALF_BOUND if file_format == "float16" else BOUND
    for answer, truth, got in zip(expected, exact, given, strict=True):
        wrong |= _wrong(answer, truth, got, np.inf if file_format == "int8" else bound)
    return sorted({magnitude for magnitude, is_wrong in zip(magnitudes, wrong, strict=True) if is_wrong})


def _wrong(answer: np.ndarray, exact: np.ndarray, given: np.ndarray, bound: float) -> np.ndarray:
    """Tells of each row whether the file is wrong where Keras's own answer is finite and well-conditioned."""
    answer, exact, given = (each.astype("float64").reshape(len(each), -1) for each in (answer, exact, given))
    known = np.isfinite(answer)
    if bound == np.inf:
        return (known & ~np.isfinite(given)).any(axis=1)
    size = np.maximum(1.0, np.where(known, np.abs(answer), 0.0).max(axis=1, keepdims=True))
    with np.errstate(invalid="ignore", over="ignore"):
        certain = known & (np.abs(answer - exact) <= CONDITION * size)
        off = ~(np.abs(given - answer) <= bound * size)
    return (certain & off).any(axis=1)
