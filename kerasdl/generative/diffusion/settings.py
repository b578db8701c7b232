"""Settings of a diffusion: class conditioning and guidance."""

import dataclasses
import math
from collections.abc import Sequence

import keras

from kerasdl.core import checks


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassConditioning:
    """Conditioning by classes, with a label more for no class.

    Source: classifier-free guidance, https://arxiv.org/abs/2207.12598, algorithm 1.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> ClassConditioning(classes=10).no_class
        10
    """

    classes: int
    """K, number of classes."""
    drop_rate: float = 0.1
    """Share of the examples that are learned without their class, so that the network can be guided."""

    def __post_init__(self):
        checks.at_least("classes", self.classes, 1)
        checks.within("drop_rate", self.drop_rate, 0.0, 0.999)

    @property
    def no_class(self) -> int:
        """Label that stands for no class."""
        return self.classes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guidance:
    """Guidance of a sampling towards its classes, by the network itself or by a classifier of noisy data.

    Source: by the network, https://arxiv.org/abs/2207.12598, equation 6 with w = scale - 1; `classifier`,
    https://arxiv.org/abs/2105.05233, algorithm 2; `interval`, https://arxiv.org/abs/2404.07724; `rescale`,
    https://arxiv.org/abs/2305.08891, section 3.4, on the predicted data.

    Raises:
        ArgumentError: an argument breaks its range, or the classifier is no network of noisy data.

    Example:
        >>> Guidance(scale=3.0, interval=(200.0, 800.0)).scale
        3.0
    """

    scale: float = 1.0
    """Distance from the prediction without class (0) through that with it (1) and beyond; of a classifier, the factor
    of its gradient."""
    interval: Sequence[float] = (-math.inf, math.inf)
    """Lowest and highest number of the time, as the network is told it, at which there is guidance, all by default;
    outside it the network is told the class, and no more."""
    rescale: float = 0.0
    """Share, from 0 to 1, to which the deviation of guided data is set back to that without guidance."""
    classifier: keras.Model | None = None
    """Network from `{"x", "time"}` to logits (B, K); None guides by the network itself."""

    def __post_init__(self):
        checks.within("scale", self.scale, 0.0, 1e4)
        checks.within("rescale", self.rescale, 0.0, 1.0)
        if len(self.interval) != 2 or not self.interval[0] < self.interval[1]:
            checks.refuse("interval must be a lower and a higher number of the time", self.interval)
        object.__setattr__(self, "interval", tuple(map(float, self.interval)))
        if self.classifier is not None:
            names = getattr(self.classifier, "input", None)
            if not isinstance(names, dict) or set(names) != {"x", "time"}:
                checks.refuse("a classifier must be a functional model of inputs x and time", self.classifier)
            if self.rescale:
                checks.refuse("rescale belongs to guidance by the network itself", self.rescale)

    @property
    def doubles(self) -> bool:
        """True if each step needs the prediction without class too."""
        return self.classifier is None and self.scale != 1.0


def as_guidance(guidance: float | Guidance) -> Guidance:
    """Returns a guidance, given itself or its scale."""
    return guidance if isinstance(guidance, Guidance) else Guidance(scale=guidance)
