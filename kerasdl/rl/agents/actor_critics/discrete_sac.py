"""Soft actor-critic for whole-number actions (discrete SAC): sums over all actions take the place of drawn ones.

Source: https://arxiv.org/abs/1910.07207, algorithm 1. Deviations: the target entropy is half of the largest, and not
0.98 of it, at which the better of two actions has a probability of 0.58 at most; truncated episodes are bootstrapped
from the value of their true successor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences
from kerasdl.ops.actor_critic import soft_values

from ...buffers.replay import Batch
from ...envs.spaces import Discrete
from ..networks import policy_network, value_network
from ..policies.distributions import distribution_of
from ..policies.on_policy import minimize
from .actor_critic import ActorCritic
from .sac import SoftConfig, Temperature


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class DiscreteSACConfig(SoftConfig):
    """Settings of discrete SAC.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> DiscreteSACConfig(target_entropy=0.1).hidden
        (256, 256)
    """


class DiscreteSAC(ActorCritic):
    """Soft actor-critic for whole-number actions, without masks; `SAC` is for real numbers.

    The target entropy is half of the logarithm of the number of actions.

    Source: https://arxiv.org/abs/1910.07207.

    Args:
        env: name for `make`, an `Environment`, or `GymnasiumEnvironments`, which are stepped on the host.
        config: a `DiscreteSACConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> agent = DiscreteSAC("cartpole", DiscreteSACConfig(hidden=(8,)), seed=0)
        >>> agent.act(np.zeros(4)).shape  # after agent.train(20_000)
        ()
    """

    config_class = DiscreteSACConfig
    figure_names = ("loss", "value", "entropy", "temperature", "updates")

    def _check_environment(self):
        super()._check_environment()
        env = self.env
        if not isinstance(env.action_space, Discrete):
            checks.refuse(f"{self.name} needs a Discrete action_space", env.action_space)
        if not self.on_host and env.action_mask(env.start(tf.zeros((1, env.noise_size)))) is not None:
            checks.refuse(f"{self.name} takes no masks of actions", env.name, "Use DQN or PPO.")
        if env.action_space.n < 2:
            checks.refuse(f"{self.name} needs two actions or more", env.action_space)
        self.distribution = distribution_of(env.action_space)

    def _build(self):
        super()._build()
        self.temperature = Temperature(self.config, 0.5 * math.log(self.env.action_space.n))
        self.optimizers["temperature"] = self.temperature.optimizer

    def _make_policy(self, name):
        spaces = self.env.observation_space, self.env.action_space
        return policy_network(*spaces, **self.hidden_settings, name=name)

    def _make_critic(self, name):
        actions = self.env.action_space.n
        return value_network(self.env.observation_space, **self.hidden_settings, outputs=actions, name=name)

    def extras(self):
        return {**super().extras(), "log_temperature": self.temperature.log}

    @property
    def noise_shape(self):
        return (self.distribution.noise_size,)

    # Acting

    def _explored(self, observations, mask, noise, iteration):
        logits = self.policy(observations, training=False)
        return self.distribution.sample(tf.where(self._starts(iteration), logits, 0.0), noise)

    def _best_actions(self, observations, mask):
        return self.distribution.mode(self.distribution.masked(self.policy(observations, training=False), mask))

    def _drawn_actions(self, observations, mask, key):
        logits = self.distribution.masked(self.policy(observations, training=False), mask)
        noise = tf.random.stateless_uniform((len(observations), *self.noise_shape), key, alg="philox")
        return self.distribution.sample(logits, noise)

    # Training

    def _improve(self, batch, number, key):
        loss, value = self.fit_critics(batch, self._targets(batch))
        entropies = self._climb(batch)
        temperature = self.temperature.value
        self.temperature.improve(entropies)
        self.move_targets()
        return {"loss": loss, "value": value, "entropy": tf.reduce_mean(entropies), "temperature": temperature}

    def _targets(self, batch: Batch) -> tf.Tensor:
        """Returns the targets of the critics, (B,): rewards, and soft values of what follows."""
        seen = batch.next_observation
        values = self._least([f"target_{role}" for role in self.critics], seen)
        logs = tf.nn.log_softmax(self.policy(seen, training=False))
        return batch.reward + batch.discount * soft_values(values, logs, self.temperature.value)

    def _climb(self, batch: Batch) -> tf.Tensor:
        """Makes one update of the policy; returns its entropy at each observation, (B,)."""
        variables, seen = self.policy_variables, batch.observation
        values = self._least(self.critics, seen)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            logits = self.policy(seen, training=False)
            logs = tf.nn.log_softmax(logits)
            loss = -tf.reduce_mean(soft_values(values, logs, self.temperature.value))
        minimize(loss, tape, variables, self.optimizers["policy"])
        return self.distribution.entropy(logits)

    def _least(self, roles: Sequence[str], observations: tf.Tensor) -> tf.Tensor:
        """Returns the least value of each action, (B, A), over networks."""
        return tf.reduce_min([self.networks[role](observations, training=False) for role in roles], 0)

    def _values_of_batch(self, batch):
        values = [self.networks[role](batch.observation, training=False) for role in self.critics]
        return [tf.gather(each, batch.action, batch_dims=1) for each in values]
