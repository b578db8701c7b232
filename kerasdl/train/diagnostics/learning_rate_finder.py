"""Learning-rate finder: one short run with a rising learning rate (Smith 2017, section 3.3)."""

import math
import os
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from kerasdl.core import checks
from kerasdl.core.errors import TrainingError
from kerasdl.core.plotting import FAINT, GREY, INK, TRAIN, VALIDATION, dress, keep, mark, new_figure
from kerasdl.data import as_dataset

from ..engine.mixed_precision import mixed_precision_scope
from .dry_run import EpochStream, dry_run

DIVERGED = 4.0  # times the lowest smoothed loss
HALF_WINDOW = 0.25  # decades of the rate
ENDS = {
    "diverged": "the loss rose to 4 times its lowest",
    "not finite": "the loss was no longer finite",
    "finished": "the loss did not rise to 4 times its lowest",
}


@dataclass(frozen=True, eq=False)
class RateSearch:
    """Loss over the learning rate in a short run, and suggested rates."""

    rates: np.ndarray
    """The rates of the run, rising, float64 (S,)."""
    losses: np.ndarray
    """The loss of each step's batch, float64 (S,)."""
    smoothed: np.ndarray
    """Exponential mean of the losses with bias correction, float64 (S,)."""
    steepest: float | None
    """Rate at which the loss falls fastest over the logarithm of the rate; None where it does not fall."""
    tenth_of_lowest: float | None
    """A tenth of the rate at which the smoothed loss is lowest; None where it does not fall."""
    ended: str
    """`"diverged"`, `"not finite"` or `"finished"`."""

    @property
    def suggestion(self) -> float | None:
        """The suggested rate: `steepest`."""
        return self.steepest

    def __str__(self) -> str:
        tried = f"{len(self.rates)} steps from {self.rates[0]:.2g} to {self.rates[-1]:.2g}; {ENDS[self.ended]}"
        if self.smoothed.argmin() == len(self.rates) - 1:
            tried += ", and still fell at the end: pass a higher high"
        if self.steepest is None:
            return f"no rate made the loss fall. {tried}"
        return (
            f"learning rate {self.steepest:.2g}, where the loss falls fastest; "
            f"a tenth of where it is lowest: {self.tenth_of_lowest:.2g}. {tried}"
        )

    def plot(self, path: str | os.PathLike | None = None) -> Figure:
        """Returns a figure of the loss over the rate, both rates marked; with a path, writes it there too, as .png."""
        figure = new_figure(6.4, 3.8)
        axes = figure.add_subplot()
        axes.plot(self.rates, self.losses, ".", color=FAINT, markersize=5, label="single batches")
        axes.plot(self.rates, self.smoothed, color=TRAIN, linewidth=2, label="smoothed")
        axes.set_xscale("log")
        if self.steepest is not None:
            mark(axes, self.steepest, f"steepest: {self.steepest:.2g}", VALIDATION)
            mark(axes, self.tenth_of_lowest, f"tenth of lowest: {self.tenth_of_lowest:.2g}", GREY, 0.08)
        # The steep rise at the end would flatten the part before it.
        before = slice(0, int(self.smoothed.argmin()) + 1)
        low, high = self.losses[before].min(), max(self.smoothed[before].max(), self.losses[before].max())
        room = max(high - low, 1e-9)
        axes.set_ylim(low - 0.15 * room, high + 0.15 * room)
        dress(axes, "loss as the learning rate rises", "learning rate")
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower left")
        return keep(figure, path)


