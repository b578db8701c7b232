"""Settings that all agents have, and sums over the episodes of a call."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import short_repr, with_field_sentences

from ...envs.vectors import Transition
from ..networks import ACTIVATIONS


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class AgentConfig:
    """Settings that all agents have.

    Raises:
        ArgumentError: a setting breaks its rule.

    Example:
        >>> AgentConfig(learning_rate=1e-3)
        AgentConfig(learning_rate=0.001)
    """

    environments: int = 8
    """Episodes that run at once."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of each network."""
    activation: str = "tanh"
    """Activation of the hidden layers."""
    learning_rate: float = 3e-4
    """Learning rate of the optimizer."""
    discount: float = 0.99
    """Discount of a reward one step later, from 0 to 1."""
    iterations_per_call: int = 1
    """Rollouts, each with its updates, in one compiled call; more where one takes less than about a millisecond."""
    jit_compile: bool = True
    """True if XLA compiles the call: some seconds at the start, and several times faster after it."""

    __repr__ = short_repr

    def __post_init__(self):
        object.__setattr__(self, "hidden", checks.counts("hidden", tuple(self.hidden)))
        checks.at_least("environments", self.environments, 1)
        checks.at_least("iterations_per_call", self.iterations_per_call, 1)
        checks.one_of("activation", self.activation, ACTIVATIONS)
        checks.one_of("jit_compile", self.jit_compile, (True, False))
        checks.within("learning_rate", self.learning_rate, 1e-9, 10.0)
        checks.within("discount", self.discount, 0.0, 1.0)


class Episodes(NamedTuple):
    """Sums over the episodes that ended, and over the steps."""

    count: Any
    """() float32, episodes that ended."""
    returns: Any
    """() float32, sum of their returns."""
    lengths: Any
    """() float32, sum of their steps."""
    rewards: Any
    """() float32, sum of all rewards; not finite if one of them is not."""

    @classmethod
    def of(cls, transition: Transition) -> "Episodes":
        """Returns the sums of transitions of any leading shape, such as (N,) or (T, N)."""
        done = tf.cast(transition.done, tf.float32)
        returns = tf.reduce_sum(tf.where(transition.done, transition.episode_return, 0.0))
        lengths = tf.reduce_sum(done * tf.cast(transition.episode_length, tf.float32))
        return cls(tf.reduce_sum(done), returns, lengths, tf.reduce_sum(transition.reward))
