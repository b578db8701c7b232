"""Report of an evaluation: lines and tables for a terminal, JSON for programs, pictures in a folder."""

from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.bundles.operations.class_evaluation import ClassFigures, Evaluation
from kerasdl.core import files
from kerasdl.data import decode_image

from .output import show_table
from .pictures import draw_confusion, draw_contact_sheet

MOST_MISTAKES = 40
"""Mistakes on the contact sheet."""
MOST_CLASSES = 50
"""Classes in the printed table."""
LABEL_WIDTH = 16
"""Letters of a label on the contact sheet."""


def describe_data(evaluation: Evaluation) -> list[str]:
    """Returns sentences about the data of an evaluation: images, classes, split, and reasons for what was left out."""
    chosen = evaluation.chosen
    data = chosen.dataset
    kind = "images" if data.images else "examples"
    classes = f" in {len(data.class_names)} classes" if data.class_names else ""
    size = "all" if data.size is None else f"{data.size:,}"
    size += f" of {chosen.found:,}" if chosen.left_out else ""
    place = "all splits" if chosen.split == "all" else f"split {chosen.split}"
    return [f"Measured on {size} {kind}{classes}: {data.name}, {place}.", *chosen.notes]


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Returns an evaluation as plain values, with the mistakes from the most certain one on."""
    chosen = evaluation.chosen
    values = {
        **evaluation.figures,
        "data": chosen.dataset.name,
        "split": chosen.split,
        "examples": chosen.dataset.size,
        "left_out": chosen.left_out,
        "notes": list(chosen.notes),
    }
    if evaluation.measured is not None:
        values |= evaluation.measured.values
    if evaluation.scores is None:
        return values
    return {
        **values,
        "labels": list(evaluation.labels),
        "confusion": evaluation.confusion.tolist(),
        "classes": [vars(each) for each in evaluation.classes()],
        "mistakes": [vars(each) for each in evaluation.mistakes()],
    }


def show_evaluation(title: str, evaluation: Evaluation) -> None:
    """Prints the data, the figures, and the table of classes."""
    print(*describe_data(evaluation), sep="\n")
    show_table(title, ("figure", "value"), list(evaluation.figures.items()))
    measured = evaluation.measured
    if measured is not None and measured.columns:
        show_table("classes", measured.columns, measured.rows)
    if evaluation.scores is None:
        return
    rows = [
        (
            each.label,
            each.examples,
            _percent(each.recall),
            _percent(each.precision),
            ", ".join(f"{label} {count}" for label, count in each.taken_for.items()) or "-",
        )
        for each in _shown(evaluation)
    ]
    title = "classes" if len(evaluation.labels) <= MOST_CLASSES else f"{MOST_CLASSES} classes of the lowest recall"
    show_table(title, ("class", "examples", "recall", "precision", "taken for"), rows)


def _shown(evaluation: Evaluation) -> list[ClassFigures]:
    """Returns all classes, or of very many those of the lowest recall."""
    classes = evaluation.classes()
    if len(classes) <= MOST_CLASSES:
        return classes
    return sorted((each for each in classes if each.examples), key=lambda each: each.recall)[:MOST_CLASSES]


def write_report(folder: Path, evaluation: Evaluation) -> list[str]:
    """Writes evaluation.json and, of a classifier, confusion.png and mistakes.png; returns their names.

    Of a detector they are confusion.png and objects.png, the images with the most mistakes: true beside found objects.
    """
    files.write_json(folder / "evaluation.json", as_json(evaluation))
    if evaluation.scores is None:
        pictures = {} if evaluation.measured is None else evaluation.measured.pictures
        for name, write in pictures.items():
            write(folder / name)
        return ["evaluation.json", *pictures]
    right, count = int(np.sum(evaluation.answers == evaluation.truth)), len(evaluation.truth)
    title = f"{right} of {count} right ({right / count:.1%})"
    draw_confusion(folder / "confusion.png", evaluation.confusion, evaluation.labels, title)
    mistakes = evaluation.mistakes()
    if not evaluation.chosen.dataset.images:
        return ["evaluation.json", "confusion.png"]
    shown = mistakes[:MOST_MISTAKES]
    images = _images(evaluation, [each.place for each in shown])
    rows = [
        (image, f"{_short(each.truth)}, taken for", f"{_short(each.answer)} {each.score:.0%}")
        for image, each in zip(images, shown, strict=True)
    ]
    title = f"Worst {len(shown)} of {len(mistakes)} mistakes, the most certain ones first"
    draw_contact_sheet(folder / "mistakes.png", rows, title if shown else "No mistakes")
    return ["evaluation.json", "confusion.png", "mistakes.png"]


def _images(evaluation: Evaluation, places: list[int]) -> list[np.ndarray]:
    """Returns images as their files show them, or as the data hold them."""
    data = evaluation.chosen.dataset
    if not data.any_order:
        pixels = data.prepared(None, None).arrays()[0]
        return [pixels[place] for place in places]
    raw = [data.source.inputs[place] for place in places]
    return [decode_image(each, levels=data.levels) if isinstance(each, Path) else np.asarray(each) for each in raw]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _short(label: str) -> str:
    return label if len(label) <= LABEL_WIDTH else label[: LABEL_WIDTH - 1] + "…"
