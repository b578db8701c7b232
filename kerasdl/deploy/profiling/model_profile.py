"""Profile of a model by layer: parameters, multiply-accumulates, activation memory, receptive field."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import Any

import keras
import tensorflow as tf
from matplotlib.backends import backend_agg
from matplotlib.figure import Figure

from kerasdl.core import checks, files
from kerasdl.core.display.results import Displayed
from kerasdl.core.keras_graph import replay

from .macs import count_products, traced
from .receptive_fields import ONE_PIXEL, ReceptiveField, field_after

FLOAT = 4  # bytes
INK, BAR, FAINT = "#1f2937", "#2563eb", "#d1d5db"
ROWS_IN_PICTURE = 60  # beyond, it shows the layers that multiply alone


@dataclass(frozen=True)
class LayerProfile:
    """Profile of one call of a layer, for one example."""

    name: str
    """The name of the layer, or of the bare operation of `keras.ops`."""
    kind: str
    """Its class."""
    output_shape: tuple[int, ...] | list[tuple[int, ...]]
    """Shape of the output with the batch first; a list of shapes where it has several."""
    parameters: int
    """All its weights, batch-norm statistics included; 0 where the layer was called before."""
    macs: int
    """Multiply-accumulates."""
    activation_bytes: int
    """Its output in float32."""
    receptive_field: tuple[int, ...] | None
    """Input pixels (or time steps) along each axis that one output value depends on; None where it has no position."""


@dataclass(frozen=True, repr=False)
class Profile(Displayed):
    """Profile of a model, in total and by layer, for one example."""

    model: str
    """Name of the model."""
    rows: tuple[LayerProfile, ...]
    """Every call of a layer, in the order in which they run."""
    parameters: int
    """All weights, batch-norm statistics included."""
    macs: int
    """Multiply-accumulates; half of what is counted as FLOPs."""
    activation_bytes: int
    """All outputs of layers in float32, as training holds them."""
    peak_activation_bytes: int
    """The peak of inference: the inputs and outputs of a layer, and the outputs that later layers still need."""

    def _shown(self) -> tuple[str, str]:
        return f"Profile {self.model}: {self.parameters:,} parameters, {self.macs:,} MACs", self.table()

    def to_json(self) -> str:
        """Returns the profile as JSON text."""
        return json.dumps(asdict(self), indent=2)

    def table(self) -> str:
        """Returns the profile as text, a line for each layer and one for the model."""
        heads = ("layer", "kind", "output", "parameters", "MACs", "activation", "field")
        lines = [heads, *map(_cells, self.rows)]
        total = ("total", "", "", f"{self.parameters:,}", f"{self.macs:,}", _kilobytes(self.activation_bytes), "")
        peak = ("", "", "", "", "", _kilobytes(self.peak_activation_bytes), "peak")
        widths = [max(map(len, column)) for column in zip(*lines, total, peak, strict=True)]
        rule = ["-" * width for width in widths]
        aligned = (str.ljust, str.ljust, str.ljust, str.rjust, str.rjust, str.rjust, str.rjust)
        return "\n".join(
            "  ".join(align(cell, width) for align, cell, width in zip(aligned, line, widths, strict=True)).rstrip()
            for line in [lines[0], rule, *lines[1:], rule, total, peak]
        )

    def plot(self, path: str | os.PathLike) -> None:
        """Writes a picture with bars of multiply-accumulates and activation memory by layer, the first layer on top."""
        rows = [row for row in self.rows if row.macs or len(self.rows) <= ROWS_IN_PICTURE]
        figure = Figure(figsize=(11, 1.6 + 0.19 * len(rows)), dpi=110, layout="constrained")
        backend_agg.FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, sharey=True)
        panels = (
            (left, f"multiply-accumulates, millions: {self.macs / 1e6:,.1f} in all", [row.macs / 1e6 for row in rows]),
            (
                right,
                f"activations, kB: {self.peak_activation_bytes / 1e3:,.0f} at most at once",
                [row.activation_bytes / 1e3 for row in rows],
            ),
        )
        for axes, title, values in panels:
            axes.barh(range(len(rows)), values, color=BAR, height=0.75)
            axes.set_title(title, loc="left", color=INK, fontsize=10)
            axes.grid(axis="x", color=FAINT, linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines[["top", "right", "bottom"]].set_visible(False)
            axes.tick_params(colors=INK, labelsize=8, length=0)
        left.set_yticks(range(len(rows)), [row.name for row in rows])
        left.set_ylim(len(rows) - 0.4, -0.6)
        figure.suptitle(f"{self.model}: {self.parameters:,} parameters", color=INK, fontweight="bold", fontsize=12)
        with files.writing(path) as file:
            figure.savefig(file)


@dataclass(frozen=True, eq=False)
class MeasuredTensor:
    """One tensor of a measured graph."""

    spec: keras.KerasTensor
    """Its shape and dtype, the batch 1."""
    field: ReceptiveField | None
    """The receptive field of one of its values."""

    @property
    def bytes(self) -> int:
        """Its size in float32."""
        return FLOAT * math.prod(self.spec.shape)


@dataclass(frozen=True, eq=False)
class MeasuredCall:
    """One call of an operation in a measured graph."""

    operation: keras.Operation
    """The layer or bare operation."""
    inputs: tuple[MeasuredTensor, ...]
    """The tensors that it reads."""
    outputs: tuple[MeasuredTensor, ...]
    """The tensors that it writes."""
    macs: int
    """Its multiply-accumulates."""


def profile_model(
    model: keras.Model, *, input_shape: tuple[int, ...] | Mapping[str, tuple[int, ...]] | None = None
) -> Profile:
    """Returns the profile of a functional model, without running it; nested models are opened.

    Multiply-accumulates are read off the graph that TensorFlow would run: convolutions, matrix products and
    contractions in any layer, also a custom one, and in bare operations; those of recurrent layers in every step.
    Element-wise operations (activation, normalisation, pooling, addition) and table look-ups count as 0. Activation
    memory counts every output, nothing fused or computed in place. A receptive field leaves out values that a gate or a
    normalisation takes from the whole image.

    Source: receptive fields as in https://distill.pub/2019/computing-receptive-fields.

    Args:
        model: a functional or Sequential model.
        input_shape: its input without the batch, where sizes are free; with several inputs, a dict by input name.

    Returns:
        The profile, for one example, or for the batch that the model is fixed to.

    Raises:
        ArgumentError: the model is subclassed, or a size is free.

    Example:
        >>> profile = profile_model(model)
        >>> profile.parameters == model.count_params()
        True
        >>> print(profile.rows[0].name, profile.rows[0].receptive_field)
        stem_conv (3, 3)
    """
    calls, inputs, outputs = measure(model, input_shape)
    rows, seen = [], set()
    for call in calls:
        shapes = [tensor.spec.shape for tensor in call.outputs]
        rows.append(
            LayerProfile(
                name=call.operation.name,
                kind=type(call.operation).__name__,
                output_shape=shapes[0] if len(shapes) == 1 else shapes,
                parameters=0 if call.operation in seen else _parameters(call.operation),
                macs=call.macs,
                activation_bytes=sum(tensor.bytes for tensor in call.outputs),
                receptive_field=call.outputs[0].field.pixels if call.outputs[0].field else None,
            )
        )
        seen.add(call.operation)
    return Profile(
        model=model.name,
        rows=tuple(rows),
        parameters=model.count_params(),
        macs=sum(row.macs for row in rows),
        activation_bytes=sum(row.activation_bytes for row in rows),
        peak_activation_bytes=_peak(calls, inputs, outputs),
    )


def measure(
    model: keras.Model, input_shape: Any = None
) -> tuple[list[MeasuredCall], list[MeasuredTensor], list[MeasuredTensor]]:
    """Returns every call in the graph of a model with its multiply-accumulates, the inputs, and the outputs.

    Raises:
        ArgumentError: the model is subclassed, or a size is free.
    """
    calls: list[MeasuredCall] = []

    def measured_call(operation: keras.Operation):
        def call(*args, **kwargs):
            read = [value for value in keras.tree.flatten((args, kwargs)) if isinstance(value, MeasuredTensor)]
            spec_args, spec_kwargs = keras.tree.map_structure(
                lambda value: value.spec if isinstance(value, MeasuredTensor) else value, (args, kwargs)
            )
            # The scope keeps Keras from allocating weights; each call has its own, as a scope keeps all writes.
            with keras.StatelessScope(initialize_variables=False):
                written = operation.compute_output_spec(*spec_args, **spec_kwargs)
                function = traced(operation, spec_args, spec_kwargs)
            if any(None in spec.shape for spec in keras.tree.flatten(written)):
                written = keras.tree.map_structure(_as_keras, function.structured_outputs)
            specs, macs = keras.tree.flatten(written), count_products(function.graph)
            if any(None in spec.shape for spec in specs):
                checks.refuse("every size must be known", f"{specs[0].shape} after {operation.name!r}")
            field = field_after(operation, [(tensor.spec.shape, tensor.field) for tensor in read], specs[0].shape, macs)
            outputs = keras.tree.map_structure(lambda spec: MeasuredTensor(spec, field), written)
            calls.append(MeasuredCall(operation, tuple(read), tuple(keras.tree.flatten(outputs)), macs))
            return outputs

        return call

    symbols = getattr(model, "inputs", None) or []
    inputs = [_sized(tensor, input_shape, alone=len(symbols) == 1) for tensor in symbols]
    outputs = keras.tree.flatten(replay(model, inputs, measured_call))
    return calls, inputs, outputs


def _as_keras(spec: tf.TensorSpec) -> keras.KerasTensor:
    return keras.KerasTensor(tuple(spec.shape), spec.dtype.name)


def _sized(tensor: keras.KerasTensor, input_shape: Any, alone: bool) -> MeasuredTensor:
    batch, *sizes = tensor.shape
    if input_shape is not None:
        is_dict = isinstance(input_shape, Mapping)
        shape = input_shape if alone and not is_dict else dict(input_shape).get(tensor.name, sizes)
        fits = len(shape) == len(sizes) and all(fixed in (None, size) for fixed, size in zip(sizes, shape, strict=True))
        if not fits:
            checks.refuse(f"input_shape of {tensor.name!r} must fit {tuple(sizes)}", tuple(shape))
        sizes = list(shape)
    if None in sizes:
        hint = "Pass input_shape=(height, width, channels), or a dict of such by input name."
        checks.refuse(f"every size of input {tensor.name!r} must be known", tuple(sizes), hint)
    spec = keras.KerasTensor((batch or 1, *sizes), tensor.dtype)
    return MeasuredTensor(spec, ReceptiveField(*[(ONE_PIXEL,) * len(sizes[:-1])] * 2) if len(sizes) > 1 else None)


def _parameters(operation: keras.Operation) -> int:
    return sum(math.prod(weight.shape) for weight in getattr(operation, "weights", ()))


def _peak(calls: list[MeasuredCall], inputs: list[MeasuredTensor], outputs: list[MeasuredTensor]) -> int:
    births = {id(tensor): (tensor, 0) for tensor in inputs}
    births |= {id(tensor): (tensor, step) for step, call in enumerate(calls) for tensor in call.outputs}
    last = {id(tensor): step for step, call in enumerate(calls) for tensor in call.inputs}
    last |= {id(tensor): len(calls) - 1 for tensor in outputs}
    change = [0] * (len(calls) + 1)
    for key, (tensor, born) in births.items():
        change[born] += tensor.bytes
        change[max(last.get(key, born), born) + 1] -= tensor.bytes
    return max(accumulate(change))


def _cells(row: LayerProfile) -> tuple[str, ...]:
    shape = "x".join(map(str, row.output_shape[1:])) if isinstance(row.output_shape, tuple) else "several"
    sizes = row.receptive_field or ()
    field = str(sizes[0]) if len(set(sizes)) == 1 else "x".join(map(str, sizes))
    return (
        *(row.name, row.kind, shape),
        *(f"{row.parameters:,}", f"{row.macs:,}", _kilobytes(row.activation_bytes), field),
    )


def _kilobytes(count: int) -> str:
    return f"{count / 1000:,.1f} kB"
