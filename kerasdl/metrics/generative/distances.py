"""Distances of distributions of samples: Frechet and kernel distance of features, sliced Wasserstein distance.

All arithmetic is in float64. A distance depends on the network of the features and on the number of samples: figures of
other networks or other numbers do not compare. Those of the Inception net of Keras are not the published ones.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from kerasdl.core import checks

from .sample_sets import SIDES, SampleSets, features_of


class FrechetDistance:
    """Frechet distance of two normal distributions that are fitted to features (FID, where the net is Inception's).

    Sums are kept, not samples, so that any number fits into memory.

    Source: https://arxiv.org/abs/1706.08500, equation 6.

    Args:
        features: a model or function from samples to features (N, D); None takes features as they are.

    Example:
        >>> distance = FrechetDistance()
        >>> distance.update_state(np.array([[0.0], [2.0]]), "real")
        >>> distance.update_state(np.array([[3.0], [5.0]]), "generated")
        >>> distance.name, distance.result()
        ('frechet@2', 9.0)
    """

    def __init__(self, features: Callable | None = None):
        self.features = features
        self.reset_state()

    def reset_state(self) -> None:
        """Forgets all samples."""
        self.sums: dict[str, tuple] = {}

    @property
    def name(self) -> str:
        """Name with the number of samples of the smaller set."""
        return f"frechet@{min(self.sums[side][0] if side in self.sums else 0 for side in SIDES)}"

    def update_state(self, samples: Any, of: str) -> None:
        """Adds samples.

        Args:
            samples: (N, ...), or features (N, D) without a network.
            of: `real` or `generated`.

        Raises:
            ArgumentError: features do not fit.
        """
        checks.one_of("of", of, SIDES)
        found = features_of(samples, self.features)
        for _, mean, _ in self.sums.values():
            if mean.shape != found.shape[1:]:
                checks.refuse(f"features must have {mean.shape[0]} numbers, as those before", found.shape)
        count, mean = len(found), found.mean(axis=0)
        spread = (found - mean).T @ (found - mean)
        if of in self.sums:  # two sets as one: Chan et al. 1979
            before, old, wide = self.sums[of]
            shift, total = mean - old, before + count
            spread = wide + spread + np.outer(shift, shift) * before * count / total
            count, mean = total, old + shift * count / total
        self.sums[of] = count, mean, spread

    def result(self) -> float:
        """Returns the distance of all samples so far, 0 or more.

        Raises:
            ArgumentError: there are less than 2 samples of one kind.
        """
        for side in SIDES:
            if self.sums.get(side, (0,))[0] < 2:
                checks.refuse(f"at least 2 {side} samples must be given", self.sums.get(side, (0,))[0])
        (first, mean, wide), (second, other, spread) = (self.sums[side] for side in SIDES)
        if min(first, second) <= len(mean):
            rule = f"a covariance of {len(mean)} features has no full rank from {min(first, second)} samples"
            checks.warn(f"{rule}, and the distance depends on their number. Take more samples.", UserWarning)
        return frechet_distance(mean, wide / (first - 1), other, spread / (second - 1))


def frechet_distance(mean: Any, covariance: Any, other_mean: Any, other_covariance: Any) -> float:
    """Returns the Frechet distance of two normal distributions, squared as its users quote it.

    The trace of the root of the product of covariances is that of a symmetric matrix, whose eigenvalues are real.

    Source: https://arxiv.org/abs/1706.08500, equation 6; Dowson and Landau 1982.

    Args:
        mean: (D,).
        covariance: (D, D).
        other_mean: (D,).
        other_covariance: (D, D).

    Returns:
        0 or more.

    Raises:
        ArgumentError: shapes do not fit, or a number is not finite.

    Example:
        >>> frechet_distance([0.0], [[1.0]], [3.0], [[4.0]])
        10.0
    """
    means = [np.asarray(each, np.float64) for each in (mean, other_mean)]
    spreads = [np.asarray(each, np.float64) for each in (covariance, other_covariance)]
    shapes = [each.shape for each in (*means, *spreads)]
    size = means[0].shape
    if len(size) != 1 or means[1].shape != size or any(each.shape != size * 2 for each in spreads):
        checks.refuse("means must be (D,) and covariances (D, D)", shapes)
    if not all(np.isfinite(each).all() for each in (*means, *spreads)):
        checks.refuse("means and covariances must be finite", "NaN or infinity")
    values, vectors = np.linalg.eigh((spreads[0] + spreads[0].T) / 2.0)
    root = vectors * np.sqrt(values.clip(0.0)) @ vectors.T
    inner = root @ spreads[1] @ root
    shared = np.sqrt(np.linalg.eigvalsh((inner + inner.T) / 2.0).clip(0.0)).sum()
    apart = ((means[0] - means[1]) ** 2).sum()
    return float(max(0.0, apart + np.trace(spreads[0]) + np.trace(spreads[1]) - 2.0 * shared))


class KernelFigures(NamedTuple):
    """Kernel distance over subsets.

    Example:
        >>> KernelFigures(0.01, 0.002, 1000).mean
        0.01
    """

    mean: float
    """Mean over the subsets; it may be below 0, since it is unbiased."""
    deviation: float
    """Standard deviation over the subsets."""
    size: int
    """Samples of each kind in a subset."""


class KernelDistance(SampleSets):
    """Kernel distance of features: the unbiased squared mean discrepancy under a cubic kernel (KID of Inception's).

    Unlike the Frechet distance its expectation does not depend on the number of samples.

    Source: https://arxiv.org/abs/1801.01401, section 4 (k(x, y) = (x y / D + 1)^3), over random subsets.

    Args:
        features: a model or function from samples to features (N, D); None takes features as they are.
        subsets: random subsets.
        size: samples of each kind in a subset, at most; fewer where there are fewer.
        seed: of the subsets.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> distance = KernelDistance(size=50)
        >>> rng = np.random.default_rng(0)
        >>> distance.update_state(rng.normal(size=(100, 3)), "real")
        >>> distance.update_state(rng.normal(size=(100, 3)) + 2.0, "generated")
        >>> distance.result().mean > 1.0
        True
    """

    def __init__(self, features: Callable | None = None, *, subsets: int = 100, size: int = 1000, seed: int = 0):
        super().__init__(features)
        self.subsets, self.size = checks.at_least("subsets", subsets, 1), checks.at_least("size", size, 2)
        self.seed = checks.at_least("seed", seed, 0)

    def result(self) -> KernelFigures:
        """Returns the distance of all samples so far.

        Raises:
            ArgumentError: there are less than 2 samples of one kind.
        """
        sides = self.both(2)
        size, rng = min(self.size, *map(len, sides)), np.random.default_rng(self.seed)
        found = []
        for _ in range(self.subsets):
            real, made = (each[rng.choice(len(each), size, replace=False)] for each in sides)
            inner = [_cubic(each, each) for each in (real, made)]
            within = sum((each.sum() - np.trace(each)) / (size * (size - 1)) for each in inner)
            found.append(within - 2.0 * _cubic(real, made).mean())
        return KernelFigures(float(np.mean(found)), float(np.std(found)), size)


def _cubic(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return (first @ second.T / first.shape[1] + 1.0) ** 3


def sliced_wasserstein(first: Any, second: Any, *, projections: int = 128, seed: int = 0) -> float:
    """Returns the sliced Wasserstein-2 distance of two sets of points: the root of the mean over random directions.

    Source: https://doi.org/10.1007/s10851-014-0506-3, section 2.

    Args:
        first: (N, D).
        second: (M, D).
        projections: random directions.
        seed: of the directions.

    Returns:
        0 or more, in the unit of the points.

    Raises:
        ArgumentError: shapes do not fit, or a number is not finite.

    Example:
        >>> sliced_wasserstein(np.zeros((5, 1)), np.full((5, 1), 3.0))
        3.0
    """
    points = [features_of(each, None) for each in (first, second)]
    checks.at_least("projections", projections, 1)
    if points[0].shape[1] != points[1].shape[1]:
        checks.refuse("points must have the same number of coordinates", [each.shape for each in points])
    ways = np.random.default_rng(seed).normal(size=(points[0].shape[1], projections))
    ways /= np.linalg.norm(ways, axis=0)
    lines = [np.sort(each @ ways, axis=0) for each in points]
    steps = np.unique(np.concatenate([np.arange(len(each) + 1) / len(each) for each in lines]))
    middles, widths = (steps[1:] + steps[:-1]) / 2.0, np.diff(steps)
    at = [each[np.minimum((middles * len(each)).astype(int), len(each) - 1)] for each in lines]
    return float(np.sqrt((((at[0] - at[1]) ** 2) * widths[:, None]).sum(axis=0).mean()))
