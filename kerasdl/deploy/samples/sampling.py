"""Real examples for an export, drawn in one pass over a whole source: some for calibration, others for evaluation.

Data sorted by class begin with one class. So two examples of each class come first (one for calibration, one for
evaluation), then others at random; where no classes are known, equal sections of an array take their place. The
examples of a stream are drawn by their content: neither their order nor a repetition changes the draw.
"""

import dataclasses
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.keras_graph import is_graph
from kerasdl.data import Dataset, trees

from .model_inputs import NamedInput, fitting, input_forms, named_inputs
from .sample_forms import classes_of, inputs_and_labels, is_array, is_single, size_of

# On nets of unbounded input the mean error of int8 fell from 0.074 at 100 examples to 0.036 at 200 and 0.029 at 400.
CALIBRATION, EVALUATION = 200, 64
MIN_TO_HOLD_OUT = 20  # of fewer examples, all are used for both
STREAM_EXAMPLES, STREAM_SECONDS = 10_000, 30.0  # after which the reading of a stream ends
SEED = 0

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class SampleCount:
    """Count of the real examples that were drawn, and of those that they were drawn from."""

    used: int
    """The count of examples drawn."""
    of: int
    """The count of examples read."""
    whole: bool
    """Whether these are all examples of the source; else they are its first ones."""
    seed: int = SEED
    """The seed of the draw."""

    def __str__(self) -> str:
        return f"{self.used:,} of {'' if self.whole else 'the first '}{self.of:,}"


