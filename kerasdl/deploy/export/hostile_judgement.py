"""Check of a written file on hostile input: finite and equal where the model is, one example at a time."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core.keras_graph import all_layers

from .hostile_inputs import DENORMAL_EXAMPLE, hostile_arrays
from .parity import Drift
from .set_outputs import SetOutputs
from .tracing import Program, first_line, in_batches, silenced, stateful_layers

# Where a model differs from itself by more than this share of the bound, it is too ill-conditioned for a comparison.
SHARE = 0.1
NORMAL = 1e6  # makes a normal number of the denormal
REORDERED = 2.0**-21
MOVES = 3  # times that inputs and weights are moved by one unit in the last place

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Fault:
    """A hostile example on which a file fails."""

    example: str
    """The name of the example, such as "zeros"."""
    arrays: Arrays
    """The arrays of the example, by input name."""
    text: str
    """Description of the failure."""


@dataclass(frozen=True)
class Verdict:
    """Outcome of a check on hostile input."""

    drifts: tuple[Drift, ...] = ()
    """The figures of every output over all examples, where the model's own output is finite."""
    notes: tuple[str, ...] = ()
    """Notes on the examples that the file was not compared on, and the reasons."""
    fault: Fault | None = None
    """The first example on which the file fails."""


class HostileExamples:
    """Hostile examples of a model with its outputs, computed before the model is traced in other formulas."""

    def __init__(self, program: Program, real: Mapping[str, np.ndarray]):
        self.program, self.sets = program, SetOutputs(program.model)
        self.examples: dict[str, Arrays] = {}
        self.model_outputs: dict[str, Arrays] = {}
        self.notes: list[str] = []
        for example, arrays in hostile_arrays(program.inputs, real).items():
            try:
                # Compiled as `predict` is: a loop over time takes a hundred times longer when it is called.
                self.model_outputs[example] = (
                    self._called(arrays) if stateful_layers(program.model) else self._compiled(arrays)
                )
                self.examples[example] = arrays
            except Exception as error:  # an input on which the model itself fails is not asked of the file
                self.notes.append(f"hostile input ({example}): the model itself stops there: {first_line(error)}")

    def check(self, run: Callable[[Arrays], Arrays], bound: float, *, finite_alone: bool) -> Verdict:
        """Runs a file on every example and compares.

        Args:
            run: runs the file on examples, one at a time.
            bound: the largest difference of an entry, over max(1, the example's own largest output).
            finite_alone: whether the file need only run and be finite, as an integer file beyond its ranges.
        """
        notes, file_outputs = list(self.notes), {}
        if self.sets.layer is not None:  # of boxes whose scores are equal any may be kept
            finite_alone = True
            notes.append(f"hostile input: the set that {self.sets.layer.name!r} gives is held to be finite, not equal")
        try:
            file_outputs = self._file_outputs(run)
        except _StopError as stop:
            return Verdict((), (), Fault(stop.example, self.examples[stop.example], f"stops there: {stop.reason}"))
        for example, by_output in self.model_outputs.items():
            file_outputs[example] = self.sets.aligned(by_output, file_outputs[example])
            for output, expected in by_output.items():
                actual = file_outputs[example][output]
                if actual.shape != expected.shape:
                    text = f"gives the shape {actual.shape} in output {output!r}, not {expected.shape}"
                    return Verdict((), (), Fault(example, self.examples[example], text))
                gap = _Gap.between(expected, actual, bound)
                if not gap.known.all():
                    notes.append(
                        f"hostile input ({example}): the model's own {output!r} is not finite there, not compared"
                    )
                if gap.broken.any():
                    value = actual[gap.broken].flat[0]
                    text = f"gives {value} in output {output!r}, the model {expected[gap.broken].flat[0]:.3g}"
                    return Verdict((), (), Fault(example, self.examples[example], text))
                if finite_alone or not gap.beyond.any():
                    continue
                beyond = gap.beyond & np.logical_not(self._is_flushed(example, output, actual, bound))
                if not beyond.any():
                    continue
                off, own = gap.share(beyond), self._own_gap(example, output)
                if (beyond & (own <= SHARE * bound * gap.size)).any():
                    text = f"is off by {off:.3g} in output {output!r} (relative difference)"
                    return Verdict((), (), Fault(example, self.examples[example], text))
                notes.append(
                    f"hostile input ({example}): {output!r} of the file is off by {off:.2g}, and the model itself by "
                    f"{own[beyond].max() / gap.size:.2g} in 64 bits or where the last place moves; left out"
                )
        return Verdict(tuple(self._drifts(file_outputs)), tuple(notes))

    def _file_outputs(self, run: Callable[[Arrays], Arrays]) -> dict[str, Arrays]:
        """Runs all examples in one go, and one by one where a state is kept or the file fails."""
        if self.examples and not stateful_layers(self.program.model):
            try:
                return self._split(run(_joined(list(self.examples.values()))))
            except OSError:
                raise
            except Exception:  # the example is found below
                pass
        file_outputs = {}
        for example, arrays in self.examples.items():
            try:
                file_outputs[example] = run(arrays)
            except OSError:
                raise
            except Exception as error:
                raise _StopError(example, first_line(error)) from error
        return file_outputs

    def _split(self, outputs: Arrays) -> dict[str, Arrays]:
        file_outputs: dict[str, Arrays] = {example: {} for example in self.model_outputs}
        for output, value in outputs.items():
            ends = np.cumsum([len(np.atleast_1d(by_output[output])) for by_output in self.model_outputs.values()])
            for example, part in zip(self.model_outputs, np.split(value, ends[:-1]), strict=True):
                file_outputs[example][output] = part
        return file_outputs

    def _is_flushed(self, example: str, output: str, actual: np.ndarray, bound: float) -> Any:
        """Tells where a denormal was taken for zero by the file but not by the model, or the other way round."""
        if example != DENORMAL_EXAMPLE:
            return False
        others = [self._compiled(_scaled(self.examples[example], scale)) for scale in (0.0, NORMAL)]
        return np.any([~_Gap.between(other[output], actual, bound).beyond for other in others], axis=0)

    def _drifts(self, file_outputs: dict[str, Arrays]) -> list[Drift]:
        drifts = []
        for output in self.program.outputs if file_outputs else ():
            pairs = [
                (by_output[output], file_outputs[example][output]) for example, by_output in self.model_outputs.items()
            ]
            gaps = [_Gap.between(expected, got, 0.0) for expected, got in pairs]
            squares = sum(
                np.square(expected[gap.known], dtype="float64").sum()
                for (expected, _), gap in zip(pairs, gaps, strict=True)
            )
            off = sum(np.square(gap.gap).sum() for gap in gaps)
            worst = max(float(gap.gap.max(initial=0.0)) for gap in gaps)
            relative = max(float(gap.gap.max(initial=0.0)) / gap.size for gap in gaps)
            rmse = float(np.sqrt(off / max(squares, 1e-24))) if off else 0.0
            drifts.append(Drift(output, "hostile", worst, relative, rmse, None))
        return drifts

    def _own_gap(self, example: str, output: str) -> np.ndarray:
        """Returns the largest difference of the model from itself: compiled or not, in 64 bits, with moved inputs."""
        if example not in self._own_gaps_by_example:
            variants = list(self._variants(self.examples[example]))
            self._own_gaps_by_example[example] = self._largest_gaps(self.model_outputs[example], variants)
        return self._own_gaps_by_example[example][output]

    def own_gaps(self, arrays: Arrays, expected: Arrays) -> Arrays:
        """Returns by output the largest difference of the model from itself on given examples.

        Sums in another order are off by a few units of the last place: all of an example moves by as much, up and down.
        """
        others = [*self._variants(arrays), *(self.compiled(_scaled(arrays, 1 + by)) for by in (REORDERED, -REORDERED))]
        return self._largest_gaps(expected, others)

    def _largest_gaps(self, expected: Arrays, others: list[Arrays]) -> Arrays:
        others = [self.sets.aligned(expected, other) for other in others]
        gaps = {output: _largest_gap(value, [each[output] for each in others]) for output, value in expected.items()}
        return self.sets.spread(expected, gaps)

    def compiled(self, arrays: Arrays) -> Arrays:
        """Returns the model's outputs computed in a graph, as in `predict` and `fit`."""
        return in_batches(self.program.batch, arrays, self._compiled)

    def _variants(self, arrays: Arrays) -> Iterator[Arrays]:
        generator = np.random.default_rng(0)
        yield self._called(arrays)
        with suppress(Exception), _in_64_bits(self.program.model):  # not every layer computes in them
            yield self._called(arrays)
        for _ in range(MOVES):
            moved = {name: _moved(array, generator) for name, array in arrays.items()}
            with _moved_weights(self.program.model, generator):
                yield self.compiled(moved)

    def _called(self, arrays: Arrays) -> Arrays:
        with silenced():
            return self.program.run(arrays)

    def _compiled(self, arrays: Arrays) -> Arrays:
        with silenced(), tf.device("/cpu:0"):
            outputs = self._function(**{name: tf.constant(array) for name, array in arrays.items()})
        return {name: np.atleast_1d(value.numpy()) for name, value in outputs.items()}

    @cached_property
    def _function(self) -> Any:
        return self.program.function()

    @cached_property
    def _own_gaps_by_example(self) -> dict[str, Arrays]:
        return {}


