"""Weights of PyTorch checkpoints, safetensors or .pth, paired by the name maps that families register."""

import importlib
import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl import layers as own
from kerasdl.core import checks, safetensors
from kerasdl.core.errors import WeightsError
from kerasdl.core.registry.models import list_models, spec
from kerasdl.core.startup.packages import optional

from . import torch_file
from .pairing import assign
from .report import ImportReport
from .torch_layers import arrays_for

REMOTE = "hf://"
FILES = ("*.safetensors", "*.safetensors.index.json", "config.json", "preprocessor_config.json")
KINDS = ("hugging-face", "torch")


def load_checkpoint(model: keras.Model, source: str) -> ImportReport:
    """Fills a model with the weights of a checkpoint, all or none; see `import_weights`.

    Raises:
        WeightsError: the checkpoint does not fit; the text names the first layer that differs, with both shapes.
    """
    place = fetched(source) if source.startswith(REMOTE) else Path(source)
    arrays = torch_file.read(place) if place.suffix in torch_file.SUFFIXES else safetensors.read(place)
    peer = _map_of(arrays, model, source)
    arrays = renamed(arrays, peer)
    _refuse_others(arrays, peer)
    names = [layer.name for layer in model.layers]
    pairs: list[tuple] = []
    notes: list[str] = []
    headed, read = True, set()
    for layer in model.layers:
        if not layer.weights:
            continue
        module = peer.name_of(layer.name, names)
        if module is None:
            _refuse(layer, [tuple(weight.shape) for weight in layer.weights], "no layer of that kind")
        if peer.symmetric:
            _refuse_padding(layer)
        transfers = list(arrays_for(layer, module, peer))
        if re.fullmatch(peer.fresh, layer.name) and not any(name in arrays for _, name, _ in transfers):
            headed = False
            notes.append(f"{layer.name!r} stays fresh, since the file has no such layer")
            continue
        read |= {name for _, name, _ in transfers}
        changed = [(variable, _array(arrays, name, layer, variable), change) for variable, name, change in transfers]
        changed = [(variable, change(array)) for variable, array, change in changed]
        if isinstance(layer, own.PositionEmbedding):
            changed = [(variable, _resized(array, variable, layer, notes)) for variable, array in changed]
        shapes = [(tuple(variable.shape), tuple(array.shape)) for variable, array in changed]
        if all(mine == theirs for mine, theirs in shapes):
            pairs += changed
        elif re.fullmatch(peer.heads, layer.name) and all(mine[:-1] == theirs[:-1] for mine, theirs in shapes):
            headed = False
        else:
            _refuse(layer, [mine for mine, _ in shapes], [theirs for _, theirs in shapes], module)
    if peer.whole:
        _refuse_unread({name: each for name, each in arrays.items() if not re.fullmatch(peer.unread, name)}, read)
    return ImportReport(source, assign(pairs), headed, _preprocess(place) or peer.preprocess, notes=tuple(notes))


def peer_maps() -> list[Any]:
    """Returns the name maps that families register, in the order of their references."""
    known = [spec(name).weights for name in list_models()]
    references = {weights[kind] for weights in known for kind in KINDS if kind in weights}
    maps: list[Any] = []
    for module, _, name in (reference.partition(":") for reference in sorted(references)):
        found = getattr(importlib.import_module(module), name)
        maps += found if isinstance(found, tuple) else (found,)
    return maps


def _map_of(arrays: dict[str, np.ndarray], model: keras.Model, source: str) -> Any:
    maps = peer_maps()
    for each in maps:
        networks = each.network if isinstance(each.network, tuple) else (each.network,)
        fits = networks == (None,) or model.name in networks
        if fits and any(name.startswith(f"{each.prefix}.") for name in arrays):
            return each
    known = {each.prefix if each.network is None else each.network for each in maps}
    known = tuple(sorted({name for each in known for name in ((each,) if isinstance(each, str) else each)}))
    checks.refuse(f"a checkpoint for {model.name!r} must be of one of the architectures {known}", source)


def renamed(arrays: dict[str, Any], peer: Any) -> dict[str, Any]:
    """Returns arrays by the names of today, where a checkpoint is older."""
    result = {}
    for name, array in arrays.items():
        for pattern, replacement in peer.renamed:
            if re.fullmatch(pattern, name):
                name = re.sub(pattern, replacement, name)
        result[name] = array
    return result


