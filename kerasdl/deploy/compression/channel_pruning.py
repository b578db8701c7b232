"""Channel pruning: a smaller plain model from a larger one (https://arxiv.org/abs/1608.08710)."""

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NoReturn

import keras
import numpy as np

from kerasdl.core import checks
from kerasdl.core.keras_graph import all_layers, replay
from kerasdl.core.model_carrier import takes_carriers

from ..profiling.model_profile import measure
from ..samples.model_inputs import structure
from .channel_dependencies import ChannelDependencies
from .layer_channels import AXES, CHANNEL_MAKING, SETTINGS

CRITERIA = ("l1", "bn_gamma")


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that must be pruned together, since the same layers make them, as in a residual stage."""

    layers: tuple[str, ...]
    """The layers that make the channels."""
    channels: int
    """The number of channels."""
    fixed_by: str | None
    """The reason for which no channel can be removed, such as "the output" or the name of a layer; None where channels
    can be removed."""


def channel_groups(model: keras.Model, *, keep: Sequence[str] = ()) -> tuple[ChannelGroup, ...]:
    """Returns the groups of channels of a functional model that must be pruned together.

    Additions, products and shared layers make channels depend on one another; concatenations join them, flattening
    repeats them; batch normalisation, depthwise convolution, pooling and activations pass them on. Channels that a
    grouped convolution, attention, recurrence, layer normalisation or a custom layer reads or makes cannot be removed.

    Source: dependency groups as in DepGraph, https://arxiv.org/abs/2301.12900, section 3.

    Args:
        model: a functional or Sequential model; nested models are opened.
        keep: names of layers that lose no channel; `*` and `?` stand for any characters.

    Returns:
        The groups, in the order of their first layers.

    Raises:
        ArgumentError: the model is subclassed, or a name in `keep` fits no layer.

    Example:
        >>> channel_groups(model)[-1]
        ChannelGroup(layers=('head',), channels=4, fixed_by='the output')
    """
    return tuple(group for group, _ in _groups(_checked_dependencies(model, keep)))


@takes_carriers
def prune_channels(
    model: keras.Model,
    ratio: float | None = None,
    *,
    macs: float | None = None,
    criterion: str = "l1",
    divisor: int = 8,
    keep: Sequence[str] = (),
    input_shape: tuple[int, ...] | Mapping[str, tuple[int, ...]] | None = None,
) -> keras.Model:
    """Removes whole channels and returns a smaller model of plain layers, which any runtime runs faster.

    Inputs and outputs keep their shapes, layers their names, and the remaining channels their weights; train the result
    to regain accuracy. The model given is not changed; the new one is not compiled.

    Source: https://arxiv.org/abs/1608.08710, section 3.1, for `"l1"`; network slimming, https://arxiv.org/abs/1708.06519,
    section 3, for `"bn_gamma"`; dependent channels by their mean, as in https://arxiv.org/abs/2301.12900, section 3.3.

    Args:
        model: a functional or Sequential model, or a bundle of one; nested models are opened, and the result is flat.
        ratio: share of the channels removed from each group of `channel_groups`, above 0 and below 1; or None.
        macs: the share of the multiply-accumulates that remains, above 0 and below 1, in place of `ratio`: the least
            important channels of the whole model are removed.
        criterion: the importance of a channel: `"l1"`, the sum of its filter's absolute weights over the mean of
            its layer; or `"bn_gamma"`, the scale of its batch normalisation, for nets trained with a penalty on it;
            channels without one stay.
        divisor: the number of channels left in a group is a multiple of this, 1 or more, and not below it.
        keep: names of layers that lose no channel; `*` and `?` stand for any characters.
        input_shape: as in `profile_model`, for `macs` where sizes are free.

    Returns:
        A functional model with outputs of the same shape and dtype; of a bundle a bundle.

    Raises:
        ArgumentError: an argument breaks its rule, nothing can be removed, or `macs` cannot be reached.

    Example:
        >>> smaller = prune_channels(model, 0.5, divisor=4)
        >>> smaller.count_params() < model.count_params(), smaller.output_shape == model.output_shape
        (True, True)
    """
    if (ratio is None) == (macs is None):
        checks.refuse("one of ratio and macs must be given", f"ratio={ratio!r} and macs={macs!r}")
    for name, value in (("ratio", ratio), ("macs", macs)):
        if value is not None and checks.within(name, value, 0, 1) in (0, 1):
            checks.refuse(f"{name} must be above 0 and below 1", value)
    checks.one_of("criterion", criterion, CRITERIA)
    checks.at_least("divisor", divisor, 1)
    dependencies = _checked_dependencies(model, keep)
    plan = _Plan(dependencies, criterion, divisor)
    if not plan.groups:
        _refuse_fixed(model, dependencies, criterion)
    chosen = plan.of_ratio(ratio) if macs is None else plan.of_macs(macs, _macs_by_layer(model, input_shape))
    if chosen.all():
        sizes = [len(labels) for labels in plan.groups]
        checks.refuse(f"some group must be larger than divisor={divisor} once pruned", sizes, "Lower divisor.")
    return _smaller(model, dependencies, chosen)


class _Plan:
    """Choice of the channels that stay: a boolean array over channel ids, (ids,)."""

    def __init__(self, dependencies: ChannelDependencies, criterion: str, divisor: int):
        self.dependencies, self.divisor = dependencies, divisor
        self.scores = _scores(dependencies, criterion)
        free = [labels for group, labels in _groups(dependencies) if group.fixed_by is None]
        self.groups = [labels for labels in free if not np.isnan(self.scores[labels]).any()]

    def of_ratio(self, ratio: float) -> np.ndarray:
        """Returns the choice of the most important channels of each group."""
        return self._best(lambda labels: (1 - ratio) * len(labels))

    def of_macs(self, share: float, macs: Mapping[keras.Operation, int]) -> np.ndarray:
        """Returns the choice of the most important channels of the model within a share of its multiply-accumulates."""
        allowed = share * sum(macs.values())

        def remaining_macs(threshold: float) -> float:
            chosen = self._above(threshold)
            return sum(count * _share(operation, self.dependencies, chosen) for operation, count in macs.items())

        thresholds = [*np.unique(self.scores[np.concatenate(self.groups)]), math.inf]
        if (least := remaining_macs(math.inf)) > allowed:
            rule = f"macs must be {least / sum(macs.values()):.3f} or more, as the rest cannot be removed"
            checks.refuse(
                rule, share, "Lower divisor, or see channel_groups(model) for the channels that cannot be removed."
            )
        first = bisect_left(thresholds, True, key=lambda threshold: remaining_macs(threshold) <= allowed)
        return self._above(thresholds[first])

    def _above(self, threshold: float) -> np.ndarray:
        return self._best(lambda labels: np.count_nonzero(self.scores[labels] >= threshold))

    def _best(self, count_of: Callable[[np.ndarray], float]) -> np.ndarray:
        stays = np.ones(len(self.dependencies.labels), bool)
        for labels in self.groups:
            ranked = labels[np.argsort(-self.scores[labels], kind="stable")]
            stays[ranked[self._rounded(count_of(labels), len(labels)) :]] = False
        return stays[self.dependencies.labels]

    def _rounded(self, count: float, size: int) -> int:
        nearest = math.floor(count / self.divisor + 0.5) * self.divisor
        return size if count >= size else min(size, max(self.divisor, nearest))


def _checked_dependencies(model: keras.Model, keep: Sequence[str]) -> ChannelDependencies:
    dependencies = ChannelDependencies(model, keep)
    names = [layer.name for layer in all_layers(model)]
    for pattern in keep:
        if not any(fnmatchcase(name, pattern) for name in names):
            checks.refuse("a name in keep must fit a layer", pattern, f"Layers are called {', '.join(names[:5])}, ...")
    return dependencies


def _groups(dependencies: ChannelDependencies) -> list[tuple[ChannelGroup, np.ndarray]]:
    """Returns each group with the labels of its channels."""
    makers: dict[int, list[str]] = defaultdict(list)
    for layer, sides in dependencies.sides.items():
        if type(layer) in CHANNEL_MAKING:
            for label in np.unique(dependencies.labels[sides["out"]]):
                makers[int(label)].append(layer.name)
    members: dict[tuple, list[int]] = defaultdict(list)
    for label, layers in makers.items():
        members[tuple(layers), dependencies.reasons.get(label)].append(label)
    return [
        (ChannelGroup(layers, len(labels), reason), np.array(labels)) for (layers, reason), labels in members.items()
    ]


def _scores(dependencies: ChannelDependencies, criterion: str) -> np.ndarray:
    """Returns the importance of each label; NaN where the criterion gives none."""
    total, count = np.zeros((2, len(dependencies.labels)))
    for layer, sides in dependencies.sides.items():
        values = _importance(layer, criterion)
        if values is not None:
            np.add.at(total, dependencies.labels[sides["out"]], values)
            np.add.at(count, dependencies.labels[sides["out"]], 1)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _importance(layer: keras.Layer, criterion: str) -> np.ndarray | None:
    if criterion == "bn_gamma":
        scaled = isinstance(layer, keras.layers.BatchNormalization) and layer.scale
        return np.abs(keras.ops.convert_to_numpy(layer.gamma)) if scaled else None
    if type(layer) not in CHANNEL_MAKING:
        return None
    axes = AXES[type(layer)]
    kernel = next(weight for weight in layer.weights if "out" in axes[weight.name].values())  # the bias comes after
    out = next(axis for axis, side in axes[kernel.name].items() if side == "out")
    values = np.moveaxis(np.abs(keras.ops.convert_to_numpy(kernel)), out, -1)
    norms = values.reshape(-1, values.shape[-1]).sum(axis=0)
    return norms / max(norms.mean(), np.finfo("float32").tiny)


def _macs_by_layer(model: keras.Model, input_shape: Any) -> Counter:
    counted: Counter = Counter()
    for call in measure(model, input_shape)[0]:
        counted[call.operation] += call.macs
    return counted


def _share(operation: keras.Operation, dependencies: ChannelDependencies, chosen: np.ndarray) -> float:
    """Returns the share of a layer's kernels, and so of its multiply-accumulates, that remains."""
    kernels = [weight for weight in getattr(operation, "weights", ()) if "kernel" in weight.name]
    if operation not in dependencies.sides or not kernels:
        return 1.0
    before = sum(math.prod(kernel.shape) for kernel in kernels)
    shares = {side: chosen[channels].mean() for side, channels in dependencies.sides[operation].items()}
    axes = AXES[type(operation)]
    after = [math.prod((*kernel.shape, *(shares[side] for side in axes[kernel.name].values()))) for kernel in kernels]
    return sum(after) / before