class _StopError(Exception):
    """A file that raises on an example."""

    def __init__(self, example: str, reason: str):
        super().__init__(reason)
        self.example, self.reason = example, reason


@dataclass(frozen=True)
class _Gap:
    """Difference of an output of the file from the model's, entry by entry."""

    known: np.ndarray
    """The entries where the model's output is finite."""
    broken: np.ndarray
    """The entries where the model's output is finite and the file's is not."""
    beyond: np.ndarray
    """The entries where both are finite and differ by more than the bound."""
    size: float
    """The largest absolute output of the model, or 1."""
    gap: np.ndarray
    """|file - model|."""

    @classmethod
    def between(cls, expected: np.ndarray, actual: np.ndarray, bound: float) -> "_Gap":
        expected, actual = expected.astype("float64"), actual.astype("float64")
        known, finite = np.isfinite(expected), np.isfinite(actual)
        size = float(np.abs(expected[known]).max(initial=1.0))
        with np.errstate(invalid="ignore", over="ignore"):
            gap = np.where(known & finite, np.abs(actual - expected), 0.0)
        return cls(known, known & ~finite, gap > bound * size, size, gap)

    def share(self, where: np.ndarray) -> float:
        return float(self.gap[where].max() / self.size)


def _largest_gap(expected: np.ndarray, others: list[np.ndarray]) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = [np.abs(other.astype("float64") - expected.astype("float64")) for other in others]
    return np.max([np.where(np.isnan(gap), np.inf, gap) for gap in gaps], axis=0)


