"""Preprocessing inside the graph, so that an app feeds what it has."""

from collections.abc import Sequence

import keras


def with_preprocessing(model: keras.Model, layers: Sequence[keras.Layer], raw_shape: tuple) -> keras.Model:
    """Returns a flat model of the same weights in whose graph the layers stand first.

    Args:
        model: a functional model of one input.
        layers: what turns raw input into the model's input; fresh layers without weights.
        raw_shape: the shape of one raw input.

    Returns:
        A model whose input is named `raw`.
    """
    raw = x = keras.Input(raw_shape, dtype=model.inputs[0].dtype, name="raw")
    for layer in layers:
        x = layer(x)
    called = {}

    def call(layer, *args, **kwargs):
        called[layer.name] = layer(*args, **kwargs)
        return called[layer.name]

    # The clone itself would stand on inputs of its own: what its layers were called on stands on ours.
    clone = keras.models.clone_model(model, input_tensors=x, call_function=call)
    clone.set_weights(model.get_weights())
    outputs = [called[name] for name in getattr(model, "output_names", [model.layers[-1].name])]
    return keras.Model(raw, outputs if len(outputs) > 1 else outputs[0], name=f"{model.name}_deployable")
