"""Builders of the models in awkward.py, and the inputs that go with them."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from filling import fill_weights
from keras import ops

L = keras.layers
EXAMPLES = 6

Built = tuple[keras.Model, list[np.ndarray]]


@keras.saving.register_keras_serializable("awkward")
class Bare(L.Layer):
    """A layer around a function of tensors."""

    def __init__(self, function: Callable, **kwargs: Any):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x: Any) -> Any:
        return self.function(x)

    def compute_output_spec(self, x: Any) -> Any:
        traced = tf.function(self.function).get_concrete_function(tf.TensorSpec(x.shape, x.dtype))
        return keras.KerasTensor(traced.outputs[0].shape, traced.outputs[0].dtype.name)


@keras.saving.register_keras_serializable("awkward")
class Cell(L.Layer):
    """A recurrent cell of one's own: the minimal gated unit."""

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units
        self.gate, self.new = L.Dense(units, activation="sigmoid"), L.Dense(units, activation="tanh")

    def build(self, shape: tuple) -> None:
        wide = (*shape[:-1], shape[-1] + self.units)
        self.gate.build(wide)
        self.new.build(wide)
        super().build(shape)

    def call(self, x: Any, states: list, training: bool = False) -> tuple:
        gate = self.gate(ops.concatenate([x, states[0]], axis=-1))
        new = self.new(ops.concatenate([x, gate * states[0]], axis=-1))
        state = gate * states[0] + (1 - gate) * new
        return state, [state]


class Subclassed(keras.Model):
    """A model that is no graph, of a dict in and a dict out."""

    def __init__(self):
        super().__init__()
        self.hidden, self.first, self.second = L.Dense(8, activation="gelu"), L.Dense(3), L.Dense(3)

    def call(self, inputs: dict) -> dict:
        x = self.hidden(ops.concatenate([inputs["zeta"], inputs["alpha"]], axis=-1))
        return {"second": self.second(x), "first": self.first(x)}


def inputs_of(model: keras.Model, high: int = 7, steps: int = 9) -> list[np.ndarray]:
    """Returns seeded inputs of a model: normal floats, whole numbers below `high`, `steps` where a size is free."""
    rng = np.random.default_rng(1)
    arrays = []
    for tensor in model.inputs:
        shape = (EXAMPLES, *(size or steps for size in tensor.shape[1:]))
        if tensor.dtype == "bool":
            array = rng.random(shape) < 0.6
        elif "int" in tensor.dtype:
            array = rng.integers(0, high, shape)
        else:
            array = rng.normal(size=shape)
        arrays.append(array.astype("float32" if tensor.dtype in ("float16", "bfloat16") else tensor.dtype))
    return arrays


def one(layer: Callable, *shapes: tuple, dtype: str = "float32", **inputs: int) -> Built:
    """A model of one layer or function."""
    tensors = [keras.Input(shape, dtype=dtype) for shape in shapes]
    return done(keras.Model(tensors, layer(tensors if len(tensors) > 1 else tensors[0])), **inputs)


def done(model: keras.Model, **inputs: int) -> Built:
    """Fills the weights of a model, and joins it to inputs."""
    return fill_weights(model), inputs_of(model, **inputs)


SEQUENCE, IMAGE, VOLUME, SQUARE = (7, 4), (9, 11, 4), (5, 6, 7, 4), (4, 4)


def padded(layer: Callable, mask_zero: bool = True) -> Built:
    """A classifier of token ids that end in zeros."""
    tokens = keras.Input((8,), dtype="int32", name="tokens")
    model = keras.Model(tokens, L.Dense(4, name="head")(layer(L.Embedding(9, 6, mask_zero=mask_zero)(tokens))))
    ids = np.random.default_rng(1).integers(1, 9, (EXAMPLES, 8)).astype("int32")
    ids[np.arange(8) >= np.array([[8], [2], [3], [5], [8], [6]])] = 0
    return fill_weights(model), [ids]


