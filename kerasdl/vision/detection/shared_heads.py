"""Heads that all feature levels share: layers made once and called on the map of each level."""

import math
from collections.abc import Mapping
from typing import Any

import keras
from keras import layers

PRIOR = 0.01  # probability of every class that a fresh classifier gives (https://arxiv.org/abs/1708.02002, section 4.1)


def shared_tower(maps: Mapping[str, Any], channels: int, depth: int, *, groups: int | None = None, name: str) -> dict:
    """Convolutions 3x3 with ReLU, shared by all levels.

    Source: RetinaNet, https://arxiv.org/abs/1708.02002, section 4; group normalisation as in FCOS,
    https://arxiv.org/abs/1904.01355, section 4.

    Args:
        maps: (B, h, w, C) of each level by its name.
        channels: filters of each convolution.
        depth: number of convolutions.
        groups: groups of a group normalisation after each convolution; None normalises nothing.
        name: beginning of every layer name.

    Returns:
        (B, h, w, channels) of each level by its name.
    """
    start = keras.initializers.RandomNormal(stddev=0.01)
    for number in range(1, depth + 1):
        steps = [
            layers.Conv2D(channels, 3, padding="same", kernel_initializer=start, name=f"{name}_conv{number}"),
            *([layers.GroupNormalization(groups, epsilon=1e-5, name=f"{name}_norm{number}")] if groups else []),
            layers.ReLU(name=f"{name}_relu{number}"),
        ]
        for step in steps:
            maps = {level: step(each) for level, each in maps.items()}
    return dict(maps)


def shared_output(
    maps: Mapping[str, Any],
    channels: int,
    *,
    kernel: int = 3,
    prior: float | None = None,
    start: float = 0.0,
    act: str = "linear",
    name: str,
) -> dict:
    """Last convolution of a head, shared by all levels, in float32.

    Args:
        maps: (B, h, w, C) of each level by its name.
        channels: numbers of one place.
        kernel: side of the kernel in places.
        prior: probability of every class that a fresh head gives; None takes `start`.
        start: number that a fresh head gives.
        act: activation of the head.
        name: beginning of the names of the layers and heads.

    Returns:
        `{"classes_stride8": (B, h, w, channels), ...}` for a `name` of `classes`.
    """
    bias = start if prior is None else -math.log((1 - prior) / prior)
    last = layers.Conv2D(
        channels,
        kernel,
        padding="same",
        kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
        bias_initializer=keras.initializers.Constant(bias),
        dtype="float32",
        name=f"{name}_conv",
    )
    names = {level: f"{name}_{level}" for level in maps}
    return {
        names[level]: layers.Activation(act, dtype="float32", name=names[level])(last(each))
        for level, each in maps.items()
    }
