"""T5: encoder and decoder that write every answer as a text (https://arxiv.org/abs/1910.10683).

Norms are of the root mean square and stand before each branch; no layer has a bias. The biases of the scores by
distance are learned once for all blocks of the encoder, and once for those of the decoder. The published weights
write with 0, the padding, as start token and 1 as end token.

Deviations: attention weights are not dropped in training, and dense layers start as Keras's do, without the factors of
the authors' code; fine-tuning published weights is the use it is made for.
"""

import keras
from keras import layers

from kerasdl.blocks import decoder_block, encoder_block, sequence_norm
from kerasdl.core import checks, register
from kerasdl.layers import PaddingMask, RelativePositionBias

from .vaswani import EXPORTS, check_sizes

# The paper's section 3.1.2 and appendix; version 1.1 has gates and a last layer of its own.
SMALL = {"width": 512, "depth": 6, "heads": 8, "hidden": 2048}
BASE = {"width": 768, "depth": 12, "heads": 12, "hidden": 3072}
V1_1 = {"activation": "gelu_tanh", "gated": True, "tied": False}
BASE_V1_1 = {**BASE, "hidden": 2048, **V1_1}
FORM = {"norm": "before", "normalisation": "rms", "epsilon": 1e-6, "use_bias": False, "scale": 1.0}


@register(
    task="sequence_to_sequence",
    paper="https://arxiv.org/abs/1910.10683",
    variants={"t5_small": SMALL, "t5_base": BASE, "t5_base_v1_1": BASE_V1_1},
    params={"t5_small": 60_506_624, "t5_base": 222_903_552, "t5_base_v1_1": 247_577_856},
    reference="T5ForConditionalGeneration of transformers; summed in "
    "tests/sequence/transformer/test_encoder_decoders.py",
    qat="partial",
    exports=EXPORTS,
    tags=("transformer",),
    weights={"hugging-face": "kerasdl.sequence.transformer.seq2seq_peers:T5"},
    free={"length": None, "target_length": None},
    tiny=dict(length=7, target_length=5, vocabulary=20, width=24, depth=1, heads=2, size=8, hidden=24),
)
def t5(
    length: int | None = 512,
    *,
    target_length: int | None = 512,
    vocabulary: int = 32_128,
    width: int = 512,
    depth: int = 6,
    heads: int = 8,
    size: int = 64,
    hidden: int = 2048,
    activation: str = "relu",
    gated: bool = False,
    tied: bool = True,
    dropout: float = 0.1,
) -> keras.Model:
    """T5, an encoder and a decoder with learned biases by distance, for any task from text to text.

    Source: https://arxiv.org/abs/1910.10683, section 2.1; version 1.1: https://arxiv.org/abs/2002.05202.

    Args:
        length: tokens of a padded source, or None for any; exports to TFLite want it known.
        target_length: tokens of a padded target, or None for any.
        vocabulary: ids run from 0, the padding, to `vocabulary - 1`.
        width: D, of the tokens.
        depth: blocks of the encoder, and of the decoder.
        heads: attention heads of each.
        size: H, width of a head.
        hidden: width of the perceptrons' hidden layer.
        activation: of the perceptrons: a Keras name, or `gelu_tanh`.
        gated: whether the perceptrons are gated, as in version 1.1.
        tied: whether the embedding, over sqrt(D), is the last layer too; version 1.1 has a layer of its own.
        dropout: rate of embeddings, of each branch and before the last layer, from 0 to 1.

    Returns:
        A model from `{"source": (B, S), "target": (B, T)}` in int32, the target shifted by its start token, to logits
        of the next tokens (B, T, vocabulary) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("t5_small", length=30, target_length=11, vocabulary=60, depth=1).output_shape
        (None, 11, 60)
    """
    check_sizes(vocabulary=vocabulary, width=width, depth=depth, heads=heads, size=size, hidden=hidden)
    checks.within("dropout", dropout, 0.0, 1.0)
    source = keras.Input((length,), dtype="int32", name="source")
    target = keras.Input((target_length,), dtype="int32", name="target")
    spread = keras.initializers.RandomNormal(stddev=1.0)
    shared = layers.ReversibleEmbedding(
        vocabulary, width, embeddings_initializer=spread, reverse_dtype="float32", name="embedding"
    )
    mask = PaddingMask(name="source_mask")(source)
    memory = layers.Dropout(dropout, name="source_drop")(shared(source))  # (B, S, D)
    x = layers.Dropout(dropout, name="target_drop")(shared(target))  # (B, T, D)
    form = dict(**FORM, size=size, hidden=hidden, activation=activation, gated=gated, dropout=dropout)
    bias = RelativePositionBias(heads, name="encoder_bias")(memory)  # (1, N, S, S)
    for block in range(1, depth + 1):
        memory = encoder_block(memory, heads, key_mask=mask, bias=bias, **form, name=f"encoder{block}")
    memory = _ended(memory, "encoder", dropout)
    bias = RelativePositionBias(heads, bidirectional=False, name="decoder_bias")(x)  # (1, N, T, T)
    for block in range(1, depth + 1):
        x = decoder_block(x, memory, heads, memory_mask=mask, bias=bias, **form, name=f"decoder{block}")
    x = _ended(x, "decoder", dropout)
    if tied:
        logits = shared(layers.Rescaling(width**-0.5, name="decoder_scale")(x), reverse=True)
    else:
        logits = layers.Dense(vocabulary, use_bias=False, dtype="float32", name="head")(x)
    return keras.Model({"source": source, "target": target}, logits, name="t5")


def _ended(x, part: str, dropout: float):
    """Returns the norm and the dropout behind the last block of a half."""
    x = sequence_norm(x, normalisation="rms", epsilon=FORM["epsilon"], name=f"{part}_norm")
    return layers.Dropout(dropout, name=f"{part}_drop")(x)