def masking(layer: Callable) -> Built:
    model, (x,) = one(lambda x: layer(L.Masking()(x)), SEQUENCE)
    x[np.arange(7) >= np.array([[7], [2], [3], [5], [7], [6]])] = 0
    return model, [x]


def initial_state() -> Built:
    x, state = keras.Input(SEQUENCE, name="x"), keras.Input((5,), name="state")
    return done(keras.Model([x, state], L.GRU(5, return_state=True)(x, initial_state=state)))


def stateful() -> Built:
    x = keras.Input(SEQUENCE, batch_size=1, name="x")
    return done(keras.Model(x, L.LSTM(5, stateful=True)(x)))


def seq2seq() -> Built:
    source, target = keras.Input(SEQUENCE, name="source"), keras.Input((5, 4), name="aim")
    encoded, *states = L.LSTM(6, return_sequences=True, return_state=True)(source)
    decoded = L.LSTM(6, return_sequences=True)(target, initial_state=states)
    context = L.Attention()([decoded, encoded])
    return done(keras.Model([source, target], L.Dense(4)(L.Concatenate()([decoded, context]))))


def crnn() -> Built:
    image = keras.Input((8, 12, 1), name="image")
    x = L.MaxPooling2D((2, 1))(L.Conv2D(4, 3, padding="same", activation="relu")(image))
    x = L.Reshape((12, 16))(L.Permute((2, 1, 3))(x))
    return done(keras.Model(image, L.Dense(5)(L.Bidirectional(L.LSTM(4, return_sequences=True))(x))))


def autoencoder() -> Built:
    def layers(x: Any) -> Any:
        x = L.RepeatVector(7)(L.LSTM(3)(x))
        return L.TimeDistributed(L.Dense(4))(L.LSTM(5, return_sequences=True)(x))

    return one(layers, SEQUENCE)


def attention(layer: Callable, shape: tuple = (7, 8), **call: Any) -> Built:
    return one(lambda x: layer(x, x, **call), shape)


def attention_mask() -> Built:
    x, seen = keras.Input((7, 8), name="x"), keras.Input((7, 7), dtype="bool", name="seen")
    return done(keras.Model([x, seen], L.MultiHeadAttention(2, 4)(x, x, attention_mask=seen)))


def encoder_block(dtype: str | None = None) -> Built:
    x = tokens = keras.Input((8,), dtype="int32", name="tokens")
    x = L.Embedding(9, 8, mask_zero=True, dtype=dtype)(x)
    y = L.LayerNormalization(dtype=dtype)(x)
    x = L.Add(dtype=dtype)([x, L.MultiHeadAttention(2, 4, dtype=dtype)(y, y)])
    y = L.Dense(16, activation="gelu", dtype=dtype)(L.LayerNormalization(dtype=dtype)(x))
    x = L.Add(dtype=dtype)([x, L.Dense(8, dtype=dtype)(y)])
    model = keras.Model(tokens, L.Dense(4, dtype="float32")(L.GlobalAveragePooling1D(dtype=dtype)(x)))
    return done(model, high=9)


def conv_net(dtype: str | None = None, **conv: Any) -> Built:
    def layers(x: Any) -> Any:
        x = L.BatchNormalization(dtype=dtype)(L.Conv2D(8, 3, padding="same", dtype=dtype, **conv)(x))
        x = L.GlobalAveragePooling2D(dtype=dtype)(L.Activation("silu", dtype=dtype)(x))
        return L.Dense(5, dtype="float32")(x)

    return one(layers, IMAGE)


def convnext_block() -> Built:
    def layers(x: Any) -> Any:
        y = L.LayerNormalization(epsilon=1e-6)(L.DepthwiseConv2D(7, padding="same")(x))
        return L.Add()([x, L.Dense(4)(L.Dense(16, activation="gelu")(y))])

    return one(layers, IMAGE)


def padded_pooling() -> Built:
    """As in ResNet50V2: a maximum over zeros that stand around negative numbers."""
    return one(lambda x: L.MaxPooling2D(3, strides=2)(L.ZeroPadding2D(1)(L.Conv2D(4, 3, activation="silu")(x))), IMAGE)