def _refuse_others(arrays: dict[str, np.ndarray], peer: Any) -> None:
    for pattern, other in peer.others:
        if any(re.fullmatch(pattern, f"{name} {tuple(array.shape)}") for name, array in arrays.items()):
            hint = "Take the weights of the form that docs/peers_weights.md names."
            raise WeightsError(f"weights must come from a net that is here; these are of {other}. {hint}")


def _refuse_unread(arrays: dict[str, np.ndarray], read: set[str]) -> None:
    known = [arrays[name] for name in read if name in arrays]
    for name in sorted(set(arrays) - read):
        array = np.asarray(arrays[name])
        if array.any() and not any(each.shape == array.shape and np.array_equal(each, array) for each in known):
            raise WeightsError(
                f"weights must come from a net of the same structure; no layer here reads {name!r} {array.shape}. "
                "Build the model with the arguments of the net that the weights come from."
            )


def _refuse_padding(layer: keras.Layer) -> None:
    if isinstance(layer, keras.layers.Conv2DTranspose):
        return  # what is cut of an enlarged map has one form
    kernel, strides = (getattr(layer, name, (1,)) for name in ("kernel_size", "strides"))
    if max(strides) > 1 and max(kernel) > 1 and layer.padding == "same":
        raise WeightsError(
            "weights must come from a net that pads its convolutions alike; the source pads those with a stride on all "
            f"sides alike, and {layer.name!r} pads as TensorFlow does. Build the model with padding='symmetric'."
        )


def _array(arrays: dict[str, np.ndarray], name: str, layer: keras.Layer, variable: keras.Variable) -> np.ndarray:
    for known in (name, name.replace("cls_classifier", "classifier")):  # DeiT without a teacher
        if known in arrays:
            return arrays[known]
    _refuse(layer, [tuple(variable.shape)], f"no array {name!r}")


def _refuse(layer: keras.Layer, mine: list, theirs: Any, module: str | None = None):
    there = f"{module!r} with {theirs}" if module else theirs
    raise WeightsError(
        f"weights must come from a net of the same structure; the first layer that differs is {layer.name!r} with "
        f"weights of the shapes {mine}; got {there}. Build the model with the arguments of the net that the weights "
        "come from."
    )


def _resized(array: np.ndarray, variable: keras.Variable, layer: keras.Layer, notes: list[str]) -> np.ndarray:
    """Returns position embeddings resized for square images of another size; those of extra tokens are unchanged."""
    old, new = array.shape[1], variable.shape[1]
    if old == new or array.shape[2] != variable.shape[2]:
        return array
    front = next((count for count in (1, 2) if all(np.sqrt(n - count) % 1 == 0 for n in (old, new))), None)
    if front is None:
        return array  # the caller refuses it, with both shapes
    sides = [int(np.sqrt(n - front)) for n in (old, new)]
    grid = np.asarray(array[:, front:]).reshape(1, sides[0], sides[0], -1)
    grid = keras.ops.image.resize(grid, (sides[1], sides[1]), interpolation="bicubic")
    notes.append(f"positions were resized from {sides[0]}x{sides[0]} to {sides[1]}x{sides[1]}")
    tokens = keras.ops.convert_to_numpy(grid).reshape(1, new - front, -1)
    return np.concatenate([array[:, :front], tokens], axis=1)


def _preprocess(place: Path) -> dict[str, Any] | None:
    file = (place if place.is_dir() else place.parent) / "preprocessor_config.json"
    if not file.is_file():
        return None
    try:
        settings = json.loads(file.read_text())
        factor = float(settings.get("rescale_factor", 1 / 255)) if settings.get("do_rescale", True) else 1.0
        normal = settings.get("do_normalize", True)
        mean, deviation = (
            (np.asarray(settings[name], float) for name in ("image_mean", "image_std")) if normal else (0, 1)
        )
        bounds = tuple(((255 * factor * level - mean) / deviation).tolist() for level in (0, 1))
    except (ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{file} must hold image_mean and image_std; got: {error!r}") from error
    return {"scale": bounds if isinstance(bounds[0], list) else tuple(map(float, bounds))}


def fetched(source: str) -> Path:
    """Returns the folder of a repository `hf://owner/name`, fetched from the hub."""
    name = source.removeprefix(REMOTE)
    if name.count("/") != 1:
        checks.refuse("weights on the hub are named hf://owner/name", source)
    hub = optional("huggingface_hub", "hub")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(FILES)))
    except (OSError, hub.errors.HfHubHTTPError, hub.errors.HFValidationError) as error:
        raise WeightsError(
            f"{source} could not be fetched ({type(error).__name__}). On a machine with a network run "
            f"`hf download {name} --local-dir FOLDER`, bring the folder, and pass its path."
        ) from error
