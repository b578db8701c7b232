"""Views of what a net has learned: maps of its layers, filters, and images that a score or a layer likes best."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.keras_graph import all_layers, is_graph

from .targets import Target, float_inputs, network_and_inputs, network_of, refuse_raw, run_with, scores_of


def feature_maps(model: Any, images: Any, layers: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Returns the outputs of layers with places, as the net computes them in inference.

    Source: https://arxiv.org/abs/1311.2901, section 4.

    Args:
        model: a functional `keras.Model` of one image input, or a bundle of one.
        images: (B, H, W, C), prepared as the model takes them.
        layers: names of layers; None takes the last one of each size of maps.

    Returns:
        Arrays (B, h, w, channels) by the name of the layer, in the order of the graph.

    Raises:
        ArgumentError: a layer has no places, the model has none with places, or images do not fit.
        UnknownNameError: there is no layer of a name.

    Example:
        >>> list(feature_maps(model, np.ones((1, 32, 32, 3)), ["stem_conv"]))
        ['stem_conv']
    """
    network, x = network_and_inputs(model, images)
    found: dict[str, np.ndarray] = {}

    def substitute(operation: keras.Operation) -> Callable:
        def run(*args: Any, **kwargs: Any) -> Any:
            outputs = operation(*args, **kwargs)
            if not keras.tree.is_nested(outputs) and (layers is None or operation.name in layers):
                found[operation.name] = outputs.numpy()
            return outputs

        return run

    run_with(network, x, substitute)
    if layers is None:
        placed = {name: each for name, each in found.items() if each.ndim == 4 and each.shape[1] * each.shape[2] > 1}
        found = {name: placed[name] for name in {each.shape[1:3]: name for name, each in placed.items()}.values()}
        if not found:
            checks.refuse("a model must have layers with maps (B, H, W, C)", network.name)
        return found
    for name in layers:
        checks.known_name("layer", name, _names(network))
    if flat := [name for name in found if found[name].ndim != 4]:
        checks.refuse("layers must have maps (B, H, W, C)", f"{flat[0]} {found[flat[0]].shape}")
    return found


def filters(model: Any, layer: str | None = None) -> np.ndarray:
    """Returns the filters of a convolution, each scaled from 0 to 1 as a picture.

    Args:
        model: a functional `keras.Model`, or a bundle of one.
        layer: name of a convolution; None takes the first one.

    Returns:
        (filters, h, w, channels) float32; those of a depthwise convolution have one channel.

    Raises:
        ArgumentError: the layer is no 2-D convolution, or the model has none.
        UnknownNameError: there is no layer of that name.

    Example:
        >>> filters(model).shape[1:]
        (3, 3, 3)
    """
    network = network_of(model)
    kinds = keras.layers.Conv2D, keras.layers.DepthwiseConv2D
    convolutions = [each for each in all_layers(network) if isinstance(each, kinds)]
    if layer is not None:
        checks.known_name("layer", layer, _names(network))
        convolutions = [each for each in convolutions if each.name == layer]
    if not convolutions:
        checks.refuse("filters are those of a Conv2D or DepthwiseConv2D", layer or network.name)
    kernel = np.asarray(convolutions[0].weights[0], "float32")  # (h, w, C, filters), or (h, w, C, multiplier)
    if isinstance(convolutions[0], keras.layers.DepthwiseConv2D):
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    kernel = np.moveaxis(kernel, -1, 0)
    low, high = (edge(axis=(1, 2, 3), keepdims=True) for edge in (kernel.min, kernel.max))
    return (kernel - low) / np.where(high > low, high - low, 1.0)


