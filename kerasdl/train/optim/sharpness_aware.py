"""Sharpness-aware minimisation: gradients at the highest loss nearby (https://arxiv.org/abs/2010.01412).

ASAM (https://arxiv.org/abs/2102.11600) scales the neighbourhood by the size of each weight. Deviation: here it scales
every weight, as the paper's formulas do; the authors' program leaves biases out.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks

from .wrapper import OptimizerWrapper

ETA = 0.01  # of ASAM: without it a weight of 0 would not be displaced
Tensors = list[tf.Tensor | None]


@keras.saving.register_keras_serializable("kerasdl")
class SharpnessAware(OptimizerWrapper):
    """Optimizer wrapper that applies the gradients at displaced weights, where the loss nearby is highest.

    An update costs two gradients: g at the weights w, and the one at w + e, which the inner optimizer applies.
    e = rho * g / |g|, with |g| the norm of all gradients together; with `adaptive`,
    e = rho * t^2 * g / |t * g| with t = |w| + 0.01, element by element.

    `fit` does this where the model has no own `train_step`. In your own loop, write
    `with optimizer.displaced(gradients, variables): gradients = ...` before `optimizer.apply(gradients, variables)`.

    Source: https://arxiv.org/abs/2010.01412, algorithm 1; https://arxiv.org/abs/2102.11600, algorithm 1.

    Args:
        inner_optimizer: a name or an optimizer.
        rho: radius of the neighbourhood, above 0. The papers take 0.05, and 0.5 to 2 with `adaptive`.
        adaptive: whether the displacement of each weight is scaled by its size (ASAM).
        name: name of the optimizer.

    Raises:
        ArgumentError: a setting is out of its range, or the inner optimizer scales the loss or accumulates gradients.

    Example:
        >>> optimizer = SharpnessAware("sgd", rho=0.5)
        >>> weight = keras.Variable([3.0, 4.0])
        >>> with optimizer.displaced([tf.constant([6.0, 8.0])], [weight]):
        ...     print(weight.numpy().round(2))
        [3.3 4.4]
        >>> weight.numpy()
        array([3., 4.], dtype=float32)
    """

    def __init__(
        self,
        inner_optimizer: str | keras.optimizers.Optimizer = "sgd",
        rho: float = 0.05,
        adaptive: bool = False,
        name: str | None = "sharpness_aware",
    ):
        super().__init__(inner_optimizer, name)
        self.rho = checks.within("rho", rho, 1e-12, 1e6)
        self.adaptive = bool(adaptive)

    def displacements(self, gradients: Sequence, variables: Sequence[keras.Variable]) -> Tensors:
        """Returns the displacement e of each variable; a common factor of the gradients does not change it.

        Args:
            gradients: gradients of the whole batch, one for each variable, or None.
            variables: the weights.

        Returns:
            A tensor of each variable's shape and dtype, or None.
        """
        slopes = [
            None
            if gradient is None
            else self._scaled(tf.cast(tf.convert_to_tensor(gradient), variable.dtype), variable)
            for gradient, variable in zip(gradients, variables, strict=True)
        ]
        norm = tf.linalg.global_norm([slope for slope in slopes if slope is not None])
        factor = tf.math.divide_no_nan(tf.cast(self.rho, norm.dtype), norm)
        pairs = zip(slopes, variables, strict=True)
        return [None if slope is None else self._scaled(factor * slope, variable) for slope, variable in pairs]

    def _scaled(self, tensor: tf.Tensor, variable: keras.Variable) -> tf.Tensor:
        """Returns a tensor times t = |w| + 0.01 where the neighbourhood is adaptive, else the tensor."""
        return (tf.abs(variable.value) + ETA) * tensor if self.adaptive else tensor

    def move(self, variables: Sequence[keras.Variable], displacements: Tensors) -> list[tf.Tensor]:
        """Adds displacements to variables; returns the values before, for `restore`."""
        saved = [tf.identity(variable.value) for variable in variables]
        for variable, displacement in zip(variables, displacements, strict=True):
            if displacement is not None:
                variable.assign_add(displacement)
        return saved

    def restore(self, variables: Sequence[keras.Variable], saved: Sequence[tf.Tensor]) -> None:
        """Assigns the values that `move` returned, bit for bit."""
        for variable, value in zip(variables, saved, strict=True):
            variable.assign(value)

    @contextmanager
    def displaced(self, gradients: Sequence, variables: Sequence[keras.Variable]) -> Iterator[None]:
        """Context manager under which variables are displaced along their gradients."""
        saved = self.move(variables, self.displacements(gradients, variables))
        try:
            yield
        finally:
            self.restore(variables, saved)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "rho": self.rho, "adaptive": self.adaptive}


def sharpness_of(optimizer: keras.optimizers.Optimizer) -> SharpnessAware | None:
    """Returns the `SharpnessAware` among an optimizer and its inner ones; None where there is none."""
    while optimizer is not None and not isinstance(optimizer, SharpnessAware):
        optimizer = getattr(optimizer, "inner_optimizer", None)
    return optimizer
