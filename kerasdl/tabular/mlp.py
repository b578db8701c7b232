"""Multilayer perceptrons over rows of numbers (https://doi.org/10.1038/323533a0).

Deviations: ReLU and dropout in place of the paper's sigmoids.
"""

import keras
from keras import layers

from kerasdl.blocks import prediction_head
from kerasdl.core import checks, register

REGISTERED = dict(
    paper="https://doi.org/10.1038/323533a0",
    reference="sum of (inputs + 1) * outputs over the layers, in tests/tabular/test_mlp.py",
    tags=("perceptron",),
)


@register(
    task="tabular_classification",
    params={"mlp": 4_675},
    tiny=dict(features=6, classes=4, hidden=(16, 16)),
    **REGISTERED,
)
def mlp(features: int = 4, *, classes: int = 3, hidden=(64, 64), dropout: float = 0.0) -> keras.Model:
    """A multilayer perceptron that classifies rows of numbers.

    Source: https://doi.org/10.1038/323533a0.

    Args:
        features: numbers in a row, standardised.
        classes: outputs.
        hidden: units of each hidden layer.
        dropout: rate after each hidden layer and before the last one, from 0 to 1.

    Returns:
        A model from (B, features) to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("mlp", features=30, classes=2).output_shape
        (None, 2)
    """
    return _perceptron(features, classes, hidden, dropout, name="mlp")


@register(
    task="tabular_regression",
    params={"mlp_regressor": 4_929},
    tiny=dict(features=6, hidden=(16, 16)),
    **REGISTERED,
)
def mlp_regressor(features: int = 10, *, targets: int = 1, hidden=(64, 64), dropout: float = 0.0) -> keras.Model:
    """A multilayer perceptron that predicts numbers from rows of numbers.

    Source: https://doi.org/10.1038/323533a0.

    Args:
        features: numbers in a row, standardised.
        targets: outputs.
        hidden: units of each hidden layer.
        dropout: rate after each hidden layer and before the last one, from 0 to 1.

    Returns:
        A model from (B, features) to (B, targets) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("mlp_regressor", features=10).output_shape
        (None, 1)
    """
    return _perceptron(features, targets, hidden, dropout, name="mlp_regressor")


def _perceptron(features, outputs, hidden, dropout, name) -> keras.Model:
    checks.at_least("features", features, 1)
    x = row = keras.Input((features,), name="features")
    for level, units in enumerate(hidden, start=1):
        x = layers.Dense(checks.at_least("each hidden size", units, 1), name=f"hidden{level}")(x)
        x = layers.ReLU(name=f"hidden{level}_relu")(x)
        if level < len(hidden):
            x = layers.Dropout(dropout, name=f"hidden{level}_drop")(x)
    return keras.Model(row, prediction_head(x, outputs, dropout=dropout), name=name)