@dataclass(frozen=True)
class Pool:
    """Examples drawn from a source: one of each class, a second one of each, then the others at random."""

    arrays: Arrays
    """Arrays (B, ...) by input name."""
    ranks: np.ndarray
    """(B,): 0 for the first of its class or section, 1 for the second, 2 for the others."""
    count: SampleCount
    """The counts of the draw."""
    padded: bool = False
    """Whether examples smaller than others were padded with zeros at the end."""

    def cast(self, forms: tuple[NamedInput, ...]) -> "Pool":
        """Returns the same examples in the dtypes of a model's inputs, as Keras casts its inputs.

        Texts stay texts: they are refused later where a model takes numbers.
        """
        pairs = [(form, self.arrays[form.name]) for form in forms]
        return dataclasses.replace(
            self, arrays={each.name: a if a.dtype.kind in "OUS" else a.astype(each.dtype) for each, a in pairs}
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the report."""
        return ("examples of unlike sizes were padded with zeros",) * self.padded

    def part(self, rows: np.ndarray) -> Arrays:
        """Returns the examples of some rows."""
        return {name: array[rows] for name, array in self.arrays.items()}


@dataclass(frozen=True)
class Samples:
    """Real examples for one export."""

    inputs: tuple[NamedInput, ...]
    """The inputs of the model."""
    calibration: Arrays
    """The examples that show the ranges of activations; empty where nothing is calibrated."""
    evaluation: Arrays
    """The examples on which file and model are compared; empty where no real examples were given."""
    calibrated_on: SampleCount | None = None
    """The counts of the calibration examples."""
    judged_on: SampleCount | None = None
    """The counts of the evaluation examples."""
    held_out: bool = False
    """Whether no example of the evaluation is one of the calibration."""
    notes: tuple[str, ...] = ()
    """Notes for the report."""


def samples_of(model: keras.Model, source: Any, representative: Any = None, calibration: int = CALIBRATION) -> Samples:
    """Returns the real examples for the export of a model.

    Args:
        model: a built model.
        source: examples to compare file and model on, in any form that `draw` takes; None for none.
        representative: examples that show the ranges of activations, where ranges are needed; if it is the same object
            as `source`, one draw is divided between both uses.
        calibration: the number of examples that show the ranges.

    Raises:
        ArgumentError: the model has no inputs that a file could take, or the examples do not fit it.
    """
    forms = input_forms(model)
    shared = representative is not None and representative is source
    for_evaluation = None if source is None else draw(source, forms, calibration * shared + EVALUATION)
    separate = representative is not None and not shared
    for_calibration = draw(representative, forms, calibration) if separate else for_evaluation
    inputs = forms if is_graph(model) else named_inputs(model, (for_evaluation or for_calibration or _NOTHING).arrays)
    pools = {id(pool): _fitted(pool, inputs) for pool in (for_evaluation, for_calibration) if pool is not None}
    for_evaluation, for_calibration = pools.get(id(for_evaluation)), pools.get(id(for_calibration))
    notes = tuple({note for pool in pools.values() for note in pool.notes})
    if representative is None:
        evaluation, count = _first(for_evaluation, EVALUATION)
        return Samples(inputs, {}, evaluation, None, count, notes=notes)
    if shared:
        return split(for_evaluation, inputs, calibration)
    calibration_arrays, calibration_count = _first(for_calibration, calibration)
    evaluation, evaluation_count = _first(for_evaluation, EVALUATION)
    held_out = not np.isin(_keys([*evaluation.values()], SEED), _keys([*calibration_arrays.values()], SEED)).any()
    return Samples(inputs, calibration_arrays, evaluation, calibration_count, evaluation_count, held_out, notes)


def split(pool: Pool, inputs: tuple[NamedInput, ...], calibration: int, fewest: int = MIN_TO_HOLD_OUT) -> Samples:
    """Divides a pool into at most `calibration` examples and others for evaluation; below `fewest`, all serve both."""
    calibration_rows, evaluation_rows = _divided(pool, calibration, fewest)
    counts = [dataclasses.replace(pool.count, used=len(rows)) for rows in (calibration_rows, evaluation_rows)]
    held_out = not set(calibration_rows) & set(evaluation_rows)
    return Samples(inputs, pool.part(calibration_rows), pool.part(evaluation_rows), *counts, held_out, pool.notes)


def draw(source: Any, forms: tuple[NamedInput, ...], count: int, seed: int = SEED) -> Pool:
    """Draws examples in one pass over a source; an endless one is read for 10,000 examples or 30 seconds.

    Args:
        source: an array (B, ...); a list, tuple or dict with an array for each input; a list of examples; a pair (x, y)
            of such inputs and labels, with weights or without; a `Dataset`; a `tf.data.Dataset`, a
            keras.utils.PyDataset, a generator, a function that makes one, or any other iterable of batches or examples
            of such forms; a pool.
        forms: the inputs of the model.
        count: the number of examples to draw, 1 or more; all, where there are fewer.
        seed: the seed of the draw.

    Raises:
        ArgumentError: the source is none of these, is empty, or holds arrays or labels of unlike lengths.
    """
    if isinstance(source, Pool):
        return source
    if isinstance(source, Dataset):
        if source.any_order:
            return _of_examples(source, forms, count, seed)
        source = source.source if source.foreign else source.batches()
    if isinstance(source, str):
        checks.refuse("samples must be data, not their name", source, f"Pass kerasdl.data.load({source!r}).")
    if callable(source) and not hasattr(source, "__array__"):
        source = source()
    if isinstance(source, tf.data.Dataset):
        return _streamed(_in_batches(source, forms).as_numpy_iterator(), forms, count, seed)
    if isinstance(source, (Mapping, list, tuple)) or is_array(source):
        parts, labels = inputs_and_labels(source, forms, single=False)
        size = size_of(parts, forms)
        return _indexed([partial(_rows, part) for part in parts], size, classes_of(labels, size), forms, count, seed)
    if isinstance(source, keras.utils.PyDataset) and source.num_batches is not None:
        source = map(source.__getitem__, range(source.num_batches))
    if not isinstance(source, Iterable) and not hasattr(source, "__getitem__"):
        rule = "samples must be arrays, a pair (x, y), a Dataset, a tf.data.Dataset or a generator of batches"
        checks.refuse(rule, type(source).__name__)
    return _streamed(source, forms, count, seed)


_NOTHING = Pool({}, np.zeros(0, int), SampleCount(0, 0, True))


def _fitted(pool: Pool, inputs: tuple[NamedInput, ...]) -> Pool:
    return dataclasses.replace(pool, arrays={each.name: fitting(each, pool.arrays[each.name]) for each in inputs})


def _first(pool: Pool | None, count: int) -> tuple[Arrays, SampleCount | None]:
    if pool is None:
        return {}, None
    rows = np.arange(len(pool.ranks))[:count]
    return pool.part(rows), dataclasses.replace(pool.count, used=len(rows))


def _divided(pool: Pool, calibration: int, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows for calibration and for evaluation, one of each class in both; of few examples, all in both."""
    drawn = len(pool.ranks)
    if drawn < fewest:
        return np.arange(drawn)[:calibration], np.arange(drawn)[:calibration]
    evaluation_size = min(EVALUATION, max(drawn - calibration, drawn // 4))
    calibration_size = min(calibration, drawn - evaluation_size)
    first, second = (
        np.flatnonzero(pool.ranks == 0)[:calibration_size],
        np.flatnonzero(pool.ranks == 1)[:evaluation_size],
    )
    rest = np.setdiff1d(np.arange(drawn), [*first, *second])  # sorted, hence as drawn
    missing = calibration_size - len(first)
    return np.r_[first, rest[:missing]], np.r_[second, rest[missing:]][:evaluation_size]


def _indexed(
    readers: list[Callable],
    size: int,
    classes: np.ndarray | None,
    forms: tuple[NamedInput, ...],
    count: int,
    seed: int,
) -> Pool:
    """Draws from a source with random access, of which only the drawn examples are read."""
    if not size:
        checks.refuse("samples must hold examples, one or more", size)
    groups = np.arange(size) * count // size if classes is None else _numbered(classes)
    if not 2 <= len(np.unique(groups)) <= size / 2:
        groups = np.arange(size) * count // size
    rows, ranks = _order(np.random.default_rng(seed).random(size), groups, count)
    examples = [list(read(rows)) for read in readers]
    _, different = np.unique(_keys(examples, seed), return_index=True)
    different = np.sort(different)
    return _pool([[part[row] for row in different] for part in examples], ranks[different], forms, (size, True))


def _streamed(elements: Iterable, forms: tuple[NamedInput, ...], count: int, seed: int) -> Pool:
    """Draws from a stream of batches or examples; no more than `count` examples are in memory."""
    keys, groups, ranks = np.zeros(0), [], np.zeros(0, int)
    kept: list[list[np.ndarray]] = [[] for _ in forms]
    read, whole, started = 0, True, time.monotonic()
    for element in elements:
        if read >= STREAM_EXAMPLES or time.monotonic() - started > STREAM_SECONDS:
            whole = False
            break
        parts, labels = inputs_and_labels(element, forms, single=True)
        parts = [np.asarray(part) for part in parts]
        if is_single(parts[0], forms[0]):
            parts = [part[None] for part in parts]
            labels = keras.tree.map_structure(lambda label: np.asarray(label)[None], labels)
        size = size_of(parts, forms)
        classes = classes_of(labels, size)
        size = min(size, STREAM_EXAMPLES - read)
        read += size
        new = _keys([part[:size] for part in parts], seed)
        of_new = [None] * size if classes is None else classes[:size].tolist()
        if not _any_enters(new, of_new, (keys, groups, ranks), count):
            continue
        count_before, keys, groups = len(keys), np.r_[keys, new], groups + of_new
        rows, ranks = _order(keys, groups, count)
        kept = [
            [
                own[row] if row < count_before else np.array(part[row - count_before]) for row in rows
            ]  # a copy, as a view would keep its batch in memory
            for own, part in zip(kept, parts, strict=True)
        ]
        keys, groups = keys[rows], [groups[row] for row in rows]
    if not read:
        checks.refuse("samples must hold examples, one or more", 0, "The pipeline or generator is empty, or used up.")
    return _pool(kept, ranks, forms, (read, whole))


def _in_batches(source: tf.data.Dataset, forms: tuple[NamedInput, ...]) -> tf.data.Dataset:
    """Returns a pipeline of single examples of one size in batches, which are read ten times faster."""
    shapes = [getattr(spec, "shape", tf.TensorShape(None)) for spec in keras.tree.flatten(source.element_spec)]
    if not all(shape.is_fully_defined() for shape in shapes):
        return source
    example = keras.tree.map_structure(lambda spec: np.broadcast_to(0, spec.shape), source.element_spec)
    parts, _ = inputs_and_labels(example, forms, single=True)
    return source.batch(32) if is_single(parts[0], forms[0]) else source


def _any_enters(keys: np.ndarray, groups: list, chosen: tuple[np.ndarray, list, np.ndarray], count: int) -> bool:
    """Tells whether any new example would be kept; a cheap test that spares most batches the sorting."""
    kept_keys, kept_groups, ranks = chosen
    if len(kept_keys) < count:
        return not np.isin(keys, kept_keys).all()
    second = {group: key for group, key, rank in zip(kept_groups, kept_keys, ranks, strict=True) if rank == 1}
    highest = kept_keys[-1] if ranks[-1] == 2 else np.inf
    return any(key < max(highest, second.get(group, np.inf)) for key, group in zip(keys, groups, strict=True))


def _order(keys: np.ndarray, groups: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the examples to keep, and their ranks: the lowest key of each group, the second lowest, the others."""
    _, different = np.unique(keys, return_index=True)
    numbers = _numbered(groups)
    order = different[np.lexsort((keys[different], numbers[different]))]
    starts = np.flatnonzero(np.r_[True, np.diff(numbers[order]) != 0])
    lengths = np.diff(np.r_[starts, len(order)])
    ranks = np.minimum(np.arange(len(order)) - np.repeat(starts, lengths), 2)
    first = np.lexsort((keys[order], ranks))[:count]
    return order[first], ranks[first]


def _numbered(groups: Any) -> np.ndarray:
    is_numeric = isinstance(groups, np.ndarray) and groups.dtype.kind != "O"
    return np.unique(groups if is_numeric else list(map(repr, groups)), return_inverse=True)[1]


def _keys(examples: list, seed: int) -> np.ndarray:
    """Returns a number from 0 to 1 for each example, equal for equal ones and random else."""
    sums = np.array([zlib.crc32(b"".join(map(_content, parts))) for parts in zip(*examples, strict=True)], np.uint64)
    mixed = sums + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)  # splitmix64: neighbours go far apart
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))) / 2.0**64


def _content(example: Any) -> bytes:
    array = np.asarray(example)
    return repr(array.tolist()).encode() if array.dtype.kind in "OUS" else array.tobytes()


def _pool(examples: list[list], ranks: np.ndarray, forms: tuple[NamedInput, ...], count: tuple[int, bool]) -> Pool:
    padded = [_padded([np.asarray(example) for example in part]) for part in examples]
    arrays = {form.name: array for form, (array, _) in zip(forms, padded, strict=True)}
    return Pool(arrays, ranks, SampleCount(len(ranks), *count), any(is_padded for _, is_padded in padded))


def _padded(examples: list[np.ndarray]) -> tuple[np.ndarray, bool]:
    shapes = {example.shape for example in examples}
    if len(shapes) == 1:
        return np.stack(examples), False
    if len({len(shape) for shape in shapes}) > 1:
        checks.refuse("samples must have equally many dimensions", sorted(shapes)[:4])
    largest = np.max(list(shapes), axis=0)
    grown = [np.pad(each, np.stack([0 * largest, largest - each.shape], axis=1)) for each in examples]
    return np.stack(grown), True


def _rows(part: Any, rows: np.ndarray) -> Any:
    if isinstance(part, np.ndarray):
        return part[rows]
    if hasattr(part, "iloc"):
        return np.asarray(part.iloc[rows])
    return [np.asarray(part[int(row)]) for row in rows]  # lists, tensors, and arrays on disk


def _of_examples(dataset: Dataset, forms: tuple[NamedInput, ...], count: int, seed: int) -> Pool:
    """Draws from examples in memory or in files."""
    inputs, labels = dataset.source.inputs, dataset.source.labels
    dense = all(isinstance(leaf, np.ndarray) for leaf in trees.leaves(labels))
    groups = classes_of(labels if dense else None, dataset.size)
    if trees.is_nested(inputs):
        parts, _ = inputs_and_labels((inputs,), forms, single=False)
        reads = [partial(_rows, part) for part in parts]
    else:
        reads = [partial(_read, dataset)]
    return _indexed(reads, dataset.size, groups, forms, count, seed)


def _read(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    chosen = dataclasses.replace(dataset, source=dataset.source.pick(rows), size=len(rows), sampler=None)
    return chosen.arrays()[0]
