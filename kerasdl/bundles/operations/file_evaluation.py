"""Evaluation of an exported classifier, detector or segmenter in its own runtime, as its app would feed it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core import Task, checks, get_task
from kerasdl.core.outputs.decoding import softmax
from kerasdl.data import Dataset
from kerasdl.deploy import read_metadata, run_exported

from ..format.calibration_part import Calibration
from .class_evaluation import Evaluation, evaluate_classes, with_calibration_figures
from .evaluating import check_classes
from .evaluation_data import EvaluationData, choose_evaluation_data

AT_ONCE = 256
LEARNT = "Images of the fine-tuning may be among them, since a file does not tell them: name its bundle too (--bundle)."


@dataclass(frozen=True)
class _Reader:
    """Labels and preprocessing of a file, in the place of a bundle that chooses data."""

    name: str
    labels: tuple[str, ...]
    preprocess: Mapping[str, Any]
    extra: Mapping[str, bytes]
    task: Task | None


def evaluate_file(
    path: str | os.PathLike,
    data: Any,
    split: str | None = None,
    bundle: Any = None,
    *,
    images: str | os.PathLike | None = None,
) -> tuple[Evaluation, Evaluation | None, int | None]:
    """Measures an exported file on images, and beside it the bundle that it was made from.

    Images are resized to the input of the file. They are scaled by the preprocessing in its metadata, or passed as
    pixels 0 to 255 where the file contains the preprocessing. Boxes count in pixels of that input.

    Args:
        path: a .tflite or .onnx file, with labels in its metadata unless a bundle is given.
        data: a name for `kerasdl.data.load`, or a `Dataset` of raw images.
        split: the split of data by name; None chooses as `choose_evaluation_data` does.
        bundle: the `Bundle` of the file; images of its fine-tuning are left out, as in its own evaluation.
        images: folder of the images of annotation files of boxes; None is where these say.

    Returns:
        The evaluation of the file, that of the bundle, and the number of examples that both answer differently; None
        for that number where an answer is more than a class.

    Raises:
        ArgumentError: the file cannot be measured, or has no labels, or the data do not fit it.
        DataError: the data cannot be read.

    Example:
        >>> bundle = kerasdl.load_bundle("digits_mobilenet")
        >>> report = bundle.export("digits.tflite")
        >>> of_file, of_bundle, different = evaluate_file("digits.tflite", "digits", bundle=bundle)
        >>> of_file.figures["accuracy"] > 0.9, different
        (True, 0)
    """
    path = Path(path)
    file = MeasuredFile(path, read_metadata(path), bundle)
    chosen = _chosen(file, data, split, images)
    if file.task is not None and file.task.file_figures is not None:
        found = _evaluation_of_answers(file, chosen)
    else:
        found = _evaluation_of_classes(file, chosen)
    if bundle is None:
        return found, None, None
    own = evaluate_classes(bundle, chosen)
    if found.scores is None:
        return found, own, None
    differs = (own.answers != found.answers) | (own.is_rejected != found.is_rejected)
    return found, own, int(differs.sum())


class MeasuredFile:
    """Exported file with what its metadata, or its bundle, say of it."""

    def __init__(self, path: Path, stored: Mapping[str, Any], bundle: Any):
        self.path, self.stored, self.bundle = path, stored, bundle
        self.inputs, self.outputs = stored.get("inputs", ()), stored.get("outputs", ())
        known = stored.get("task", None if bundle is None else bundle.task.name)
        self.task = None if known is None else get_task(known)
        answers = self.task is not None and self.task.file_figures is not None
        fits = [len(each["shape"]) for each in self.outputs] == [2] or answers
        self.image = next((each for each in self.inputs if len(each["shape"]) == 4), None)
        if not fits or self.image is None or len(self.inputs) != 1 + len(self.thresholds):
            rule = "a file to evaluate must take one image, and give one row of scores, objects or a map of classes"
            checks.refuse(f"{rule}; {path.name} does not", [each["shape"] for each in (*self.inputs, *self.outputs)])
        self.reader = _reader(path, stored, bundle, self.task)

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Default of each number that the file takes beside its image."""
        return self.stored.get("thresholds", {})

    @property
    def is_raw(self) -> bool:
        """True if the file takes pixels 0 to 255."""
        return "preprocessing" not in self.stored and ("labels" in self.stored or self.image["name"] == "raw")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of an image as the file takes it."""
        sides = _sides(self.reader)
        return tuple(size or side for size, side in zip(self.image["shape"][1:], sides, strict=True))

    def fed(self, images: np.ndarray) -> np.ndarray:
        """Returns images in the dtype of the file's input."""
        return images.astype(self.image["dtype"]) if self.is_raw and self.image["scale"] is None else images

    def run(self, images: np.ndarray, **thresholds: float) -> dict[str, np.ndarray]:
        """Returns the outputs for images, with thresholds in the place of defaults where the file takes them."""
        numbers = {**self.thresholds, **{name: thresholds[name] for name in thresholds if name in self.thresholds}}
        arrays = {name: np.full(len(images), value, "float32") for name, value in numbers.items()}
        return run_exported(self.path, {self.image["name"]: self.fed(images), **arrays})


