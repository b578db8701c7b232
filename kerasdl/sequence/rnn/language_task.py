"""Language modeling task over token ids, and over texts where the settings hold a tokenizer: the next token."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import Task, checks, register_task
from kerasdl.core.outputs.model_shapes import check_labels, input_shape_of
from kerasdl.metrics import BitsPerToken, Perplexity

from ..text_inputs import checked_tokenizer, tokenizer_of
from ..token_ids import check_rows, int32_ids
from ..transformer.cached_decoding import cached_step, places_of
from .carried_state import streaming_step

IGNORED = -1
"""Label of positions that do not count."""
STEPS, MOST = 64, 4096
"""Tokens of a stream, at least where there are so many, and of all streams together, from which steps are drawn."""
BYTES = 2**28
"""Caches of all samples of a step, at most, unless eight samples take more."""
FIRST = 5
"""Tokens that an answer names, the likeliest first."""


def _check(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    length = checks.at_least("length", settings.get("length"), 1)
    if input_shape_of(model) not in ((None,), (length,)):
        checks.refuse(f"length must fit the model's input {input_shape_of(model)}", length)
    if settings.get("tokenizer") is not None:
        checked_tokenizer(settings, model)  # padding is told from texts by their lengths
    check_labels(labels, model)


def _preprocess(raw: Any, settings: Mapping[str, Any]) -> tuple[np.ndarray, tuple[list[int], Any]]:
    """Returns the last `settings["length"]` ids of each text, padded with 0 behind; how many are real, the tokenizer.

    Texts are encoded by `settings["tokenizer"]`, without the tokens of its template: what comes next is asked for.
    """
    raw = [raw] if isinstance(raw, str) else raw
    check_rows(raw, "raw must be texts, or lists of token ids")
    tokenizer = tokenizer_of(settings["tokenizer"]) if settings.get("tokenizer") else None
    if tokenizer is None and any(isinstance(each, str) for each in raw):
        hint = 'Set preprocess["tokenizer"] = tokenizer.to_text().'
        checks.refuse("raw must be lists of token ids, since the settings hold no tokenizer", "texts", hint)
    raw = [tokenizer.encode(each, special_tokens=False) if isinstance(each, str) else each for each in raw]
    padded, counts = np.zeros((len(raw), settings["length"]), np.int32), []
    for row, tokens in zip(padded, raw, strict=True):
        ids = np.asarray(tokens) if np.ndim(tokens) == 1 else np.zeros(0, np.int32)
        if not ids.size or ids.dtype.kind not in "iu":
            rule = "raw must be lists of token ids, whole numbers, one or more each"
            checks.refuse(rule, " ".join(f"{tokens!r}".split())[:80], "A text must have a token too.")
        ids = ids[-len(row) :]
        row[: len(ids)] = int32_ids(ids)
        counts.append(len(ids))
    return padded, (counts, tokenizer)


def _decode(scores: Any, labels: Sequence[str], context: tuple[Sequence[int], Any]) -> list[dict[str, Any]]:
    """Returns `{"label", "score", "scores"}` of the token behind each text; `scores` are of the five likeliest.

    A token has its label, or that of the tokenizer, or else its number.
    """
    results, (counts, tokenizer) = [], context
    for rows, count in zip(scores, counts, strict=True):
        row = np.asarray(rows[count - 1], np.float64)
        order = np.argsort(-row, kind="stable")[:FIRST]
        names = [labels[token] if labels else _name_of(int(token), tokenizer) for token in order]
        results.append(
            {
                "label": names[0],
                "score": float(row[order[0]]),
                "scores": dict(zip(names, row[order].tolist(), strict=True)),
            }
        )
    return results


def _name_of(token: int, tokenizer: Any) -> str:
    name = None if tokenizer is None else tokenizer.token_of(token)
    return str(token) if name is None else name


def _example(model: keras.Model, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws random texts, the last ones short, and the next token of each position."""
    rng = np.random.default_rng(seed)
    length, vocabulary = model.input_shape[1] or 16, model.output_shape[-1]
    tokens = rng.integers(1, vocabulary, (batch, length + 1)).astype("int32")
    real = rng.integers(2, length + 2, (batch, 1))
    tokens[np.arange(length + 1) >= real] = 0
    return tokens[:, :-1], np.where(tokens[:, 1:] == 0, IGNORED, tokens[:, 1:]).astype("int32")


