"""Small random nets of many branches, each an output of its own, from a seed alone: `drawn(seed)`.

A branch depends on the seed of its net and its own number, so that a net of some of the branches holds the very same.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from fuzz_layers import ANY, CHANGES_KIND, KINDS, SEQUENCE, TURNS
from fuzz_rows import Draw, one

BRANCHES = {"film": 3, "wave": 6, "volume": 8, "pixels": 8}  # 12 of the others
SCALES = (0.1, 1.0, 10.0)
FRIENDLY = 72  # examples: the first 40 calibrate, the others are held out
TRIES = 40
MASKS = ("Masking", "masked")
STEPS = ("Discretization",)
ROUGH = ("UpSampling2D", "Resizing")  # float32 even in a net of float64: a norm behind would show their rounding alone


@dataclass
class Net:
    """A drawn net."""

    model: keras.Model | None
    """None where there is no branch."""
    rows: dict[int, str]
    """The row of the tables that each branch is of, by its number."""
    attempts: dict[int, int]
    """Which draw of each branch was the first that Keras took."""
    friendly: list[np.ndarray]
    """Examples for each input, such as a user would have."""


def drawn(seed: int, only: tuple[int, ...] | None = None, attempts: dict[int, int] | None = None) -> Net:
    """Returns the net of a seed, or one of some of its branches.

    Args:
        seed: of the net.
        only: the numbers of its branches; all if None.
        attempts: which draw of each branch to take, where none is to be drawn anew; a branch that fails is left out.
    """
    kind = TURNS[seed % len(TURNS)]
    table, shapes = KINDS[kind]
    rng = np.random.default_rng(seed)
    names = [str(name) for name in np.resize(rng.permutation(sorted(table)), BRANCHES.get(kind, 12))]
    friendly = [_friendly(rng, shape, dtype) for shape, dtype in shapes]
    inputs = [keras.Input(shape, dtype=dtype, name=f"in{k}") for k, (shape, dtype) in enumerate(shapes)]
    rows, taken, outputs = {}, {}, []
    for number in range(len(names)) if only is None else (k for k in only if k < len(names)):
        tries = range(TRIES) if attempts is None else (attempts[number],)
        attempt, output = _branch(seed, number, names[number], kind, inputs, tries)
        if output is not None:
            rows[number], taken[number] = names[number], attempt
            outputs.append(output)
    if not rows:
        return Net(None, rows, taken, friendly)
    model = keras.Model(inputs if len(inputs) > 1 else inputs[0], outputs, name=f"net{seed}")
    for number in rows:
        _fill(model, seed, number)
    return Net(model, rows, taken, friendly)


def in_float64(seed: int, like: Net) -> Net:
    """Returns the net of a seed that computes in float64, with the weights of `like`.

    It lacks branches that TensorFlow computes in float32 alone, such as averages over volumes.
    """
    usual = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    try:
        net = drawn(seed, tuple(like.rows), like.attempts)
    finally:
        keras.config.set_dtype_policy(usual)
    for layer in net.model.layers if net.model is not None else ():
        for weight, value in zip(layer.weights, like.model.get_layer(layer.name).weights, strict=True):
            weight.assign(value.numpy())
    return net


def _branch(
    seed: int, number: int, name: str, kind: str, inputs: list, attempts: Iterable[int]
) -> tuple[int, keras.KerasTensor | None]:
    """Returns one output and which draw gave it; one whose arguments Keras refuses is drawn anew."""
    for attempt in attempts:
        draw = Draw(np.random.default_rng([seed, number, attempt]), f"b{number}_{attempt}")
        try:
            x = _chain(draw, name, kind, inputs)
            _check(inputs, x)
        except Exception:  # Keras says no to the arguments together
            continue
        size = np.prod([size or 0 for size in x.shape[1:]])
        if 0 < size <= 4000 and x.dtype != "bool":
            return attempt, x
    return TRIES, None


def _check(inputs: list, output: keras.KerasTensor) -> None:
    """Raises where Keras cannot run its own branch, called or in a graph (adaptive pooling of few pixels), or gives one
    example another shape than two (Add and Multiply)."""
    model = keras.Model(inputs, output)
    specs = [tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype) for tensor in inputs]
    tf.function(lambda *tensors: model(list(tensors), training=False), autograph=False).get_concrete_function(*specs)
    for count in (1, 2):
        zeros = [np.zeros((count, *tensor.shape[1:]), tensor.dtype) for tensor in inputs]
        if model(zeros, training=False).shape != (count, *output.shape[1:]):
            raise ValueError("the shape depends on the batch")


def _chain(draw: Draw, name: str, kind: str, inputs: list) -> keras.KerasTensor:
    table = KINDS[kind][0]
    x = inputs
    keeps = tuple(row for row in ANY if row not in CHANGES_KIND)
    if kind == "tokens" and draw.rng.random() < 0.7:  # ids alone would give short tables
        embedded = one("Embedding", input_dim=(11,), output_dim=(4,), mask_zero=(False, True))(draw, inputs[0])
        options = {**SEQUENCE, **ANY}
        return options[draw.pick(tuple(options))](draw, embedded)
    # A mask asks for zeros to the last digit, a step for a boundary: behind other layers, rounding decides it.
    if inputs[0].dtype == "float32" and name not in (*MASKS, *STEPS) and draw.rng.random() < 0.4:
        x = [ANY[draw.pick(keeps)](draw, tensor) for tensor in x]
    x = table[name](draw, *x)
    if keras.backend.is_float_dtype(x.dtype) and name not in ROUGH and draw.rng.random() < 0.4:
        x = ANY[draw.pick(tuple(row for row in ANY if row not in STEPS))](draw, x)
    return x


def _fill(model: keras.Model, seed: int, number: int) -> None:
    """Fills the weights of a branch: scaled by fan-in and one of three scales, no statistic at its default."""
    rng = np.random.default_rng([seed, number, 999])
    scale = SCALES[int(rng.integers(len(SCALES)))]
    for layer in model.layers:
        if not layer.name.startswith(f"b{number}_"):
            continue
        for weight in layer.weights:
            name, shape = weight.path.rsplit("/", 1)[-1], tuple(weight.shape)
            if np.dtype(weight.dtype).kind != "f" or (isinstance(layer, keras.layers.Normalization)):
                continue
            if "variance" in name:
                value = 10.0 ** rng.uniform(-3, 1, shape)
            elif name in ("gamma", "scale"):
                value = rng.uniform(0.3, 1.5, shape) * rng.choice([1.0, 1.0, -1.0], shape)
            elif len(shape) < 2:
                value = rng.normal(0.0, 0.3, shape) * scale
            else:
                value = rng.normal(0.0, np.sqrt(1 / max(np.prod(shape[:-1]), 1)), shape)
                # A recurrence of large weights enlarges the last place of its first step to a whole number.
                value *= 0.7 * min(scale, 1.0) if name == "recurrent_kernel" else 1.4 * scale
            weight.assign(value.astype("float32"))


def _friendly(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    many = (FRIENDLY, *shape)
    if dtype == "uint8":
        return rng.integers(0, 256, many).astype(dtype)
    if dtype == "int32":  # sentences with padding behind
        ids = rng.integers(1, 11, many)
        return np.where(np.arange(shape[0]) < rng.integers(1, shape[0] + 1, (FRIENDLY, 1)), ids, 0).astype(dtype)
    way = int(rng.integers(4))
    if way == 0:
        return rng.uniform(0, 1, many).astype(dtype)
    if way == 1:
        return (rng.normal(size=many) * 10.0 ** rng.uniform(-1, 1)).astype(dtype)
    if way == 2:
        return rng.uniform(0, 255, many).astype(dtype)
    return rng.uniform(-1, 1, many).astype(dtype)
