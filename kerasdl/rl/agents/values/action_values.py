"""Networks of action values: plain, dueling, noisy, and with distributions of values (C51, QR).

Source: https://doi.org/10.1038/nature14236 (DQN), https://arxiv.org/abs/1511.06581 (dueling),
https://arxiv.org/abs/1706.10295 (noisy), https://arxiv.org/abs/1707.06887 (C51), https://arxiv.org/abs/1710.10044 (QR).

Deviations: noise is in the last layers alone, the hidden ones are those of the other agents.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from kerasdl.core import checks
from kerasdl.layers import NoisyDense

from ...envs.spaces import Space
from ..networks import value_network

DISTRIBUTIONS = ("none", "categorical", "quantile")


def action_value_network(
    observation_space: Space,
    actions: int,
    *,
    hidden: Sequence[int] = (64, 64),
    activation: str = "relu",
    dueling: bool = False,
    noisy: bool = False,
    distribution: str = "none",
    atoms: Sequence[float] = (0.0,),
    name: str = "policy",
) -> keras.Model:
    """Returns a network from observations to the value of each action.

    With a distribution, its layer `distribution` has the (B, A, K) logits of the K values `atoms`, or the K quantiles;
    the values are their means.

    Args:
        observation_space: space of the observations.
        actions: A, number of actions.
        hidden: widths of the dense layers.
        activation: as in `policy_network`.
        dueling: True if a value and the advantages of actions have last layers of their own.
        noisy: True if the last layers are `NoisyDense`.
        distribution: `"none"`, `"categorical"` or `"quantile"`.
        atoms: K values of the distribution; of quantiles the number counts alone.
        name: name of the model.

    Returns:
        A functional model from (B, ...) observations to (B, A) float32.

    Raises:
        ArgumentError: a setting is unknown.

    Example:
        >>> action_value_network(Box(-1, 1, (4,)), 2, dueling=True).output_shape
        (None, 2)
    """
    checks.one_of("distribution", distribution, DISTRIBUTIONS)
    base = value_network(observation_space, hidden=hidden, activation=activation)
    x = base.get_layer(f"hidden{len(tuple(hidden))}").output
    count = len(atoms)
    outputs = _head(x, actions * count, noisy, "advantages" if dueling else "actions")
    outputs = layers.Reshape((actions, count), name="by_action" if dueling else "distribution")(outputs)
    if dueling:  # V + A - mean of A, equation 9
        # Repeated, not broadcast: Keras 3.15 takes an addend (B, 1, 1) for a bias of channels where B equals A.
        mean = layers.RepeatVector(actions, name="mean_row")(layers.GlobalAveragePooling1D(name="mean")(outputs))
        value = layers.RepeatVector(actions, name="value_row")(_head(x, count, noisy, "value"))
        centred = layers.Subtract(name="centred")([outputs, mean])
        outputs = layers.Add(name="distribution")([centred, value])
    if distribution != "none":
        categorical = distribution == "categorical"
        weights = np.asarray(atoms, "float32") if categorical else np.full(count, 1.0 / count, "float32")
        outputs = layers.Softmax(name="probabilities")(outputs) if categorical else outputs
        mean_layer = layers.Dense(1, use_bias=False, trainable=False, dtype="float32", name="expectation")
        outputs = mean_layer(outputs)
        mean_layer.set_weights([weights[:, None]])
    return keras.Model(base.inputs, layers.Reshape((actions,), name="values")(outputs), name=name)


def _head(x, width: int, noisy: bool, name: str):
    if noisy:
        return NoisyDense(width, dtype="float32", name=name)(x)
    return layers.Dense(width, dtype="float32", name=name)(x)
