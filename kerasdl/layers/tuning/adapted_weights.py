"""Learned changes of a layer's frozen weights: low rank (LoRA, DoRA), shifts (BitFit) and factors ((IA)3).

A change belongs to a weight, not to a kind of layer: the layer computes with W' in the place of W. So any layer can be
changed, attention with its four projections included, and merging is to write W' into the plain layer.

Deviations: there is no dropout before A, which no single weight can express.
"""

import itertools
import math
import re
from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from kerasdl.core import checks

KINDS = ("low_rank", "shift", "factor")
MOST_ADAPTERS = 64


@keras.saving.register_keras_serializable("kerasdl")
class AdaptedWeights(keras.layers.Layer):
    """Layer whose weights are frozen and computed with learned changes; it has several sets of changes, one is active.

    Kinds of change, each of one weight W, a matrix of `inputs` rows and all other axes as columns:

    - `{"kind": "low_rank", "rank": r, "alpha": a, "inputs": axes}`: W + a / r * A B, B zero at first; with
      `"magnitude": True` each column of that keeps a learned norm (DoRA).
    - `{"kind": "shift"}`: W + D, D zero at first.
    - `{"kind": "factor", "axes": axes, "vector": name}`: W times a vector along these axes, one at first. Changes of
      the same `vector` share it, as kernel and bias of one projection.

    Source: LoRA, https://arxiv.org/abs/2106.09685, section 4.1; DoRA, https://arxiv.org/abs/2402.09353, equations 5 and
    11; BitFit, https://arxiv.org/abs/2106.10199; (IA)3, https://arxiv.org/abs/2205.05638, section 3.3.

    Args:
        layer: a layer with weights. It is frozen.
        changes: `{adapter: {weight: change}}`; a weight is named by its path inside the layer, such as `kernel` or
            `query/kernel`.
        active: the adapter whose changes count and learn; with another name, or None, the layer is the plain one.
        shapes: build configuration of the layer; None reads it from the layer, which must be built then.
        seed: seed of A.

    Returns:
        What the layer returns, for the same arguments.

    Raises:
        ArgumentError: the layer is not built, has no such weight, or a change does not fit its weight.

    Example:
        >>> dense = keras.layers.Dense(8)
        >>> dense.build((None, 4))
        >>> changes = {"default": {"kernel": {"kind": "low_rank", "rank": 2, "alpha": 4, "inputs": [0]}}}
        >>> [tuple(weight.shape) for weight in AdaptedWeights(dense, changes, "default").trainable_weights]
        [(4, 2), (2, 8)]
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        changes: Mapping[str, Mapping[str, Mapping[str, Any]]],
        active: str | None = None,
        shapes: Mapping[str, Any] | None = None,
        seed: int = 0,
        **kwargs: Any,
    ):
        super().__init__(autocast=False, **{"name": layer.name, **kwargs})
        if not layer.built:
            if shapes is None:
                checks.refuse(
                    "a layer whose weights are changed must be built", layer.name, "Call it, or pass shapes=."
                )
            layer.build_from_config(shapes)
        checks.within("adapters", len(changes), 0, MOST_ADAPTERS)
        self.layer, self.seed, self.supports_masking = layer, seed, True
        self.shapes = layer.get_build_config() if shapes is None else shapes
        self.changes = {name: {key: dict(one) for key, one in table.items()} for name, table in changes.items()}
        self.parts: dict[str, keras.Variable] = {}
        known = self.inner_weights()
        for adapter, table in self.changes.items():
            for weight, change in table.items():
                if weight not in known:
                    checks.refuse(f"layer {layer.name!r} must have the weight that an adapter changes", weight)
                self._add_parts(adapter, weight, tuple(known[weight].shape), change)
        self.activate(active)

    def inner_weights(self) -> dict[str, keras.Variable]:
        """Returns the weights of the plain layer by their paths inside it."""
        return weights_by_name(self.layer)

    def activate(self, adapter: str | None) -> None:
        """Makes the changes of an adapter count and learn, and no others; None leaves the plain layer."""
        self.active = adapter
        self._freeze()

    def part(self, adapter: str, weight: str, part: str) -> keras.Variable | None:
        """Returns a variable of a change (`a`, `b`, `magnitude`, `shift`, `factor`), None where there is none."""
        return self.parts.get(f"{adapter}/{weight}/{part}")

    def effective_weights(self) -> dict[str, Any]:
        """Returns the changed weights of the active adapter as tensors, by their paths inside the layer."""
        known = self.inner_weights()
        return {name: self._changed(known[name], name, one) for name, one in self.changes.get(self.active, {}).items()}

    def call(self, *args, key=None, attention_mask=None, use_causal_mask=False, **kwargs):
        # Keras takes no mixture of tensors and settings in **kwargs, so those of attention have names.
        named = {"key": key, "attention_mask": attention_mask, "use_causal_mask": use_causal_mask or None}
        kwargs |= {name: value for name, value in named.items() if value is not None}
        known = self.inner_weights()
        values = [(variable, variable.value) for variable in self.layer.variables]
        changed = [(known[name], value) for name, value in self.effective_weights().items()]
        with keras.StatelessScope([*values, *changed], collect_losses=True, initialize_variables=False) as scope:
            before = dict(scope.state_mapping)
            outputs = self.layer(*args, **kwargs)
        for variable in self.layer.variables:  # seeds of dropout
            after = scope.get_current_value(variable)
            if after is not before[id(variable)]:
                variable.assign(after)
        for loss in scope.losses:
            self.add_loss(loss)
        return outputs

    def compute_output_spec(self, *args, **kwargs):
        return self.layer.compute_output_spec(*args, **kwargs)

    def compute_mask(self, inputs, previous_mask=None):
        return None  # the layer inside has set it

    @property
    def compute_dtype(self):
        """The dtype of the variables: W' is computed in full precision, and the layer inside casts it."""
        return self.variable_dtype

    @property
    def trainable(self):
        """True if the active adapter learns; the layer inside never does."""
        return self._trainable

    @trainable.setter
    def trainable(self, value):
        keras.layers.Layer.trainable.fset(self, value)
        self._freeze()

    def _freeze(self) -> None:
        for layer in self.layer._flatten_layers():
            layer.trainable = False
        for name, variable in self.parts.items():
            variable.trainable = bool(self._trainable and name.startswith(f"{self.active}/"))

    def _add_parts(self, adapter: str, weight: str, shape: tuple[int, ...], change: Mapping[str, Any]) -> None:
        kind = checks.one_of("kind", change.get("kind"), KINDS)
        prefix = f"{adapter}/{weight}/"
        if kind == "shift":
            self._add_part(f"{prefix}shift", shape, "zeros")
        elif kind == "factor":
            name = f"{adapter}/{change['vector']}/factor"
            sides = tuple(side for side in self._sides(shape, change["axes"]) if side > 1)
            if name not in self.parts:
                self._add_part(name, sides, "ones")
            elif tuple(self.parts[name].shape) != sides:
                checks.refuse(
                    f"changes of one vector must be of one shape, of {weight!r} {sides}", self.parts[name].shape
                )
        else:
            rows, columns = self._matrix(shape, change["inputs"])
            if checks.at_least("rank", change["rank"], 1) > min(rows, columns):
                checks.refuse(f"the rank of a change of ({rows}, {columns}) may not exceed either side", change["rank"])
            checks.within("alpha", change["alpha"], 1e-6, 1e6)
            seed = self.seed + len(self.parts)
            uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform", seed=seed)  # within 1 / sqrt(rows)
            self._add_part(f"{prefix}a", (rows, change["rank"]), uniform)
            self._add_part(f"{prefix}b", (change["rank"], columns), "zeros")
            if change.get("magnitude"):
                self._add_part(f"{prefix}magnitude", (columns,), "ones")

    def _add_part(self, name: str, shape: tuple[int, ...], initializer: Any) -> None:
        plain = name.replace("/", "_").replace(":", "_")
        self.parts[name] = self.add_weight(shape=shape, initializer=initializer, name=plain, autocast=False)

    def _sides(self, shape: tuple[int, ...], axes: Any) -> list[int]:
        if sorted({*axes}) != [*axes] or not all(type(axis) is int and 0 <= axis < len(shape) for axis in axes):
            checks.refuse(f"axes of a weight {shape} must be whole numbers in rising order", axes)
        return [shape[axis] for axis in axes]

    def _matrix(self, shape: tuple[int, ...], inputs: Any) -> tuple[int, int]:
        rows = math.prod(self._sides(shape, inputs))
        return rows, math.prod(shape) // rows

    def _changed(self, variable: keras.Variable, name: str, change: Mapping[str, Any]) -> Any:
        """Returns W' of one weight."""
        weight, shape, adapter = variable.value, tuple(variable.shape), self.active
        if change["kind"] == "shift":
            return weight + ops.cast(self.part(adapter, name, "shift"), weight.dtype)
        if change["kind"] == "factor":
            sides = [side if axis in change["axes"] else 1 for axis, side in enumerate(shape)]
            vector = self.part(adapter, change["vector"], "factor")
            return weight * ops.cast(ops.reshape(vector, sides), weight.dtype)
        inputs = [*change["inputs"]]
        order = [*inputs, *(axis for axis in range(len(shape)) if axis not in inputs)]
        a, b = (ops.cast(self.part(adapter, name, part), weight.dtype) for part in "ab")
        low_rank = ops.reshape(ops.matmul(a, b), [shape[axis] for axis in order])
        low_rank = ops.transpose(low_rank, [order.index(axis) for axis in range(len(shape))])
        weight = weight + low_rank * ops.cast(change["alpha"] / change["rank"], weight.dtype)
        magnitude = self.part(adapter, name, "magnitude")
        if magnitude is None:
            return weight
        norm = ops.stop_gradient(column_norms(weight, inputs))  # DoRA, section 4.3
        sides = [1 if axis in inputs else side for axis, side in enumerate(shape)]
        return weight / norm * ops.cast(ops.reshape(magnitude, sides), weight.dtype)

    def get_config(self):
        config = {key: value for key, value in super().get_config().items() if key != "autocast"}
        own = {"changes": self.changes, "active": self.active, "shapes": self.shapes, "seed": self.seed}
        return {**config, "layer": keras.saving.serialize_keras_object(self.layer), **own}

    @classmethod
    def from_config(cls, config):
        layer = config["layer"]
        if isinstance(layer, dict):
            layer = keras.saving.deserialize_keras_object(layer)
        return cls(**{**config, "layer": layer})


