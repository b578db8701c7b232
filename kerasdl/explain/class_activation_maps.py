"""Class activation maps: which places of a convolutional net's last map speak for a class.

A map is a weighted sum of the channels of a layer; the methods differ in the weights. Maps are (B, H, W) of the input's
size, from 0, nothing, to 1, the largest of an image.
"""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.keras_graph import is_graph

from .targets import Target, at_once, fixed_target, network_and_inputs, run_with, scores_of, warn_of_sure_shares


def grad_cam(model: Any, images: Any, target: Target = None, *, layer: str | None = None) -> np.ndarray:
    """Returns where a net looks for a class: channels weighed by the mean of their gradients, negative sums cut.

    Source: Grad-CAM, https://arxiv.org/abs/1610.02391, section 3, equations 1 and 2.

    Args:
        model: a functional `keras.Model` of one image input, or a bundle of one.
        images: (B, H, W, C), prepared as the model takes them.
        target: a class, one for each image, or a function from the outputs to scores (B,), such as the score of a
            detector's box; None takes the likeliest class of each image.
        layer: name of the layer whose channels are weighed; None takes the last one with places.

    Returns:
        (B, H, W) float32, from 0 to 1; all 0 where nothing speaks for the class.

    Raises:
        ArgumentError: there is no layer with places, or arguments do not fit.

    Example:
        >>> grad_cam(model, np.ones((2, 32, 32, 3)), 3).shape
        (2, 32, 32)
    """
    return weighed_by_gradients(*_maps_and_gradients(model, images, target, layer))


def weighed_by_gradients(maps: np.ndarray, gradients: np.ndarray, images: tf.Tensor) -> np.ndarray:
    """Returns the heat of `grad_cam`, from 0 to 1, for maps (B, h, w, channels) and the gradients of scores."""
    weights = gradients.mean(axis=(1, 2), keepdims=True)
    return _heat((maps * weights).sum(axis=-1), images)


def grad_cam_plus_plus(model: Any, images: Any, target: Target = None, *, layer: str | None = None) -> np.ndarray:
    """Returns a class activation map that covers several objects of a class better.

    Weights are means of the positive gradients, each place with a share of its own.

    Source: Grad-CAM++, https://arxiv.org/abs/1710.11063, section 3.2, equations 10 and 19.

    Args:
        model: as in `grad_cam`, like all arguments.
        images: (B, H, W, C).
        target: class or function.
        layer: name of a layer, or None.

    Returns:
        (B, H, W) float32, from 0 to 1.

    Raises:
        ArgumentError: as in `grad_cam`.

    Example:
        >>> grad_cam_plus_plus(model, np.ones((1, 32, 32, 3))).shape
        (1, 32, 32)
    """
    maps, gradients, x = _maps_and_gradients(model, images, target, layer)
    square, cube = gradients**2, gradients**3
    below = 2.0 * square + maps.sum(axis=(1, 2), keepdims=True) * cube
    shares = np.where(below != 0, square / np.where(below != 0, below, 1.0), 0.0)
    weights = (shares * np.maximum(gradients, 0.0)).sum(axis=(1, 2), keepdims=True)
    return _heat((maps * weights).sum(axis=-1), x)


def layer_cam(model: Any, images: Any, target: Target = None, *, layer: str | None = None) -> np.ndarray:
    """Returns a class activation map whose weights are positive gradients place by place, for finer layers too.

    Source: LayerCAM, https://ieeexplore.ieee.org/document/9462463, section III, equations 4 to 6.

    Args:
        model: as in `grad_cam`, like all arguments.
        images: (B, H, W, C).
        target: class or function.
        layer: name of a layer, or None.

    Returns:
        (B, H, W) float32, from 0 to 1.

    Raises:
        ArgumentError: as in `grad_cam`.

    Example:
        >>> layer_cam(model, np.ones((1, 32, 32, 3))).shape
        (1, 32, 32)
    """
    maps, gradients, x = _maps_and_gradients(model, images, target, layer)
    return _heat((maps * np.maximum(gradients, 0.0)).sum(axis=-1), x)


