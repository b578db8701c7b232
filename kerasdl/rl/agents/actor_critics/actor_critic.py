"""Bases of actor-critics that learn from a replay buffer, and of those for real-number actions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences
from kerasdl.ops.actor_critic import polyak_average

from ...buffers.replay import Batch
from ..networks import action_scale, critic_network, squashed_policy_network
from ..policies.on_policy import minimize
from ..values.off_policy import OffPolicyAgent, OffPolicyConfig

SMALLEST = 1e-7
"""Least distance of a uniform number from 0 and 1 where a normal one is made of it."""


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class ActorCriticConfig(OffPolicyConfig):
    """Settings of off-policy actor-critics.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> ActorCriticConfig().target_rate
        0.005
    """

    hidden: tuple[int, ...] = (256, 256)
    """Widths of the hidden layers of each network."""
    learning_rate: float = 1e-3
    """Learning rate of the policy."""
    critic_rate: float = 1e-3
    """Learning rate of the critics."""
    target_rate: float = 0.005
    """Tau, share of the weights that target networks take over in each update."""
    rollout_steps: int = 1
    """Steps of each environment between updates."""
    batch_size: int = 256
    """Transitions in an update."""
    iterations_per_call: int = 50
    """Rollouts, each with its updates, in one compiled call."""

    def __post_init__(self):
        super().__post_init__()
        checks.within("critic_rate", self.critic_rate, 1e-9, 10.0)
        checks.within("target_rate", self.target_rate, 0.0, 1.0)


class ActorCritic(OffPolicyAgent):
    """Base class: networks of a policy and of critics, and targets that follow them slowly.

    A subclass defines `_make_policy`, `_make_critic`, `_values_of_batch`, `_explored` and `_improve`.
    """

    config_class = ActorCriticConfig
    critics: ClassVar[tuple[str, ...]] = ("critic1", "critic2")
    """Roles of the networks of action values."""
    followed: ClassVar[tuple[str, ...]] = critics
    """Roles of the networks that have a target network."""

    def _build(self):
        config = self.config
        self._make_networks()
        rates = {"policy": config.learning_rate, "critics": config.critic_rate}
        variables = {"policy": self.policy_variables, "critics": self.critic_variables}
        for role, rate in rates.items():
            self.optimizers[role] = keras.optimizers.Adam(rate, epsilon=1e-8)
            self.optimizers[role].build(variables[role])
        self.buffer = self._make_buffer()

    def _make_networks(self) -> None:
        """Makes `networks`: the policy, the critics, and targets of the same weights."""
        self.networks["policy"] = self._make_policy("policy")
        for role in self.critics:
            self.networks[role] = self._make_critic(role)
        for role in self.followed:
            make = self._make_policy if role == "policy" else self._make_critic
            self.networks[f"target_{role}"] = make(f"target_{role}")
            self.networks[f"target_{role}"].set_weights(self.networks[role].get_weights())

    def _make_policy(self, name: str) -> keras.Model:
        """Returns a new network of the policy."""
        raise NotImplementedError(f"{self.name} has no _make_policy(name)")

    def _make_critic(self, name: str) -> keras.Model:
        """Returns a new network of action values."""
        raise NotImplementedError(f"{self.name} has no _make_critic(name)")

    def _values_of_batch(self, batch: Batch) -> list[tf.Tensor]:
        """Returns the values (B,) that each critic gives to the actions of a batch."""
        raise NotImplementedError(f"{self.name} has no _values_of_batch(batch)")

    @property
    def hidden_settings(self) -> dict[str, Any]:
        """Settings of the hidden layers of every network."""
        return {"hidden": self.config.hidden, "activation": self.config.activation}

    @property
    def policy_variables(self) -> list[Any]:
        """Trainable variables of the policy."""
        return self.networks["policy"].trainable_variables

    @property
    def critic_variables(self) -> list[Any]:
        """Trainable variables of all critics."""
        return [each for role in self.critics for each in self.networks[role].trainable_variables]

    def fit_critics(self, batch: Batch, targets: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Makes one update of the critics; returns the sum of their mean squared errors, and their mean value."""
        variables, targets = self.critic_variables, tf.stop_gradient(targets)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            values = self._values_of_batch(batch)
            loss = tf.add_n([tf.reduce_mean(tf.square(each - targets)) for each in values])
        minimize(loss, tape, variables, self.optimizers["critics"])
        return loss, tf.reduce_mean(values)

    def move_targets(self) -> None:
        """Moves each target network a little towards the network that it follows."""
        for role in self.followed:
            pairs = zip(self.networks[f"target_{role}"].weights, self.networks[role].weights, strict=True)
            for target, own in pairs:
                target.assign(polyak_average(target.value, own.value, self.config.target_rate))


