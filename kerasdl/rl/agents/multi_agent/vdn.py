"""Value decomposition networks (VDN): the value of a team is the sum of the action values of its members.

Source: https://arxiv.org/abs/1706.05296.

Deviations: members share one network of what they see at the moment, without memory. Each explores by itself.
"""

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences

from ..dqn import DQN, DQNConfig
from .teams import member_rows, member_spaces


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class VDNConfig(DQNConfig):
    """Settings of VDN: those of DQN without distributions of values.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> VDNConfig(double=True).joint
        True
    """

    joint: bool = True
    """True if the sum of the members' values is learnt; False, each by itself from the reward of the team, makes it
    independent Q-learning."""

    def __post_init__(self):
        super().__post_init__()
        checks.one_of("joint", self.joint, (True, False))
        if self.distribution != "none":
            checks.refuse('distribution must be "none" of VDN, whose values are sums', self.distribution)
        if self.prioritized and not self.joint:
            checks.refuse("prioritized needs joint=True, since priorities are of whole teams", self.prioritized)


class VDN(DQN):
    """Value decomposition network: a DQN for teams with one reward; `policy` gives the action values of one member.

    The best joint action is the best action of each member, so that each acts on what it sees alone.

    Source: https://arxiv.org/abs/1706.05296.

    Args:
        env: name for `make`, or an `Environment` of several agents with vectors of real numbers and whole-number
            actions, without masks.
        config: a `VDNConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> config = VDNConfig(capacity=64, learning_starts=8, hidden=(8,), jit_compile=False)
        >>> VDN("spread", config).policy.output_shape
        (None, 5)
    """

    config_class = VDNConfig
    acts_for_a_team = True

    def _check_environment(self):
        super()._check_environment()
        if self.env.action_mask(self.env.start(tf.zeros((1, self.env.noise_size)))) is not None:
            checks.refuse(f"{self.name} needs an environment without masks of actions", self.env.name, "Use MAPPO.")

    def _check_actions(self):
        member_spaces(self.env, self.name)

    def _spaces(self):
        seen, acted = member_spaces(self.env, self.name)
        return seen, acted.n

    @property
    def _choices(self):
        return self.config.environments * self.env.agents

    def _rows(self, values):
        return member_rows(values)

    def _improve(self, batch, number, key):
        if not self.config.joint:  # each member has the reward of the team
            parts = {
                name: tf.repeat(getattr(batch, name), self.env.agents) for name in ("reward", "discount", "weight")
            }
            batch = batch._replace(**parts)
        return super()._improve(batch, number, key)

    def _joint(self, values):
        return tf.reduce_sum(tf.reshape(values, (-1, self.env.agents, 1)), 1) if self.config.joint else values

    def _refuse_mask(self, mask: Any) -> None:
        if mask is not None:
            checks.refuse(f"{self.name} takes no masks of actions", tuple(mask.shape), "Use MAPPO.")

    def _best_actions(self, observations, mask):
        self._refuse_mask(mask)
        return tf.reshape(super()._best_actions(self._rows(observations), None), (-1, self.env.agents))

    def _drawn_actions(self, observations, mask, key):
        self._refuse_mask(mask)
        return tf.reshape(super()._drawn_actions(self._rows(observations), None, key), (-1, self.env.agents))

    def _explored(self, observations, mask, noise, iteration):
        actions = super()._explored(self._rows(observations), None, noise, iteration)
        return tf.reshape(actions, (-1, self.env.agents))
