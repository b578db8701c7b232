"""Evaluation of an exported classifier of images in its own runtime, as its app would feed it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.core.outputs.decoding import softmax
from kerasdl.deploy import read_metadata, run_exported

from ..format.calibration_part import Calibration
from .class_evaluation import Evaluation, evaluate_classes, with_calibration_figures
from .evaluating import check_classes
from .evaluation_data import choose_evaluation_data

AT_ONCE = 256
LEARNT = "Images of the fine-tuning may be among them, since a file does not tell them: name its bundle too (--bundle)."


@dataclass(frozen=True)
class _Reader:
    """Labels and preprocessing of a file, in the place of a bundle that chooses data."""

    name: str
    labels: tuple[str, ...]
    preprocess: Mapping[str, Any]
    extra: Mapping[str, bytes]


def evaluate_file(
    path: str | os.PathLike, data: str, split: str | None = None, bundle: Any = None
) -> tuple[Evaluation, Evaluation | None, int | None]:
    """Measures an exported file on images by name, and beside it the bundle that it was made from.

    Images are resized to the input of the file. They are scaled by the preprocessing in its metadata, or passed as
    pixels 0 to 255 where the file contains the preprocessing.

    Args:
        path: a .tflite or .onnx file, with labels in its metadata unless a bundle is given.
        data: a name for `kerasdl.data.load`.
        split: the split; None chooses as `choose_evaluation_data` does.
        bundle: the `Bundle` of the file; images of its fine-tuning are left out, as in its own evaluation.

    Returns:
        The evaluation of the file, that of the bundle, and the number of examples that both answer differently.

    Raises:
        ArgumentError: the file is no classifier of images, or has no labels, or the data have other classes.
        DataError: the data cannot be read.

    Example:
        >>> bundle = kerasdl.load_bundle("digits_mobilenet")
        >>> report = bundle.export("digits.tflite")
        >>> of_file, of_bundle, different = evaluate_file("digits.tflite", "digits", bundle=bundle)
        >>> of_file.figures["accuracy"] > 0.9, different
        (True, 0)
    """
    path, stored = Path(path), read_metadata(path)
    inputs, outputs = stored.get("inputs", ()), stored.get("outputs", ())
    if [len(each["shape"]) for each in inputs] != [4] or [len(each["shape"]) for each in outputs] != [2]:
        rule = f"a file to evaluate must take one image and give one row of scores; {path.name} does not"
        checks.refuse(rule, [each["shape"] for each in (*inputs, *outputs)])
    reader = _reader(path, stored, bundle)
    chosen = choose_evaluation_data(reader, data, split)
    if bundle is None and split is None and chosen.split == "all":
        chosen = replace(chosen, notes=(*chosen.notes, LEARNT))
    if not chosen.dataset.images or chosen.dataset.task != "image_classification":
        checks.refuse("a file is evaluated on images with one class each", chosen.dataset.name)
    is_raw = "preprocessing" not in stored and ("labels" in stored or inputs[0]["name"] == "raw")
    check_classes(chosen.dataset, reader.labels, outputs[0]["shape"][-1] or len(reader.labels), path.name)
    scale = None if is_raw else tuple(_setting(reader, "scale", path))
    shape = tuple(size or side for size, side in zip(inputs[0]["shape"][1:], _sides(reader), strict=True))
    images, truth = chosen.dataset.prepared(shape, scale).arrays()
    images = images.astype(inputs[0]["dtype"]) if is_raw and inputs[0]["scale"] is None else images
    calibration = _calibration(stored, path)
    parts = [images[at : at + AT_ONCE] for at in range(0, len(images), AT_ONCE)]
    scores = np.concatenate([_scores(path, part, calibration) for part in parts])
    accuracy = float(np.mean(scores.argmax(axis=-1) == truth))
    found = Evaluation(chosen, {"accuracy": accuracy}, reader.labels, truth, scores)
    found = with_calibration_figures(found, calibration)
    if bundle is None:
        return found, None, None
    own = evaluate_classes(bundle, chosen)
    differs = (own.answers != found.answers) | (own.is_rejected != found.is_rejected)
    return found, own, int(differs.sum())


def _reader(path: Path, stored: Mapping[str, Any], bundle: Any) -> _Reader:
    labels = tuple(stored.get("labels", ())) or (() if bundle is None else bundle.labels)
    if not labels:
        hint = "Pass bundle=, the bundle that it was exported from."
        checks.refuse("a file to evaluate must hold its labels", path.name, hint)
    own = {} if bundle is None else bundle.preprocess
    return _Reader(path.name, labels, stored.get("preprocessing", own), {} if bundle is None else bundle.extra)


def _setting(reader: _Reader, name: str, path: Path) -> Any:
    if name not in reader.preprocess:
        hint = "Pass bundle=, the bundle that it was exported from."
        checks.refuse(f"a file to evaluate must hold its preprocessing, with {name}", path.name, hint)
    return reader.preprocess[name]


def _sides(reader: _Reader) -> tuple:
    return tuple(reader.preprocess.get("image_shape", (None, None, 3)))


def _calibration(stored: Mapping[str, Any], path: Path) -> Calibration | None:
    """Returns the calibration in the metadata of a file; None without one."""
    values = stored.get("calibration")
    if values is None:
        return None
    if not isinstance(values, Mapping) or not {"temperature", "threshold"} <= set(values):
        checks.refuse(f"calibration in the metadata of {path.name} must have temperature and threshold", values)
    return Calibration(values["temperature"], values["threshold"])


def _scores(path: Path, images: np.ndarray, calibration: Calibration | None) -> np.ndarray:
    """Returns scores (B, K); a softmax at its temperature where the outputs are not probabilities yet."""
    (outputs,) = run_exported(path, images).values()
    is_probability = outputs.min() >= 0 and np.allclose(outputs.sum(axis=-1), 1, atol=0.05)
    if is_probability:
        return np.asarray(outputs, np.float64)
    return softmax(outputs) if calibration is None else calibration.scores(outputs, "logits")
