"""Training calls in plain NumPy, float64: whether a `Case` is right, and if so its weights and figures.

The net is a multilayer perceptron, its gradient written out by hand; which calls are right stands in training_rules.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from training_cases import Case, Head
from training_rules import CLASSES, epochs_of, epochs_of_the_head, faults, loss_of, validated


@dataclass
class Answer:
    """What must come of a case."""

    refused: str | None = None
    """Why the call must be refused; None where it must not."""
    weights: list[list[np.ndarray]] = field(default_factory=list)
    near: bool = False
    """Whether an answer lies too near to a threshold for float32 to say on which side."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Figures of each epoch: loss, metrics as (output, metric), and those of validation with "val_"."""


def answer(case: Case) -> Answer:
    """Returns what must come of a case."""
    reason = next(faults(case), None)
    if reason is not None:
        return Answer(refused=reason)
    return Trainer(case).run()


# The net


def activated(z: np.ndarray, end: str) -> np.ndarray:
    if end == "sigmoid":
        return 1 / (1 + np.exp(-z))
    if end == "softmax":
        grown = np.exp(z - z.max(-1, keepdims=True))
        return grown / grown.sum(-1, keepdims=True)
    return z


def through(out: np.ndarray, slope: np.ndarray, end: str) -> np.ndarray:
    """Returns the slope before an activation from that behind it."""
    if end == "sigmoid":
        return slope * out * (1 - out)
    if end == "softmax":
        return out * (slope - (slope * out).sum(-1, keepdims=True))
    return slope