def augmented(*layers: keras.layers.Layer, shape: tuple = (8, 8, 3)) -> Built:
    """A classifier with augmentation in its graph; images from 0 to 1."""
    x = image = keras.Input(shape, name="image")
    for layer in layers:
        x = layer(x)
    model = fill_weights(keras.Model(image, L.Dense(5, name="head")(L.Flatten()(x))))
    return model, [np.random.default_rng(1).uniform(0, 1, (EXAMPLES, *shape)).astype("float32")]


def adapted() -> Built:
    layer = L.Normalization()
    layer.adapt(np.random.default_rng(0).normal(3, 2, (50, 4)))
    model, (x,) = one(lambda x: L.Dense(3)(layer(x)), (4,))
    return model, [3 + 2 * x]


def boxes(x: Any) -> tuple:
    corners = tf.abs(x[..., :2])  # TensorFlow takes a box below 0 for a suppressed one
    return tf.concat([corners, corners + tf.abs(x[..., 2:4]) + 0.5], -1), x[..., 4]


def suppressed(x: Any) -> Any:
    where, scores = boxes(x)
    kept, _ = tf.image.non_max_suppression_padded(where[0], scores[0], 5, 0.4, pad_to_max_output_size=True)
    return tf.gather(where[0], kept)[None]


def one_by_one(function: Callable, shape: tuple) -> Built:
    x = keras.Input(shape, batch_size=1, name="x")
    return done(keras.Model(x, Bare(function)(x)))


def windows(x: Any) -> Any:
    """Swin's shifted windows: rolled, cut into 4 x 4, attended over, put together, rolled back."""
    parts = ops.reshape(ops.roll(x, (-2, -2), axis=(1, 2)), (-1, 2, 4, 2, 4, 3))
    parts = ops.reshape(ops.transpose(parts, (0, 1, 3, 2, 4, 5)), (-1, 16, 3))
    parts = ops.matmul(ops.softmax(ops.matmul(parts, ops.transpose(parts, (0, 2, 1)))), parts)
    whole = ops.transpose(ops.reshape(parts, (-1, 2, 2, 4, 4, 3)), (0, 1, 3, 2, 4, 5))
    return ops.roll(ops.reshape(whole, (-1, 8, 8, 3)), (2, 2), axis=(1, 2))


def segments(x: Any) -> Any:
    sums = ops.segment_sum(ops.transpose(x, (1, 0, 2)), np.array([0, 2, 1, 0, 1, 2, 2]), 3)
    return ops.transpose(sums, (1, 0, 2))


def argmax_of_zeros() -> Built:
    """Many ties, some of 0.0 and -0.0, of which Keras takes the former for the larger."""
    model, (x,) = one(lambda x: ops.one_hot(ops.argmax(x, axis=-1), 4), SEQUENCE)
    return model, [np.trunc(x)]


def scanned(x: Any) -> Any:
    """An exponential moving average over time."""
    steps = ops.transpose(x, (1, 0, 2))
    _, means = ops.scan(lambda mean, step: 2 * (0.9 * mean + 0.1 * step,), ops.zeros_like(steps[0]), steps)
    return ops.transpose(means, (1, 0, 2))


def nested() -> Built:
    def inner(shape: tuple, units: int) -> keras.Model:
        x = keras.Input(shape)
        return keras.Model(x, L.Dense(units, activation="gelu")(x))

    first = keras.Sequential([keras.Input((4,)), L.Dense(6), inner((6,), 5)])
    x = keras.Input((4,), name="x")
    return done(keras.Model(x, inner((5,), 3)(first(x))))


def dicts() -> Built:
    inputs = {"zeta": keras.Input((3,), name="zeta"), "alpha": keras.Input((3,), name="alpha")}
    x = L.Subtract()([inputs["zeta"], inputs["alpha"]])
    return done(keras.Model(inputs, {"right": L.Dense(2)(x), "left": L.Dense(2, activation="gelu")(x)}))


