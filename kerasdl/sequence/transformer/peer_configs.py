"""Contents of config.json of Hugging Face for networks of texts, read from the layers of the network.

Each function is the inverse of the one that reads the arguments of a builder from such a file. Values that a network
here does not hold, such as the rate at which attention weights are dropped, are those under which it is computed.
"""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import keras

from kerasdl.core import checks
from kerasdl.layers import TanhGELU

COMMON = {"torch_dtype": "float32"}
PLAIN_ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu"}
GATES = {"gelu_tanh": "gated-gelu", "silu": "gated-silu"}
DEFAULT_ROOM = 4096
"""Positions that a config of Llama's form names where the network takes texts of any length; nothing depends on it."""


def blocks_of(model: keras.Model, part: str) -> int:
    """Returns the number of blocks whose layers begin with a name."""
    found = [re.fullmatch(rf"{part}(\d+)_mlp_project", layer.name) for layer in model.layers]
    return max((int(match[1]) for match in found if match), default=0)


def has_layer(model: keras.Model, name: str) -> bool:
    """Returns whether a network has a layer of a name."""
    return any(layer.name == name for layer in model.layers)


def activation_of(model: keras.Model, part: str) -> str:
    """Returns the activation of the perceptron of a block, by the name of its layer."""
    kinds = (keras.layers.Activation, TanhGELU)
    names = [layer.name for layer in model.layers if isinstance(layer, kinds)]
    return next(name for name in names if name.startswith(f"{part}_mlp_")).removeprefix(f"{part}_mlp_")


def _heads(model: keras.Model, part: str, kind: str = "query") -> tuple[int, int]:
    """Returns the number of heads of a projection, and their width."""
    return tuple(model.get_layer(f"{part}_attention_{kind}_heads").target_shape[1:])


def _rate(model: keras.Model, name: str) -> float:
    return model.get_layer(name).rate


def classes_of(model: keras.Model) -> dict[str, Any]:
    """Returns the numbered names of the outputs of a head, as a new config has them."""
    count = model.get_layer("head").units
    names = {str(number): f"LABEL_{number}" for number in range(count)}
    return {"id2label": names, "label2id": {name: int(number) for number, name in names.items()}}


def encoder_config(keys: Mapping[str, str], family: str, kind: str, model: keras.Model) -> dict[str, Any]:
    """Returns the config of a network over an encoder with the layers of BERT.

    Args:
        keys: the key of each argument of the builder.
        family: `model_type` of the config.
        kind: its class, such as `BertModel`.
        model: the network.
    """
    segments = model.get_layer("segment_embedding") if has_layer(model, "segment_embedding") else None
    padding, positions = model.get_layer("mask").padding_id, model.get_layer("position")
    activation = activation_of(model, "block1")
    sizes = {
        "vocabulary": model.get_layer("embedding").input_dim,
        "width": model.get_layer("block1_mlp_project").units,
        "depth": blocks_of(model, "block"),
        "heads": _heads(model, "block1")[0],
        "hidden": model.get_layer("block1_mlp_expand").units,
        "positions": positions.positions + positions.first,
        "segment_ids": getattr(segments, "input_dim", 1),
        "epsilon": model.get_layer("embedding_norm").epsilon,
        "dropout": _rate(model, "embedding_drop"),
        "padding_id": padding,
        "activation": PLAIN_ACTIVATIONS[checks.one_of("activation", activation, PLAIN_ACTIVATIONS)],
    }
    content = {**COMMON, "model_type": family, "architectures": [kind]}
    content |= {keys[ours]: value for ours, value in sizes.items() if keys.get(ours)}
    dropped = ("attention_probs_dropout_prob", "attention_dropout")
    return content | dict.fromkeys(dropped, 0.0) | (classes_of(model) if has_layer(model, "head") else {})


def gpt2_config(model: keras.Model) -> dict[str, Any]:
    """Returns the config of a network of GPT-2."""
    table = model.get_layer("embedding")
    return {
        **COMMON,
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": table.input_dim,
        "n_positions": model.get_layer("positions").positions,
        "n_embd": table.output_dim,
        "n_layer": blocks_of(model, "block"),
        "n_head": _heads(model, "block1")[0],
        "n_inner": model.get_layer("block1_mlp_expand").units,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": model.get_layer("norm").epsilon,
        **dict.fromkeys(("resid_pdrop", "embd_pdrop"), _rate(model, "embedding_drop")),
        "attn_pdrop": 0.0,
        "tie_word_embeddings": True,
        **dict.fromkeys(("bos_token_id", "eos_token_id")),
    }


def llama_config(family: str, kind: str, query_bias: bool, model: keras.Model) -> dict[str, Any] | None:
    """Returns the config of a network of Llama's form, or None where the biases of its queries are of another map."""
    if model.get_layer("block1_attention_query").use_bias != query_bias:
        return None
    table, base = model.get_layer("embedding"), float(model.get_layer("rotary").base)
    (heads, size), (shared_heads, _) = _heads(model, "block1"), _heads(model, "block1", "key")
    own = {"use_sliding_window": False} if query_bias else {"attention_bias": False, "mlp_bias": False}
    return {
        **COMMON,
        "model_type": family,
        "architectures": [kind],
        "vocab_size": table.input_dim,
        "hidden_size": table.output_dim,
        "num_hidden_layers": blocks_of(model, "block"),
        "num_attention_heads": heads,
        "num_key_value_heads": shared_heads,
        "head_dim": size,
        "intermediate_size": model.get_layer("block1_mlp_expand").units,
        "max_position_embeddings": model.inputs[0].shape[1] or DEFAULT_ROOM,
        "rms_norm_eps": model.get_layer("norm").epsilon,
        "rope_theta": base,
        "rope_parameters": {"rope_type": "default", "rope_theta": base},
        "hidden_act": activation_of(model, "block1"),
        "tie_word_embeddings": not has_layer(model, "head"),
        "attention_dropout": 0.0,
        **own,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id")),
    }


def t5_config(model: keras.Model) -> dict[str, Any]:
    """Returns the config of a network of T5."""
    table, activation = model.get_layer("embedding"), activation_of(model, "encoder1")
    heads, size = _heads(model, "encoder1")
    is_gated, is_tied = has_layer(model, "encoder1_mlp_gate"), not has_layer(model, "head")
    known = GATES if is_gated else {"relu": "relu"}
    kind = known[checks.one_of("activation", activation, known)]
    return {
        **COMMON,
        "model_type": "t5",
        "architectures": ["T5ForConditionalGeneration"],
        "is_encoder_decoder": True,
        "vocab_size": table.input_dim,
        "d_model": table.output_dim,
        "d_kv": size,
        "d_ff": model.get_layer("encoder1_mlp_expand").units,
        **dict.fromkeys(("num_layers", "num_decoder_layers"), blocks_of(model, "encoder")),
        "num_heads": heads,
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": model.get_layer("encoder_norm").epsilon,
        "dropout_rate": _rate(model, "source_drop"),
        "feed_forward_proj": kind,
        **dict.fromkeys(("tie_word_embeddings", "scale_decoder_outputs"), is_tied),
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }


def t5_saved_name(model: keras.Model, name: str) -> str:
    """Returns the name of an array in a checkpoint, where the one layer of a perceptron without gate is `wi`."""
    return name if has_layer(model, "encoder1_mlp_gate") else name.replace(".wi_1.", ".wi.")


def encoder_configs(keys: Mapping[str, str], family: str, kind: str) -> partial:
    """Returns `encoder_config` of one class."""
    return partial(encoder_config, keys, family, kind)
