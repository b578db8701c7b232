"""Adversarial losses of logits, gradient norms of examples, and the spectral norm of a matrix."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks

ADVERSARIAL_LOSSES = ("minimax", "non_saturating", "hinge", "least_squares", "relativistic", "wasserstein")


def discriminator_loss(real: Any, fake: Any, loss: str = "non_saturating") -> Any:
    """Returns the loss of a discriminator, which learns to give real examples high logits and made ones low logits.

    With r and f the logits of real and made examples, the mean of: softplus(-r) + softplus(f) for `minimax` and
    `non_saturating`; max(0, 1 - r) + max(0, 1 + f) for `hinge`; ((r - 1)^2 + f^2) / 2 for `least_squares`;
    softplus(f - r) for `relativistic`; f - r for `wasserstein`.

    Source: https://arxiv.org/abs/1406.2661, algorithm 1; hinge https://arxiv.org/abs/1705.02894, section 3; least
    squares https://arxiv.org/abs/1611.04076, equation 9; relativistic https://arxiv.org/abs/1807.00734, section 4.1;
    Wasserstein https://arxiv.org/abs/1701.07875, algorithm 1.

    Args:
        real: (B, ...) logits of real examples.
        fake: (B, ...) logits of made examples; of the shape of `real` for `relativistic`.
        loss: name of the loss.

    Returns:
        A scalar of the dtype of the logits.

    Raises:
        ArgumentError: there is no such loss, or `relativistic` has logits of two shapes.

    Example:
        >>> float(discriminator_loss(np.float32([[2.0]]), np.float32([[-3.0]]), "hinge"))
        0.0
    """
    real, fake = _checked(real, fake, loss)
    if loss in ("minimax", "non_saturating"):
        return ops.mean(ops.softplus(-real)) + ops.mean(ops.softplus(fake))
    if loss == "hinge":
        return ops.mean(ops.maximum(1.0 - real, 0.0)) + ops.mean(ops.maximum(1.0 + fake, 0.0))
    if loss == "least_squares":
        return (ops.mean(ops.square(real - 1.0)) + ops.mean(ops.square(fake))) / 2.0
    if loss == "relativistic":
        return ops.mean(ops.softplus(fake - real))
    return ops.mean(fake) - ops.mean(real)


def generator_loss(fake: Any, loss: str = "non_saturating", real: Any = None) -> Any:
    """Returns the loss of a generator, which learns to make examples that get high logits.

    With f the logits of made examples and r those of real ones, the mean of: -softplus(f) for `minimax`, which is
    log(1 - sigmoid(f)); softplus(-f) for `non_saturating`; (f - 1)^2 / 2 for `least_squares`; softplus(r - f) for
    `relativistic`; -f for `hinge` and `wasserstein`.

    Source: as `discriminator_loss`; non-saturating https://arxiv.org/abs/1406.2661, section 3.

    Args:
        fake: (B, ...) logits of made examples.
        loss: name of the loss.
        real: (B, ...) logits of real examples, for `relativistic` alone.

    Returns:
        A scalar of the dtype of the logits.

    Raises:
        ArgumentError: there is no such loss, or `relativistic` lacks logits of real examples in the shape of `fake`.

    Example:
        >>> round(float(generator_loss(np.float32([[0.0]]))), 3)
        0.693
    """
    if loss == "relativistic" and real is None:
        checks.refuse("the relativistic loss compares with logits of real examples", None, "Pass real=.")
    real, fake = _checked(fake if real is None else real, fake, loss)
    if loss == "minimax":
        return -ops.mean(ops.softplus(fake))
    if loss == "non_saturating":
        return ops.mean(ops.softplus(-fake))
    if loss == "least_squares":
        return ops.mean(ops.square(fake - 1.0)) / 2.0
    if loss == "relativistic":
        return ops.mean(ops.softplus(real - fake))
    return -ops.mean(fake)


def squared_gradient_norms(function: Callable[[Any], Any], inputs: Any) -> Any:
    """Returns the squared norm of the gradient of a function at each example, differentiable once more.

    Each output must depend on its own example alone: a batch norm in training would mix them.

    Source: https://arxiv.org/abs/1801.04406, equation 9 (R1 and R2 are its means over real and over made examples);
    https://arxiv.org/abs/1704.00028, equation 3.

    Args:
        function: from (B, ...) to outputs with the batch first, whose sum over an example is differentiated.
        inputs: (B, ...) floats.

    Returns:
        (B,) of the dtype of the inputs.

    Raises:
        ArgumentError: the outputs do not depend on the inputs.

    Example:
        >>> squared_gradient_norms(lambda x: 3.0 * x[:, :1], np.ones((2, 5), "float32")).numpy().tolist()
        [9.0, 9.0]
    """
    inputs = tf.convert_to_tensor(inputs)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        total = tf.reduce_sum(function(inputs))
    gradient = tape.gradient(total, inputs)
    if gradient is None:
        checks.refuse("outputs must depend on the inputs by differentiable operations", "no gradient")
    return tf.reduce_sum(tf.square(gradient), axis=tuple(range(1, len(inputs.shape))))


def spectral_norm(matrix: Any, iterations: int = 10) -> Any:
    """Returns the largest singular value of a matrix, from the space that its first power iterations span (Lanczos).

    It is never above the true value, and equal to it once `iterations` reaches the rank. Each iteration takes two
    products of the matrix with a vector. Nothing is kept between two calls.

    Source: Golub and Kahan 1965, https://doi.org/10.1137/0702016.

    Args:
        matrix: (N, M) floats.
        iterations: vectors of the space.

    Returns:
        A scalar of the dtype of the matrix, 0 or more.

    Raises:
        ArgumentError: the matrix has not two axes, or `iterations` is below 1.

    Example:
        >>> round(float(spectral_norm(np.diag([1.0, 3.0, 2.0]))), 5)
        3.0
    """
    matrix = ops.convert_to_tensor(matrix)
    if len(matrix.shape) != 2:
        checks.refuse("matrix must have two axes", tuple(matrix.shape), "Reshape it to (-1, its last axis).")
    matrix = matrix if matrix.shape[0] >= matrix.shape[1] else ops.transpose(matrix)
    width = matrix.shape[1]
    start = np.random.default_rng(0).normal(size=(width, 1))
    basis = ops.cast(start / np.linalg.norm(start), matrix.dtype)  # (M, 1), and a column more in each iteration
    images = ops.matmul(matrix, basis)  # (N, 1)
    for _ in range(min(checks.at_least("iterations", iterations, 1), width) - 1):
        column = ops.matmul(ops.transpose(matrix), images[:, -1:])
        whole = ops.norm(column)
        for _ in range(2):  # the second pass removes what rounding left of the first
            column = column - ops.matmul(basis, ops.matmul(ops.transpose(basis), column))
        length = ops.norm(column)
        is_new = length > 1e-5 * whole  # otherwise the space holds all that the start reaches
        column = ops.where(is_new, column / ops.where(is_new, length, 1.0), 0.0)
        basis = ops.concatenate([basis, column], axis=1)
        images = ops.concatenate([images, ops.matmul(matrix, column)], axis=1)
    values, _ = ops.eigh(ops.matmul(ops.transpose(images), images))
    return ops.sqrt(ops.maximum(values[-1], 0.0))


def _checked(real: Any, fake: Any, loss: str) -> tuple[Any, Any]:
    checks.one_of("loss", loss, ADVERSARIAL_LOSSES)
    real, fake = ops.convert_to_tensor(real), ops.convert_to_tensor(fake)
    if loss == "relativistic" and tuple(real.shape[1:]) != tuple(fake.shape[1:]):
        checks.refuse("the relativistic loss needs logits of one shape", (tuple(real.shape), tuple(fake.shape)))
    return real, fake
