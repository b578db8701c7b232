"""QAT of layers that stay in float and end in a range of TFLite's own, joined with others; of whole-number inputs."""

import keras
import numpy as np
import pytest
from keras import layers

from kerasdl.core.errors import ExportError
from kerasdl.deploy import QuantizationScheme, quantize_aware, run_exported
from kerasdl.train import RunConfig

DEFAULT = QuantizationScheme()
CONFIG = RunConfig(progress="off", strategy=None)
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
ENDS = {
    "unit_norm": layers.UnitNormalization,
    "tanh": lambda **name: layers.Activation("tanh", **name),
    "sigmoid": lambda **name: layers.Activation("sigmoid", **name),
    "softmax": layers.Softmax,
    "layer_norm": layers.LayerNormalization,
    "log_softmax": lambda **name: layers.Activation("log_softmax", **name),
    "elu": layers.ELU,
}
JOINS = {"concatenate": layers.Concatenate, "maximum": layers.Maximum, "minimum": layers.Minimum, "add": layers.Add}


def exported(model, data, path, scheme=DEFAULT, loss=LOSS):
    """Returns the largest relative difference of the file of a model whose ranges are set."""
    quantized = quantize_aware(model, data, loss=loss, epochs=0, config=CONFIG, scheme=scheme)
    quantized.export_tflite(path)
    (given,) = run_exported(path, data[0][:8]).values()
    expected = model.predict(data[0][:8], verbose=0)
    return np.abs(given - expected).max() / max(1.0, np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("join", JOINS)
@pytest.mark.parametrize("end", ENDS)
def test_a_fixed_range_left_in_float_is_joined_with_others(end, join, first, tmp_path):
    inputs = keras.Input((6, 6, 3))
    hidden = layers.Conv2D(4, 1, name="before")(inputs)
    fixed, other = ENDS[end](name="fixed")(hidden), layers.Conv2D(4, 1, name="other")(hidden)
    joined = JOINS[join]()([fixed, other] if first else [other, fixed])
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(joined)))
    x = np.random.default_rng(0).normal(size=(32, 6, 6, 3)).astype("float32")
    gap = exported(model, (x, np.arange(32) % 2), tmp_path / "net.tflite", QuantizationScheme(in_float=("fixed",)))
    assert gap < 0.1


def narrow(**name):
    return layers.Conv2D(4, 1, kernel_initializer=keras.initializers.RandomNormal(0, 0.02), **name)


@pytest.mark.parametrize(
    ("join", "end"),
    [
        pytest.param(layers.Maximum, narrow),
        pytest.param(layers.Minimum, narrow, marks=pytest.mark.slow),
        pytest.param(layers.Maximum, ENDS["tanh"], marks=pytest.mark.slow),
    ],
)
def test_a_copy_behind_a_join_does_not_clip_it(join, end, tmp_path):
    """The converter would carry the range of the narrow input through the join to what is reshaped."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    hidden = layers.Conv2D(4, 1, name="before")(inputs)
    joined = join()([end(name="fixed")(hidden), layers.Conv2D(4, 1, name="other")(hidden)])
    model = keras.Model(inputs, layers.Conv2D(3, 1)(layers.Reshape((6, 3, 8))(joined)))
    x = np.random.default_rng(0).normal(size=(32, 6, 6, 3)).astype("float32")
    assert exported(model, (x, np.zeros((32, 6, 3, 3))), tmp_path / "net.tflite", loss="mse") < 0.1


def test_sequences_joined_with_a_fixed_range_are_not_clipped(tmp_path):
    """A convolution over time is one over images between reshapes: these are copies too."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 3))
    hidden = layers.Conv1D(4, 1)(inputs)
    joined = layers.Concatenate()([layers.Activation("tanh")(hidden), layers.Conv1D(4, 1)(hidden)])
    model = keras.Model(inputs, layers.Conv1D(3, 1)(joined))
    x = np.random.default_rng(0).normal(size=(32, 5, 3)).astype("float32")
    assert exported(model, (x, np.zeros((32, 5, 3))), tmp_path / "net.tflite", loss="mse") < 0.1


FIRST = {
    "rescaling": lambda: layers.Rescaling(1 / 127.5, -1),
    "norm": layers.BatchNormalization,
    "resizing": lambda: keras.Sequential([layers.Resizing(4, 4), layers.Rescaling(1 / 127.5, -1)]),
}


@pytest.mark.parametrize("dtype", ["uint8", "int32"])
@pytest.mark.parametrize("first", FIRST)
def test_pixels_may_come_as_whole_numbers(first, dtype, tmp_path):
    inputs = keras.Input((6, 6, 3), dtype=dtype)
    hidden = layers.Conv2D(4, 1)(FIRST[first]()(inputs))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(hidden)))
    x = np.random.default_rng(0).integers(0, 256, (32, 6, 6, 3)).astype(dtype)
    gap = exported(model, (x, np.arange(32) % 2), tmp_path / "net.tflite")
    assert gap < 0.1


@pytest.mark.parametrize("name", ["border", "zero_padding2d_7"])
def test_what_the_converter_lacks_is_named_with_its_layer(name, tmp_path):
    """TFLite pads no bytes."""
    inputs = keras.Input((6, 6, 3), dtype="uint8")
    hidden = layers.Conv2D(4, 1)(layers.Rescaling(1 / 127.5, -1)(layers.ZeroPadding2D(name=name)(inputs)))
    model = keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(hidden)))
    x = np.zeros((32, 6, 6, 3), "uint8")
    with pytest.raises(ExportError, match=f"the operation Pad of layer '{name}'"):
        exported(model, (x, np.arange(32) % 2), tmp_path / "net.tflite")
