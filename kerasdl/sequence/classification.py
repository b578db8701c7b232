"""Text classification tasks, one label or several a text: over token ids, or texts where settings hold a tokenizer."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.blocks import classification_task, multi_label_task
from kerasdl.core import register_task
from kerasdl.core.outputs.model_shapes import check_labels
from kerasdl.data import Dataset

from .text_inputs import check_text_settings, drawn_texts, encoded_texts, ready_texts

MULTI_LABEL = "multi_label_text_classification"


def _check(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    check_text_settings(settings, model)
    check_labels(labels, model)


def _preprocess(raw: Any, settings: Mapping[str, Any]) -> tuple[Any, None]:
    """Returns the inputs of a net for texts, pairs of texts or token ids; see `encoded_texts`."""
    return encoded_texts(raw, settings), None


def _ready(dataset: Dataset, settings: Mapping[str, Any]) -> Dataset:
    return ready_texts(dataset, settings, "text_classification")


def _no_layers(settings: Mapping[str, Any], raw_shape: tuple) -> list[keras.Layer]:
    return []


def _example(model: keras.Model, batch: int, seed: int) -> tuple[Any, np.ndarray]:
    classes = np.random.default_rng(seed + 1).integers(0, model.output_shape[-1], batch)
    return drawn_texts(model, batch, seed), classes.astype("int32")


def _multi_label_ready(dataset: Dataset, settings: Mapping[str, Any]) -> Dataset:
    return ready_texts(dataset, settings, MULTI_LABEL)


def _multi_label_example(model: keras.Model, batch: int, seed: int) -> tuple[Any, np.ndarray]:
    labels = np.random.default_rng(seed + 1).integers(0, 2, (batch, model.output_shape[-1]))
    return drawn_texts(model, batch, seed), labels.astype("float32")


classification = register_task(
    classification_task(
        "text_classification",
        module=__name__,
        check=_check,
        preprocess=_preprocess,
        preprocess_layers=_no_layers,
        example=_example,
        summary="names what a text is about",
        ready=_ready,
    )
)
register_task(
    multi_label_task(
        MULTI_LABEL,
        module=__name__,
        check=_check,
        preprocess=_preprocess,
        preprocess_layers=_no_layers,
        example=_multi_label_example,
        seen_in="a text is about",
        ready=_multi_label_ready,
    )
)
