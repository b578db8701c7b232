"""Checks of losses and metrics against a model's output activation: `from_logits` must match it."""

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from .. import checks
from .activation import OutputActivation, output_activations

OURS = ("keras", "kerasdl")


def check_from_logits(loss: Any, model: keras.Model, sample: Any = None) -> None:
    """Checks that a loss matches the model's outputs, logits or probabilities, as far as both are known.

    Args:
        loss: as `keras.Model.compile` takes it: an object, a name or a function, or a list or dict of them.
        model: a Keras model.
        sample: as in `output_activations`; needed for a subclassed model.

    Raises:
        ArgumentError: the loss has `from_logits=True` and the model ends in a softmax or sigmoid, the loss takes
            probabilities and the model ends in a linear layer, or it takes those of a softmax and gets a sigmoid's.

    Example:
        >>> check_from_logits(keras.losses.SparseCategoricalCrossentropy(from_logits=True), model)
    """
    names = getattr(model, "output_names", None) or []
    if isinstance(loss, Mapping):
        losses = [loss.get(name) for name in names] if set(loss) <= set(names) else []
    else:
        losses = list(loss) if isinstance(loss, (list, tuple)) else [loss]
    takes_logits = [from_logits(each) for each in losses]
    if all(each is None for each in takes_logits):
        return
    ends = output_activations(model, sample)
    for each, logits, end in zip(losses, takes_logits, ends, strict=False):
        if logits is not None:
            _check(getattr(each, "name", None) or getattr(each, "__name__", each), logits, end)
        ending = ENDS.get(_function_of(each), getattr(each, "end", None))
        if logits is False and ending and end.gives_probabilities and end.kind != ending:
            # Keras reads the logits before the activation, and would apply the other activation to them.
            name = getattr(each, "name", None) or getattr(each, "__name__", each)
            rule = f"{name} must have a model that ends in a {ending}"
            checks.refuse(rule, f"{end.layer}, which ends in a {end.kind}", HINTS[ending])


ENDS = {
    keras.losses.sparse_categorical_crossentropy: "softmax",
    keras.losses.categorical_crossentropy: "softmax",
    keras.losses.categorical_focal_crossentropy: "softmax",
    keras.losses.binary_crossentropy: "sigmoid",
    keras.losses.binary_focal_crossentropy: "sigmoid",
}
HINTS = {
    "softmax": "For several labels at once pass BinaryCrossentropy; for one of several end the model in a softmax.",
    "sigmoid": "For one of several labels pass CategoricalCrossentropy; for several end the model in a sigmoid.",
}


def _function_of(loss: Any) -> Any:
    if isinstance(loss, str):
        try:
            loss = keras.losses.get(loss)
        except ValueError:  # "crossentropy" takes either
            return None
    loss = loss.func if isinstance(loss, functools.partial) else loss
    function = getattr(loss, "fn", loss)
    return function if callable(function) and getattr(function, "__hash__", None) else None


def _check(name: Any, logits: bool, end: OutputActivation) -> None:
    if logits and end.is_rescaled:
        rule = "a loss with from_logits=True must have a model that gives logits"
        checks.refuse(rule, f"{name} on {end.kind} of {end.layer}", "End the model before its softmax or sigmoid.")
    if logits and end.gives_probabilities:
        rule = "a loss with from_logits=True must have a model that gives logits"
        got = f"{name} on {end.layer}, which ends in {end.kind}"
        checks.refuse(rule, got, f"Pass the loss with from_logits=False, or leave the {end.kind} out of the model.")
    if logits is False and end.gives_logits:
        rule = "a loss with from_logits=False must have a model that gives probabilities"
        hint = "Pass the loss with from_logits=True, or end the model in a softmax or sigmoid."
        checks.refuse(rule, f"{name} on {end.layer}, which ends in {end.kind}", hint)


