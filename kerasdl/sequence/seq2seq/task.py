"""Sequence to sequence task: a text, or token ids, into another one."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import Task, checks, register_task
from kerasdl.data import Dataset
from kerasdl.data.sources import Examples
from kerasdl.train.trainer import reused_trainer

from ..token_ids import check_rows, int32_ids
from ..tokenizers import Tokenizer
from .decoding import encoder_and_step, samples_of
from .encoder_decoder import is_recurrent, lengths_of, padding_of, parts_of, vocabularies_of
from .exposure import exposure_bias
from .pairs import END, PADDING, START, teacher_forcing
from .translator import Translator

MAX_LENGTH = 2**16


def asked(networks: Mapping[str, keras.Model]) -> Translator:
    """Returns a trainer of networks by role that is kept for the next question, with its compiled functions."""
    return reused_trainer(Translator, networks)


@functools.lru_cache(maxsize=8)
def _tokenizer(text: str) -> Tokenizer:
    """Returns the tokenizer of settings; it must have the special tokens of `train_tokenizer`."""
    tokenizer = Tokenizer.from_text(text)
    given = (tokenizer.padding_id, tokenizer.begin_id, tokenizer.end_id)
    if given != (PADDING, START, END):
        rule = f"the tokenizer of a translator must pad with {PADDING}, begin with {START} and end with {END}"
        checks.refuse(rule, given, "Train it by kerasdl.sequence.train_tokenizer.")
    return tokenizer


def check_translator(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    """Checks settings against a network; raises `ArgumentError`."""
    if is_recurrent(model):
        parts_of(model)
    for name, own in zip(("length", "target_length"), lengths_of(model), strict=True):
        given = checks.at_least(name, settings.get(name), 1)
        if given > MAX_LENGTH or own not in (None, given):
            checks.refuse(f"{name} must fit the network, {own or 'any'}, up to {MAX_LENGTH}", given)
    if padding_of(model) != PADDING:
        hint = "Build it with padding=0; Translator takes it as it is."
        checks.refuse(f"a network in a bundle must pad with {PADDING}", padding_of(model), hint)
    if labels:
        checks.refuse("a translator writes tokens and has no labels", labels[0])
    if settings.get("tokenizer") is not None:
        vocabulary = _tokenizer(settings["tokenizer"]).vocabulary
        for name, own in vocabularies_of(model).items():
            if own != vocabulary:
                checks.refuse(f"the tokenizer's vocabulary must be that of {name}, {own}", vocabulary)


def encoded(raw: Any, settings: Mapping[str, Any], name: str, *, ends: bool = False) -> np.ndarray:
    """Returns texts, or lists of token ids, padded to `settings[name]`, int32; one that is longer is refused.

    Args:
        raw: texts, which need `settings["tokenizer"]`, or lists of token ids.
        settings: `length`, `target_length` and, for texts, `tokenizer`.
        name: `length` or `target_length`.
        ends: whether the end token stands behind each.
    """
    if isinstance(raw, str):
        checks.refuse("raw must be a list of texts, or of lists of token ids", "a text", "Pass [text].")
    check_rows(raw, "raw must be a list of texts, or of lists of token ids")
    rows = []
    for each in raw:
        if isinstance(each, str):
            if settings.get("tokenizer") is None:
                hint = 'Keep it as settings["tokenizer"] = tokenizer.to_text(), or pass token ids.'
                checks.refuse("texts need the tokenizer of the bundle", each[:40], hint)
            ids = np.asarray(_tokenizer(settings["tokenizer"]).encode(each, special_tokens=False), np.int64)
        else:
            ids = np.asarray(each) if np.ndim(each) == 1 else None
        if ids is None or (ids.size and (ids.dtype.kind not in "iu" or ids.min() < 0)):
            checks.refuse("raw must be texts or lists of token ids", f"{each!r}"[:60])
        ids = ids[: np.flatnonzero(ids != PADDING).max(initial=-1) + 1]
        ids = np.append(ids, END) if ends and (not ids.size or ids[-1] != END) else ids
        if len(ids) > settings[name]:
            rule = f"a sequence must have at most {settings[name]} tokens, the {name} of the settings"
            checks.refuse(rule, f"{len(ids)} of {each!r}"[:80], "Cut it, or build the network with a larger one.")
        rows.append(ids)
    padded = np.full((len(rows), settings[name]), PADDING, np.int32)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = int32_ids(ids)
    return padded


def prepared(raw: Any, settings: Mapping[str, Any]) -> tuple[np.ndarray, Any]:
    """Returns sources (B, S), and the tokenizer with which answers become texts, None where raw input are ids."""
    source = encoded(raw, settings, "length")
    are_texts = {isinstance(each, str) for each in raw}
    if len(are_texts) > 1:
        hint = "Ask for each kind by itself: texts are answered by texts, ids by ids."
        checks.refuse("raw must hold texts alone, or lists of token ids alone", "both", hint)
    return source, _tokenizer(settings["tokenizer"]) if are_texts == {True} else None


def translated(networks: Mapping[str, keras.Model], source: Any, batch_size: int) -> np.ndarray:
    """Returns the greedy answers to sources, token ids (B, T)."""
    translator = asked(networks)
    length = translator.lengths[1] or 2 * source.shape[1]
    return translator.translate(source, length=length, batch_size=batch_size)


def decoded(tokens: np.ndarray, labels: Sequence[str], context: Any) -> list[dict[str, Any]]:
    """Returns `{"text"}`, or `{"tokens"}` of answers to token ids, without the end token and what is behind it."""
    rows = [row[: np.append(np.flatnonzero(row == END), len(row))[0]].tolist() for row in tokens]
    return [{"tokens": row} if context is None else {"text": context.decode(row)} for row in rows]


def ready(dataset: Dataset, settings: Mapping[str, Any]) -> Dataset:
    """Returns pairs of texts as token ids, `{"source", "target"}` with labels; data of this form stay as they are."""
    if not dataset.seekable or isinstance(dataset.spec[0], Mapping):
        return dataset
    (inputs, labels), weights = dataset.arrays(), dataset.source.weights if dataset.any_order else None
    source = encoded(list(inputs), settings, "length")
    target, labels = teacher_forcing(encoded(list(labels), settings, "target_length", ends=True))
    arrays = Examples({"source": source, "target": target}, labels, weights)
    return dataclasses.replace(dataset, source=arrays, task="sequence_to_sequence")


def figures(networks: Mapping[str, keras.Model], data: Dataset) -> dict[str, float]:
    """Returns the share of answers that are right as a whole, and the token accuracy on its own answers."""
    found = exposure_bias(asked(networks), data)
    return {"exact_match": found.exact_match, "free_running_accuracy": found.free_running}


def _example(model: keras.Model, batch: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Draws sources and targets of random tokens and lengths."""
    rng, padding = np.random.default_rng(seed), padding_of(model)
    vocabularies = list(vocabularies_of(model).values())

    def drawn(length, vocabulary):
        tokens = rng.integers(END + 1, vocabulary, (batch, length)).astype("int32")
        real = rng.integers(1, length + 1, (batch, 1))
        return np.where(np.arange(length) < real - 1, tokens, np.where(np.arange(length) < real, END, PADDING))

    lengths = [length or 16 for length in lengths_of(model)]
    source = drawn(lengths[0], vocabularies[0]).astype("int32")
    target, labels = teacher_forcing(drawn(lengths[1], vocabularies[-1]))
    pad = [np.where(each == PADDING, padding, each) for each in (source, target)]
    return dict(zip(("source", "target"), pad, strict=True)), labels


register_task(
    Task(
        name="sequence_to_sequence",
        module=__name__,
        loss=lambda: None,
        metrics=list,
        monitor=("val_loss", "min"),
        check=check_translator,
        preprocess=prepared,
        preprocess_layers=lambda settings, raw_shape: [],
        decode=decoded,
        replace_head=None,
        example=_example,
        predict=translated,
        trainer=Translator,
        ready=ready,
        figures=figures,
        exported=encoder_and_step,
        exported_samples=samples_of,
        summary="reads a sequence of tokens and writes another one",
        limits="It writes tokens of its vocabulary, whatever the source is, up to its longest target.",
    )
)
