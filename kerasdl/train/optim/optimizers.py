"""Optimizers by name, with the settings of a run."""

from collections.abc import Mapping
from typing import Any

import keras

from kerasdl.core import checks

OPTIMIZERS = {
    "adadelta": keras.optimizers.Adadelta,
    "adagrad": keras.optimizers.Adagrad,
    "adam": keras.optimizers.Adam,
    "adamax": keras.optimizers.Adamax,
    "adamw": keras.optimizers.AdamW,
    "lamb": keras.optimizers.Lamb,
    "lion": keras.optimizers.Lion,
    "muon": keras.optimizers.Muon,
    "nadam": keras.optimizers.Nadam,
    "rmsprop": keras.optimizers.RMSprop,
    "sgd": keras.optimizers.SGD,
}
KERAS_CLIPPING = ("clipnorm", "clipvalue", "global_clipnorm")
NORMS = (
    keras.layers.BatchNormalization,
    keras.layers.GroupNormalization,
    keras.layers.LayerNormalization,
    keras.layers.RMSNormalization,
)
# By class name, since train may not import layers, and other libraries use the same names.
TOKENS = ("ClassToken", "PositionEmbedding")


def innermost(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Returns the optimizer inside all wrappers."""
    while hasattr(optimizer, "inner_optimizer"):
        optimizer = optimizer.inner_optimizer
    return optimizer


def make_optimizer(source: str | keras.optimizers.Optimizer, settings: Mapping[str, Any]) -> keras.optimizers.Optimizer:
    """Returns a fresh optimizer.

    Args:
        source: a name in `OPTIMIZERS`, or an optimizer whose settings are copied; a wrapper (`Lookahead`,
            `SharpnessAware`) takes new settings for the optimizer inside it.
        settings: constructor arguments that replace those of the source; None keeps them.

    Raises:
        ArgumentError: the optimizer has no such setting, clips in two ways, or is set to average the weights itself.
    """
    pattern = OPTIMIZERS[source]() if isinstance(source, str) else source
    if isinstance(pattern, keras.optimizers.LossScaleOptimizer):
        checks.refuse(
            "optimizer must not scale the loss",
            type(pattern).__name__,
            'Pass the inner one and mixed_precision="float16".',
        )
    config = pattern.get_config()
    if "inner_optimizer" in config:
        inner = make_optimizer(pattern.inner_optimizer, settings)
        return type(pattern).from_config({**config, "inner_optimizer": inner})
    if config.get("use_ema") and settings.get("use_ema") is None:
        checks.refuse("an optimizer to train with must have use_ema=False", True, "Use RunConfig(ema=...).")
    for name, value in settings.items():
        if value is None:
            continue
        if name not in config:
            checks.refuse(f"{name} must be None for {type(pattern).__name__}, which has no such setting", value)
        config[name] = value
    if settings.get("weight_decay") is not None and "adam_weight_decay" in config:
        config["adam_weight_decay"] = config["weight_decay"]  # of the weights that Muon updates by AdamW
    clipping = {name: config[name] for name in KERAS_CLIPPING if config.get(name) is not None}
    if len(clipping) > 1:
        checks.refuse(f"at most one of {KERAS_CLIPPING} must be given", clipping, "Keras clips in one way only.")
    return type(pattern).from_config(config)


def schedule_of(model_or_optimizer: Any) -> keras.optimizers.schedules.LearningRateSchedule | None:
    """Returns the schedule of an optimizer or a compiled model; None where the rate is a number."""
    optimizer = innermost(getattr(model_or_optimizer, "optimizer", model_or_optimizer))
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        return None
    rate = optimizer.get_config()["learning_rate"]
    return keras.optimizers.schedules.deserialize(rate) if isinstance(rate, dict) else None


def exempt_from_decay(optimizer: keras.optimizers.Optimizer, model: keras.Model) -> list[keras.Variable]:
    """Exempts norms, biases, other vectors, and position and class tokens from an optimizer's weight decay.

    Exempt are trainable weights
    - of fewer than 2 dimensions;
    - whose name ends in "bias": those of attention and of a GRU have 2 dimensions;
    - of a normalisation layer or a PReLU;
    - of a layer of the class `ClassToken` or `PositionEmbedding`.

    All others decay, including kernels and embedding tables. The optimizer does not keep the rule in its config: call
    this again for a copy of the optimizer or the model, and before a training step is compiled.

    Args:
        optimizer: any Keras optimizer, wrapped or not.
        model: a built model.

    Returns:
        The exempt weights.

    Raises:
        ArgumentError: the model is not built.

    Example:
        >>> optimizer = keras.optimizers.AdamW(weight_decay=0.05)
        >>> names = {weight.name for weight in exempt_from_decay(optimizer, model)}
        >>> sorted(names)
        ['beta', 'bias', 'gamma']
    """
    if not model.built:
        checks.refuse(
            "a model must be built before weights are exempted from decay", model.name, "Call it on one batch first."
        )
    vectors = [weight for weight in model.trainable_weights if len(weight.shape) < 2 or weight.name.endswith("bias")]
    # Keras has no public way to the layers inside a layer, such as the projections of an attention.
    layers = [layer for layer in model._flatten_layers() if _is_exempt(layer)]
    exempt = {id(weight): weight for weight in [*vectors, *(w for layer in layers for w in layer.trainable_weights)]}
    innermost(optimizer).exclude_from_weight_decay(var_list=list(exempt.values()))
    return list(exempt.values())


def _is_exempt(layer: keras.layers.Layer) -> bool:
    known = isinstance(layer, (*NORMS, keras.layers.PReLU))
    return known or any(kind.__name__ in TOKENS for kind in type(layer).__mro__)