def _chosen(file: MeasuredFile, data: Any, split: str | None, images: Any) -> EvaluationData:
    if isinstance(data, Dataset):
        if split is not None:
            checks.refuse("split is for data by name", split, "Load that split.")
        return EvaluationData(data, "all", data.size, 0)
    chosen = choose_evaluation_data(file.reader, data, split, images=images)
    if file.bundle is None and split is None and chosen.split == "all":
        return replace(chosen, notes=(*chosen.notes, LEARNT))
    return chosen


def _evaluation_of_answers(file: MeasuredFile, chosen: EvaluationData) -> Evaluation:
    """Returns the figures of a file whose answers its task measures: objects, or maps of classes."""
    reader, data = file.reader, chosen.dataset
    scale = (0.0, 255.0) if file.is_raw else tuple(_setting(reader, "scale", file.path))
    boxed = file.stored.get("image", {}).get("letterbox") is not None or reader.preprocess.get("letterbox", False)
    settings = {"image_shape": file.shape, "scale": scale, **({"letterbox": True} if boxed else {})}
    if not data.images:
        checks.refuse("a file is evaluated on raw images", data.name, "Load them by name, or with scale=None.")
    check_classes(data, reader.labels, len(reader.labels), file.path.name)
    measured = file.task.file_figures(file.run, file.task.ready(data, settings), reader.labels)
    return Evaluation(chosen, measured.figures, measured=measured)


def _evaluation_of_classes(file: MeasuredFile, chosen: EvaluationData) -> Evaluation:
    """Returns the figures of a file that gives a row of scores, class by class."""
    reader, path, data = file.reader, file.path, chosen.dataset
    if not data.images or data.task != "image_classification":
        checks.refuse("a file of scores is evaluated on images with one class each", data.name)
    check_classes(data, reader.labels, file.outputs[0]["shape"][-1] or len(reader.labels), path.name)
    scale = None if file.is_raw else tuple(_setting(reader, "scale", path))
    images, truth = data.prepared(file.shape, scale).arrays()
    calibration = _calibration(file.stored, path)
    parts = [file.fed(images[at : at + AT_ONCE]) for at in range(0, len(images), AT_ONCE)]
    scores = np.concatenate([_scores(path, part, calibration) for part in parts])
    accuracy = float(np.mean(scores.argmax(axis=-1) == truth))
    found = Evaluation(chosen, {"accuracy": accuracy}, reader.labels, truth, scores)
    return with_calibration_figures(found, calibration)


def _reader(path: Path, stored: Mapping[str, Any], bundle: Any, task: Task | None) -> _Reader:
    labels = tuple(stored.get("labels", ())) or (() if bundle is None else bundle.labels)
    if not labels:
        hint = "Pass bundle=, the bundle that it was exported from."
        checks.refuse("a file to evaluate must hold its labels", path.name, hint)
    own = {} if bundle is None else bundle.preprocess
    return _Reader(path.name, labels, stored.get("preprocessing", own), {} if bundle is None else bundle.extra, task)


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
