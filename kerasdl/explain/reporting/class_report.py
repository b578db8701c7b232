"""Report of a classifier's errors: figures, calibration, mistakes, suspected labels, slices and copies."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks, files
from kerasdl.core.errors import ArgumentError
from kerasdl.core.outputs.decoding import softmax

from ..class_activation_maps import grad_cam
from ..targets import network_of
from .class_figures import class_rows, confusion_of, interval_of, slice_rows
from .image_copies import find_copies
from .page import page_of
from .reliability import reliability
from .report_data import Pictures, are_images, checked_slices, classified, read_data
from .suspected_labels import suspected_labels

MOST_COPIES = 20_000
"""Images among which copies are looked for."""


@dataclass(frozen=True)
class ClassReport:
    """Report of a classifier's errors over labelled data.

    Example:
        >>> bundle = kerasdl.load_bundle("digits_mobilenet")
        >>> kerasdl.explain.report(bundle, kerasdl.data.load("digits", "test").take(20)).figures["examples"]
        20
    """

    figures: Mapping[str, Any]
    """All figures as plain values: accuracy with its interval, classes, confusion, calibration, mistakes, top losses,
    suspected labels, slices, copies; the places count from 0 in the data."""
    pictures: Mapping[str, Sequence[Any]]
    """Images of mistakes and suspected labels, uint8, by name; empty where the inputs are no images."""
    curves: Mapping[str, Any]
    """Probabilities (N, K) as `scores` and true classes (N,) as `truth`."""

    def write(self, path: str | os.PathLike) -> None:
        """Writes the report as one HTML file that opens without a network, and its figures as JSON beside it.

        Args:
            path: of the HTML file; the JSON has its name with the ending .json.
        """
        path = Path(path)
        page = page_of(self.figures, self.pictures, self.curves)
        files.write_json(path.with_suffix(".json"), self.figures)
        with files.writing(path) as draft:
            draft.write_text(page, encoding="utf-8")


def report(
    model: Any,
    data: Any,
    *,
    labels: Sequence[str] = (),
    train: Any = None,
    slices: Mapping[str, Sequence[Any]] | None = None,
    most: int = 24,
) -> ClassReport:
    """Returns an analysis of a classifier's errors, to be read as figures or written as one HTML page.

    It holds accuracy with its interval of 95 % (Wilson), precision, recall, F1 and areas under curves of each class,
    the confusion matrix, calibration with the temperature that mends it (https://arxiv.org/abs/1706.04599), the most
    certain mistakes, with where the net looked (Grad-CAM), labels that are likely wrong
    (https://arxiv.org/abs/1911.00068), slices, and images that are the same picture, within the data and between the
    data and `train`; these are not sought in more than 20,000 images. Each example counts once, whatever its weight.
    Scores of a calibrated bundle are those at its temperature.

    Args:
        model: a bundle of a classifier, or a functional `keras.Model` from inputs to logits or probabilities (B, K).
        data: labelled data as `Bundle.evaluate` takes them, a `Dataset` or a name; for a `keras.Model` prepared
            arrays (x, y) or a `Dataset` of them.
        labels: names of the classes of a `keras.Model`; empty takes those of the data. A bundle has its own.
        train: images of the training, as `data`, in which copies of the data are looked for; None leaves that out.
        slices: values of each example by name, such as `{"camera": cameras}`, whose accuracies are compared.
        most: mistakes, top losses and suspected labels that are shown.

    Returns:
        The report.

    Raises:
        ArgumentError: the model is no classifier of one class an example, or data, labels or slices do not fit.
        DataError: the data are empty or cannot be read.

    Example:
        >>> bundle = kerasdl.load_bundle("digits_mobilenet")
        >>> found = report(bundle, kerasdl.data.load("digits", "test").take(30))
        >>> sorted(found.figures)[:4]
        ['accuracy', 'accuracy_interval', 'calibration', 'classes']
    """
    checks.at_least("most", most, 1)
    network = network_of(model)
    raw, ready, names = read_data(model, network, data, labels)
    inputs, truth = ready.arrays()[:2]
    logits, truth, names = classified(network, inputs, truth, names)
    logits = logits / getattr(getattr(model, "calibration", None), "temperature", 1.0)
    scores, suspected = softmax(logits), suspected_labels(softmax(logits), truth)
    answers = scores.argmax(axis=1)
    mistakes = np.flatnonzero(answers != truth)
    mistakes = mistakes[np.argsort(-scores[mistakes, answers[mistakes]], kind="stable")]
    figures = {
        "data": raw.name,
        **_figures(logits, truth, names),
        "mistakes": [_mistake(place, names, truth, answers, scores) for place in mistakes.tolist()],
        "top_losses": _top_losses(names, truth, answers, scores, most),
        "suspected_labels": [
            {"place": int(place), "label": names[truth[place]], "likelier": names[number], "margin": float(margin)}
            for place, number, margin in zip(*suspected, strict=True)
        ],
        "slices": slice_rows(answers == truth, checked_slices(slices or {}, len(truth))),
    }
    pictures: dict[str, Sequence[Any]] = {}
    if raw.images or are_images(inputs):
        shown = Pictures(raw)
        others = None if train is None else Pictures(read_data(model, network, train, labels)[0])
        figures |= _copies(shown, others)
        pictures["copies"] = [(shown[a], shown[b]) for a, b in figures.get("copies", [])[:most]]
        pictures["mistakes"] = [shown[place] for place in mistakes[:most]]
        pictures["suspected_labels"] = [shown[place] for place in suspected.places[:most]]
        pictures["looked_at"] = _looked_at(network, inputs, mistakes[:most], answers)
    return ClassReport(figures, pictures, {"scores": scores, "truth": truth})


def _figures(logits: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> dict[str, Any]:
    """Returns the figures that stand on logits and classes alone."""
    scores, count = softmax(logits), len(truth)
    answers = scores.argmax(axis=1)
    right = int((answers == truth).sum())
    return {
        "examples": count,
        "accuracy": right / count,
        "accuracy_interval": list(interval_of(right, count)),
        "loss": float(-np.log(np.maximum(scores[np.arange(count), truth], 1e-300)).mean()),
        "labels": list(names),
        "classes": class_rows(scores, truth, names),
        "confusion": confusion_of(answers, truth, len(names)).tolist(),
        "calibration": reliability(logits, truth)._asdict(),
    }


def _mistake(place: int, names: Sequence[str], truth: np.ndarray, answers: np.ndarray, scores: np.ndarray) -> dict:
    answer = int(answers[place])
    return {
        "place": place,
        "truth": names[truth[place]],
        "answer": names[answer],
        "score": float(scores[place, answer]),
    }


def _top_losses(
    names: Sequence[str], truth: np.ndarray, answers: np.ndarray, scores: np.ndarray, most: int
) -> list[dict]:
    """Returns rows of the examples with the largest losses, the largest first."""
    losses = -np.log(np.maximum(scores[np.arange(len(truth)), truth], 1e-300))
    return [
        {"place": place, "truth": names[truth[place]], "answer": names[answers[place]], "loss": float(losses[place])}
        for place in np.argsort(-losses, kind="stable")[:most].tolist()
    ]


def _copies(shown: Pictures, others: Pictures | None) -> dict[str, list[tuple[int, int]]]:
    """Returns pairs of the same picture within the data and between them and others; none are sought in very many."""
    if len(shown) > MOST_COPIES:
        return {}
    pixels = [shown[place] for place in range(len(shown))]
    found = {"copies": find_copies(pixels)}
    if others is not None:
        found["copies_in_train"] = find_copies(pixels, [others[place] for place in range(len(others))])
    return found


def _looked_at(network: keras.Model, inputs: np.ndarray, places: np.ndarray, answers: np.ndarray) -> list[np.ndarray]:
    """Returns heat (H, W) of each image, empty where the net has no layer with places."""
    if not len(places):
        return []
    try:
        return list(grad_cam(network, inputs[places], answers[places]))
    except ArgumentError:
        return []
