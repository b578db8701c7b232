"""Files of adapters: what a tuned model has learnt, in safetensors, without the weights that it was tuned on.

The header holds the changes and a checksum of each frozen layer, so that adapters are not put onto another base.
"""

import hashlib
import json
import os
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks, safetensors
from kerasdl.core.errors import ArgumentError, WeightsError
from kerasdl.core.keras_graph import copied
from kerasdl.layers.tuning.adapted_weights import weights_by_name

from .graph_roles import inside, plain_graph
from .weight_changes import adapted_layers, adapter_names, with_changes

FORMAT = "kerasdl adapters 1"
MOST_TEXT = 4 * 2**20


def save_adapters(model: keras.Model, path: str | os.PathLike) -> None:
    """Writes what a tuned model has learnt: the active adapter, and all layers that learn as a whole.

    Args:
        model: a model that `lora`, `dora`, `bitfit`, `ia3`, `adapters` or `prefix_tuning` returned, or
            one with frozen layers.
        path: the new file, named .safetensors.

    Raises:
        ArgumentError: no weight of the model learns, or a name is used twice.

    Example:
        >>> save_adapters(lora(kerasdl.build("mlp", features=4), rank=2), "mine.safetensors")
    """
    model = plain_graph(model)
    arrays = {name: variable.numpy() for name, variable in _learnt(model, _active(model)).items()}
    if not arrays:
        checks.refuse("a model whose adapters are saved must have weights that learn", model.name, "lora(model) has.")
    name = _active(model)
    changes = {layer.name: layer.changes[name] for layer in adapted_layers(model) if name in layer.changes}
    whole = [layer.name for layer in model.layers if _learns_whole(layer)]
    base = {layer.name: _checksum(layer) for layer in model.layers if layer.weights and layer.name not in whole}
    content = {"changes": changes, "trained": whole, "base": base, "name": name}
    safetensors.write(path, arrays, {"format": FORMAT, "adapters": json.dumps(content)})


def load_adapters(model: keras.Model, path: str | os.PathLike, *, name: str | None = None) -> keras.Model:
    """Returns a copy of a model with the adapters of a file, which are active.

    Low-rank changes, biases and factors are added to the plain model, or as one adapter more. Files of `adapters`
    and `prefix_tuning` are loaded into a model that the same call returned.

    Args:
        model: the model that the adapters were learnt on, plain or with other adapters; it stays as it is.
        path: a file that `save_adapters` wrote.
        name: name of the adapter in the model; None takes that of the file.

    Returns:
        A model that shares no weight with the given one.

    Raises:
        ArgumentError: the model has an adapter of that name.
        WeightsError: the file is damaged, holds a number that is not finite, or was learnt on another base; the text
            names the first layer that differs.

    Example:
        >>> base = kerasdl.build("mlp", features=4)
        >>> save_adapters(lora(base, rank=2), "mine.safetensors")
        >>> adapter_names(load_adapters(base, "mine.safetensors", name="mine"))
        ['mine']
    """
    model = plain_graph(model)
    content, arrays = _content(path), safetensors.read(path)
    _check_base(model, content, path)
    stored = content["name"]
    name = stored if name is None else name
    if content["changes"]:
        try:
            adapted = with_changes(model, name, content["changes"], content["trained"])
        except ArgumentError as error:
            if name in adapter_names(model):
                raise
            raise WeightsError(f"{path} must hold adapters that fit the model; {error}") from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise WeightsError(f"{path} must hold changes of weights; got: {error!r}") from error
    else:
        adapted = copied(model)
    learnt = _learnt(adapted, name, set(content["trained"]))
    renamed = {f"{layer}:{_renamed(part, stored, name)}" for layer, _, part in (key.partition(":") for key in arrays)}
    if renamed != set(learnt):
        apart = sorted(renamed ^ set(learnt))
        raise WeightsError(f"{path} must hold the arrays of what learns in the model; {apart[0]!r} is in one alone.")
    checked = [
        (learnt[f"{layer}:{_renamed(part, stored, name)}"], arrays[f"{layer}:{part}"], layer, part)
        for layer, _, part in (key.partition(":") for key in arrays)
    ]
    for variable, array, layer, part in checked:
        if tuple(variable.shape) != array.shape:
            raise WeightsError(f"{part!r} of the layer {layer!r} must be {tuple(variable.shape)}; got {array.shape}.")
        if not np.isfinite(array).all():
            raise WeightsError(f"{part!r} of the layer {layer!r} in {path} must hold finite numbers; got NaN or inf.")
    for variable, array, _, _ in checked:
        variable.assign(array)
    return adapted


