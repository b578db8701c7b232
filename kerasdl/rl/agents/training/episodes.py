"""Episodes of a policy: whole ones in a compiled loop or on the host, and the observations that it meets."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from ...envs.vectors import VectorEnvironment


def run_episodes(vectors: VectorEnvironment, act: Callable[[Any, Any], Any], most_steps: int) -> Callable:
    """Returns a function from a seed () int32 to returns (N,) float32 and lengths (N,) int32 of N episodes.

    Each environment runs its first episode and no other: of several, the short ones would be counted too often.

    Args:
        vectors: N environments.
        act: function from observations (N, ...) and a mask or None to actions.
        most_steps: steps after which an episode is cut off.
    """

    def goes_on(step, state, alive, returns, lengths):
        return (step < most_steps) & tf.reduce_any(alive)

    def body(step, state, alive, returns, lengths):
        actions = act(state.observation, vectors.action_mask(state))
        state, transition = vectors.step(state, actions)
        returns += tf.where(alive, transition.reward, 0.0)
        lengths += tf.cast(alive, tf.int32)
        return step + 1, state, alive & ~transition.done, returns, lengths

    def run(seed):
        count = vectors.count
        loop = (
            tf.constant(0),
            vectors.reset(seed),
            tf.ones(count, tf.bool),
            tf.zeros(count),
            tf.zeros(count, tf.int32),
        )
        return tf.while_loop(goes_on, body, loop, parallel_iterations=1)[3:]

    return run


def checked_limit(env: Any, episodes: int, seed: int, most_steps: int | None) -> int:
    """Returns the steps after which an episode is cut off: `most_steps`, or the time limit of the environment.

    Raises:
        ArgumentError: a number breaks its rule, or nothing limits the length of an episode.
    """
    checks.at_least("episodes", episodes, 1)
    checks.at_least("seed", seed, 0)
    limit = env.time_limit if most_steps is None else checks.at_least("most_steps", most_steps, 1)
    if limit is None:
        checks.refuse("an environment without time limit needs most_steps", most_steps)
    return limit


def episodes_on_host(env: Any, act: Callable[[Any], Any], episodes: int, seed: int, most_steps: int) -> tuple[Any, Any]:
    """Returns returns (N,) float32 and lengths (N,) int32 of N episodes in new environments of Gymnasium.

    Args:
        env: `GymnasiumEnvironments`, of which as many are made as there are episodes.
        act: function from observations (N, ...) to actions.
        episodes: N.
        seed: seed of the first environment; each next one has one more.
        most_steps: steps after which an episode is cut off.
    """
    with env.another(episodes) as others:
        state = others.reset(seed)
        returns, lengths, alive = np.zeros(episodes, "float32"), np.zeros(episodes, "int32"), np.ones(episodes, bool)
        for _ in range(most_steps):
            state, transition = others.step(state, act(state.observation))
            returns += alive * transition.reward
            lengths += alive
            alive &= ~transition.done
            if not alive.any():
                break
    return returns, lengths


def collect_observations(agent: Any, count: int = 256, *, seed: int = 1_000_003) -> np.ndarray:
    """Returns observations that the deterministic policy of an agent meets, in the order of time.

    They are examples for `representative=` of an exported policy: int8 takes its ranges from them.

    Args:
        agent: an agent, trained before.
        count: number of observations; 8 episodes run at once, each started anew when it ends.
        seed: seed of the episodes.

    Returns:
        (count, *observation_space.shape) in the dtype of the space.

    Raises:
        ArgumentError: count is below 1, or the seed below 0.

    Example:
        >>> collect_observations(PPO("cartpole", PPOConfig(jit_compile=False)), 32).shape
        (32, 4)
    """
    lanes = min(8, checks.at_least("count", count, 1))
    checks.at_least("seed", seed, 0)
    host = agent.on_host
    with agent.env.another(lanes) if host else nullcontext(VectorEnvironment(agent.env, lanes)) as vectors:
        state, seen = vectors.reset(seed), []
        while True:
            seen.append(np.asarray(state.observation))
            if len(seen) * lanes >= count:
                return np.concatenate(seen)[:count]
            state, _ = vectors.step(state, agent.act(seen[-1], mask=vectors.action_mask(state)))
