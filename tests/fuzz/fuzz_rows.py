"""Rows of a fuzzer's tables: how a layer, or a few, are drawn and called on the tensors of a branch."""

import re
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

L = keras.layers
# No activations, or ones that a name alone does not give: glu halves a size, threshold wants arguments.
NO_NAMES = ("deserialize", "get", "serialize", "glu", "threshold")
ACTIVATIONS = tuple(
    sorted(name for name in dir(keras.activations) if not name.startswith("_") and name not in NO_NAMES)
)
COMMON = ("linear", "linear", "relu", "tanh", "sigmoid", "gelu", *ACTIVATIONS)
PADDING, YES = ("valid", "same"), (False, True)

Row = Callable[..., keras.KerasTensor]


class Draw:
    """Draws layers of one branch, each under a name that tells the branch."""

    def __init__(self, rng: np.random.Generator, prefix: str):
        self.rng, self.prefix, self.count = rng, prefix, 0

    def pick(self, options: tuple) -> Any:
        return options[int(self.rng.integers(len(options)))]

    def layer(self, kind: str, **options: tuple) -> keras.Layer:
        """Returns a layer of `keras.layers`, each argument drawn from its tuple."""
        self.count += 1
        snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind).lower()
        arguments = {name: self.pick(values) for name, values in options.items()}
        return getattr(L, kind)(**arguments, name=f"{self.prefix}_{snake}_{self.count}")


def one(kind: str, **options: tuple) -> Row:
    """A row of one layer that takes one tensor."""
    return lambda draw, x: draw.layer(kind, **options)(x)


def joined(kind: str, **options: tuple) -> Row:
    """A row of one layer that takes a list of tensors."""
    return lambda draw, *tensors: draw.layer(kind, **options)(list(tensors))


def then(first: Row, second: Row) -> Row:
    return lambda draw, *tensors: second(draw, first(draw, *tensors))


def wrapped(wrapper: str, kind: str, options: dict, **others: tuple) -> Row:
    """A row of a layer within another, as in Bidirectional."""
    return lambda draw, x: draw.layer(wrapper, layer=(draw.layer(kind, **options),), **others)(x)


def shared(draw: Draw, x: Any) -> Any:
    """One layer called twice, the second time on what it gave."""
    layer = draw.layer("Dense", units=(x.shape[-1],), activation=COMMON)
    first = layer(x)
    return draw.layer("Add")([first, layer(first)])


def residual(draw: Draw, x: Any) -> Any:
    kind = draw.pick(("Add", "Multiply", "Average", "Maximum", "Minimum", "Subtract", "Concatenate"))
    return draw.layer(kind)([x, draw.layer("Activation", activation=ACTIVATIONS)(x)])


def nested(draw: Draw, x: Any) -> Any:
    """A model within the model."""
    draw.count += 1
    parts = [draw.layer("Dense", units=(3,), activation=COMMON), draw.layer("Activation", activation=ACTIVATIONS)]
    return keras.Sequential(parts, name=f"{draw.prefix}_sequential_{draw.count}")(x)


def normalization(draw: Draw, x: Any) -> Any:
    size = x.shape[-1]
    mean, variance = draw.rng.normal(size=size), 10.0 ** draw.rng.uniform(-2, 1, size)
    layer = draw.layer("Normalization", mean=(mean.tolist(),), variance=(variance.tolist(),), invert=YES)
    return layer(x)


def attention(draw: Draw, kind: str, *tensors: Any, **options: tuple) -> Any:
    causal = bool(draw.pick(YES))
    layer = draw.layer(kind, **options)
    if kind in ("MultiHeadAttention", "GroupQueryAttention"):
        return layer(tensors[0], tensors[-1], use_causal_mask=causal)
    return layer([tensors[0], tensors[-1]], use_causal_mask=causal)


def attending(kind: str, **options: tuple) -> Row:
    return lambda draw, *tensors: attention(draw, kind, *tensors, **options)


def rnn_of_cells(draw: Draw, x: Any) -> Any:
    cells = [draw.layer(draw.pick(("LSTMCell", "GRUCell", "SimpleRNNCell")), units=(3,), activation=COMMON)]
    cells += [draw.layer("LSTMCell", units=(2,))] * bool(draw.pick(YES))
    return draw.layer("RNN", cell=(cells if len(cells) > 1 else cells[0],), return_sequences=YES)(x)


def relu_of_norm(draw: Draw, x: Any) -> Any:
    return draw.layer("Activation", activation=COMMON)(draw.layer("BatchNormalization", epsilon=(1e-3, 1e-6))(x))


def shared_by_two(draw: Draw, a: Any, b: Any) -> Any:
    layer = draw.layer("Dense", units=(3,), activation=COMMON)
    return draw.layer(draw.pick(("Subtract", "Multiply", "Concatenate")))([layer(a), layer(b)])


def outer(draw: Draw, a: Any, b: Any) -> Any:
    tall, wide = draw.layer("Reshape", target_shape=((8, 1),))(a), draw.layer("Reshape", target_shape=((1, 8),))(b)
    return draw.layer(draw.pick(("Multiply", "Add", "Maximum", "Subtract")))([tall, wide])


def decoder(draw: Draw, a: Any, b: Any) -> Any:
    """A recurrent net that starts from the states of another."""
    _, *states = draw.layer("LSTM", units=(3,), return_state=(True,))(a)
    return draw.layer("LSTM", units=(3,), return_sequences=YES)(b, initial_state=states)
