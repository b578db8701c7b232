"""Checks of attributions: whether they depend on what the net learned, and whether the score falls where they point."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.keras_graph import copied

from .targets import Target, fixed_target, network_and_inputs, network_of, scores_of

Method = Callable[[Any, Any, Target], np.ndarray]
"""A function from a model, inputs and a target to an attribution, such as `saliency`."""


class RemovalScores(NamedTuple):
    """Mean scores while pixels go or come in the order of an attribution.

    Example:
        >>> RemovalScores(np.array([0.1]), np.array([0.8])).insertion
        array([0.8])
    """

    deletion: np.ndarray
    """(B,) float64: the mean score while pixels are hidden, the first ones first; low is good."""
    insertion: np.ndarray
    """(B,) float64: the mean score while pixels are shown, the first ones first; high is good."""


def rank_correlation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns the rank correlation (Spearman's) of two attributions for each example, of their sizes.

    Args:
        first: (B, ...) numbers.
        second: the same shape.

    Returns:
        (B,) float64 from -1 to 1; 0 where one of the two is constant.

    Raises:
        ArgumentError: shapes differ.

    Example:
        >>> rank_correlation(np.array([[1.0, 2.0, 3.0]]), np.array([[1.0, 4.0, 9.0]]))
        array([1.])
    """
    first, second = np.abs(np.asarray(first, float)), np.abs(np.asarray(second, float))
    if first.shape != second.shape or first.ndim < 2:
        checks.refuse("attributions must be (B, ...) of one shape", (first.shape, second.shape))
    from scipy.stats import rankdata

    ranks = [rankdata(each.reshape(len(each), -1), axis=1) for each in (first, second)]
    ranks = [each - each.mean(axis=1, keepdims=True) for each in ranks]
    sizes = np.sqrt((ranks[0] ** 2).sum(axis=1) * (ranks[1] ** 2).sum(axis=1))
    return (ranks[0] * ranks[1]).sum(axis=1) / np.where(sizes > 0, sizes, 1.0)


def randomised_weights(
    method: Method, model: Any, inputs: Any, target: Target = None, *, seed: int = 0
) -> dict[str, float]:
    """Returns the rank correlation of an attribution with that of a net whose layers lose their weights, one by one.

    Layers are drawn anew from the last to the first, as they were before training. An attribution that stays as it
    was does not show what the net has learned.

    Source: https://arxiv.org/abs/1810.03292, section 3.1, cascading randomisation.

    Args:
        method: such as `saliency`.
        model: a functional `keras.Model`, or a bundle of one; it stays as it is.
        inputs: as the method takes them.
        target: a class, or one for each example; None takes the likeliest of the trained net.
        seed: of the weights that are drawn.

    Returns:
        The mean correlation over the inputs by the name of the layer, which and all behind which were drawn anew, from
        the last layer to the first.

    Raises:
        ArgumentError: the model has no weights, or arguments do not fit.

    Example:
        >>> from kerasdl.explain import saliency
        >>> row = keras.Input((4,))
        >>> net = keras.Model(row, keras.layers.Dense(2, name="logits")(keras.layers.Dense(8, "tanh", name="h")(row)))
        >>> list(randomised_weights(saliency, net, np.ones((2, 4))))
        ['logits', 'h']
    """
    network, x = network_and_inputs(model, inputs)
    target, kept = fixed_target(network, x, target), network
    network = copied(network)
    weighty = [layer for layer in network.layers if layer.weights]
    if not weighty:
        checks.refuse("a model must have weights", network.name)
    wanted, rng = method(kept, x.numpy(), target), np.random.default_rng(seed)
    found = {}
    for layer in reversed(weighty):
        for weight in layer.weights:
            weight.assign(_drawn(weight, rng))
        found[layer.name] = float(rank_correlation(wanted, method(network, x.numpy(), target)).mean())
    return found


def randomised_labels(method: Method, model: Any, other: Any, inputs: Any, target: Target = None) -> float:
    """Returns the rank correlation of an attribution with that of a net that was trained on shuffled labels.

    An attribution that is the same for both does not show what the net has learned of the labels. `other` has the
    architecture of `model`, and learnt the same examples by heart with labels in a random order.

    Source: https://arxiv.org/abs/1810.03292, section 3.2.

    Args:
        method: such as `saliency`.
        model: a functional `keras.Model`, or a bundle of one.
        other: the net of shuffled labels.
        inputs: as the method takes them.
        target: a class, or one for each example; None takes the likeliest of `model`.

    Returns:
        The mean correlation over the inputs, from -1 to 1.

    Raises:
        ArgumentError: the two nets take other inputs or differ in their outputs, or arguments do not fit.

    Example:
        >>> from kerasdl.explain import saliency
        >>> nets = [keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]) for _ in range(2)]
        >>> -1.0 <= randomised_labels(saliency, *nets, np.ones((2, 4))) <= 1.0
        True
    """
    network, x = network_and_inputs(model, inputs)
    second = network_of(other)
    if network.input_shape != second.input_shape or network.output_shape != second.output_shape:
        shapes = [(each.input_shape, each.output_shape) for each in (network, second)]
        checks.refuse("both nets must have the same inputs and outputs", shapes)
    target = fixed_target(network, x, target)
    maps = [method(each, x.numpy(), target) for each in (network, second)]
    return float(rank_correlation(*maps).mean())


def _drawn(weight: keras.Variable, rng: np.random.Generator) -> np.ndarray:
    """Returns new values: kernels by He's rule; vectors, such as offsets and scales, shuffled."""
    if len(weight.shape) < 2:
        return rng.permutation(weight.numpy())
    spread = (2.0 / max(1, int(np.prod(weight.shape[:-1])))) ** 0.5
    return rng.normal(0.0, spread, weight.shape)


