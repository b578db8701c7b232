"""The first transformer: an encoder and a decoder of attention alone (https://arxiv.org/abs/1706.03762).

Deviations: attention weights are not dropped in training. The counts, 63,082,496 and 214,245,376, are derived from
table 3 and about 37,000 shared pieces. The paper says 65 and 213 million, which would need about 40,700 and 35,800
pieces: no one vocabulary gives both.
"""

import keras
from keras import layers

from kerasdl.blocks import decoder_block, encoder_block
from kerasdl.core import checks, register
from kerasdl.layers import PaddingMask, PositionalEncoding

EXPORTS = {
    "int16x8": "scores in 16 bits have no room beside the -1e9 of hidden places, and drift by most of the outputs"
}


@register(
    task="sequence_to_sequence",
    paper="https://arxiv.org/abs/1706.03762",
    variants={"transformer_base": {}, "transformer_big": {"width": 1024, "heads": 16, "hidden": 4096, "dropout": 0.3}},
    params={"transformer_base": 63_082_496, "transformer_big": 214_245_376},
    reference="table 3 with 37,000 pieces, summed in tests/sequence/transformer/test_encoder_decoders.py",
    qat="partial",
    exports=EXPORTS,
    tags=("transformer",),
    free={"length": None, "target_length": None},
    tiny=dict(length=7, target_length=5, vocabulary=20, width=32, depth=1, heads=2, hidden=64),
)
def transformer(
    length: int | None = 64,
    *,
    target_length: int | None = 64,
    vocabulary: int = 37_000,
    width: int = 512,
    depth: int = 6,
    heads: int = 8,
    hidden: int = 2048,
    dropout: float = 0.1,
) -> keras.Model:
    """Encoder and decoder of attention that share their embeddings with the last layer, for translation.

    Source: https://arxiv.org/abs/1706.03762, sections 3.1 to 3.5 and table 3.

    Args:
        length: tokens of a padded source, or None for any; exports to TFLite want it known.
        target_length: tokens of a padded target, or None for any.
        vocabulary: ids of both languages run from 0, the padding, to `vocabulary - 1`.
        width: D, of the tokens; even, and a multiple of `heads`.
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
        >>> kerasdl.build("transformer_base", length=30, target_length=11, vocabulary=60, depth=1).output_shape
        (None, 11, 60)
    """
    check_sizes(vocabulary=vocabulary, width=width, depth=depth, heads=heads, hidden=hidden)
    checks.within("dropout", dropout, 0.0, 1.0)
    source = keras.Input((length,), dtype="int32", name="source")
    target = keras.Input((target_length,), dtype="int32", name="target")
    spread = keras.initializers.RandomNormal(stddev=width**-0.5)
    shared = layers.ReversibleEmbedding(
        vocabulary, width, embeddings_initializer=spread, reverse_dtype="float32", name="embedding"
    )

    def embedded(tokens, part: str):
        x = layers.Rescaling(width**0.5, name=f"{part}_scale")(shared(tokens))  # (B, T, D)
        x = PositionalEncoding(name=f"{part}_positions")(x)
        return layers.Dropout(dropout, name=f"{part}_drop")(x)

    form = dict(hidden=hidden, dropout=dropout)
    mask = PaddingMask(name="source_mask")(source)
    memory, x = embedded(source, "source"), embedded(target, "target")
    for block in range(1, depth + 1):
        memory = encoder_block(memory, heads, key_mask=mask, **form, name=f"encoder{block}")
    for block in range(1, depth + 1):
        x = decoder_block(x, memory, heads, memory_mask=mask, **form, name=f"decoder{block}")
    return keras.Model({"source": source, "target": target}, shared(x, reverse=True), name="transformer")


def check_sizes(**sizes: int) -> None:
    """Checks the sizes of an encoder and a decoder; raises `ArgumentError`."""
    for name, value in sizes.items():
        checks.at_least(name, value, 2 if name == "vocabulary" else 1)
