"""Weights that make a comparison of outputs mean something: seeded, scaled by fan-in, batch-norm statistics moved."""

import keras
import numpy as np

EQUALISED = (keras.layers.Dense, keras.layers.Conv2D)


def fill_weights(model, seed: int = 0):
    """Fills every weight of a model so that signals keep their scale and no statistic is at its default."""
    rng, scaled = np.random.default_rng(seed), _scaled_tables(model)
    for weight in model.weights:
        shape, name = tuple(weight.shape), weight.path.rsplit("/", 1)[-1]
        if "variance" in name:
            value = rng.uniform(0.5, 1.5, shape)
        elif name in ("gamma", "scale"):
            value = rng.uniform(0.8, 1.2, shape)
        elif len(shape) < 2:
            value = rng.normal(0.0, 0.1, shape)
        elif name in ("embeddings", "position", "token"):
            value = rng.normal(0.0, 1.0, shape) / scaled.get(weight.path, 1.0)
        else:
            fan_in = int(np.prod(shape[:-1]))
            if name == "kernel" and len(shape) == 4 and shape[-1] == 1:
                fan_in = shape[0] * shape[1]  # a depthwise kernel sees one channel
            # A random recurrent matrix of larger gain is chaotic: any rounding grows from step to step.
            gain = 0.5 if name == "recurrent_kernel" else 2.0
            value = rng.normal(0.0, np.sqrt(gain / fan_in), shape) / scaled.get(weight.path, 1.0)
        weight.assign(value.astype("float32"))
    return model


def _scaled_tables(model) -> dict[str, float]:
    """Returns the factors below 1 that layers give to what a table or a kernel takes or gives, by its path.

    Nets of equalised learning rates scale what goes into a kernel, or what comes out of it.
    """
    factors = {}
    for layer in getattr(model, "layers", ()):
        if not isinstance(layer, keras.layers.Rescaling) or not np.isscalar(layer.scale):
            continue
        before = layer.input._keras_history.operation  # no public name in Keras
        if isinstance(before, keras.layers.Embedding):
            factors[before.embeddings.path] = layer.scale
        elif layer.name.endswith(("_scaled", "_slowed")):
            behind = [node.operation for node in layer._outbound_nodes]
            kernels = [each.kernel.path for each in (before, *behind) if isinstance(each, EQUALISED)]
            for path in kernels:
                factors[path] = factors.get(path, 1.0) * layer.scale
    return factors


def settle_statistics(model, inputs, seed: int = 0):
    """Sets batch-norm statistics to those of the inputs, off by a random tenth, as training would have.

    In a deep net, statistics that fit nothing let signals grow until every rounding shows, which no trained net does.
    """
    rng = np.random.default_rng(seed)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    kept = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(inputs, training=True)
    for layer, momentum in zip(norms, kept, strict=True):
        layer.momentum = momentum
        mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
        layer.moving_mean.assign(mean + 0.1 * np.sqrt(variance) * rng.normal(size=mean.shape))
        layer.moving_variance.assign(variance * rng.uniform(0.9, 1.1, variance.shape))
    return model
