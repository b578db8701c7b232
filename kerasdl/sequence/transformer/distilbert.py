"""DistilBERT: half of BERT's blocks, trained to answer as BERT does (https://arxiv.org/abs/1910.01108).

Deviations: attention weights are not dropped in training. The loss of distillation stands in `kerasdl.train`.
"""

import keras

from kerasdl.core import register

from .bert import EXPORTS, bert_features, encoder_model, text_inputs

DISTILBERT = {"vocabulary": 30_522, "width": 768, "depth": 6, "heads": 12, "hidden": 3072, "positions": 512}


@register(
    task="text_encoding",
    paper="https://arxiv.org/abs/1910.01108",
    variants={"distilbert_base": {}},
    params={"distilbert_base": 66_362_880},
    reference="DistilBertModel of transformers; summed in tests/sequence/transformer/test_encoders.py",
    qat="partial",
    exports=EXPORTS,
    tags=("transformer",),
    weights={"hugging-face": "kerasdl.sequence.transformer.encoder_peers:DISTILBERT"},
    free={"length": None},
    tiny=dict(length=8, vocabulary=60, width=32, depth=2, heads=2, hidden=64, positions=16, dropout=0.0),
)
def distilbert(
    length: int | None = 128,
    *,
    vocabulary: int = 30_522,
    width: int = 768,
    depth: int = 6,
    heads: int = 12,
    hidden: int = 3072,
    positions: int = 512,
    activation: str = "gelu",
    epsilon: float = 1e-12,
    dropout: float = 0.1,
    padding_id: int = 0,
) -> keras.Model:
    """DistilBERT, BERT with every second block, without segments and pooler.

    Source: https://arxiv.org/abs/1910.01108, section 3.

    Args:
        length: T, tokens in a padded text, or None for any up to `positions`; exports to TFLite want it known.
        vocabulary: token ids run from 0 to `vocabulary - 1`.
        width: D, a multiple of `heads`.
        depth: encoder blocks.
        heads: attention heads of each.
        hidden: width of the hidden layer of each perceptron.
        positions: the longest text in tokens.
        activation: of the perceptrons: a Keras name, or `gelu_tanh`.
        epsilon: epsilon of the norms.
        dropout: rate after the embeddings and in each block, from 0 to 1.
        padding_id: token id of the padding, which no token sees.

    Returns:
        A model from tokens (B, T) int32 to hidden states (B, T, D) in float32.

    Example:
        >>> kerasdl.build("distilbert_base", length=16, width=64, heads=2, depth=2, hidden=128).output_shape
        (None, 16, 64)
    """
    inputs = text_inputs(length, segments=False)
    form = dict(vocabulary=vocabulary, width=width, depth=depth, heads=heads, hidden=hidden, positions=positions)
    settings = dict(activation=activation, epsilon=epsilon, dropout=dropout, padding_id=padding_id)
    return encoder_model(inputs, bert_features(**inputs, **form, **settings), pooler=False, name="distilbert")
