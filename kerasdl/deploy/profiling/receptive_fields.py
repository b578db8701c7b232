"""Receptive fields: the part of the input that one value of a layer's output depends on."""

import math
from dataclasses import dataclass

import keras

L = keras.layers
ONE_PIXEL = 1.0
TRANSPOSED = (L.Conv1DTranspose, L.Conv2DTranspose, L.Conv3DTranspose)
UPSAMPLING = (L.UpSampling1D, L.UpSampling2D, L.UpSampling3D)
CUTTING = (L.ZeroPadding1D, L.ZeroPadding2D, L.ZeroPadding3D, L.Cropping1D, L.Cropping2D, L.Cropping3D)
REARRANGING = (L.Reshape, L.Permute, L.Flatten)


@dataclass(frozen=True)
class ReceptiveField:
    """Receptive field of one value, along each axis."""

    sizes: tuple[float, ...]
    """Pixels of the input in it."""
    jumps: tuple[float, ...]
    """Pixels of the input from one value to its neighbour."""

    @property
    def pixels(self) -> tuple[int, ...]:
        """Whole pixels of the input in it; after upsampling, at most."""
        return tuple(math.ceil(size) for size in self.sizes)


def field_after(
    operation: keras.Operation,
    inputs: list[tuple[tuple[int, ...], ReceptiveField | None]],
    output_shape: tuple[int, ...],
    macs: int,
) -> ReceptiveField | None:
    """Returns the field of an operation's output.

    Args:
        operation: a layer or a bare operation.
        inputs: shape, batch first, and field of each tensor that it reads.
        output_shape: shape of what it writes.
        macs: its multiply-accumulates; an operation without any that keeps the sizes works position by position.

    Returns:
        The largest of the inputs' fields, widened; None for a value without a position.
    """
    if isinstance(operation, L.Embedding):
        axes, field = len(output_shape) - 2, inputs[0][1]  # ids were channels, and are places now
        alone = ReceptiveField((ONE_PIXEL,) * axes, (ONE_PIXEL,) * axes)
        return field if field is not None and len(field.sizes) == axes else alone
    placed = [(shape, field) for shape, field in inputs if field is not None]
    ranks = {len(field.sizes) for _, field in placed}  # several for maps read beside a list of boxes
    if len(ranks) != 1 or isinstance(operation, (L.RNN, *REARRANGING)):
        return None
    sizes, jumps = (tuple(map(max, zip(*parts, strict=True))) for parts in zip(*map(_parts, placed), strict=True))
    field = ReceptiveField(sizes, jumps)
    if isinstance(operation, CUTTING):
        return field
    if isinstance(operation, UPSAMPLING):
        return _after_upsampling(operation, field)
    if isinstance(operation, TRANSPOSED):
        return _after_transposed_convolution(operation, field)
    window = getattr(operation, "kernel_size", None) or getattr(operation, "pool_size", None)
    if window is not None:
        return _after_window(operation, window, field)
    keeps_places = output_shape[1:-1] == placed[0][0][1:-1] and (macs == 0 or isinstance(operation, L.Dense))
    return field if keeps_places and len(output_shape) == len(sizes) + 2 else None


def _after_upsampling(layer: keras.Layer, field: ReceptiveField) -> ReceptiveField:
    blurred = getattr(layer, "interpolation", "nearest") != "nearest"
    return _spread(field, _each(layer.size, field), (2 if blurred else 1,) * len(field.sizes))


def _after_transposed_convolution(layer: keras.Layer, field: ReceptiveField) -> ReceptiveField:
    strides = _each(layer.strides, field)
    axes = zip(layer.kernel_size, layer.dilation_rate, strides, strict=True)
    return _spread(field, strides, [math.ceil(((kernel - 1) * rate + 1) / stride) for kernel, rate, stride in axes])


def _after_window(layer: keras.Layer, window: int | tuple[int, ...], field: ReceptiveField) -> ReceptiveField:
    rates = _each(getattr(layer, "dilation_rate", 1), field)
    reach = [(kernel - 1) * rate for kernel, rate in zip(_each(window, field), rates, strict=True)]
    strides = _each(layer.strides, field)
    return ReceptiveField(
        tuple(size + more * jump for size, more, jump in zip(field.sizes, reach, field.jumps, strict=True)),
        tuple(jump * stride for jump, stride in zip(field.jumps, strides, strict=True)),
    )


def _parts(placed: tuple[tuple[int, ...], ReceptiveField]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return placed[1].sizes, placed[1].jumps


def _spread(field: ReceptiveField, factors, seen) -> ReceptiveField:
    sizes = tuple(size + (count - 1) * jump for size, count, jump in zip(field.sizes, seen, field.jumps, strict=True))
    return ReceptiveField(sizes, tuple(jump / factor for jump, factor in zip(field.jumps, factors, strict=True)))


def _each(value, field: ReceptiveField) -> tuple[int, ...]:
    return (value,) * len(field.sizes) if isinstance(value, int) else tuple(value)
