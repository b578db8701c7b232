"""Preparation of one Gymnasium environment: flat vectors, repeated actions, grey and smaller pictures, frame stacks.

Source: Mnih et al., "Human-level control through deep reinforcement learning", 2015, methods, "Preprocessing".
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from kerasdl.core import checks
from kerasdl.core.display.settings import with_field_sentences
from kerasdl.core.startup.packages import optional

LUMA = np.array([0.299, 0.587, 0.114], "float32")  # ITU-R BT.601


@with_field_sentences
@dataclass(frozen=True)
class Preparation:
    """Preparation of the observations and actions of an environment, in the order of the fields.

    Raises:
        ArgumentError: a value is outside its range.
    """

    time_limit: int | None = None
    """Steps of the environment itself after which an episode is truncated; None for the environment's own."""
    flatten: bool = False
    """Whether a Dict or Tuple of observations becomes one vector."""
    action_repeat: int = 1
    """Steps for which each action is repeated; their rewards are added."""
    grey: bool = False
    """Whether coloured pictures become grey ones."""
    resize: tuple[int, int] | None = None
    """Height and width to which pictures of bytes are resized, by area."""
    frame_stack: int = 1
    """Latest observations that are joined along the last axis; the first one counts as often as none came before."""

    def __post_init__(self) -> None:
        if self.time_limit is not None:
            checks.at_least("time_limit", self.time_limit, 1)
        checks.at_least("action_repeat", self.action_repeat, 1)
        checks.at_least("frame_stack", self.frame_stack, 1)
        if self.resize is not None and len(checks.counts("resize", self.resize)) != 2:
            checks.refuse("resize must be (height, width)", self.resize)


def environment_maker(
    env: str | Callable[[], Any], settings: Mapping[str, Any], preparation: Preparation
) -> Callable[[], Any]:
    """Returns a function that makes one prepared environment, in any process."""
    gymnasium = optional("gymnasium", "rl")

    def make_one() -> Any:
        inner = gymnasium.make(env, **settings) if isinstance(env, str) else env()
        return prepared(inner, preparation)

    return make_one


def prepared(env: Any, preparation: Preparation) -> Any:
    """Returns a Gymnasium environment with a preparation around it.

    Observations are copied: an environment may change the array that it gave before, as by `state += ...`, and the last
    observation of an episode and older frames of a stack must not change with it.

    Raises:
        ArgumentError: its observations are no pictures of bytes where grey or resize asks for them.
    """
    gymnasium = optional("gymnasium", "rl")
    if preparation.time_limit is not None:
        while isinstance(env, gymnasium.wrappers.TimeLimit):  # its own limit, which could be shorter
            env = env.env
        env = gymnasium.wrappers.TimeLimit(env, preparation.time_limit)
    env = gymnasium.wrappers.TransformObservation(env, copy.deepcopy, env.observation_space)
    if preparation.flatten:
        env = gymnasium.wrappers.FlattenObservation(env)
    if preparation.action_repeat > 1:
        env = _repeating(gymnasium, env, preparation.action_repeat)
    if preparation.grey or preparation.resize:
        env = _pictures(gymnasium, env, preparation)
    return env if preparation.frame_stack == 1 else _stacking(gymnasium, env, preparation.frame_stack)


def _repeating(gymnasium: Any, env: Any, times: int) -> Any:
    class Repeated(gymnasium.Wrapper):
        def step(self, action):
            total = 0.0
            for _ in range(times):
                observation, reward, terminated, truncated, info = self.env.step(action)
                total += float(reward)
                if terminated or truncated:
                    break
            return observation, total, terminated, truncated, info

    return Repeated(env)


def _pictures(gymnasium: Any, env: Any, preparation: Preparation) -> Any:
    space = env.observation_space
    shape, kind = space.shape or (), getattr(space, "dtype", None)
    if kind != np.uint8 or len(shape) != 3 or shape[-1] not in (1, 3) or (preparation.grey and shape[-1] != 3):
        channels = "3" if preparation.grey else "1 or 3"
        checks.refuse(f"grey and resize take pictures (H, W, {channels}) of bytes", f"{kind} {shape}")
    height, width = preparation.resize or shape[:2]
    result = gymnasium.spaces.Box(0, 255, (height, width, 1 if preparation.grey else shape[-1]), np.uint8)

    def picture(observation):
        if preparation.grey:
            observation = np.rint(observation @ LUMA).astype("uint8")[..., None]
        if preparation.resize is None:
            return observation
        flat = observation[..., 0] if observation.shape[-1] == 1 else observation
        small = np.asarray(Image.fromarray(flat).resize((width, height), Image.Resampling.BOX))
        return small.reshape(result.shape)

    return gymnasium.wrappers.TransformObservation(env, picture, result)


def _stacking(gymnasium: Any, env: Any, count: int) -> Any:
    space = env.observation_space
    if type(space).__name__ != "Box" or not space.shape:
        checks.refuse("frame_stack takes observations that are arrays", space)
    low, high = (np.concatenate([bound] * count, axis=-1) for bound in (space.low, space.high))

    class Stacked(gymnasium.Wrapper):
        def __init__(self, env):
            super().__init__(env)
            self.observation_space = gymnasium.spaces.Box(low, high, dtype=space.dtype)
            self._frames: list = []

        def reset(self, *, seed=None, options=None):
            observation, info = self.env.reset(seed=seed, options=options)
            self._frames = [observation] * count
            return np.concatenate(self._frames, axis=-1), info

        def step(self, action):
            observation, *rest = self.env.step(action)
            self._frames = [*self._frames[1:], observation]
            return np.concatenate(self._frames, axis=-1), *rest

    return Stacked(env)
