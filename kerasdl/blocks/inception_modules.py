"""Inception module: several branches over one input, joined along the channels (https://arxiv.org/abs/1409.4842)."""

from keras import layers

from .convolution import MOMENTUM, conv_norm_act

POOLINGS = {"max": layers.MaxPooling2D, "average": layers.AveragePooling2D}


def inception(x, branches, *, scale: bool = True, epsilon: float = 1e-3, momentum: float = MOMENTUM, name: str):
    """Inception module: parallel branches of convolutions and poolings, concatenated along the channels.

    Source: https://arxiv.org/abs/1409.4842, figure 2b; with steps of 1x7 and 7x1 and forks,
    https://arxiv.org/abs/1512.00567, figures 5 to 7.

    Args:
        x: (B, H, W, C).
        branches: each a tuple of steps. A step is (channels, kernel) or (channels, kernel, stride), a convolution with
            its normalisation and ReLU; ("max" or "average", side, stride), a pooling; or, at the end of a branch, a
            tuple of parallel steps over the same input. Stride 1 pads by `same`, a larger stride does not pad.
        scale: whether the normalisations have a learned factor.
        epsilon: epsilon of the normalisations.
        momentum: momentum of their moving statistics.
        name: prefix of the layer names.

    Returns:
        (B, H / stride, W / stride, the sum of the branches' channels).

    Example:
        >>> branches = ((64, 1),), ((96, 1), (128, 3)), ((16, 1), (32, 5)), (("max", 3, 1), (32, 1))
        >>> inception(keras.Input((28, 28, 192)), branches, name="stage3_block1").shape
        (None, 28, 28, 256)
    """
    norm = dict(scale=scale, epsilon=epsilon, momentum=momentum)
    joined = []
    for branch, steps in enumerate(branches, start=1):
        y = x
        for number, step in enumerate(steps, start=1):
            inner = f"{name}_branch{branch}_{number}"
            if isinstance(step[0], tuple):
                joined += [_step(y, each, f"{inner}{letter}", norm) for each, letter in zip(step, "ab", strict=True)]
                break
            y = _step(y, step, inner, norm)
        else:
            joined.append(y)
    return layers.Concatenate(name=f"{name}_concat")(joined)


def _step(x, step: tuple, name: str, norm: dict):
    kind, size, stride = (*step, 1)[:3]
    padding = "same" if stride == 1 else "valid"
    if kind in POOLINGS:
        return POOLINGS[kind](size, strides=stride, padding=padding, name=f"{name}_pool")(x)
    return conv_norm_act(x, kind, size, stride=stride, padding=padding, name=name, **norm)