def score_cam(
    model: Any, images: Any, target: Target = None, *, layer: str | None = None, baseline: float = 0.0
) -> np.ndarray:
    """Returns a class activation map without gradients: each channel is weighed by the score of the image under it.

    Every channel, enlarged and scaled from 0 to 1, multiplies the image; one run of the model a channel.

    Source: Score-CAM, https://arxiv.org/abs/1910.01279, section 3, equations 5 to 8.

    Args:
        model: as in `grad_cam`, like `images`, `target` and `layer`.
        images: (B, H, W, C).
        target: class or function.
        layer: name of a layer, or None.
        baseline: value of a pixel that is hidden, such as 0 for the grey of -1 to 1.

    Returns:
        (B, H, W) float32, from 0 to 1.

    Raises:
        ArgumentError: as in `grad_cam`.

    Example:
        >>> score_cam(model, np.ones((1, 32, 32, 3))).shape
        (1, 32, 32)
    """
    network, x = network_and_inputs(model, images)
    target, maps = fixed_target(network, x, target), spatial_maps(network, x, layer)

    def score(shown: tf.Tensor) -> np.ndarray:
        own = np.tile(target, len(shown) // len(x)) if np.ndim(target) == 1 else target
        return scores_of(network(shown, training=False), own).numpy()

    return weighed_by_scores(score, maps, x, baseline, together=len(x) if callable(target) else None)


def weighed_by_scores(
    score: Callable, maps: tf.Tensor, images: tf.Tensor, baseline: float, *, together: int | None = None
) -> np.ndarray:
    """Returns the heat of `score_cam`, from 0 to 1, by any function of scores.

    Args:
        score: takes the images (N B, H, W, C) N times over, under one channel after another, and returns their scores
            (N B,); any runtime can stand behind it.
        maps: (B, h, w, channels) of a layer.
        images: (B, H, W, C).
        baseline: value of a pixel that is hidden.
        together: images that are scored at once, about; None takes as many as fit.
    """
    grown = tf.image.resize(maps, images.shape[1:3])
    low, high = (edge(grown, axis=(1, 2), keepdims=True) for edge in (tf.reduce_min, tf.reduce_max))
    masks = (grown - low) / tf.maximum(high - low, 1e-9)  # (B, H, W, channels)
    plain = score(tf.zeros_like(images) + baseline)
    weights = np.zeros((len(images), maps.shape[-1]), "float32")
    step = max(1, (together or at_once(images)) // len(images))
    for first in range(0, maps.shape[-1], step):
        part = tf.cast(tf.transpose(masks[..., first : first + step], (3, 0, 1, 2)), images.dtype)[..., None]
        shown = tf.reshape(baseline + (images - baseline) * part, (-1, *images.shape[1:]))
        weights[:, first : first + step] = score(shown).reshape(-1, len(images)).T - plain[:, None]
    powers = np.exp(weights - weights.max(axis=1, keepdims=True))
    shares = powers / powers.sum(axis=1, keepdims=True)
    return _heat((maps.numpy() * shares[:, None, None]).sum(axis=-1), images)


def spatial_maps(model: keras.Model, images: Any, layer: str | None = None) -> tf.Tensor:
    """Returns the maps (B, h, w, channels) of a layer for images, float32; None takes the last layer with places."""
    return tf.cast(_maps_and_outputs(model, spatial_layer(model, layer), tf.convert_to_tensor(images))[0], "float32")


def spatial_layer(model: keras.Model, name: str | None = None) -> keras.layers.Layer:
    """Returns a layer whose output has places: the one of that name, or the last one, also inside a nested model.

    Args:
        model: a functional or Sequential model.
        name: of a layer; None takes the last one with maps (B, H, W, C) of more than one place.

    Returns:
        The layer.

    Raises:
        ArgumentError: no layer has places, that of the name has none, or nested models have several of that name.
        UnknownNameError: there is no layer of that name.

    Example:
        >>> spatial_layer(model).output.shape[1:3]
        (8, 8)
    """
    layers = list(_layers_of(model))
    found = [layer for layer in layers if _has_places(layer)]
    if name is None and not found:
        checks.refuse("a class activation map needs a layer with maps (B, H, W, C)", model.name)
    if name is None:
        return found[-1]
    checks.known_name("layer", name, [layer.name for layer in layers])
    layer, *others = (each for each in layers if each.name == name)
    if others:
        checks.refuse("layer must be the name of one layer", f"{name} of {1 + len(others)}")
    if not _has_places(layer):
        checks.refuse("a class activation map needs a layer with maps (B, H, W, C)", f"{name} {layer.output.shape}")
    return layer


def _layers_of(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """Yields the layers of a model in their order, those of nested models in the place of these."""
    for layer in model.layers:
        if isinstance(layer, keras.Model) and is_graph(layer):
            yield from _layers_of(layer)
        else:
            yield layer


def _has_places(layer: keras.layers.Layer) -> bool:
    outputs = None if isinstance(layer, keras.layers.InputLayer) else getattr(layer, "output", None)
    if not isinstance(outputs, keras.KerasTensor) or len(outputs.shape) != 4:
        return False
    return None in outputs.shape[1:3] or outputs.shape[1] * outputs.shape[2] > 1


def _maps_and_gradients(model: Any, images: Any, target: Target, name: str | None):
    """Returns the maps of a layer, the gradients of the score with respect to them, float32, and the images."""
    network, x = network_and_inputs(model, images)
    target, layer = fixed_target(network, x, target), spatial_layer(network, name)
    return *gradients_of_maps(lambda each: _maps_and_outputs(network, layer, each), x, target, layer.name), x


def gradients_of_maps(run: Callable, images: tf.Tensor, target: Target, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns maps (B, h, w, channels) and the gradients of the score with respect to them, float32.

    Args:
        run: takes images and returns maps and outputs that depend on these.
        images: (B, H, W, C).
        target: as in `grad_cam`, but not None.
        name: of the maps, for messages.

    Raises:
        ArgumentError: the score does not depend on the maps.
    """
    with tf.GradientTape() as tape:
        tape.watch(images)
        maps, outputs = run(images)
        scores = scores_of(outputs, target)
    warn_of_sure_shares(outputs)
    gradients = tape.gradient(scores, maps)
    if gradients is None:
        checks.refuse("the score must depend on the layer", name)
    return tf.cast(maps, "float32").numpy(), tf.cast(gradients, "float32").numpy()


def _maps_and_outputs(network: keras.Model, layer: keras.layers.Layer, x: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Returns the maps of a layer, of its last call, and the outputs of the network."""
    maps = []

    def substitute(operation: keras.Operation) -> Callable:
        def run(*args: Any, **kwargs: Any) -> Any:
            outputs = operation(*args, **kwargs)
            if operation is layer:
                maps.append(outputs)
            return outputs

        return run

    outputs = run_with(network, x, substitute)
    return maps[-1], outputs


def _heat(sums: np.ndarray, images: tf.Tensor) -> np.ndarray:
    """Returns sums (B, h, w) without their negative part, enlarged to the images, the largest of each being 1."""
    grown = tf.image.resize(np.maximum(sums, 0.0)[..., None], images.shape[1:3])[..., 0].numpy()
    most = grown.max(axis=(1, 2), keepdims=True)
    return grown / np.where(most > 0, most, 1.0)