def from_logits(loss: Any) -> bool | None:
    """Returns whether a loss of Keras or kerasdl takes logits; None for losses without that setting and for others.

    Example:
        >>> from_logits("binary_crossentropy"), from_logits("mse")
        (False, None)
    """
    if isinstance(loss, str):
        if loss.lower() in ("crossentropy", "ce"):
            return False
        try:
            loss = keras.losses.get(loss)
        except ValueError:  # compile reports it
            return None
    if isinstance(loss, functools.partial) and _is_ours(loss.func):
        return loss.keywords.get("from_logits", from_logits(loss.func))
    if isinstance(loss, keras.losses.Loss):
        if type(loss) is keras.losses.KLDivergence:
            return False
        return loss.get_config().get("from_logits") if _is_ours(type(loss)) else None
    if not callable(loss) or not _is_ours(loss):
        return None
    if loss is keras.losses.kl_divergence:
        return False
    parameter = inspect.signature(loss).parameters.get("from_logits")
    return None if parameter is None else parameter.default


def check_thresholds(loss: Any, metrics: Any, outputs: int | None = None) -> None:
    """Checks that no metric of one output reads logits as probabilities where its loss has `from_logits=True`.

    Args:
        loss: loss of the output.
        metrics: a list of Keras metrics, names and functions.
        outputs: size of the output's last axis; for 1 `"accuracy"` compares with a threshold, else takes the largest.

    Raises:
        ArgumentError: a metric has a threshold of 0.5, or takes probabilities.

    Example:
        >>> check_thresholds(keras.losses.BinaryCrossentropy(from_logits=True), [keras.metrics.AUC(from_logits=True)])
    """
    if from_logits(loss) is not True:
        return
    for metric in metrics:
        name = metric if isinstance(metric, str) else getattr(metric, "name", getattr(metric, "__name__", metric))
        setting = _over_probabilities(metric, outputs)
        if setting:
            hint = "Pass from_logits=True or threshold=0.0 (probability 0.5), or end the model in a sigmoid."
            checks.refuse("metrics of a model that gives logits must be over logits", f"{name} ({setting})", hint)


def _over_probabilities(metric: Any, outputs: int | None) -> str | None:
    """Returns the setting of a metric that is meant for probabilities, or None."""
    if isinstance(metric, str):
        if metric in ("accuracy", "acc"):
            return "threshold 0.5" if outputs == 1 else None
        try:
            metric = keras.metrics.get(metric)
        except ValueError:  # compile reports it
            return None
    if not isinstance(metric, keras.metrics.Metric):
        if metric is keras.metrics.binary_accuracy:
            return "threshold 0.5"
        return "from_logits=False" if from_logits(metric) is False else None
    config = metric.get_config() if _is_ours(type(metric)) else {}
    if "from_logits" in config or "num_thresholds" in config:
        return None if config.get("from_logits") else "from_logits=False"
    thresholds = config.get("threshold"), config.get("thresholds", 0.0 if config.get("top_k") else ())
    return "threshold 0.5" if 0.5 in thresholds or thresholds[1] in (None, [0.5], (0.5,)) else None


def _is_ours(thing: Any) -> bool:
    return str(getattr(thing, "__module__", "")).partition(".")[0] in OURS


def over_probabilities(judge: Any) -> Any:
    """Returns the loss or metric over probabilities that matches one over logits; any other is returned unchanged.

    Args:
        judge: a Keras loss or metric with `from_logits`, or a metric with thresholds over logits.

    Example:
        >>> over_probabilities(keras.losses.BinaryCrossentropy(from_logits=True)).get_config()["from_logits"]
        False
    """
    if not isinstance(judge, (keras.losses.Loss, keras.metrics.Metric)):
        return judge
    config = judge.get_config()
    changed = {"from_logits": False} if config.get("from_logits") else {}
    for name in ("threshold", "thresholds"):
        if config.get(name) is not None and "from_logits" not in config:
            share = 1 / (1 + np.exp(-np.asarray(config[name], float)))
            changed[name] = share.tolist()
    return type(judge).from_config({**config, **changed}) if changed else judge
