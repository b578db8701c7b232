"""Rules on training calls, a second time: which losses, labels and data of a `Case` fit, and what its batches are."""

import itertools
from collections.abc import Iterator

import numpy as np
from training_cases import NO_DATA, Case, Feed, Head

PROBABLE = ("sparse", "categorical", "binary", "focal", "smoothed")
CLASSES = ("sparse", "focal", "smoothed", "categorical")


def loss_of(case: Case, head: Head) -> str | None:
    """Returns the loss of a head, of its task where none is given; None where there is no task."""
    if head.form == "alias" and head.loss is not None:
        axes = 2 if len(case.shapes[0]) == 2 else 1
        one = head.labels.ndim == axes or head.labels.shape[-1] == 1
        return "binary" if head.units == 1 else "sparse" if one else "categorical"
    if head.loss is not None:
        return head.loss
    task = task_of(case)
    return {"tabular_regression": "mse", None: None}.get(task, "sparse")


def task_of(case: Case) -> str | None:
    """Returns the task of data whose loss is not given."""
    if case.task is not None:
        return case.task
    labels, pipeline = case.heads[0].labels, case.train.is_pipeline
    whole = labels.ndim == 1 and labels.dtype.kind in "iu"
    if len(case.inputs) > 1 or (pipeline and len(case.heads) > 1):
        return None
    if case.inputs[0].ndim == 4 and whole:
        return "image_classification"
    real = case.inputs[0].dtype.kind == "f"
    if case.inputs[0].ndim == 2 and real:
        marks = {*labels.ravel().tolist()} == {0.0, 1.0}  # which may be one-hot classes
        figures = labels.dtype.kind == "f" and not marks and not pipeline  # whole numbers alone tell that of a pipeline
        return "tabular_classification" if whole else "tabular_regression" if figures else None
    return None


def gives_logits(case: Case, head: Head) -> bool:
    """Returns whether the loss of a head is told that it gets logits."""
    if head.loss is None:
        return head.end == "linear"
    return head.logits and head.form not in ("name", "alias", "function")


def faults(case: Case) -> Iterator[str]:
    """Yields why a call must be refused, nothing where it is right."""
    if case.net == "functional in dicts" and len(case.heads) > 1:
        if case.heads[0].form != "dict" or (case.metrics_given and any(head.metrics for head in case.heads)):
            yield "a list for outputs in a dict"
        if not case.train.dicts or not (case.validation is None or case.validation.dicts):
            yield "labels in a tuple for outputs in a dict"
    for what, feed in (("train", case.train), ("validation", case.validation)):
        if feed is not None:
            yield from (f"{what}: {fault}" for fault in _feed_faults(case, feed, what))
    for head in case.heads:
        yield from _loss_faults(case, head)
        yield from _metric_faults(case, head)
    yield from _weight_faults(case)
    if "accumulation" in case.settings and any(head.ignore is not None for head in case.heads):
        yield "parts with unlike numbers of predictions"


def _feed_faults(case: Case, feed: Feed, what: str) -> Iterator[str]:
    if feed.container in NO_DATA:
        yield feed.container
        return
    steps = case.settings.get("steps_per_epoch" if what == "train" else "validation_steps")
    if not list(itertools.islice(feed.batches(case.settings["batch_size"]), 1)):
        yield "no batches"
        return
    if feed.endless and steps is None:
        names = [name for name in feed.names if name not in ("prefetch", "options")]
        one_pass = names and names[-1] == "endless" and not {"filter", "generator"} & set(names)
        if what == "train" or not one_pass or _before_its_last_repeat(feed).endless:
            yield "endless"
            return
    read = _read(case, feed, what)
    if feed.flaw is not None and case.inputs[0].dtype.kind == "f" and (feed.rows[0] in read or not feed.is_pipeline):
        yield f"{feed.flaw} in an input"
    for head in case.heads:
        yield from _label_faults(case, head, head.labels[read if feed.is_pipeline else feed.rows])


def _read(case: Case, feed: Feed, what: str) -> np.ndarray:
    """Returns the examples that the call reads."""
    batches = epochs_of(case, feed) if what == "train" else [validated(case)]
    read = [row for epoch in batches for batch in epoch for row in batch]
    return np.unique(np.array(read, int))


