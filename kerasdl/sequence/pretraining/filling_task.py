"""Masked language modeling task: texts with masks to the likeliest tokens at these places."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import Task, checks, register_task
from kerasdl.data import Dataset
from kerasdl.data.sources import Examples
from kerasdl.data.text import hide_tokens
from kerasdl.metrics import Perplexity, TokenAccuracy

from ..text_inputs import check_text_settings, drawn_texts, encoded_texts, padding_of, ready_texts, tokenizer_of
from ..tokenizers import Tokenizer
from .mask_settings import mask_id, mask_settings

IGNORED = -1
FIRST = 5
"""Tokens that an answer names, the likeliest first."""
MASK = 4
"""Id of the mask of tokenizers of this library."""
SHARE = 0.3
"""Share of the masked tokens of drawn examples."""


def filling_settings(tokenizer: Tokenizer, length: int, *, segments: bool) -> dict[str, Any]:
    """Returns the settings of a bundle of the task from its tokenizer.

    Args:
        tokenizer: a `Tokenizer` with a mask.
        length: T, to which texts are cut or padded.
        segments: whether the net reads segments.

    Raises:
        ArgumentError: the tokenizer has no mask.
    """
    mask_id(tokenizer)
    form = {"length": length, "padding_id": tokenizer.padding_id, "segments": segments}
    return {**form, "tokenizer": tokenizer.to_text()}


def check_filling(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    """Checks the settings of a bundle against a masked language model; raises `ArgumentError`."""
    if labels:
        checks.refuse("a masked language model answers tokens and has no labels", labels[0])
    check_text_settings(settings, model)
    if len(model.outputs) != 1 or len(model.outputs[0].shape) != 3:
        rule = "a masked language model must have one output, logits (B, T, V)"
        checks.refuse(rule, [tuple(each.shape) for each in model.outputs], "Leave out pairs in its bundle.")
    if settings.get("tokenizer") is None:
        hint = 'Set preprocess["tokenizer"] = tokenizer.to_text().'
        checks.refuse("settings of a masked language model must hold a tokenizer", sorted(settings), hint)
    mask_id(tokenizer_of(settings["tokenizer"]))


def prepared(raw: Any, settings: Mapping[str, Any]) -> tuple[Any, tuple[np.ndarray, Tokenizer]]:
    """Returns the inputs of a net for texts with masks, and their token ids with the tokenizer for `decoded`.

    Raises:
        ArgumentError: a text has no mask within the length.
    """
    inputs = encoded_texts(raw, settings)
    tokens, tokenizer = _tokens(inputs), tokenizer_of(settings["tokenizer"])
    bare = np.flatnonzero(~(tokens == mask_id(tokenizer)).any(axis=1))
    if bare.size:
        name = tokenizer.token_of(mask_id(tokenizer))
        text = raw if isinstance(raw, str) else raw[bare[0]]
        checks.refuse(f"a text must have a {name} within its first {tokens.shape[1]} tokens", str(text)[:60])
    return inputs, (tokens, tokenizer)


def decoded(scores: np.ndarray, labels: Sequence[str], context: tuple[np.ndarray, Tokenizer]) -> list[dict]:
    """Returns `{"text", "masks"}` of each text; each mask has `token`, `score`, and `scores` of the five likeliest."""
    tokens, tokenizer = context
    results = []
    for row, shares in zip(tokens, scores, strict=True):
        answers, filled = [], row.copy()
        for place in np.flatnonzero(row == mask_id(tokenizer)):
            known = np.asarray(shares[place, : tokenizer.vocabulary])
            order = np.argsort(-known, kind="stable")[:FIRST]
            names = [tokenizer.token_of(int(each)) or str(each) for each in order]
            filled[place] = order[0]
            best = dict(zip(names, known[order].tolist(), strict=True))
            answers.append({"token": names[0], "score": float(known[order[0]]), "scores": best})
        results.append({"text": tokenizer.decode(filled), "masks": answers})
    return results


def filled_texts(model: keras.Model, texts: Any, settings: Mapping[str, Any], batch_size: int) -> list[dict]:
    """Returns the results of texts with masks, by a net and the settings of a bundle."""
    inputs, context = prepared([texts] if isinstance(texts, str) else texts, settings)
    logits = model.predict(inputs, batch_size=batch_size, verbose=0)
    logits = logits["logits"] if isinstance(logits, Mapping) else logits
    return decoded(np.asarray(keras.ops.softmax(logits)), (), context)


def ready(dataset: Dataset, settings: Mapping[str, Any]) -> Dataset:
    """Returns texts as inputs with masks and their answers as labels, drawn once; `MaskedLM` draws new ones each step.

    Raises:
        ArgumentError: the data are of another task, or no texts in memory.
    """
    dataset = ready_texts(dataset, settings, "masked_language_modeling")
    if not dataset.any_order or np.ndim(dataset.source.labels) == 2:
        return dataset
    inputs, form = dataset.source.inputs, mask_settings(tokenizer_of(settings["tokenizer"]))
    masked, labels = (each.numpy() for each in hide_tokens(_tokens(inputs), (0, 0), **form))
    inputs = {**inputs, "tokens": masked} if isinstance(inputs, Mapping) else masked
    return dataclasses.replace(
        dataset.of_examples(Examples(inputs, labels, dataset.source.weights)),
        task="masked_language_modeling",
        class_names=(),
    )


def _tokens(inputs: Any) -> np.ndarray:
    return np.asarray(inputs["tokens"] if isinstance(inputs, Mapping) else inputs)


def _example(model: keras.Model, batch: int, seed: int) -> tuple[Any, np.ndarray]:
    """Draws random texts with masks, and the tokens at the masks."""
    inputs, rng = drawn_texts(model, batch, seed), np.random.default_rng(seed + 1)
    tokens = _tokens(inputs)
    masked = (rng.random(tokens.shape) < SHARE) & (tokens != padding_of(model))
    masked[:, 0] = True
    labels = np.where(masked, tokens, IGNORED).astype("int32")
    tokens = np.where(masked, min(MASK, model.output_shape[-1] - 1), tokens).astype("int32")
    return ({**inputs, "tokens": tokens} if isinstance(inputs, Mapping) else tokens), labels


def text_with_mask(settings: Mapping[str, Any]) -> str:
    """Returns Python source of a text with a mask of a bundle's tokenizer."""
    tokenizer = tokenizer_of(settings["tokenizer"])
    return repr([f"some {tokenizer.token_of(mask_id(tokenizer))} text"])


def a_row_a_mask(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns a row for each mask of a text: its token and score."""
    return [{"token": each["token"], "score": each["score"], "text": result["text"]} for each in result["masks"]]


register_task(
    Task(
        name="masked_language_modeling",
        module=__name__,
        loss=lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED),
        metrics=lambda: [TokenAccuracy("masked_accuracy"), Perplexity(ignore_class=IGNORED)],
        monitor=("val_loss", "min"),
        check=check_filling,
        preprocess=prepared,
        preprocess_layers=lambda settings, raw_shape: [],
        decode=decoded,
        replace_head=None,
        example=_example,
        activation="softmax",
        ready=ready,
        label_arguments=lambda labels: {},
        table=a_row_a_mask,
        raw_example=text_with_mask,
        summary="fills in the masked words of a text",
        limits="It answers each mask by itself, with what its training texts would have had there, true or not.",
    )
)
