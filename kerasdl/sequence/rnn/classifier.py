"""Recurrent text classifiers: simple, LSTM (https://doi.org/10.1162/neco.1997.9.8.1735), GRU and bidirectional.

Deviations: LSTM has forget gates with a bias of one, as Keras builds it, and no peepholes; GRU resets after the matrix
product.
"""

import keras
from keras import layers

from kerasdl.blocks import prediction_head
from kerasdl.core import checks, register
from kerasdl.layers import PaddingMask

CELLS = {"rnn": layers.SimpleRNN, "lstm": layers.LSTM, "gru": layers.GRU}


@register(
    task="text_classification",
    paper="https://doi.org/10.1162/neco.1997.9.8.1735",
    variants={
        "rnn_classifier": {"cell": "rnn"},
        "lstm_classifier": {"cell": "lstm"},
        "gru_classifier": {"cell": "gru"},
        "bilstm_classifier": {"cell": "lstm", "bidirectional": True},
    },
    params={
        "rnn_classifier": 2_593_154,
        "lstm_classifier": 2_691_842,
        "gru_classifier": 2_659_330,
        "bilstm_classifier": 2_823_682,
    },
    reference="the cells' equations, summed in tests/sequence/test_recurrent.py",
    qat="partial",
    tags=("recurrent",),
    free={"length": None},
    tiny=dict(length=8, vocabulary=50, classes=3, embedding=8, units=12, depth=2),
)
def recurrent_classifier(
    length: int | None = 128,
    *,
    vocabulary: int = 20_000,
    classes: int = 2,
    cell: str = "lstm",
    bidirectional: bool = False,
    embedding: int = 128,
    units: int = 128,
    depth: int = 1,
    dropout: float = 0.0,
) -> keras.Model:
    """Embedding, recurrent layers over the real tokens, and a head on the last state.

    Source: https://doi.org/10.1162/neco.1997.9.8.1735 (LSTM); https://arxiv.org/abs/1406.1078, section 2.3 (GRU).

    Args:
        length: tokens in a padded example, or None for any; exports to TFLite want it known.
        vocabulary: token ids run from 0, the padding, to `vocabulary - 1`.
        classes: outputs.
        cell: `rnn`, `lstm` or `gru`.
        bidirectional: reads in both directions, with so many units in each.
        embedding: width of the token vectors.
        units: of each recurrent layer.
        depth: recurrent layers.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from padded token ids (B, length) in int32 to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("gru_classifier", length=64, classes=4).output_shape
        (None, 4)
    """
    make = CELLS[checks.one_of("cell", cell, CELLS)]
    checks.at_least("depth", depth, 1)
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    mask = PaddingMask(name="mask")(tokens)  # (B, T)
    x = layers.Embedding(vocabulary, embedding, name="embedding")(tokens)  # (B, T, D)
    for level in range(1, depth + 1):
        recurrent = make(units, return_sequences=level < depth, name=f"{cell}{level}")
        if bidirectional:
            recurrent = layers.Bidirectional(recurrent, name=f"bidirectional{level}")
        x = recurrent(x, mask=mask)
    logits = prediction_head(x, classes, dropout=dropout)
    return keras.Model(tokens, logits, name="recurrent_classifier")
