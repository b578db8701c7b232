"""Activations of Keras 3 in tf_keras, by name; one that tf_keras lacks or defines otherwise becomes a layer."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
import tf_keras

# Activations that both compute alike; a test compares every name.
SAME = (
    *("elu", "exponential", "gelu", "linear", "mish", "relu", "selu", "sigmoid", "softmax", "softplus", "softsign"),
    *("tanh", "silu"),
)


def _hard_sigmoid(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.relu6(x + 3.0) * (1.0 / 6.0)


def _hard_silu(x: tf.Tensor) -> tf.Tensor:
    return x * tf.nn.relu6(x + 3.0) * (1.0 / 6.0)  # the form in which the TFLite converter knows HARD_SWISH


def _names() -> dict[Callable, str]:
    """Returns the name of every built-in activation by its function; of two names, the one that the function bears."""
    names = {}
    for name in dir(keras.activations):
        function = getattr(keras.activations, name)
        if callable(function) and name not in ("get", "serialize", "deserialize"):
            names[function] = function.__name__ if hasattr(keras.activations, function.__name__) else name
    return names


NAMES = _names()
FUNCTIONS = {
    **{name: function for function, name in NAMES.items() if name not in SAME},
    **{"hard_sigmoid": _hard_sigmoid, "hard_silu": _hard_silu},
}


@tf_keras.utils.register_keras_serializable("kerasdl")
class KerasActivation(tf_keras.layers.Activation):
    """An activation that tf_keras lacks or defines otherwise; `activation.__name__` is its name in Keras 3.

    A function inside `tf_keras.layers.Activation` cannot be read back from an .h5 file.

    Args:
        activation: a name in `keras.activations`.

    Example:
        >>> KerasActivation("hard_sigmoid")(tf.constant([1.0])).numpy().round(3)
        array([0.667], dtype=float32)
    """

    def __init__(self, activation: str, **settings: Any):
        def function(x: tf.Tensor) -> tf.Tensor:
            return FUNCTIONS[activation](x)

        function.__name__ = activation
        super().__init__(function, **settings)

    def get_config(self) -> dict[str, Any]:
        """Returns the settings, the activation by its name."""
        return {**tf_keras.layers.Layer.get_config(self), "activation": self.activation.__name__}


def counterpart_activation(activation: Any) -> Callable | None:
    """Returns the tf_keras function that computes the same as an activation of Keras 3; None where there is none."""
    if activation is None:
        return tf_keras.activations.linear
    name = NAMES.get(activation) if callable(activation) and activation.__hash__ else None
    if name not in SAME:
        return None
    return tf_keras.activations.swish if name == "silu" else getattr(tf_keras.activations, name)


def activation_layer(activation: Any, name: str) -> tf_keras.layers.Layer | None:
    """Returns a tf_keras layer that applies an activation of Keras 3; None for a function of the user's own."""
    function = counterpart_activation(activation)
    if function is not None:
        return tf_keras.layers.Activation(function, name=name)
    return KerasActivation(NAMES[activation], name=name) if activation.__hash__ and activation in NAMES else None
