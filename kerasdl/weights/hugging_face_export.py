"""Export to Hugging Face: config.json, weights in safetensors and a tokenizer, as transformers reads them.

The name maps of the import are read the other way round. Before anything is written, the network that the new
config.json describes is built without weights, and its graph must be that of the network that is exported; each array
must give the weights that the import would take from it. So what is imported again is what was exported.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl.bundles import Bundle
from kerasdl.core import build, checks, safetensors
from kerasdl.core.files import write_json, write_text, writing_folder
from kerasdl.core.keras_graph import is_graph, unallocated
from kerasdl.core.registry.peer_map import PeerMap
from kerasdl.layers import AdaptedWeights
from kerasdl.sequence.tokenizers import Tokenizer

from .folder_models import CONFIG
from .text_bundles import LENGTH, MODULES, NAMES, POOLING, POOLINGS, TEMPLATE
from .torch_checkpoints import peer_maps
from .torch_layers import arrays_for

SHARD_BYTES = 5 * 10**9
ROLE_NAMES = {"pad_token": "padding_id", "unk_token": "unknown_id", "bos_token": "begin_id", "eos_token": "end_id"}
MASKS = ("[MASK]", "<mask>")
SENTENCES = "sentence_transformers.models"
IGNORED = ("dtype", "trainable", "build_config", "module", "registered_name")
"""Parts of a graph's configuration that change no output of it: precision, what learns, and where classes stand."""


def export_hugging_face(
    source: Bundle | keras.Model, folder: str | os.PathLike, *, shard_bytes: int = SHARD_BYTES
) -> Path:
    """Writes a network of texts as a folder of Hugging Face, which transformers and `model_from` read.

    BERT, DistilBERT and RoBERTa are written, bare, as classifiers, as taggers and as masked language models; GPT-2,
    Llama and Qwen2; T5. Of a bundle the labels and the tokenizer are written too, and the pooling of an encoder as
    sentence-transformers reads it.

    Args:
        source: a network of these, or a bundle of one.
        folder: the new folder, empty if it exists.
        shard_bytes: size from which weights are written in several files, with an index beside them.

    Returns:
        The folder.

    Raises:
        ArgumentError: the network is of another form, or was changed after it was built, so that the classes of
            transformers would compute something else; the text names the layer. Or the folder has files.

    Example:
        >>> network = kerasdl.build("gpt2_small", **kerasdl.spec("gpt2_small").tiny)
        >>> sorted(file.name for file in export_hugging_face(network, "small_gpt2").iterdir())
        ['config.json', 'model.safetensors']
    """
    checks.at_least("shard_bytes", shard_bytes, 1)
    bundle, model = (source, source.model) if isinstance(source, Bundle) else (None, source)
    if not isinstance(model, keras.Model) or not is_graph(model):
        checks.refuse("source must be a bundle or a functional model", type(source).__name__)
    adapted = [layer.name for layer in model.layers if isinstance(layer, AdaptedWeights)]
    if adapted:
        hint = "Merge them: kerasdl.sequence.merge_lora(model)."
        checks.refuse("a network that is exported must have no adapters", adapted[0], hint)
    if bundle is not None and (bundle.quantized is not None or bundle.others):
        checks.refuse("a bundle that is exported must have one network in floats", bundle.manifest.name)
    folder = Path(folder).expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        checks.refuse("folder must be new or empty", str(folder))
    peer, config = _form(model)
    arrays = dict(exported_arrays(model, peer))
    _check_described(model, peer, config)
    files = {} if bundle is None else _text_files(bundle, config)
    with writing_folder(folder) as inner:
        _write_arrays(inner, arrays, shard_bytes)
        write_json(inner / CONFIG, config)
        for name, content in files.items():
            (inner / name).parent.mkdir(exist_ok=True)
            (write_text if isinstance(content, str) else write_json)(inner / name, content)
    return folder


def _form(model: keras.Model) -> tuple[PeerMap, dict[str, Any]]:
    """Returns the name map of a network and the content of its config.json."""
    known = [each for each in peer_maps() if each.config is not None]
    for peer in (each for each in known if each.network == model.name):
        try:
            config = peer.config(model)
        except (ValueError, AttributeError, StopIteration, TypeError, KeyError) as error:
            rule = f"a network named {model.name!r} must have the layers of its builder"
            checks.refuse(rule, f"{type(error).__name__}: {str(error)[:120]}")
        if config is not None:
            return peer, dict(config)
    names = tuple(sorted({each.network for each in known}))
    checks.refuse(f"a network that is exported to Hugging Face must be one of {names}", model.name)


def exported_arrays(model: keras.Model, peer: PeerMap) -> Iterator[tuple[str, np.ndarray]]:
    """Yields the arrays of a checkpoint, by their names there, in float32.

    Raises:
        ArgumentError: a layer has no name there, or its weights no form that the import would read back.
    """
    names, joined = [layer.name for layer in model.layers], {}
    for layer in (each for each in model.layers if each.weights):
        module, (place, count) = peer.name_of(layer.name, names), peer.part_of(layer.name) or (0, 1)
        if module is None:
            checks.refuse(f"each layer with weights of {model.name!r} must have a name in a checkpoint", layer.name)
        for variable, name, change in arrays_for(layer, module, peer):
            name = name if peer.saved_name is None else peer.saved_name(model, name)
            own = np.asarray(keras.ops.convert_to_numpy(variable.value), "float32")
            parts = joined.setdefault(name, {})
            parts[place] = own, change
            if len(parts) == count:
                parts = [parts[each] for each in range(count)]
                yield name, _turned_back(parts, name.endswith(".bias"), 0 if peer.turned else -1, layer)
                del joined[name]
    if joined:
        checks.refuse("the parts of a joined array must all be in the network", sorted(joined))


