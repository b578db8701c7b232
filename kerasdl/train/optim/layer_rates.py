"""Learning rates by layer: a wrapper that scales the updates of any optimizer for some weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks

from .wrapper import OptimizerWrapper


@keras.saving.register_keras_serializable("kerasdl")
class LayerRates(OptimizerWrapper):
    """Optimizer wrapper that multiplies updates, and so the learning rate, by a factor for each layer.

    It scales the update and not the gradient: Adam and similar optimizers divide by the size of the gradients.

    Source: discriminative fine-tuning, https://arxiv.org/abs/1801.06146, section 3.2.

    Args:
        inner_optimizer: a name or an optimizer.
        factors: factor by layer name, from 0 to 1; layers without an entry have 1.
        name: name of the optimizer.

    Raises:
        ArgumentError: a factor is out of its range, or the inner optimizer scales the loss or accumulates gradients.

    Example:
        >>> optimizer = LayerRates("adam", {"stem_conv": 0.1})
        >>> optimizer.get_config()["factors"]
        {'stem_conv': 0.1}
    """

    def __init__(
        self,
        inner_optimizer: str | keras.optimizers.Optimizer = "adamw",
        factors: Mapping[str, float] | None = None,
        name: str | None = "layer_rates",
    ):
        super().__init__(inner_optimizer, name)
        self.factors = {
            layer: checks.within(f"the factor of {layer}", value, 0.0, 1.0) for layer, value in (factors or {}).items()
        }

    def factor_of(self, variable: keras.Variable) -> float:
        """Returns the factor of the layer of a weight."""
        named = [part for part in variable.path.split("/") if part in self.factors]
        return self.factors[named[0]] if named else 1.0

    def apply(self, grads: Sequence, trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        variables = self._ready(trainable_variables)
        scaled = [(variable, self.factor_of(variable)) for variable in variables if self.factor_of(variable) < 1]
        before = [tf.identity(variable.value) for variable, _ in scaled]
        self.inner_optimizer.apply(grads, variables)
        for (variable, factor), old in zip(scaled, before, strict=True):
            new = old + factor * (variable - old)
            if variable.constraint is not None:
                new = variable.constraint(new)
            self._correct_average(variable, new - variable)
            variable.assign(new)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factors": self.factors}
