"""Lookahead: slow weights that follow what any optimizer does (https://arxiv.org/abs/1907.08610).

Deviation from the paper: a run ends with the weights as the inner optimizer left them; where its length is a multiple
of `every`, those are the slow ones.
"""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks

from .wrapper import OptimizerWrapper


@keras.saving.register_keras_serializable("kerasdl")
class Lookahead(OptimizerWrapper):
    """Lets an optimizer run ahead; every few updates slow weights go part of the way, and it starts again from them.

    After each `every` updates: slow = slow + share * (weights - slow), weights = slow. The slow weights start as the
    weights are at the first update. The inner optimizer keeps its momentum.

    Source: https://arxiv.org/abs/1907.08610, algorithm 1.

    Args:
        inner_optimizer: a name or an optimizer.
        every: updates between two meetings, 2 or more; k in the paper.
        share: of the way that the slow weights go, above 0 to 1; alpha in the paper.
        name: of the optimizer.

    Raises:
        ArgumentError: a setting is out of its range, or the inner optimizer scales the loss or accumulates gradients.

    Example:
        >>> model.compile(Lookahead("adam", every=5), "sparse_categorical_crossentropy")
        >>> model.optimizer.learning_rate = 0.01
        >>> round(float(model.optimizer.inner_optimizer.learning_rate), 4)
        0.01
    """

    def __init__(
        self,
        inner_optimizer: str | keras.optimizers.Optimizer = "adam",
        every: int = 5,
        share: float = 0.5,
        name: str | None = "lookahead",
    ):
        super().__init__(inner_optimizer, name)
        self.every = checks.at_least("every", every, 2)
        self.share = checks.within("share", share, 1e-6, 1.0)

    def build(self, var_list: Sequence[keras.Variable]) -> None:
        super().build(var_list)
        self.slow = [self.add_variable_from_reference(variable, "slow") for variable in var_list]

    def apply(self, grads: Sequence, trainable_variables: Sequence[keras.Variable] | None = None) -> None:
        variables = self._ready(trainable_variables)
        count = tf.convert_to_tensor(self._iterations)  # the base class's own counter, which nothing else uses
        slow = [self.slow[self._get_variable_index(variable)] for variable in variables]
        before = [tf.where(count == 0, variable, kept) for variable, kept in zip(variables, slow, strict=True)]
        self.inner_optimizer.apply(grads, variables)
        # A choice between values and no tf.cond, inside which replicas could not assign.
        meet = (count + 1) % self.every == 0
        for variable, kept, old in zip(variables, slow, before, strict=True):
            new = old + self.share * (variable - old)
            if variable.constraint is not None:
                new = variable.constraint(new)
            self._correct_average(variable, tf.where(meet, new - variable, tf.zeros_like(new)))
            kept.assign(tf.where(meet, new, old))
            variable.assign(tf.where(meet, new, variable))
        self._iterations.assign_add(1)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "every": self.every, "share": self.share}
