"""Environments as pure functions: N episodes at once, from a state, actions and noise to the next state.

An environment draws nothing by itself. Uniform numbers come in as `noise`, so that the same noise gives the same
episodes in a compiled loop, after a resume and on another machine.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from .spaces import Space

State = Mapping[str, Any]


class Environment:
    """Base class of environments: attributes that describe one, and functions of batches of states.

    A state is a dict of tensors (N, ...), one row an episode. The functions use TensorFlow's operations alone, change
    nothing and treat each row by itself, so that they can stand in a `tf.while_loop`. `VectorEnvironment` adds seeds,
    time limits and the start of new episodes; `check_env` names rules that an environment breaks.

    Attributes:
        name: short name, as in `kerasdl.rl.make`.
        observation_space: `Box`, `Discrete` or `MultiDiscrete` of an observation.
        action_space: likewise, of an action.
        time_limit: steps after which an episode is cut off (truncated, not terminated); None for none.
        reward_bar: mean return from which the environment counts as solved; None where there is no such figure.
        noise_size: K, uniform numbers that one start takes.
        step_noise_size: uniform numbers that one step takes; 0 for deterministic dynamics.
        table: `OutcomeTable` of a tabular environment; None of others.
        agents: number of agents that act at once; observations then have it as their first side, actions too.

    Example:
        >>> class Coin(Environment):
        ...     name, noise_size = "coin", 1
        ...     observation_space, action_space = Box(0, 1, (1,)), Discrete(2)
        ...     def start(self, noise):
        ...         return {"side": tf.round(noise[:, 0])}
        ...     def step(self, state, action, noise):
        ...         right = tf.equal(tf.cast(action, tf.float32), state["side"])
        ...         return state, tf.cast(right, tf.float32), tf.ones_like(right)
        ...     def observe(self, state):
        ...         return state["side"][:, None]
        >>> Coin().start(tf.constant([[0.2], [0.9]]))["side"].numpy()
        array([0., 1.], dtype=float32)
    """

    name: str = ""
    observation_space: Space
    action_space: Space
    time_limit: int | None = None
    reward_bar: float | None = None
    noise_size: int = 0
    step_noise_size: int = 0
    table: Any = None
    agents: int = 1

    def start(self, noise: tf.Tensor) -> State:
        """Returns first states of N episodes, from noise (N, noise_size), float32 uniform in [0, 1)."""
        raise NotImplementedError(f"{type(self).__name__} has no start(noise)")

    def step(self, state: State, action: tf.Tensor, noise: tf.Tensor) -> tuple[State, tf.Tensor, tf.Tensor]:
        """Returns the next state, the reward (N,) float32, and which episodes terminated, (N,) bool.

        Args:
            state: dict of tensors (N, ...).
            action: (N,) int32 of a `Discrete` space, else (N, *action_space.shape).
            noise: (N, step_noise_size) float32, uniform in [0, 1).
        """
        raise NotImplementedError(f"{type(self).__name__} has no step(state, action, noise)")

    def observe(self, state: State) -> tf.Tensor:
        """Returns the observations of states, (N, *observation_space.shape)."""
        raise NotImplementedError(f"{type(self).__name__} has no observe(state)")

    def action_mask(self, state: State) -> tf.Tensor | None:
        """Returns which actions are allowed, (N, n) bool, or (N, agents, n); None where all always are."""
        return None

    def draw(self, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns a picture of the state of one episode (arrays without the batch), (H, W, 3) uint8.

        Raises:
            ArgumentError: the environment has no pictures.
        """
        checks.refuse("an environment is drawn by its method draw(state)", type(self).__name__, "Write one.")

    def __repr__(self) -> str:
        limit = "" if self.time_limit is None else f", at most {self.time_limit} steps"
        return f"<{self.name or type(self).__name__}: {self.observation_space} -> {self.action_space}{limit}>"