class RealActorCritic(ActorCritic):
    """Base class for real-number actions: those of the environment outside, from -1 to 1 in all networks.

    A subclass defines `_noisy` (actions of training) and `_improve` (one update). The buffer holds actions as the
    environment takes them.
    """

    def _check_environment(self):
        super()._check_environment()
        self.scale, self.offset = action_scale(self.env.action_space)

    def _make_networks(self):
        super()._make_networks()
        policies = {role: net for role, net in self.networks.items() if role.endswith("policy")}
        self._squashed = {
            role: keras.Model(net.inputs, net.get_layer("squash").output) for role, net in policies.items()
        }

    def _make_policy(self, name):
        spaces = self.env.observation_space, self.env.action_space
        return squashed_policy_network(*spaces, **self.hidden_settings, name=name)

    def _make_critic(self, name):
        return critic_network(self.env.observation_space, len(self.scale), **self.hidden_settings, name=name)

    @property
    def noise_shape(self):
        return (len(self.scale),)

    # Acting

    def _noisy(self, observations: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """Returns actions of training, from -1 to 1.

        Args:
            observations: (N, ...).
            noise: (N, D) standard normal numbers.
        """
        raise NotImplementedError(f"{self.name} has no _noisy(observations, noise)")

    def _explored(self, observations, mask, noise, iteration):
        self._refuse_mask(mask)
        normal = tf.math.ndtri(tf.clip_by_value(noise, SMALLEST, 1.0 - SMALLEST))
        drawn = self._noisy(observations, normal)
        return self._to_bounds(tf.where(self._starts(iteration), drawn, 2.0 * noise - 1.0))

    def _best_actions(self, observations, mask):
        self._refuse_mask(mask)
        return self._to_bounds(self._squashed["policy"](observations, training=False))

    def _drawn_actions(self, observations, mask, key):
        self._refuse_mask(mask)
        noise = tf.random.stateless_normal((len(observations), len(self.scale)), key, alg="philox")
        return self._to_bounds(self._noisy(observations, noise))

    def _refuse_mask(self, mask: Any) -> None:
        if mask is not None:
            checks.refuse("a mask of actions needs whole-number actions", self.env.action_space)

    def _to_bounds(self, actions: tf.Tensor) -> tf.Tensor:
        """Returns actions of the environment (N, *shape) for those from -1 to 1, (N, D)."""
        space = self.env.action_space
        actions = tf.reshape(actions * self.scale + self.offset, (-1, *space.shape))
        return tf.clip_by_value(actions, tf.constant(space.low, tf.float32), tf.constant(space.high, tf.float32))

    def _from_bounds(self, actions: tf.Tensor) -> tf.Tensor:
        """Returns actions from -1 to 1, (N, D), for those of the environment, (N, *shape)."""
        return (tf.reshape(actions, (-1, len(self.scale))) - self.offset) / self.scale

    # Values

    def values_of(self, roles: Sequence[str], observations: tf.Tensor, actions: tf.Tensor) -> list[tf.Tensor]:
        """Returns the values (B,) that each network gives to actions from -1 to 1.

        Args:
            roles: K roles of `networks`.
            observations: (B, ...).
            actions: (B, D).
        """
        return [self.networks[role]([observations, actions], training=False)[:, 0] for role in roles]

    def least_target(self, observations: tf.Tensor, actions: tf.Tensor) -> tf.Tensor:
        """Returns the least value (B,) that a target critic gives to actions from -1 to 1."""
        return tf.reduce_min(self.values_of([f"target_{role}" for role in self.critics], observations, actions), 0)

    def _values_of_batch(self, batch):
        return self.values_of(self.critics, batch.observation, self._from_bounds(batch.action))
