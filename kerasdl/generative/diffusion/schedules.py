"""Schedules of a diffusion in training and sampling: rates at each time, times to learn from, plans to sample by.

A network is told a number from 0, clean data, to about 1000, noise alone, whatever the schedule.
"""

import dataclasses
import functools
import math
from typing import Any, ClassVar

import numpy as np
from keras import ops

from kerasdl.core import checks
from kerasdl.ops import beta_schedule, karras_sigmas, signal_rates, zero_terminal_snr

from ..samplers import SamplingPlan

LONGEST = 1000.0
KINDS = ("vp", "sub_vp")


class Schedule:
    """Interface of schedules: rates of data and noise at each time."""

    preserves_variance: ClassVar[bool] = True
    """True if alpha^2 + sigma^2 = 1, which the target `v` and plain inputs suppose."""
    reaches_noise: ClassVar[bool] = False
    """True if alpha is 0 at the end, where `eps` says nothing of the data."""

    def rates(self, time: Any) -> tuple[Any, Any]:
        """Returns alpha and sigma at times (B,), in their dtype."""
        raise NotImplementedError

    def training_times(self, share: Any) -> Any:
        """Returns the times to learn from, of numbers (B,) drawn evenly from 0 to 1."""
        raise NotImplementedError

    def number_of(self, time: Any) -> Any:
        """Returns the numbers that a network is told at times."""
        raise NotImplementedError

    def levels(self, steps: int) -> np.ndarray:
        """Returns the falling times (K,) of a sampling in so many steps."""
        raise NotImplementedError

    def time_of_ratio(self, ratio: np.ndarray) -> np.ndarray:
        """Returns the times at which sigma / alpha has values.

        Raises:
            ArgumentError: times of this schedule are steps.
        """
        checks.refuse("churn needs a continuous schedule", type(self).__name__, "Use churn=0.")

    def plan(self, steps: int) -> SamplingPlan:
        """Returns the plan of a sampling in so many steps, clean data at its end.

        Args:
            steps: K, 1 or more.

        Raises:
            ArgumentError: there are no steps, or more than the schedule has.
        """
        times = self.levels(checks.at_least("steps", steps, 1))
        alphas, sigmas = (np.asarray(each, "float64") for each in self.rates(times))
        return SamplingPlan(
            np.asarray(self.number_of(times), "float64"), np.append(alphas, 1.0), np.append(sigmas, 0.0)
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class DiscreteSchedule(Schedule):
    """Schedule of DDPM: steps 0 to T - 1, whose betas follow a curve.

    Source: https://arxiv.org/abs/2006.11239, section 2; sampled steps end at T - 1,
    https://arxiv.org/abs/2305.08891, section 3.3.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> DiscreteSchedule(shape="cosine").plan(4).times
        array([999., 749., 499., 249.])
    """

    shape: str = "linear"
    """Curve of `ops.beta_schedule`: `linear`, `scaled_linear`, `cosine`, `sigmoid`."""
    steps: int = 1000
    """T, number of steps."""
    first: float | None = None
    """First beta of the linear curves; None takes that of the paper."""
    last: float | None = None
    """Last beta of the linear curves."""
    zero_terminal: bool = False
    """True if the last step has no signal, as in `ops.zero_terminal_snr`."""

    def __post_init__(self):
        self.signal  # noqa: B018  refuses wrong arguments

    @functools.cached_property
    def signal(self) -> np.ndarray:
        """Signal rates, alpha-bar, of the steps, (T,) float64."""
        rates = signal_rates(beta_schedule(self.shape, self.steps, first=self.first, last=self.last))
        return zero_terminal_snr(rates) if self.zero_terminal else rates

    @property
    def reaches_noise(self) -> bool:
        """True if the last step has no signal."""
        return self.zero_terminal

    def rates(self, time):
        time = ops.convert_to_tensor(time)
        signal = ops.take(ops.convert_to_tensor(self.signal), ops.cast(time, "int32"), axis=0)
        return ops.cast(ops.sqrt(signal), time.dtype), ops.cast(ops.sqrt(1 - signal), time.dtype)

    def training_times(self, share):
        return ops.minimum(ops.floor(share * self.steps), self.steps - 1)

    def number_of(self, time):
        return time * (LONGEST / self.steps)

    def levels(self, steps):
        if steps > self.steps:
            checks.refuse(f"steps must be at most the {self.steps} of the schedule", steps)
        return np.round(np.arange(self.steps, 0, -self.steps / steps))[:steps] - 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class VPSchedule(Schedule):
    """Variance-preserving schedule of a score model, with times from 0 to 1, or its sub-VP form.

    Source: https://arxiv.org/abs/2011.13456, section 3.4 and appendix B.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> VPSchedule().plan(1).alphas.round(4)
        array([0.0066, 1.    ])
    """

    kind: str = "vp"
    """`vp`, or `sub_vp` with sigma = 1 - alpha^2."""
    low: float = 0.1
    """First beta of the equation."""
    high: float = 20.0
    """Last beta of the equation."""
    smallest: float = 1e-3
    """Last time of sampling; training begins at a hundredth of it."""

    def __post_init__(self):
        checks.one_of("kind", self.kind, KINDS)
        checks.within("low", self.low, 1e-6, 1e6)
        checks.within("high", self.high, self.low, 1e6)
        checks.within("smallest", self.smallest, 1e-6, 0.5)

    @property
    def preserves_variance(self) -> bool:
        """True of `vp`."""
        return self.kind == "vp"

    def rates(self, time):
        time = ops.convert_to_tensor(time)
        log_alpha = -0.25 * ops.square(time) * (self.high - self.low) - 0.5 * time * self.low
        power = -ops.expm1(2 * log_alpha)
        return ops.exp(log_alpha), power if self.kind == "sub_vp" else ops.sqrt(power)

    def training_times(self, share):
        return 0.01 * self.smallest + (1 - 0.01 * self.smallest) * share

    def number_of(self, time):
        return LONGEST * time

    def levels(self, steps):
        return np.linspace(1.0, self.smallest, steps) if steps > 1 else np.ones(1)

    def time_of_ratio(self, ratio):
        below = (np.sqrt(ratio**2 + 4) - ratio) / 2  # 1 - alpha^2 = ratio * alpha
        alpha = below if self.kind == "sub_vp" else 1 / np.sqrt(1 + ratio**2)
        slope = self.high - self.low
        root = np.sqrt(self.low**2 - 4 * slope * np.log(alpha)) if slope else 0.0
        return (root - self.low) / slope if slope else -2 * np.log(alpha) / self.low


@dataclasses.dataclass(frozen=True, kw_only=True)
class VESchedule(Schedule):
    """Variance-exploding schedule: alpha = 1, and times that are the sigmas themselves.

    Source: https://arxiv.org/abs/2011.13456, section 3.4, sigmas drawn evenly in their logarithm; `center` and
    `spread`, and the sigmas of sampling: https://arxiv.org/abs/2206.00364, table 1.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> VESchedule(high=80.0).plan(2).sigmas
        array([8.e+01, 2.e-03, 0.e+00])
    """

    preserves_variance: ClassVar[bool] = False

    low: float = 0.002
    """Lowest sigma."""
    high: float = 80.0
    """Highest sigma, many deviations of the data."""
    rho: float = 7.0
    """As in `ops.karras_sigmas`."""
    center: float | None = None
    """Mean of ln(sigma) in training, normally distributed, such as -1.2; None draws evenly from low to high."""
    spread: float = 1.2
    """Its standard deviation."""

    def __post_init__(self):
        checks.within("low", self.low, 1e-9, 1e9)
        checks.within("high", self.high, self.low * 1.001, 1e9)
        checks.within("rho", self.rho, 1.0, 100.0)
        if self.center is not None:
            checks.within("center", self.center, -100.0, 100.0)
        checks.within("spread", self.spread, 1e-6, 100.0)

    def rates(self, time):
        time = ops.convert_to_tensor(time)
        return ops.ones_like(time), time

    def training_times(self, share):
        low, high = math.log(self.low), math.log(self.high)
        if self.center is None:
            return ops.exp(low + (high - low) * share)
        drawn = self.center + self.spread * math.sqrt(2.0) * ops.erfinv(2 * share - 1)
        return ops.exp(ops.clip(drawn, low, high))

    def number_of(self, time):
        low, high = math.log(self.low), math.log(self.high)
        return LONGEST * (ops.log(time) - low) / (high - low)

    def levels(self, steps):
        return karras_sigmas(steps, low=self.low, high=self.high, rho=self.rho) if steps > 1 else np.array([self.high])

    def time_of_ratio(self, ratio):
        return ratio


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlowSchedule(Schedule):
    """Schedule of rectified flow: straight paths x = (1 - t) * x0 + t * noise.

    Source: https://arxiv.org/abs/2209.03003, section 2.1; https://arxiv.org/abs/2210.02747; `logit_normal` and `shift`:
    https://arxiv.org/abs/2403.03206, sections 3.1 and 5.3.2.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> FlowSchedule().plan(4).sigmas
        array([1.  , 0.75, 0.5 , 0.25, 0.  ])
    """

    preserves_variance: ClassVar[bool] = False
    reaches_noise: ClassVar[bool] = True

    logit_normal: bool = False
    """True if training draws times by a normal distribution of their logit, which prefers the middle."""
    shift: float = 1.0
    """Factor of t / (1 - t) in sampling; above 1 more steps have much noise, as large images need."""

    def __post_init__(self):
        checks.one_of("logit_normal", self.logit_normal, (True, False))
        checks.within("shift", self.shift, 1e-3, 1e3)

    def rates(self, time):
        time = ops.convert_to_tensor(time)
        return 1 - time, time

    def training_times(self, share):
        if not self.logit_normal:
            return ops.clip(share, 1e-5, 1.0)
        return ops.clip(ops.sigmoid(math.sqrt(2.0) * ops.erfinv(2 * share - 1)), 1e-5, 1.0)

    def number_of(self, time):
        return LONGEST * time

    def levels(self, steps):
        times = np.linspace(1.0, 0.0, steps + 1)[:-1]
        return self.shift * times / (1 + (self.shift - 1) * times)

    def time_of_ratio(self, ratio):
        return ratio / (1 + ratio)


def as_schedule(schedule: str | Schedule) -> Schedule:
    """Returns a schedule, given itself or the name of a curve of `DiscreteSchedule`, or `vp`, `ve`, `flow`.

    Args:
        schedule: a name or a schedule.

    Raises:
        UnknownNameError: an unknown name.
        ArgumentError: it is no schedule.

    Example:
        >>> as_schedule("cosine").shape
        'cosine'
    """
    if isinstance(schedule, Schedule):
        return schedule
    names = {
        **{shape: DiscreteSchedule(shape=shape) for shape in ("linear", "scaled_linear", "cosine", "sigmoid")},
        **{"vp": VPSchedule(), "sub_vp": VPSchedule(kind="sub_vp"), "ve": VESchedule(), "flow": FlowSchedule()},
    }
    if not isinstance(schedule, str):
        checks.refuse("a schedule must be a name or a schedule of kerasdl.generative", schedule)
    return names[checks.known_name("schedule", schedule, names)]
