"""Multi-agent PPO (MAPPO): one policy for all members of a team, and a value that sees what all of them see.

Source: https://arxiv.org/abs/2103.01955 (MAPPO); https://arxiv.org/abs/2011.09533 (independent PPO).

Deviations: those of PPO. Members share the weights of policy and value, so that observations must tell them apart where
they have different parts to play. The value of a member sees all observations, its own first.
"""

from dataclasses import dataclass

import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences
from kerasdl.ops.returns import generalized_advantages

from ...envs.spaces import Box
from ..policies.on_policy import ACTIONS, Batch, Rollout, scan_steps
from ..ppo import PPO, PPOConfig
from .teams import member_rows, member_spaces, member_views


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class MAPPOConfig(PPOConfig):
    """Settings of MAPPO.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> MAPPOConfig(central_value=False).clip
        0.2
    """

    central_value: bool = True
    """True if the value sees the observations of all members; False, its own alone, makes it independent PPO."""

    def __post_init__(self):
        super().__post_init__()
        checks.one_of("central_value", self.central_value, (True, False))
        if self.normalize_observations:
            checks.refuse("normalize_observations must be False of MAPPO, whose networks see different things", True)


class MAPPO(PPO):
    """Multi-agent PPO for teams with one reward; `policy` is the network of one member, from what it sees alone.

    Each member of each step is an example, so that probabilities are clipped member by member. Minibatches are of
    members: an epoch has as many times more of them as there are agents.

    Source: https://arxiv.org/abs/2103.01955.

    Args:
        env: name for `make`, or an `Environment` of several agents with vectors of real numbers and whole-number
            actions.
        config: a `MAPPOConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> config = MAPPOConfig(environments=2, rollout_steps=8, minibatch_size=16, epochs=1, jit_compile=False)
        >>> MAPPO("spread", config).act(np.zeros((3, 15))).shape
        (3,)
    """

    config_class = MAPPOConfig
    acts_for_a_team = True

    def _check_environment(self):
        super()._check_environment()
        member_spaces(self.env, self.name)

    def _spaces(self):
        seen, acted = member_spaces(self.env, self.name)
        judged = Box(seen.low, seen.high, self.env.observation_space.shape, seen.dtype)
        return seen, judged if self.config.central_value else seen, acted

    @property
    def examples(self) -> int:
        return self.steps_per_iteration * self.env.agents

    def parameters_of(self, observations, mask=None):
        """Returns the parameters of the distributions of actions of members, (B * A, P), from views (B * A, A, F)."""
        return super().parameters_of(observations[:, 0], mask)

    def values_of(self, observations):
        """Returns the values of views (B * A, A, F), (B * A,)."""
        return super().values_of(observations if self.config.central_value else observations[:, 0])

    def _members(self, observations: tf.Tensor, mask: tf.Tensor | None) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns observations and masks of teams as those of their members."""
        own = None if mask is None else tf.reshape(mask, (-1, self.distribution.sizes[0]))
        return member_views(observations), own

    def _best_actions(self, observations, mask):
        return tf.reshape(super()._best_actions(*self._members(observations, mask)), (-1, self.env.agents))

    def _drawn_actions(self, observations, mask, key):
        return tf.reshape(super()._drawn_actions(*self._members(observations, mask), key), (-1, self.env.agents))

    def collect(self, state, iteration):
        count, length = self.config.environments * self.env.agents, self.config.rollout_steps
        noise = self.noise((length, count, self.distribution.noise_size), iteration, ACTIONS)

        def step(state, now):
            views, mask = self._members(state.observation, self.vectors.action_mask(state))
            actions = self.distribution.sample(self.parameters_of(views, mask), noise[now])
            state, transition = self.vectors.step(state, tf.reshape(actions, (-1, self.env.agents)))
            return state, Rollout(transition, actions, mask)

        return scan_steps(step, state, length)

    def batch_of(self, rollout: Rollout) -> Batch:
        config, steps, agents = self.config, rollout.transition, self.env.agents
        views = member_views(member_rows(steps.observation))  # (T * N * A, A, F)
        successors = member_views(member_rows(steps.next_observation))
        actions, mask = member_rows(rollout.actions), None if rollout.mask is None else member_rows(rollout.mask)
        both = tf.reshape(
            self.values_of(tf.concat([views, successors], 0)), (2, config.rollout_steps, config.environments, agents)
        )
        reward, terminated, done = (
            tf.repeat(each[..., None], agents, -1) for each in (steps.reward, steps.terminated, steps.done)
        )  # (T, N, A)
        advantages = generalized_advantages(
            *(reward, both[0], both[1], terminated, done), discount=config.discount, decay=config.decay
        )
        parameters = self.parameters_of(views, mask)
        log_probabilities = self.distribution.log_probability(parameters, actions)
        values, advantages = (tf.reshape(each, (-1,)) for each in (both[0], advantages))
        return Batch(views, actions, mask, parameters, log_probabilities, values, advantages, advantages + values)
