"""Inputs of nets that read texts: token ids, and segments where a net tells two texts apart."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.data import Dataset
from kerasdl.data.sources import Examples
from kerasdl.data.trees import Ragged
from kerasdl.layers import PaddingMask

from .token_ids import check_rows, int32_ids
from .tokenizers import Tokenizer

MAX_LENGTH = 2**20


def check_text_settings(settings: Mapping[str, Any], model: keras.Model) -> None:
    """Checks `length`, `padding_id`, `segments` and `tokenizer` against a model; raises `ArgumentError`."""
    shapes = {each.name: tuple(each.shape[1:]) for each in model.inputs}
    _check_inputs(shapes, bool(settings.get("segments")))
    length = checks.at_least("length", settings.get("length"), 1)
    _check_padding(checks.at_least("padding_id", settings.get("padding_id"), 0), model)
    input_shape = next(iter(shapes.values()))
    if length > MAX_LENGTH or input_shape not in ((None,), (length,)):
        checks.refuse(f"length must fit the model's input {input_shape}, up to {MAX_LENGTH}", length)
    if settings.get("tokenizer") is not None:
        own = checked_tokenizer(settings, model).padding_id
        if own != settings["padding_id"]:
            checks.refuse(f"padding_id must be that of the tokenizer, {own}", settings["padding_id"])


def _check_inputs(shapes: Mapping[str, tuple], segments: bool) -> None:
    """Refuses a model of other inputs than the settings make: tokens, and segments where they say so."""
    if len(shapes) == 1 and not segments:
        return
    wanted = ["segments", "tokens"]
    if sorted(shapes) != wanted:
        rule = "a model of texts must have one input, or the inputs tokens and segments with preprocess['segments']"
        checks.refuse(rule, sorted(shapes))
    if not segments:
        rule = "settings of a model with the input segments must say so"
        checks.refuse(rule, sorted(shapes), 'Set preprocess["segments"] = True.')


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
def tokenizer_of(text: str) -> Tokenizer:
    """Returns the tokenizer of a text, kept for the next call."""
    return Tokenizer.from_text(text)


def checked_tokenizer(settings: Mapping[str, Any], model: keras.Model) -> Tokenizer:
    """Returns the tokenizer of settings; refuses one that cannot be read, or whose ids the model has no rows for."""
    try:
        tokenizer = tokenizer_of(settings["tokenizer"])
    except (DataError, TypeError) as error:
        checks.refuse("tokenizer must be the text of a tokenizer.json", f"an error: {error}")
    rows = vocabulary_of(model)
    if rows is not None and tokenizer.vocabulary > rows:
        rule = f"the tokenizer's vocabulary must fit the {rows} rows of the model's embedding"
        checks.refuse(rule, tokenizer.vocabulary, "Build the model with vocabulary=tokenizer.vocabulary.")
    return tokenizer


def vocabulary_of(model: keras.Model) -> int | None:
    """Returns the rows of the embedding of tokens, the first one if none is named `embedding`; None without any."""
    tables = {layer.name: layer.input_dim for layer in model.layers if isinstance(layer, keras.layers.Embedding)}
    return tables.get("embedding", next(iter(tables.values()), None))


def padding_of(model: keras.Model) -> int:
    """Returns the token id that the model masks, 0 if it masks none."""
    return next((layer.padding_id for layer in model.layers if isinstance(layer, PaddingMask)), 0)


def encoded_texts(raw: Any, settings: Mapping[str, Any]) -> Any:
    """Returns texts, pairs of texts or lists of token ids as the inputs of a net.

    Args:
        raw: texts or pairs (text, text), which `settings["tokenizer"]` encodes; or lists of token ids, of one segment.
        settings: `length`, to which rows are cut or padded; `padding_id`; `tokenizer`; `segments`, whether the net
            reads them.

    Returns:
        (B, length) int32, or `{"tokens", "segments"}` of that form.

    Raises:
        ArgumentError: raw input has another form, or texts come without a tokenizer.
    """
    raw = [raw] if isinstance(raw, (str, bytes)) else raw
    check_rows(raw, "raw must be texts, or lists of token ids")
    if any(_is_text(each) or _is_pair(each) for each in raw):
        return _of_texts(raw, settings)
    padded = np.full((len(raw), settings["length"]), settings["padding_id"], np.int32)
    for row, tokens in zip(padded, raw, strict=True):
        ids = np.asarray(tokens)[: len(row)] if np.ndim(tokens) else None
        if ids is None or ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            rule = "raw must be lists of token ids, whole numbers"
            checks.refuse(
                rule, " ".join(f"{tokens!r}".split())[:80], "Turn texts into token ids first; give one list as [ids]."
            )
        row[: len(ids)] = int32_ids(ids)
    return {"tokens": padded, "segments": np.zeros_like(padded)} if settings.get("segments") else padded


def _is_text(each: Any) -> bool:
    return isinstance(each, (str, bytes))


def _is_pair(each: Any) -> bool:
    return isinstance(each, (tuple, list, np.ndarray)) and len(each) == 2 and all(map(_is_text, each))


def _of_texts(raw: Sequence[Any], settings: Mapping[str, Any]) -> Any:
    if not settings.get("tokenizer"):
        rule = "raw must be lists of token ids, since the settings hold no tokenizer"
        checks.refuse(rule, "texts", 'Set preprocess["tokenizer"] = tokenizer.to_text().')
    pairs = [_is_pair(each) for each in raw]
    if any(pairs) and not all(pairs):
        checks.refuse("raw must be texts alone, or pairs of texts alone", "both")
    texts, seconds = zip(*raw, strict=True) if all(pairs) else (raw, None)
    tokenizer, length = tokenizer_of(settings["tokenizer"]), settings["length"]
    if not settings.get("segments"):
        return tokenizer.encode_batch(texts, length, pairs=seconds)
    tokens, segments = tokenizer.encode_batch(texts, length, pairs=seconds, segments=True)
    return {"tokens": tokens, "segments": segments}


def ready_texts(dataset: Dataset, settings: Mapping[str, Any], task: str) -> Dataset:
    """Returns a dataset of texts, or of token ids of any length, as inputs of a net of the model's length.

    Raises:
        ArgumentError: the data are of another task than `task` and text_classification, or no texts in memory.
    """
    if dataset.task not in ("unknown", "text_classification", task):
        checks.refuse(f"data must be of the task {task}", f"{dataset.name}: {dataset.task}")
    if not dataset.any_order:
        if dataset.input_dtype == "string":
            checks.refuse("texts must be held in memory to be encoded", dataset.name, "Use take(n) first.")
        return dataset
    inputs = dataset.source.inputs
    if isinstance(inputs, Mapping) or (dataset.sampler is not None and dataset.input_dtype != "string"):
        return dataset  # inputs of a net already, or batches of unequal lengths, each as long as its longest text
    rows = [inputs[place] for place in range(len(inputs))] if isinstance(inputs, Ragged) else inputs
    examples = Examples(encoded_texts(rows, settings), dataset.source.labels, dataset.source.weights)
    form = {"task": task, "input_shape": (settings["length"],), "input_dtype": "int32"}
    return dataclasses.replace(dataset.of_examples(examples), **form)


def drawn_texts(model: keras.Model, batch: int, seed: int) -> Any:
    """Draws token ids of texts of random lengths, two segments each where the model reads them."""
    rng = np.random.default_rng(seed)
    shapes = {each.name: each.shape for each in model.inputs}
    length = next(iter(shapes.values()))[1] or 16
    padding = padding_of(model)
    tokens = rng.integers(1, vocabulary_of(model), (batch, length)).astype("int32")
    tokens[tokens == padding] = padding + 1 if padding else 1
    real = rng.integers(1, length + 1, (batch, 1))
    tokens[np.arange(length) >= real] = padding
    if "segments" not in shapes:
        return tokens
    second = np.arange(length) >= rng.integers(0, length + 1, (batch, 1))
    return {"tokens": tokens, "segments": (second & (tokens != padding)).astype("int32")}
