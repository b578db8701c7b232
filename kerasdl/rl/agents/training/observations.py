"""Observations and masks given by a user: one or several, checked against their space."""

from typing import Any

import numpy as np

from kerasdl.core import checks

from ...envs.spaces import Box, Discrete, MultiDiscrete, Space


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


def read_mask(space: Space, mask: Any, count: int) -> np.ndarray | None:
    """Returns the mask of the actions of B observations, bool (B, K), or None where all are allowed.

    Args:
        space: space of the actions: of one number K is their number, of several the sum of their sizes.
        mask: bools (B, K), or (B, ...) of a team; of one observation (K,) too. None allows all.
        count: B, number of observations.

    Raises:
        ArgumentError: the shape is another, it allows no action, or the actions are real numbers.
    """
    if mask is None:
        return None
    sizes = {Discrete: lambda: (space.n,), MultiDiscrete: lambda: space.sizes}.get(type(space), tuple)()
    if not sizes:
        checks.refuse("a mask of actions needs whole-number actions", space)
    given, width = np.asarray(mask), sum(sizes)
    fits = given.size == count * width and (count == 1 or given.shape[:1] == (count,))
    if not fits or given.dtype.kind not in "biuf" or not np.isin(given, (0, 1)).all():
        checks.refuse(f"mask must be bools ({count}, {width}), a row for each observation", given.shape)
    allowed = given.reshape(count, width).astype(bool)
    if not all(part.any(-1).all() for part in np.split(allowed, np.cumsum(sizes)[:-1], -1)):
        checks.refuse("mask must allow an action of each observation", "rows in which none is")
    return allowed
