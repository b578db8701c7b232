"""Autodiff: arrays that remember how they were computed, and gradients by the chain rule from the end to the beginning.

Every operation makes a `Tensor` with its parents and a *pullback*: the function from the gradient of the result to the
gradients of the parents. `gradients` walks the graph from the output backwards in topological order, each tensor once,
after all that used it, and adds what comes back (reverse mode: https://arxiv.org/abs/1502.05767, section 3.2).

Pullbacks are written with the same operations, so that a gradient is a tensor with a graph of its own, and can be
differentiated again.

Two kinds of pairs explain most of them. Broadcasting and summation are each other's pullback: a number that was used n
times gathers n gradients. So are indexing and placing into zeros, and cutting windows and adding them up again.

Deviations: no in-place changes, float64 alone; operations that are not listed do not exist.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np


class Tensor:
    """Array with the graph of its computation.

    Example:
        >>> x = Tensor([1.0, 2.0])
        >>> gradients((x * x).sum(), [x])[0].value
        array([2., 4.])
    """

    def __init__(self, value: Any, parents: Sequence["Tensor"] = (), pullback: Callable | None = None, name: str = ""):
        self.value = np.asarray(value, float)
        self.parents, self.pullback, self.name = tuple(parents), pullback, name

    __array_ufunc__ = None  # arrays of NumPy leave `array + tensor` to __radd__

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    def __repr__(self):
        return f"Tensor({self.name or 'leaf'}, shape={self.shape})"

    def __add__(self, other):
        a, b = self, of(other)
        return Tensor(a.value + b.value, (a, b), lambda g: (summed_to(g, a.shape), summed_to(g, b.shape)), "add")

    def __mul__(self, other):
        a, b = self, of(other)
        pull = lambda g: (summed_to(g * b, a.shape), summed_to(g * a, b.shape))  # noqa: E731
        return Tensor(a.value * b.value, (a, b), pull, "multiply")

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -of(other)

    def __truediv__(self, other):
        return self * of(other) ** -1.0

    def __pow__(self, exponent: float):
        if exponent == 0:  # a constant, at 0 too
            return self * np.zeros(self.shape) + 1.0
        return Tensor(self.value**exponent, (self,), lambda g: (g * exponent * self ** (exponent - 1.0),), "power")

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other):
        return of(other) - self

    def __rtruediv__(self, other):
        return of(other) / self

    def __matmul__(self, other):
        a, b = self, of(other)
        if a.value.ndim < 2 or b.value.ndim < 2:
            raise ValueError(f"factors of @ must have two axes or more; got {a.shape} and {b.shape}. Reshape vectors.")
        pull = lambda g: (summed_to(g @ b.swapped(), a.shape), summed_to(a.swapped() @ g, b.shape))  # noqa: E731
        return Tensor(a.value @ b.value, (a, b), pull, "matmul")

    def __getitem__(self, place):
        """Entries at a place; an entry that is taken twice gathers both gradients."""
        return Tensor(self.value[place], (self,), lambda g: (placed(g, place, self.shape),), "take")

    def reshape(self, *shape: int):
        """Same numbers in another shape."""
        return Tensor(self.value.reshape(shape), (self,), lambda g: (g.reshape(*self.shape),), "reshape")

    def transpose(self, *axes: int):
        """Axes in another order."""
        back = tuple(int(each) for each in np.argsort([axis % self.value.ndim for axis in axes]))
        return Tensor(self.value.transpose(axes), (self,), lambda g: (g.transpose(*back),), "transpose")

    def swapped(self):
        """The last two axes swapped."""
        return self.transpose(*range(self.value.ndim - 2), self.value.ndim - 1, self.value.ndim - 2)

    def sum(self, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False):
        """Sum over axes; its pullback hands the gradient to every number that was added."""
        kept = self.value.sum(axis=axis, keepdims=True).shape
        pull = lambda g: (broadcast(g.reshape(*kept), self.shape),)  # noqa: E731
        return Tensor(self.value.sum(axis=axis, keepdims=keepdims), (self,), pull, "sum")

    def mean(self, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False):
        """Mean over axes."""
        total = self.sum(axis, keepdims=keepdims)
        return total * (total.value.size / self.value.size)

    def max(self, axis: int | tuple[int, ...] | None = None, *, keepdims: bool = False):
        """Largest over axes; entries that are equally large share the gradient."""
        most = self.value.max(axis=axis, keepdims=True)
        chosen = self.value == most
        shares = chosen / chosen.sum(axis=axis, keepdims=True)
        return (self * shares).sum(axis, keepdims=keepdims)

    def exp(self):
        """e to the power of each number."""
        result = Tensor(np.exp(self.value), (self,), None, "exp")
        result.pullback = lambda g: (g * result,)
        return result

    def log(self):
        """Natural logarithm."""
        return Tensor(np.log(self.value), (self,), lambda g: (g / self,), "log")

    def tanh(self):
        """Hyperbolic tangent."""
        result = Tensor(np.tanh(self.value), (self,), None, "tanh")
        result.pullback = lambda g: (g * (1.0 - result * result),)
        return result

    def sigmoid(self):
        """1 / (1 + e^-x), as a hyperbolic tangent."""
        return ((self * 0.5).tanh() + 1.0) * 0.5

    def relu(self):
        """max(x, 0)."""
        return self * (self.value > 0)

    def log_softmax(self):
        """Logarithms of the softmax over the last axis."""
        shifted = self - self.value.max(axis=-1, keepdims=True)
        return shifted - shifted.exp().sum(-1, keepdims=True).log()


def of(value: Any) -> Tensor:
    """Returns a value as a tensor; a tensor as it is."""
    return value if isinstance(value, Tensor) else Tensor(value)


def broadcast(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Returns a tensor repeated to a larger shape by the rules of NumPy."""
    return Tensor(np.broadcast_to(x.value, shape), (x,), lambda g: (summed_to(g, x.shape),), "broadcast")


