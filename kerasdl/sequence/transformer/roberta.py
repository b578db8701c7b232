"""RoBERTa: BERT trained longer, on more text, without the second sentence (https://arxiv.org/abs/1907.11692).

Deviations: attention weights are not dropped in training. Positions count places from the first token on; the authors'
count tokens that are no padding, which is the same where padding stands behind, as here.
"""

import keras

from kerasdl.core import register

from .bert import EXPORTS, bert_features, encoder_model, text_inputs

ROBERTA = {
    **{"vocabulary": 50_265, "width": 768, "depth": 12, "heads": 12, "hidden": 3072, "positions": 512},
    **{"first_position": 2, "segment_ids": 1, "epsilon": 1e-5, "padding_id": 1},
}


@register(
    task="text_encoding",
    paper="https://arxiv.org/abs/1907.11692",
    variants={"roberta_base": {}},
    params={"roberta_base": 124_645_632},
    reference="RobertaModel of transformers; summed in tests/sequence/transformer/test_encoders.py",
    qat="partial",
    exports=EXPORTS,
    tags=("transformer",),
    weights={"hugging-face": "kerasdl.sequence.transformer.encoder_peers:ROBERTA"},
    free={"length": None},
    tiny=dict(length=8, vocabulary=60, width=32, depth=2, heads=2, hidden=64, positions=16, dropout=0.0),
)
def roberta(
    length: int | None = 128,
    *,
    vocabulary: int = 50_265,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    hidden: int = 3072,
    positions: int = 512,
    activation: str = "gelu",
    epsilon: float = 1e-5,
    dropout: float = 0.1,
    padding_id: int = 1,
    pooler: bool = True,
) -> keras.Model:
    """RoBERTa, BERT with byte pieces and one segment, whose positions begin behind the padding's.

    Source: https://arxiv.org/abs/1907.11692, section 4.

    Args:
        length: T, tokens in a padded text, or None for any up to `positions`; exports to TFLite want it known.
        vocabulary: token ids run from 0 to `vocabulary - 1`.
        width: D, a multiple of `heads`.
        depth: encoder blocks.
        heads: attention heads of each.
        hidden: width of the hidden layer of each perceptron.
        positions: the longest text in tokens; the table has `padding_id + 1` rows more, which no place takes.
        activation: of the perceptrons: a Keras name, or `gelu_tanh`.
        epsilon: epsilon of the norms.
        dropout: rate after the embeddings and in each block, from 0 to 1.
        padding_id: token id of the padding, which no token sees.
        pooler: whether the vector of the first token comes too.

    Returns:
        A model from tokens (B, T) int32 to `{"hidden_states": (B, T, D), "pooled": (B, D)}` in float32; without pooler
        to hidden states alone.

    Example:
        >>> sizes = dict(vocabulary=90, width=64, heads=2, depth=2, hidden=128)
        >>> kerasdl.build("roberta_base", length=16, **sizes).output["hidden_states"].shape
        (None, 16, 64)
    """
    inputs = text_inputs(length, segments=False)
    form = dict(vocabulary=vocabulary, width=width, depth=depth, heads=heads, hidden=hidden, positions=positions)
    settings = dict(activation=activation, epsilon=epsilon, dropout=dropout, padding_id=padding_id)
    x = bert_features(**inputs, **form, **settings, first_position=padding_id + 1, segment_ids=1)
    return encoder_model(inputs, x, pooler=pooler, name="roberta")
