"""Mixed precision for a model built in float32, on for one run (Micikevicius et al. 2018)."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from kerasdl.core import checks

from ..trainer import Trainer


@contextmanager
def mixed_precision_scope(model: keras.Model, precision: str | None) -> Iterator[None]:
    """Context manager in which the layers of a model compute in 16 bits; variables and output layers stay float32.

    Layers built with a policy other than float32 keep it.

    Args:
        model: a built model.
        precision: `"bfloat16"`, `"float16"` (with a GPU alone), or None for no change.
    """
    if precision is None:
        yield
        return
    if precision == "float16" and not tf.config.list_physical_devices("GPU"):
        checks.refuse("mixed_precision float16 needs a GPU", precision, 'On a CPU use "bfloat16".')
    networks = _networks_of(model)
    outputs = [layer for network in networks for layer in _output_layers(network)]
    # Keras has no public way to the layers inside a layer, such as the projections of an attention.
    inner = [layer for layer in model._flatten_layers() if not isinstance(layer, keras.layers.InputLayer)]
    output_ids = {id(part) for output in outputs for part in output._flatten_layers()}
    changed = [layer for layer in inner if id(layer) not in output_ids and layer.dtype_policy.name == "float32"]
    policies = [layer.dtype_policy for layer in changed]
    try:
        for layer in changed:
            layer.dtype_policy = f"mixed_{precision}"
        yield
    finally:
        for layer, policy in zip(changed, policies, strict=True):
            layer.dtype_policy = policy
        # Functions traced in 16 bits would stay in 16 bits.
        for each in (model, *networks):
            each.train_function = each.test_function = each.predict_function = None


def _networks_of(model: keras.Model) -> list[keras.Model]:
    """Returns the networks of a trainer or wrapper model that have a graph, or the model itself."""
    if isinstance(model, Trainer):
        return list(model.networks.values())
    parts = [model] if getattr(model, "inputs", None) else model.layers
    return [each for each in parts if isinstance(each, keras.Model) and getattr(each, "inputs", None)]


def _output_layers(network: keras.Model) -> list[keras.layers.Layer]:
    if isinstance(network, keras.Sequential):
        return network.layers[-1:]
    return [network.get_layer(name) for name in network.output_names]
