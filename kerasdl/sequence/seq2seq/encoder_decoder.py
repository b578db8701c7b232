"""Recurrent encoder and decoder with attention, for translation (https://arxiv.org/abs/1409.0473).

Deviations: the decoder attends with its state after a step, as Luong's does (https://arxiv.org/abs/1508.04025, section
3), and not before it, so that all steps of a batch are computed at once; this holds for Bahdanau's score too. The
context joins the state in one tanh layer, without maxout, and is not fed to the next step. GRU resets after the matrix
product.
"""

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers

from kerasdl.core import checks, register
from kerasdl.layers import BahdanauAttention, LuongAttention, PaddingMask

from .pairs import PADDING

CELLS = {"gru": layers.GRU, "lstm": layers.LSTM}
STATES = {"gru": ("hidden",), "lstm": ("hidden", "cell")}
ATTENTIONS = ("bahdanau", "luong", None)


def encode(parts: Mapping[str, keras.Layer], source: Any) -> dict[str, Any]:
    """Encoder: a bidirectional recurrent layer over the source, and the first state of the decoder.

    Source: https://arxiv.org/abs/1409.0473, appendix A.2.1.

    Args:
        parts: layers by name, of one network.
        source: token ids (B, S), 0 for padding.

    Returns:
        The decoder's `hidden` (B, U) and, of an LSTM, `cell` (B, U); with attention also `memory` (B, S, 2U).
    """
    x = parts["source_embedding"](source)  # (B, S, D)
    memory, *ends = parts["encoder"](x, mask=parts["source_mask"](source))  # (B, S, 2U), (B, U) each
    names, half = states_of(parts), len(ends) // 2
    encoded = {}
    for place, name in enumerate(names):  # of each direction, first those that read forward
        both = parts[f"join_{name}"]([ends[place], ends[half + place]])
        encoded[name] = parts[f"start_{name}"](both)
    return {**encoded, "memory": memory} if "attention" in parts else encoded


def decode(
    parts: Mapping[str, keras.Layer], target: Any, source: Any, encoded: Mapping[str, Any]
) -> tuple[Any, dict[str, Any], Any]:
    """Decoder: logits of the next token after each token of the target, from the state in `encoded`.

    Args:
        parts: layers by name, of one network.
        target: tokens so far (B, T), the start token first; one token at a time with the state of the last call.
        source: the source (B, S), whose padding is not attended.
        encoded: memory and state, as `encode` or the last call gives them.

    Returns:
        Logits (B, T, K), the next state by name, and the attention (B, T, S), None without it.
    """
    names = states_of(parts)
    x = parts["target_embedding"](target)  # (B, T, D)
    start = [encoded[name] for name in names]
    x, *ends = parts["decoder"](x, initial_state=start if len(start) > 1 else start[0])  # (B, T, U)
    alignment = None
    if "attention" in parts:
        mask = parts["source_mask"](source)
        context, alignment = parts["attention"]([x, encoded["memory"]], mask=[None, mask], return_attention_scores=True)
        x = parts["attended"](parts["join_context"]([context, x]))  # (B, T, U)
    return parts["head"](parts["drop"](x)), dict(zip(names, ends, strict=True)), alignment


def states_of(parts: Mapping[str, keras.Layer]) -> tuple[str, ...]:
    """Returns the names of the states of a decoder: `hidden`, and `cell` of an LSTM."""
    return STATES["lstm" if isinstance(parts["decoder"], layers.LSTM) else "gru"]


def parts_of(network: keras.Model) -> dict[str, keras.Layer]:
    """Returns the layers of a network of this file by name.

    Raises:
        ArgumentError: it is another network.
    """
    parts = {layer.name: layer for layer in network.layers}
    wanted = ("source_mask", "source_embedding", "encoder", "target_embedding", "decoder", "drop", "head")
    if missing := [name for name in wanted if name not in parts]:
        rule = "the network must be an encoder and a decoder of kerasdl.sequence"
        checks.refuse(rule, f"{network.name!r} without {missing[0]!r}", "Build it by kerasdl.build('seq2seq').")
    return parts


def is_recurrent(network: keras.Model) -> bool:
    """Returns whether a network is of this file; others are transformers.

    Raises:
        ArgumentError: it does not take a source and a target.
    """
    shapes = {tensor.name: len(tensor.shape) for tensor in network.inputs}
    if shapes != {"source": 2, "target": 2} or len(network.outputs) != 1 or len(network.outputs[0].shape) != 3:
        rule = "the network must take token ids {'source', 'target'} and give logits (B, T, K)"
        checks.refuse(rule, f"{network.name!r} of {shapes}", "Build it by kerasdl.build('seq2seq').")
    return any(isinstance(layer, layers.RNN) for layer in network.layers)


def vocabularies_of(network: keras.Model) -> dict[str, int]:
    """Returns how many ids the embedding of each input takes, by the layer's name.

    Raises:
        ArgumentError: an input goes to no embedding.
    """
    found = {}
    for tensor in network.inputs:
        readers = [each for each in network.operations if isinstance(each, layers.Embedding) and _reads(each, tensor)]
        if not readers:
            checks.refuse("each input of the network must go to an embedding", tensor.name)
        found |= {each.name: each.input_dim for each in readers}
    return found


