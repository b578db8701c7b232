"""Base class of optimizers that wrap another optimizer."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks

from .optimizers import OPTIMIZERS, innermost, make_optimizer


class OptimizerWrapper(keras.optimizers.Optimizer):
    """Base class of optimizers whose inner optimizer makes the updates.

    Learning rate, iterations, clipping, weight decay, averages of weights and loss scale belong to the inner optimizer.
    """

    def __init__(self, inner_optimizer: str | keras.optimizers.Optimizer, name: str | None = None):
        if isinstance(inner_optimizer, str):
            checks.known_name("optimizer", inner_optimizer, OPTIMIZERS)
            # Otherwise Keras numbers the name, and a resumed run would not match its folder.
            inner_optimizer = make_optimizer(inner_optimizer, {"name": inner_optimizer})
        self._check(inner_optimizer)
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner_optimizer

    @classmethod
    def _check(cls, inner: Any) -> None:
        rule = f"{cls.__name__} must be given a name or a Keras optimizer"
        if not isinstance(inner, keras.optimizers.Optimizer):
            checks.refuse(rule, inner)
        if isinstance(inner, keras.optimizers.LossScaleOptimizer):
            checks.refuse(rule, type(inner).__name__, "Put the loss scaling around it, not inside.")
        if innermost(inner).gradient_accumulation_steps:
            checks.refuse(rule, "one that accumulates gradients", "Use RunConfig(accumulation=...).")

    def build(self, var_list: Sequence[keras.Variable]) -> None:
        if not self.inner_optimizer.built:
            self.inner_optimizer.build(var_list)
        super().build(var_list)

    def apply(self, grads: Sequence, trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        """Makes one update from gradients."""
        self.inner_optimizer.apply(grads, self._ready(trainable_variables))

    def _ready(self, variables: Sequence[keras.Variable] | None) -> list[keras.Variable]:
        """Returns the variables to update, and builds the optimizer for them where it is not built."""
        if self.built:
            return list(self._trainable_variables if variables is None else variables)
        if variables is None:
            checks.refuse("the first update of an optimizer must be given variables", None)
        with keras.name_scope(self.name):
            self.build(list(variables))
        return list(variables)

    def _correct_average(self, variable: keras.Variable, change: Any) -> None:
        """Corrects an average of the weights for the change that the wrapper made after the inner optimizer."""
        inner = innermost(self)
        if inner.use_ema:
            average = inner._model_variables_moving_average[inner._get_variable_index(variable)]
            # Keras starts the average as a copy of the weights after the first update.
            share = tf.where(tf.convert_to_tensor(inner.iterations) == 1, 1.0, 1 - inner.ema_momentum)
            average.assign_add(tf.cast(share, average.dtype) * change)

    @property
    def variables(self) -> list[keras.Variable]:
        return [*super().variables, *self.inner_optimizer.variables]

    @property
    def iterations(self) -> Any:
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, rate: Any) -> None:
        self.inner_optimizer.learning_rate = rate

    @property
    def loss_scale_factor(self) -> float | None:
        inner = vars(self).get("inner_optimizer")  # read by Keras's constructor before it is set
        return inner and inner.loss_scale_factor

    @loss_scale_factor.setter
    def loss_scale_factor(self, factor: float | None) -> None:
        if "inner_optimizer" in vars(self):
            self.inner_optimizer.loss_scale_factor = factor

    def scale_loss(self, loss: Any) -> Any:
        return self.inner_optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list: Sequence[keras.Variable]) -> None:
        self.inner_optimizer.finalize_variable_values(var_list)

    def exclude_from_weight_decay(self, var_list: Sequence | None = None, var_names: Sequence | None = None) -> None:
        self.inner_optimizer.exclude_from_weight_decay(var_list, var_names)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name, "inner_optimizer": keras.optimizers.serialize(self.inner_optimizer)}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "OptimizerWrapper":
        inner = config["inner_optimizer"]
        if isinstance(inner, dict):
            inner = keras.optimizers.deserialize(inner, custom_objects=custom_objects)
        return cls(**{**config, "inner_optimizer": inner})