def unordered() -> Built:
    tokens, values = keras.Input((6,), dtype="int64", name="tokens"), keras.Input((4,), name="after")
    flags, pixels = keras.Input((5,), dtype="bool", name="flags"), keras.Input((3,), dtype="uint8", name="bytes")
    parts = [L.Flatten()(L.Embedding(7, 3)(tokens)), values, ops.cast(flags, "float32"), L.Rescaling(1 / 255)(pixels)]
    x = L.Concatenate()(parts)
    outputs = [L.Dense(3, name=name)(x) for name in ("zeta", "alpha", "middle")]
    return done(keras.Model([tokens, values, flags, pixels], outputs))


def odd_names() -> Built:
    x = keras.Input((4,), name="2nd input")
    y = L.Dense(4, name="2nd-input_1", activation="gelu")(x)
    return done(keras.Model(x, [L.Dense(3, name="block1.conv-2")(y), L.Dense(3, name="2nd_input")(y)]))


def same_outputs() -> Built:
    x = keras.Input((4,), name="x")
    y = L.Dense(4, name="y")(x)
    return done(keras.Model(x, [y, x, y, L.Dense(4, activation="celu", name="z")(y)]))


def shared() -> Built:
    left, right = keras.Input(SEQUENCE, name="right"), keras.Input(SEQUENCE, name="left")
    layer = L.GRU(5)
    return done(keras.Model([left, right], L.Dot(1, normalize=True)([layer(left), layer(right)])))


def never_used() -> Built:
    class Half(L.Layer):
        def build(self, shape: tuple) -> None:
            self.used = self.add_weight(shape=(shape[-1], 3), name="used")
            self.spare = self.add_weight(shape=(2, 2), name="spare", trainable=False)

        def call(self, x: Any) -> Any:
            return ops.gelu(ops.matmul(x, self.used), approximate=False)

    frozen = L.Dense(4)
    frozen.trainable = False
    return one(lambda x: Half()(frozen(x)), (4,))


def late_sequential() -> Built:
    model = keras.Sequential([L.Conv1D(4, 3, padding="causal", groups=2), L.GRU(5), L.Dense(3)])
    x = np.random.default_rng(1).normal(size=(EXAMPLES, *SEQUENCE)).astype("float32")
    model(x)
    return fill_weights(model), [x]


def subclassed() -> Built:
    rng = np.random.default_rng(1)
    x = {name: rng.normal(size=(EXAMPLES, 3)).astype("float32") for name in ("alpha", "zeta")}
    model = Subclassed()
    model(x)
    return fill_weights(model), list(x.values())


def selected() -> Built:
    x, keep = keras.Input((7, 4), name="x"), keras.Input((7,), dtype="bool", name="keep")
    scores = ops.where(ops.expand_dims(keep, -1), x, -1e9)
    return done(keras.Model([x, keep], ops.softmax(scores, axis=1)))


def fourier_mixer() -> Built:
    return one(lambda x: L.Dense(4)(ops.fft2((x, ops.zeros_like(x)))[0]), SEQUENCE)


def looked_up() -> Built:
    """A tabular net: one column's ids one-hot, another's in embeddings, both with room for unknown ones."""
    tensors = [keras.Input((2,), dtype="int64", name=name) for name in ("shop", "article")]
    one_hot = L.IntegerLookup(vocabulary=[3, 50, 1, 400], output_mode="multi_hot")(tensors[0])
    ids = L.IntegerLookup(vocabulary=[7, 2, 5], num_oov_indices=2, mask_token=0)(tensors[1])
    x = L.Concatenate()([one_hot, L.Flatten()(L.Embedding(6, 3)(ids))])
    model = fill_weights(keras.Model(tensors, L.Dense(3)(x)))
    choices = ([3, 50, 1, 400, 8, 0], [7, 2, 5, 0, 9, 1000])
    return model, [np.random.default_rng(1).choice(each, (EXAMPLES, 2)) for each in choices]