def exported(networks: Mapping[str, keras.Model]) -> dict[str, keras.Model]:
    """Returns one step with its state, which a program of the device calls for each token.

    A recurrent model gives `streaming_step`, a transformer `cached_step` of as many places as `places_of` tells.
    """
    model = networks["model"]
    if any(isinstance(each, keras.layers.RNN) for each in model.operations):
        return {"step": streaming_step(model)}
    return {"step": cached_step(model, places_of(model))}


def exported_samples(networks: Mapping[str, keras.Model], inputs: Any) -> dict[str, Any]:
    """Returns the inputs of a step in streams of the texts' real tokens, so that states are those of long texts too."""
    step, tokens = networks["step"], np.asarray(keras.tree.flatten(inputs)[0])
    if "position" in step.input:
        return {"step": _samples_with_cache(step, tokens)}
    stream = tokens[tokens != 0][:MOST]
    rows = max(1, len(stream) // STEPS)
    zeros = {tensor.name: np.zeros((rows, *tensor.shape[1:]), "float32") for tensor in step.inputs}
    state = {name: value for name, value in zeros.items() if name != "token"}
    steps = []
    for token in stream[: len(stream) // rows * rows].reshape(rows, -1).T:
        steps.append({"token": token[:, None], **state})
        outputs = step(steps[-1], training=False)
        state = {name: np.asarray(outputs[f"next_{name}"]) for name in state}
    return {"step": {name: np.concatenate([each[name] for each in steps]) for name in steps[0]}}


def _samples_with_cache(step: keras.Model, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Returns inputs of a step at places all over the texts, as many as `BYTES` of caches hold."""
    caches = {name: each for name, each in step.input.items() if name not in ("token", "position")}
    size = 4 * sum(math.prod(each.shape[1:]) for each in caches.values())
    count = max(8, BYTES // size)
    length = min(tokens.shape[1], next(iter(caches.values())).shape[2], STEPS)
    texts = tokens[: max(1, min(len(tokens), count // 4)), :length]
    state = {name: np.zeros((len(texts), *each.shape[1:]), each.dtype) for name, each in caches.items()}
    taken = {*np.linspace(0, length - 1, max(1, min(length, count // len(texts)))).astype(int).tolist()}
    samples = []
    for place in range(length):
        fed = {"token": texts[:, place : place + 1], "position": np.full(len(texts), place, "int32"), **state}
        outputs = step(fed, training=False)
        is_real = texts[:, place] != 0
        if place in taken and is_real.any():
            samples.append({name: value[is_real] for name, value in fed.items()})  # a copy
        for name, cache in state.items():
            cache[:, :, place] = np.asarray(outputs[f"{name}_row"])[:, :, 0]
    return {name: np.concatenate([each[name] for each in samples]) for name in samples[0]}


register_task(
    Task(
        name="language_modeling",
        module=__name__,
        loss=lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORED),
        metrics=lambda: [Perplexity(ignore_class=IGNORED), BitsPerToken(ignore_class=IGNORED)],
        monitor=("val_loss", "min"),
        check=_check,
        preprocess=_preprocess,
        preprocess_layers=lambda settings, raw_shape: [],
        decode=_decode,
        replace_head=None,
        example=_example,
        activation="softmax",
        label_arguments=lambda labels: {"vocabulary": len(labels)},
        exported=exported,
        exported_samples=exported_samples,
        summary="tells which token comes next in a text",
        limits="It writes what its training texts would have gone on with, true or not.",
    )
)
