"""Text encoding task: texts to hidden states, and to one vector a text (https://arxiv.org/abs/1908.10084)."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import Task, checks, register_task
from kerasdl.core.data_fit import check_fits
from kerasdl.core.errors import DataError
from kerasdl.data import Dataset

from ..text_inputs import check_text_settings, drawn_texts, encoded_texts, padding_of, ready_texts

POOLINGS = ("mean", "first")
SMALLEST = 1e-12


def encode(
    source: Any,
    texts: Any,
    *,
    pooling: str | None = None,
    normalise: bool | None = None,
    batch_size: int = 64,
    settings: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Returns a vector for each text, by an encoder.

    Texts of like meaning have vectors of a large cosine where the encoder was trained for it, as sentence encoders are.

    Source: https://arxiv.org/abs/1908.10084, section 3.

    Args:
        source: a bundle of the task `text_encoding`, or such a model.
        texts: texts, or lists of token ids.
        pooling: `mean` of the hidden states of all tokens but the padding, or `first`, that of `[CLS]`; None takes the
            bundle's setting, else `mean`.
        normalise: whether vectors get the length 1; None takes the bundle's setting, else True.
        batch_size: texts computed at once.
        settings: of a model, those of the preprocessing that a bundle has: `length`, `padding_id`, `tokenizer`,
            `segments`.

    Returns:
        (texts, D) float32.

    Raises:
        ArgumentError: an argument breaks its rule, or source and settings do not fit.
        DataError: a vector is not finite.

    Example:
        >>> model = kerasdl.build("bert_tiny", length=8, vocabulary=20)
        >>> encode(model, [[2, 5, 3], [2, 9, 9, 3]], settings={"length": 8, "padding_id": 0, "segments": True}).shape
        (2, 128)
    """
    is_bundle = hasattr(source, "preprocess") and hasattr(source, "networks")
    if is_bundle and settings is not None:
        checks.refuse("settings are for a model; a bundle has its own", sorted(settings))
    if not is_bundle and settings is None:
        checks.refuse("a model needs settings= to read texts", type(source).__name__, "Or pass a bundle.")
    settings = dict(source.preprocess if is_bundle else settings)
    settings |= {key: value for key, value in (("pooling", pooling), ("normalise", normalise)) if value is not None}
    model = source.networks["model"] if is_bundle else source
    check_encoder(settings, (), model)
    inputs, context = prepared(texts, settings)
    return _vectors(sentence_vectors({"model": model}, inputs, batch_size), context)


def check_encoder(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    """Checks the settings of a bundle against an encoder; raises `ArgumentError`."""
    if labels:
        checks.refuse("an encoder gives vectors and has no labels", labels[0])
    check_text_settings(settings, model)
    _pooling(settings)
    states = _states(model)
    if len(states.shape) != 3:
        checks.refuse("an encoder must give hidden states (B, T, D)", tuple(states.shape))


def prepared(raw: Any, settings: Mapping[str, Any]) -> tuple[Any, tuple[str, bool]]:
    """Returns the inputs of an encoder, and pooling and normalising for `decoded`."""
    return encoded_texts(raw, settings), _pooling(settings)


def ready(dataset: Dataset, settings: Mapping[str, Any]) -> Dataset:
    """Returns a dataset of texts as inputs of an encoder, such as samples of an export."""
    return ready_texts(dataset, settings, "text_encoding")


def sentence_vectors(networks: Mapping[str, keras.Model], inputs: Any, batch_size: int) -> dict[str, np.ndarray]:
    """Returns the mean of the hidden states of each text and the first of them, (N, D) each."""
    model = networks["model"]
    check_fits(model, inputs, name="raw input")
    tokens = inputs["tokens"] if isinstance(inputs, Mapping) else inputs
    found: dict[str, list[np.ndarray]] = {"mean": [], "first": []}
    for start in range(0, len(tokens), batch_size):
        part = keras.tree.map_structure(lambda leaf, start=start: leaf[start : start + batch_size], inputs)
        given = model.predict_on_batch(part)
        states = given["hidden_states"] if isinstance(given, Mapping) else given  # (B, T, D)
        counts = (tokens[start : start + batch_size] != padding_of(model))[..., None]
        found["mean"].append((states * counts).sum(axis=1) / np.maximum(counts.sum(axis=1), 1))
        found["first"].append(states[:, 0])
    return {name: np.concatenate(parts).astype("float32") for name, parts in found.items()}


def decoded(outputs: Mapping[str, np.ndarray], labels: Sequence[str], context: tuple[str, bool]) -> list[dict]:
    """Returns `{"vector": (D,)}` of each text."""
    return [{"vector": vector} for vector in _vectors(outputs, context)]


def _vectors(outputs: Mapping[str, np.ndarray], context: tuple[str, bool]) -> np.ndarray:
    pooling, normalise = context
    vectors = outputs[pooling]
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if wrong.size:
        raise DataError(f"an encoder must give finite vectors; that of text {wrong[0]} is not. Look at its weights.")
    if normalise:
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), SMALLEST)
    return vectors


def _pooling(settings: Mapping[str, Any]) -> tuple[str, bool]:
    pooling = checks.one_of("pooling", settings.get("pooling", "mean"), POOLINGS)
    normalise = settings.get("normalise", True)
    if not isinstance(normalise, bool):
        checks.refuse("normalise must be True or False", normalise)
    return pooling, normalise


def _states(model: keras.Model) -> Any:
    output = model.output
    if isinstance(output, Mapping):
        checks.known_name("output of an encoder", "hidden_states", output)
        return output["hidden_states"]
    return model.outputs[0]


def _example(model: keras.Model, batch: int, seed: int) -> tuple[Any, Any]:
    """Draws texts, and numbers in the shape of every output."""
    inputs = drawn_texts(model, batch, seed)
    rng, length = np.random.default_rng(seed + 1), keras.tree.flatten(inputs)[0].shape[1]

    def drawn(tensor: Any) -> np.ndarray:
        shape = (batch, *(length if size is None else size for size in tensor.shape[1:]))
        return rng.normal(size=shape).astype("float32")

    return inputs, keras.tree.map_structure(drawn, model.output)


def a_row_a_text(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns one row, the length of the vector and its first numbers."""
    vector = result["vector"]
    return [{"numbers": len(vector), "first": " ".join(f"{each:.4f}" for each in vector[:4])}]


register_task(
    Task(
        name="text_encoding",
        module=__name__,
        loss=lambda: None,
        metrics=list,
        monitor=("val_loss", "min"),
        check=check_encoder,
        preprocess=prepared,
        preprocess_layers=lambda settings, raw_shape: [],
        decode=decoded,
        replace_head=None,
        example=_example,
        predict=sentence_vectors,
        ready=ready,
        label_arguments=lambda labels: {},
        table=a_row_a_text,
        summary="turns a text into a vector",
        limits="Vectors are as near as the encoder learned to place texts; that of a cut text is of its beginning.",
    )
)