def _joined(examples: list[Arrays]) -> Arrays:
    return {name: np.concatenate([np.atleast_1d(each[name]) for each in examples]) for name in examples[0]}


def _scaled(arrays: Arrays, scale: float) -> Arrays:
    return {
        name: (array * scale).astype(array.dtype) if array.dtype.kind == "f" else array
        for name, array in arrays.items()
    }


def _moved(array: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if array.dtype.kind != "f":
        return array
    directions = np.where(generator.random(array.shape) < 0.5, -np.inf, np.inf).astype(array.dtype)
    return np.nextafter(array, directions)


@contextmanager
def _in_64_bits(model: Any) -> Iterator[None]:
    before = [(layer, layer.dtype_policy, layer.autocast) for layer in [model, *all_layers(model)]]
    policy_of_64 = keras.DTypePolicy("float64")
    policy_of_64._variable_dtype = "float32"  # where both are one Keras casts no weights, and PReLU stops
    try:
        for layer, _, _ in before:
            layer.dtype_policy, layer.autocast = policy_of_64, True  # some norms cast by themselves, to 32 bits
        yield
    finally:
        for layer, policy, casts in before:
            layer.dtype_policy, layer.autocast = policy, casts


@contextmanager
def _moved_weights(model: Any, generator: np.random.Generator) -> Iterator[None]:
    before = [(weight, weight.numpy()) for weight in model.weights if np.asarray(weight).dtype.kind == "f"]
    try:
        for weight, value in before:
            weight.assign(_moved(value, generator))
        yield
    finally:
        for weight, value in before:
            weight.assign(value)