def weights_by_name(layer: keras.layers.Layer) -> dict[str, keras.Variable]:
    """Returns the weights of a layer by their paths inside it, such as `kernel` or `query/kernel`.

    Raises:
        ArgumentError: two weights have one path.
    """
    found, names = {}, {}
    for weight in layer.weights:
        steps = weight.path.split("/")  # without the layer's name where a wrapper has built its layers apart
        steps = steps[steps.index(layer.name) + 1 if layer.name in steps else 0 :]
        found["/".join([*_counted_inside(steps[:-1], names), steps[-1]])] = weight
    if len(found) < len(layer.weights):
        checks.refuse(
            f"weights of the layer {layer.name!r} must differ by their names", [w.path for w in layer.weights]
        )
    return found


def _counted_inside(steps: list[str], names: dict[tuple[str, ...], str]) -> list[str]:
    """Returns the names of nested layers with the numbers that they have inside one layer, not in the process."""
    for depth in range(1, len(steps) + 1):
        place = tuple(steps[:depth])
        if place not in names:
            stem = re.sub(r"_\d+$", "", steps[depth - 1])
            taken = [name for other, name in names.items() if other[:-1] == place[:-1]]
            numbered = (f"{stem}_{number}" if number else stem for number in itertools.count())
            names[place] = next(name for name in numbered if name not in taken)
    return [names[tuple(steps[:depth])] for depth in range(1, len(steps) + 1)]


def column_norms(weight: Any, inputs: list[int]) -> Any:
    """Returns the norms of the columns of a weight, 1 along the axes of its rows; those of zero columns are 1."""
    norms = ops.sqrt(ops.sum(ops.square(weight), axis=inputs, keepdims=True))
    return ops.where(norms == 0, ops.ones_like(norms), norms)
