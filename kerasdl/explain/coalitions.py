"""Coalitions of an example's parts: the score of a model where some parts are shown and the others hidden.

A part is a player of the game that Shapley values share out: a column of a table, a superpixel of an image, a token.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from .targets import Target, fitting_array, fixed_target, network_of, refuse_raw, scores_of

CHUNK = 256
"""Examples that a network computes at once."""
MOST_PARTS = 4096


class PartValues(NamedTuple):
    """Values of the parts of examples, such as Shapley values.

    Example:
        >>> row = keras.Input((4,))
        >>> net = keras.Model(row, keras.layers.Dense(2)(row))
        >>> kerasdl.explain.shap(net, np.ones((2, 4), "float32")).spread().shape
        (2, 4)
    """

    values: np.ndarray
    """(B, M) float64: what each part adds to the score."""
    base: np.ndarray
    """(B,) float64: the score where every part is hidden; for `lime`, the intercept."""
    errors: np.ndarray
    """(B, M) float64: the standard error of each value; 0 where values are exact."""
    groups: np.ndarray
    """(B, ...) whole numbers: the part of each number of an example; -1 for what is always shown."""

    def spread(self) -> np.ndarray:
        """Returns the value of each number's part, (B, ...) of the shape of `groups`, 0 for numbers of no part."""
        rows = [np.append(row, 0.0)[group] for row, group in zip(self.values, self.groups, strict=True)]
        return np.stack(rows)


class Game(NamedTuple):
    """One example as a game: the parts that it has, and the score of coalitions of them."""

    parts: int
    """M."""
    score: Callable[[np.ndarray], np.ndarray]
    """Takes coalitions (N, M), true for parts that are shown, and returns scores (N,) float64."""


def games_of(model: Any, inputs: Any, target: Target, groups: Any, background: Any) -> tuple[list[Game], np.ndarray]:
    """Returns a game for each example, and the groups of all.

    Raises:
        ArgumentError: the model, inputs, target, groups or background do not fit, or examples differ in their parts.
    """
    network = network_of(model)
    refuse_raw(model, inputs)
    x = checked_inputs(network, inputs)
    groups = _checked_groups(groups, x)
    background = _checked_background(background, x)
    if target is not None and not callable(target):
        classes = np.asarray(target)
        if classes.shape not in ((), (len(x),)) or classes.dtype.kind not in "iu":
            checks.refuse(f"target must be a class, or one for each of the {len(x)} examples", target)
    target = fixed_target(network, tf.convert_to_tensor(x), target)
    games = []
    for place, (example, group) in enumerate(zip(x, groups, strict=True)):
        own = target if callable(target) or np.ndim(target) == 0 else int(np.asarray(target)[place])
        games.append(Game(int(group.max()) + 1, _score(network, example, group, background, own)))
    if len(counts := {game.parts for game in games}) > 1:
        checks.refuse("all examples of a call must have as many parts", sorted(counts), "Call once for each example.")
    return games, groups


def checked_inputs(network: keras.Model, inputs: Any) -> np.ndarray:
    """Returns one batch of inputs, floats or token ids, in the dtype of the network.

    Raises:
        ArgumentError: the network has several inputs, or the inputs do not fit.
    """
    if len(network.inputs or ()) != 1:
        checks.refuse("a model to explain must be functional, with one input", len(network.inputs or ()))
    expected = network.inputs[0]
    array = fitting_array(inputs, expected)
    if not np.isfinite(array).all():
        checks.refuse("inputs to explain must be finite", "NaN or infinity")
    if "int" in expected.dtype and array.dtype.kind == "f" and (array != np.round(array)).any():
        checks.refuse("inputs must be whole numbers, such as token ids", array.dtype)
    return array.astype(expected.dtype)


def _checked_groups(groups: Any, x: np.ndarray) -> np.ndarray:
    """Returns the part of each number, (B, ...) of the shape of `x`."""
    if groups is None:
        if x.ndim != 2:
            hint = "Take superpixels(images) for images."
            checks.refuse("groups must be given for inputs that are no rows (B, M)", x.shape, hint)
        return np.broadcast_to(np.arange(x.shape[1]), x.shape)
    groups = np.asarray(groups)
    rule = f"groups must be whole numbers of the shape {x.shape}, with or without the first and the last axis"
    if groups.dtype.kind not in "iu":
        checks.refuse(rule, groups.dtype)
    for shape in (x.shape, x.shape[1:]):
        if groups.shape == shape[:-1] and groups.ndim > 1:  # of all channels
            groups = groups[..., None]
        if groups.ndim == len(shape) and groups.shape[:-1] == shape[:-1] and groups.shape[-1] in (1, shape[-1]):
            groups = np.broadcast_to(groups, x.shape)
            break
    else:
        checks.refuse(rule, groups.shape)
    for group in groups:
        found = np.unique(group[group >= 0])
        if not len(found) or found[-1] != len(found) - 1 or group.min() < -1:
            checks.refuse("groups of an example must be numbered from 0 without gaps; -1 is always shown", found[-5:])
        if len(found) > MOST_PARTS:
            checks.refuse(f"an example must have at most {MOST_PARTS} parts", len(found))
    return groups


def _checked_background(background: Any, x: np.ndarray) -> np.ndarray:
    """Returns what stands in hidden places, (R, ...): one number, one example, or several to average over."""
    array = np.asarray(background)
    if array.ndim == 0:
        array = np.broadcast_to(array, (1, *x.shape[1:]))
    elif array.shape == x.shape[1:]:
        array = array[None]
    if array.shape[1:] != x.shape[1:] or not len(array) or array.dtype.kind not in "fiub":
        rule = f"background must be a number, or examples of shape {x.shape[1:]}"
        checks.refuse(rule, f"{array.dtype} of shape {array.shape}")
    if not np.isfinite(array).all():
        checks.refuse("background must be finite", "NaN or infinity")
    if x.dtype.kind in "iu" and (array != np.round(array)).any():
        checks.refuse("background of whole numbers must be one, such as a token id", float(array.flat[0]))
    return array.astype(x.dtype)


def _score(network: keras.Model, example: np.ndarray, group: np.ndarray, background: np.ndarray, target: Target):
    def score(coalitions: np.ndarray) -> np.ndarray:
        shown = np.concatenate([coalitions, np.ones((len(coalitions), 1), bool)], axis=1)  # -1, always
        scores = np.zeros(len(coalitions))
        for row in background:
            for start in range(0, len(coalitions), CHUNK):
                mask = shown[start : start + CHUNK][:, group]  # (n, ...)
                mixed = np.where(mask, example, row)
                outputs = network(tf.convert_to_tensor(mixed), training=False)
                scores[start : start + CHUNK] += scores_of(outputs, target).numpy().astype(float)
        if not np.isfinite(scores).all():
            checks.refuse("scores to explain must be finite", "NaN or infinity", "Look at the weights of the model.")
        return scores / len(background)

    return score
