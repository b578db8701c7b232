"""Levels of a feature pyramid: their strides, and upsampling from one to the next finer."""

import itertools
import re

from keras import layers

from kerasdl.core import checks
from kerasdl.layers import ResizeLike


def check_levels(features: dict, *, least: int = 1) -> list[int]:
    """Returns the stride of each level, fine to coarse, each twice the one before; else raises `ArgumentError`."""
    names = list(features) if isinstance(features, dict) else []
    are_strides = all(re.fullmatch(r"stride[1-9]\d*", str(name)) for name in names)
    strides = [int(name.removeprefix("stride")) for name in names] if are_strides else []
    if len(strides) < least or any(fine * 2 != coarse for fine, coarse in itertools.pairwise(strides)):
        rule = f"features must be a dict of {least} or more levels such as stride8, each stride twice the one before"
        checks.refuse(rule, names or features)
    return strides


def upsample_like(x, like, *, interpolation: str = "nearest", dtype: str | None = None, name: str):
    """Upsampling of (B, h, w, C) to the sides of `like`, `nearest` or `bilinear`; the same sides return `x`.

    Where all sides are known and each is a multiple, the layer is Keras's UpSampling2D.
    """
    pairs = list(zip(like.shape[1:3], x.shape[1:3], strict=True))
    if None in like.shape[1:3] or None in x.shape[1:3] or any(large % small for large, small in pairs):
        return ResizeLike(interpolation, dtype=dtype, name=name)([x, like])
    factors = tuple(large // small for large, small in pairs)
    if factors == (1, 1):
        return x
    return layers.UpSampling2D(factors, interpolation=interpolation, dtype=dtype, name=name)(x)
