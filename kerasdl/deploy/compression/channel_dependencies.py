"""Which channels of a graph stand or fall together (https://arxiv.org/abs/2301.12900, section 3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import keras
import numpy as np

from kerasdl.core.keras_graph import replay

from .layer_channels import (
    AXES,
    KEEPING,
    KEEPING_OPS,
    MERGING,
    MERGING_OPS,
    MIXING,
    RESHAPING,
    SETTINGS,
    is_elementwise,
    is_plain,
    op_name,
)

L = keras.layers


@dataclass(frozen=True, eq=False)
class _Tensor:
    spec: keras.KerasTensor
    channels: np.ndarray  # the ids of the channels on its last axis


class Ties:
    """The channels of a model: each has an id, and ids that stand or fall together share a label."""

    def __init__(self, model: keras.Model, keep: Sequence[str] = ()):
        """Walks the graph of a functional model; layers whose names match a pattern in `keep` lose no channel."""
        self.sides: dict[keras.Layer, dict[str, np.ndarray]] = {}
        """The channel ids on the sides ("in", "middle", "out") of each layer that has such."""
        self._count = 0
        self._pairs: list[tuple[np.ndarray, np.ndarray]] = []
        self._whole: list[tuple[np.ndarray, str]] = []
        self._keep = keep
        inputs = [_Tensor(tensor, self._opaque(tensor, "the input")) for tensor in getattr(model, "inputs", None) or []]
        outputs = replay(model, inputs, self._stand_in)
        for tensor in keras.tree.flatten(outputs):
            self._fix(tensor.channels, "the output")
        self.labels = _joined(self._count, self._pairs)
        """The label of each channel id, (ids,)."""
        self.reasons: dict[int, str] = {}
        """By label: what keeps these channels whole."""
        for channels, reason in self._whole:
            for label in np.unique(self.labels[channels]):
                self.reasons.setdefault(int(label), reason)

    def _stand_in(self, operation: keras.Operation) -> Callable[..., Any]:
        def call(*args, **kwargs):
            given, named = keras.tree.map_structure(
                lambda value: value.spec if isinstance(value, _Tensor) else value, (args, kwargs)
            )
            spec = operation.compute_output_spec(*given, **named)
            read = [value for value in keras.tree.flatten(args) if isinstance(value, _Tensor)]
            beside = [value for value in keras.tree.flatten(kwargs) if isinstance(value, _Tensor)]
            reason = f"{operation.name!r}, a {type(operation).__name__}"
            for tensor in beside:
                self._fix(tensor.channels, reason)
            channels = None if keras.tree.is_nested(spec) else self._through(operation, args, read, spec)
            if channels is None:
                for tensor in read:
                    self._fix(tensor.channels, reason)
                return keras.tree.map_structure(lambda each: _Tensor(each, self._opaque(each, reason)), spec)
            if any(fnmatchcase(operation.name, pattern) for pattern in self._keep):
                self._fix(channels, "keep")
            return _Tensor(spec, channels)

        return call

    def _through(
        self, operation: keras.Operation, args: tuple, read: list[_Tensor], spec: keras.KerasTensor
    ) -> np.ndarray | None:
        """Returns the channels of an operation's output; None where they are not known from those that it reads."""
        kind = type(operation)
        if not read or getattr(operation, "data_format", None) == "channels_first":
            return None
        if kind in AXES:
            return self._weighted(operation, read[0]) if is_plain(operation, read[0].spec) else None
        if kind in KEEPING and is_plain(operation, read[0].spec):
            return read[0].channels
        if kind in RESHAPING:
            return self._reshaped(operation, read[0], spec)
        if kind in MERGING:
            return self._merged(read)
        if kind is L.Concatenate:
            if operation.axis in (-1, len(spec.shape) - 1):
                return np.concatenate([tensor.channels for tensor in read])
            return self._merged(read)
        if op_name(operation) in (*KEEPING_OPS, *MERGING_OPS):
            others = [value for value in keras.tree.flatten(args) if not isinstance(value, _Tensor)]
            return self._merged(read) if all(np.ndim(value) == 0 for value in others) else None
        return None

    def _weighted(self, layer: keras.Layer, x: _Tensor) -> np.ndarray:
        """Returns the channels behind a layer with weights for each channel, a shared one's tied over its calls."""
        repeats = getattr(layer, "depth_multiplier", 1)
        sides = {"in": x.channels, "middle": np.repeat(x.channels, repeats)}
        sides["out"] = self._new(getattr(layer, SETTINGS[type(layer)])) if type(layer) in MIXING else sides["middle"]
        if not is_elementwise(getattr(layer, "activation", None)):
            self._fix(sides["out"], f"the activation of {layer.name!r}")
        return self._known(layer, sides)

    def _reshaped(self, layer: keras.Layer, x: _Tensor, spec: keras.KerasTensor) -> np.ndarray | None:
        places = x.spec.shape[1:-1]
        if spec.shape[-1] == len(x.channels) and None not in places:
            out = x.channels
        elif len(spec.shape) == 2 and None not in places:
            out = np.tile(x.channels, int(np.prod(places)))
        else:
            return None
        return self._known(layer, {"out": out})

    def _known(self, layer: keras.Layer, sides: dict[str, np.ndarray]) -> np.ndarray:
        for side, channels in self.sides.setdefault(layer, sides).items():
            self._tie(channels, sides[side])
        return sides["out"]

    def _merged(self, read: list[_Tensor]) -> np.ndarray:
        widest = max((tensor.channels for tensor in read), key=len)
        for tensor in read:
            if len(tensor.channels) == len(widest):
                self._tie(widest, tensor.channels)
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

    def _tie(self, some: np.ndarray, others: np.ndarray) -> None:
        self._pairs.append((some, others))

    def _fix(self, channels: np.ndarray, reason: str) -> None:
        self._whole.append((channels, reason))


def _joined(count: int, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Returns the lowest id that each id is tied to, over any number of steps."""
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
