"""Layers by hand: what every layer of these chapters has, and the dense layer, number by number.

A layer is two functions that belong together. `forward` computes outputs and remembers what the way back needs;
`backward` takes the gradient of the loss with respect to the outputs, writes those of the weights into `gradients`, and
returns that of the inputs, which the layer before takes. That is all of backpropagation.
"""

import numpy as np

from . import activations
from .initializers import initializer


class Layer:
    """Base of layers: weights and their gradients by name; a layer without weights keeps both empty."""

    weights: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]

    def __init__(self, **weights: np.ndarray):
        self.weights, self.gradients = weights, {}

    def forward(self, x: np.ndarray, *, training: bool = False) -> np.ndarray:
        """Returns the outputs; `training` matters to layers that do something else then."""
        raise NotImplementedError

    def backward(self, gradient: np.ndarray) -> np.ndarray:
        """Returns the gradient of the inputs of the last `forward`, from that of its outputs."""
        raise NotImplementedError


def check_width(x: np.ndarray, width: int) -> None:
    """Refuses inputs whose last axis has another size, also 1, which NumPy would broadcast."""
    if np.shape(x)[-1:] != (width,):
        raise ValueError(f"inputs must have a last axis of {width}; got {np.shape(x)}.")


class Dense(Layer):
    """Neurons that each sum all inputs: y = f(x W + b).

    With s = x W + b and g the gradient of y: ds = g f'(s), dW = x^T ds, db = sum of ds over the batch, dx = ds W^T.

    Args:
        inputs: D, numbers that come in.
        units: neurons.
        activation: name in `activations.ACTIVATIONS`.
        kernel: name in `initializers.INITIALIZERS`; biases start at 0.
        seed: of the kernel.

    Raises:
        ValueError: there is no such activation or initializer.

    Example:
        >>> Dense(3, 2).forward(np.ones((5, 3))).shape
        (5, 2)
    """

    def __init__(
        self, inputs: int, units: int, *, activation: str = "linear", kernel: str = "xavier_uniform", seed: int = 0
    ):
        made = initializer(kernel)((inputs, units), np.random.default_rng(seed))
        super().__init__(kernel=made, bias=np.zeros(units))
        self.activation = activation
        self.function = activations.activation(activation)

    def forward(self, x, *, training=False):
        """Returns (..., units) of inputs (..., D)."""
        self.x = np.asarray(x, float)
        self.sums = self.x @ self.weights["kernel"] + self.weights["bias"]
        return self.function.value(self.sums)

    def backward(self, gradient):
        """Returns the gradient (..., D) of the inputs."""
        inward = gradient * self.function.derivative(self.sums)
        rows, columns = self.x.reshape(-1, self.x.shape[-1]), inward.reshape(-1, inward.shape[-1])
        self.gradients = {"kernel": rows.T @ columns, "bias": columns.sum(axis=0)}
        return inward @ self.weights["kernel"].T

    def explain(self, x: np.ndarray) -> str:
        """Returns every number of the forward pass of one example (D,) as text.

        Example:
            >>> layer = Dense(2, 1, activation="sigmoid")
            >>> layer.weights.update(kernel=np.array([[1.0], [-2.0]]), bias=np.array([0.5]))
            >>> print(layer.explain(np.array([3.0, 1.0])))
            neuron 0: 3 * 1 + 1 * -2 + 0.5 = 1.5; sigmoid(1.5) = 0.8176
        """
        outputs, lines = self.forward(np.asarray(x, float)[np.newaxis])[0], []
        for unit, (total, output) in enumerate(zip(self.sums[0], outputs, strict=True)):
            kernel = self.weights["kernel"][:, unit]
            products = " + ".join(f"{value:.4g} * {weight:.4g}" for value, weight in zip(x, kernel, strict=True))
            total_text = f"{products} + {self.weights['bias'][unit]:.4g} = {total:.4g}"
            lines.append(f"neuron {unit}: {total_text}; {self.activation}({total:.4g}) = {output:.4g}")
        return "\n".join(lines)
