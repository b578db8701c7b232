"""Calibration of a bundle: temperature and threshold from validation data, and from images of none of the classes."""

import dataclasses
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.outputs.calibration import (
    at_temperature,
    calibration_error,
    fit_temperature,
    score_keeping,
    score_parting,
)
from kerasdl.core.outputs.decoding import softmax, to_logits
from kerasdl.core.registry.prediction import predict_outputs
from kerasdl.data import Dataset, DataWarning
from kerasdl.data.folders.layout import files_below, looks_like_image
from kerasdl.data.image_files import SUFFIXES
from kerasdl.data.model_fit import check_dataset_fits

from .format.calibration_part import FILE, ROLE, Calibration, check_classifier, read_calibration, without_calibration
from .operations.data_preparation import public_name
from .operations.evaluating import evaluate_bundle
from .operations.evaluation_data import unseen_data

KEEP = 0.95
FEW = 100
FOLDER = "folder:"


class CalibratedAnswers:
    """Base class of `Bundle` for classifiers that can answer that an input is of none of their classes."""

    @property
    def calibration(self) -> Calibration | None:
        """Temperature and threshold of the scores; None for a bundle that was not calibrated."""
        return read_calibration(self.extra)

    def calibrate(self, validation: Any, none: Any = None, *, keep: float | None = None, batch_size: int = 64) -> Self:
        """Returns a copy whose scores are probabilities that hold, and which names no class where none is likely.

        Scores become softmax(logits / temperature); the temperature is the one of the least cross-entropy on
        `validation`, and leaves the order of the classes as it is (Guo et al. 2017, https://arxiv.org/abs/1706.04599).
        An input whose highest score is below the threshold gets the label None from `predict`; exported files and their
        programs follow the same rule. A change of the weights, such as `finetune`, drops both numbers.

        Args:
            validation: labelled data, as in `finetune`, that the bundle was not trained on; of a name its validation
                split, and all images of a folder without one from which the bundle has learnt nothing.
            none: images of none of the classes: a folder at any depth, a `Dataset`, a name for `kerasdl.data.load`, or
                raw input as `predict` takes it.
            keep: share of the right answers on `validation` that keep their label, above 0 and up to 1. None takes
                0.95; with `none` it takes the threshold at which the mean of the shares kept of the right answers and
                rejected of `none` is greatest.
            batch_size: examples computed at once.

        Returns:
            A new bundle. Its figures "... calibration" are the calibration errors before and after, the share of right
            answers kept, and of wrong answers and of `none` rejected, all on these very data.

        Raises:
            ArgumentError: an argument breaks its rule, the bundle is no classifier of one class for each input, or its
                answers are no better than chance.
            DataError: the data are empty or cannot be read.

        Example:
            >>> bundle = kerasdl.load_bundle("digits_mobilenet").calibrate("digits")
            >>> round(bundle.calibration.temperature, 2), round(bundle.calibration.threshold, 2)
            (1.02, 0.97)
        """
        check_classifier(self.task, self.model, "calibrate")
        if keep is not None and checks.within("keep", keep, 0.0, 1.0) == 0:
            checks.refuse("keep must be above 0", keep, "Such as 0.95.")
        bundle = dataclasses.replace(without_calibration(self), digest="")
        if isinstance(validation, (str, os.PathLike)):
            unseen = unseen_data(bundle, validation)
            validation = validation if unseen is None else unseen
        dataset = bundle.ready(validation, split="validation")
        logits, truth = _outputs(bundle, dataset, batch_size)
        temperature = fit_temperature(logits, truth)
        scores = at_temperature(logits, "logits", temperature)
        highest, is_right = scores.max(axis=-1), scores.argmax(axis=-1) == truth
        _warn(dataset, is_right)
        of_none = np.zeros(0)
        if none is not None:
            of_none = at_temperature(_none_logits(bundle, none, batch_size), "logits", temperature).max(axis=-1)
        if none is None or keep is not None:
            threshold = score_keeping(highest[is_right], KEEP if keep is None else keep)
        else:
            threshold = score_parting(highest[is_right], of_none)
        errors = [calibration_error(each, truth) for each in (softmax(logits), scores)]
        figures = _figures(*errors, highest >= threshold, is_right, of_none < threshold)
        named = public_name(dataset.name)
        line = f"{named}, {len(truth)} examples" + f"; {len(of_none)} of none of the classes" * (none is not None)
        manifest = dataclasses.replace(
            bundle.manifest,
            parts={**bundle.manifest.parts, ROLE: FILE},
            provenance={**bundle.manifest.provenance, "calibrated on": line},
        )
        extra = {**bundle.extra, ROLE: Calibration(temperature, threshold).to_bytes()}
        return dataclasses.replace(bundle, extra=extra, manifest=manifest).with_metrics(f"{named} calibration", figures)


