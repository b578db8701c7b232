"""Observations given by a user: one or several, checked against their space."""

from typing import Any

import numpy as np

from kerasdl.core import checks

from ...envs.spaces import Box, Space


def read_observations(space: Space, observations: Any) -> tuple[np.ndarray, bool]:
    """Returns observations (B, ...) of the type of their space, and whether there was only one.

    Args:
        space: space of the observations.
        observations: one of the shape of the space, or (B, ...) of them; those of a `Box` of float32 may lie outside
            its bounds.

    Raises:
        ArgumentError: the shape is another, or an observation is not a finite number or not one of the space.
    """
    shape = tuple(space.shape)
    given = np.asarray(observations)
    if given.dtype.kind not in "fiub":
        checks.refuse(f"observations must be numbers of the shape {shape}, or (B, ...) of it", observations)
    if given.shape not in (shape, (*given.shape[:1], *shape)):
        checks.refuse(f"observations must be of the shape {shape}, or (B, ...) of it", given.shape)
    one = given.shape == shape
    given = given[None] if one else given
    with np.errstate(over="ignore", invalid="ignore"):
        values = given.astype(space.dtype)
    entries = tuple(range(1, values.ndim))
    if isinstance(space, Box) and space.dtype == "float32":
        fits, rule = np.isfinite(values).all(entries), "observations must be finite numbers of float32"
    else:
        fits, rule = (values == given).all(entries), f"observations must lie in {space}"
        fits = fits & space.contains(values) if len(values) else fits
    if not fits.all():
        checks.refuse(rule, given[~fits].tolist()[:3])
    return values, one