def _turned_back(parts: list[tuple[np.ndarray, Callable]], is_bias: bool, axis: int, layer: keras.Layer) -> np.ndarray:
    """Returns the array of a checkpoint from which the import takes a variable, or several as parts of it."""
    for turn in (np.ravel,) if is_bias else (np.asarray, np.transpose):
        array = np.concatenate([turn(own) for own, _ in parts], axis=axis) if len(parts) > 1 else turn(parts[0][0])
        if all(_gives(change, array, own) for own, change in parts):
            return array
    checks.refuse("weights must have a form that a checkpoint holds", f"{layer.name} of {parts[0][0].shape}")


def _gives(change: Callable[[np.ndarray], np.ndarray], array: np.ndarray, own: np.ndarray) -> bool:
    try:
        given = change(array)
    except (ValueError, IndexError):  # an array of other axes
        return False
    return given.shape == own.shape and np.array_equal(given, own, equal_nan=True)


def _check_described(model: keras.Model, peer: PeerMap, config: Mapping[str, Any]) -> None:
    """Refuses a network whose graph is another than that of the net that its config describes."""
    arguments = dict(peer.arguments(config))
    lengths = {each.name: each.shape[1] for each in model.inputs}
    arguments["length"] = lengths.get("source", lengths.get("tokens"))
    if "target" in lengths:
        arguments["target_length"] = lengths["target"]
    is_bare = config["architectures"][0].endswith("Model") and "pooler" in dict(peer.rows)
    if is_bare and all(layer.name != "pooler" for layer in model.layers):
        arguments["pooler"] = False
    name = peer.builder or next(iter(peer.models.values()))
    with unallocated():
        described = build(name, **arguments)
    ours, theirs = _graph_of(model), _graph_of(described)
    differing = [key for key in (*ours, *theirs) if ours.get(key) != theirs.get(key)]
    if differing:
        rule = f"a network that is exported must be that of its config.json, built by {name!r}"
        checks.refuse(rule, f"another {differing[0]!r} ({len(differing)} differ)")


def _graph_of(model: keras.Model) -> dict[str, Any]:
    """Returns the configuration of each layer with its inputs, and the outputs, without what changes no output."""
    config = _plain(model.get_config())
    return {each["name"]: each for each in config["layers"]} | {"outputs": config["output_layers"]}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items() if key not in IGNORED}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _write_arrays(folder: Path, arrays: Mapping[str, np.ndarray], shard_bytes: int) -> None:
    """Writes arrays in one file, or in several of `shard_bytes` at most, where no single array is larger."""
    parts: list[dict[str, np.ndarray]] = [{}]
    for name, array in sorted(arrays.items()):
        if parts[-1] and sum(each.nbytes for each in parts[-1].values()) + array.nbytes > shard_bytes:
            parts.append({})
        parts[-1][name] = array
    if len(parts) == 1:
        safetensors.write(folder / safetensors.SINGLE, parts[0], {"format": "pt"})
        return
    files = {}
    for number, part in enumerate(parts, start=1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        safetensors.write(folder / file, part, {"format": "pt"})
        files |= dict.fromkeys(part, file)
    total = sum(array.nbytes for array in arrays.values())
    write_json(folder / safetensors.INDEX, {"metadata": {"total_size": total}, "weight_map": files})


def _text_files(bundle: Bundle, config: dict[str, Any]) -> dict[str, Any]:
    """Returns the further files of a bundle by name, and adds its labels and the ids of its tokenizer to the config."""
    settings, files = bundle.preprocess, {}
    if bundle.labels and "id2label" in config:
        names = {str(number): str(label) for number, label in enumerate(bundle.labels)}
        config |= {"id2label": names, "label2id": {name: int(number) for number, name in names.items()}}
    if settings.get("tokenizer"):
        tokenizer = Tokenizer.from_text(settings["tokenizer"])
        ids = {name: getattr(tokenizer, role) for name, role in ROLE_NAMES.items()}
        named = {name: tokenizer.token_of(id) for name, id in ids.items() if id is not None}
        masks = [each for each in MASKS if tokenizer.id_of(each) is not None]
        named |= {"mask_token": masks[0]} if masks else {}
        files["tokenizer.json"] = tokenizer.to_text()
        files[NAMES] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": settings.get("length"),
            **named,
        }
        template = settings.get("chat_template")
        if isinstance(template, Mapping) and "jinja" in template:
            files[TEMPLATE] = template["jinja"]
            files[NAMES] |= {"eos_token": template["stop"][0]} if template.get("stop") else {}
        elif isinstance(template, str):
            files[TEMPLATE] = template
        begin_and_end = {f"{name}_id": ids[name] for name in ("bos_token", "eos_token") if f"{name}_id" in config}
        config |= {key: value for key, value in begin_and_end.items() if config[key] is None}
    if bundle.manifest.task == "text_encoding":
        files |= _sentence_files(bundle)
    return files


def _sentence_files(bundle: Bundle) -> dict[str, Any]:
    """Returns the files by which sentence-transformers pools hidden states."""
    settings, model = bundle.preprocess, bundle.model
    width = model.get_layer("block1_mlp_project").units
    modes = {key: name == settings.get("pooling", "mean") for key, name in POOLINGS.items()}
    kinds = {"Transformer": "", "Pooling": POOLING.partition("/")[0]}
    kinds |= {"Normalize": "2_Normalize"} if settings.get("normalise", True) else {}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"{SENTENCES}.{kind}"}
        for number, (kind, path) in enumerate(kinds.items())
    ]
    return {
        MODULES: modules,
        POOLING: {"word_embedding_dimension": width, **modes},
        LENGTH: {"max_seq_length": settings["length"], "do_lower_case": False},
    }
