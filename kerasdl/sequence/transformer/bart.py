"""BART: encoder and decoder that restore a text from a damaged one (https://arxiv.org/abs/1910.13461).

Its padding is 1 in the published weights; they write with 2 as start and end token, and many of them with 0 behind the
start. Tables of positions have two rows in front that no position takes.

Deviations: attention weights are not dropped in training; no constant is added to the logits: Hugging Face keeps one,
`final_logits_bias`, which is 0 in the published weights and which an import refuses where it is not.
"""

import keras
from keras import layers

from kerasdl.blocks import decoder_block, encoder_block, sequence_norm
from kerasdl.core import checks, register
from kerasdl.layers import LearnedPositions, PaddingMask

from .vaswani import EXPORTS, check_sizes

EPSILON = 1e-5
BEFORE = 2  # rows of the tables of positions in front of position 0


@register(
    task="sequence_to_sequence",
    paper="https://arxiv.org/abs/1910.13461",
    variants={
        "bart_base": {},
        "bart_large": {"vocabulary": 50_265, "width": 1024, "depth": 12, "heads": 16, "hidden": 4096},
    },
    params={"bart_base": 139_420_416, "bart_large": 406_291_456},
    reference="BartModel of transformers; summed in tests/sequence/transformer/test_encoder_decoders.py",
    qat="partial",
    exports=EXPORTS,
    tags=("transformer",),
    weights={"hugging-face": "kerasdl.sequence.transformer.seq2seq_peers:BART"},
    free={"length": None, "target_length": None},
    tiny=dict(length=7, target_length=5, positions=16, vocabulary=20, width=32, depth=1, heads=2, hidden=64),
)
def bart(
    length: int | None = 1024,
    *,
    target_length: int | None = 1024,
    positions: int = 1024,
    vocabulary: int = 50_265,
    padding: int = 1,
    width: int = 768,
    depth: int = 6,
    heads: int = 12,
    hidden: int = 3072,
    dropout: float = 0.1,
) -> keras.Model:
    """BART, an encoder and a decoder trained to restore damaged texts, for summaries and translation.

    Source: https://arxiv.org/abs/1910.13461, section 2.1.

    Args:
        length: tokens of a padded source, or None for any up to `positions`; exports to TFLite want it known.
        target_length: tokens of a padded target, or None for any up to `positions`.
        positions: the longest sequence.
        vocabulary: ids run from 0 to `vocabulary - 1`.
        padding: id of the padding: 1 in the published weights, 0 with tokenizers of this library.
        width: D, of the tokens, a multiple of `heads`.
        depth: blocks of the encoder, and of the decoder.
        heads: attention heads of each.
        hidden: width of the perceptrons' hidden layer.
        dropout: rate of embeddings and of each branch, from 0 to 1.

    Returns:
        A model from `{"source": (B, S), "target": (B, T)}` in int32, the target shifted by its start token, to logits
        of the next tokens (B, T, vocabulary) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("bart_base", length=30, target_length=11, vocabulary=60, depth=1).output_shape
        (None, 11, 60)
    """
    check_sizes(vocabulary=vocabulary, width=width, depth=depth, heads=heads, hidden=hidden)
    checks.within("padding", padding, 0, vocabulary - 1)
    checks.within("dropout", dropout, 0.0, 1.0)
    source = keras.Input((length,), dtype="int32", name="source")
    target = keras.Input((target_length,), dtype="int32", name="target")
    spread = keras.initializers.TruncatedNormal(stddev=0.02)
    shared = layers.ReversibleEmbedding(
        vocabulary, width, embeddings_initializer=spread, reverse_dtype="float32", name="embedding"
    )

    def embedded(tokens, part: str):
        x = LearnedPositions(positions, BEFORE, name=f"{part}_positions")(shared(tokens))  # (B, T, D)
        x = sequence_norm(x, epsilon=EPSILON, name=f"{part}_norm")
        return layers.Dropout(dropout, name=f"{part}_drop")(x)

    form = dict(hidden=hidden, epsilon=EPSILON, activation="gelu", dropout=dropout)
    mask = PaddingMask(padding, name="source_mask")(source)
    memory, x = embedded(source, "source"), embedded(target, "target")
    for block in range(1, depth + 1):
        memory = encoder_block(memory, heads, key_mask=mask, **form, name=f"encoder{block}")
    for block in range(1, depth + 1):
        x = decoder_block(x, memory, heads, memory_mask=mask, **form, name=f"decoder{block}")
    return keras.Model({"source": source, "target": target}, shared(x, reverse=True), name="bart")
