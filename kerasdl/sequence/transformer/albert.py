"""ALBERT: one encoder block, run again and again, behind narrow embeddings (https://arxiv.org/abs/1909.11942).

Deviations: attention weights are not dropped in training. The paper's `base` of version 2 is meant, without dropout.
"""

import keras
from keras import layers

from kerasdl.blocks import encoder_block
from kerasdl.core import checks, register
from kerasdl.core.keras_graph import replay
from kerasdl.layers import PaddingMask

from .bert import EXPORTS, embedded, encoder_model, text_inputs

ALBERT = {
    **{"vocabulary": 30_000, "embedding": 128, "width": 768, "depth": 12, "heads": 12, "hidden": 3072},
    **{"positions": 512, "segment_ids": 2},
}


def albert_features(
    tokens,
    segments,
    *,
    vocabulary: int = 30_000,
    embedding: int = 128,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    hidden: int = 3072,
    positions: int = 512,
    segment_ids: int = 2,
    activation: str = "gelu_tanh",
    epsilon: float = 1e-12,
    dropout: float = 0.0,
    padding_id: int = 0,
    table: layers.Embedding | None = None,
    prefix: str = "",
):
    """Embeddings of ALBERT, their projection, and one encoder block that runs `depth` times.

    Source: https://arxiv.org/abs/1909.11942, section 3.1.

    Args:
        tokens: (B, T) token ids.
        segments: (B, T) ids of the text that a token belongs to, 0 or 1.
        vocabulary: token ids run from 0 to `vocabulary - 1`.
        embedding: width of the embeddings.
        width: D of the block, a multiple of `heads`.
        depth: runs of the block.
        heads: its attention heads.
        hidden: width of the hidden layer of its perceptron.
        positions: the longest text in tokens.
        segment_ids: ids of segments.
        activation: of the perceptron: a Keras name, or `gelu_tanh`.
        epsilon: epsilon of the norms.
        dropout: rate after the embeddings and in the block, from 0 to 1.
        padding_id: token id of the padding, which no token sees.
        table: layer of the tokens' vectors, which a tied head shares; None makes one.
        prefix: beginning of every layer name.

    Returns:
        (B, T, D), normalised.

    Example:
        >>> ids = {name: keras.Input((20,), dtype="int32") for name in ("tokens", "segments")}
        >>> albert_features(**ids, width=64, heads=2, hidden=128).shape
        (None, 20, 64)
    """
    checks.at_least("depth", depth, 1)
    sizes = dict(vocabulary=vocabulary, width=embedding, positions=positions, first_position=0)
    form = dict(epsilon=epsilon, dropout=dropout)
    x = embedded(tokens, segments, **sizes, segment_ids=segment_ids, **form, table=table, prefix=prefix)
    x = layers.Dense(width, name=f"{prefix}embedding_project")(x)  # (B, T, D)
    mask = PaddingMask(padding_id, name=f"{prefix}mask")(tokens)
    y = encoder_block(x, heads, hidden=hidden, activation=activation, **form, key_mask=mask, name=f"{prefix}block")
    block = keras.Function([x, mask], y)
    for _ in range(1, depth):
        y = replay(block, [y, mask], lambda layer: layer)  # the same layers once more
    return y


@register(
    task="text_encoding",
    paper="https://arxiv.org/abs/1909.11942",
    variants={"albert_base": {}},
    params={"albert_base": 11_683_584},
    reference="AlbertModel of transformers; summed in tests/sequence/transformer/test_encoders.py",
    qat="partial",
    exports=EXPORTS,
    tags=("transformer",),
    weights={"hugging-face": "kerasdl.sequence.transformer.encoder_peers:ALBERT"},
    free={"length": None},
    tiny=dict(length=8, vocabulary=60, embedding=16, width=48, depth=2, heads=2, hidden=96, positions=16),
)
def albert(
    length: int | None = 128,
    *,
    vocabulary: int = 30_000,
    embedding: int = 128,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    hidden: int = 3072,
    positions: int = 512,
    segment_ids: int = 2,
    activation: str = "gelu_tanh",
    epsilon: float = 1e-12,
    dropout: float = 0.0,
    padding_id: int = 0,
    pooler: bool = True,
) -> keras.Model:
    """ALBERT, a text encoder whose blocks share their weights.

    Source: https://arxiv.org/abs/1909.11942, section 3.1 and table 1.

    Args:
        length: T, tokens in a padded text, or None for any up to `positions`; exports to TFLite want it known.
        vocabulary: as in `albert_features`, like the arguments not named here.
        embedding: as there.
        width: as there.
        depth: as there.
        heads: as there.
        hidden: as there.
        positions: as there.
        segment_ids: as there.
        activation: as there.
        epsilon: as there.
        dropout: as there.
        padding_id: as there.
        pooler: whether the vector of the first token comes too.

    Returns:
        A model from `{"tokens", "segments"}`, each (B, T) int32, to `{"hidden_states": (B, T, D), "pooled": (B, D)}` in
        float32; without pooler to hidden states alone.

    Example:
        >>> kerasdl.build("albert_base", length=16, vocabulary=90, width=64, heads=2).output["pooled"].shape
        (None, 64)
    """
    inputs = text_inputs(length)
    form = dict(vocabulary=vocabulary, embedding=embedding, width=width, depth=depth, heads=heads, hidden=hidden)
    settings = dict(activation=activation, epsilon=epsilon, dropout=dropout, padding_id=padding_id)
    x = albert_features(**inputs, **form, **settings, positions=positions, segment_ids=segment_ids)
    return encoder_model(inputs, x, pooler=pooler, name="albert")
