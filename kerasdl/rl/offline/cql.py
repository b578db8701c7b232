"""Conservative Q-learning (CQL): values from transitions alone, held down where no action was tried.

Source: https://arxiv.org/abs/2006.04779, equation 4: CQL(H) for whole-number actions. Deviations: double
Q-learning with Huber's loss, and a target network that is copied.
"""

from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import short_repr, with_field_sentences

from ..agents.dqn import huber
from ..agents.networks import ACTIVATIONS, value_network
from ..agents.training.minibatches import run_updates
from ..control.players import PolicyPlayer
from ..envs.environment import Environment
from ..imitation.cloning import environment_for
from .transitions import Transitions, checked_transitions


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class CQLConfig:
    """Settings of conservative Q-learning.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> CQLConfig(conservatism=0.5)
        CQLConfig(conservatism=0.5)
    """

    hidden: tuple[int, ...] = (128, 128)
    """Widths of the hidden layers."""
    activation: str = "relu"
    """Activation of the hidden layers."""
    updates: int = 5000
    """Updates of the training."""
    batch_size: int = 128
    """Transitions in an update, drawn with replacement."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""
    discount: float = 0.99
    """Discount of a reward one step later, from 0 to 1."""
    conservatism: float = 1.0
    """Weight alpha of the penalty on values of actions that were not taken; 0 is plain Q-learning."""
    target_every: int = 200
    """Updates after which the target network takes the weights of the other."""

    __repr__ = short_repr

    def __post_init__(self):
        object.__setattr__(self, "hidden", checks.counts("hidden", tuple(self.hidden)))
        checks.one_of("activation", self.activation, ACTIVATIONS)
        for name in ("updates", "batch_size", "target_every"):
            checks.at_least(name, getattr(self, name), 1)
        checks.within("learning_rate", self.learning_rate, 1e-9, 10.0)
        checks.within("discount", self.discount, 0.0, 1.0)
        checks.within("conservatism", self.conservatism, 0.0, 1e6)


def conservative_values(
    env: str | Environment, transitions: Transitions, config: CQLConfig | None = None, *, seed: int = 0
) -> PolicyPlayer:
    """Returns a policy of action values that were learnt from transitions alone, by conservative Q-learning.

    Q-learning believes what it extrapolates: a value that is too high for an action that nobody tried is never put
    right. The penalty, log-sum-exp of all values minus the value of the action that was taken, holds such values down.

    Args:
        env: name for `make`, or an `Environment` with `Discrete` actions; it is not stepped.
        transitions: `Transitions`, such as those of `collect_transitions`.
        config: settings; None takes the defaults.
        seed: seed of weights and minibatches.

    Returns:
        The player, whose `policy` gives the value of each action.

    Raises:
        ArgumentError: transitions do not fit the environment, or an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> made = collect_transitions("cartpole", steps=64)
        >>> conservative_values("cartpole", made, CQLConfig(updates=10)).act(np.zeros(4)).shape
        ()
    """
    env, config = environment_for(env), CQLConfig() if config is None else config
    if not isinstance(config, CQLConfig):
        checks.refuse("config must be a CQLConfig", config)
    checks.within("seed", checks.at_least("seed", seed, 0), 0, 2**31 - 1)
    data = checked_transitions(env, transitions)
    keras.utils.set_random_seed(seed)
    settings = {"hidden": config.hidden, "activation": config.activation, "outputs": env.action_space.n}
    values, target = (value_network(env.observation_space, **settings, name=name) for name in ("policy", "target"))
    target.set_weights(values.get_weights())
    optimizer = keras.optimizers.Adam(config.learning_rate)
    optimizer.build(values.trainable_variables)

    def update(batch, index):
        with tf.GradientTape() as tape:
            loss = cql_loss(values, target, batch, config)
        variables = values.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        due = tf.equal((index + 1) % config.target_every, 0)
        for old, new in zip(target.weights, values.weights, strict=True):
            old.assign(tf.where(due, new.value, old.value))
        return loss

    sizes = {"batch_size": config.batch_size, "updates": config.updates, "key": tf.constant([seed, 0])}
    tf.function(lambda tensors: run_updates(update, tensors, **sizes), autograph=False)(
        tf.nest.map_structure(tf.constant, data)
    )
    return PolicyPlayer(values, env)


def cql_loss(values: Any, target: Any, batch: Transitions, config: CQLConfig) -> tf.Tensor:
    """Returns Huber's loss of the temporal differences plus the penalty, ().

    Args:
        values: network that learns, from observations to values (B, K).
        target: network whose values stand in the targets.
        batch: transitions as tensors.
        config: settings.
    """
    outputs = values(batch.observation, training=True)
    best = tf.argmax(values(batch.next_observation, training=False), -1, output_type=tf.int32)
    following = tf.gather(target(batch.next_observation, training=False), best, batch_dims=1)
    goes_on = tf.cast(~batch.terminated, batch.reward.dtype)
    wanted = tf.stop_gradient(batch.reward + config.discount * goes_on * following)
    taken = tf.gather(outputs, batch.action, batch_dims=1)
    penalty = tf.reduce_logsumexp(outputs, -1) - taken
    return tf.reduce_mean(huber(wanted - taken) + config.conservatism * penalty)
