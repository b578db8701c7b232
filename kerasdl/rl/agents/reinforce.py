"""REINFORCE with a baseline: the gradient of the expected return, from the returns that followed each action.

Source: Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", 1992; the
learnt baseline as in Sutton and Barto, second edition, section 13.4. Deviations: an update takes a rollout of a fixed
number of steps rather than whole episodes, and the baseline's value stands for what follows where an episode is cut by
the end of the rollout or by a time limit; the factor discount**t of each step is left out, as everywhere in practice.
"""

from dataclasses import dataclass

import keras
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences

from .policies.on_policy import OnPolicyAgent, OnPolicyConfig, explained_variance, minimize


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class REINFORCEConfig(OnPolicyConfig):
    """Settings of REINFORCE.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> REINFORCEConfig().decay
        1.0
    """

    rollout_steps: int = 250
    """Steps of each environment in a rollout; about as many as an episode has."""
    decay: float = 1.0
    """Lambda of the advantages; 1 takes whole returns."""
    learning_rate: float = 5e-3
    """Learning rate of the policy."""
    value_rate: float = 5e-3
    """Learning rate of the baseline."""
    value_updates: int = 20
    """Updates of the baseline on each rollout."""
    entropy_weight: float = 0.0
    """Weight of the entropy of the policy, which keeps it exploring."""

    def __post_init__(self):
        super().__post_init__()
        checks.at_least("value_updates", self.value_updates, 1)
        checks.within("value_rate", self.value_rate, 1e-9, 10.0)
        checks.within("entropy_weight", self.entropy_weight, 0.0, 1e6)


class REINFORCE(OnPolicyAgent):
    """REINFORCE with a learnt baseline, for whole-number and real-number actions, with masks of actions.

    Source: Williams, 1992; Sutton and Barto, second edition, section 13.4.

    Args:
        env: name for `make`, an `Environment`, or `GymnasiumEnvironments`, which are stepped on the host.
        config: a `REINFORCEConfig`; None takes the preset of the environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> config = REINFORCEConfig(environments=2, rollout_steps=8, value_updates=1, jit_compile=False)
        >>> REINFORCE("cartpole", config).train(32, progress="off").steps[-1]
        32
    """

    config_class = REINFORCEConfig
    figure_names = ("loss", "value_loss", "entropy", "explained_variance")

    def _build(self):
        super()._build()
        self.optimizers["policy"] = keras.optimizers.Adam(self.config.learning_rate)
        self.optimizers["policy"].build(self.policy_variables)
        self.optimizers["value"] = keras.optimizers.Adam(self.config.value_rate)
        self.optimizers["value"].build(self.value_variables)

    def _learn(self, batch, iteration):
        law = self.distribution
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in self.policy_variables])
            parameters = self.parameters_of(batch.observations, batch.mask)
            entropy = tf.reduce_mean(law.entropy(parameters))
            log_probabilities = law.log_probability(parameters, batch.actions)
            loss = -tf.reduce_mean(log_probabilities * self.scaled(batch.advantages))
            loss -= self.config.entropy_weight * entropy
        minimize(loss, tape, self.policy_variables, self.optimizers["policy"])
        value_loss = self.fit_values(batch, self.config.value_updates)
        known = explained_variance(batch.values, batch.returns)
        return dict(zip(self.figure_names, (loss, value_loss, entropy, known), strict=True))
