"""Teams of agents: spaces of one member, and observations as each member sees them."""

from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from ...envs.spaces import Box, Discrete, MultiDiscrete


def member_spaces(env: Any, name: str) -> tuple[Box, Discrete]:
    """Returns the spaces of observations and actions of one member of a team.

    Args:
        env: environment of A agents.
        name: name of the method, for errors.

    Raises:
        ArgumentError: observations are no vectors (A, F), or actions not A whole numbers of equal size.
    """
    seen, acted, count = env.observation_space, env.action_space, env.agents
    if not isinstance(seen, Box) or len(seen.shape) != 2 or seen.shape[0] != count:
        checks.refuse(f"{name} needs a vector of real numbers for each of {count} agents", seen)
    sizes = acted.sizes if isinstance(acted, MultiDiscrete) else ()
    if len(sizes) != count or len(set(sizes)) != 1:
        checks.refuse(f"{name} needs {count} whole-number actions of the same size, one for each agent", acted)
    return Box(float(np.min(seen.low)), float(np.max(seen.high)), seen.shape[1:], seen.dtype), Discrete(sizes[0])


def member_views(observations: tf.Tensor) -> tf.Tensor:
    """Returns observations (B, A, F) as each member orders them, its own first: (B * A, A, F)."""
    agents = observations.shape[1]
    views = tf.stack([tf.roll(observations, -agent, axis=1) for agent in range(agents)], 1)
    return tf.reshape(views, (-1, *observations.shape[1:]))


def member_rows(values: tf.Tensor) -> tf.Tensor:
    """Returns values (B, A, ...) of members as rows (B * A, ...)."""
    return tf.reshape(values, (-1, *values.shape[2:]))
