"""Player: a policy network that acts in an environment, without the agent that trained it."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from ..agents.exploration import masked
from ..agents.networks import action_width
from ..agents.training.episodes import checked_limit, episodes_on_host, run_episodes
from ..agents.training.observations import read_mask, read_observations
from ..agents.training.records import Evaluation
from ..envs.environment import Environment
from ..envs.host.gymnasium_environments import GymnasiumEnvironments
from ..envs.making import make
from ..envs.spaces import Box, Discrete
from ..envs.vectors import VectorEnvironment


class PolicyPlayer:
    """Policy network in an environment: the best action of its outputs, and whole episodes.

    Outputs are logits or values of whole-number actions, or real-number actions, which are clipped to their bounds.

    Args:
        policy: functional model from observations (B, ...) to outputs (B, K), such as `agent.policy` or the model of a
            bundle.
        env: name for `make`, an `Environment`, or `GymnasiumEnvironments`.

    Raises:
        ArgumentError: the network does not fit the environment, or the environment has several agents.
        UnknownNameError: no environment has the name.

    Example:
        >>> policy = policy_network(Box(-5.0, 5.0, (4,)), Discrete(2))
        >>> PolicyPlayer(policy, "cartpole").act(np.zeros((3, 4))).shape
        (3,)
    """

    def __init__(self, policy: keras.Model, env: Any):
        self.policy, self.env = policy, make(env) if isinstance(env, str) else env
        self.on_host = isinstance(self.env, GymnasiumEnvironments)
        if not self.on_host and not isinstance(self.env, Environment):
            checks.refuse("env must be a name, an Environment or GymnasiumEnvironments", env)
        if self.env.agents > 1:
            checks.refuse("a player acts in environments of one agent", f"{self.env.agents} agents")
        check_policy(policy, self.env.observation_space, self.env.action_space)

    def act(self, observations: Any, mask: Any = None) -> np.ndarray:
        """Returns the best actions.

        Args:
            observations: one of the shape of the observation space, or (B, ...) of them.
            mask: allowed actions, bools (B, K) or (K,); None allows all.

        Returns:
            One action, or (B, ...) of them.

        Raises:
            ArgumentError: the shape is not that of the observation space, a number is not finite, or the mask does not
                fit.
        """
        batch, one = read_observations(self.env.observation_space, observations)
        mask = read_mask(self.env.action_space, mask, len(batch))
        actions = self._actions(tf.constant(batch), None if mask is None else tf.constant(mask)).numpy()
        return actions[0] if one else actions

    def evaluate(self, episodes: int = 100, *, seed: int = 1_000_003, most_steps: int | None = None) -> Evaluation:
        """Runs whole episodes, all at once, each in a new environment.

        Args:
            episodes: number of episodes.
            seed: seed of their starts.
            most_steps: steps after which an episode is cut off; None takes the time limit of the environment.

        Returns:
            The returns and lengths.

        Raises:
            ArgumentError: a number breaks its rule, or nothing limits the length of an episode.
        """
        limit = checked_limit(self.env, episodes, seed, most_steps)
        if self.on_host:
            return Evaluation.of(*episodes_on_host(self.env, self.act, episodes, seed, limit))
        run = run_episodes(VectorEnvironment(self.env, episodes), self._actions, limit)
        found = tf.function(run, autograph=False)(tf.constant(seed, tf.int32))
        return Evaluation.of(*(each.numpy() for each in found))

    def _actions(self, observations: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        outputs = self.policy(observations, training=False)
        return best_actions(outputs if mask is None else masked(outputs, mask), self.env.action_space)


def best_actions(outputs: Any, space: Any) -> tf.Tensor:
    """Returns the best actions of outputs (B, K) of a policy: the largest of each number, or clipped real numbers.

    Args:
        outputs: logits or values of whole numbers, or real-number actions.
        space: space of the actions.
    """
    if isinstance(space, Box):
        actions = tf.reshape(outputs, (-1, *space.shape))
        return tf.clip_by_value(actions, tf.constant(space.low, tf.float32), tf.constant(space.high, tf.float32))
    if isinstance(space, Discrete):
        return tf.argmax(outputs, -1, output_type=tf.int32)
    parts = tf.split(outputs, space.sizes, -1)
    return tf.stack([tf.argmax(part, -1, output_type=tf.int32) for part in parts], -1)


def check_policy(policy: Any, observation_space: Any, action_space: Any) -> None:
    """Refuses a network that does not take the observations, or does not give the actions.

    Raises:
        ArgumentError: it is no functional model of one input and one output, or a shape is another.
    """
    if not isinstance(policy, keras.Model) or len(policy.inputs) != 1 or len(policy.outputs) != 1:
        checks.refuse("policy must be a functional model of one input and one output", type(policy).__name__)
    found, width = tuple(policy.inputs[0].shape[1:]), action_width(action_space)
    if found != tuple(observation_space.shape):
        checks.refuse(f"policy must take observations of the shape {tuple(observation_space.shape)}", found)
    if policy.outputs[0].shape[-1] != width:
        checks.refuse(f"policy must have {width} outputs for {action_space}", policy.outputs[0].shape[-1])


def control_settings(env: Any) -> Mapping[str, Any]:
    """Returns the settings of a bundle whose policy acts in an environment, for `Bundle.of(preprocess=...)`.

    Args:
        env: name for `make`, an `Environment`, or `GymnasiumEnvironments`.

    Returns:
        Name of the environment, shape and dtype of an observation, and bounds of real-number actions.

    Raises:
        ArgumentError: actions are neither one whole number nor a vector of real ones.
        UnknownNameError: no environment has the name.

    Example:
        >>> control_settings("cartpole")
        {'environment': 'cartpole', 'observation_shape': [4], 'observation_dtype': 'float32'}
    """
    env = make(env) if isinstance(env, str) else env
    actions, seen = env.action_space, env.observation_space
    settings = {"environment": env.name, "observation_shape": list(seen.shape), "observation_dtype": seen.dtype}
    if isinstance(actions, Discrete):
        return settings
    if not isinstance(actions, Box) or len(actions.shape) != 1:
        checks.refuse("actions of a bundle must be one whole number, or a vector of real ones", actions)
    bounds = (np.broadcast_to(np.asarray(each, float), actions.shape).tolist() for each in (actions.low, actions.high))
    return {**settings, **dict(zip(("low", "high"), bounds, strict=True))}
