"""Deep deterministic policy gradient (DDPG): a policy climbs the value that a critic gives to its actions.

Source: https://arxiv.org/abs/1509.02971, algorithm 1. Deviations: actions are explored by independent normal noise, not
by an Ornstein-Uhlenbeck process, which https://arxiv.org/abs/1802.09477 (section 6.1) found to bring nothing; the
action goes into the first layer of the critic; no batch norm and no weight decay; the first actions are random.
Truncated episodes are bootstrapped from the value of their true successor.
"""

from dataclasses import dataclass

import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences

from ...buffers.replay import Batch
from ..policies.on_policy import minimize
from .actor_critic import ActorCriticConfig, RealActorCritic


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class DDPGConfig(ActorCriticConfig):
    """Settings of DDPG.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> DDPGConfig(noise=0.2).batch_size
        256
    """

    noise: float = 0.1
    """Standard deviation of the noise of exploration, of actions from -1 to 1."""

    def __post_init__(self):
        super().__post_init__()
        checks.within("noise", self.noise, 0.0, 10.0)


class DDPG(RealActorCritic):
    """Deep deterministic policy gradient, for real-number actions with bounds.

    Source: https://arxiv.org/abs/1509.02971.

    Args:
        env: name for `make`, an `Environment`, or `GymnasiumEnvironments`, which are stepped on the host.
        config: a `DDPGConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> agent = DDPG("pendulum", DDPGConfig(hidden=(8,)), seed=0)
        >>> agent.act(np.zeros(3)).shape  # after agent.train(20_000)
        (1,)
    """

    config_class = DDPGConfig
    critics = ("critic",)
    followed = ("policy", "critic")
    figure_names = ("loss", "value", "updates")

    def _noisy(self, observations, noise):
        actions = self._squashed["policy"](observations, training=False)
        return tf.clip_by_value(actions + self.config.noise * noise, -1.0, 1.0)

    def _improve(self, batch, number, key):
        loss, value = self.fit_critics(batch, self._targets(batch, key))
        self._climb(batch)
        self.move_targets()
        return {"loss": loss, "value": value}

    def _targets(self, batch: Batch, key: tf.Tensor) -> tf.Tensor:
        """Returns the targets of the critics, (B,)."""
        actions = self._target_actions(batch.next_observation, key)
        return batch.reward + batch.discount * self.least_target(batch.next_observation, actions)

    def _target_actions(self, observations: tf.Tensor, key: tf.Tensor) -> tf.Tensor:
        """Returns the actions from -1 to 1, (B, D), whose values the targets take."""
        return self._squashed["target_policy"](observations, training=False)

    def _climb(self, batch: Batch) -> None:
        """Makes one update of the policy, along the gradient of the first critic."""
        variables = self.policy_variables
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            actions = self._squashed["policy"](batch.observation, training=False)
            loss = -tf.reduce_mean(self.values_of(self.critics[:1], batch.observation, actions)[0])
        minimize(loss, tape, variables, self.optimizers["policy"])
