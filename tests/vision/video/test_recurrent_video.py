"""Nets over the frames of a clip: counts by their equations, frames by themselves, and moving digits."""

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.core import get_task
from kerasdl.core.errors import ArgumentError
from kerasdl.data.builtin.moving_digits import MOTIONS

CONVOLUTIONS = sum(9 * before * after + after for before, after in ((3, 32), (32, 64), (64, 64), (64, 64)))
D, U, K = 4 * 4 * 64, 128, 10


def conv_lstm(before, after):
    return 4 * (9 * (before + after) * after + after)


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("cnn_lstm", CONVOLUTIONS + 4 * ((D + U) * U + U) + U * K + K),
        ("cnn_gru", CONVOLUTIONS + 3 * ((D + U) * U + 2 * U) + U * K + K),
        ("conv_lstm", conv_lstm(3, 32) + conv_lstm(32, 64) + 64 * K + K),
    ],
)
def test_count_is_the_sum_of_the_equations(name, count):
    assert kerasdl.spec(name).params == count


def test_the_cnn_computes_each_frame_by_itself_as_a_2d_convolution(tiny):
    model = tiny("cnn_lstm")
    clips = np.random.default_rng(0).uniform(-1, 1, (2, 4, 8, 8, 2)).astype("float32")
    given = keras.Model(model.input, model.get_layer("conv1").output)(clips).numpy()
    kernel, bias = model.get_layer("conv1").get_weights()
    flat = keras.layers.Conv2D(6, 3, strides=2, padding="same", activation="relu")
    flat.build((None, 8, 8, 2))
    flat.set_weights([kernel[0], bias])
    np.testing.assert_allclose(given, flat(clips.reshape(8, 8, 8, 2)).numpy().reshape(given.shape), atol=1e-5)


@pytest.mark.parametrize("name", ["cnn_lstm", "conv_lstm"])
def test_the_order_of_frames_counts(name, tiny):
    model = tiny(name)
    clips = np.random.default_rng(0).uniform(-1, 1, (2, *model.input_shape[1:])).astype("float32")
    assert np.abs(model(clips, training=False) - model(clips[:, ::-1], training=False)).max() > 1e-3


def test_a_single_frame_of_moving_digits_tells_nothing_of_the_motion():
    """Each frame is the digit at a place that is drawn evenly; only the differences of frames are of the class."""
    data = kerasdl.data.load("moving_digits", "test", size=1200)
    clips, labels = data.arrays()
    assert clips.shape == (1200, 8, 32, 32, 1)
    assert (clips.min(), clips.max()) == (-1.0, 1.0)
    for frame in (0, 7):
        ink = clips[:, frame, ..., 0] + 1
        rows, columns = (np.angle((ink.sum(axis) * np.exp(2j * np.pi * np.arange(32) / 32)).sum(-1)) for axis in (2, 1))
        for kind in range(len(MOTIONS)):
            for places in (rows[labels == kind], columns[labels == kind]):
                assert abs(np.exp(1j * places).mean()) < 3 / np.sqrt(200)  # Rayleigh's test of a circle
    right = clips[labels == 0]
    np.testing.assert_array_equal(np.roll(right[:, 0], 3, axis=2), right[:, 1])
    again = kerasdl.data.load("moving_digits", "test", size=1200).arrays()[0]
    np.testing.assert_array_equal(clips, again)
    assert (kerasdl.data.load("moving_digits", "test", size=12, seed=1).arrays()[0] != clips[:12]).any()


def test_a_bundle_takes_clips_of_pixels(tiny):
    model, task = tiny("cnn_lstm"), get_task("video_classification")
    settings = {"clip_shape": (4, 8, 8, 2), "scale": (-1.0, 1.0)}
    task.check(settings, (), model)
    clips = np.random.default_rng(0).integers(0, 256, (3, 4, 8, 8, 2)).astype("uint8")
    prepared, _ = task.preprocess(clips, settings)
    np.testing.assert_allclose(prepared, clips / 127.5 - 1, atol=1e-6)
    (layer,) = task.preprocess_layers(settings, (4, 8, 8, 2))
    np.testing.assert_allclose(layer(clips), prepared, atol=1e-5)
    for raw in (clips[:, :3], clips.astype("float32"), clips[0]):
        with pytest.raises(ArgumentError, match="raw must be clips"):
            task.preprocess(raw, settings)
    with pytest.raises(ArgumentError, match="clip_shape must be the model's input"):
        task.check({**settings, "clip_shape": (5, 8, 8, 2)}, (), model)
    for wrong in ((8, 8, 2), (4, 8, 8, 2**30)):
        with pytest.raises(ArgumentError, match="clip_shape must be"):
            task.check({**settings, "clip_shape": wrong}, (), model)
    with pytest.raises(ArgumentError, match="scale must be"):
        task.check({**settings, "scale": 1}, (), model)
    with pytest.raises(ArgumentError, match="a raw clip must"):
        task.preprocess_layers(settings, (5, 8, 8, 2))
