"""Adapters of the PEFT library: LoRA and DoRA of a peer's net, put onto the net here that has the peer's weights."""

import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl.core import safetensors
from kerasdl.core.errors import WeightsError
from kerasdl.layers.tuning.adapted_weights import weights_by_name
from kerasdl.sequence.adaptation.graph_roles import inside, plain_graph, tunable_kernels
from kerasdl.sequence.adaptation.weight_changes import with_changes

from .torch_checkpoints import peer_maps, renamed
from .torch_layers import arrays_for

CONFIG, ARRAYS = "adapter_config.json", "adapter_model.safetensors"
PART = re.compile(r"(?:base_model\.model\.)?(.+?)\.lora_(A|B|magnitude_vector)(?:\.default)?(?:\.weight)?")
# Settings of adapter_config.json under which W' is another formula, each with the values that leave it.
PLAIN = {"bias": ("none",), "rank_pattern": ({}, None), "alpha_pattern": ({}, None), "layer_replication": (None,)}
PLAIN |= {"modules_to_save": ([], None), "lora_bias": (False,), "trainable_token_indices": (None,)}
PLAIN |= {"target_parameters": (None, []), "alora_invocation_tokens": (None, []), "arrow_config": (None,)}
PLAIN |= {"use_qalora": (None, False), "megatron_config": (None, {})}
# Others, such as PiSSA and OLoRA, are learnt on W less the first A B.
PLAIN |= {"init_lora_weights": (None, True, False, "gaussian", "eva", "orthogonal")}
# Modules of ViT in transformers 5, which saves checkpoints, but not adapters, by the names of before.
RECENT = {
    r"layers\.(\d+)\.attention\.q_proj": r"encoder.layer.\1.attention.attention.query",
    r"layers\.(\d+)\.attention\.k_proj": r"encoder.layer.\1.attention.attention.key",
    r"layers\.(\d+)\.attention\.v_proj": r"encoder.layer.\1.attention.attention.value",
    r"layers\.(\d+)\.attention\.o_proj": r"encoder.layer.\1.attention.output.dense",
    r"layers\.(\d+)\.mlp\.fc1": r"encoder.layer.\1.intermediate.dense",
    r"layers\.(\d+)\.mlp\.fc2": r"encoder.layer.\1.output.dense",
}


def import_peft(model: keras.Model, folder: str | os.PathLike, *, name: str = "default") -> keras.Model:
    """Returns a copy of a model with a LoRA or DoRA adapter that the PEFT library has saved, which is active.

    Args:
        model: a net with a name map of Hugging Face, which holds the weights that the adapter was learnt on, as
            `import_weights` fills it; it stays as it is.
        folder: a local folder with adapter_config.json and adapter_model.safetensors.
        name: name of the adapter in the model.

    Returns:
        A model as `kerasdl.sequence.lora` returns it.

    Raises:
        ArgumentError: the model has an adapter of that name.
        WeightsError: a file is missing or damaged, the configuration asks for more than low-rank changes, or a tuned
            module has no kernel of its shape in the model; the text names it.

    Example:
        >>> import_peft(model, "my_adapter")
        Traceback (most recent call last):
            ...
        kerasdl.core.errors.WeightsError: a folder of PEFT must hold adapter_config.json; got 'my_adapter'.
    """
    folder, model = Path(folder), plain_graph(model)
    config = _config(folder)
    modules = _modules(safetensors.read(folder / ARRAYS), folder)
    ranks = {parts["A"].shape[0] for parts in modules.values()}
    if ranks != {config["r"]}:
        raise WeightsError(f"r in {folder / CONFIG} must be that of its arrays, {sorted(ranks)}; got {config['r']}.")
    decomposed = {module for module, parts in modules.items() if "magnitude_vector" in parts}
    if "use_dora" in config and decomposed != ({*modules} if config["use_dora"] else set()):
        rule = "modules must have lora_magnitude_vector where use_dora is true, and there alone"
        raise WeightsError(
            f"{rule}; it is {config['use_dora']} in {folder}, and {len(decomposed)} of {len(modules)} have one."
        )
    places = _places(model, modules)
    changes: dict[str, dict[str, Any]] = {}
    for module, parts in modules.items():
        layer, weight, inputs, _ = places[module]
        rank = parts["A"].shape[0]
        scale = config["lora_alpha"] / (math.sqrt(config["r"]) if config.get("use_rslora") else config["r"])
        change = {"kind": "low_rank", "rank": rank, "alpha": float(scale * rank), "inputs": [*inputs]}
        magnitude = {"magnitude": True} if "magnitude_vector" in parts else {}
        changes.setdefault(layer, {})[weight] = change | magnitude
    adapted = with_changes(model, name, changes)
    for module, parts in modules.items():
        layer, weight, _, change = places[module]
        _assign(adapted.get_layer(layer), name, weight, parts, change, module)
    return adapted


def _config(folder: Path) -> dict[str, Any]:
    for file in (CONFIG, ARRAYS):
        if not (folder / file).is_file():
            raise WeightsError(f"a folder of PEFT must hold {file}; got {str(folder)!r}.")
    try:
        config = json.loads((folder / CONFIG).read_text())
        rank, alpha = config["r"], config["lora_alpha"]
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{folder / CONFIG} must hold r and lora_alpha; got: {error!r}") from error
    if config.get("peft_type") != "LORA":
        raise WeightsError(f"an adapter that is imported must be of LORA; {folder} is of {config.get('peft_type')!r}.")
    if type(rank) is not int or rank < 1 or not isinstance(alpha, (int, float)) or not 0 < alpha < 1e6:
        raise WeightsError(f"{folder / CONFIG} must hold a rank from 1 and a positive alpha; got {rank!r}, {alpha!r}.")
    for key, plain in PLAIN.items():
        if key in config and config[key] not in plain:
            raise WeightsError(f"an imported adapter must be low-rank changes alone; {key} is {config[key]!r}.")
    return config


