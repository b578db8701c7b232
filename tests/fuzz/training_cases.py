"""Calls of `fit` and `finetune` drawn from a seed: `drawn(seed)` gives a `Case`, nets, data and settings.

Most draws fit together; about a third have one thing in them that does not. What must come of a case stands in
training_oracle.py.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

HIDDEN = 3
FIT = {  # what goes with each loss: forms of labels, ends of the net
    "sparse": (("numbers",), ("softmax", "linear")),
    "focal": (("numbers",), ("softmax", "linear")),
    "smoothed": (("numbers", "one_hot", "shares"), ("softmax", "linear")),
    "categorical": (("one_hot", "shares"), ("softmax", "linear")),
    "binary": (("several",), ("sigmoid", "linear")),
    "mse": (("figures", "numbers"), ("linear", "sigmoid")),
    "mae": (("figures",), ("linear",)),
}
LABELS = ("numbers", "one_hot", "shares", "several", "figures", "strings")
ENDS = ("softmax", "sigmoid", "linear")
METRICS = {"numbers": ("accuracy", "sparse"), "one_hot": ("accuracy", "categorical"), "several": ("binary",)}
METRICS |= {"shares": ("categorical",), "figures": ("mse",), "strings": ("accuracy",)}
ALL_METRICS = ("accuracy", "sparse", "categorical", "binary", "mse")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
FLOATS = ("float16", "float32", "float64")
DTYPES = {kind: (*INTEGERS, "bool", *FLOATS) for kind in ("numbers", "one_hot", "several")}
DTYPES |= {"shares": ("float32", "float64"), "figures": ("float32", "float64"), "strings": ("str",)}
LABEL_FLAWS = ("too high", "negative", "nan", "inf", "fraction", "another width")
INPUTS = ("float32", "float64", "float16", "uint8", "int32", "int64", "bool")
NETS = ("functional", "sequential", "sequential unbuilt", "subclass", "subclass unbuilt", "functional in dicts")
PAIRS = ("pair", "list of two", "nested lists", "strided", "big-endian", "record", "fortran", "triple")
NO_DATA = ("dict", "generator", "inputs alone", "unequal", "empty", "iterator")
NO_DATA += ("pipeline of inputs", "unbatched pipeline", "empty pipeline")


@dataclass
class Head:
    """One output of a net, its loss, and its labels."""

    name: str
    units: int
    end: str
    loss: str | None
    """A key of `FIT`; None leaves it to the task of the data."""
    form: str
    """How the loss is given: object, name, alias ("crossentropy"), function, list or dict."""
    logits: bool
    """Whether the loss is told that it gets logits."""
    ignore: int | None
    """The class that the loss leaves out."""
    kind: str
    """A form of labels, of `LABELS`."""
    column: bool
    """Whether class numbers have a last axis of 1."""
    flaw: str | None
    """What is wrong with a label, of `LABEL_FLAWS`."""
    labels: np.ndarray
    metrics: tuple[str, ...]


@dataclass
class Feed:
    """Data as they are handed over, and what batches they are."""

    container: str
    """Of `PAIRS` or `NO_DATA`, or "pipeline"."""
    rows: np.ndarray
    """Which examples of the case these are, in order."""
    batch: int
    """Examples in a batch of a pipeline."""
    stages: tuple[tuple, ...] = ()
    """What is done before `batch`, "batch", and what is done after, each with its argument."""
    dicts: bool = False
    """Whether a pipeline gives its inputs by name."""
    flaw: str | None = None
    """Whether an input is "nan" or "inf"."""

    @property
    def is_pipeline(self) -> bool:
        return self.container == "pipeline"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(stage[0] for stage in self.stages)

    @property
    def endless(self) -> bool:
        """Whether the pipeline has no end."""
        cut = ("take",)
        last = max((place for place, name in enumerate(self.names) if name == "endless"), default=-1)
        return last >= 0 and not any(name in cut for name in self.names[last:])

    @property
    def unknown(self) -> bool:
        """Whether nobody knows how many batches there are before they are read."""
        blind = max((place for place, name in enumerate(self.names) if name in ("filter", "generator")), default=-1)
        return blind >= 0 and not self.endless

    def batches(self, own: int) -> Iterator[np.ndarray]:
        """Yields the examples of each batch, of endless data without end."""
        if not self.is_pipeline:
            for start in range(0, len(self.rows), own):
                yield self.rows[start : start + own]
            return
        elements: Any = iter(self.rows.tolist())
        for name, value in self.stages:
            elements = _staged(elements, name, value)
        for each in elements:
            yield np.array(each)


def _staged(elements: Iterator, name: str, value: Any) -> Iterator:
    if name == "batch":
        return (batch for batch in map(list, _grouped(elements, *value)))
    if name in ("repeat", "endless"):
        return _cycled(elements, value)
    if name == "take":
        return itertools.islice(elements, value)
    if name == "skip":
        return itertools.islice(elements, value, None)
    return elements


def _grouped(elements: Iterator, size: int, whole: bool) -> Iterator[list]:
    while batch := list(itertools.islice(elements, size)):
        if len(batch) == size or not whole:
            yield batch


def _cycled(elements: Iterator, times: int | None) -> Iterator:
    seen = []
    for each in elements:
        seen.append(each)
        yield each
    rounds = itertools.count() if times is None else range(times - 1)
    yield from (each for _ in rounds for each in seen) if seen else ()


@dataclass
class Case:
    """One call."""

    seed: int
    net: str
    shapes: tuple[tuple[int, ...], ...]
    """The shape of each input, without the batch."""
    inputs: list[np.ndarray]
    heads: list[Head]
    hidden: int
    """How many hidden layers there are."""
    weights: list[list[np.ndarray]]
    """Kernel and bias of each layer, hidden ones first."""
    train: Feed
    validation: Feed | None
    settings: dict[str, Any]
    """Those of `RunConfig` apart from the constant ones."""
    task: str | None
    call: str
    """fit or finetune."""
    compiled: bool
    """Whether the model was compiled with something else before."""
    metrics_given: bool
    """Whether metrics are given rather than left to the task."""
    options: dict[str, Any] = field(default_factory=dict)
    """Those of `finetune`."""

    def __str__(self) -> str:
        heads = [
            f"{head.units} {head.end}, {head.loss} ({head.form}, logits={head.logits}, ignore={head.ignore}) on "
            f"{head.kind} {head.labels.dtype}{head.labels.shape} flaw={head.flaw} metrics={head.metrics}"
            for head in self.heads
        ]
        feeds = [
            None if each is None else f"{each.container} {each.stages} rows={len(each.rows)} flaw={each.flaw}"
            for each in (self.train, self.validation)
        ]
        given = [f"{array.dtype}{array.shape}" for array in self.inputs]
        return (
            f"{self.call} {self.net} {given} -> {heads}; train {feeds[0]}; val {feeds[1]}; {self.settings} {self.task}"
        )


def drawn(seed: int) -> Case:
    """Returns the case of a seed."""
    rng = np.random.default_rng([seed, 11])
    count = int(rng.choice([1, 2, 3, 5, 8, 12, 17]))
    shape = _pick(rng, ["flat"] * 7 + ["steps", "steps", "image"])
    several_in, several_out = bool(rng.random() < 0.15 and shape == "flat"), bool(rng.random() < 0.15)
    steps = int(rng.integers(1, 4)) if shape == "steps" else None
    shapes = {"flat": (int(rng.integers(1, 5)),), "steps": (steps, 2), "image": (2, 2, _pick(rng, [1, 3]))}
    own = [shapes[shape], (2,)] if several_in else [shapes[shape]]
    inputs = [_inputs(rng, count, each, shape) for each in own]
    heads = [_head(rng, name, count, steps) for name in (("out", "aim") if several_out else ("out",))]
    plain = not several_in and not several_out
    call = "finetune" if plain and rng.random() < 0.1 else "fit"
    if call == "finetune" or (plain and rng.random() < 0.12):
        heads[0].loss, heads[0].form, heads[0].ignore = None, "object", None
    hidden = int(rng.integers(0, 3)) if call == "fit" else int(rng.integers(1, 3))
    net = _pick(rng, NETS[:1] * 5 + NETS[1:]) if plain and call == "fit" else _pick(rng, NETS[:1] * 3 + NETS[-1:])
    if call == "finetune":
        net = "functional"
    if net == "functional in dicts" and several_out and rng.random() < 0.8:
        heads[0].form = "dict"
    sizes = [sum(int(np.prod(each)) if shape == "image" else each[-1] for each in own), *[HIDDEN] * hidden]
    weights = [_weights(rng, low, HIDDEN) for low in sizes[:-1]] + [_weights(rng, sizes[-1], h.units) for h in heads]
    if rng.random() < 0.15:  # sorted class by class
        order = np.argsort(heads[0].labels.reshape(count, -1)[:, 0], kind="stable")
        inputs = [array[order] for array in inputs]
        for head in heads:
            head.labels = head.labels[order]
    train = _feed(rng, count, True, plain)
    train.dicts |= net == "functional in dicts" and rng.random() < 0.8
    validation = _feed(rng, count, False, plain) if rng.random() < 0.5 else None
    if validation is not None and not plain:
        validation.dicts = train.dicts
    settings = _settings(rng, count, heads, train, validation)
    given = call == "fit" and (heads[0].loss is not None or rng.random() < 0.5)
    freeze = _pick(rng, ["none", "staged", "backbone"])
    options = {"freeze": str(freeze), "layer_decay": 0.5, "groups": int(rng.integers(1, 3))}
    task = _pick(rng, [None, None, "tabular_classification", "tabular_regression"]) if heads[0].loss is None else None
    return Case(
        seed,
        net,
        tuple(own),
        inputs,
        heads,
        hidden,
        weights,
        train,
        validation,
        settings,
        task,
        call,
        bool(rng.random() < 0.2),
        given,
        options if call == "finetune" else {},
    )


def _pick(rng: np.random.Generator, choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _inputs(rng: np.random.Generator, count: int, shape: tuple[int, ...], form: str) -> np.ndarray:
    dtype = _pick(rng, ["float32"] * 4 + list(INPUTS)) if form != "image" else _pick(rng, ["uint8", "uint8", "float32"])
    if dtype.startswith("float"):
        return rng.normal(size=(count, *shape)).astype(dtype)
    high = 2 if dtype == "bool" else int(_pick(rng, [3, 3, 256]))
    return rng.integers(0, high, (count, *shape)).astype(dtype)


def _weights(rng: np.random.Generator, low: int, high: int) -> list[np.ndarray]:
    return [rng.normal(0, 0.5, (low, high)).astype("float32"), rng.normal(0, 0.2, high).astype("float32")]


def _head(rng: np.random.Generator, name: str, count: int, steps: int | None) -> Head:
    loss, units = _pick(rng, [*FIT, "sparse", "categorical", "binary"]), int(rng.integers(1, 5))
    kinds, ends = FIT[loss]
    crossed = rng.random() < 0.1
    kind, end = _pick(rng, LABELS if crossed else kinds), _pick(rng, ENDS if crossed else ends)
    if not crossed and loss not in ("binary", "mse", "mae"):
        units = max(units, 2)
    if not crossed and loss == "mse" and kind == "numbers":
        units = 1
    form = _pick(rng, ["object"] * 6 + ["name", "function", "list", "dict"])
    if form == "name" and loss in ("sparse", "categorical", "binary") and name == "out" and rng.random() < 0.5:
        form = "alias"
    if form in ("name", "alias", "function") and not crossed and rng.random() < 0.7:
        end = ends[0]  # what bears no from_logits takes probabilities
    logits = end == "linear" if rng.random() < 0.97 else end != "linear"
    column = bool(rng.random() < 0.3)
    labels, flaw = _labels(rng, count, steps, units, kind, column)
    ignores = loss == "sparse" and form == "object" and end == "linear"  # of probabilities, Keras cuts such a loss off
    ignore = int(rng.integers(-1, 2)) if ignores and rng.random() < 0.3 else None
    if ignore == -1 and kind == "numbers" and labels.dtype.kind == "i" and labels.size and flaw is None:
        labels.reshape(-1)[0] = -1
    natural = METRICS[kind] if rng.random() < 0.9 else ALL_METRICS
    metrics = (_pick(rng, natural),) if rng.random() < 0.6 else ()
    return Head(name, units, end, loss, form, logits, ignore, kind, column, flaw, labels, metrics)


def _labels(
    rng: np.random.Generator, count: int, steps: int | None, units: int, kind: str, column: bool
) -> tuple[np.ndarray, str | None]:
    outer = (count,) if steps is None else (count, steps)
    classes = max(units, 2)
    numbers = rng.integers(0, classes, outer)
    dtype = _pick(rng, DTYPES[kind])
    if kind == "strings":
        return np.array(["cat", "dog", "hen", "owl"])[numbers], None
    if kind == "numbers":
        whole = numbers % 2 if dtype == "bool" else numbers
        labels = whole.astype(dtype)[..., None] if column else whole.astype(dtype)
    elif kind == "one_hot":
        labels = np.eye(units)[numbers % units].astype(dtype)
    elif kind == "shares":
        labels = rng.dirichlet(np.ones(units), outer).astype(dtype)
    elif kind == "several":
        labels = rng.integers(0, 2, (*outer, units)).astype(dtype)
        labels = labels[..., 0] if units == 1 and column else labels
    else:
        labels = rng.normal(0, 2, (*outer, units)).astype(dtype)
        labels = labels[..., 0] if units == 1 and column else labels
    flaw = _pick(rng, LABEL_FLAWS) if rng.random() < 0.08 else None
    return _flawed(rng, labels, kind, flaw, classes)


def _flawed(
    rng: np.random.Generator, labels: np.ndarray, kind: str, flaw: str | None, classes: int
) -> tuple[np.ndarray, str | None]:
    real, place = labels.dtype.kind == "f", int(rng.integers(labels.size))
    values = {"nan": np.nan, "inf": np.inf, "fraction": 0.5, "negative": -1}
    values["too high"] = classes + int(_pick(rng, [0, 0, 100])) if kind == "numbers" else 2
    needs = {"nan": real, "inf": real, "fraction": real and kind == "numbers", "negative": labels.dtype.kind in "if"}
    needs["too high"] = labels.dtype.kind != "b" and kind != "figures"
    if flaw == "another width" and kind not in ("numbers",) and labels.ndim > 1:
        return np.concatenate([labels, labels[..., :1]], -1), flaw
    if flaw is None or not needs.get(flaw):
        return labels, None
    labels.reshape(-1)[place] = values[flaw]
    return labels, None if kind == "figures" and flaw == "negative" else flaw


def _feed(rng: np.random.Generator, count: int, train: bool, plain: bool) -> Feed:
    rows = np.arange(count) if train or rng.random() < 0.5 else np.sort(rng.integers(0, count, int(rng.integers(1, 7))))
    container = _pick(rng, ["pair"] * 3 + list(PAIRS) + ["pipeline"] * 10)
    if not plain and rng.random() < 0.8:
        container = "pipeline"
    if rng.random() < 0.05:
        container = _pick(rng, NO_DATA)
    batch = int(rng.integers(1, count + 3))
    flaw = "nan" if rng.random() < 0.04 else None  # tanh and sigmoid make finite figures of infinity
    flaw = None if (rows == rows[0]).sum() > 1 else flaw  # the flaw is in the first row, which `skip` may leave out
    feed = Feed(container, rows, batch, dicts=bool(rng.random() < 0.3), flaw=flaw)
    if feed.is_pipeline:
        feed.stages = tuple(_stages(rng, len(rows), batch))
    return feed


def _stages(rng: np.random.Generator, count: int, batch: int) -> Iterator[tuple]:
    before = _pick(rng, ["nothing"] * 6 + ["repeat", "endless", "skip", "take", "shuffle", "shuffle"])
    size = batch
    if before == "shuffle":
        size = count + int(rng.integers(0, 2))  # one batch: its order does not matter
        yield "shuffle", (_pick(rng, [None, 3]), bool(rng.random() < 0.5))
    elif before != "nothing":
        yield before, {"repeat": 2, "endless": None}.get(before, int(rng.integers(0, 3)))
    yield "batch", (size, bool(rng.random() < 0.15))
    for _ in range(int(_pick(rng, [0, 1, 1, 2, 3]))):
        after = _pick(rng, ["repeat", "endless", "take", "skip", "filter", "generator", "prefetch", "cache", "options"])
        if after == "generator" and before == "endless":  # it cannot be told from one that ends
            after = "prefetch"
        if after == "endless":
            before = after
        yield after, {"repeat": 2, "take": int(rng.integers(1, 5)), "skip": int(rng.integers(0, 2))}.get(after)


def _settings(
    rng: np.random.Generator, count: int, heads: list[Head], train: Feed, validation: Feed | None
) -> dict[str, Any]:
    chosen = {"epochs": int(rng.integers(1, 4)), "batch_size": int(rng.integers(1, count + 3))}
    chosen["learning_rate"] = float(_pick(rng, [0.1, 0.1, 0.03, 0.0]))
    rare = {"momentum": 0.9, "accumulation": int(rng.integers(2, 4)), "label_smoothing": 0.1, "restore_best": False}
    rare |= {"steps_per_execution": int(rng.integers(1, 4)), "steps_per_epoch": int(rng.integers(1, 5))}
    rare |= {"validation_steps": int(rng.integers(1, 4)), "class_weights": _class_weights(rng, heads[0])}
    often = {"restore_best": 0.5, "steps_per_epoch": 0.7 if train.endless else 0.15, "class_weights": 0.2}
    often |= {"validation_steps": 0.6 if validation is not None and validation.endless else 0.1}
    chosen |= {name: value for name, value in rare.items() if rng.random() < often.get(name, 0.1)}
    if rng.random() < 0.15:  # one batch, whose order does not matter
        chosen |= {"shuffle": True, "batch_size": count + 1}
    return chosen


def _class_weights(rng: np.random.Generator, head: Head) -> Any:
    classes = max(head.units, 2)
    full = {label: float(weight) for label, weight in enumerate(rng.uniform(0.2, 3, classes))}
    some = {0: 2.5} if rng.random() < 0.5 else {classes - 1: 0.0}
    wrong = [{classes: 2.0}, {-1: 1.0}, {0: -1.0}, {0: float("nan")}, {0: "much"}, {"cat": 1.0}]
    return _pick(rng, [full, full, some, some, "balanced", "balanced", _pick(rng, wrong)])
