"""Channel dependencies: channels that must be pruned together (https://arxiv.org/abs/2301.12900, section 3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import keras
import numpy as np

from kerasdl.core.keras_graph import replay

from .layer_channels import (
    AXES,
    CHANNEL_MAKING,
    CHANNELWISE,
    CHANNELWISE_OPS,
    MERGING,
    MERGING_OPS,
    RESHAPING,
    SETTINGS,
    has_default_channels,
    is_elementwise,
    op_name,
)

L = keras.layers


@dataclass(frozen=True, eq=False)
class _Tensor:
    spec: keras.KerasTensor
    channels: np.ndarray  # the ids of the channels on its last axis


class ChannelDependencies:
    """Channels of a model and their dependencies: each channel has an id, and dependent channels share a label."""

    def __init__(self, model: keras.Model, keep: Sequence[str] = ()):
        """Walks the graph of a functional model; layers whose names match a pattern in `keep` lose no channel."""
        self.sides: dict[keras.Layer, dict[str, np.ndarray]] = {}
        """The channel ids on the sides ("in", "middle", "out") of each layer that has such."""
        self._count = 0
        self._dependent: list[tuple[np.ndarray, np.ndarray]] = []
        self._fixed: list[tuple[np.ndarray, str]] = []
        self._keep = keep
        inputs = [_Tensor(tensor, self._opaque(tensor, "the input")) for tensor in getattr(model, "inputs", None) or []]
        outputs = replay(model, inputs, self._symbolic_call)
        for tensor in keras.tree.flatten(outputs):
            self._fix(tensor.channels, "the output")
        self.labels = _labels(self._count, self._dependent)
        """The label of each channel id, (ids,)."""
        self.reasons: dict[int, str] = {}
        """The reason for which channels cannot be removed, by their label."""
        for channels, reason in self._fixed:
            for label in np.unique(self.labels[channels]):
                self.reasons.setdefault(int(label), reason)

    def _symbolic_call(self, operation: keras.Operation) -> Callable[..., Any]:
        def call(*args, **kwargs):
            spec_args, spec_kwargs = keras.tree.map_structure(
                lambda value: value.spec if isinstance(value, _Tensor) else value, (args, kwargs)
            )
            spec = operation.compute_output_spec(*spec_args, **spec_kwargs)
            read = [value for value in keras.tree.flatten(args) if isinstance(value, _Tensor)]
            named = [value for value in keras.tree.flatten(kwargs) if isinstance(value, _Tensor)]
            reason = f"{operation.name!r}, a {type(operation).__name__}"
            for tensor in named:
                self._fix(tensor.channels, reason)
            channels = None if keras.tree.is_nested(spec) else self._output_channels(operation, args, read, spec)
            if channels is None:
                for tensor in read:
                    self._fix(tensor.channels, reason)
                return keras.tree.map_structure(lambda each: _Tensor(each, self._opaque(each, reason)), spec)
            if any(fnmatchcase(operation.name, pattern) for pattern in self._keep):
                self._fix(channels, "keep")
            return _Tensor(spec, channels)

        return call

    def _output_channels(
        self, operation: keras.Operation, args: tuple, read: list[_Tensor], spec: keras.KerasTensor
    ) -> np.ndarray | None:
        """Returns the channels of an operation's output; None where they do not follow from those of its inputs."""
        kind = type(operation)
        if not read or getattr(operation, "data_format", None) == "channels_first":
            return None
        if kind in AXES:
            return self._weighted(operation, read[0]) if has_default_channels(operation, read[0].spec) else None
        if kind in CHANNELWISE and has_default_channels(operation, read[0].spec):
            return read[0].channels
        if kind in RESHAPING:
            return self._reshaped(operation, read[0], spec)
        if kind in MERGING:
            return self._merged(read)
        if kind is L.Concatenate:
            if operation.axis in (-1, len(spec.shape) - 1):
                return np.concatenate([tensor.channels for tensor in read])
            return self._merged(read)
        if op_name(operation) in (*CHANNELWISE_OPS, *MERGING_OPS):
            others = [value for value in keras.tree.flatten(args) if not isinstance(value, _Tensor)]
            return self._merged(read) if all(np.ndim(value) == 0 for value in others) else None
        return None

    def _weighted(self, layer: keras.Layer, x: _Tensor) -> np.ndarray:
        """Returns the output channels of a layer with weights for each channel; all calls of a shared layer depend."""
        repeats = getattr(layer, "depth_multiplier", 1)
        sides = {"in": x.channels, "middle": np.repeat(x.channels, repeats)}
        sides["out"] = (
            self._new(getattr(layer, SETTINGS[type(layer)])) if type(layer) in CHANNEL_MAKING else sides["middle"]
        )
        if not is_elementwise(getattr(layer, "activation", None)):
            self._fix(sides["out"], f"the activation of {layer.name!r}")
        return self._recorded_output(layer, sides)

    def _reshaped(self, layer: keras.Layer, x: _Tensor, spec: keras.KerasTensor) -> np.ndarray | None:
        places = x.spec.shape[1:-1]
        if spec.shape[-1] == len(x.channels) and None not in places:
            out = x.channels
        elif len(spec.shape) == 2 and None not in places:
            out = np.tile(x.channels, int(np.prod(places)))
        else:
            return None
        return self._recorded_output(layer, {"out": out})

    def _recorded_output(self, layer: keras.Layer, sides: dict[str, np.ndarray]) -> np.ndarray:
        for side, channels in self.sides.setdefault(layer, sides).items():
            self._link(channels, sides[side])
        return sides["out"]

    def _merged(self, read: list[_Tensor]) -> np.ndarray:
        widest = max((tensor.channels for tensor in read), key=len)
        for tensor in read:
            if len(tensor.channels) == len(widest):
                self._link(widest, tensor.channels)
            else:
                self._fix(tensor.channels, "a single channel that meets many")
        return widest

    def _new(self, size: int) -> np.ndarray:
        self._count += size
        return np.arange(self._count - size, self._count)

    def _opaque(self, spec: keras.KerasTensor, reason: str) -> np.ndarray:
        channels = self._new((spec.shape[-1] or 1) if spec.shape else 1)
        self._fix(channels, reason)
        return channels

    def _link(self, some: np.ndarray, others: np.ndarray) -> None:
        self._dependent.append((some, others))

    def _fix(self, channels: np.ndarray, reason: str) -> None:
        self._fixed.append((channels, reason))


def _labels(count: int, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Returns for each id the lowest id that it depends on, over any number of steps."""
    labels = np.arange(count)
    some = np.concatenate([labels[:0], *(pair[0] for pair in pairs)])
    others = np.concatenate([labels[:0], *(pair[1] for pair in pairs)])
    while True:
        before = labels.copy()
        lowest = np.minimum(labels[some], labels[others])
        np.minimum.at(labels, some, lowest)
        np.minimum.at(labels, others, lowest)
        labels = labels[labels]
        if np.array_equal(labels, before):
            return labels
