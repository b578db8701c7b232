"""Activations and their derivatives, by hand, with the shares of saturated and of dead units.

An activation bends what a neuron sums; without it a stack of layers is one linear map. Its derivative multiplies every
gradient that flows back through it: at 0.25 for the steepest place of a sigmoid, ten layers leave a millionth.

Deviations: at 0, where ReLU, leaky ReLU and ELU with alpha other than 1 have two derivatives, that of the left side is
taken, as TensorFlow does.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # https://arxiv.org/abs/1706.02515, equation 14


def sigmoid(x):
    """1 / (1 + e^-x), computed from e^-|x|, which never overflows."""
    x = np.asarray(x, float)
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def sigmoid_derivative(x):
    """s (1 - s): 0.25 at most, at 0."""
    return sigmoid(x) * sigmoid(-np.asarray(x, float))


def tanh(x):
    """(e^x - e^-x) / (e^x + e^-x) = 2 sigmoid(2 x) - 1."""
    return np.tanh(np.asarray(x, float))


def tanh_derivative(x):
    """1 - tanh^2: 1 at most, at 0."""
    return 1.0 - tanh(x) ** 2


def relu(x):
    """max(x, 0)."""
    return np.maximum(x, 0.0)


def relu_derivative(x):
    """1 above 0, and 0 elsewhere."""
    return np.where(np.asarray(x) > 0, 1.0, 0.0)


def leaky_relu(x, slope: float = 0.2):
    """The larger of x and slope x; Keras's slope is 0.2."""
    return np.where(np.asarray(x) > 0, x, slope * np.asarray(x))


def leaky_relu_derivative(x, slope: float = 0.2):
    """1 above 0, and the slope elsewhere."""
    return np.where(np.asarray(x) > 0, 1.0, slope)


def elu(x, alpha: float = 1.0):
    """Number itself above 0, alpha (e^x - 1) below (https://arxiv.org/abs/1511.07289)."""
    return np.where(np.asarray(x) > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def elu_derivative(x, alpha: float = 1.0):
    """1 above 0, alpha e^x below."""
    return np.where(np.asarray(x) > 0, 1.0, alpha * np.exp(np.minimum(x, 0.0)))


def selu(x):
    """ELU with the alpha and scale that keep mean 0 and variance 1 (https://arxiv.org/abs/1706.02515)."""
    return SELU_SCALE * elu(x, SELU_ALPHA)


def selu_derivative(x):
    """Scale above 0, scale alpha e^x below."""
    return SELU_SCALE * elu_derivative(x, SELU_ALPHA)


def normal_share(x):
    """Share of a standard normal below x, Phi(x) = (1 + erf(x / sqrt 2)) / 2."""
    return 0.5 * (1.0 + np.vectorize(math.erf, otypes=[float])(np.asarray(x, float) / math.sqrt(2.0)))


def gelu(x):
    """Product of x and Phi(x) (https://arxiv.org/abs/1606.08415)."""
    return np.asarray(x) * normal_share(x)


def gelu_derivative(x):
    """Phi(x) + x phi(x), with the density phi of the standard normal."""
    x = np.asarray(x, float)
    return normal_share(x) + x * np.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)


def gelu_tanh(x):
    """GELU with Phi(x) written as (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2."""
    x = np.asarray(x, float)
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def gelu_tanh_derivative(x):
    """The product rule on x and the hyperbolic tangent of a cubic."""
    x = np.asarray(x, float)
    scale = math.sqrt(2.0 / math.pi)
    bent = np.tanh(scale * (x + 0.044715 * x**3))
    return 0.5 * (1.0 + bent) + 0.5 * x * (1.0 - bent**2) * scale * (1.0 + 3 * 0.044715 * x * x)


def swish(x):
    """Product of x and sigmoid(x), also called SiLU (https://arxiv.org/abs/1710.05941)."""
    return np.asarray(x) * sigmoid(x)


def swish_derivative(x):
    """s + x s (1 - s)."""
    return sigmoid(x) + np.asarray(x) * sigmoid_derivative(x)


def softplus(x):
    """log(1 + e^x), the smooth form of ReLU, whose derivative is the sigmoid."""
    return np.logaddexp(0.0, x)


def mish(x):
    """Product of x and tanh(softplus(x)) (https://arxiv.org/abs/1908.08681)."""
    return np.asarray(x) * np.tanh(softplus(x))


def mish_derivative(x):
    """tanh(softplus) + x (1 - tanh^2(softplus)) sigmoid."""
    bent = np.tanh(softplus(x))
    return bent + np.asarray(x) * (1.0 - bent**2) * sigmoid(x)


def linear(x):
    """Number itself."""
    return np.asarray(x, float)


def softmax(x):
    """Shares of the last axis, e^x / sum e^x; the largest entry is subtracted first, which changes nothing.

    Example:
        >>> softmax(np.array([1000.0, 1000.0]))
        array([0.5, 0.5])
    """
    x = np.asarray(x, float)
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def softmax_backward(shares, gradient):
    """Gradient of the inputs of a softmax from that of its shares: s (g - sum g s).

    The Jacobian is diag(s) - s s^T, so that no matrix has to be made.
    """
    return shares * (gradient - (gradient * shares).sum(axis=-1, keepdims=True))


class Activation(NamedTuple):
    """Activation of each number by itself."""

    value: Callable
    """Function of an array."""
    derivative: Callable
    """Its derivative at each number."""


ACTIVATIONS = {
    "linear": Activation(linear, np.ones_like),
    "sigmoid": Activation(sigmoid, sigmoid_derivative),
    "tanh": Activation(tanh, tanh_derivative),
    "relu": Activation(relu, relu_derivative),
    "leaky_relu": Activation(leaky_relu, leaky_relu_derivative),
    "elu": Activation(elu, elu_derivative),
    "selu": Activation(selu, selu_derivative),
    "gelu": Activation(gelu, gelu_derivative),
    "gelu_tanh": Activation(gelu_tanh, gelu_tanh_derivative),
    "swish": Activation(swish, swish_derivative),
    "mish": Activation(mish, mish_derivative),
    "softplus": Activation(softplus, sigmoid),
}


def activation(name: str) -> Activation:
    """Returns an activation and its derivative by name, one of `ACTIVATIONS`.

    Raises:
        ValueError: there is no such activation.

    Example:
        >>> float(activation("sigmoid").derivative(np.array(0.0)))
        0.25
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}; got {name!r}.")
    return ACTIVATIONS[name]


def saturated_share(name: str, sums, least: float = 0.01) -> float:
    """Returns the share of sums at which the derivative of an activation is below `least`, so that little is learned.

    Example:
        >>> saturated_share("sigmoid", np.array([-10.0, 0.0, 10.0, 1.0]))
        0.5
    """
    return float((np.abs(activation(name).derivative(np.asarray(sums, float))) < least).mean())


def dead_share(outputs) -> float:
    """Returns the share of units that are 0 for every example of a batch (N, units): dead ReLUs.

    Example:
        >>> dead_share(np.array([[0.0, 1.0], [0.0, 0.0]]))
        0.5
    """
    return float((np.asarray(outputs) == 0).all(axis=0).mean())
