"""Features of real and of generated samples: checked, and computed by a network where one is given."""

from collections.abc import Callable
from typing import Any

import numpy as np

from kerasdl.core import checks

SIDES = ("real", "generated")


def features_of(samples: Any, network: Callable | None) -> np.ndarray:
    """Returns features (N, D) of samples in float64.

    Args:
        samples: what the network takes; without one features (N, D).
        network: a function or model from samples to features (N, D).

    Raises:
        ArgumentError: they are not (N, D), or not finite.
    """
    found = np.asarray(samples if network is None else network(samples))
    if found.ndim != 2 or not found.size or found.dtype.kind not in "fiu":
        hint = "Pass features=, a model from samples to features."
        checks.refuse("features must be numbers (N, D)", f"{found.dtype} of shape {found.shape}", hint)
    found = found.astype(np.float64)
    if not np.isfinite(found).all():
        checks.refuse("features must be finite", "NaN or infinity")
    return found


class SampleSets:
    """Base of metrics that compare features of generated samples with those of real ones, kept as they come."""

    def __init__(self, features: Callable | None = None):
        self.features = features
        self.reset_state()

    def reset_state(self) -> None:
        """Forgets all samples."""
        self.kept: dict[str, list[np.ndarray]] = {side: [] for side in SIDES}

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
        for each in (*self.kept["real"], *self.kept["generated"]):
            if each.shape[1] != found.shape[1]:
                checks.refuse(f"features must have {each.shape[1]} numbers, as those before", found.shape)
        self.kept[of].append(found)

    def both(self, least: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the features of real and of generated samples; refuses fewer than `least` of one."""
        found = [np.concatenate(self.kept[side]) if self.kept[side] else np.zeros((0, 1)) for side in SIDES]
        for side, each in zip(SIDES, found, strict=True):
            if len(each) < least:
                checks.refuse(f"at least {least} {side} samples must be given", len(each))
        return found[0], found[1]
