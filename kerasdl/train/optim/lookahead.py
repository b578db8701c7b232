"""Lookahead: slow weights that follow the updates of any optimizer (https://arxiv.org/abs/1907.08610).

Deviation from the paper: a run ends with the weights of the inner optimizer; where its length is a multiple of
`sync_period`, those equal the slow weights. Configs name the two settings `every` and `share`, as saved models do.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks

from .wrapper import OptimizerWrapper


@keras.saving.register_keras_serializable("kerasdl")
class Lookahead(OptimizerWrapper):
    """Optimizer wrapper with slow weights that move towards the fast ones every few updates.

    After each `sync_period` updates: slow = slow + slow_step_size * (weights - slow), weights = slow. The slow weights
    start as a copy of the weights before the first update. The inner optimizer keeps its momentum.

    Source: https://arxiv.org/abs/1907.08610, algorithm 1.

    Args:
        inner_optimizer: a name or an optimizer.
        sync_period: updates between two moves of the slow weights, 2 or more; k in the paper.
        slow_step_size: fraction of the difference by which the slow weights move, above 0 to 1; alpha in the paper.
        name: name of the optimizer.

    Raises:
        ArgumentError: a setting is out of its range, or the inner optimizer scales the loss or accumulates gradients.

    Example:
        >>> model.compile(Lookahead("adam", sync_period=5), "sparse_categorical_crossentropy")
        >>> model.optimizer.learning_rate = 0.01
        >>> round(float(model.optimizer.inner_optimizer.learning_rate), 4)
        0.01
    """

    def __init__(
        self,
        inner_optimizer: str | keras.optimizers.Optimizer = "adam",
        sync_period: int = 5,
        slow_step_size: float = 0.5,
        name: str | None = "lookahead",
    ):
        super().__init__(inner_optimizer, name)
        self.sync_period = checks.at_least("sync_period", sync_period, 2)
        self.slow_step_size = checks.within("slow_step_size", slow_step_size, 1e-6, 1.0)

    def build(self, var_list: Sequence[keras.Variable]) -> None:
        super().build(var_list)
        self.slow = [self.add_variable_from_reference(variable, "slow") for variable in var_list]

    def apply(self, grads: Sequence, trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        variables = self._ready(trainable_variables)
        count = tf.convert_to_tensor(self._iterations)  # the counter of the base class, otherwise unused
        slow = [self.slow[self._get_variable_index(variable)] for variable in variables]
        before = [tf.where(count == 0, variable, copy) for variable, copy in zip(variables, slow, strict=True)]
        self.inner_optimizer.apply(grads, variables)
        # tf.where and not tf.cond, inside which replicas could not assign.
        is_sync = (count + 1) % self.sync_period == 0
        for variable, copy, old in zip(variables, slow, before, strict=True):
            new = old + self.slow_step_size * (variable - old)
            if variable.constraint is not None:
                new = variable.constraint(new)
            self._correct_average(variable, tf.where(is_sync, new - variable, tf.zeros_like(new)))
            copy.assign(tf.where(is_sync, new, old))
            variable.assign(tf.where(is_sync, new, variable))
        self._iterations.assign_add(1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "every": self.sync_period, "share": self.slow_step_size}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: dict[str, Any] | None = None) -> "Lookahead":
        names = {"every": "sync_period", "share": "slow_step_size"}
        return super().from_config({names.get(name, name): value for name, value in config.items()}, custom_objects)
