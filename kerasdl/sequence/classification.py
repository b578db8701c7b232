"""Text classification task over token ids."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.blocks import classification_task
from kerasdl.core import checks, register_task
from kerasdl.core.outputs.model_shapes import check_labels, input_shape_of

MAX_LENGTH = 2**20


def _check(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    input_shape = input_shape_of(model)
    length = checks.at_least("length", settings.get("length"), 1)
    checks.at_least("padding_id", settings.get("padding_id"), 0)
    if length > MAX_LENGTH or input_shape not in ((None,), (length,)):
        checks.refuse(f"length must fit the model's input {input_shape}, up to {MAX_LENGTH}", length)
    check_labels(labels, model)


def _preprocess(raw: Any, settings: Mapping[str, Any]) -> tuple[np.ndarray, None]:
    """Returns token ids cut or padded to `settings["length"]` with `settings["padding_id"]`."""
    if not hasattr(raw, "__len__"):
        checks.refuse("raw must be lists of token ids", type(raw).__name__)
    padded = np.full((len(raw), settings["length"]), settings["padding_id"], np.int32)
    for row, tokens in zip(padded, raw, strict=True):
        ids = np.asarray(tokens)[: len(row)] if np.ndim(tokens) else None
        if ids is None or ids.ndim != 1 or (ids.size and ids.dtype.kind not in "iu"):
            rule = "raw must be lists of token ids, whole numbers"
            checks.refuse(
                rule, " ".join(f"{tokens!r}".split())[:80], "Turn texts into token ids first; give one list as [ids]."
            )
        row[: len(ids)] = ids
    return padded, None


def _no_layers(settings: Mapping[str, Any], raw_shape: tuple) -> list[keras.Layer]:
    return []


def _example(model: keras.Model, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    length = model.input_shape[1] or 16
    vocabulary = next(layer.input_dim for layer in model.layers if isinstance(layer, keras.layers.Embedding))
    tokens = rng.integers(1, vocabulary, (batch, length)).astype("int32")
    real = rng.integers(1, length + 1, (batch, 1))
    tokens[np.arange(length) >= real] = 0
    return tokens, rng.integers(0, model.output_shape[-1], batch).astype("int32")


register_task(
    classification_task(
        "text_classification",
        module=__name__,
        check=_check,
        preprocess=_preprocess,
        preprocess_layers=_no_layers,
        example=_example,
        summary="names what a text is about",
    )
)
