"""Layers and activations of Keras as models of one layer each, and inputs of every magnitude: `MODELS[name]()`.

docs/awkward.md shows what becomes of each in every format; tools/make_extremes.py measures it.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

L = keras.layers
MAGNITUDES = (
    1e-40,
    1e-30,
    1e-20,
    1e-10,
    1e-7,
    1e-5,
    1e-3,
    0.1,
    1.0,
    3.0,
    10.0,
    30.0,
    100.0,
    1e4,
    1e6,
    1e10,
    1e15,
    1e20,
    1e30,
)
ROW, SEQUENCE, IMAGE, VOLUME = (6,), (6, 4), (6, 6, 2), (4, 4, 4, 2)
FUNCTIONS = (
    sorted(
        keras.activations.activations.__dict__.keys()
        & {
            *("celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh"),
            *("leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu"),
            *(
                "soft_shrink",
                "softmax",
                "softplus",
                "softsign",
                "sparse_plus",
                "sparse_sigmoid",
                "sparsemax",
                "squareplus",
            ),
            *("tanh", "tanh_shrink"),
        }
    )
    if False
    else [
        *("celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh"),
        *("leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu"),
        *("soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus"),
        *("tanh", "tanh_shrink"),
    ]
)


def one(layer: Callable, *shapes: tuple[int, ...]) -> keras.Model:
    """Returns a model of one layer."""
    inputs = [keras.Input(shape, name=f"x{index}") for index, shape in enumerate(shapes)]
    return keras.Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0]))


ACTIVATIONS = {
    **{name: lambda name=name: one(L.Activation(name), ROW) for name in FUNCTIONS},
    "gelu_approximate": lambda: one(lambda x: ops.gelu(x, approximate=True), ROW),
    "threshold": lambda: one(lambda x: ops.threshold(x, 0.5, -2.0), ROW),
    "softmax_of_axes": lambda: one(L.Softmax(axis=(1, 2)), SEQUENCE),
    "ReLU": lambda: one(L.ReLU(6.0, negative_slope=0.1, threshold=0.5), ROW),
    "LeakyReLU": lambda: one(L.LeakyReLU(), ROW),
    "ELU": lambda: one(L.ELU(0.7), ROW),
    "PReLU": lambda: one(L.PReLU(alpha_initializer="ones"), ROW),
}
POOLING = {
    f"{kind}{rank}D": lambda kind=kind, rank=rank: one(getattr(L, f"{kind}{rank}D")(), SHAPES[rank])
    for kind in ("GlobalAveragePooling", "GlobalMaxPooling")
    for rank in (1, 2, 3)
} | {
    f"{kind}{rank}D": lambda kind=kind, rank=rank: one(getattr(L, f"{kind}{rank}D")(2), SHAPES[rank])
    for kind in ("MaxPooling", "AveragePooling", "AdaptiveAveragePooling", "AdaptiveMaxPooling")
    for rank in (1, 2, 3)
}
SHAPES = {1: SEQUENCE, 2: IMAGE, 3: VOLUME}
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
NORMALIZATIONS = {
    "BatchNormalization": lambda: one(L.BatchNormalization(), IMAGE),
    "LayerNormalization": lambda: one(L.LayerNormalization(), SEQUENCE),
    "LayerNormalization_of_axes": lambda: one(L.LayerNormalization(axis=(1, 2)), SEQUENCE),
    "GroupNormalization": lambda: one(L.GroupNormalization(2), IMAGE),
    "RMSNormalization": lambda: one(L.RMSNormalization(), SEQUENCE),
    "UnitNormalization": lambda: one(L.UnitNormalization(), SEQUENCE),
    "UnitNormalization_of_axes": lambda: one(L.UnitNormalization(axis=(1, 2)), SEQUENCE),
    "Normalization": lambda: one(L.Normalization(mean=[0.1, 2, -3, 0], variance=[4.0, 1, 2, 0.0]), SEQUENCE),
    "SpectralNormalization": lambda: one(L.SpectralNormalization(L.Dense(3)), ROW),
    "normalize_l1": lambda: one(lambda x: ops.normalize(x, order=1), ROW),
    "normalize_l2": lambda: one(lambda x: ops.normalize(x), ROW),
    "normalize_l3": lambda: one(lambda x: ops.normalize(x, order=3), ROW),
    "norm": lambda: one(lambda x: ops.norm(x, axis=-1), ROW),
    "logsumexp": lambda: one(lambda x: ops.logsumexp(x, axis=-1), ROW),
    "divide_by_sum": lambda: one(lambda x: x / (ops.sum(ops.abs(x), axis=-1, keepdims=True) + 1e-6), ROW),
    "divide_no_nan": lambda: one(lambda x: ops.divide_no_nan(x, ops.max(x, axis=-1, keepdims=True)), ROW),
    "standardized": lambda: one(
        lambda x: (x - ops.mean(x, axis=-1, keepdims=True)) / (ops.std(x, axis=-1, keepdims=True) + 1e-3), ROW
    ),
}
REGULARIZATION = {
    "Dropout": lambda: one(L.Dropout(0.5), ROW),
    **{
        f"SpatialDropout{rank}D": lambda rank=rank: one(getattr(L, f"SpatialDropout{rank}D")(0.5), SHAPES[rank])
        for rank in (1, 2, 3)
    },
    "GaussianNoise": lambda: one(L.GaussianNoise(0.5), ROW),
    "GaussianDropout": lambda: one(L.GaussianDropout(0.5), ROW),
    "AlphaDropout": lambda: one(L.AlphaDropout(0.5), ROW),
    "ActivityRegularization": lambda: one(L.ActivityRegularization(0.1), ROW),
    "Masking": lambda: one(L.Masking(0.0), SEQUENCE),
    "Identity": lambda: one(L.Identity(), ROW),
}
SHAPING = {
    "Flatten": lambda: one(L.Flatten(), SEQUENCE),
    "Reshape": lambda: one(L.Reshape((4, 6)), SEQUENCE),
    "Permute": lambda: one(L.Permute((2, 1)), SEQUENCE),
    "RepeatVector": lambda: one(L.RepeatVector(3), ROW),
    **{
        f"{kind}{rank}D": lambda kind=kind, rank=rank: one(getattr(L, f"{kind}{rank}D")(1), SHAPES[rank])
        for kind in ("Cropping", "ZeroPadding")
        for rank in (1, 2, 3)
    },
    **{
        f"UpSampling{rank}D": lambda rank=rank: one(getattr(L, f"UpSampling{rank}D")(2), SHAPES[rank])
        for rank in (1, 2, 3)
    },
    **{
        f"UpSampling2D_{way}": lambda way=way: one(L.UpSampling2D(2, interpolation=way), IMAGE)
        for way in ("bilinear", "bicubic", "lanczos3", "lanczos5")
    },
}
PREPROCESSING = {
    "Rescaling": lambda: one(L.Rescaling(1 / 127.5, -1), IMAGE),
    **{
        f"Resizing_{way}": lambda way=way: one(L.Resizing(5, 9, interpolation=way), IMAGE)
        for way in ("bilinear", "nearest", "bicubic", "area", "lanczos3")
    },
    "Resizing_antialias": lambda: one(L.Resizing(4, 3, antialias=True), IMAGE),
    "CenterCrop": lambda: one(L.CenterCrop(4, 3), IMAGE),
    "Discretization": lambda: one(L.Discretization(bin_boundaries=[-1.0, 0.0, 0.5]), ROW),
    **{
        name: lambda name=name, arguments=arguments: one(getattr(L, name)(**arguments), (8, 8, 3))
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
            "Equalization": {},
            "Solarization": {},
            "MixUp": {},
            "CutMix": {},
            "ContrastLimitedAdaptiveHistogramEqualization": {},
        }.items()
    },
    "STFTSpectrogram": lambda: one(L.STFTSpectrogram(frame_length=16, frame_step=8, fft_length=16), (64, 1)),
    "MelSpectrogram": lambda: one(
        L.MelSpectrogram(fft_length=32, sequence_stride=16, sampling_rate=800, num_mel_bins=6, max_freq=300), (128,)
    ),
}
MODELS = {**ACTIVATIONS, **POOLING, **MERGING, **NORMALIZATIONS, **REGULARIZATION, **SHAPING, **PREPROCESSING}


def rows(model: keras.Model) -> list[np.ndarray]:
    """Returns rows of every magnitude for each input: both signs, mixed, one-hot, and zeros."""
    generator, found = np.random.default_rng(0), []
    for index, tensor in enumerate(model.inputs):
        shape = tensor.shape[1:]
        size = int(np.prod(shape))
        columns = [np.zeros(size)]
        for magnitude in MAGNITUDES:
            mixed = generator.uniform(-1, 1, size)
            hot = np.eye(size)[(3 * index) % size]
            columns += [scaled * magnitude for scaled in (np.ones(size), -np.ones(size), mixed, hot)]
        found.append(np.stack(columns).reshape(-1, *shape).astype("float32"))
    return found
