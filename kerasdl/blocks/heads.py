"""Prediction heads, and their replacement in a model."""

import keras
from keras import layers

from kerasdl.core import checks
from kerasdl.core.keras_graph import copied

ENDS = (layers.Softmax, layers.Activation)


def prediction_head(x, outputs: int, *, dropout: float = 0.0):
    """Prediction head: dropout and one dense layer named `head`, with float32 logits under mixed precision.

    Args:
        x: (B, D).
        outputs: units, 1 or more.
        dropout: rate, from 0 to 1.

    Returns:
        Logits (B, outputs) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> prediction_head(keras.Input((1280,)), 10, dropout=0.2).shape
        (None, 10)
    """
    checks.at_least("outputs", outputs, 1)
    checks.within("dropout", dropout, 0.0, 1.0)
    x = layers.Dropout(dropout, name="head_drop")(x)
    return layers.Dense(outputs, dtype="float32", name="head")(x)


def dense_head(x, outputs: int, *, hidden: int, pooled: int, dropout: float = 0.5):
    """Dense head of AlexNet and VGG: two hidden dense layers with dropout over the flattened feature map, and logits.

    Source: AlexNet (Krizhevsky et al. 2012), section 3.5; dropout as in its section 4.2.

    Args:
        x: (B, H, W, C).
        outputs: units, 1 or more.
        hidden: units of each hidden layer.
        pooled: side of the map after adaptive average pooling; a map of that side is not pooled.
        dropout: rate after each hidden layer, from 0 to 1.

    Returns:
        Logits (B, outputs) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> dense_head(keras.Input((7, 7, 512)), 10, hidden=64, pooled=7).shape
        (None, 10)
    """
    checks.within("dropout", dropout, 0.0, 1.0)
    x = layers.Flatten(name="flatten")(pooled_to(x, pooled))
    x = layers.Dense(hidden, activation="relu", name="hidden1")(x)
    x = layers.Dropout(dropout, name="hidden1_drop")(x)
    x = layers.Dense(hidden, activation="relu", name="hidden2")(x)
    return prediction_head(x, outputs, dropout=dropout)


def pooled_to(x, side: int):
    """Adaptive average pooling of a feature map to `side` x `side`; a map of that size is returned unchanged."""
    if x.shape[1:3] == (side, side):
        return x
    return layers.AdaptiveAveragePooling2D(side, name="adaptive_pool")(x)


def find_head(model: keras.Model) -> keras.layers.Dense:
    """Returns the prediction head of a model: the Dense layer named `head`, else the last layer if it is Dense.

    Softmax and Activation layers after the last Dense layer are ignored.

    Raises:
        ArgumentError: the model has neither.

    Example:
        >>> find_head(kerasdl.build("mlp")).units
        3
    """
    last = next((layer for layer in reversed(model.layers) if not isinstance(layer, ENDS)), None)
    for layer in [*(layer for layer in model.layers if layer.name == "head"), last]:
        if isinstance(layer, layers.Dense):
            return layer
    checks.refuse("a model whose head is found must have a Dense layer, last or named 'head'", model.name)


def replace_head(model: keras.Model, outputs: int) -> keras.Model:
    """Returns a copy of a model with a new head of `outputs` logits and all other weights.

    A softmax or sigmoid after the old head is removed.

    Args:
        model: a functional model of one output whose last layer is Dense, or that has a Dense layer named `head`.
        outputs: units of the new head, 1 or more.

    Returns:
        A new model that shares no weight with the old one.

    Raises:
        ArgumentError: it is no Keras model, has no such layer, or several outputs, of which all but the head's would
            be lost.

    Example:
        >>> replace_head(kerasdl.build("mlp", features=4), 10).output_shape
        (None, 10)
    """
    checks.at_least("outputs", outputs, 1)
    if not isinstance(model, keras.Model):
        hint = "Of a bundle pass bundle.model; bundle.finetune(data) makes a head for the classes of the data."
        checks.refuse("a head is replaced in a Keras model", type(model).__name__, hint)
    if len(model.outputs) > 1:
        names = list(getattr(model, "output_names", ())) or len(model.outputs)
        hint = "Make a model of one of them: keras.Model(model.inputs, model.outputs[0])."
        checks.refuse("a model whose head is replaced must have one output", names, hint)
    head = find_head(model)
    copy = copied(model)
    fresh = layers.Dense(outputs, dtype="float32", name=head.name)(copy.get_layer(head.name).input)
    return keras.Model(copy.inputs[0] if len(copy.inputs) == 1 else copy.input, fresh, name=model.name)