def losses_of(loss: str, end: str, z: np.ndarray, y: np.ndarray, smoothing: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the loss of each prediction, (B, ...), or of each output, (B, ..., K), and its slope before the end.

    A cross-entropy is that of the logits, whether the net ends in them or in what Keras traces back to them.
    """
    if loss in ("mse", "mae"):
        out = activated(z, end)
        gap = out - y
        values, slope = (gap**2, 2 * gap) if loss == "mse" else (np.abs(gap), np.sign(gap))
        return values, through(out, slope, end)
    if loss == "binary":
        y = y * (1 - smoothing) + smoothing / 2
        return np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z))), activated(z, "sigmoid") - y
    y = y * (1 - smoothing) + smoothing / z.shape[-1]
    low = z - z.max(-1, keepdims=True)
    values = -(y * (low - np.log(np.exp(low).sum(-1, keepdims=True)))).sum(-1)
    slope = y.sum(-1, keepdims=True) * activated(z, "softmax") - y
    if loss == "focal":
        missed = np.maximum(-np.expm1(-values), 1e-7)
        slope = slope * (missed**2 + 2 * values * missed * np.exp(-values))[..., None]
        values = missed**2 * values
    return values, slope


class Trainer:
    """The loop."""

    def __init__(self, case: Case):
        self.case = case
        self.weights = [[np.array(part, np.float64) for part in layer] for layer in case.weights]
        self.moments = [[np.zeros_like(part) for part in layer] for layer in self.weights]
        self.smoothing = case.settings.get("label_smoothing", 0.0)
        self.near = False  # whether an argument or a threshold is too near to call

    def run(self) -> Answer:
        case, settings = self.case, self.case.settings
        kept, best, history = None, np.inf, []
        alone = epochs_of_the_head(case)
        for epoch, (batches, rates) in enumerate(zip(epochs_of(case, case.train), self.rates(), strict=True)):
            if epoch == alone:  # a stage of its own: a fresh optimizer, a best epoch among its own
                self.weights, kept, best = kept or self.weights, None, np.inf
                self.moments = [[np.zeros_like(part) for part in layer] for layer in self.weights]
            figures = self.measured(batches, rates)
            if case.validation is not None:
                found = self.measured(validated(case), None)
                figures |= {f"val_{name}": value for name, value in found.items()}
                if settings.get("restore_best", True) and figures["val_loss"] < best:
                    best, kept = figures["val_loss"], [[part.copy() for part in layer] for layer in self.weights]
            history.append(figures)
        return Answer(weights=kept or self.weights, near=self.near, history=history)

    def rates(self) -> Iterator[list[float]]:
        """Yields the rate of each layer in each epoch."""
        case, epochs = self.case, self.case.settings["epochs"]
        rate, count = case.settings["learning_rate"], len(self.weights)
        if case.call == "fit":
            yield from [[rate] * count] * epochs
            return
        decay, groups = case.options["layer_decay"], min(case.options["groups"], case.hidden)
        alone = epochs_of_the_head(case)
        yield from [[0.0] * (count - 1) + [rate]] * alone
        depths = [2, 1] if groups == 2 else [1] * case.hidden
        yield from [[*[rate * decay**depth for depth in depths], rate]] * (epochs - alone)

    def measured(self, batches: list[np.ndarray], rates: list[float] | None) -> dict[str, float]:
        """Returns the figures of batches, trained on where there are rates."""
        total, count, sums = 0.0, 0, {}
        for rows in batches:
            loss, gradients, outs = self.loss(rows, rates is not None)
            total, count = total + loss * len(rows), count + len(rows)
            for place, (head, out) in enumerate(zip(self.case.heads, outs, strict=True)):
                for metric in head.metrics if self.case.metrics_given else ():
                    right = self.judged(metric, head, out, rows)
                    before = sums.get((place, metric), (0.0, 0))
                    sums[place, metric] = before[0] + right.sum(), before[1] + right.size
            if rates is not None:
                self.update(gradients, rates)
        figures = {"loss": total / count}
        return figures | {f"{place} {metric}": value / of for (place, metric), (value, of) in sums.items()}

    def evaluated(self, weights: list[list[np.ndarray]]) -> dict[str, float]:
        """Returns cross-entropy and accuracy of a classifier over all of its training data, each example once."""
        self.weights, (head,) = weights, self.case.heads
        rows = np.concatenate(list(self.case.train.batches(self.case.settings["batch_size"])))
        (z,) = self.forward(rows)[1]
        shares = np.eye(head.units)[head.labels[rows].reshape(len(rows)).astype(int)]
        values, _ = losses_of("sparse", head.end, z, shares, 0.0)
        return {"loss": values.mean(), "accuracy": self.judged("sparse", head, z, rows).mean()}

    def update(self, gradients: list, rates: list[float]) -> None:
        momentum = self.case.settings.get("momentum", 0.0)
        for layer, (slopes, rate) in enumerate(zip(gradients, rates, strict=True)):
            for part, slope in enumerate(slopes):
                moment = self.moments[layer][part]
                moment *= momentum
                moment -= rate * slope
                self.weights[layer][part] += moment

    def forward(self, rows: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Returns what goes into each layer, hidden ones first, and what comes before the end of each output."""
        case = self.case
        parts = [np.asarray(array[rows], np.float32).astype(np.float64) for array in case.inputs]
        if parts[0].ndim == 4:
            parts = [part.reshape(len(part), -1) for part in parts]
        given = [np.concatenate(parts, -1)]
        for kernel, bias in self.weights[: case.hidden]:
            given.append(np.tanh(given[-1] @ kernel + bias))
        return given, [given[-1] @ kernel + bias for kernel, bias in self.weights[case.hidden :]]

    def loss(self, rows: np.ndarray, training: bool) -> tuple[float, list, list[np.ndarray]]:
        """Returns the loss of a batch, the gradients of each layer, and the outputs."""
        case, (given, befores) = self.case, self.forward(rows)
        total, back, gradients = 0.0, np.zeros_like(given[-1]), []
        for (kernel, _), head, z in zip(self.weights[case.hidden :], case.heads, befores, strict=True):
            y = targets(case, head, rows, z.shape)
            values, slope = losses_of(loss_of(case, head), head.end, z, y, self.smoothing)
            weights, count = self.counted(head, rows, values, z, training)
            total += (values * weights).sum() / count
            slope = slope * (weights[..., None] if weights.ndim < slope.ndim else weights) / count
            back = back + slope @ kernel.T
            gradients.append(_slopes(given[-1], slope))
        for layer in range(case.hidden)[::-1]:
            slope = back * (1 - given[layer + 1] ** 2)
            back = slope @ self.weights[layer][0].T
            gradients.insert(0, _slopes(given[layer], slope))
        return total, gradients, [activated(z, head.end) for z, head in zip(befores, case.heads, strict=True)]

    def counted(
        self, head: Head, rows: np.ndarray, values: np.ndarray, out: np.ndarray, training: bool
    ) -> tuple[np.ndarray, float]:
        """Returns the weight of each loss, and by what their sum is divided."""
        labels = head.labels[rows]
        if labels.shape == (*out.shape[:-1], 1) and out.shape[-1] > 1:
            labels = labels[..., 0]
        weights = self.class_weights(head, labels, out, values) if training else np.ones_like(values)
        if head.ignore is None:
            return weights, values.size
        kept = labels != head.ignore
        return weights * kept, max(kept.sum(), 1)

    def class_weights(self, head: Head, labels: np.ndarray, out: np.ndarray, values: np.ndarray) -> np.ndarray:
        table = self.case.settings.get("class_weights")
        if table is None:
            return np.ones_like(values)
        table = self.balanced(head) if table == "balanced" else table
        several = loss_of(self.case, head) == "binary" and head.units > 1
        weight = np.vectorize(lambda label: table.get(int(label), 1.0), otypes=[float])
        if several:
            return np.ones_like(values) * weight(np.arange(head.units))
        if labels.shape == out.shape and head.units > 1:
            return (labels * weight(np.arange(head.units))).sum(-1)
        found = weight(labels) if head.kind != "shares" else weight(1) * labels + weight(0) * (1 - labels)
        return np.broadcast_to(found.reshape(*out.shape[:-1], *(1,) * (values.ndim - out.ndim + 1)), values.shape)

    def balanced(self, head: Head) -> dict[int, float]:
        """Returns the weight of each class that occurs in the training data."""
        case, feed = self.case, self.case.train
        rows = np.concatenate(list(feed.batches(case.settings["batch_size"])))
        labels = head.labels[rows].astype(np.float64)
        steps = len(case.shapes[0]) == 2
        if labels.ndim > 1 + steps and labels.shape[-1] > 1:
            counts = dict(enumerate(labels.reshape(-1, labels.shape[-1]).sum(0)))
        elif loss_of(case, head) == "binary":
            counts = {0: labels.size - labels.sum(), 1: labels.sum()}
        else:
            kept = labels if head.ignore is None else labels[labels != head.ignore]
            counts = {int(label): float((kept == label).sum()) for label in np.unique(kept)}
        counts = {label: count for label, count in counts.items() if count > 0}
        whole = sum(counts.values())
        found = {label: whole / (len(counts) * count) for label, count in counts.items()}
        return {**dict.fromkeys(range(max(head.units, 2)), 0.0), **found}

    def judged(self, metric: str, head: Head, out: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Returns the metric of each prediction."""
        labels = head.labels[rows].astype(np.float64)
        one = head.kind == "numbers" and (labels.shape == out.shape[:-1] or labels.shape[-1] == 1)
        if metric == "accuracy":
            metric = "binary" if out.shape[-1] == 1 else "sparse" if one else "categorical"
        if metric in ("binary", "mse"):
            y = labels.reshape(out.shape)
            self.near |= metric == "binary" and bool((np.abs(out - 0.5) < 1e-4).any())
            return (out - y) ** 2 if metric == "mse" else ((out > 0.5) == y).astype(float)
        ranked = np.sort(out, -1)
        self.near |= bool((ranked[..., -1] - ranked[..., -2] < 1e-4).any())
        classes = labels.reshape(out.shape[:-1]) if one else labels.argmax(-1)
        return (out.argmax(-1) == classes).astype(float)


def targets(case: Case, head: Head, rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Returns the labels as the loss compares them with the outputs: shares of the classes, or a figure for each."""
    labels = head.labels[rows].astype(np.float64)
    if loss_of(case, head) not in CLASSES or labels.shape == shape:
        return labels.reshape(shape)
    numbers = labels.reshape(shape[:-1]).astype(int)
    numbers = np.where(numbers == head.ignore, 0, numbers) if head.ignore is not None else numbers
    return np.eye(shape[-1])[numbers]


def _slopes(given: np.ndarray, slope: np.ndarray) -> list[np.ndarray]:
    rows, slopes = given.reshape(-1, given.shape[-1]), slope.reshape(-1, slope.shape[-1])
    return [rows.T @ slopes, slopes.sum(0)]


def agree(found: Any, expected: Any, scale: float = 1.0) -> bool:
    """Returns whether figures agree to the accuracy of float32 over a few updates."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    return found.shape == expected.shape and bool(np.allclose(found, expected, rtol=1e-3, atol=max(1e-4 * scale, 1e-6)))