def find_learning_rate(
    model: keras.Model,
    train: Any,
    *,
    low: float = 1e-7,
    high: float = 1.0,
    steps: int = 100,
    smoothing: float = 0.9,
    batch_size: int = 32,
    optimizer: str | keras.optimizers.Optimizer | None = None,
    loss: Any = None,
    task: Any = None,
    mixed_precision: str | None = None,
    seed: int = 0,
) -> RateSearch:
    """Trains for some steps with a rising learning rate, and suggests a rate to train with.

    The rate of step i is `low * (high / low) ** (i / (steps - 1))`. The run ends early where the smoothed loss is over
    4 times its lowest, or a loss is not finite. Afterwards the model is restored, also after Ctrl-C: weights,
    statistics of batch norms, random state, loss and optimizer.

    `steepest` is the middle of the half decade of rates over which a straight line through the smoothed loss falls
    fastest, up to its lowest point, moved back by the steps by which smoothing delays the loss. Both rates are None
    where the smoothed loss falls by less than single batches differ from it.

    Source: Smith 2017, https://arxiv.org/abs/1506.01186, section 3.3; the exponential rise, the smoothing and the end
    at 4 times the lowest loss are fastai's practice.

    Args:
        model: a built Keras model; one whose class has its own `train_step` is compiled, and trains by it.
        train: as in `fit`.
        low: the first rate, above 0.
        high: the last rate, up to 1e6.
        steps: number of rates, 10 or more.
        smoothing: weight of the past in the smoothed loss, from 0 to below 1.
        batch_size: examples in a batch, for data that comes unbatched; the result holds for this size.
        optimizer: a name or a Keras optimizer; None takes `"adamw"`, or those of a model with its own `train_step`.
        loss: as in `fit`.
        task: as in `fit`.
        mixed_precision: as in `RunConfig`.
        seed: seed of the order of the data.

    Returns:
        The RateSearch: `suggestion`, `steepest`, `tenth_of_lowest`, `plot(path)`, and the figures of each step.

    Raises:
        ArgumentError: settings, model and data do not fit together.
        TrainingError: the loss is not finite at the lowest rate.

    Example:
        >>> result = find_learning_rate(model, (x, y), steps=20, batch_size=4)
        >>> len(result.rates) <= 20
        True
        >>> result.plot("rates.png").axes[0].get_xlabel()
        'learning rate'
    """
    checks.within("low", low, 1e-12, 1e6)
    checks.within("high", high, 1e-12, 1e6)
    if low >= high:
        checks.refuse("high must be above low", (low, high))
    checks.at_least("steps", steps, 10)
    checks.one_of("mixed_precision", mixed_precision, (None, "bfloat16", "float16"))
    checks.within("smoothing", smoothing, 0.0, 0.999)
    rates = low * (high / low) ** (np.arange(steps) / (steps - 1))
    train = as_dataset(train)
    with (
        mixed_precision_scope(model, mixed_precision),
        dry_run(model, train, optimizer=optimizer, loss=loss, task=task) as session,
    ):
        batches, losses, smoothed, ended = EpochStream(train, batch_size, seed), [], [], "finished"
        for rate in rates:
            session.set_rate(float(rate))
            value = _loss_of(batches.step(session.step))
            if not math.isfinite(value):
                ended = "not finite"
                break
            losses.append(value)
            smoothed.append(_exponential_mean(losses, smoothing))
            if has_diverged(smoothed):
                ended = "diverged"
                break
    if not losses:
        raise TrainingError("the loss is not finite before any update. Look for NaN in the data and the weights.")
    losses, smoothed, rates = np.array(losses), np.array(smoothed), rates[: len(losses)]
    return RateSearch(rates, losses, smoothed, *suggested_rates(rates, losses, smoothed, smoothing), ended)


def scale_learning_rate(rate: float, batch_size: int, new_batch_size: int, *, rule: str = "linear") -> float:
    """Returns the learning rate for another batch size.

    `"linear"` is `rate * new / old`, for SGD with or without momentum (Goyal et al. 2017,
    https://arxiv.org/abs/1706.02677, section 2.1); with a warm-up, up to a few thousand examples in a batch.
    `"sqrt"` is `rate * sqrt(new / old)`, for Adam and similar optimizers (Malladi et al. 2022, https://arxiv.org/abs/2205.10287,
    section 4; Krizhevsky 2014, https://arxiv.org/abs/1404.5997, section 5, has it for the variance of SGD).

    Args:
        rate: learning rate for `batch_size`, 0 or more.
        batch_size: examples in a batch, 1 or more.
        new_batch_size: examples in a batch for the new rate, 1 or more.
        rule: `"linear"` or `"sqrt"`.

    Returns:
        The rate for `new_batch_size`, float.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> scale_learning_rate(0.1, 256, 1024), scale_learning_rate(1e-3, 256, 1024, rule="sqrt")
        (0.4, 0.002)
    """
    checks.within("rate", rate, 0.0, 1e6)
    ratio = checks.at_least("new_batch_size", new_batch_size, 1) / checks.at_least("batch_size", batch_size, 1)
    checks.one_of("rule", rule, ("linear", "sqrt"))
    return rate * (ratio if rule == "linear" else math.sqrt(ratio))


def has_diverged(smoothed: list[float]) -> bool:
    """Returns whether the last value is over 4 times the lowest (of a lowest below 0, 3 times its size above it)."""
    lowest = min(smoothed)
    return smoothed[-1] > lowest + (DIVERGED - 1) * abs(lowest)


def suggested_rates(
    rates: np.ndarray, losses: np.ndarray, smoothed: np.ndarray, smoothing: float
) -> tuple[float | None, float | None]:
    """Returns the steepest rate, and a tenth of the rate of the lowest loss; None twice where the loss does not fall.

    Args:
        rates: (S,), rising.
        losses: (S,).
        smoothed: (S,).
        smoothing: weight of the past in `smoothed`.
    """
    lowest = int(smoothed.argmin())
    spread = 1.4826 * np.median(np.abs(losses - smoothed))  # of a normal distribution, its standard deviation
    start = losses[: max(1, len(losses) // 10)].mean()
    if start - smoothed[lowest] <= spread:
        return None, None
    logs = np.log10(rates)
    slopes = []
    for index in range(lowest + 1):
        near = np.abs(logs - logs[index]) <= HALF_WINDOW
        near[max(0, index - 1) : index + 2] = True
        slopes.append(np.polyfit(logs[near], smoothed[near], 1)[0])
    index = int(np.argmin(slopes))
    ages = np.arange(index + 1)
    delay = np.average(ages, weights=smoothing**ages)
    return float(rates[max(0, round(index - delay))]), float(rates[lowest] / 10)


def _exponential_mean(losses: list[float], smoothing: float) -> float:
    return float(np.average(losses[::-1], weights=smoothing ** np.arange(len(losses))))


def _loss_of(values: dict[str, Any]) -> float:
    names = [name for name in values if "loss" in name]
    name = "loss" if "loss" in names else names[0] if len(names) == 1 else None
    if name is None:
        checks.refuse("a train_step must return its loss as 'loss'", tuple(values), "Return the sum of its parts.")
    return float(values[name])
