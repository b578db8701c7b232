"""Watch for the collapse of a GAN during its run: covered modes, duplicates, and the balance of both adversaries."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from kerasdl.core import checks
from kerasdl.train import RunCallback

from .modes import DEVIATION, mode_coverage

BALANCE = (0.55, 0.98)
"""Accuracies of the discriminator between which both adversaries learn."""


class CollapseWatch(RunCallback):
    """Callback that measures the samples of a GAN after each epoch, and says once what is wrong and what helps.

    Figures: `duplicates`, the share of samples whose nearest other sample is closer than `near` times the median
    distance of real examples to their nearest; about 0.01 of real examples are. With `centres`, `modes` and
    `high_quality` of `mode_coverage`.

    Args:
        gan: the trainer, or whatever has `sample(count, seed=)`.
        real: (N, ...) real examples, at least 2.
        centres: (K, D) means of the modes of a mixture; None where the data have none.
        deviation: standard deviation of each mode.
        count: samples that are drawn.
        near: share of the median distance below which two samples are duplicates.
        seed: seed of the samples, the same in each epoch.

    Raises:
        ArgumentError: there are too few real examples, or a setting breaks its range.

    Example:
        >>> CollapseWatch(gan, points, centres=gaussian_centres())  # doctest: +SKIP
    """

    def __init__(
        self,
        gan: Any,
        real: Any,
        *,
        centres: Any = None,
        deviation: float = DEVIATION,
        count: int = 1000,
        near: float = 0.1,
        seed: int = 0,
    ):
        self.gan, self.centres, self.deviation, self.seed = gan, centres, deviation, seed
        self.count, self.near = checks.at_least("count", count, 2), checks.within("near", near, 0.0, 1.0)
        rows = np.asarray(real)[: self.count]
        if len(rows) < 2:
            checks.refuse("real must hold 2 examples or more", rows.shape)
        self.distance = self.near * float(np.median(nearest_distances(rows)))
        self.said: set[str] = set()

    def setup(self, run_info: Any) -> None:
        self.say = run_info.say

    def measure(self, epoch: int) -> Mapping[str, float]:
        samples = self.gan.sample(self.count, seed=self.seed)
        if not np.isfinite(samples).all():
            return {"duplicates": float("nan")}
        figures = {"duplicates": float(np.mean(nearest_distances(samples) < self.distance))}
        if self.centres is not None:
            found = mode_coverage(samples, self.centres, self.deviation)
            figures |= {"modes": float(found.covered), "high_quality": found.high_quality}
        return figures

    def end_epoch(self, epoch: int, figures: dict[str, float]) -> None:
        for line in advice_on(figures, None if self.centres is None else len(self.centres)):
            if line not in self.said:
                self.said.add(line)
                self.say(f"epoch {epoch + 1}: {line}")

    def saved(self) -> dict[str, Any]:
        return {"said": sorted(self.said)}

    def restore(self, saved: dict[str, Any]) -> None:
        self.said = set(saved["said"])


def advice_on(figures: Mapping[str, float], modes: int | None = None) -> list[str]:
    """Returns a sentence for each sign of trouble in the figures of an epoch of a `GAN`.

    Args:
        figures: figures of a `GAN` and of `CollapseWatch`, those that there are.
        modes: modes of the data, where they are known.

    Returns:
        Sentences, none where nothing is wrong.

    Example:
        >>> advice_on({"duplicates": 0.6})[0]
        'many samples are alike: the generator collapses. Try r1=, spectral normalisation, or another loss.'
    """
    found, remedy = [], "Try r1=, spectral normalisation, or another loss."
    if figures.get("duplicates", 0.0) > 0.3:
        found.append(f"many samples are alike: the generator collapses. {remedy}")
    if modes is not None and figures.get("modes", modes) <= modes / 2:
        found.append(f"half of the modes or more are missing: the generator collapses. {remedy}")
    accuracies = [figures[name] for name in ("real_accuracy", "fake_accuracy") if name in figures]
    low, high = BALANCE
    if len(accuracies) == 2 and min(accuracies) > high:
        found.append("the discriminator is always right: the generator learns little. Lower its learning rate.")
    if len(accuracies) == 2 and max(accuracies) < 1 - low:
        found.append("the discriminator is mostly wrong: raise discriminator_steps or its learning rate.")
    return found


def nearest_distances(rows: Any) -> np.ndarray:
    """Returns the Euclidean distance of each example to the nearest other one.

    Args:
        rows: (N, ...) finite floats, N of 2 or more.

    Returns:
        (N,) float64.

    Example:
        >>> nearest_distances([[0.0], [1.0], [3.0]]).tolist()
        [1.0, 1.0, 2.0]
    """
    flat = np.reshape(np.asarray(rows, np.float64), (len(rows), -1))
    return cKDTree(flat).query(flat, k=2)[0][:, 1]
