"""Step profiler: time of a training step spent on input, on computation and on the host."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from matplotlib.figure import Figure

from kerasdl.core import checks
from kerasdl.core.plotting import FADED, INK, TRAIN, VALIDATION, dress, keep, new_figure
from kerasdl.data import Dataset, as_dataset

from ..engine.mixed_precision import mixed_precision_scope
from .dry_run import DryRun, EpochStream, dry_run

STEPS_PER_CALL = 10
ROUNDS = 5
LARGE_SHARE = 0.25
SHORT_EPOCH = 10
WORTHWHILE = 1.2
SIDE = 1024
CPU = Path("/proc/cpuinfo")
COMPUTE_ADVICE = (
    "Try RunConfig(jit_compile=True) and measure: on a CPU it slows convolutions down.",
    "A smaller image, a narrower net, or more devices: kerasdl.train.strategy.",
)


@dataclass(frozen=True)
class StepProfile:
    """Times of the parts of a training step in seconds, the best of five alternating rounds."""

    batch_size: int
    """Examples in a batch."""
    input_seconds: float
    """Time of one batch from the pipeline alone."""
    compute_seconds: float
    """Time of one update on a batch held in memory, with one update in each call."""
    looped_seconds: float
    """Time of one update with 10 updates in one compiled call, that is, with little overhead of the host."""
    step_seconds: float
    """Time of one update on a batch from the pipeline, as in a run."""
    verdict: str
    """`"input-bound"`, `"overhead-bound"` or `"compute-bound"`."""
    advice: tuple[str, ...]
    """Ways to a faster step, the most promising first."""
    bfloat16_gain: float | None
    """Speed of matrix products in bfloat16 as a multiple of float32; None where the CPU has no such operation."""

    @property
    def examples_per_second(self) -> float:
        """Examples per second, pipeline included."""
        return self.batch_size / self.step_seconds

    @property
    def input_share(self) -> float:
        """Time that a step waits for its input, as a share of the step, from 0 to 1."""
        return max(0.0, 1 - self.compute_seconds / self.step_seconds)

    @property
    def overhead_share(self) -> float:
        """Time of the host to start a step, as a share of the step, from 0 to 1."""
        return min(1.0, max(0.0, (self.compute_seconds - self.looped_seconds) / self.step_seconds))

    def __str__(self) -> str:
        rows = [
            ("input alone", self.input_seconds, ""),
            ("computation alone", self.compute_seconds, ""),
            (f"  {STEPS_PER_CALL} in one call", self.looped_seconds, f"overhead {self.overhead_share:.0%} of a step"),
            ("both together", self.step_seconds, f"waiting for input {self.input_share:.0%} of a step"),
        ]
        lines = [f"{name:<20}{1000 * seconds:>10.3g} ms  {note}".rstrip() for name, seconds, note in rows]
        head = f"{self.verdict}: {self.examples_per_second:,.0f} examples/s at batch size {self.batch_size}"
        return "\n".join([head, *lines, *(f"- {each}" for each in self.advice)])

    def plot(self, path: str | os.PathLike | None = None) -> Figure:
        """Returns a bar chart of the times; with a path, writes it there too, such as a .png."""
        figure = new_figure(7.2, 2.6)
        axes = figure.add_subplot()
        looped = min(self.looped_seconds, self.compute_seconds)
        parts = [
            ("", 0, 0.0, self.input_seconds, VALIDATION),
            ("computation", 1, 0.0, looped, TRAIN),
            ("starting it", 1, looped, self.compute_seconds - looped, FADED),
            ("", 2, 0.0, self.step_seconds, INK),
        ]
        for label, row, left, width, colour in parts:
            axes.barh(row, 1000 * width, left=1000 * left, color=colour, height=0.6, label=label or None)
        axes.set_yticks(range(3), ["input alone", "computation alone", "both together"])
        axes.invert_yaxis()
        dress(axes, f"{self.verdict}, {self.examples_per_second:,.0f} examples/s", "ms a step")
        axes.spines["left"].set_visible(False)
        axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return keep(figure, path)


def profile_step(
    model: keras.Model,
    train: Any,
    *,
    batch_size: int = 32,
    steps: int = 20,
    optimizer: str | keras.optimizers.Optimizer | None = None,
    loss: Any = None,
    task: Any = None,
    augment: Callable | None = None,
    mixed_precision: str | None = None,
) -> StepProfile:
    """Measures the parts of a training step, names the bottleneck and suggests remedies.

    Input alone, computation alone and both together are timed in five alternating rounds, and the best round of each
    counts, which reduces the effect of other work on the machine.

    The verdict is the larger of two shares of a step, where it is a quarter or more. Input-bound: the time of the step
    beyond computation alone, which is waiting for input. Overhead-bound: the time of computation beyond that in calls
    of ten steps, which the host takes. Otherwise the step is compute-bound. On a CPU, preparing the input slows the
    computation even where both run at the same time; that counts as waiting.

    The learning rate is 0, and the model is restored afterwards, also after Ctrl-C.

    Args:
        model: a built Keras model; one whose class has its own `train_step` is compiled, and trains by it.
        train: as in `fit`.
        batch_size: examples in a batch, for data that comes unbatched.
        steps: steps for each figure in each of the five rounds, 1 or more.
        optimizer: a name or a Keras optimizer; None takes `"adamw"`, or those of a model with its own `train_step`.
        loss: as in `fit`.
        task: as in `fit`.
        augment: as in `RunConfig`.
        mixed_precision: as in `RunConfig`.

    Returns:
        The StepProfile: the times, `verdict`, `advice`, `plot(path)`; printed, it is a short table.

    Raises:
        ArgumentError: settings, model and data do not fit together.
        DataError: the data hold no batches.

    Example:
        >>> profile = profile_step(model, (x, y), batch_size=4, steps=2)
        >>> profile.verdict in ("input-bound", "overhead-bound", "compute-bound")
        True
    """
    checks.at_least("batch_size", batch_size, 1)
    checks.at_least("steps", steps, 1)
    checks.one_of("mixed_precision", mixed_precision, (None, "bfloat16", "float16"))
    train = as_dataset(train)
    with (
        mixed_precision_scope(model, mixed_precision),
        dry_run(model, train, optimizer=optimizer, loss=loss, task=task) as session,
    ):
        input_stream, step_stream = (EpochStream(train, batch_size, augment=augment) for _ in range(2))
        size = int(keras.tree.flatten(input_stream.step(_next_batch))[0].shape[0])
        same = iter(train.batches(batch_size).take(1).cache().repeat())
        times = _measure_rounds(_tasks(session, input_stream, step_stream, same), steps)
    gain, verdict = bfloat16_gain(), verdict_of(**times)
    advice = _advice(verdict, train, train.steps(batch_size), mixed_precision, gain)
    return StepProfile(size, **times, verdict=verdict, advice=advice, bfloat16_gain=gain)


def verdict_of(*, input_seconds: float, compute_seconds: float, looped_seconds: float, step_seconds: float) -> str:
    """Returns the bottleneck of a step, by the rule in `profile_step`."""
    waiting = (step_seconds - compute_seconds) / step_seconds
    overhead = (compute_seconds - looped_seconds) / step_seconds
    if max(waiting, overhead) < LARGE_SHARE:
        return "compute-bound"
    return "input-bound" if waiting >= overhead else "overhead-bound"


def bfloat16_gain() -> float | None:
    """Returns the speed of matrix products in bfloat16 as a multiple of float32, on the default device.

    None where the default device is a CPU without an instruction for it, on which bfloat16 is slower.
    """
    has_gpu = bool(tf.config.list_logical_devices("GPU"))
    if not has_gpu and not {"amx_bf16", "avx512_bf16"} & set(_cpu_flags()):
        return None
    multiply = tf.function(lambda a: tf.linalg.matmul(a, a), autograph=False)
    matrices = {
        name: tf.cast(tf.random.stateless_uniform((SIDE, SIDE), (0, 1)), name) for name in ("float32", "bfloat16")
    }
    times: dict[str, list[float]] = {name: [] for name in matrices}
    for _ in range(12):
        for name, matrix in matrices.items():
            times[name].append(_timed(lambda matrix=matrix: multiply(matrix), 1))
    return min(times["float32"][1:]) / min(times["bfloat16"][1:])


def _tasks(
    session: DryRun, input_stream: EpochStream, step_stream: EpochStream, same: Any
) -> dict[str, tuple[Callable[[], Any], int]]:
    """Returns the functions to time by name, each with the number of steps in one call."""
    many = _steps_in_one_call(session.step)
    return {
        "input": (lambda: input_stream.step(_next_batch), 1),
        "compute": (lambda: session.step(same), 1),
        "looped": (lambda: many(same), STEPS_PER_CALL),
        "step": (lambda: step_stream.step(session.step), 1),
    }


def _measure_rounds(tasks: dict[str, tuple[Callable[[], Any], int]], steps: int) -> dict[str, float]:
    rounds: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(ROUNDS):
        for name, (once, steps_per_call) in tasks.items():
            calls = -(-steps // steps_per_call)
            _timed(once, max(2, calls // 2))  # uses up the batches prepared while the others were timed
            rounds[name].append(_timed(once, calls) / (calls * steps_per_call))
    return {f"{name}_seconds": min(times) for name, times in rounds.items()}


def _next_batch(stream: Any) -> Any:
    return stream.get_next()


def _steps_in_one_call(step: Callable) -> Callable:
    def several(stream):
        def body(count):
            step(stream)
            return (count + 1,)

        return tf.while_loop(lambda count: count < STEPS_PER_CALL, body, (tf.constant(0),))

    return tf.function(several, autograph=False, reduce_retracing=True)


def _timed(once: Callable[[], Any], calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        result = once()
    keras.tree.flatten(result)[0].numpy()  # reading a value waits for the GPU
    return time.perf_counter() - started


def _advice(
    verdict: str, train: Dataset, length: int | None, precision: str | None, gain: float | None
) -> tuple[str, ...]:
    if verdict == "input-bound":
        ahead = (
            "Prepare once what is the same in every epoch, such as the size of images, and leave the rest to augment."
        )
        if train.foreign:
            ahead = (
                "Let the pipeline work ahead: map(..., num_parallel_calls=tf.data.AUTOTUNE), cache() before all that "
                "is random, prefetch(tf.data.AUTOTUNE) at the end."
            )
        service = "Where one machine cannot prepare fast enough, let others help: the tf.data service."
        if length is not None and length < SHORT_EPOCH:
            short = f"An epoch has {length} steps, and each opens the data anew: take smaller batches or repeat."
            return (short, ahead, service)
        return (ahead, service)
    if verdict == "overhead-bound":
        return (
            "Make several updates in one call: RunConfig(steps_per_execution=10).",
            "Take a bigger batch, if the model learns as well with it: find_batch_size says which is fastest.",
        )
    return (_on_bfloat16(precision, gain), *COMPUTE_ADVICE)


def _on_bfloat16(precision: str | None, gain: float | None) -> str:
    if precision is not None:
        return f"It computes in {precision} already."
    if gain is None:
        return "This CPU cannot multiply in bfloat16: mixed precision would slow it down."
    gain_text = f"Matrices of {SIDE} are multiplied {gain:.2g} times as fast in bfloat16 here"
    if gain < WORTHWHILE:
        return f"{gain_text}: mixed precision brings little."
    return f'{gain_text}: profile again with mixed_precision="bfloat16".'


def _cpu_flags() -> list[str]:
    try:
        lines = CPU.read_text().splitlines()
    except OSError:  # no Linux
        return []
    return next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
