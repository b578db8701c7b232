"""Modes of a mixture of Gaussians: how many a generator covers, and the ring of eight on which GANs are tried.

After Srivastava et al. 2017 (VEEGAN), https://arxiv.org/abs/1705.07761, section 4.1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasdl.core import checks

RADIUS, DEVIATION, MODES = 2.0, 0.1, 8


@dataclass(frozen=True)
class ModeCoverage:
    """Coverage of the modes of a mixture by samples."""

    covered: int
    """Modes that have at least `least` samples within the radius."""
    modes: int
    """Modes of the mixture."""
    high_quality: float
    """Share of the samples within the radius of their nearest mode, from 0 to 1."""
    counts: tuple[int, ...]
    """Samples within the radius of each mode."""

    def __str__(self) -> str:
        return f"{self.covered} of {self.modes} modes, {self.high_quality:.1%} of samples near one"


def mode_coverage(
    samples: Any, centres: Any, deviation: float = DEVIATION, *, radius: float = 3.0, least: int = 1
) -> ModeCoverage:
    """Returns how many modes of a mixture of round Gaussians samples cover, and the share of samples near a mode.

    Of a Gaussian in the plane itself 0.989 lie within 3 deviations.

    Source: https://arxiv.org/abs/1705.07761, section 4.1.

    Args:
        samples: (B, D) finite floats.
        centres: (K, D), the means of the modes.
        deviation: standard deviation of each mode along each axis, above 0.
        radius: distance up to which a sample belongs to a mode, in deviations.
        least: samples that a covered mode has.

    Returns:
        A `ModeCoverage`.

    Raises:
        ArgumentError: the shapes do not fit, samples are missing or not finite, or a setting breaks its range.

    Example:
        >>> points = eight_gaussians(800, seed=0)
        >>> mode_coverage(points, gaussian_centres()).covered
        8
    """
    samples, centres = np.asarray(samples, np.float64), np.asarray(centres, np.float64)
    if samples.ndim != 2 or centres.ndim != 2 or samples.shape[1] != centres.shape[1] or not len(centres):
        rule = "samples and centres must be rows of as many numbers"
        checks.refuse(rule, (samples.shape, centres.shape))
    if not len(samples) or not np.isfinite(samples).all() or not np.isfinite(centres).all():
        checks.refuse("samples must be one or more, and finite like the centres", samples.shape)
    reach = checks.within("radius", radius, 1e-6, 1e6) * checks.within("deviation", deviation, 1e-12, 1e12)
    distances = np.linalg.norm(samples[:, None] - centres[None], axis=-1)  # (B, K)
    nearest, near = distances.argmin(axis=1), distances.min(axis=1) <= reach
    counts = np.bincount(nearest[near], minlength=len(centres))
    covered = int((counts >= checks.at_least("least", least, 1)).sum())
    return ModeCoverage(covered, len(centres), float(near.mean()), tuple(map(int, counts)))


def gaussian_centres(modes: int = MODES, radius: float = RADIUS) -> np.ndarray:
    """Returns centres in equal steps on a circle around the origin, the first one to the right.

    Args:
        modes: number of centres.
        radius: radius of the circle, above 0.

    Returns:
        (modes, 2) float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> gaussian_centres(4, 1.0).round(3).tolist()[:2]
        [[1.0, 0.0], [0.0, 1.0]]
    """
    angle = 2 * np.pi * np.arange(checks.at_least("modes", modes, 1)) / modes
    radius = checks.within("radius", radius, 1e-6, 1e6)
    return (radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)).astype("float32")


def eight_gaussians(count: int, seed: int = 0) -> np.ndarray:
    """Returns points of eight Gaussians of deviation 0.1 on a circle of radius 2, in random order.

    Args:
        count: number of points.
        seed: seed of the draw.

    Returns:
        (count, 2) float32.

    Raises:
        ArgumentError: count is below 1.

    Example:
        >>> eight_gaussians(3, seed=0).shape
        (3, 2)
    """
    rng = np.random.default_rng(seed)
    modes = rng.integers(MODES, size=checks.at_least("count", count, 1))
    return (gaussian_centres()[modes] + DEVIATION * rng.normal(size=(count, 2))).astype("float32")