def removal_scores(
    model: Any, images: Any, heat: np.ndarray, target: Target = None, *, background: float = 0.0, steps: int = 20
) -> RemovalScores:
    """Returns the mean score of images whose pixels are hidden, or shown, in the order of an attribution.

    Source: https://arxiv.org/abs/1806.07421, section 4.2 (deletion and insertion, without its blur).

    Args:
        model: a functional `keras.Model` of one image input, or a bundle of one.
        images: (B, H, W, C), prepared as the model takes them.
        heat: (B, H, W), the largest first.
        target: a class, one for each image, or a function from the outputs to scores (B,); probabilities compare
            better than logits: pass `lambda outputs: keras.ops.softmax(outputs)[:, 3]`.
        background: value of a hidden pixel.
        steps: equal parts of the pixels.

    Returns:
        Deletion and insertion scores.

    Raises:
        ArgumentError: shapes do not fit.

    Example:
        >>> removal_scores(model, np.ones((1, 32, 32, 3)), np.ones((1, 32, 32)), steps=2).deletion.shape
        (1,)
    """
    network, x = network_and_inputs(model, images)
    heat, images = np.asarray(heat), x.numpy()
    if x.ndim != 4 or heat.shape != tuple(x.shape[:3]) or not np.isfinite(heat).all():
        checks.refuse(f"heat must be finite {tuple(x.shape[:3])}", heat.shape)
    checks.at_least("steps", steps, 1)
    target = fixed_target(network, x, target)
    places = (-heat.reshape(len(heat), -1)).argsort(axis=1, kind="stable").argsort(axis=1).reshape(heat.shape)
    found = {True: [], False: []}
    for step in range(steps + 1):
        first = (places < round(step / steps * heat[0].size))[..., None]
        for is_shown in found:
            mixed = np.where(first == is_shown, images, background).astype(images.dtype)
            outputs = network(tf.convert_to_tensor(mixed), training=False)
            found[is_shown].append(scores_of(outputs, target).numpy())
    return RemovalScores(np.mean(found[False], axis=0, dtype=float), np.mean(found[True], axis=0, dtype=float))


def pointing_game(heat: np.ndarray, masks: np.ndarray) -> float:
    """Returns the share of images whose largest heat is on the object; where several places share it, their share.

    Chance is the mean share of the objects' area.

    Source: https://arxiv.org/abs/1608.00507, section 4.1, without its tolerance of pixels.

    Args:
        heat: (B, H, W).
        masks: (B, H, W) booleans, true on the object.

    Returns:
        A share from 0 to 1.

    Raises:
        ArgumentError: shapes differ, or an object has no pixel.

    Example:
        >>> pointing_game(np.eye(2)[None], np.array([[[True, True], [False, False]]]))
        0.5
    """
    heat, masks = np.asarray(heat, float), np.asarray(masks, bool)
    if heat.ndim != 3 or heat.shape != masks.shape or not masks.any(axis=(1, 2)).all():
        checks.refuse("heat and masks must be (B, H, W) of one shape, each with an object", (heat.shape, masks.shape))
    if not np.isfinite(heat).all():
        checks.refuse("heat must be finite", "NaN or infinity")
    best = heat == heat.max(axis=(1, 2), keepdims=True)
    return float(((best & masks).sum(axis=(1, 2)) / best.sum(axis=(1, 2))).mean())


def compare_methods(
    methods: Mapping[str, Method],
    model: Any,
    images: Any,
    masks: np.ndarray | None = None,
    target: Target = None,
    *,
    background: float = 0.0,
    steps: int = 20,
) -> dict[str, dict[str, float]]:
    """Returns figures of several methods on the same images: pointing game, deletion, insertion, dependence on weights.

    Args:
        methods: functions by name, such as `{"saliency": explain.saliency}`, to maps (B, H, W) or attributions
            (B, H, W, C), whose sizes are added over channels.
        model: a functional `keras.Model` of one image input, or a bundle of one.
        images: (B, H, W, C), prepared as the model takes them.
        masks: (B, H, W) booleans of the objects; None leaves the pointing game out.
        target: as in `removal_scores`.
        background: value of a hidden pixel.
        steps: of deletion and insertion.

    Returns:
        A row of figures for each method; `random places` is the row of noise.

    Raises:
        ArgumentError: arguments do not fit.

    Example:
        >>> from kerasdl.explain import saliency
        >>> images = np.random.default_rng(0).random((2, 32, 32, 3))
        >>> list(compare_methods({"saliency": saliency}, model, images, steps=2))
        ['saliency', 'random places']
    """
    network, x = network_of(model), network_and_inputs(model, images)[1]
    target = fixed_target(network, x, target)
    rows = {}
    for name, method in {**methods, "random places": None}.items():
        row, heat = {}, np.random.default_rng(0).random(x.shape[:3])
        if method is not None:
            heat = np.abs(method(model, images, target))
            heat = heat.sum(axis=-1) if heat.ndim == 4 else heat
        if masks is not None:
            row["pointing"] = pointing_game(heat, masks)
        scores = removal_scores(model, images, heat, target, background=background, steps=steps)
        row |= {"deletion": float(scores.deletion.mean()), "insertion": float(scores.insertion.mean())}
        if method is not None:
            row["kept without weights"] = [*randomised_weights(method, network, x.numpy(), target).values()][-1]
        rows[name] = row
    return rows
