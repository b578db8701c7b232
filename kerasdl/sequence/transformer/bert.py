"""BERT: a transformer encoder that reads a text in both directions (https://arxiv.org/abs/1810.04805).

Named variants are the sizes of Turc et al. (https://arxiv.org/abs/1908.08962) and the encoder of MiniLM
(https://arxiv.org/abs/2002.10957) with six layers, on which sentence encoders stand.

Deviations: attention weights are not dropped in training. The heads of pretraining stand in files of their own.
"""

import keras
from keras import layers

from kerasdl.blocks import encoder_block, sequence_norm
from kerasdl.core import checks, register
from kerasdl.layers import FirstToken, LearnedPositions, LearnedVector, PaddingMask

# Table 1 of Turc et al.; D, blocks, heads, D of the hidden layer. BERT's own sizes are base and large.
SIZES = {
    "bert_tiny": {"width": 128, "depth": 2, "heads": 2, "hidden": 512},
    "bert_mini": {"width": 256, "depth": 4, "heads": 4, "hidden": 1024},
    "bert_small": {"width": 512, "depth": 4, "heads": 8, "hidden": 2048},
    "bert_medium": {"width": 512, "depth": 8, "heads": 8, "hidden": 2048},
    "bert_base": {"width": 768, "depth": 12, "heads": 12, "hidden": 3072},
    "bert_large": {"width": 1024, "depth": 24, "heads": 16, "hidden": 4096},
    "minilm_l6": {"width": 384, "depth": 6, "heads": 12, "hidden": 1536},
}

EXPORTS = {
    "int16x8": "scores in 16 bits have no room beside the -1e9 of hidden places, and drift by half of the outputs"
}


def bert_features(
    tokens,
    segments=None,
    *,
    vocabulary: int = 30_522,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    hidden: int = 3072,
    positions: int = 512,
    first_position: int = 0,
    segment_ids: int = 0,
    embedding: int | None = None,
    activation: str = "gelu",
    epsilon: float = 1e-12,
    dropout: float = 0.1,
    padding_id: int = 0,
    table: layers.Embedding | None = None,
    prefix: str = "",
):
    """Embeddings and encoder of BERT; without segments and with other positions also of its successors.

    Source: https://arxiv.org/abs/1810.04805, section 3 and figure 2.

    Args:
        tokens: (B, T) token ids.
        segments: (B, T) ids of the text that a token belongs to, 0 or 1; None for nets without this input.
        vocabulary: token ids run from 0 to `vocabulary - 1`.
        width: D of the blocks, a multiple of `heads`.
        depth: encoder blocks.
        heads: attention heads of each.
        hidden: width of the hidden layer of each perceptron.
        positions: the longest text in tokens.
        first_position: rows of the table of positions before that of place 0; RoBERTa has 2.
        segment_ids: ids of segments; without segments 1 adds one vector to all tokens, as in RoBERTa, and 0 none.
        embedding: width of the embeddings, projected to D if it is another (https://arxiv.org/abs/2003.10555,
            section 3.2); None takes D.
        activation: of the perceptrons: a Keras name, or `gelu_tanh`.
        epsilon: epsilon of the norms.
        dropout: rate after the embeddings and in each block, from 0 to 1.
        padding_id: token id of the padding, which no token sees.
        table: layer of the tokens' vectors, which a tied head shares; None makes one.
        prefix: beginning of every layer name.

    Returns:
        (B, T, D), normalised.

    Example:
        >>> bert_features(keras.Input((20,), dtype="int32"), width=64, depth=2, heads=2, hidden=256).shape
        (None, 20, 64)
    """
    checks.at_least("depth", depth, 1)
    x = embedded(
        tokens,
        segments,
        vocabulary=vocabulary,
        width=width if embedding is None else embedding,
        positions=positions,
        first_position=first_position,
        segment_ids=segment_ids,
        epsilon=epsilon,
        dropout=dropout,
        table=table,
        prefix=prefix,
    )
    if x.shape[-1] != width:
        x = layers.Dense(width, name=f"{prefix}embedding_project")(x)  # (B, T, D)
    mask = PaddingMask(padding_id, name=f"{prefix}mask")(tokens)
    form = dict(hidden=hidden, activation=activation, epsilon=epsilon, dropout=dropout, key_mask=mask)
    for block in range(1, depth + 1):
        x = encoder_block(x, heads, **form, name=f"{prefix}block{block}")
    return x


