"""Gradients of TensorFlow operations written in operations that TFLite has, for training on a phone.

TensorFlow's own (ReluGrad, Conv2DBackpropFilter, MaxPoolGrad, AvgPoolGrad) have no kernel there, and the converter ends
the process on the last. Here a window is a strided slice of the padded input, one for each place in the kernel.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from kerasdl.core.errors import ExportError

_OWN: dict[str, str] = {}
# Gradient operations that the converter turns into built-in operations.
CONVERTED = (
    *("TanhGrad", "SigmoidGrad", "SoftplusGrad", "RsqrtGrad", "SqrtGrad", "ReciprocalGrad", "BiasAddGrad"),
    "Conv2DBackpropInput",
)


@contextmanager
def convertible_gradients(graph: tf.Graph) -> Iterator[None]:
    """Context manager in which new operations of a graph get gradients that TFLite can hold.

    `tf.gradients` uses them; a GradientTape does not.
    """
    with graph.gradient_override_map(_OWN):
        yield


def refuse_foreign_gradients(graph: tf.Graph) -> None:
    """Raises ExportError for a gradient without a TFLite form: some end the converter's process with no error."""
    definition = graph.as_graph_def()
    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    for node in nodes:
        backward = node.name.startswith("gradients/") and node.op in ("While", "StatelessWhile")
        foreign = backward or node.op.endswith("Grad") or "Backprop" in node.op
        if foreign and node.op not in CONVERTED:
            raise ExportError(
                f"TFLite's built-in operations must cover the training step; {node.op} ({node.name}) is not one of "
                "them. Freeze that layer and those before it (trainable = False), and train what follows."
            )


def _gradient(operation: str) -> Callable:
    """Returns a decorator that registers a function as the gradient of an operation, under its own name."""
    _OWN[operation] = f"Kerasdl{operation}"
    return tf.RegisterGradient(_OWN[operation])


@_gradient("Relu")
def _relu(op: tf.Operation, grad: tf.Tensor) -> tf.Tensor:
    return tf.where(op.outputs[0] > 0, grad, 0.0)


@_gradient("Relu6")
def _relu6(op: tf.Operation, grad: tf.Tensor) -> tf.Tensor:
    return tf.where(tf.logical_and(op.outputs[0] > 0, op.outputs[0] < 6), grad, 0.0)


@_gradient("LeakyRelu")
def _leaky_relu(op: tf.Operation, grad: tf.Tensor) -> tf.Tensor:
    return tf.where(op.inputs[0] > 0, grad, op.get_attr("alpha") * grad)


@_gradient("Elu")
def _elu(op: tf.Operation, grad: tf.Tensor) -> tf.Tensor:
    return tf.where(op.outputs[0] < 0, (op.outputs[0] + 1.0) * grad, grad)


