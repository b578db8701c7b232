"""Name maps from encoders to checkpoints of Hugging Face, and the arguments of a net from a config.json."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kerasdl.core import checks
from kerasdl.core.registry.peer_map import PeerMap

from .peer_configs import encoder_configs

# Parts of a block here, and there in BERT and its successors.
BERT_BLOCK = {
    "attention_query": "attention.self.query",
    "attention_key": "attention.self.key",
    "attention_value": "attention.self.value",
    "attention_output": "attention.output.dense",
    "attention_norm": "attention.output.LayerNorm",
    "mlp_expand": "intermediate.dense",
    "mlp_project": "output.dense",
    "mlp_norm": "output.LayerNorm",
}
# Arguments of the builder, and their keys in a config.json.
BERT_KEYS = {
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "depth": "num_hidden_layers",
    "heads": "num_attention_heads",
    "hidden": "intermediate_size",
    "positions": "max_position_embeddings",
    "segment_ids": "type_vocab_size",
    "epsilon": "layer_norm_eps",
    "dropout": "hidden_dropout_prob",
    "padding_id": "pad_token_id",
    "activation": "hidden_act",
}
DISTILBERT_OWN = {
    **{"width": "dim", "depth": "n_layers", "heads": "n_heads", "hidden": "hidden_dim", "dropout": "dropout"},
    **{"activation": "activation", "segment_ids": "", "epsilon": ""},
}
ACTIVATIONS = {"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu"}


def block_rows(start: str, parts: Mapping[str, str]) -> tuple[tuple[str, Callable[[int], str]], ...]:
    """Returns the rows of the layers of blocks; `start` holds `{}` for the number of a block, from 0."""

    def row(name: str) -> Callable[[int], str]:
        return lambda block: f"{start.format(block - 1)}.{name}"

    return tuple((rf"block(\d+)_{ours}", row(theirs)) for ours, theirs in parts.items())


def embedding_rows(start: str) -> tuple[tuple[str, str], ...]:
    """Returns the rows of the embeddings of BERT and its successors."""
    return (
        ("embedding", f"{start}.word_embeddings"),
        ("segment_embedding", f"{start}.token_type_embeddings"),
        ("position", f"{start}.position_embeddings"),
        ("embedding_norm", f"{start}.LayerNorm"),
    )


def sizes_of(config: Mapping[str, Any], **names: str) -> dict[str, Any]:
    """Returns the arguments of BERT's builder, or of a successor's, from the config of transformers.

    Args:
        config: content of config.json.
        **names: the key in the config of an argument, where it is another than BERT's; empty for none.

    Raises:
        ArgumentError: the config describes a net that is not here.
    """
    keys = {**BERT_KEYS, **names}
    refuse_other(config, "position_embedding_type", ("absolute",))
    for key in ("is_decoder", "add_cross_attention"):
        refuse_other(config, key, (False,))
    found = {ours: config[theirs] for ours, theirs in keys.items() if config.get(theirs) is not None}
    if "activation" in found:
        found["activation"] = ACTIVATIONS[checks.one_of("hidden_act", found["activation"], ACTIVATIONS)]
    return found


def refuse_other(config: Mapping[str, Any], key: str, known: Sequence[Any]) -> None:
    """Refuses a config whose setting is another than those that are known; one that is missing is the default."""
    if config.get(key, known[0]) not in known:
        checks.refuse(f"{key} of config.json must be one of {tuple(known)}", config[key], "No net here computes it.")


DISTILBERT_BLOCK = {
    "attention_query": "attention.q_lin",
    "attention_key": "attention.k_lin",
    "attention_value": "attention.v_lin",
    "attention_output": "attention.out_lin",
    "attention_norm": "sa_layer_norm",
    "mlp_expand": "ffn.lin1",
    "mlp_project": "ffn.lin2",
    "mlp_norm": "output_layer_norm",
}
ALBERT_BLOCK = {
    "attention_query": "attention.query",
    "attention_key": "attention.key",
    "attention_value": "attention.value",
    "attention_output": "attention.dense",
    "attention_norm": "attention.LayerNorm",
    "mlp_expand": "ffn",
    "mlp_project": "ffn_output",
    "mlp_norm": "full_layer_layer_norm",
}
PROJECTION = {"electra": "embeddings_project", "albert": "encoder.embedding_hidden_mapping_in"}
TIED = ((r"(.*)\.decoder\.bias", r"\1.bias"),)  # the bias of the logits in some files
# Layers of the head of pretraining, and their names there.
FILLERS = {
    "bert": (
        ("head_dense", "cls.predictions.transform.dense"),
        ("head_norm", "cls.predictions.transform.LayerNorm"),
        ("head_bias", "cls.predictions.bias"),
    ),
    "distilbert": (
        *(("head_dense", "vocab_transform"), ("head_norm", "vocab_layer_norm")),
        ("head_bias", "vocab_projector.bias"),
    ),
    "roberta": (("head_dense", "lm_head.dense"), ("head_norm", "lm_head.layer_norm"), ("head_bias", "lm_head.bias")),
    "albert": (
        *(("head_dense", "predictions.dense"), ("head_norm", "predictions.LayerNorm")),
        ("head_bias", "predictions.bias"),
    ),
    "electra": (
        ("head_dense", "generator_predictions.dense"),
        ("head_norm", "generator_predictions.LayerNorm"),
        ("head_bias", "generator_lm_head.bias"),
    ),
}
OLD_NORMS = ((r"(.*)\.gamma", r"\1.weight"), (r"(.*)\.beta", r"\1.bias"))  # in the first files of BERT
POOLED = {"pooler": "", "head": "classifier"}
HEADS = {"tagger": {"head": "classifier"}, "answerer": {"head": "qa_outputs"}}
"""Heads that all encoders have alike, by the name of their net."""
CLASSES = {"classifier": "SequenceClassification", "tagger": "TokenClassification", "answerer": "QuestionAnswering"}
ALBERT_GROUP = "encoder.albert_layer_groups.0.albert_layers.0"


def _albert_rows(start: str, parts: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((f"block_{ours}", f"{start}{ALBERT_GROUP}.{theirs}") for ours, theirs in parts.items())


def _bert_rows(start: str) -> tuple:
    return block_rows(f"{start}encoder.layer.{{}}", BERT_BLOCK)


def _distilbert_rows(start: str) -> tuple:
    return block_rows(f"{start}transformer.layer.{{}}", DISTILBERT_BLOCK)


def _maps(
    network: str,
    encoder: str,
    kind: str,
    blocks: Callable[[str], tuple],
    arguments: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    pooler: str | None = "pooler.dense",
    heads: Mapping[str, str] = POOLED,
    keys: Mapping[str, str] | None = None,
) -> tuple[PeerMap, ...]:
    """Returns the maps of an encoder and of its heads; files of the bare encoder have names without the first part.

    Args:
        network: name of the encoder's network; those of the heads have `_classifier`, `_tagger` or `_answerer`
            behind it.
        encoder: registered name of its usual size.
        kind: beginning of the names of its classes, such as `Bert`.
        blocks: rows of the blocks from the beginning of names.
        arguments: arguments of the builder from a config.
        pooler: name of the encoder's pooler in a checkpoint, None without one.
        heads: names of a classifier's layers there; an empty one is that of the encoder's pooler.
        keys: key of each argument in a config, by which networks are exported; None for those that are not.
    """
    maps = []
    for start in (f"{network}.", ""):
        rows = (
            *embedding_rows(f"{start}embeddings"),
            ("embedding_project", f"{start}{PROJECTION.get(network, '')}"),
            *blocks(start),
        )
        own = () if pooler is None else (("pooler", f"{start}{pooler}"),)
        models = dict.fromkeys((f"{kind}Model", f"{kind}ForPreTraining", f"{kind}ForMaskedLM"), encoder)
        body = re.escape(start) + r"(embeddings|encoder|transformer)\."
        unread = {"whole": True, "unread": rf"(?!{body}).*|.*\.position_ids"}  # no block is left out
        form = {"prefix": f"{start}embeddings", "arguments": arguments, "renamed": OLD_NORMS, **unread}
        bare = {} if start or keys is None else {"config": encoder_configs(keys, network, f"{kind}Model")}
        maps.append(PeerMap(**form, rows=(*rows, *own), network=network, models=models, **bare))
        maps.append(_filler(network, f"{kind}ForMaskedLM", keys if start else None, form, rows, body))
        for task, layers in {"classifier": heads, **HEADS}.items():
            last = tuple((name, theirs or f"{start}{pooler}") for name, theirs in layers.items())
            models = {f"{kind}For{CLASSES[task]}": f"{encoder.partition('_')[0]}_{task}"}
            named = {"network": f"{network}_{task}", "fresh": "pooler|head", "models": models}
            if task != "answerer":
                named["arguments"] = _with_classes(arguments)
            if keys is not None and start:
                named["config"] = encoder_configs(keys, network, f"{kind}For{CLASSES[task]}")
            maps.append(PeerMap(**{**form, **named}, rows=(*rows, *last)))
    return tuple(maps)


def _filler(
    network: str, kind: str, keys: Mapping[str, str] | None, form: Mapping[str, Any], rows: tuple, body: str
) -> PeerMap:
    """Returns the map of the masked language model over an encoder, whose logits are by the embedding alone."""
    head = rf"(cls\.)?{FILLERS[network][0][1].removeprefix('cls.').split('.')[0].split('_')[0]}"
    own = {"network": f"{network}_masked_lm", "renamed": (*OLD_NORMS, *TIED)}
    own["unread"] = rf"(?!{body}|{head}).*|.*\.position_ids"  # a table of the logits must be the embedding
    if keys is not None:
        own |= {"builder": f"{network}_masked_lm", "config": encoder_configs(keys, network, kind)}
    return PeerMap(**{**form, "rows": (*rows, *FILLERS[network]), **own})


def _with_classes(arguments: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Callable:
    """Returns a function that reads the number of classes from a config too; transformers leaves out two."""

    def arguments_of(config: Mapping[str, Any]) -> dict[str, Any]:
        names = config.get("id2label") or {0: "", 1: ""}
        if not isinstance(names, Mapping):
            checks.refuse("id2label of config.json must name the classes by their numbers", names)
        return {**arguments(config), "classes": len(names)}

    return arguments_of


def _roberta_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    refuse_other(config, "type_vocab_size", (1,))
    sizes = sizes_of(config)
    sizes.pop("segment_ids", None)
    if isinstance(sizes.get("positions"), int):
        sizes["positions"] -= sizes.get("padding_id", 1) + 1  # rows that no place takes
    return sizes


def _distilbert_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    return sizes_of(config, **DISTILBERT_OWN)


def _electra_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    if config.get("embedding_size") == config.get("hidden_size"):
        checks.refuse("embeddings of ELECTRA must be narrower than its blocks, as in small", config.get("hidden_size"))
    return sizes_of(config, embedding="embedding_size")


def _albert_sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    for key in ("num_hidden_groups", "inner_group_num"):
        refuse_other(config, key, (1,))
    return sizes_of(config, embedding="embedding_size")


BERT = _maps("bert", "bert_base", "Bert", _bert_rows, sizes_of, keys=BERT_KEYS)
ROBERTA = _maps(
    *("roberta", "roberta_base", "Roberta", _bert_rows, _roberta_sizes),
    heads={"pooler": "classifier.dense", "head": "classifier.out_proj"},
    keys=BERT_KEYS,
)
ELECTRA = _maps(
    *("electra", "electra_small", "Electra", _bert_rows, _electra_sizes),
    pooler=None,
    heads={"pooler": "classifier.dense", "head": "classifier.out_proj"},
)
DISTILBERT = _maps(
    *("distilbert", "distilbert_base", "DistilBert", _distilbert_rows, _distilbert_sizes),
    pooler=None,
    heads={"pooler": "pre_classifier", "head": "classifier"},
    keys={**BERT_KEYS, **DISTILBERT_OWN},
)
ALBERT = _maps(
    *("albert", "albert_base", "Albert", lambda start: _albert_rows(start, ALBERT_BLOCK), _albert_sizes),
    pooler="pooler",
)
