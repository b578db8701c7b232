"""Mixed precision for a model that was built in float32 (Micikevicius et al. 2018): switched on for a run, then off."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras
import tensorflow as tf

from kerasdl.core import checks


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
    outputs = {model.get_layer(name) for name in getattr(model, "output_names", ())}
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
        model.train_function = model.test_function = model.predict_function = None