def embedded(
    tokens,
    segments,
    *,
    vocabulary: int,
    width: int,
    positions: int,
    first_position: int,
    segment_ids: int,
    epsilon: float,
    dropout: float,
    table: layers.Embedding | None = None,
    prefix: str,
):
    """Returns the normalised sum (B, T, width) of vectors of tokens, segments and positions; see `bert_features`."""
    checks.within("dropout", dropout, 0.0, 1.0)
    if segments is None:
        checks.within("segment_ids", segment_ids, 0, 1, "Nets with more have the input segments.")
    table = table or layers.Embedding(vocabulary, width, name=f"{prefix}embedding")
    x = table(tokens)  # (B, T, width)
    if segments is not None:
        kind = layers.Embedding(segment_ids, width, name=f"{prefix}segment_embedding")(segments)
        x = layers.Add(name=f"{prefix}embedding_add")([x, kind])
    elif segment_ids:
        x = LearnedVector(name=f"{prefix}segment_embedding")(x)
    x = LearnedPositions(positions, first_position, name=f"{prefix}position")(x)
    x = sequence_norm(x, epsilon=epsilon, name=f"{prefix}embedding_norm")
    return layers.Dropout(dropout, name=f"{prefix}embedding_drop")(x)


def pooled(x, *, activation: str = "tanh", prefix: str = ""):
    """Returns the first token (B, D) of hidden states (B, T, D) through a dense layer, as BERT reads `[CLS]`."""
    x = FirstToken(name=f"{prefix}first_token")(x)
    return layers.Dense(x.shape[-1], activation=activation, dtype="float32", name=f"{prefix}pooler")(x)


def text_inputs(length: int | None, *, segments: bool = True) -> dict:
    """Returns the inputs of an encoder, `tokens` and `segments` (B, length) int32."""
    names = ("tokens", "segments") if segments else ("tokens",)
    return {name: keras.Input((length,), dtype="int32", name=name) for name in names}


def encoder_model(inputs: dict, x, *, pooler: bool, name: str) -> keras.Model:
    """Returns the model from inputs to hidden states (B, T, D) and, with a pooler, its vector (B, D), in float32."""
    states = layers.Identity(dtype="float32", name="hidden_states")(x)
    outputs = {"hidden_states": states, "pooled": pooled(x)} if pooler else states
    return keras.Model(inputs if len(inputs) > 1 else inputs["tokens"], outputs, name=name)


@register(
    task="text_encoding",
    paper="https://arxiv.org/abs/1810.04805",
    variants=SIZES,
    params={
        "bert_tiny": 4_385_920,
        "bert_mini": 11_170_560,
        "bert_small": 28_763_648,
        "bert_medium": 41_373_184,
        "bert_base": 109_482_240,
        "bert_large": 335_141_888,
        "minilm_l6": 22_713_216,
    },
    reference="BertModel of transformers; summed from the paper's sizes in tests/sequence/transformer/test_encoders.py",
    qat="partial",
    exports=EXPORTS,
    tags=("transformer",),
    weights={"hugging-face": "kerasdl.sequence.transformer.encoder_peers:BERT"},
    free={"length": None},
    tiny=dict(length=8, vocabulary=60, width=32, depth=2, heads=2, hidden=64, positions=16, dropout=0.0),
)
def bert(
    length: int | None = 128,
    *,
    vocabulary: int = 30_522,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    hidden: int = 3072,
    positions: int = 512,
    segment_ids: int = 2,
    activation: str = "gelu",
    epsilon: float = 1e-12,
    dropout: float = 0.1,
    padding_id: int = 0,
    pooler: bool = True,
) -> keras.Model:
    """BERT, the text encoder whose tokens see those before and behind.

    Source: https://arxiv.org/abs/1810.04805, section 3; sizes: https://arxiv.org/abs/1908.08962, table 1.

    Args:
        length: T, tokens in a padded text, or None for any up to `positions`; exports to TFLite want it known.
        vocabulary: token ids run from 0 to `vocabulary - 1`.
        width: D, a multiple of `heads`.
        depth: encoder blocks.
        heads: attention heads of each.
        hidden: width of the hidden layer of each perceptron.
        positions: the longest text in tokens.
        segment_ids: ids of segments.
        activation: of the perceptrons: a Keras name, or `gelu_tanh`.
        epsilon: epsilon of the norms.
        dropout: rate after the embeddings and in each block, from 0 to 1.
        padding_id: token id of the padding, which no token sees.
        pooler: whether the vector of the first token comes too.

    Returns:
        A model from `{"tokens", "segments"}`, each (B, T) int32, to `{"hidden_states": (B, T, D), "pooled": (B, D)}` in
        float32; without pooler to hidden states alone.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("bert_tiny", length=16).output["pooled"].shape
        (None, 128)
    """
    inputs = text_inputs(length)
    x = bert_features(
        **inputs,
        segment_ids=segment_ids,
        vocabulary=vocabulary,
        width=width,
        depth=depth,
        heads=heads,
        hidden=hidden,
        positions=positions,
        activation=activation,
        epsilon=epsilon,
        dropout=dropout,
        padding_id=padding_id,
    )
    return encoder_model(inputs, x, pooler=pooler, name="bert")