def padding_of(network: keras.Model) -> int:
    """Returns the id of the padding, which the mask of the source knows; 0 without one."""
    return next((each.padding_id for each in network.layers if isinstance(each, PaddingMask)), PADDING)


def _reads(layer: keras.Layer, tensor: Any) -> bool:
    return any(
        tensor is each for node in layer._inbound_nodes for each in node.input_tensors
    )  # no public name in Keras


def lengths_of(network: keras.Model) -> tuple[int | None, int | None]:
    """Returns the tokens of a source and of a target that a network takes; None where any."""
    inputs = {tensor.name: tensor for tensor in network.inputs}
    return inputs["source"].shape[1], inputs["target"].shape[1]


SHARED = dict(
    task="sequence_to_sequence",
    paper="https://arxiv.org/abs/1409.0473",
    reference="the equations of cells and attention, summed in tests/sequence/test_encoder_decoder.py",
    qat="partial",
    tags=("recurrent",),
    free={"length": None, "target_length": None},
    tiny=dict(length=7, target_length=5, vocabulary=20, embedding=8, units=12),
)


@register(
    variants={"seq2seq": {}, "seq2seq_lstm": {"cell": "lstm"}},
    params={"seq2seq": 7_861_056, "seq2seq_lstm": 8_384_064},
    **SHARED,
)
@register(
    variants={"seq2seq_luong": {"attention": "luong"}, "seq2seq_no_attention": {"attention": None}},
    params={"seq2seq_luong": 7_795_264, "seq2seq_no_attention": 7_467_584},
    **SHARED,
)
def encoder_decoder(
    length: int | None = 64,
    *,
    target_length: int | None = 64,
    vocabulary: int = 8000,
    target_vocabulary: int | None = None,
    cell: str = "gru",
    attention: str | None = "bahdanau",
    embedding: int = 256,
    units: int = 256,
    dropout: float = 0.0,
) -> keras.Model:
    """Bidirectional encoder, and a decoder that attends to its states while it writes token after token.

    Source: https://arxiv.org/abs/1409.0473, section 3; https://arxiv.org/abs/1508.04025, section 3.1 (`luong`, with the
    score `general`); https://arxiv.org/abs/1406.1078, section 2.2, of nets without attention.

    Args:
        length: tokens of a padded source, or None for any; exports to TFLite want it known.
        target_length: tokens of a padded target, or None for any.
        vocabulary: ids of source tokens run from 0, the padding, to `vocabulary - 1`.
        target_vocabulary: the same of the target; None takes `vocabulary`.
        cell: `gru` or `lstm`.
        attention: `bahdanau`, `luong`, or None: the decoder then sees the last states of the encoder alone.
        embedding: width of the token vectors.
        units: of the decoder, of each direction of the encoder, and of the attention.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from `{"source": (B, S), "target": (B, T)}` in int32, the target shifted by its start token, to logits
        of the next tokens (B, T, target_vocabulary) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("seq2seq", length=30, target_length=11, vocabulary=60).output_shape
        (None, 11, 60)
    """
    make, kind = CELLS[checks.one_of("cell", cell, CELLS)], checks.one_of("attention", attention, ATTENTIONS)
    target_vocabulary = vocabulary if target_vocabulary is None else target_vocabulary
    for name, value in {"vocabulary": vocabulary, "target_vocabulary": target_vocabulary}.items():
        checks.at_least(name, value, 2)
    checks.within("dropout", dropout, 0.0, 1.0)
    recurrent = make(units, return_sequences=True, return_state=True, name=cell)
    made = [
        PaddingMask(name="source_mask"),
        layers.Embedding(vocabulary, embedding, name="source_embedding"),
        layers.Bidirectional(recurrent, name="encoder"),
        layers.Embedding(target_vocabulary, embedding, name="target_embedding"),
        make(units, return_sequences=True, return_state=True, name="decoder"),
        layers.Dropout(dropout, name="drop"),
        layers.Dense(target_vocabulary, dtype="float32", name="head"),
    ]
    for name in STATES[cell]:
        made.append(layers.Concatenate(name=f"join_{name}"))
        made.append(layers.Dense(units, "tanh" if name == "hidden" else None, name=f"start_{name}"))
    if kind is not None:
        made.append(
            BahdanauAttention(units, name="attention") if kind == "bahdanau" else LuongAttention(name="attention")
        )
        made.append(layers.Concatenate(name="join_context"))
        made.append(layers.Dense(units, "tanh", use_bias=False, name="attended"))
    parts = {layer.name: layer for layer in made}
    source = keras.Input((length,), dtype="int32", name="source")
    target = keras.Input((target_length,), dtype="int32", name="target")
    logits, _, _ = decode(parts, target, source, encode(parts, source))
    return keras.Model({"source": source, "target": target}, logits, name="encoder_decoder")
