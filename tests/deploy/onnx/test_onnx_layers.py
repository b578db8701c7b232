"""Layers and operations one by one: the ONNX file, run here by onnxruntime, computes what the layer computes."""

import keras
import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from filling import fill_weights
from keras import ops

from kerasdl.deploy import export_onnx

L = keras.layers
ROW, SEQUENCE, IMAGE, VOLUME = (4,), (7, 4), (9, 11, 4), (5, 6, 7, 4)
SHAPES = {1: SEQUENCE, 2: IMAGE, 3: VOLUME}
BOUND = 2e-5
ROWS = {"return_sequences": True}


class Function(L.Layer):
    """A layer around a function of tensors."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x):
        return self.function(x)

    def compute_output_spec(self, x):
        traced = tf.function(self.function).get_concrete_function(tf.TensorSpec(x.shape, x.dtype))
        return keras.KerasTensor(traced.outputs[0].shape, traced.outputs[0].dtype.name)


def of(layer, *shapes, dtype="float32"):
    inputs = [keras.Input(shape, dtype=dtype) for shape in shapes]
    inputs = inputs if len(inputs) > 1 else inputs[0]
    return keras.Model(inputs, layer(inputs))


def convolutions():
    for rank, shape in SHAPES.items():
        conv, transpose = getattr(L, f"Conv{rank}D"), getattr(L, f"Conv{rank}DTranspose")
        given = {
            "groups": conv(6, 3, groups=2, padding="same"),
            "groups_strided": conv(8, 3, groups=4, strides=2),
            "dilated": conv(3, 3, dilation_rate=2, padding="same"),
            "strided": conv(3, 3, strides=2, padding="same"),
            "transpose": transpose(3, 3, strides=2, padding="same"),
            "transpose_valid": transpose(3, 4, strides=2),
            "transpose_gaps": transpose(3, 2, strides=3, padding="same"),
            "transpose_padded": transpose(3, 3, strides=2, padding="same", output_padding=1),
            "mean_pool": getattr(L, f"AveragePooling{rank}D")(3, strides=2, padding="same"),
        }
        yield from ((f"conv{rank}d_{name}", lambda layer=layer, s=shape: of(layer, s)) for name, layer in given.items())
    for rank in (1, 2):
        for name in ("SeparableConv", "DepthwiseConv"):
            size = (5, 3) if name == "SeparableConv" else (3,)
            for key, how in {"strided": {"strides": 2}, "dilated": {"dilation_rate": 2}}.items():
                layer = getattr(L, f"{name}{rank}D")(*size, padding="same", depth_multiplier=2, **how)
                yield f"{name}{rank}D_{key}", lambda layer=layer, s=SHAPES[rank]: of(layer, s)
    yield "conv1d_causal", lambda: of(L.Conv1D(3, 3, padding="causal", dilation_rate=2), SEQUENCE)
    yield "conv2d_free_size", lambda: of(L.Conv2DTranspose(3, 3, strides=2, padding="same"), (None, None, 4))


def normalisations():
    layers = {
        "batch": lambda: L.BatchNormalization(),
        "layer": lambda: L.LayerNormalization(axis=[1, 2, 3]),
        "group": lambda: L.GroupNormalization(2),
        "instance": lambda: L.GroupNormalization(-1),
        "group_of_rows": lambda: L.GroupNormalization(1, axis=1),
        "rms": lambda: L.RMSNormalization(),
        "unit": lambda: L.UnitNormalization(),
        "spectral": lambda: L.SpectralNormalization(L.Conv2D(3, 3)),
        "fixed": lambda: L.Normalization(mean=[1.0, 2, 3, 4], variance=[1.0, 2, 3, 4]),
        "inverted": lambda: L.Normalization(mean=[1.0, 2, 3, 4], variance=[1.0, 2, 3, 4], invert=True),
    }
    yield from ((f"{name}_norm", lambda make=make: of(make(), IMAGE)) for name, make in layers.items())
    yield "adapted_norm", adapted


def adapted():
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(0).normal(2, 3, (64, 4)).astype("float32"))
    return of(layer, ROW)


def activations():
    names = "celu gelu hard_shrink hard_silu hard_tanh log_sigmoid mish relu6 soft_shrink sparse_plus sparsemax "
    for name in (names + "squareplus tanh_shrink glu").split():
        yield name, lambda name=name: of(L.Activation(name), SEQUENCE)
    yield "gelu_tanh", lambda: of(Function(lambda x: ops.gelu(x, True)), SEQUENCE)
    yield "prelu", lambda: of(L.PReLU(shared_axes=[1]), SEQUENCE)


def augmentation():
    layers = [L.RandomFlip(), L.RandomRotation(0.2), L.RandomZoom(0.2), L.RandomTranslation(0.2, 0.2)]
    layers += [L.RandomContrast(0.2), L.RandomBrightness(0.2), L.RandomShear(0.2), L.RandomErasing(), L.RandomHue(0.2)]
    layers += [L.RandomGrayscale(), L.RandomSaturation(0.2), L.RandomSharpness(0.2), L.RandomPosterization(4)]
    layers += [L.RandomColorDegeneration(0.2), L.RandomColorJitter(), L.RandomGaussianBlur(), L.MixUp(), L.CutMix()]
    layers += [L.RandomCrop(6, 5), L.CenterCrop(5, 6), L.GaussianNoise(1.0), L.AlphaDropout(0.5)]
    yield from ((layer.name, lambda layer=layer: of(layer, (9, 11, 3))) for layer in layers)


def resizing():
    for mode in ("nearest", "bilinear", "bicubic", "lanczos3", "lanczos5"):
        for antialias in (False, True):
            layer = L.Resizing(5, 17, interpolation=mode, antialias=antialias)
            yield f"resize_{mode}{'_antialias' * antialias}", lambda layer=layer: of(layer, IMAGE)
    yield "resize_crop", lambda: of(L.Resizing(5, 5, crop_to_aspect_ratio=True), IMAGE)
    yield "resize_pad", lambda: of(L.Resizing(5, 5, pad_to_aspect_ratio=True), IMAGE)
    yield "resize_free", lambda: of(L.Resizing(5, 6, antialias=True), (None, None, 4))
    for mode in ("nearest", "bilinear", "bicubic"):
        yield f"upsample_{mode}", lambda mode=mode: of(L.UpSampling2D(3, interpolation=mode), IMAGE)


def masked(layer):
    x, mask = keras.Input(SEQUENCE), keras.Input((7,), dtype="bool")
    return keras.Model([x, mask], layer(x, mask=mask))


def started(layer, states):
    inputs = [keras.Input(SEQUENCE), *(keras.Input((5,)) for _ in range(states))]
    return keras.Model(inputs, layer(inputs[0], initial_state=inputs[1:]))


def padded_tokens(layer):
    tokens = keras.Input((7,), dtype="int32")
    return keras.Model(tokens, layer(L.Embedding(6, 4, mask_zero=True)(tokens)))


def recurrent():
    for kind in (L.LSTM, L.GRU, L.SimpleRNN):
        name = kind.__name__
        yield name, lambda kind=kind: of(kind(5), (None, 4))
        yield f"{name}_states", lambda kind=kind: of(kind(5, return_state=True, **ROWS), SEQUENCE)
        yield f"{name}_backwards", lambda kind=kind: of(kind(5, go_backwards=True, **ROWS), SEQUENCE)
        yield f"{name}_both_ways", lambda kind=kind: of(L.Bidirectional(kind(5, **ROWS)), SEQUENCE)
        yield f"{name}_summed", lambda kind=kind: of(L.Bidirectional(kind(5), merge_mode="sum"), SEQUENCE)
        yield f"{name}_masked", lambda kind=kind: masked(kind(5, **ROWS))
        yield f"{name}_masked_zeros", lambda kind=kind: masked(kind(5, zero_output_for_mask=True, **ROWS))
        yield f"{name}_masked_both_ways", lambda kind=kind: masked(L.Bidirectional(kind(5, **ROWS)))
        yield f"{name}_mask_zero", lambda kind=kind: padded_tokens(kind(5))
        yield f"{name}_started", lambda kind=kind: started(kind(5), 2 if kind is L.LSTM else 1)
        yield f"{name}_for_each", lambda kind=kind: of(L.TimeDistributed(kind(3)), (3, *SEQUENCE))
    yield "GRU_reset_before", lambda: of(L.GRU(5, reset_after=False), SEQUENCE)
    yield "LSTM_relu", lambda: of(L.LSTM(5, activation="relu", recurrent_activation="hard_sigmoid"), SEQUENCE)
    yield "cells", lambda: of(L.RNN([L.LSTMCell(5), L.GRUCell(4)], **ROWS), SEQUENCE)
    for rank, shape in {1: (3, 8, 2), 2: (3, 6, 5, 2), 3: (3, 4, 4, 4, 2)}.items():
        layer = getattr(L, f"ConvLSTM{rank}D")(3, 3, padding="same", **ROWS)
        yield f"ConvLSTM{rank}D", lambda layer=layer, shape=shape: of(layer, shape)


def to_itself(layer, **how):
    x = keras.Input((None, 8))
    return keras.Model(x, layer(x, x, **how))


def attention():
    yield "attention", lambda: to_itself(L.MultiHeadAttention(2, 4))
    yield "causal_attention", lambda: to_itself(L.MultiHeadAttention(2, 4), use_causal_mask=True)
    yield "grouped_query_attention", lambda: to_itself(L.GroupQueryAttention(4, 4, 2), use_causal_mask=True)
    yield "additive_attention", lambda: of(L.AdditiveAttention(), (7, 8), (7, 8))
    yield "einsum_dense", lambda: of(L.EinsumDense("abc,cde->abde", (None, 3, 5), bias_axes="de"), SEQUENCE)
    yield "dot", lambda: of(L.Dot((2, 2), normalize=True), (7, 4), (6, 4))


def preprocessing():
    bounds = [-1.0, 0.0, 0.5]
    yield "discretization", lambda: of(L.Discretization(bounds), ROW)
    yield "discretization_many", lambda: of(L.Discretization(bounds, output_mode="multi_hot"), ROW)
    yield "categories", lambda: of(L.CategoryEncoding(6, output_mode="count"), ROW, dtype="int32")
    spectrogram = {"fft_length": 32, "sequence_stride": 16, "sampling_rate": 800, "num_mel_bins": 6, "max_freq": 300}
    yield "mel_spectrogram", lambda: of(L.MelSpectrogram(**spectrogram), (128,))
    yield "stft", lambda: of(L.STFTSpectrogram(frame_length=16, frame_step=8, fft_length=16), (64, 1))


def corners(boxes):
    return tf.concat([boxes[..., :2], boxes[..., :2] + tf.abs(boxes[..., 2:4]) + 0.5], axis=-1)


def kept_boxes(x):
    kept = tf.image.non_max_suppression(corners(x[0]), x[0, :, 4], 5, 0.3)
    return tf.gather(x[0], kept)


def kept_boxes_padded(x):
    kept, count = tf.image.non_max_suppression_padded(corners(x), x[..., 4], 6, 0.3, pad_to_max_output_size=True)
    return kept + count[:, None]


def kept_boxes_by_class(x):
    scores = tf.sigmoid(tf.stack([x[..., 4], x[..., 3]], axis=-1))
    found = tf.image.combined_non_max_suppression(corners(x)[:, :, None], scores, 3, 5, 0.3, clip_boxes=False)
    return tf.concat([found[0], found[1][..., None], found[2][..., None]], axis=-1)


FUNCTIONS = {
    "erfinv": (lambda x: ops.erfinv(ops.tanh(x) * 0.99), SEQUENCE),
    "erfc_in_a_loop": (lambda x: ops.fori_loop(0, 3, lambda _, y: ops.gelu(y, False) + x, x), ROW),
    "log1p": (lambda x: ops.log1p(ops.abs(x) * 1e-4), SEQUENCE),
    "expm1": (lambda x: ops.expm1(x * 1e-4) * 1e4, SEQUENCE),
    "lgamma": (lambda x: tf.math.lgamma(x * 3), SEQUENCE),
    "digamma": (lambda x: tf.math.digamma(tf.abs(x) + 0.2), SEQUENCE),
    "xlogy": (lambda x: tf.math.xlogy(tf.nn.relu(x), tf.abs(x)) + tf.math.xdivy(tf.nn.relu(x), tf.abs(x)), SEQUENCE),
    "logsumexp": (lambda x: ops.logsumexp(x, axis=-1), SEQUENCE),
    "cumsum": (lambda x: ops.cumsum(x, axis=1), SEQUENCE),
    "cumprod": (lambda x: ops.cumprod(x, axis=1), SEQUENCE),
    "roll": (lambda x: ops.roll(x, (-2, 3), axis=(1, 2)), IMAGE),
    "top_k": (lambda x: ops.top_k(x, 2)[1], SEQUENCE),
    "argmax": (lambda x: ops.argmax(x, -1), SEQUENCE),
    "argmax_of_zeros": (lambda x: ops.argmax(tf.stack([-x * 0, x * 0], axis=-1), -1), SEQUENCE),
    "in_top_k": (lambda x: ops.in_top_k(ops.argmax(x[:, 0], -1), x[:, 1], 2), SEQUENCE),
    "sort": (lambda x: ops.take_along_axis(x, ops.argsort(x, axis=1), axis=1), SEQUENCE),
    "quantile": (lambda x: ops.quantile(x, 0.3, axis=1) + ops.median(x, axis=1), SEQUENCE),
    "digitize": (lambda x: ops.digitize(x, np.array([-1.0, 0, 1], "float32")), SEQUENCE),
    "searchsorted": (lambda x: ops.searchsorted(ops.convert_to_tensor([-1.0, 0, 1]), ops.reshape(x, (-1,))), ROW),
    "einsum": (lambda x: ops.einsum("bij,bkj,bkl->bil", x, x, x), SEQUENCE),
    "einsum_diagonal": (lambda x: ops.einsum("bii->bi", x), (4, 4)),
    "segment_sum": (lambda x: ops.segment_sum(x[0], tf.constant([0, 2, 1, 0, 1, 2, 2]), 3), SEQUENCE),
    "segment_max": (lambda x: ops.segment_max(x[0], tf.constant([0, 0, 1, 1, 1, 2, 2]), 3), SEQUENCE),
    "slice_update": (lambda x: ops.slice_update(x, (0, 1, 2), x[:, :3, :2] * 2), SEQUENCE),
    "scatter": (lambda x: ops.scatter_update(x[0], [[0], [2]], x[0, :2]), SEQUENCE),
    "cross": (lambda x: ops.cross(x, x[:, ::-1]), (5, 3)),
    "fft": (lambda x: ops.fft((x, ops.cos(x)))[0] - ops.fft((x, ops.cos(x)))[1], SEQUENCE),
    "fft2": (lambda x: ops.ifft2((x, ops.cos(x)))[0] + ops.fft2((x, x))[1], SEQUENCE),
    "rfft": (lambda x: ops.irfft(tuple(part * 2 for part in ops.rfft(x, 6)), 6), (7, 9)),
    "complex": (lambda x: tf.abs(tf.complex(x, x) * tf.math.conj(tf.complex(x, 2 * x)) - tf.complex(x, x)), SEQUENCE),
    "hsv": (lambda x: ops.image.rgb_to_hsv(ops.abs(x)), (5, 5, 3)),
    "patches": (lambda x: ops.image.extract_patches(x, 3), IMAGE),
    "crop_and_resize": (lambda x: tf.image.crop_and_resize(x, [[0.1, 0.1, 0.7, 0.8]], [0], (4, 4)), IMAGE),
    "boxes": (kept_boxes, (12, 5)),
    "boxes_padded": (kept_boxes_padded, (12, 5)),
    "boxes_by_class": (kept_boxes_by_class, (12, 5)),
    "branch": (lambda x: ops.cond(ops.sum(x) > 0, lambda: x * 2, lambda: ops.gelu(x, False)), SEQUENCE),
    "bits": (lambda x: ops.bitwise_and(ops.cast(x * 9, "int32"), 3) + ops.left_shift(ops.cast(x, "int32"), 2), ROW),
}  # fmt: skip
CASES = {name: lambda f=f, shape=shape: of(Function(f), shape) for name, (f, shape) in FUNCTIONS.items()}
for group in (normalisations, activations, attention, preprocessing):
    CASES |= dict(group())
SLOW = {name: make for group in (convolutions, augmentation, resizing, recurrent) for name, make in group()}


def real_inputs(model, count):
    rng = np.random.default_rng(3)
    arrays = {}
    for tensor in model.inputs:
        shape = (count, *(size or 6 for size in tensor.shape[1:]))
        if tensor.dtype == "bool":
            values = rng.random(shape) < 0.6
        else:
            values = rng.integers(0, 6, shape) if tensor.dtype == "int32" else rng.normal(size=shape)
        arrays[tensor.name] = values.astype(tensor.dtype)
    return arrays


def named(values, names):
    """Outputs by name; a layer's second one is called name_1."""
    names = [name if names.index(name) == k else f"{name}_{k - names.index(name)}" for k, name in enumerate(names)]
    return {name: keras.ops.convert_to_numpy(value) for name, value in zip(names, values, strict=True)}


@pytest.mark.parametrize("name", [*CASES, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_the_file_computes_what_the_layer_computes(name, tmp_path):
    model = fill_weights((CASES | SLOW)[name]())
    inputs = real_inputs(model, 3)
    export_onnx(model, tmp_path / "model.onnx", samples=inputs)
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    given = dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs), strict=True))
    arrays = list(inputs.values())
    values = model(arrays if len(arrays) > 1 else arrays[0], training=False)
    for output, expected in named(keras.tree.flatten(values), model.output_names).items():
        assert given[output].shape == expected.shape
        np.testing.assert_allclose(given[output], expected, atol=BOUND * max(1, np.abs(expected).max()))