@dataclass(frozen=True)
class _Windows:
    """Positions of the kernel of a convolution or pooling on its input (B, H, W, C)."""

    shape: tuple[int, ...]
    """The input's shape."""
    size: tuple[int, int]
    """Height and width of the kernel."""
    strides: tuple[int, int]
    dilations: tuple[int, int]
    before: tuple[int, int]
    """Rows and columns of padding before the input."""
    steps: tuple[int, int]
    """Height and width of the output."""

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width that the windows need, and the input has with its padding before."""
        needed = ((n - 1) * s + (k - 1) * d + 1 for n, s, k, d in self._axes())
        return tuple(max(*pair) for pair in zip(needed, np.add(self.shape[1:3], self.before), strict=True))

    def _axes(self) -> Iterator[tuple[int, int, int, int]]:
        return zip(self.steps, self.strides, self.size, self.dilations, strict=True)

    def places(self) -> list[tuple[int, int]]:
        """Returns row and column of the first element that each place in the kernel covers."""
        rows, columns = self.size
        return [(i * self.dilations[0], j * self.dilations[1]) for i in range(rows) for j in range(columns)]

    def take(self, x: tf.Tensor, fill: float = 0.0) -> list[tf.Tensor]:
        """Returns the input elements that each place in the kernel covers: tensors (B, H', W', C)."""
        x = tf.pad(x, [(0, 0), *self._padding(), (0, 0)], constant_values=fill)
        (rows, columns), (down, right) = self.steps, self.strides
        return [
            x[:, i : i + (rows - 1) * down + 1 : down, j : j + (columns - 1) * right + 1 : right]
            for i, j in self.places()
        ]

    def put(self, windows: list[tf.Tensor]) -> tf.Tensor:
        """Adds windows up where they were taken, the adjoint of `take`: a tensor (B, H, W, C)."""
        total = tf.add_n([self._spread(window, place) for window, place in zip(windows, self.places(), strict=True)])
        (top, left), (height, width) = self.before, self.shape[1:3]
        return total[:, top : top + height, left : left + width]

    def _padding(self) -> list[tuple[int, int]]:
        sides = zip(self.before, self.padded, self.shape[1:3], strict=True)
        return [(before, whole - before - size) for before, whole, size in sides]

    def _spread(self, window: tf.Tensor, place: tuple[int, int]) -> tf.Tensor:
        for axis in (1, 2):
            size, stride, first = self.steps[axis - 1], self.strides[axis - 1], place[axis - 1]
            shape = list(window.shape)
            if stride > 1:  # zeros between, as strided slices have no gradient in TFLite
                window = tf.pad(
                    tf.expand_dims(window, axis + 1), [(0, stride - 1 if i == axis + 1 else 0) for i in range(5)]
                )
                window = tf.reshape(window, [*shape[:axis], size * stride, *shape[axis + 1 :]])
                window = window[:, : (size - 1) * stride + 1] if axis == 1 else window[:, :, : (size - 1) * stride + 1]
            used = (size - 1) * stride + 1
            after = self.padded[axis - 1] - first - used
            window = tf.pad(window, [(first, after) if i == axis else (0, 0) for i in range(4)])
        return window


def _windows(op: tf.Operation, size: tuple[int, int], dilations: tuple[int, int] = (1, 1)) -> _Windows:
    if op.get_attr("data_format") != b"NHWC":
        raise ExportError("convolutions and poolings must have their channels last to be trained on a phone.")
    shape, steps = tuple(op.inputs[0].shape), tuple(op.outputs[0].shape[1:3])
    strides, padding = tuple(op.get_attr("strides")[1:3]), op.get_attr("padding").decode()
    if padding == "SAME":
        spans = [(n - 1) * s + (k - 1) * d + 1 for n, s, k, d in zip(steps, strides, size, dilations, strict=True)]
        before = tuple(max(span - have, 0) // 2 for span, have in zip(spans, shape[1:3], strict=True))
    elif padding == "VALID":
        before = (0, 0)
    else:
        explicit = op.get_attr("explicit_paddings")
        before = (explicit[2], explicit[4])
    return _Windows(shape, size, strides, dilations, before, steps)


@_gradient("Conv2D")
def _conv2d(op: tf.Operation, grad: tf.Tensor) -> list[tf.Tensor]:
    x, kernel = op.inputs
    rows, columns, width, filters = kernel.shape
    if width != x.shape[-1]:
        raise ExportError("convolutions must have groups=1 to be trained on a phone.")
    windows = _windows(op, (rows, columns), tuple(op.get_attr("dilations")[1:3]))
    patches = tf.reshape(tf.concat(windows.take(x), axis=-1), (-1, rows * columns * width))
    flat = tf.reshape(grad, (-1, filters))
    of_kernel = tf.reshape(tf.matmul(patches, flat, transpose_a=True), kernel.shape)
    of_patches = tf.matmul(flat, tf.reshape(kernel, (-1, filters)), transpose_b=True)
    of_patches = tf.reshape(of_patches, (*grad.shape[:3], rows * columns * width))
    return [windows.put(tf.split(of_patches, rows * columns, axis=-1)), of_kernel]


@_gradient("DepthwiseConv2dNative")
def _depthwise(op: tf.Operation, grad: tf.Tensor) -> list[tf.Tensor]:
    x, kernel = op.inputs
    rows, columns, width, copies = kernel.shape
    windows = _windows(op, (rows, columns), tuple(op.get_attr("dilations")[1:3]))
    flat = tf.reshape(grad, (-1, width, copies))
    taps = tf.unstack(tf.reshape(kernel, (rows * columns, width, copies)))
    covered = [tf.reshape(window, (-1, width, 1)) for window in windows.take(x)]
    of_kernel = tf.reshape(tf.stack([tf.reduce_sum(window * flat, axis=0) for window in covered]), kernel.shape)
    shape = (*grad.shape[:3], width)
    return [windows.put([tf.reshape(tf.reduce_sum(flat * tap, axis=-1), shape) for tap in taps]), of_kernel]


@_gradient("MaxPool")
def _max_pool(op: tf.Operation, grad: tf.Tensor) -> tf.Tensor:
    windows = _windows(op, tuple(op.get_attr("ksize")[1:3]))
    left, shares = grad, []
    for window in windows.take(op.inputs[0], fill=-3e38):  # of several largest the first gets it all
        largest = tf.equal(window, op.outputs[0])
        shares.append(tf.where(largest, left, 0.0))
        left = tf.where(largest, 0.0, left)
    return windows.put(shares)


@_gradient("AvgPool")
def _average_pool(op: tf.Operation, grad: tf.Tensor) -> tf.Tensor:
    windows = _windows(op, tuple(op.get_attr("ksize")[1:3]))
    ones = np.pad(np.ones(windows.shape[1:3], "float32"), windows._padding())
    (rows, columns), (down, right) = windows.steps, windows.strides
    places = [
        ones[i:, j:][: (rows - 1) * down + 1 : down, : (columns - 1) * right + 1 : right] for i, j in windows.places()
    ]
    return windows.put([grad / np.sum(places, axis=0)[None, :, :, None]] * len(places))


@_gradient("StridedSlice")
def _slice(op: tf.Operation, grad: tf.Tensor) -> list[tf.Tensor | None]:
    x, *bounds = op.inputs
    begin, end, strides = map(tf.get_static_value, bounds)
    masks = {name: op.get_attr(f"{name}_mask") for name in ("begin", "end", "shrink_axis", "ellipsis", "new_axis")}
    known = x.shape.is_fully_defined() and begin is not None and end is not None and strides is not None
    if not known or masks["ellipsis"] or masks["new_axis"] or np.any(strides != 1):
        raise ExportError(f"slices must have fixed ends and steps of 1 to be trained on a phone; {op.name} has not.")
    padding = [(0, 0)] * len(x.shape)
    for axis, size in enumerate(x.shape[: len(begin)]):
        first, last, single = begin[axis], end[axis], masks["shrink_axis"] >> axis & 1
        first, last = first % size if single else first, first % size + 1 if single else last
        free_first, free_last = (not single and masks[name] >> axis & 1 for name in ("begin", "end"))
        first, last, _ = slice(None if free_first else first, None if free_last else last).indices(size)
        padding[axis] = (first, size - last)
    sizes = [size - before - after for size, (before, after) in zip(x.shape, padding, strict=True)]
    return [tf.pad(tf.reshape(grad, sizes), padding), None, None, None]
