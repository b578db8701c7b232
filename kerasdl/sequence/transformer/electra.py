"""ELECTRA: an encoder trained to tell replaced tokens from those of the text (https://arxiv.org/abs/2003.10555).

Deviations: attention weights are not dropped in training. The generator and the task stand in files of their own.
"""

import keras

from kerasdl.core import register

from .bert import EXPORTS, bert_features, encoder_model, text_inputs

ELECTRA = {
    **{"vocabulary": 30_522, "embedding": 128, "width": 256, "depth": 12, "heads": 4, "hidden": 1024},
    **{"positions": 512, "segment_ids": 2},
}


@register(
    task="text_encoding",
    paper="https://arxiv.org/abs/2003.10555",
    variants={"electra_small": {}},
    params={"electra_small": 13_483_008},
    reference="ElectraModel of transformers; summed in tests/sequence/transformer/test_encoders.py",
    qat="partial",
    exports=EXPORTS,
    tags=("transformer",),
    weights={"hugging-face": "kerasdl.sequence.transformer.encoder_peers:ELECTRA"},
    free={"length": None},
    tiny=dict(length=8, vocabulary=60, embedding=16, width=32, depth=2, heads=2, hidden=64, positions=16, dropout=0.0),
)
def electra(
    length: int | None = 128,
    *,
    vocabulary: int = 30_522,
    embedding: int = 128,
    width: int = 256,
    depth: int = 12,
    heads: int = 4,
    hidden: int = 1024,
    positions: int = 512,
    segment_ids: int = 2,
    activation: str = "gelu",
    epsilon: float = 1e-12,
    dropout: float = 0.1,
    padding_id: int = 0,
) -> keras.Model:
    """ELECTRA's discriminator without its head: BERT with embeddings narrower than its blocks, and no pooler.

    Source: https://arxiv.org/abs/2003.10555, section 3.2 and table 6.

    Args:
        length: T, tokens in a padded text, or None for any up to `positions`; exports to TFLite want it known.
        vocabulary: token ids run from 0 to `vocabulary - 1`.
        embedding: width of the embeddings.
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

    Returns:
        A model from `{"tokens", "segments"}`, each (B, T) int32, to hidden states (B, T, D) in float32.

    Example:
        >>> kerasdl.build("electra_small", length=16, vocabulary=90, depth=2).output_shape
        (None, 16, 256)
    """
    inputs = text_inputs(length)
    form = dict(vocabulary=vocabulary, width=width, depth=depth, heads=heads, hidden=hidden, positions=positions)
    settings = dict(activation=activation, epsilon=epsilon, dropout=dropout, padding_id=padding_id)
    x = bert_features(**inputs, **form, **settings, embedding=embedding, segment_ids=segment_ids)
    return encoder_model(inputs, x, pooler=False, name="electra")
