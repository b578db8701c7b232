"""Transitions of a behaviour policy, as arrays, for offline learning."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from ..envs.environment import Environment
from ..envs.spaces import Discrete
from ..envs.vectors import VectorEnvironment
from ..imitation.cloning import environment_for


class Transitions(NamedTuple):
    """Steps of episodes, (B, ...) each."""

    observation: np.ndarray
    """What was seen."""
    action: np.ndarray
    """What was done."""
    reward: np.ndarray
    """(B,) float32."""
    next_observation: np.ndarray
    """What was seen after it; of a step that ended an episode its last observation."""
    terminated: np.ndarray
    """(B,) bool: the rules ended the episode, so that nothing follows; a time limit does not."""


def collect_transitions(
    env: str | Environment,
    act: Callable[..., Any] | None = None,
    steps: int = 8192,
    *,
    environments: int = 16,
    seed: int = 0,
) -> Transitions:
    """Returns the steps that a policy makes in an environment.

    Args:
        env: name for `make`, or an `Environment`.
        act: function from observations (B, ...) to actions, such as `agent.act`; where the environment forbids actions
            it gets those allowed too, as `mask`. None for random actions, which heed no mask.
        steps: B, number of transitions.
        environments: episodes that run at once, each started anew when it ends.
        seed: seed of the episodes.

    Returns:
        The transitions, in the order of time.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: no environment has the name.

    Example:
        >>> collect_transitions("cartpole", steps=64).next_observation.shape
        (64, 4)
    """
    env = environment_for(env)
    checks.at_least("steps", steps, 1)
    lanes = min(checks.at_least("environments", environments, 1), steps)
    vectors = VectorEnvironment(env, lanes)
    step = tf.function(vectors.step, autograph=False)
    state, found = vectors.reset(checks.at_least("seed", seed, 0)), []
    while len(found) * lanes < steps:
        mask = vectors.action_mask(state)
        if act is None:
            actions = vectors.random_actions(state)
        else:
            actions = act(np.asarray(state.observation), **({} if mask is None else {"mask": mask}))
        state, made = step(state, tf.constant(np.asarray(actions, env.action_space.dtype)))
        found.append((made.observation, made.action, made.reward, made.next_observation, made.terminated))
    return Transitions(
        *(np.concatenate([np.asarray(each) for each in part])[:steps] for part in zip(*found, strict=True))
    )


def checked_transitions(env: Environment, transitions: Any) -> Transitions:
    """Returns transitions in the dtypes of an environment of whole-number actions.

    Raises:
        ArgumentError: they do not fit its spaces, or are none.
    """
    if not isinstance(env.action_space, Discrete):
        checks.refuse("transitions of this method must have Discrete actions", env.action_space)
    if not isinstance(transitions, tuple) or len(transitions) != len(Transitions._fields):
        checks.refuse(f"transitions must be a tuple of {', '.join(Transitions._fields)}", type(transitions).__name__)
    parts = Transitions(*map(np.asarray, transitions))
    count, space = len(np.atleast_1d(parts.reward)), env.observation_space
    if not count:
        checks.refuse("transitions must be one or more", count)
    shapes = ((count, *space.shape), (count,), (count,), (count, *space.shape), (count,))
    for name, part, shape in zip(Transitions._fields, parts, shapes, strict=True):
        if part.shape != shape or part.dtype.kind not in "fiub":
            checks.refuse(f"{name} of transitions must be numbers {shape}", f"{part.dtype} {part.shape}")
        if not np.isfinite(part).all():
            checks.refuse(f"{name} of transitions must be finite", "numbers that are not")
    fits = env.action_space.contains(parts.action)
    if not fits.all():
        checks.refuse(f"actions of transitions must lie in {env.action_space}", parts.action[~fits].tolist()[:3])
    dtypes = (space.dtype, "int32", "float32", space.dtype, "bool")
    return Transitions(*(part.astype(dtype) for part, dtype in zip(parts, dtypes, strict=True)))