def _figures(
    before: float, after: float, is_kept: np.ndarray, is_right: np.ndarray, is_rejected: np.ndarray
) -> dict[str, float]:
    """Returns calibration errors, and shares of the right answers, the wrong ones and the inputs of no class."""
    figures = {
        "calibration error before": before,
        "calibration error": after,
        "right answers kept": float(is_kept[is_right].mean()),
    }
    if not is_right.all():
        figures["wrong answers rejected"] = float((~is_kept)[~is_right].mean())
    return figures | ({"none rejected": float(is_rejected.mean())} if len(is_rejected) else {})


def _outputs(bundle: Any, dataset: Dataset, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits (N, K) and the right class (N,) of labelled data."""
    truth, outputs = [], []

    def keep(targets: Any, predictions: Any) -> None:
        truth.append(np.asarray(targets).reshape(len(targets), -1))
        outputs.append(np.asarray(predictions))

    evaluate_bundle(bundle, dataset, batch_size, keep)
    places = np.concatenate(truth)
    if places.shape[1] != 1:
        rule = "data to calibrate on must have one class for each example"
        checks.refuse(rule, f"rows of {places.shape[1]} for {dataset.name}")
    return to_logits(np.concatenate(outputs), "softmax", bundle.manifest.outputs), places[:, 0].astype(int)


def _none_logits(bundle: Any, none: Any, batch_size: int) -> np.ndarray:
    """Returns logits (M, K) for inputs of none of the classes."""
    kind = bundle.manifest.outputs
    if isinstance(none, (str, os.PathLike)):
        folder = Path(str(none).removeprefix(FOLDER)).expanduser()
        none = _images_below(folder) if folder.is_dir() else bundle.ready(str(none), split="test")
    if isinstance(none, (Dataset, tf.data.Dataset)):
        dataset = bundle.ready(none)
        check_dataset_fits(bundle.model, dataset)
        batches = [batch[0] if isinstance(batch, tuple) else batch for batch in dataset.batches(batch_size)]
        outputs = [np.asarray(bundle.networks["model"](batch, training=False)) for batch in batches]
    else:
        parts = [none[at : at + batch_size] for at in range(0, len(none), batch_size)] if _is_many(none) else [none]
        outputs = [
            predict_outputs(bundle.networks, bundle.task, part, bundle.preprocess, batch_size)[0] for part in parts
        ]
    return to_logits(np.concatenate(outputs), "softmax", kind)


def _is_many(raw: Any) -> bool:
    return isinstance(raw, list) and len(raw) > 0


def _images_below(folder: Path) -> list[Path]:
    images = [file for file in files_below(folder) if looks_like_image(file.name)]
    if not images:
        checks.refuse(f"none must be a folder that holds images {SUFFIXES}", str(folder))
    return images


def _warn(dataset: Dataset, is_right: np.ndarray) -> None:
    """Warns where the data are too few, or too easy, for numbers that hold."""
    right = int(is_right.sum())
    if not right:
        checks.refuse("a bundle to calibrate must give right answers", f"none of {len(is_right)} in {dataset.name}")
    if right == len(is_right):
        text = f"all {right} answers on {dataset.name} are right, so that the temperature stays 1"
        checks.warn(f"{text}: wrong answers are what it is fitted to.", DataWarning)
    if len(is_right) < FEW:
        text = f"temperature and threshold stand on {len(is_right)} examples of {dataset.name}"
        checks.warn(f"{text}, and are coarse below {FEW}.", DataWarning)
