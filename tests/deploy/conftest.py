"""Small models that a user might bring, and real-looking inputs for them."""

import keras
import numpy as np
import pytest
from filling import fill_weights

L = keras.layers


@keras.saving.register_keras_serializable("deploy_tests")
class IsToken(L.Layer):
    """The mask of token ids: everything but 0."""

    def call(self, tokens):
        return keras.ops.not_equal(tokens, 0)

    def compute_output_spec(self, tokens):
        return keras.KerasTensor(tokens.shape, "bool")


class TwoHeads(keras.Model):
    """A subclassed model that returns a dict."""

    def __init__(self):
        super().__init__()
        self.hidden, self.first, self.second = L.Dense(8, activation="relu"), L.Dense(3), L.Dense(3)

    def call(self, x):
        return {"zeta": self.first(self.hidden(x)), "alpha": self.second(self.hidden(x))}


def conv_bn():
    x = image = keras.Input((16, 16, 3), name="image")
    for index, filters in enumerate((8, 16)):
        x = L.Conv2D(filters, 3, strides=2, padding="same", use_bias=False, name=f"conv{index}")(x)
        x = L.BatchNormalization(name=f"bn{index}")(x)
        x = L.ReLU(6.0, name=f"relu{index}")(x)
    return keras.Model(image, L.Dense(5, name="head")(L.GlobalAveragePooling2D()(x)))


def squeeze():
    image = keras.Input((12, 12, 8), name="image")
    x = L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same")(image))
    x = L.Activation("hard_silu", name="hard_swish")(x)
    scale = L.GlobalAveragePooling2D(keepdims=True)(x)
    scale = L.Conv2D(8, 1, activation="hard_sigmoid")(L.Conv2D(4, 1, activation="relu")(scale))
    x = L.Flatten()(L.Multiply()([x, scale]))
    return keras.Model(image, L.Dense(5, name="head")(x))


def attention():
    x = keras.Input((10, 16), name="x")
    normed = L.LayerNormalization(name="norm")(x)
    y = L.Add()([x, L.MultiHeadAttention(2, 8, name="attention")(normed, normed)])
    y = L.Dense(16, name="down")(L.Activation("gelu", name="gelu")(L.Dense(32, name="up")(y)))  # exact, with erf
    return keras.Model(x, L.Dense(5, name="head")(L.GlobalAveragePooling1D()(y)))


def grouped():
    image = keras.Input((8, 8, 8), name="image")
    x = L.Conv2D(8, 3, groups=2, name="grouped")(image)
    return keras.Model(image, L.Dense(5, name="head")(L.GlobalAveragePooling2D()(x)))


def several():
    """Inputs of unlike dtype out of alphabetical order, outputs of one shape likewise."""
    tokens, values = keras.Input((6,), dtype="int32", name="tokens"), keras.Input((4,), name="after")
    x = L.Concatenate()([L.Flatten()(L.Embedding(7, 3)(tokens)), values])
    return keras.Model([tokens, values], [L.Dense(3, name=name)(x) for name in ("zeta", "alpha", "middle")])


def augmented():
    image = keras.Input((8, 8, 3), name="image")
    x = L.Flatten()(L.Dropout(0.5)(L.RandomFlip(name="flip")(image)))
    return keras.Model(image, L.Dense(5, name="head")(x))


def sequential():
    return keras.Sequential([keras.Input((6,)), L.Dense(8, activation="gelu"), L.Dense(3, name="head")])


def subclassed():
    model = TwoHeads()
    model(np.zeros((2, 6), "float32"))
    return model


def recurrent(*layers, masked=True, steps=8):
    """A classifier over tokens; the mask goes to every layer as a tensor."""
    tokens = keras.Input((steps,), dtype="int32", name="tokens")
    mask = IsToken(name="mask")(tokens) if masked else None
    x = L.Embedding(20, 6, name="embedding")(tokens)
    for layer in layers:
        x = layer(x, mask=mask)
    return keras.Model(tokens, L.Dense(4, name="head")(x))


MODELS = {
    "conv_bn": conv_bn,
    "squeeze": squeeze,
    "attention": attention,
    "grouped": grouped,
    "several": several,
    "augmented": augmented,
    "sequential": sequential,
    "subclassed": subclassed,
    "lstm": lambda: recurrent(L.LSTM(6, name="rnn")),
    "gru": lambda: recurrent(L.GRU(6, name="rnn")),
    "simple": lambda: recurrent(L.SimpleRNN(6, name="rnn")),
    "bilstm": lambda: recurrent(L.Bidirectional(L.LSTM(6), name="rnn")),
    "bigru": lambda: recurrent(L.Bidirectional(L.GRU(6), name="rnn")),
    "stacked": lambda: recurrent(L.LSTM(6, return_sequences=True, name="first"), L.GRU(6, name="rnn")),
    "bidirectional_stacked": lambda: recurrent(
        L.Bidirectional(L.LSTM(6, return_sequences=True), name="first"), L.Bidirectional(L.GRU(6), name="rnn")
    ),
    "lstm_unmasked": lambda: recurrent(L.LSTM(6, name="rnn"), masked=False),
}


@pytest.fixture
def make():
    """Gives a model by name, its weights and statistics filled with random values."""
    return lambda name: fill_weights(MODELS[name]())


@pytest.fixture
def real():
    """Gives 256 inputs of a model, with token sequences padded by 0 at their end; a list where there are several."""

    def inputs(model):
        rng = np.random.default_rng(1)
        if not getattr(model, "inputs", None):
            return rng.normal(size=(256, 6)).astype("float32")
        arrays = []
        for tensor in model.inputs:
            shape = (256, *(size or 8 for size in tensor.shape[1:]))
            if tensor.dtype == "int32":
                array = rng.integers(1, 7, shape)
                array[np.arange(shape[1]) >= rng.integers(2, shape[1] + 1, (256, 1))] = 0
            else:
                array = rng.normal(size=shape)
            arrays.append(array.astype(tensor.dtype))
        return arrays if len(arrays) > 1 else arrays[0]

    return inputs
