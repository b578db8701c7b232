"""Whole episodes of a policy: in one compiled loop, or on the host."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

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