def _modules(arrays: Mapping[str, np.ndarray], folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Returns the parts of each tuned module, A (r, in), B (out, r) and perhaps the norms of rows (out,)."""
    modules: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        match = PART.fullmatch(name)
        if match is None:
            raise WeightsError(f"{folder / ARRAYS} must hold lora_A and lora_B alone; got {name!r}.")
        if not np.isfinite(array).all():
            raise WeightsError(f"{name!r} in {folder / ARRAYS} must hold finite numbers; got NaN or inf.")
        modules.setdefault(match[1], {})[match[2]] = np.asarray(array)
    for module, parts in modules.items():
        shapes = {part: array.shape for part, array in parts.items()}
        a, b = shapes.get("A", ()), shapes.get("B", ())
        if len(a) != 2 or len(b) != 2 or a[0] != b[1] or shapes.get("magnitude_vector", b[:1]) != b[:1]:
            raise WeightsError(f"the module {module!r} must have A (r, in) and B (out, r); got {shapes}.")
    if not modules:
        raise WeightsError(f"{folder / ARRAYS} must hold lora_A and lora_B; it is empty.")
    return modules


def _places(model: keras.Model, modules: Mapping[str, Any]) -> dict[str, tuple]:
    """Returns layer, weight, axes of rows and transposition of each module, by the first map that knows them all."""
    kernels = {(kernel.layer, kernel.weight): kernel.inputs for kernel in tunable_kernels(model).values()}
    names = [layer.name for layer in model.layers]
    best: list[str] = [*modules]
    for peer in peer_maps():
        networks = peer.network if isinstance(peer.network, tuple) else (peer.network,)
        if networks != (None,) and model.name not in networks:
            continue
        known = {}
        for layer in model.layers:
            module = peer.name_of(layer.name, names) if layer.weights else None
            if module is None:
                continue
            paths = {id(variable): path for path, variable in weights_by_name(inside(layer)).items()}
            try:
                transfers = [*arrays_for(inside(layer), module, peer)]
            except (KeyError, AttributeError):  # a map of another architecture that names a layer of this name
                continue
            for variable, array, change in transfers:
                key = (layer.name, paths.get(id(variable)))
                if key in kernels and array.endswith(".weight"):
                    known[array.removesuffix(".weight")] = (*key, kernels[key], change)
        for prefix in ("", f"{peer.prefix}."):  # a net without a head is saved without it
            found = {module: _known(f"{prefix}{module}", known, peer) for module in modules}
            missing = [module for module, place in found.items() if place is None]
            if not missing:
                return found
            best = min(best, missing, key=len)
    raise WeightsError(
        f"every module of an adapter must have its layer in the model; {model.name!r} has none for {best[0]!r} and "
        f"{len(best) - 1} more of {len(modules)}. Build the net that the adapter was learnt on."
    )


def _known(module: str, known: Mapping[str, tuple], peer: Any) -> tuple | None:
    """Returns the place of a module by its name, that of an older checkpoint or that of a newer library."""
    older = next(iter(renamed({f"{module}.weight": 0}, peer))).removesuffix(".weight")
    names = [module, older]
    for pattern, name in RECENT.items():
        match = re.fullmatch(pattern, module.removeprefix(f"{peer.prefix}."))
        names += [f"{peer.prefix}.{match.expand(name)}"] if match else []
    return next((known[name] for name in names if name in known), None)


def _assign(layer: Any, name: str, weight: str, parts: Mapping[str, np.ndarray], change: Any, module: str) -> None:
    a, b = layer.part(name, weight, "a"), layer.part(name, weight, "b")
    arrays = {"a": parts["A"].T, "b": parts["B"].T, "magnitude": parts.get("magnitude_vector")}
    if tuple(a.shape) != arrays["a"].shape or tuple(b.shape) != arrays["b"].shape:
        there = (a.shape[0], b.shape[1])
        got = (arrays["a"].shape[0], arrays["b"].shape[1])
        raise WeightsError(f"the module {module!r} must have a kernel of {there} inputs and outputs; got {got}.")
    kernel = layer.inner_weights()[weight]
    expected = change(parts["B"] @ parts["A"])
    low_rank = _in_order(arrays["a"] @ arrays["b"], tuple(kernel.shape), layer.changes[name][weight]["inputs"])
    if expected.shape != low_rank.shape or not np.allclose(expected, low_rank, atol=1e-6):
        raise WeightsError(
            f"the kernel of {module!r} is stored in another order here, which a low-rank change has not."
        )
    for part, array in arrays.items():
        if array is not None:
            layer.part(name, weight, part).assign(array)


def _in_order(matrix: np.ndarray, shape: tuple[int, ...], inputs: list[int]) -> np.ndarray:
    order = [*inputs, *(axis for axis in range(len(shape)) if axis not in inputs)]
    return matrix.reshape([shape[axis] for axis in order]).transpose([order.index(axis) for axis in range(len(shape))])
