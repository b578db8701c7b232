"""Name maps from GPT-2, Llama and Qwen2 to checkpoints of Hugging Face, and their arguments from a config.json."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from kerasdl.core import checks
from kerasdl.core.registry.peer_map import PeerMap

from .encoder_peers import block_rows, refuse_other
from .peer_configs import gpt2_config, llama_config

GPT2_BLOCK = {
    "attention_norm": "ln_1",
    "attention_query": "attn.c_attn",
    "attention_key": "attn.c_attn",
    "attention_value": "attn.c_attn",
    "attention_output": "attn.c_proj",
    "mlp_norm": "ln_2",
    "mlp_expand": "mlp.c_fc",
    "mlp_project": "mlp.c_proj",
}
LLAMA_BLOCK = {
    "attention_norm": "input_layernorm",
    "attention_query": "self_attn.q_proj",
    "attention_key": "self_attn.k_proj",
    "attention_value": "self_attn.v_proj",
    "attention_output": "self_attn.o_proj",
    "mlp_norm": "post_attention_layernorm",
    "mlp_gate": "mlp.gate_proj",
    "mlp_expand": "mlp.up_proj",
    "mlp_project": "mlp.down_proj",
}
GPT2_KEYS = {
    "vocabulary": "vocab_size",
    "positions": "n_positions",
    "width": "n_embd",
    "depth": "n_layer",
    "heads": "n_head",
    "hidden": "n_inner",
    "dropout": "resid_pdrop",
}
# Each key of Llama's config with its default there, which a config.json may leave out, and Qwen2's others.
LLAMA_KEYS = {
    "vocabulary": ("vocab_size", 32_000),
    "width": ("hidden_size", 4096),
    "depth": ("num_hidden_layers", 32),
    "heads": ("num_attention_heads", 32),
    "shared_heads": ("num_key_value_heads", None),
    "hidden": ("intermediate_size", 11_008),
    "epsilon": ("rms_norm_eps", 1e-6),
    "tied": ("tie_word_embeddings", False),
}
QWEN2_KEYS = {
    **LLAMA_KEYS,
    "vocabulary": ("vocab_size", 151_936),
    "shared_heads": ("num_key_value_heads", 32),
    "hidden": ("intermediate_size", 22_016),
}


def _gpt2_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    known = {"activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "scale_attn_weights": True}
    known |= {"scale_attn_by_inverse_layer_idx": False, "add_cross_attention": False, "tie_word_embeddings": True}
    for key, value in known.items():
        refuse_other(config, key, (value,))
    return {ours: config[theirs] for ours, theirs in GPT2_KEYS.items() if config.get(theirs) is not None}


def _llama_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    for key in ("attention_bias", "mlp_bias"):
        refuse_other(config, key, (False,))
    return {**_sizes(config, LLAMA_KEYS), "query_bias": False}


def _qwen2_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    refuse_other(config, "use_sliding_window", (False,))
    return {**_sizes(config, QWEN2_KEYS), "query_bias": True}


def _sizes(config: Mapping[str, Any], keys: Mapping[str, tuple]) -> dict[str, Any]:
    refuse_other(config, "hidden_act", ("silu",))
    refuse_other(config, "rope_scaling", (None, {"rope_type": "default"}))
    rotary = config.get("rope_parameters") or {}
    if not isinstance(rotary, Mapping) or rotary.get("rope_type", "default") != "default" or "partial" in str(rotary):
        checks.refuse("rope_parameters of config.json must be of the type default", rotary, "No net here computes it.")
    found = {ours: config.get(theirs, default) for ours, (theirs, default) in keys.items()}
    found["shared_heads"] = found["heads"] if found["shared_heads"] is None else found["shared_heads"]
    size = config.get("head_dim")
    if size is not None and size * found["heads"] != found["width"]:
        checks.refuse("head_dim of config.json must be hidden_size over num_attention_heads", size)
    return {**found, "base": rotary.get("rope_theta", config.get("rope_theta", 10_000.0))}


def _gpt2(start: str) -> PeerMap:
    ends = (("embedding", f"{start}wte"), ("positions", f"{start}wpe"), ("norm", f"{start}ln_f"))
    return PeerMap(
        f"{start}h",
        (*ends, *block_rows(f"{start}h.{{}}", GPT2_BLOCK)),
        network="gpt2",
        turned=False,
        thirds=tuple(rf"block\d+_attention_{part}" for part in ("query", "key", "value")),
        models={"GPT2LMHeadModel": "gpt2_small"},
        arguments=_gpt2_sizes,
        config=gpt2_config if start else None,
    )


def _llama(kind: str, model: str, arguments: Any, family: str, query_bias: bool) -> PeerMap:
    ends = (("embedding", "model.embed_tokens"), ("norm", "model.norm"), ("head", "lm_head"))
    rows = (*ends, *block_rows("model.layers.{}", LLAMA_BLOCK))
    config = partial(llama_config, family, kind, query_bias)
    return PeerMap("model.layers", rows, network="llama", models={kind: model}, arguments=arguments, config=config)


GPT2 = (_gpt2("transformer."), _gpt2(""))
LLAMA = (
    _llama("LlamaForCausalLM", "llama_7b", _llama_sizes, "llama", False),
    _llama("Qwen2ForCausalLM", "qwen2_0_5b", _qwen2_sizes, "qwen2", True),
)
