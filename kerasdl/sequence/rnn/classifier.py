"""Recurrent text classifiers: simple, LSTM (https://doi.org/10.1162/neco.1997.9.8.1735), GRU and bidirectional.

Named variants add recurrent dropout (https://arxiv.org/abs/1512.05287, section 4), layer norms behind the layers
(https://arxiv.org/abs/1607.06450) or residual sums around them (https://arxiv.org/abs/1609.08144, section 3.1).

Deviations: LSTM has forget gates with a bias of one, as Keras builds it, and no peepholes; GRU resets after the matrix
product. Layer norms stand behind a layer, not inside its cell, so that every layer is a built-in one. The last layer,
which gives one state alone, has no sum around it.
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
        "recurrent_dropout_lstm_classifier": {"cell": "lstm", "recurrent_dropout": 0.25},
        "layer_norm_lstm_classifier": {"cell": "lstm", "layer_norm": True},
        "residual_lstm_classifier": {"cell": "lstm", "residual": True, "depth": 4},
    },
    params={
        "rnn_classifier": 2_593_154,
        "lstm_classifier": 2_691_842,
        "gru_classifier": 2_659_330,
        "bilstm_classifier": 2_823_682,
        "recurrent_dropout_lstm_classifier": 2_691_842,
        "layer_norm_lstm_classifier": 2_692_098,
        "residual_lstm_classifier": 3_086_594,
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
    recurrent_dropout: float = 0.0,
    layer_norm: bool = False,
    residual: bool = False,
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
        recurrent_dropout: rate on the state from step to step, from 0 to 1; one mask for all steps.
        layer_norm: whether a layer norm follows each recurrent layer.
        residual: whether a recurrent layer adds its input to its output, where both are sequences of one width.

    Returns:
        A model from padded token ids (B, length) in int32 to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("gru_classifier", length=64, classes=4).output_shape
        (None, 4)
    """
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    settings = {"recurrent_dropout": recurrent_dropout, "layer_norm": layer_norm, "residual": residual}
    x = _last_state(tokens, vocabulary, embedding, cell, bidirectional, units, depth, **settings)
    logits = prediction_head(x, classes, dropout=dropout)
    return keras.Model(tokens, logits, name="recurrent_classifier")


@register(
    task="text_regression",
    paper="https://doi.org/10.1162/neco.1997.9.8.1735",
    variants={"lstm_regressor": {"cell": "lstm"}, "gru_regressor": {"cell": "gru"}},
    params={"lstm_regressor": 2_691_713, "gru_regressor": 2_659_201},
    reference="the cells' equations, summed in tests/sequence/test_recurrent.py",
    qat="partial",
    tags=("recurrent",),
    free={"length": None},
    tiny=dict(length=8, vocabulary=50, embedding=8, units=12, depth=2),
)
def recurrent_regressor(
    length: int | None = 128,
    *,
    vocabulary: int = 20_000,
    targets: int = 1,
    cell: str = "lstm",
    bidirectional: bool = False,
    embedding: int = 128,
    units: int = 128,
    depth: int = 1,
    dropout: float = 0.0,
) -> keras.Model:
    """Embedding, recurrent layers over the real tokens, and numbers from the last state.

    Source: https://doi.org/10.1162/neco.1997.9.8.1735 (LSTM); https://arxiv.org/abs/1406.1078, section 2.3 (GRU).

    Args:
        length: tokens in a padded example, or None for any; exports to TFLite want it known.
        vocabulary: token ids run from 0, the padding, to `vocabulary - 1`.
        targets: outputs.
        cell: `rnn`, `lstm` or `gru`.
        bidirectional: reads in both directions, with so many units in each.
        embedding: width of the token vectors.
        units: of each recurrent layer.
        depth: recurrent layers.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from padded token ids (B, length) in int32 to (B, targets) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("gru_regressor", length=64).output_shape
        (None, 1)
    """
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    x = _last_state(tokens, vocabulary, embedding, cell, bidirectional, units, depth)
    return keras.Model(tokens, prediction_head(x, targets, dropout=dropout), name="recurrent_regressor")


def _last_state(
    tokens,
    vocabulary: int,
    embedding: int,
    cell: str,
    bidirectional: bool,
    units: int,
    depth: int,
    *,
    recurrent_dropout: float = 0.0,
    layer_norm: bool = False,
    residual: bool = False,
):
    """Returns the last state (B, U) of recurrent layers over the real tokens (B, T)."""
    make = CELLS[checks.one_of("cell", cell, CELLS)]
    checks.at_least("depth", depth, 1)
    checks.within("recurrent_dropout", recurrent_dropout, 0.0, 1.0)
    mask = PaddingMask(name="mask")(tokens)  # (B, T)
    x = layers.Embedding(vocabulary, embedding, name="embedding")(tokens)  # (B, T, D)
    for level in range(1, depth + 1):
        before = x
        settings = {"return_sequences": level < depth, "recurrent_dropout": recurrent_dropout}
        recurrent = make(units, **settings, name=f"{cell}{level}")
        if bidirectional:
            recurrent = layers.Bidirectional(recurrent, name=f"bidirectional{level}")
        x = recurrent(x, mask=mask)
        if layer_norm:
            x = layers.LayerNormalization(name=f"{cell}{level}_norm")(x)
        if residual and x.shape == before.shape:
            x = layers.Add(name=f"{cell}{level}_add")([before, x])
    return x
