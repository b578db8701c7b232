"""Recurrent language models: LSTM with dropout between layers (https://arxiv.org/abs/1409.2329), GRU, tied embeddings.

The defaults are the medium net of the paper for the Penn Treebank. The network reads tokens without a mask: padding
stands behind a text, and what comes later changes no logits before it.

Deviations: LSTM has forget gates with a bias of one, as Keras builds it; GRU resets after the matrix product. Tied nets
(https://arxiv.org/abs/1608.05859) have one matrix for embedding and logits, and no biases of tokens.
"""

import keras
from keras import layers

from kerasdl.blocks import prediction_head
from kerasdl.core import checks, register

from .classifier import CELLS


@register(
    task="language_modeling",
    paper="https://arxiv.org/abs/1409.2329",
    variants={
        "lstm_language_model": {"cell": "lstm"},
        "gru_language_model": {"cell": "gru"},
    },
    params={
        "lstm_language_model": 19_775_200,
        "gru_language_model": 18_087_800,
    },
    reference="the cells' equations, summed in tests/sequence/rnn/test_language_model.py",
    qat="partial",
    tags=("recurrent",),
    free={"length": None},
    tiny=dict(length=8, vocabulary=50, embedding=12, units=12, depth=2),
)
def recurrent_language_model(
    length: int | None = 35,
    *,
    vocabulary: int = 10_000,
    cell: str = "lstm",
    embedding: int = 650,
    units: int = 650,
    depth: int = 2,
    dropout: float = 0.5,
) -> keras.Model:
    """Language model of recurrent layers: logits of the next token at each position.

    Source: https://arxiv.org/abs/1409.2329, section 3.1 and figure 2: dropout on what is not recurrent.

    Args:
        length: tokens of an example, or None for any.
        vocabulary: token ids run from 0, the padding, to `vocabulary - 1`.
        cell: `rnn`, `lstm` or `gru`.
        embedding: width of the token vectors.
        units: of each recurrent layer.
        depth: recurrent layers.
        dropout: rate before each recurrent layer and before the head, from 0 to 1.

    Returns:
        A model from token ids (B, length) in int32 to logits (B, length, vocabulary) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("gru_language_model", length=64, vocabulary=100, units=32, embedding=16).output_shape
        (None, 64, 100)
    """
    checks.at_least("vocabulary", vocabulary, 2)
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    x = layers.Embedding(vocabulary, embedding, name="embedding")(tokens)  # (B, T, D)
    x = _recurrent(x, cell, units, depth, dropout)
    logits = prediction_head(x, vocabulary, dropout=dropout)  # (B, T, V)
    return keras.Model(tokens, logits, name="recurrent_language_model")


@register(
    task="language_modeling",
    paper="https://arxiv.org/abs/1608.05859",
    variants={"tied_lstm_language_model": {"cell": "lstm"}},
    params={"tied_lstm_language_model": 13_265_200},
    reference="the cells' equations, summed in tests/sequence/rnn/test_language_model.py",
    qat="none",
    tags=("recurrent",),
    free={"length": None},
    tiny=dict(length=8, vocabulary=50, units=12, depth=2),
)
def tied_language_model(
    length: int | None = 35,
    *,
    vocabulary: int = 10_000,
    cell: str = "lstm",
    units: int = 650,
    depth: int = 2,
    dropout: float = 0.5,
) -> keras.Model:
    """Language model of recurrent layers whose logits are products with its embedding.

    Source: https://arxiv.org/abs/1608.05859, section 3.

    Args:
        length: tokens of an example, or None for any.
        vocabulary: token ids run from 0, the padding, to `vocabulary - 1`.
        cell: `rnn`, `lstm` or `gru`.
        units: width of the token vectors and of each recurrent layer.
        depth: recurrent layers.
        dropout: rate before each recurrent layer and before the logits, from 0 to 1.

    Returns:
        A model from token ids (B, length) in int32 to logits (B, length, vocabulary) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("tied_lstm_language_model", length=64, vocabulary=100, units=32).output_shape
        (None, 64, 100)
    """
    checks.at_least("vocabulary", vocabulary, 2)
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    vectors = layers.ReversibleEmbedding(vocabulary, units, reverse_dtype="float32", name="embedding")
    x = _recurrent(vectors(tokens), cell, units, depth, dropout)
    logits = vectors(layers.Dropout(dropout, name="head_drop")(x), reverse=True)  # (B, T, V)
    return keras.Model(tokens, logits, name="tied_language_model")


def _recurrent(x, cell: str, units: int, depth: int, dropout: float):
    """Returns the states (B, T, U) of recurrent layers, each behind a dropout."""
    make = CELLS[checks.one_of("cell", cell, CELLS)]
    checks.at_least("depth", depth, 1)
    checks.within("dropout", dropout, 0.0, 1.0)
    for level in range(1, depth + 1):
        x = layers.Dropout(dropout, name=f"{cell}{level}_drop")(x)
        x = make(units, return_sequences=True, name=f"{cell}{level}")(x)
    return x
