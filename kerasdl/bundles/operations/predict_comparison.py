"""Comparison of an exported file with `Bundle.predict`, each from raw input to scores."""

from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl.core.outputs.decoding import to_scores
from kerasdl.deploy import run_exported

from .data_preparation import draw_samples

COMPARED = 128


def compared_with_predict(
    bundle: Any, path: Path, data: Any, raw_shape: tuple | None, raw_dtype: str, gives: str
) -> dict[str, Any]:
    """Returns the figures `predict_*` of an `ExportReport`, on up to 128 examples of some data.

    `predict` starts from each raw example as it is. The file gets it as its app has to prepare it: by the bundle's
    preprocessing, or resized to `raw_shape` in whole levels.

    Args:
        bundle: the bundle.
        path: the file, of one network with one output.
        data: data as `Bundle.evaluate` takes them, or raw inputs alone; some may have calibrated the file.
        raw_shape: shape of a raw image where the file contains the preprocessing, else None.
        raw_dtype: dtype of its pixels.
        gives: kind of the file's outputs, `logits`, `probabilities` or `values`.
    """
    inputs = _first(draw_samples(bundle, data, None))
    fed = inputs if raw_shape is None else _first(draw_samples(bundle, data, raw_shape)).astype(raw_dtype)
    (outputs,) = keras.tree.flatten(bundle.networks["model"].predict(inputs, verbose=0))
    expected = _scores(bundle, outputs, bundle.manifest.outputs)
    names = [tensor.name for tensor in bundle.model.inputs]
    by_name = dict(zip(names, fed, strict=True)) if isinstance(fed, tuple) else fed
    (answers,) = run_exported(path, by_name).values()
    found = (
        to_scores(answers, bundle.task.activation, gives)
        if gives == "probabilities"
        else _scores(bundle, answers, gives)
    )
    if bundle.task.activation is None:
        agreement = None
    elif bundle.task.activation == "softmax":
        agreement = _share(_answers(bundle, expected) == _answers(bundle, found))
    else:
        agreement = _share((expected >= 0.5) == (found >= 0.5))
    return {
        "predict_agreement": agreement,
        "predict_difference": float(np.abs(expected - found).max()),
        "predict_examples": len(expected),
    }


def _scores(bundle: Any, outputs: Any, kind: str) -> np.ndarray:
    """Returns scores from outputs of a kind, at the temperature of a calibrated bundle."""
    if bundle.calibration is not None:
        return bundle.calibration.scores(outputs, kind)
    return to_scores(outputs, bundle.task.activation, kind)


def _answers(bundle: Any, scores: np.ndarray) -> np.ndarray:
    """Returns the place of the answer in the labels, -1 where a calibrated bundle names none."""
    threshold = 0.0 if bundle.calibration is None else bundle.calibration.threshold
    return np.where(scores.max(axis=-1) < threshold, -1, scores.argmax(axis=-1))


def _first(inputs: Any) -> Any:
    return keras.tree.map_structure(lambda array: array[:COMPARED], inputs)


def _share(same: np.ndarray) -> float:
    """Returns the share of examples of which every answer is the same."""
    return float(same.reshape(len(same), -1).all(axis=1).mean())