def activation_maximization(
    model: Any,
    target: Target,
    *,
    shape: Sequence[int] | None = None,
    count: int = 1,
    low: float = -1.0,
    high: float = 1.0,
    steps: int = 200,
    rate: float = 0.05,
    jitter: int = 4,
    decay: float = 1e-3,
    smoothness: float = 1e-2,
    seed: int = 0,
) -> np.ndarray:
    """Returns images that a score likes best, found from noise by gradient ascent.

    Source: https://arxiv.org/abs/1312.6034, section 2 (`decay`); https://arxiv.org/abs/1412.0035, section 3.1
    (`smoothness`, total variation); shifts (`jitter`) as in https://distill.pub/2017/feature-visualization.

    Args:
        model: a functional `keras.Model` of one image input, or a bundle of one. For a channel of a layer take
            `keras.Model(model.input, layer.output)` and a function as target.
        target: a class, one for each image, or a function from the outputs to scores (count,).
        shape: (H, W, C) of the images; None takes the model's.
        count: images.
        low: least value of a pixel.
        high: greatest value.
        steps: of ascent by Adam.
        rate: step size, as a share of the range.
        jitter: images are shifted by up to this many pixels in each step.
        decay: penalty of the mean squared distance from the middle of the range.
        smoothness: penalty of the mean absolute difference of neighbours, as shares of the range.
        seed: of noise and shifts.

    Returns:
        (count, H, W, C) float32 from `low` to `high`.

    Raises:
        ArgumentError: an argument breaks its range, or the score does not depend on the image.

    Example:
        >>> activation_maximization(model, 3, steps=2).shape
        (1, 32, 32, 3)
    """
    for name, value in {"count": count, "steps": steps}.items():
        checks.at_least(name, value, 1)
    checks.at_least("jitter", jitter, 0)
    if target is None or not low < high:
        checks.refuse("a target must be given, and low must be below high", (target, low, high))
    network, rng = network_of(model), np.random.default_rng(seed)
    shape = tuple(network.inputs[0].shape[1:] if shape is None else shape)
    if len(shape) != 3 or None in shape:
        checks.refuse("shape must be (H, W, C) of whole numbers", shape, "Pass shape=, such as (224, 224, 3).")
    noise = rng.uniform(-0.1, 0.1, (count, *shape)).astype("float32")
    float_inputs(network, noise)
    units = tf.Variable(np.arctanh(noise))  # the whole line for the range, so that pixels stay inside it

    def picture() -> tf.Tensor:
        return low + (high - low) * (tf.tanh(units) + 1.0) / 2.0

    optimizer = keras.optimizers.Adam(rate * 2.0)
    for number in range(steps):
        shifts = rng.integers(-jitter, jitter + 1, 2)
        with tf.GradientTape(persistent=number == 0) as tape:
            shown = tf.roll(picture(), shifts, (1, 2))
            scores = scores_of(network(tf.cast(shown, network.inputs[0].dtype), training=False), target)
            share = (shown - low) / (high - low)
            rough = sum(tf.reduce_mean(tf.abs(tf.experimental.numpy.diff(share, axis=axis))) for axis in (1, 2))
            penalty = decay * tf.reduce_mean((2.0 * share - 1.0) ** 2) + smoothness * rough
            loss = penalty - tf.reduce_mean(tf.cast(scores, "float32"))
        if number == 0 and tape.gradient(scores, units) is None:
            checks.refuse("the score must depend on the image", "no gradient")
        gradient = tape.gradient(loss, units)
        optimizer.apply([gradient], [units])
    return picture().numpy()


def deep_dream(
    model: Any,
    image: np.ndarray,
    layer: str,
    *,
    octaves: int = 3,
    ratio: float = 1.4,
    steps: int = 20,
    rate: float = 0.01,
    low: float = -1.0,
    high: float = 1.0,
) -> np.ndarray:
    """Returns an image in which what a layer sees is strengthened, from coarse sizes to fine ones.

    Source: https://research.google/blog/inceptionism-going-deeper-into-neural-networks (2015): gradient ascent on the
    mean square of a layer's output, on enlarged copies (`octaves`), details carried from one to the next.

    Args:
        model: a functional `keras.Model` whose input takes images of any size, or a bundle of one.
        image: (H, W, C), prepared as the model takes it.
        layer: name of the layer.
        octaves: sizes.
        ratio: of the sides of one size to those of the one before.
        steps: of ascent at each size.
        rate: step size, as a share of the range.
        low: least value of a pixel.
        high: greatest value.

    Returns:
        (H, W, C) float32 from `low` to `high`.

    Raises:
        ArgumentError: the model takes one size alone while there are several, or an argument breaks its range.
        UnknownNameError: there is no layer of that name.

    Example:
        >>> deep_dream(model, np.zeros((32, 32, 3)), "stem_conv", octaves=1, steps=2).shape
        (32, 32, 3)
    """
    for name, value in {"octaves": octaves, "steps": steps}.items():
        checks.at_least(name, value, 1)
    checks.within("ratio", ratio, 1.0, 10.0)
    network = network_of(model)
    checks.known_name("layer", layer, _names(network))
    refuse_raw(model, image)
    whole = float_inputs(network, np.asarray(image)[None])
    if octaves > 1 and None not in network.inputs[0].shape[1:3]:
        hint = "Pass octaves=1, or build the model with image_shape=(None, None, 3)."
        checks.refuse("several octaves need a model that takes images of any size", network.inputs[0].shape, hint)
    seen = keras.Model(network.inputs[0], network.get_layer(layer).output)
    size, dream = whole.shape[1:3], None
    for octave in reversed(range(octaves)):
        sides = [max(8, round(side / ratio**octave)) if octave else side for side in size]
        base = tf.image.resize(whole, sides, antialias=True)
        dream = base if dream is None else base + tf.image.resize(dream, sides)
        for _ in range(steps):
            with tf.GradientTape() as tape:
                tape.watch(dream)
                liked = tf.reduce_mean(tf.cast(seen(dream, training=False), "float32") ** 2)
            gradient = tape.gradient(liked, dream)
            step = gradient / (tf.math.reduce_std(gradient) + 1e-8)
            dream = tf.clip_by_value(dream + rate * (high - low) * step, low, high)
        if octave:
            dream = dream - base  # the details alone
    return dream[0].numpy()


def _names(network: keras.Model) -> list[str]:
    return [each.name for each in all_layers(network) if not is_graph(each)]
