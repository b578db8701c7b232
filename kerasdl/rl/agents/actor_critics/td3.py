"""Twin delayed DDPG (TD3): the lesser of two critics, smoothed target actions, and a policy that moves less often.

Source: https://arxiv.org/abs/1802.09477, algorithm 1. Deviations: the first actions are uniform, as in the authors'
code; truncated episodes are bootstrapped from the value of their true successor.
"""

from dataclasses import dataclass

import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences
from kerasdl.ops.actor_critic import smooth_actions

from .ddpg import DDPG, DDPGConfig


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class TD3Config(DDPGConfig):
    """Settings of TD3.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> TD3Config(policy_every=1).target_noise
        0.2
    """

    policy_every: int = 2
    """Updates of the critics for each update of the policy and of the target networks."""
    target_noise: float = 0.2
    """Standard deviation of the noise of target actions."""
    largest_noise: float = 0.5
    """Bound of the noise of target actions."""

    def __post_init__(self):
        super().__post_init__()
        checks.at_least("policy_every", self.policy_every, 1)
        for name in ("target_noise", "largest_noise"):
            checks.within(name, getattr(self, name), 0.0, 10.0)


class TD3(DDPG):
    """Twin delayed DDPG, for real-number actions with bounds.

    Source: https://arxiv.org/abs/1802.09477.

    Args:
        env: name for `make`, an `Environment`, or `GymnasiumEnvironments`, which are stepped on the host.
        config: a `TD3Config`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> agent = TD3("pendulum", TD3Config(hidden=(8,)), seed=0)
        >>> agent.act(np.zeros(3)).shape  # after agent.train(20_000)
        (1,)
    """

    config_class = TD3Config
    critics = ("critic1", "critic2")
    followed = ("policy", "critic1", "critic2")

    def _improve(self, batch, number, key):
        loss, value = self.fit_critics(batch, self._targets(batch, key))
        due = tf.equal((number + 1) % self.config.policy_every, 0)
        tf.cond(due, lambda: self._move(batch), lambda: None)
        return {"loss": loss, "value": value}

    def _move(self, batch):
        self._climb(batch)
        self.move_targets()

    def _target_actions(self, observations, key):
        actions, config = super()._target_actions(observations, key), self.config
        noise = tf.random.stateless_normal(tf.shape(actions), key, alg="philox")
        return smooth_actions(actions, noise, deviation=config.target_noise, largest=config.largest_noise)