def _renamed(part: str, stored: str | None, name: str | None) -> str:
    """Returns the name of a part under another name of its adapter."""
    adapter, slash, rest = part.partition("/")
    return f"{name}/{rest}" if slash and adapter == stored and stored != "" else part


def _active(model: keras.Model) -> str:
    """Returns the name of the active adapter, or an empty text."""
    return next((layer.active for layer in adapted_layers(model) if layer.active in layer.changes), "")


def _learns_whole(layer: keras.layers.Layer) -> bool:
    return inside(layer) is layer and bool(layer.trainable_weights)


def _learnt(model: keras.Model, name: str, whole: set[str] | None = None) -> dict[str, keras.Variable]:
    """Returns the variables of an adapter and of the layers that learn as a whole, as `LAYER:PART`."""
    found = {}
    for layer in model.layers:
        if inside(layer) is not layer:
            parts = {part: variable for part, variable in layer.parts.items() if part.startswith(f"{name}/")}
        elif layer.name in whole if whole is not None else _learns_whole(layer):
            parts = {f":{part}": variable for part, variable in weights_by_name(layer).items()}
        else:
            continue
        found.update({f"{layer.name}:{part}": variable for part, variable in parts.items()})
    return found


def _checksum(layer: keras.layers.Layer) -> str:
    digest = hashlib.sha256()
    for name, variable in sorted(weights_by_name(inside(layer)).items()):
        digest.update(f"{name}{tuple(variable.shape)}".encode())
        digest.update(np.ascontiguousarray(variable.numpy(), "<f4").tobytes())
    return digest.hexdigest()[:16]


def _content(path: str | os.PathLike) -> dict[str, Any]:
    metadata = safetensors.read_metadata(path)
    if metadata.get("format") != FORMAT:
        hint = "A checkpoint of PEFT is imported by kerasdl.weights.import_peft."
        raise WeightsError(f"{path} must be a file of save_adapters; its format is {metadata.get('format')!r}. {hint}")
    text = metadata.get("adapters", "")
    try:
        content = json.loads(text) if len(text) <= MOST_TEXT else None
    except ValueError:
        content = None
    kinds = {"changes": dict, "trained": list, "base": dict, "name": str}
    if not isinstance(content, dict) or not all(isinstance(content.get(key), kind) for key, kind in kinds.items()):
        raise WeightsError(f"{path} must hold a table of adapters; it is damaged. Save it again by save_adapters.")
    return content


def _check_base(model: keras.Model, content: dict[str, Any], path: str | os.PathLike) -> None:
    layers = {layer.name: layer for layer in model.layers if layer.weights}
    base, whole = content["base"], content["trained"]
    for name in [*base, *whole]:
        if name not in layers:
            hint = "If adapters or prefix_tuning made it, load into a model that the same call returned."
            raise WeightsError(f"{path} must belong to the model; it has no layer {name!r}. {hint}")
    for name, layer in layers.items():
        if name not in base and name not in whole:
            raise WeightsError(f"{path} must belong to the model; the file has no layer {name!r}.")
        if name in base and _checksum(layer) != base[name]:
            raise WeightsError(
                f"{path} must be put onto the base that it was learnt on; the layer {name!r} has other weights. Load "
                "the weights of that base first."
            )