def _smaller(model: keras.Model, dependencies: ChannelDependencies, chosen: np.ndarray) -> keras.Model:
    copies: dict[keras.Layer, keras.Layer] = {}
    used_names = {tensor.name for tensor in model.inputs}

    def smaller_copy(operation: keras.Operation) -> Callable[..., Any]:
        if not isinstance(operation, keras.Layer):
            return operation
        if operation not in copies:
            config = operation.get_config() | _settings(operation, dependencies, chosen)
            names = (operation.name, *(f"{operation.name}_{copy}" for copy in range(1, len(copies) + 2)))
            config["name"] = next(name for name in names if name not in used_names)  # two nested models may share names
            used_names.add(config["name"])
            copies[operation] = type(operation).from_config(config)
        return copies[operation]

    inputs = [keras.Input(batch_shape=each.shape, dtype=each.dtype, name=each.name) for each in model.inputs]
    outputs = replay(model, inputs, smaller_copy)
    for layer, copy in copies.items():
        for weight, fresh in zip(layer.weights, copy.weights, strict=True):
            fresh.assign(_remaining_values(layer, weight, dependencies, chosen))
    return keras.Model(keras.tree.pack_sequence_as(structure(model), inputs), outputs, name=model.name)


def _settings(layer: keras.Layer, dependencies: ChannelDependencies, chosen: np.ndarray) -> dict[str, Any]:
    if layer not in dependencies.sides:
        return {}
    remaining = int(np.count_nonzero(chosen[dependencies.sides[layer]["out"]]))
    if type(layer) in SETTINGS:
        return {SETTINGS[type(layer)]: remaining}
    if isinstance(layer, keras.layers.Reshape) and layer.target_shape[-1] != -1:
        return {"target_shape": (*layer.target_shape[:-1], remaining)}
    return {}


def _remaining_values(
    layer: keras.Layer, weight: keras.Variable, dependencies: ChannelDependencies, chosen: np.ndarray
) -> np.ndarray:
    value = keras.ops.convert_to_numpy(weight)
    if layer not in dependencies.sides:
        return value
    for axis, side in AXES.get(type(layer), {}).get(weight.name, {}).items():
        value = np.compress(chosen[dependencies.sides[layer][side]], value, axis=axis)
    return value


def _refuse_fixed(model: keras.Model, dependencies: ChannelDependencies, criterion: str) -> NoReturn:
    reasons = [
        f"{group.layers[0]!r} by {group.fixed_by or f'having no {criterion}'}" for group, _ in _groups(dependencies)
    ]
    rule = "a model must have channels that can be removed, and every layer keeps all of its channels"
    checks.refuse(rule, f"{model.name!r}: {', '.join(reasons[:5]) or 'no layer makes any'}")
