"""Every public layer against NumPy, and through a save."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from filling import fill_weights

from kerasdl import layers
from kerasdl.core import ArgumentError

RNG = np.random.default_rng(0)
TOKENS = RNG.normal(size=(2, 5, 3)).astype("float32")
IMAGES = RNG.normal(size=(2, 3, 4, 6)).astype("float32")
IDS = np.array([[4, 2, 0, 0], [1, 1, 1, 1]], np.int32)


def class_token(x, weights):
    return np.concatenate([np.broadcast_to(weights[0], (len(x), 1, x.shape[-1])), x], axis=1)


def position(x, weights):
    return x + weights[0]


def padding_mask(x, weights):
    return x != 2


def shuffled(x, weights):
    """Three groups of two channels: each third one in turn."""
    return x.reshape(*x.shape[:3], 3, 2).swapaxes(-1, -2).reshape(x.shape)


def reflected(x, weights):
    """Two places on each side, in the order 2 1 | 0 1 2."""
    rows, columns = [2, 1, 0, 1, 2, 1, 0], [2, 1, 0, 1, 2, 3, 2, 1]
    return x[:, rows][:, :, columns]


def statistics(x, weights):
    return np.stack([x.mean(-1), x.max(-1)], -1)


def instance_norm(x, weights):
    gamma, beta = weights
    return gamma * (x - x.mean((1, 2), keepdims=True)) / np.sqrt(x.var((1, 2), keepdims=True) + 1e-5) + beta


def sine_positions(x, weights):
    """Sines and cosines of the row, then of the column, each side scaled to 2 pi."""
    height, width = x.shape[1:3]
    waves = 100.0 ** -(2 * np.arange(2) / 4)

    def axis(side):
        angles = 2 * np.pi * (np.arange(side) + 1)[:, None] / (side + 1e-6) * waves
        return np.stack([np.sin(angles), np.cos(angles)], -1).reshape(side, 4)

    rows, columns = np.repeat(axis(height), width, axis=0), np.tile(axis(width), (height, 1))
    return np.broadcast_to(np.concatenate([rows, columns], -1), (len(x), height * width, 8))


def tanh_gelu(x, weights):
    x = x.astype("float64")
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def queries(x, weights):
    return np.repeat(weights[0], len(x), axis=0)


def adaptive(x, weights):
    """Two rows and three columns of windows that overlap where the side does not divide."""
    rows, columns = [(0, 2), (1, 3)], [(0, 2), (1, 3), (2, 4)]
    means = [[x[:, top:bottom, left:right].mean((1, 2)) for left, right in columns] for top, bottom in rows]
    return np.moveaxis(np.array(means), 2, 0)


def documents_apart(x, weights):
    return np.where(x[:, None, :, None] == x[:, None, None, :], 0.0, -1e9)


def places_in_documents(x, weights):
    return np.array([[(row[:place] == row[place]).sum() for place in range(len(row))] for row in x])


# Tested in files of their own.
ELSEWHERE = {
    **dict.fromkeys(("ArcFace", "CosFace"), "test_class_margins.py"),
    **dict.fromkeys(("AdaptedWeights", "LearnedPrefix", "PrefixPadding"), "test_tuning_layers.py"),
    **dict.fromkeys(("ProjectedLSTMCell", "ScalarMix"), "../sequence/test_elmo.py"),
    **dict.fromkeys(
        (
            *("ALiBi", "DotProductAttention", "LinearAttention", "PositionalEncoding", "RelativePositionBias"),
            *("RotaryEmbedding", "SlidingWindowAttention"),
        ),
        "test_head_attention.py",
    ),
    **dict.fromkeys(("CachePlaces", "CacheWrite"), "test_caching.py"),
    **dict.fromkeys(("CachedAttention", "CachePositions"), "../sequence/transformer/test_cached_decoding.py"),
    "CRF": "test_crf.py",
    "NoisyDense": "test_noisy.py",
    **dict.fromkeys(("ConstantTime", "FixedPositions2D", "SinusoidalTimes"), "diffusion/test_time_layers.py"),
    **dict.fromkeys(("FiniteScalarQuantizer", "GaussianSample", "VectorQuantizer"), "test_latent_layers.py"),
    "BahdanauAttention": "test_sequence_attention.py",
    "LuongAttention": "test_sequence_attention.py",
    "CosineWindowAttention": "test_windows.py",
    "WindowAttention": "test_windows.py",
    "WindowMerge": "test_windows.py",
    "WindowPartition": "test_windows.py",
    "BilinearKernel": "test_bilinear_kernels.py",
    "FourierBasis": "test_bases.py",
    "PolynomialBasis": "test_bases.py",
    "FastNormalizedFusion": "test_fusing.py",
    "BatchToRegions": "test_region_batches.py",
    "RegionsToBatch": "test_region_batches.py",
    "MultiScaleROIAlign": "test_region_pooling.py",
    "ROIAlign": "test_region_pooling.py",
    "ROIPool": "test_region_pooling.py",
    "ReshapeLike": "test_sizes.py",
    "ResizeLike": "test_sizes.py",
    "SpectralNorm": "../ops/test_adversarial.py",
    **dict.fromkeys(("BatchDeviation", "FilteredResampling2D", "ModulatedConv2D", "NoisyBias"), "test_styles.py"),
}
# layer: how it is made, what it reads, what NumPy makes of it.
CASES = {
    "AdaptivePooling2D": (lambda: layers.AdaptivePooling2D((2, 3)), IMAGES, adaptive),
    "ChannelShuffle": (lambda: layers.ChannelShuffle(3), IMAGES, shuffled),
    "ChannelSlice": (lambda: layers.ChannelSlice(1, 3), IMAGES, lambda x, weights: x[..., 2:4]),
    "ChannelStatistics": (lambda: layers.ChannelStatistics(), IMAGES, statistics),
    "LayerScale": (lambda: layers.LayerScale(0.1), IMAGES, lambda x, weights: x * weights[0]),
    "DropBlock": (lambda: layers.DropBlock(0.5, 2), IMAGES, lambda x, weights: x),  # at inference
    "DropConnect": (lambda: layers.DropConnect(4, 0.5), TOKENS, lambda x, weights: x @ weights[0] + weights[1]),
    "InstanceNormalization": (lambda: layers.InstanceNormalization(), IMAGES, instance_norm),
    "DropPath": (lambda: layers.DropPath(0.5), TOKENS, lambda x, weights: x),  # at inference
    "ClassToken": (lambda: layers.ClassToken(), TOKENS, class_token),
    "LearnedQueries": (
        lambda: layers.LearnedQueries(4, 3),
        TOKENS,
        lambda x, weights: np.repeat(weights[0], 2, axis=0),
    ),
    "SinePositions2D": (lambda: layers.SinePositions2D(8, 100.0), IMAGES, sine_positions),
    "PositionEmbedding": (lambda: layers.PositionEmbedding(), TOKENS, position),
    "FirstToken": (lambda: layers.FirstToken(), TOKENS, lambda x, weights: x[:, 0]),
    "LearnedVector": (lambda: layers.LearnedVector(), TOKENS, lambda x, weights: x + weights[0]),
    "LearnedPositions": (lambda: layers.LearnedPositions(9, 2), TOKENS, lambda x, weights: x + weights[0][2:7]),
    "ReflectionPadding2D": (lambda: layers.ReflectionPadding2D(2), IMAGES, reflected),
    "TanhGELU": (lambda: layers.TanhGELU(), 3 * TOKENS, tanh_gelu),
    "DocumentBias": (lambda: layers.DocumentBias(), IDS, documents_apart),
    "DocumentPositions": (lambda: layers.DocumentPositions(), IDS, places_in_documents),
    "PaddingMask": (lambda: layers.PaddingMask(padding_id=2), IDS, padding_mask),
    "ReverseTokens": (lambda: layers.ReverseTokens(), TOKENS, lambda x, weights: x[:, ::-1]),
    "TokenMask": (
        lambda: layers.TokenMask(padding_id=1),
        np.stack([IDS, np.ones_like(IDS)], axis=-1),
        lambda x, weights: (x != 1).any(-1),
    ),
}


def test_no_public_layer_escapes():
    assert set(CASES) | set(ELSEWHERE) == set(layers.__all__)
    for name, file in ELSEWHERE.items():
        assert name in (Path(__file__).parent / file).read_text()


@pytest.mark.parametrize("name", sorted(CASES))
def test_layer_computes_its_formula_and_survives_a_save(name, tmp_path):
    make, inputs, formula = CASES[name]
    entry = keras.Input(inputs.shape[1:], dtype=inputs.dtype.name)
    model = fill_weights(keras.Model(entry, make()(entry)))
    expected = formula(inputs, model.get_weights())
    outputs = model(inputs).numpy()
    np.testing.assert_allclose(outputs.astype("float64"), expected.astype("float64"), atol=1e-6)
    assert model.output_shape[1:] == outputs.shape[1:]
    assert model.output.dtype == outputs.dtype.name
    model.save(tmp_path / "layer.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "layer.keras")(inputs), outputs)


def test_drop_path_keeps_the_expectation_and_drops_whole_examples():
    x = np.ones((4000, 2, 3), "float32")
    out = np.asarray(layers.DropPath(0.25, seed=1)(x, training=True))
    assert set(np.unique(out.round(4))) == {0.0, np.float32(1 / 0.75).round(4)}
    assert (out == out[:, :1, :1]).all()
    assert abs(out.mean() - 1.0) < 0.03
    with pytest.raises(ArgumentError, match="rate must be a number from 0"):
        layers.DropPath(1.0)


def test_channels_that_do_not_divide_are_refused():
    with pytest.raises(ArgumentError, match="multiple of the 4 groups"):
        layers.ChannelShuffle(4)(keras.Input((2, 2, 6)))
    with pytest.raises(ArgumentError, match="multiple of the 4 parts"):
        layers.ChannelSlice(0, 4)(keras.Input((2, 2, 6)))


def test_learned_positions_refuse_what_is_longer_and_take_places_of_their_own():
    with pytest.raises(ArgumentError, match="at most 4 places; got 5"):
        layers.LearnedPositions(4, 2)(keras.Input((5, 3)))
    with pytest.raises(ArgumentError, match="first must be"):
        layers.LearnedPositions(6, -1)
    layer = layers.LearnedPositions(6, 1)
    whole = layer(TOKENS)
    places = np.tile(np.arange(2, 5), (2, 1))
    np.testing.assert_array_equal(layer([TOKENS[:, 2:], places]), whole[:, 2:])
    table = layer.table.numpy()
    beyond = layer([TOKENS[:, :1], np.full((2, 1), 99)])
    np.testing.assert_array_equal(beyond, TOKENS[:, :1] + table[-1])
    inputs = keras.Input((None, 3))
    free = tf.function(keras.Model(inputs, layer(inputs)), input_signature=[tf.TensorSpec((None, None, 3), tf.float32)])
    given = np.asarray(free(np.zeros((1, 8, 3), "float32")))
    np.testing.assert_array_equal(given[0, :6], table[1:])
    assert np.isnan(given[0, 6:]).all()


def test_tanh_gelu_is_near_gelu_and_saturates():
    x = np.array([-1e4, -3.0, 0.0, 3.0, 1e4], "float32")
    exact = np.asarray(keras.ops.gelu(x, approximate=False))
    np.testing.assert_allclose(layers.TanhGELU()(x), exact, atol=1e-3)


def test_blocks_are_dropped_whole_and_the_sum_is_kept():
    """Without overlap of two parts, what is dropped is a square; the share of places is about the rate."""
    x = np.ones((64, 20, 20, 4), "float32")
    out = np.asarray(layers.DropBlock(0.1, 5, seed=1)(x, training=True))
    assert out.sum() == pytest.approx(x.sum(), rel=1e-5)
    gone = out == 0
    assert 0.07 < gone.mean() < 0.11  # parts that overlap cover less
    single = [part for part in gone.transpose(0, 3, 1, 2).reshape(-1, 20, 20) if part.sum() == 25]
    assert len(single) > 10
    for part in single:
        rows, columns = np.nonzero(part)
        assert np.ptp(rows) == np.ptp(columns) == 4
    assert not (gone == gone[:1]).all()
    assert not (gone == gone[..., :1]).all()


def test_dropped_connections_keep_the_expectation():
    layer = layers.DropConnect(3, 0.3, seed=1)
    x = np.ones((1, 50), "float32")
    plain = np.asarray(layer(x))
    several = np.mean([np.asarray(layer(x, training=True)) for _ in range(600)], axis=0)
    assert np.abs(several - plain).max() < 0.15
    assert np.abs(np.asarray(layer(x, training=True)) - plain).max() > 1e-3


@pytest.mark.parametrize("sides", [(7, 9), (6, 6), (13, 5)])
def test_keras_adaptive_pooling_is_pytorchs(sides):
    """From floor(i * H / out) to ceil((i + 1) * H / out): the layers of Keras are taken as they are."""
    x = RNG.normal(size=(2, *sides, 3)).astype("float32")
    out = (3, 4)
    for kind, reduce in ((keras.layers.AdaptiveAveragePooling2D, np.mean), (keras.layers.AdaptiveMaxPooling2D, np.max)):
        expected = np.zeros((2, *out, 3))
        for i in range(out[0]):
            for j in range(out[1]):
                rows = slice(i * sides[0] // out[0], -(-(i + 1) * sides[0] // out[0]))
                columns = slice(j * sides[1] // out[1], -(-(j + 1) * sides[1] // out[1]))
                expected[:, i, j] = reduce(x[:, rows, columns], axis=(1, 2))
        np.testing.assert_allclose(kind(out)(x), expected, atol=1e-5)
