"""Mixed precision for a model that was built in float32 (Micikevicius et al. 2018): switched on for a run, then off."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from kerasdl.core import checks

from ..trainer import Trainer


@contextmanager
def computing_in(model: keras.Model, precision: str | None) -> Iterator[None]:
    """Lets the layers of a model compute in 16 bits inside the block; variables and output layers stay float32.

    Layers that were built with another policy than float32 are left as they are.

    Args:
        model: a built model.
        precision: `"bfloat16"`, `"float16"` (with a GPU alone), or None for nothing at all.
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
    kept = {id(part) for output in outputs for part in output._flatten_layers()}
    changed = [layer for layer in inner if id(layer) not in kept and layer.dtype_policy.name == "float32"]
    policies = [layer.dtype_policy for layer in changed]
    try:
        for layer in changed:
            layer.dtype_policy = f"mixed_{precision}"
        yield
    finally:
        for layer, policy in zip(changed, policies, strict=True):
            layer.dtype_policy = policy
        # What was traced in 16 bits would go on computing so.
        for each in (model, *networks):
            each.train_function = each.test_function = each.predict_function = None


def _networks_of(model: keras.Model) -> list[keras.Model]:
    """Returns a model with a graph itself, and of one that stands around others those with a graph."""
    if isinstance(model, Trainer):
        return list(model.networks.values())
    parts = [model] if getattr(model, "inputs", None) else model.layers
    return [each for each in parts if isinstance(each, keras.Model) and getattr(each, "inputs", None)]


def _output_layers(network: keras.Model) -> list[keras.layers.Layer]:
    if isinstance(network, keras.Sequential):
        return network.layers[-1:]
    return [network.get_layer(name) for name in network.output_names]