def summed_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Returns the sums over the axes along which a shape was repeated."""
    if x.shape == shape:
        return x
    ahead = len(x.shape) - len(shape)
    axes = tuple(range(ahead)) + tuple(ahead + place for place, size in enumerate(shape) if size == 1)
    return x.sum(axes).reshape(*shape)


def placed(x: Tensor, place: Any, shape: tuple[int, ...]) -> Tensor:
    """Returns zeros of a shape with a tensor added at a place, the pullback of indexing."""
    zeros = np.zeros(shape)
    np.add.at(zeros, place, x.value)
    return Tensor(zeros, (x,), lambda g: (g[place],), "place")


def concatenate(tensors: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Returns tensors one behind the other along an axis.

    Args:
        tensors: of one shape but for that axis.
        axis: place of the axis.

    Example:
        >>> concatenate([Tensor([1.0]), Tensor([2.0, 3.0])]).value
        array([1., 2., 3.])
    """
    ends = np.cumsum([each.shape[axis] for each in tensors])

    def pull(g):
        cuts = [slice(end - each.shape[axis], end) for each, end in zip(tensors, ends, strict=True)]
        before = (slice(None),) * (axis % len(g.shape))
        return tuple(g[(*before, cut)] for cut in cuts)

    return Tensor(np.concatenate([each.value for each in tensors], axis), tensors, pull, "concatenate")


def ordered(output: Tensor) -> list[Tensor]:
    """Returns the tensors of a graph, each behind its parents: a topological order, without recursion."""
    order, done, stack = [], set(), [(output, False)]
    while stack:
        tensor, is_ready = stack.pop()
        if is_ready:
            order.append(tensor)
        elif id(tensor) not in done:
            done.add(id(tensor))
            stack += [(tensor, True), *((parent, False) for parent in tensor.parents)]
    return order


def gradients(output: Tensor, inputs: Sequence[Tensor], seed: Any = None) -> list[Tensor]:
    """Returns the gradients of an output with respect to inputs, tensors that can be differentiated again.

    Args:
        output: of any shape; several numbers are added, each multiplied by its entry of `seed`.
        inputs: tensors, leaves or others.
        seed: gradient of the output, of its shape; None takes ones.

    Returns:
        A tensor for each input, of its shape; zeros where the output does not depend on it.

    Raises:
        TypeError: an input is no tensor, such as the array that one was made of.

    Example:
        >>> x = Tensor(3.0)
        >>> slope = gradients(x**3, [x])[0]
        >>> float(slope.value), float(gradients(slope, [x])[0].value)
        (27.0, 18.0)
    """
    if others := [type(each).__name__ for each in inputs if not isinstance(each, Tensor)]:
        raise TypeError(f"inputs must be tensors of the graph; got {others[0]}. Keep Tensor(array), and pass that.")
    found = {id(output): Tensor(np.ones(output.shape) if seed is None else np.broadcast_to(seed, output.shape))}
    for tensor in reversed(ordered(output)):
        if tensor.pullback is None or id(tensor) not in found:
            continue
        for parent, part in zip(tensor.parents, tensor.pullback(found[id(tensor)]), strict=True):
            found[id(parent)] = found[id(parent)] + part if id(parent) in found else part
    return [found.get(id(each), Tensor(np.zeros(each.shape))) for each in inputs]
