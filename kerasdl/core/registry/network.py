"""The task of networks that are parts: discriminators, towers, value functions, trained inside something larger."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from .. import checks
from ..data_fit import check_fits
from .tasks import Task, register_task

SIDE = 16  # of a size that is free


def _check(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    if settings or labels:
        checks.refuse("a network alone has neither settings of preprocessing nor labels", [*settings, *labels])


def _as_given(raw: Any, settings: Mapping[str, Any]) -> tuple[Any, None]:
    return raw, None


def _no_layers(settings: Mapping[str, Any], raw_shape: tuple) -> list[keras.Layer]:
    return []


def _answer(networks: Mapping[str, keras.Model], inputs: Any, batch_size: int) -> Any:
    check_fits(networks["model"], inputs, name="raw input")
    return networks["model"].predict(inputs, batch_size=batch_size, verbose=0)


def _decode(outputs: Any, labels: Sequence[str], context: None) -> list[dict]:
    """Returns `{"output": array}` of each example, by name where the network gives several."""
    named = outputs if isinstance(outputs, Mapping) else {"output": outputs}
    if isinstance(outputs, (list, tuple)):
        named = {str(place): each for place, each in enumerate(outputs)}
    count = len(keras.tree.flatten(named)[0])
    return [keras.tree.map_structure(lambda leaf, row=row: leaf[row], named) for row in range(count)]


def _example(model: keras.Model, batch: int, seed: int) -> tuple[Any, Any]:
    """Draws numbers for every input, token ids where they are whole, and numbers in the shape of every output."""
    rng = np.random.default_rng(seed)
    tables = [each.input_dim for each in model._flatten_layers() if isinstance(each, keras.layers.Embedding)]

    def drawn(tensor: Any) -> np.ndarray:
        shape = (batch, *(SIDE if size is None else size for size in tensor.shape[1:]))
        if "int" in tensor.dtype:
            return rng.integers(0, min(tables, default=2), shape).astype(tensor.dtype)
        return rng.normal(size=shape).astype("float32")

    inputs = keras.tree.map_structure(drawn, model.input)
    specs = keras.tree.map_structure(lambda leaf: keras.KerasTensor(leaf.shape, leaf.dtype), inputs)
    given = model.compute_output_spec(specs)
    return inputs, keras.tree.map_structure(lambda spec: rng.normal(size=spec.shape).astype("float32"), given)


register_task(
    Task(
        name="network",
        module=__name__,
        loss=lambda: None,
        metrics=list,
        monitor=("val_loss", "min"),
        check=_check,
        preprocess=_as_given,
        preprocess_layers=_no_layers,
        decode=_decode,
        replace_head=None,
        example=_example,
        predict=_answer,
        summary="is a part of something larger, and answers with what it computes",
        limits="Its numbers mean something to the networks that it was trained with, and to no one else.",
    )
)
