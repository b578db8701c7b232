"""Text classification task over token ids, and over texts where the settings hold a tokenizer."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import keras
import numpy as np

from kerasdl.blocks import classification_task
from kerasdl.core import checks, register_task
from kerasdl.core.errors import DataError
from kerasdl.core.outputs.model_shapes import check_labels, input_shape_of
from kerasdl.data import Dataset
from kerasdl.data.sources import Examples
from kerasdl.data.trees import Ragged
from kerasdl.layers import PaddingMask

from .token_ids import check_rows, int32_ids
from .tokenizers import Tokenizer

MAX_LENGTH = 2**20


def _check(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    input_shape = input_shape_of(model)
    length = checks.at_least("length", settings.get("length"), 1)
    _check_padding(checks.at_least("padding_id", settings.get("padding_id"), 0), model)
    if length > MAX_LENGTH or input_shape not in ((None,), (length,)):
        checks.refuse(f"length must fit the model's input {input_shape}, up to {MAX_LENGTH}", length)
    if settings.get("tokenizer") is not None:
        _check_tokenizer(settings, model)
    check_labels(labels, model)


def _check_padding(padding_id: int, model: keras.Model) -> None:
    """Refuses padding that the model would read as text, while it leaves another token out."""
    for layer in model.layers:
        is_embedding = isinstance(layer, keras.layers.Embedding)
        masked = layer.padding_id if isinstance(layer, PaddingMask) else 0 if is_embedding and layer.mask_zero else None
        if masked not in (None, padding_id):
            hint = "Take a tokenizer that pads with this id, such as one of train_tokenizer."
            checks.refuse(
                f"padding_id must be {masked}, which the model's layer {layer.name!r} masks", padding_id, hint
            )


@lru_cache(maxsize=4)
def _tokenizer(text: str) -> Tokenizer:
    return Tokenizer.from_text(text)


def _check_tokenizer(settings: Mapping[str, Any], model: keras.Model) -> None:
    """Refuses a tokenizer that cannot be read, whose ids the model has no rows for, or that pads by another id."""
    try:
        tokenizer = _tokenizer(settings["tokenizer"])
    except (DataError, TypeError) as error:
        checks.refuse("tokenizer must be the text of a tokenizer.json", f"an error: {error}")
    rows = _vocabulary_of(model)
    if rows is not None and tokenizer.vocabulary > rows:
        rule = f"the tokenizer's vocabulary must fit the {rows} rows of the model's embedding"
        checks.refuse(rule, tokenizer.vocabulary, "Build the model with vocabulary=tokenizer.vocabulary.")
    if tokenizer.padding_id != settings["padding_id"]:
        checks.refuse(f"padding_id must be that of the tokenizer, {tokenizer.padding_id}", settings["padding_id"])


def _vocabulary_of(model: keras.Model) -> int | None:
    """Returns the rows of the first embedding, None where there is none."""
    rows = (layer.input_dim for layer in model.layers if isinstance(layer, keras.layers.Embedding))
    return next(rows, None)


def _preprocess(raw: Any, settings: Mapping[str, Any]) -> tuple[np.ndarray, None]:
    """Returns token ids cut or padded to `settings["length"]` with `settings["padding_id"]`.

    Texts are encoded by `settings["tokenizer"]`.
    """
    raw = [raw] if isinstance(raw, (str, bytes)) else raw
    check_rows(raw, "raw must be texts, or lists of token ids")
    if any(isinstance(each, (str, bytes)) for each in raw):
        if not settings.get("tokenizer"):
            rule = "raw must be lists of token ids, since the settings hold no tokenizer"
            checks.refuse(rule, "texts", 'Set preprocess["tokenizer"] = tokenizer.to_text().')
        return _tokenizer(settings["tokenizer"]).encode_batch(raw, settings["length"]), None
    padded = np.full((len(raw), settings["length"]), settings["padding_id"], np.int32)
    for row, tokens in zip(padded, raw, strict=True):
        ids = np.asarray(tokens)[: len(row)] if np.ndim(tokens) else None
        if ids is None or ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            rule = "raw must be lists of token ids, whole numbers"
            checks.refuse(
                rule, " ".join(f"{tokens!r}".split())[:80], "Turn texts into token ids first; give one list as [ids]."
            )
        row[: len(ids)] = int32_ids(ids)
    return padded, None


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
    ids, _ = _preprocess(rows, settings)
    examples = Examples(ids, dataset.source.labels, dataset.source.weights)
    return dataclasses.replace(
        dataset.of_examples(examples), task="text_classification", input_shape=ids.shape[1:], input_dtype="int32"
    )


def _no_layers(settings: Mapping[str, Any], raw_shape: tuple) -> list[keras.Layer]:
    return []


def _example(model: keras.Model, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    length = model.input_shape[1] or 16
    vocabulary = _vocabulary_of(model)
    tokens = rng.integers(1, vocabulary, (batch, length)).astype("int32")
    real = rng.integers(1, length + 1, (batch, 1))
    tokens[np.arange(length) >= real] = 0
    return tokens, rng.integers(0, model.output_shape[-1], batch).astype("int32")


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