def _label_faults(case: Case, head: Head, labels: np.ndarray) -> Iterator[str]:
    loss, shape = loss_of(case, head), (*labels.shape[:1], *case.shapes[0][:-1], head.units)
    if len(case.shapes[0]) == 3:  # of images
        shape = (len(labels), head.units)
    if (
        loss == "sparse" and case.settings.get("label_smoothing") and case.metrics_given
    ):  # the task's metrics take numbers
        loss = "smoothed"
    if labels.dtype.kind in "US":
        yield "texts"
        return
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        yield "labels that are not finite"
    one = labels.shape == shape[:-1] or labels.shape == (*shape[:-1], 1)
    if loss in CLASSES and head.units == 1:
        yield "classes of one output"
    if loss in ("sparse", "focal") or (loss == "smoothed" and one):
        if not one:
            yield "no class numbers"
        kept = labels[labels != head.ignore] if head.ignore is not None else labels
        if kept.size and not (kept.min() >= 0 and kept.max() < head.units and (kept % 1 == 0).all()):
            yield "classes that are not there"
    elif loss in ("categorical", "smoothed"):
        if labels.shape != shape:
            yield "no shares"
        elif not (labels.min() >= 0 and labels.max() <= 1 and np.allclose(labels.astype(float).sum(-1), 1, atol=1e-2)):
            yield "shares that do not sum to 1"
    elif loss is not None:
        fits = labels.shape == shape or (head.units == 1 and labels.shape == shape[:-1])
        if not fits:
            yield "no figure for each output"
        if loss == "binary" and not (labels.min() >= 0 and labels.max() <= 1):
            yield "neither yes nor no"


def _loss_faults(case: Case, head: Head) -> Iterator[str]:
    loss = loss_of(case, head)
    if loss is None:
        yield "no loss"
    if loss in PROBABLE and head.loss is not None and gives_logits(case, head) != (head.end == "linear"):
        yield "logits taken for probabilities, or the other way round"
    other = {"softmax": ("binary",), "sigmoid": CLASSES}.get(head.end, ())
    if loss in other:
        yield "the probabilities of another activation"
    smoothed = case.settings.get("label_smoothing")
    if smoothed and (head.form in ("name", "alias", "function") or len(case.heads) > 1):
        yield "smoothing of what is no loss object"
    if smoothed and (loss not in ("sparse", "categorical", "binary") or head.ignore is not None):
        yield "smoothing of another loss"


def _metric_faults(case: Case, head: Head) -> Iterator[str]:
    if not case.metrics_given:
        return
    one = head.kind == "numbers"
    for metric in head.metrics:
        if metric == "sparse" and (not one or head.units == 1):
            yield "a metric of class numbers"
        if metric == "categorical" and (one or head.units == 1):
            yield "a metric of shares"
        if metric in ("binary", "mse") and one and head.units > 1:
            yield "a metric of each output"
        logits = loss_of(case, head) in PROBABLE and gives_logits(case, head)
        if logits and (metric == "binary" or (metric == "accuracy" and head.units == 1)):
            yield "a threshold for probabilities on logits"


def _weight_faults(case: Case) -> Iterator[str]:
    weights = case.settings.get("class_weights")
    if weights is None:
        return
    head = case.heads[0]
    loss, labels = loss_of(case, head), head.labels
    if len(case.heads) > 1:
        yield "class weights of several outputs"
        return
    outer = labels.shape[: 2 if len(case.shapes[0]) == 2 else 1]
    one = labels.shape in (outer, (*outer, 1))
    if loss in ("mse", "mae") and not (one and labels.dtype.kind in "iub"):
        yield "class weights of figures"
    if weights == "balanced":
        if case.train.endless or case.train.unknown:
            yield "balanced weights of data without a length"
        return
    classes = 2 if loss == "binary" and head.units == 1 else head.units if loss not in ("mse", "mae") else None
    for label, weight in weights.items():
        if not isinstance(label, int) or label < 0 or (classes is not None and label >= classes):
            yield "weights of no class"
        if not isinstance(weight, float) or not weight >= 0:
            yield "weights that are none"


def epochs_of(case: Case, feed: Feed) -> list[list[np.ndarray]]:
    """Returns the batches of each epoch of training; each stage reads the data from their start."""
    own, steps, epochs = case.settings["batch_size"], case.settings.get("steps_per_epoch"), case.settings["epochs"]
    alone, found = epochs_of_the_head(case), []
    one = None if feed.endless else list(feed.batches(own))
    each = steps if one is None else min(len(one), steps or len(one))
    for count in (alone, epochs - alone):
        stream = feed.batches(own) if one is None else itertools.cycle(one)
        found += [list(itertools.islice(stream, each)) for _ in range(count)]
    return found


def epochs_of_the_head(case: Case) -> int:
    """Returns how many epochs the head learns alone."""
    epochs = case.settings["epochs"]
    alone = {"staged": max(1, round(epochs / 3)), "backbone": epochs, "none": 0}
    return 0 if case.call == "fit" else alone[case.options["freeze"]]


def validated(case: Case) -> list[np.ndarray]:
    """Returns the batches of a validation."""
    feed, steps = case.validation, case.settings.get("validation_steps")
    if feed.endless and steps is None:
        feed = _before_its_last_repeat(feed)
    return list(itertools.islice(feed.batches(case.settings["batch_size"]), steps))


def _before_its_last_repeat(feed: Feed) -> Feed:
    place = len(feed.names) - 1 - feed.names[::-1].index("endless")
    return Feed(feed.container, feed.rows, feed.batch, feed.stages[:place])
