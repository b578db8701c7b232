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

from ..profiling.model_profile import measure
from ..samples.model_inputs import structure
from .channel_dependencies import Ties
from .layer_channels import AXES, MIXING, SETTINGS

CRITERIA = ("l1", "bn_gamma")


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that the same layers make, as in a residual stage: each goes from all of them or from none."""

    layers: tuple[str, ...]
    """The layers that make them."""
    channels: int
    """How many there are."""
    whole: str | None
    """What keeps them whole, such as "the output" or the layer that cannot lose any; None where they can be pruned."""


def channel_groups(model: keras.Model, *, keep: Sequence[str] = ()) -> tuple[ChannelGroup, ...]:
    """Finds which channels of a functional model stand or fall together, and what keeps some of them whole.

    Additions, products and shared layers tie channels; concatenations join them, flattening repeats them;
    batch normalisation, depthwise convolution, pooling and activations pass them on. Grouped convolutions, attention,
    recurrence, layer normalisation and custom layers keep all that they touch whole.

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
        ChannelGroup(layers=('head',), channels=4, whole='the output')
    """
    return tuple(group for group, _ in _groups(_ties(model, keep)))


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

    Inputs and outputs keep their shapes, layers their names, what is left its weights; train on to win back accuracy.
    The model given is not changed; the new one is not compiled.

    Source: https://arxiv.org/abs/1608.08710, section 3.1, for `"l1"`; network slimming, https://arxiv.org/abs/1708.06519,
    section 3, for `"bn_gamma"`; tied channels by their mean, as in https://arxiv.org/abs/2301.12900, section 3.3.

    Args:
        model: a functional or Sequential model; nested models are opened, and the result is flat.
        ratio: share of the channels removed from each group of `channel_groups`, above 0 and below 1; or None.
        macs: what is left of the multiply-accumulates, above 0 and below 1, in place of `ratio`: the least important
            channels go wherever they stand.
        criterion: what makes a channel important: `"l1"`, the sum of its filter's absolute weights over the mean of
            its layer; or `"bn_gamma"`, the scale of its batch normalisation, for nets trained with a penalty on it,
            where channels without one stay.
        divisor: what is left of a group is a multiple of this, 1 or more; no group goes below it.
        keep: names of layers that lose no channel; `*` and `?` stand for any characters.
        input_shape: as in `profile_model`, for `macs` where sizes are free.

    Returns:
        A functional model with outputs of the same shape and dtype.

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
    ties = _ties(model, keep)
    plan = _Plan(ties, criterion, divisor)
    if not plan.groups:
        _refuse_whole(model, ties, criterion)
    chosen = plan.of_ratio(ratio) if macs is None else plan.of_macs(macs, _macs_by_layer(model, input_shape))
    if chosen.all():
        sizes = [len(labels) for labels in plan.groups]
        checks.refuse(f"some group must be larger than divisor={divisor} once pruned", sizes, "Lower divisor.")
    return _smaller(model, ties, chosen)


class _Plan:
    """Chooses channels: an array that tells of each channel id whether it stays, (ids,)."""

    def __init__(self, ties: Ties, criterion: str, divisor: int):
        self.ties, self.divisor = ties, divisor
        self.scores = _scores(ties, criterion)
        free = [labels for group, labels in _groups(ties) if group.whole is None]
        self.groups = [labels for labels in free if not np.isnan(self.scores[labels]).any()]

    def of_ratio(self, ratio: float) -> np.ndarray:
        """Keeps the best of each group."""
        return self._best(lambda labels: (1 - ratio) * len(labels))

    def of_macs(self, share: float, macs: Mapping[keras.Operation, int]) -> np.ndarray:
        """Keeps what scores most, wherever it stands, within a share of the multiply-accumulates of all layers."""
        allowed = share * sum(macs.values())

        def left(threshold: float) -> float:
            chosen = self._above(threshold)
            return sum(count * _share(operation, self.ties, chosen) for operation, count in macs.items())

        thresholds = [*np.unique(self.scores[np.concatenate(self.groups)]), math.inf]
        if (least := left(math.inf)) > allowed:
            rule = f"macs must be {least / sum(macs.values()):.3f} or more, as the rest cannot be removed"
            checks.refuse(rule, share, "Lower divisor, or see channel_groups(model) for what is kept whole.")
        first = bisect_left(thresholds, True, key=lambda threshold: left(threshold) <= allowed)
        return self._above(thresholds[first])

    def _above(self, threshold: float) -> np.ndarray:
        return self._best(lambda labels: np.count_nonzero(self.scores[labels] >= threshold))

    def _best(self, count_of: Callable[[np.ndarray], float]) -> np.ndarray:
        stays = np.ones(len(self.ties.labels), bool)
        for labels in self.groups:
            ranked = labels[np.argsort(-self.scores[labels], kind="stable")]
            stays[ranked[self._rounded(count_of(labels), len(labels)) :]] = False
        return stays[self.ties.labels]

    def _rounded(self, count: float, size: int) -> int:
        nearest = math.floor(count / self.divisor + 0.5) * self.divisor
        return size if count >= size else min(size, max(self.divisor, nearest))


def _ties(model: keras.Model, keep: Sequence[str]) -> Ties:
    ties = Ties(model, keep)
    names = [layer.name for layer in all_layers(model)]
    for pattern in keep:
        if not any(fnmatchcase(name, pattern) for name in names):
            checks.refuse("a name in keep must fit a layer", pattern, f"Layers are called {', '.join(names[:5])}, ...")
    return ties


def _groups(ties: Ties) -> list[tuple[ChannelGroup, np.ndarray]]:
    """Returns each group with the labels of its channels."""
    makers: dict[int, list[str]] = defaultdict(list)
    for layer, sides in ties.sides.items():
        if type(layer) in MIXING:
            for label in np.unique(ties.labels[sides["out"]]):
                makers[int(label)].append(layer.name)
    members: dict[tuple, list[int]] = defaultdict(list)
    for label, layers in makers.items():
        members[tuple(layers), ties.reasons.get(label)].append(label)
    return [
        (ChannelGroup(layers, len(labels), reason), np.array(labels)) for (layers, reason), labels in members.items()
    ]


def _scores(ties: Ties, criterion: str) -> np.ndarray:
    """Returns the importance of each label, NaN where the criterion does not know."""
    total, count = np.zeros((2, len(ties.labels)))
    for layer, sides in ties.sides.items():
        values = _importance(layer, criterion)
        if values is not None:
            np.add.at(total, ties.labels[sides["out"]], values)
            np.add.at(count, ties.labels[sides["out"]], 1)
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _importance(layer: keras.Layer, criterion: str) -> np.ndarray | None:
    if criterion == "bn_gamma":
        scaled = isinstance(layer, keras.layers.BatchNormalization) and layer.scale
        return np.abs(keras.ops.convert_to_numpy(layer.gamma)) if scaled else None
    if type(layer) not in MIXING:
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


def _share(operation: keras.Operation, ties: Ties, chosen: np.ndarray) -> float:
    """Returns what is left of the kernels of a layer, and so of its multiply-accumulates."""
    kernels = [weight for weight in getattr(operation, "weights", ()) if "kernel" in weight.name]
    if operation not in ties.sides or not kernels:
        return 1.0
    before = sum(math.prod(kernel.shape) for kernel in kernels)
    shares = {side: chosen[channels].mean() for side, channels in ties.sides[operation].items()}
    axes = AXES[type(operation)]
    after = [math.prod((*kernel.shape, *(shares[side] for side in axes[kernel.name].values()))) for kernel in kernels]
    return sum(after) / before


def _smaller(model: keras.Model, ties: Ties, chosen: np.ndarray) -> keras.Model:
    made: dict[keras.Layer, keras.Layer] = {}
    taken = {tensor.name for tensor in model.inputs}

    def stand_in(operation: keras.Operation) -> Callable[..., Any]:
        if not isinstance(operation, keras.Layer):
            return operation
        if operation not in made:
            config = operation.get_config() | _settings(operation, ties, chosen)
            names = (operation.name, *(f"{operation.name}_{copy}" for copy in range(1, len(made) + 2)))
            config["name"] = next(name for name in names if name not in taken)  # two nested models may share names
            taken.add(config["name"])
            made[operation] = type(operation).from_config(config)
        return made[operation]

    inputs = [keras.Input(batch_shape=each.shape, dtype=each.dtype, name=each.name) for each in model.inputs]
    outputs = replay(model, inputs, stand_in)
    for layer, copy in made.items():
        for weight, fresh in zip(layer.weights, copy.weights, strict=True):
            fresh.assign(_kept_part(layer, weight, ties, chosen))
    return keras.Model(keras.tree.pack_sequence_as(structure(model), inputs), outputs, name=model.name)


def _settings(layer: keras.Layer, ties: Ties, chosen: np.ndarray) -> dict[str, Any]:
    if layer not in ties.sides:
        return {}
    left = int(np.count_nonzero(chosen[ties.sides[layer]["out"]]))
    if type(layer) in SETTINGS:
        return {SETTINGS[type(layer)]: left}
    if isinstance(layer, keras.layers.Reshape) and layer.target_shape[-1] != -1:
        return {"target_shape": (*layer.target_shape[:-1], left)}
    return {}


def _kept_part(layer: keras.Layer, weight: keras.Variable, ties: Ties, chosen: np.ndarray) -> np.ndarray:
    value = keras.ops.convert_to_numpy(weight)
    if layer not in ties.sides:
        return value
    for axis, side in AXES.get(type(layer), {}).get(weight.name, {}).items():
        value = np.compress(chosen[ties.sides[layer][side]], value, axis=axis)
    return value


def _refuse_whole(model: keras.Model, ties: Ties, criterion: str) -> NoReturn:
    reasons = [f"{group.layers[0]!r} by {group.whole or f'having no {criterion}'}" for group, _ in _groups(ties)]
    rule = "a model must have channels that can be removed, and all are kept whole"
    checks.refuse(rule, f"{model.name!r}: {', '.join(reasons[:5]) or 'no layer makes any'}")
