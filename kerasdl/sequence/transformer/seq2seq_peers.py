"""Name maps from T5 and BART to checkpoints of Hugging Face, and the arguments of both from a config.json."""

from collections.abc import Callable, Mapping
from typing import Any

from kerasdl.core import checks
from kerasdl.core.registry.peer_map import PeerMap

from .encoder_peers import refuse_other
from .peer_configs import t5_config, t5_saved_name

T5_ATTENTION = {"query": "q", "key": "k", "value": "v", "output": "o"}
BART_ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": "out_proj"}
# Branches of a block here, and there: the module of the branch, and that of its norm.
T5_BRANCHES = {
    "encoder": {"attention": ("layer.0.SelfAttention", "layer.0.layer_norm")},
    "decoder": {
        "attention": ("layer.0.SelfAttention", "layer.0.layer_norm"),
        "memory": ("layer.1.EncDecAttention", "layer.1.layer_norm"),
    },
}
BART_BRANCHES = {
    "encoder": {"attention": ("self_attn", "self_attn_layer_norm")},
    "decoder": {
        "attention": ("self_attn", "self_attn_layer_norm"),
        "memory": ("encoder_attn", "encoder_attn_layer_norm"),
    },
}
ACTIVATIONS = {"relu": ("relu", False), "gated-gelu": ("gelu_tanh", True), "gated-silu": ("silu", True)}


def _row(part: str, layer: str, start: str, name: str) -> tuple[str, Callable[[int], str]]:
    return rf"{part}(\d+)_{layer}", lambda block: f"{start.format(block - 1)}.{name}"


def _attention_rows(branches: Mapping, projections: Mapping[str, str], start: str) -> tuple:
    """Returns the rows of attention and its norms in all blocks; `start` holds `{}` for the number of a block."""
    rows = []
    for part, known in branches.items():
        for branch, (module, norm) in known.items():
            rows.append(_row(part, f"{branch}_norm", f"{part}.{start}", norm))
            rows += [
                _row(part, f"{branch}_{ours}", f"{part}.{start}", f"{module}.{theirs}")
                for ours, theirs in projections.items()
            ]
    return tuple(rows)


def _t5_rows() -> tuple:
    rows = []
    for part, place in (("encoder", 1), ("decoder", 2)):
        for ours, theirs in {"gate": "wi_0", "expand": "wi_1", "project": "wo"}.items():
            rows.append(_row(part, f"mlp_{ours}", f"{part}.block.{{}}", f"layer.{place}.DenseReluDense.{theirs}"))
        rows.append(_row(part, "mlp_norm", f"{part}.block.{{}}", f"layer.{place}.layer_norm"))
        rows.append((f"{part}_norm", f"{part}.final_layer_norm"))
        rows.append((f"{part}_bias", f"{part}.block.0.layer.0.SelfAttention.relative_attention_bias"))
    return (
        ("embedding", "shared"),
        ("head", "lm_head"),
        *_attention_rows(T5_BRANCHES, T5_ATTENTION, "block.{}"),
        *rows,
    )


def t5_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `t5` from the config of transformers.

    Raises:
        ArgumentError: the config describes a net that is not here.
    """
    _refuse_others(config, relative_attention_num_buckets=32, relative_attention_max_distance=128)
    _refuse_others(config, layer_norm_epsilon=1e-6, num_decoder_layers=config.get("num_layers"))
    kind = checks.one_of("feed_forward_proj of config.json", config.get("feed_forward_proj", "relu"), ACTIVATIONS)
    activation, gated = ACTIVATIONS[kind]
    keys = {"vocabulary": "vocab_size", "width": "d_model", "depth": "num_layers", "heads": "num_heads"}
    keys |= {"size": "d_kv", "hidden": "d_ff", "dropout": "dropout_rate"}
    tied = config.get("scale_decoder_outputs", config.get("tie_word_embeddings", True))  # the former since version 5
    return {"activation": activation, "gated": gated, "tied": bool(tied)} | _known(config, keys)


def bart_arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `bart` from the config of transformers.

    Raises:
        ArgumentError: the config describes a net that is not here.
    """
    _refuse_others(config, activation_function="gelu", scale_embedding=False, normalize_before=False)
    for name in ("layers", "attention_heads", "ffn_dim"):
        _refuse_others(config, **{f"decoder_{name}": config.get(f"encoder_{name}")})
    keys = {"vocabulary": "vocab_size", "width": "d_model", "depth": "encoder_layers", "hidden": "encoder_ffn_dim"}
    keys |= {"heads": "encoder_attention_heads", "positions": "max_position_embeddings", "padding": "pad_token_id"}
    return _known(config, {**keys, "dropout": "dropout"})


def _known(config: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    return {ours: config[theirs] for ours, theirs in keys.items() if config.get(theirs) is not None}


def _refuse_others(config: Mapping[str, Any], **known: Any) -> None:
    for key, value in known.items():
        refuse_other(config, key, (value,))


T5 = PeerMap(
    "shared",
    _t5_rows(),
    network="t5",
    renamed=((r"(.+\.)wi\.weight", r"\1wi_1.weight"),),  # the one layer that a perceptron without gate has there
    whole=True,
    models={"T5ForConditionalGeneration": "t5_small"},
    arguments=t5_arguments,
    config=t5_config,
    saved_name=t5_saved_name,
)
HALVES = (("source", "encoder"), ("target", "decoder"))
_BART_ROWS = (
    ("embedding", "shared"),
    *((f"{ours}_positions", f"{theirs}.embed_positions") for ours, theirs in HALVES),
    *((f"{ours}_norm", f"{theirs}.layernorm_embedding") for ours, theirs in HALVES),
    *_attention_rows(BART_BRANCHES, BART_ATTENTION, "layers.{}"),
    *(
        _row(part, f"mlp_{ours}", f"{part}.layers.{{}}", theirs)
        for _, part in HALVES
        for ours, theirs in {"expand": "fc1", "project": "fc2", "norm": "final_layer_norm"}.items()
    ),
)
BART = tuple(
    PeerMap(
        prefix,
        _BART_ROWS,
        network="bart",
        renamed=((r"model\.(.+)", r"\1"),),
        whole=True,
        models={"BartForConditionalGeneration": "bart_base"},
        arguments=bart_arguments,
    )
    for prefix in ("shared", "model")
)
"""Files of the class BartModel, and of BartForConditionalGeneration, whose names have a prefix."""
