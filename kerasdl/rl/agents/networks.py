"""Networks of agents: policies and values as flat functional models over any space of observations.

Vectors pass through dense layers, whole numbers through an embedding first, and pictures through convolutions: those
of https://doi.org/10.1038/nature14236 (Methods) from 36 pixels a side on, two of 3 x 3 below.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from kerasdl.core import checks

from ..envs.spaces import Box, Discrete, MultiDiscrete, Space

NATURE = ((32, 8, 4), (64, 4, 2), (64, 3, 1))
SMALL_PICTURES = ((16, 3, 1), (32, 3, 2))
ACTIVATIONS = ("tanh", "relu", "elu", "silu", "gelu")
HIDDEN_GAIN = math.sqrt(2.0)


def policy_network(
    observation_space: Space,
    action_space: Space,
    *,
    hidden: Sequence[int] = (64, 64),
    activation: str = "tanh",
    normalize: bool = False,
    name: str = "policy",
) -> keras.Model:
    """Returns a network from observations to logits of whole-number actions, or to means of real ones.

    Weights are orthogonal; those of the last layer are small, so that every action is likely at first
    (https://arxiv.org/abs/2006.05990, section 3.2).

    Args:
        observation_space: space of the observations.
        action_space: `Discrete` and `MultiDiscrete` give one logit for each value (K), `Box` one mean for each entry.
        hidden: widths of the dense layers.
        activation: one of `tanh`, `relu`, `elu`, `silu`, `gelu`.
        normalize: True if the network first normalizes observations by running statistics, which it keeps.
        name: name of the model.

    Returns:
        A functional model from (B, ...) observations to (B, K) float32.

    Raises:
        ArgumentError: a space or setting is unknown.

    Example:
        >>> policy_network(Box(-1, 1, (4,)), Discrete(2)).output_shape
        (None, 2)
    """
    inputs, x = _features(observation_space, hidden, activation, normalize)
    outputs = layers.Dense(
        action_width(action_space), kernel_initializer=_orthogonal(0.01), dtype="float32", name="actions"
    )(x)
    return keras.Model(inputs, outputs, name=name)


def value_network(
    observation_space: Space,
    *,
    hidden: Sequence[int] = (64, 64),
    activation: str = "tanh",
    normalize: bool = False,
    outputs: int = 1,
    name: str = "value",
) -> keras.Model:
    """Returns a network from observations to values.

    Args:
        observation_space: space of the observations.
        hidden: widths of the dense layers.
        activation: one of `tanh`, `relu`, `elu`, `silu`, `gelu`.
        normalize: True if the network first normalizes observations by running statistics, which it keeps.
        outputs: K, number of values: 1 of a state, or one for each action.
        name: name of the model.

    Returns:
        A functional model from (B, ...) observations to (B, K) float32.

    Raises:
        ArgumentError: the space or a setting is unknown.

    Example:
        >>> value_network(Box(0, 255, (84, 84, 4))).output_shape
        (None, 1)
    """
    inputs, x = _features(observation_space, hidden, activation, normalize)
    values = layers.Dense(
        checks.at_least("outputs", outputs, 1), kernel_initializer=_orthogonal(1.0), dtype="float32", name="values"
    )(x)
    return keras.Model(inputs, values, name=name)


def squashed_policy_network(
    observation_space: Space,
    action_space: Box,
    *,
    hidden: Sequence[int] = (256, 256),
    activation: str = "relu",
    name: str = "policy",
) -> keras.Model:
    """Returns a network from observations to real-number actions within their bounds, by tanh.

    Its layer `squash` has them from -1 to 1, its layer `mean` before tanh.

    Args:
        observation_space: space of the observations.
        action_space: a `Box` of finite bounds.
        hidden: widths of the dense layers.
        activation: one of `tanh`, `relu`, `elu`, `silu`, `gelu`.
        name: name of the model.

    Returns:
        A functional model from (B, ...) observations to (B, D) float32, D the entries of an action.

    Raises:
        ArgumentError: a space or setting is unknown, or the bounds do not leave a range.

    Example:
        >>> squashed_policy_network(Box(-1, 1, (3,)), Box(-2.0, 2.0, (1,))).output_shape
        (None, 1)
    """
    scale, offset = action_scale(action_space)
    inputs, x = _features(observation_space, hidden, activation, False)
    x = layers.Dense(len(scale), kernel_initializer=_orthogonal(0.01), dtype="float32", name="mean")(x)
    x = layers.Activation("tanh", dtype="float32", name="squash")(x)
    outputs = layers.Rescaling(scale, offset, dtype="float32", name="actions")(x)
    return keras.Model(inputs, outputs, name=name)


def critic_network(
    observation_space: Space,
    action_width: int,
    *,
    hidden: Sequence[int] = (256, 256),
    activation: str = "relu",
    name: str = "critic1",
) -> keras.Model:
    """Returns a network from observations and real-number actions to the value of the action, Q.

    Args:
        observation_space: space of the observations.
        action_width: D, entries of an action, which come from -1 to 1.
        hidden: widths of the dense layers; the action goes into the first one.
        activation: one of `tanh`, `relu`, `elu`, `silu`, `gelu`.
        name: name of the model.

    Returns:
        A functional model from [(B, ...) observations, (B, D) actions] to (B, 1) float32.

    Raises:
        ArgumentError: the space or a setting is unknown.

    Example:
        >>> critic_network(Box(-1, 1, (3,)), 1).output_shape
        (None, 1)
    """
    action = keras.Input((checks.at_least("action_width", action_width, 1),), dtype="float32", name="action")
    inputs, x = _features(observation_space, hidden, activation, False, action)
    values = layers.Dense(1, kernel_initializer=_orthogonal(1.0), dtype="float32", name="values")(x)
    return keras.Model([inputs, action], values, name=name)


def action_scale(action_space: Space) -> tuple[list[float], list[float]]:
    """Returns what takes actions from -1 to 1 to the bounds of their space: scale * action + offset.

    Args:
        action_space: a `Box` of float32 with finite bounds.

    Returns:
        Scale and offset of each of the D entries, in their order.

    Raises:
        ArgumentError: the space is no `Box` of real numbers, or a bound is infinite or equals the other one.

    Example:
        >>> action_scale(Box(-1.0, 3.0, (1,)))
        ([2.0], [1.0])
    """
    if not isinstance(action_space, Box) or action_space.dtype != "float32":
        checks.refuse("action_space must be a Box of float32", action_space)
    low, high = (np.broadcast_to(each, action_space.shape).ravel() for each in (action_space.low, action_space.high))
    if not action_space.bounded or not (low < high).all():
        checks.refuse("action_space must have finite bounds, the lower below the upper one", action_space)
    return ((high - low) / 2).tolist(), ((high + low) / 2).tolist()


def action_width(action_space: Space) -> int:
    """Returns the number of outputs of a policy: logits of whole numbers, or means of real ones.

    Raises:
        ArgumentError: the space is unknown, or a Box of bytes, to which real numbers would be cut.
    """
    if isinstance(action_space, Discrete):
        return action_space.n
    if isinstance(action_space, MultiDiscrete):
        return sum(action_space.sizes)
    if isinstance(action_space, Box) and action_space.dtype == "float32":
        return math.prod(action_space.shape)
    checks.refuse("action_space must be Discrete, MultiDiscrete or a Box of float32", action_space)


def picture_scale(space: Box) -> float:
    """Returns the factor that brings bytes, and other values up to 255, to 0 to 1; 1 for other spaces."""
    return 1.0 / max(1.0, float(np.max(space.high))) if space.high == 255 or space.dtype == "uint8" else 1.0


def _features(
    space: Space, hidden: Sequence[int], activation: str, normalize: bool, action: Any = None
) -> tuple[Any, Any]:
    """Returns the input of a network, and the output of its last hidden layer; an action joins before the first one."""
    widths = checks.counts("hidden", tuple(hidden))
    checks.one_of("activation", activation, ACTIVATIONS)
    if not isinstance(space, Discrete | MultiDiscrete | Box):
        checks.refuse("observation_space must be Discrete, MultiDiscrete or Box", space)
    if normalize and (not isinstance(space, Box) or space.dtype != "float32" or len(space.shape) == 3):
        checks.refuse("normalize=True needs observations that are vectors of real numbers", space)
    inputs = keras.Input(space.shape, dtype=space.dtype, name="observation")
    x = _flat(inputs, space, widths[0], activation)
    if normalize:  # with moving statistics alone, which converters fold into the next layer
        x = layers.BatchNormalization(center=False, scale=False, epsilon=1e-5, trainable=False, name="normalize")(x)
    if action is not None:
        x = layers.Concatenate(name="join")([x, action])
    for index, width in enumerate(widths):
        dense = layers.Dense(
            width, activation=activation, kernel_initializer=_orthogonal(HIDDEN_GAIN), name=f"hidden{index + 1}"
        )
        x = dense(x)
    return inputs, x


def _flat(inputs: Any, space: Space, width: int, activation: str) -> Any:
    """Returns observations as vectors (B, D)."""
    if isinstance(space, Discrete):
        column = layers.Reshape((1,), name="column")(inputs)
        return layers.Flatten(name="flatten")(layers.Embedding(space.n, width, name="embedding")(column))
    if isinstance(space, MultiDiscrete):
        scales = [1.0 / max(1, size - 1) for size in space.sizes]  # so that each entry is from 0 to 1
        return layers.Rescaling(scales if len(set(scales)) > 1 else scales[0], name="rescale")(inputs)
    if len(space.shape) == 3:
        return _convolved(inputs, space)
    if space.shape == ():
        return layers.Reshape((1,), name="column")(inputs)
    return inputs if len(space.shape) == 1 else layers.Flatten(name="flatten")(inputs)


def _convolved(inputs: Any, space: Box) -> Any:
    """Returns features of pictures (H, W, C); values up to 255, and bytes, are scaled to 0 to 1."""
    x, side = inputs, min(space.shape[:2])
    scale = picture_scale(space)
    if scale != 1.0 or space.dtype == "uint8":
        x = layers.Rescaling(scale, name="rescale")(x)
    for index, (filters, kernel, stride) in enumerate(NATURE if side >= 36 else SMALL_PICTURES):
        convolution = layers.Conv2D(
            *(filters, kernel, stride),
            padding="valid" if side >= 36 else "same",
            activation="relu",
            kernel_initializer=_orthogonal(HIDDEN_GAIN),
            name=f"conv{index + 1}",
        )
        x = convolution(x)
    return layers.Flatten(name="flatten")(x)


def _orthogonal(gain: float) -> keras.initializers.Initializer:
    return keras.initializers.Orthogonal(gain)
