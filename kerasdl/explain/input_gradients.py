"""Attributions by gradients of a score with respect to the input.

Each function returns an array of the input's shape. Gradients are of the outputs as they are: explain logits rather
than probabilities, whose gradients vanish where a net is sure; a warning says so.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.layers import AdaptedWeights

from .targets import CHUNK, Target, at_once, fixed_target, network_and_inputs, run_with, scores_of, warn_of_sure_shares

FEWEST, MOST = 21, 1701
"""Places of a way: the first, and the largest number."""
COMPLETE, ROUNDING = 0.01, 1e-5
"""Share by which a sum may be off, of the difference of the scores and of the scores themselves."""
OTHERS = (keras.layers.LeakyReLU, keras.layers.PReLU, keras.layers.ELU, keras.layers.Softmax)
"""Layers of activations that guided backpropagation does not know."""
BARE_RELUS = {"Relu": None, "Relu6": 6.0}
"""Operations of keras.ops by the name of their class, and the greatest value that they let through."""
BARE_OTHERS = {
    *("Celu", "Elu", "Gelu", "Glu", "HardSigmoid", "HardSilu", "HardTanh", "LeakyRelu", "LogSigmoid", "Mish", "Selu"),
    *("Sigmoid", "Silu", "SoftShrink", "Softmax", "Softplus", "Softsign", "SparsePlus", "Squareplus", "Tanh"),
}


def saliency(model: Any, inputs: Any, target: Target = None) -> np.ndarray:
    """Returns how much a score changes with each number of the input: the size of its gradient.

    Source: https://arxiv.org/abs/1312.6034, section 3.

    Args:
        model: a functional `keras.Model` of one input, or a bundle of one.
        inputs: (B, ...), prepared as the model takes them.
        target: a class, one for each example, or a function from the outputs to scores (B,); None takes the likeliest
            class of each example.

    Returns:
        (B, ...) float32, 0 or more.

    Raises:
        ArgumentError: the model, inputs or target do not fit.

    Example:
        >>> saliency(model, np.zeros((2, 32, 32, 3))).shape
        (2, 32, 32, 3)
    """
    return np.abs(_gradients(*_prepared(model, inputs, target)))


def input_times_gradient(model: Any, inputs: Any, target: Target = None) -> np.ndarray:
    """Returns the input times the gradient of a score: what each number adds, if the score were linear.

    Source: https://arxiv.org/abs/1605.01713, section 3.

    Args:
        model: as in `saliency`, like `inputs` and `target`.
        inputs: (B, ...).
        target: class or function.

    Returns:
        (B, ...) float32, with signs.

    Raises:
        ArgumentError: the model, inputs or target do not fit.

    Example:
        >>> input_times_gradient(model, np.ones((1, 32, 32, 3)), 3).shape
        (1, 32, 32, 3)
    """
    network, x, target = _prepared(model, inputs, target)
    return _gradients(network, x, target) * x.numpy()


def smooth_grad(
    model: Any, inputs: Any, target: Target = None, *, samples: int = 25, noise: float = 0.15, seed: int = 0
) -> np.ndarray:
    """Returns the mean gradient over noisy copies of the input, which is less speckled than one gradient.

    Source: SmoothGrad, https://arxiv.org/abs/1706.03825, section 3.1.

    Args:
        model: as in `saliency`, like `inputs` and `target`.
        inputs: (B, ...).
        target: class or function.
        samples: noisy copies of each example.
        noise: deviation of the noise, as a share of the range of an example.
        seed: of the noise.

    Returns:
        (B, ...) float32, with signs.

    Raises:
        ArgumentError: the model, inputs or target do not fit, or a number is outside.

    Example:
        >>> smooth_grad(model, np.zeros((1, 32, 32, 3)), samples=2).shape
        (1, 32, 32, 3)
    """
    checks.at_least("samples", samples, 1)
    checks.within("noise", noise, 0.0, 10.0)
    network, x, target = _prepared(model, inputs, target)
    rng, axes = np.random.default_rng(seed), tuple(range(1, x.ndim))
    wide = noise * (x.numpy().max(axes, keepdims=True) - x.numpy().min(axes, keepdims=True))
    total = np.zeros(x.shape, "float32")
    for _ in range(samples):
        total += _gradients(network, x + (wide * rng.normal(size=x.shape)).astype("float32"), target)
    return total / samples


def integrated_gradients(
    model: Any, inputs: Any, target: Target = None, *, baseline: Any = 0.0, steps: int | None = None
) -> np.ndarray:
    """Returns what each number adds to a score, on the straight way from a baseline to the input.

    Completeness: the sum over an example is the score of the input less that of the baseline, up to the error of the
    sum over places of the way; `completeness_error` measures it.

    Source: https://arxiv.org/abs/1703.01365, sections 3 and 5; places are the middles of equal parts.

    Args:
        model: as in `saliency`, like `inputs` and `target`.
        inputs: (B, ...).
        target: class or function.
        baseline: where nothing is shown: a number, or an array that broadcasts to the inputs, such as a blurred image.
            0 is grey where pixels run from -1 to 1, and -1 black.
        steps: places of the way. None takes 21, and again three times as many, up to 1701, for examples whose sum is
            more than 1 % off; a warning says how many stay so.

    Returns:
        (B, ...) float32, with signs.

    Raises:
        ArgumentError: the model, inputs, target or baseline do not fit, or `steps` is below 1.

    Example:
        >>> integrated_gradients(model, np.ones((1, 32, 32, 3)), 3, steps=4).shape
        (1, 32, 32, 3)
    """
    count = FEWEST if steps is None else checks.at_least("steps", steps, 1)
    network, x, target = _prepared(model, inputs, target)
    start = _baseline(baseline, x)
    total = _sums_along(network, x, start, target, _middles(count)).astype("float64")
    way, sums = (x - start).numpy(), total / count
    if steps is not None:
        return way * sums.astype("float32")
    ends = [scores_of(network(each, training=False), target).numpy().astype(float) for each in (x, start)]

    def is_off() -> np.ndarray:
        given, wanted = (way * sums).reshape(len(x), -1).sum(axis=1), ends[0] - ends[1]
        return np.abs(given - wanted) > COMPLETE * np.abs(wanted) + ROUNDING * np.abs(ends).max(axis=0)

    while (rows := is_off()).any() and count < MOST:
        rows = np.ones_like(rows) if callable(target) else rows  # a function may know its examples by their places
        between = np.delete(_middles(3 * count), np.s_[1::3])  # every third is a middle of before
        own = np.asarray(target)[rows] if np.ndim(target) == 1 else target
        total[rows] += _sums_along(network, x[rows], start[rows], own, between)
        count *= 3
        sums[rows] = total[rows] / count
    if rows.any():
        rule = f"integrated gradients of {rows.sum()} of {len(x)} examples are more than {COMPLETE:.0%} off"
        checks.warn(f"{rule} after {count} steps. Pass more steps=, or explain logits.", UserWarning)
    return way * sums.astype("float32")


def _middles(count: int) -> np.ndarray:
    """Returns the middles of equal parts of the way from 0 to 1."""
    return (np.arange(count) + 0.5) / count


def _sums_along(network: keras.Model, x: tf.Tensor, start: tf.Tensor, target: Target, places: np.ndarray) -> np.ndarray:
    """Returns the sum of the gradients at places of the way, several places in a batch where few examples are given."""
    total, together = np.zeros(x.shape, "float32"), 1 if callable(target) else max(1, at_once(x) // len(x))
    for first in range(0, len(places), together):
        shares = tf.constant(places[first : first + together], x.dtype)
        on_way = start + tf.reshape(shares, (-1, *[1] * x.ndim)) * (x - start)  # (places, B, ...)
        own = np.tile(target, len(shares)) if np.ndim(target) == 1 and not callable(target) else target
        found = _gradients(network, tf.reshape(on_way, (-1, *x.shape[1:])), own, is_way=True)
        total += found.reshape(len(shares), *x.shape).sum(axis=0)
    return total


def completeness_error(
    model: Any, inputs: Any, attribution: np.ndarray, target: Target = None, *, baseline: Any = 0.0
) -> np.ndarray:
    """Returns how far the sum of an attribution is from the difference of the scores, as a share of that difference.

    Args:
        model: as in `saliency`, like `inputs` and `target`.
        inputs: (B, ...).
        attribution: (B, ...), as `integrated_gradients` returns it.
        target: class or function; None takes the likeliest class of the inputs.
        baseline: as in `integrated_gradients`.

    Returns:
        (B,) float32; infinite where both scores are equal and the sum is not 0.

    Raises:
        ArgumentError: arguments do not fit.

    Example:
        >>> x = np.ones((1, 32, 32, 3))
        >>> completeness_error(model, x, integrated_gradients(model, x)).shape
        (1,)
    """
    network, x, target = _prepared(model, inputs, target)
    if np.shape(attribution) != tuple(x.shape):
        checks.refuse(f"attribution must have the shape of the inputs {tuple(x.shape)}", np.shape(attribution))
    ends = [scores_of(network(each, training=False), target).numpy() for each in (x, _baseline(baseline, x))]
    wanted, given = ends[0] - ends[1], np.asarray(attribution).reshape(len(x), -1).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = np.abs(given - wanted) / np.abs(wanted)
    return np.where(given == wanted, 0.0, shares).astype("float32")


def guided_backprop(model: Any, inputs: Any, target: Target = None) -> np.ndarray:
    """Returns a gradient that passes a ReLU only where its input and the gradient both are positive.

    It shows edges, many of which do not depend on the class (https://arxiv.org/abs/1810.03292).

    Source: https://arxiv.org/abs/1412.6806, section 3.4.

    Args:
        model: as in `saliency`, like `inputs` and `target`; every activation but the last must be a ReLU.
        inputs: (B, ...).
        target: class or function.

    Returns:
        (B, ...) float32, with signs.

    Raises:
        ArgumentError: the model has no ReLU, one inside a layer of another kind or with adapters, or another activation
            before its last layer; inputs or target do not fit.

    Example:
        >>> image = keras.Input((8, 8, 3))
        >>> y = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(image))
        >>> guided_backprop(keras.Model(image, y), np.ones((1, 8, 8, 3))).shape
        (1, 8, 8, 3)
    """
    network, x, target = _prepared(model, inputs, target)
    seen: list[str] = []

    def substitute(operation: keras.Operation) -> Callable:
        inner = operation.layer if isinstance(operation, AdaptedWeights) else None
        if getattr(inner, "activation", None) not in (None, keras.activations.linear):
            hint = "Merge it: kerasdl.sequence.merge_lora(model)."
            checks.refuse("guided backpropagation needs layers without adapters", operation.name, hint)
        kind = "" if isinstance(operation, keras.layers.Layer) else type(operation).__name__  # of keras.ops
        if kind in BARE_RELUS:
            seen.append(operation.name)
            return lambda value, **_: _guided(value, BARE_RELUS[kind])
        if isinstance(operation, keras.layers.ReLU):
            if operation.negative_slope or operation.threshold:
                checks.refuse("guided backpropagation needs plain ReLUs", operation.name)
            seen.append(operation.name)
            return lambda value, **_: _guided(value, operation.max_value)
        if getattr(operation, "activation", None) is keras.activations.relu:
            seen.append(operation.name)
            return _with_guided_activation(operation)
        activation = getattr(operation, "activation", None)
        is_other = (
            isinstance(operation, OTHERS) or kind in BARE_OTHERS or activation not in (None, keras.activations.linear)
        )
        if is_other and operation.name not in network.output_names:
            rule = "guided backpropagation needs a model whose activations but the last are ReLUs"
            checks.refuse(rule, operation.name, "Take saliency.")
        return operation

    def forward(value: tf.Tensor) -> Any:
        seen.clear()
        outputs = run_with(network, value, substitute)
        if not seen:
            checks.refuse("guided backpropagation needs a model with ReLUs", network.name, "Take saliency.")
        return outputs

    return _gradients(forward, x, target)


@tf.custom_gradient
def _guided_relu(x):
    y = tf.nn.relu(x)
    return y, lambda gradient: tf.where((x > 0) & (gradient > 0), gradient, tf.zeros_like(gradient))


def _guided(value: Any, most: float | None) -> Any:
    y = _guided_relu(tf.convert_to_tensor(value))
    return y if most is None else tf.minimum(y, most)


def _with_guided_activation(layer: keras.layers.Layer) -> Callable:
    """Returns a call of a layer whose ReLU is guided; only layers that end in their activation are known."""
    known = (keras.layers.Dense, keras.layers.Activation, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
    known += (keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D, keras.layers.Conv2DTranspose)
    if not isinstance(layer, known):
        checks.refuse("guided backpropagation knows ReLUs of dense and convolution layers", layer.name)

    def run(*args: Any, **kwargs: Any) -> Any:
        kept = layer.activation
        layer.activation = keras.activations.linear
        try:
            sums = layer(*args, **kwargs)
        finally:
            layer.activation = kept
        return _guided_relu(sums)

    return run


def _prepared(model: Any, inputs: Any, target: Target) -> tuple[keras.Model, tf.Tensor, Target]:
    network, x = network_and_inputs(model, inputs)
    return network, x, fixed_target(network, x, target)


def _baseline(baseline: Any, x: tf.Tensor) -> tf.Tensor:
    try:
        array = np.broadcast_to(np.asarray(baseline, x.dtype.as_numpy_dtype), x.shape)
    except ValueError:
        checks.refuse(f"baseline must be a number, or broadcast to the inputs {tuple(x.shape)}", np.shape(baseline))
    return tf.convert_to_tensor(array)


def _gradients(network: Callable, x: tf.Tensor, target: Target, *, is_way: bool = False) -> np.ndarray:
    """Returns the gradient of the score of each example, float32; on the way of a sum a vanishing one is no fault."""
    parts = []
    is_each = not callable(target) and np.ndim(target) == 1
    for start in range(0, len(x), CHUNK):
        part = x[start : start + CHUNK]
        with tf.GradientTape() as tape:
            tape.watch(part)
            outputs = network(part, training=False) if isinstance(network, keras.Model) else network(part)
            scores = scores_of(outputs, target[start : start + CHUNK] if is_each else target)
        if not is_way:
            warn_of_sure_shares(outputs)
        gradient = tape.gradient(scores, part)
        if gradient is None:
            checks.refuse("the score must depend on the input by operations that have gradients", "none")
        parts.append(tf.cast(gradient, "float32").numpy())
    return np.concatenate(parts)
