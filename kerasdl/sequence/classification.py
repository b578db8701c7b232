"""Text classification task over token ids, and over texts where the settings hold a tokenizer."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.blocks import classification_task
from kerasdl.core import checks, register_task
from kerasdl.core.outputs.model_shapes import check_labels
from kerasdl.data import Dataset
from kerasdl.data.sources import Examples
from kerasdl.data.trees import Ragged

from .text_inputs import check_text_settings, drawn_texts, encoded_texts


def _check(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    check_text_settings(settings, model)
    check_labels(labels, model)


def _preprocess(raw: Any, settings: Mapping[str, Any]) -> tuple[Any, None]:
    """Returns the inputs of a net for texts, pairs of texts or token ids; see `encoded_texts`."""
    return encoded_texts(raw, settings), None


def _ready(dataset: Dataset, settings: Mapping[str, Any]) -> Dataset:
    """Returns a dataset of texts, or of token ids of any length, as token ids of the model's length."""
    if dataset.task not in ("unknown", "text_classification"):
        checks.refuse("data must be of the task text_classification", f"{dataset.name}: {dataset.task}")
    if not dataset.any_order:
        if dataset.input_dtype == "string":
            checks.refuse("texts must be held in memory to be encoded", dataset.name, "Use take(n) first.")
        return dataset
    inputs = dataset.source.inputs
    if dataset.sampler is not None and dataset.input_dtype != "string":
        return dataset  # batches of unequal lengths, each as long as its longest text
    rows = [inputs[place] for place in range(len(inputs))] if isinstance(inputs, Ragged) else inputs
    inputs = encoded_texts(rows, settings)
    examples = Examples(inputs, dataset.source.labels, dataset.source.weights)
    length = (settings["length"],)
    return dataclasses.replace(
        dataset.of_examples(examples), task="text_classification", input_shape=length, input_dtype="int32"
    )


def _no_layers(settings: Mapping[str, Any], raw_shape: tuple) -> list[keras.Layer]:
    return []


def _example(model: keras.Model, batch: int, seed: int) -> tuple[Any, np.ndarray]:
    classes = np.random.default_rng(seed + 1).integers(0, model.output_shape[-1], batch)
    return drawn_texts(model, batch, seed), classes.astype("int32")


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
