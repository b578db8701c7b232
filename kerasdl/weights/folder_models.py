"""Models from folders of Hugging Face: architecture and sizes from config.json, weights, tokenizer."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from kerasdl.core import build, checks
from kerasdl.core.errors import WeightsError
from kerasdl.core.registry.peer_map import PeerMap

from .torch_checkpoints import REMOTE, fetched, load_checkpoint, peer_maps

CONFIG = "config.json"
MAX_BYTES = 2**20
FLAGS = ("gated", "tied", "query_bias")
NUMBERS = ("dropout", "epsilon", "base")
MOST_BLOCKS = 256


def model_from(source: str | os.PathLike, **arguments: Any) -> keras.Model:
    """Builds the registered model that the config.json of a folder of Hugging Face describes, with its weights.

    Args:
        source: a folder with config.json and weights, safetensors in one file or several; or `"hf://owner/name"`,
            which uses the network.
        **arguments: further arguments of the model's function, such as `length`; they override those of the config.

    Returns:
        The model.

    Raises:
        ArgumentError: no model here is of that architecture, or the config has a setting that none here computes.
        WeightsError: the folder has no config that can be read, or its weights do not fit.

    Example:
        >>> model_from("no_folder")
        Traceback (most recent call last):
        kerasdl.core.errors.WeightsError: no_folder must be a folder with config.json; it has none.
    """
    folder = folder_of(source)
    name, found = described(folder)
    model = build(name, **{**found, **arguments})
    report = load_checkpoint(model, str(folder))
    if not report.head:
        notes = "; ".join(report.notes) or "its head has another number of classes"
        raise WeightsError(
            f"weights of {source} must fill the whole of {name}; {notes}. Use import_weights for a part."
        )
    return model


def folder_of(source: str | os.PathLike) -> Path:
    """Returns the local folder of a source."""
    text = os.fspath(source)
    return fetched(text) if text.startswith(REMOTE) else Path(text).expanduser()


def described(folder: Path) -> tuple[str, dict[str, Any]]:
    """Returns the name of the registered model that a folder's config describes, and its arguments.

    Raises:
        ArgumentError: there is none, or a setting is unknown.
        WeightsError: the folder has no config or no weights that can be read.
    """
    config = config_of(folder)
    kind, maps = architecture_of(config), described_maps()
    if kind not in maps:
        checks.refuse(f"architectures of {CONFIG} must name one of {tuple(sorted(maps))}", kind)
    found = dict(_arguments(maps[kind], config))
    _refuse_sizes(found, folder)
    return maps[kind].models[kind], found


def described_maps() -> dict[str, PeerMap]:
    """Returns the name maps of models that a config.json can describe, by the name of their class there."""
    return {kind: each for each in peer_maps() for kind in each.models}


def architecture_of(config: Mapping[str, Any]) -> Any:
    """Returns the class that a config names first, None if it names none."""
    kinds = config.get("architectures")
    return kinds[0] if isinstance(kinds, list) and kinds and isinstance(kinds[0], str) else None


def config_of(folder: Path) -> Mapping[str, Any]:
    """Returns the content of a folder's config.json; raises `WeightsError` where there is none, or none that is one."""
    file = folder / CONFIG
    if not file.is_file():
        raise WeightsError(f"{folder} must be a folder with {CONFIG}; it has none.")
    try:
        config = json.loads(file.read_bytes()[:MAX_BYTES])
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{file} must be JSON; got: {str(error)[:100]}") from None
    if not isinstance(config, dict):
        raise WeightsError(f"{file} must be a JSON object; got {type(config).__name__}.")
    return config


def _arguments(peer: PeerMap, config: Mapping[str, Any]) -> Mapping[str, Any]:
    found = peer.arguments(config)
    wrong = {key: value for key, value in found.items() if not _is_setting(key, value)}
    if wrong:
        checks.refuse(f"settings of {CONFIG} must be numbers, of sizes whole ones from 0", wrong)
    return found


def _is_setting(key: str, value: Any) -> bool:
    kinds = {"activation": str, **dict.fromkeys(FLAGS, bool), **dict.fromkeys(NUMBERS, (int, float))}
    if key in kinds:
        return isinstance(value, kinds[key])
    return type(value) is int and value >= 0


def _refuse_sizes(sizes: Mapping[str, Any], folder: Path) -> None:
    """Refuses sizes that the weights of a folder cannot fill, before a net of such sizes is built."""
    count = sum(file.stat().st_size for file in folder.glob("*.safetensors"))  # a number has a byte at least
    if not count:
        raise WeightsError(f"{folder} must hold weights in safetensors; it has none.")
    width = sizes.get("width", 1)
    rows = {
        "width": sizes.get("heads", 1) * sizes["size"] if "size" in sizes else width,
        "hidden": sizes.get("hidden", 0),
    }
    tables = {name: sizes[name] for name in ("vocabulary", "positions") if name in sizes}
    for counts, columns in ((rows, width), (tables, sizes.get("embedding", width))):
        for name, size in counts.items():
            if size * columns > count:
                checks.refuse(f"{name} of {CONFIG} must fit weights of {count} bytes", f"{size} of {columns}")
    if sizes.get("depth", 1) > MOST_BLOCKS:
        checks.refuse(f"the blocks of {CONFIG} must be {MOST_BLOCKS} at most", sizes["depth"])
