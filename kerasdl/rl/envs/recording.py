"""Recording of an episode as an animated GIF."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from kerasdl.core import checks, files

from .environment import Environment
from .host.gymnasium_environments import GymnasiumEnvironments
from .making import make
from .vectors import VectorEnvironment


class Recording(NamedTuple):
    """Result of `record_episode`."""

    path: Path
    """File with the pictures."""
    episode_return: float
    """Sum of the rewards shown."""
    length: int
    """Steps shown."""


def record_episode(
    env: str | Environment | GymnasiumEnvironments,
    path: str | os.PathLike,
    act: Callable[[Any], Any] | None = None,
    *,
    seed: int = 0,
    frames_per_second: int = 30,
    most_steps: int = 1000,
) -> Recording:
    """Plays one episode and writes it as an animated GIF.

    Args:
        env: a name that `make` knows, an environment with pictures, or a `GymnasiumEnvironments` of count 1 made with
            settings={"render_mode": "rgb_array"}.
        path: file to write, ending in .gif.
        act: function from observations (1, ...) to actions (1, ...), such as `agent.act`; None for random actions. It
            gets `mask` too where the environment forbids actions.
        seed: seed of the episode and of random actions.
        frames_per_second: speed of the film, from 1 to 50.
        most_steps: steps after which the film ends, where the episode does not.

    Returns:
        Path, return and length of what was recorded.

    Raises:
        ArgumentError: the environment has no pictures, several environments came, or the path does not end in .gif.

    Example:
        >>> record_episode("cartpole", "episode.gif", lambda observation: [0]).length
        9
    """
    path = Path(path)
    if path.suffix != ".gif":
        checks.refuse("path must end in .gif", str(path))
    checks.within("frames_per_second", frames_per_second, 1, 50)
    checks.at_least("most_steps", most_steps, 1)
    env = make(env) if isinstance(env, str) else env
    vectors = env if isinstance(env, GymnasiumEnvironments) else VectorEnvironment(env, 1)
    if vectors.count != 1:
        checks.refuse("one environment is recorded at a time", vectors, "Pass count=1.")
    state = vectors.reset(seed)
    pictures = [_picture(vectors, state)]
    for _ in range(most_steps):
        action = vectors.random_actions(state) if act is None else act(state.observation, **_mask(vectors, state))
        state, transition = vectors.step(state, action)
        if np.asarray(transition.done)[0]:  # the picture would be the next episode's
            break
        pictures.append(_picture(vectors, state))
    _write(pictures, path, frames_per_second)
    return Recording(path, float(transition.episode_return[0]), int(transition.episode_length[0]))


def _mask(vectors: Any, state: Any) -> dict[str, Any]:
    """Returns the allowed actions by name; nothing where all always are."""
    mask = vectors.action_mask(state)
    return {} if mask is None else {"mask": mask}


def _picture(vectors: Any, state: Any) -> Image.Image:
    if isinstance(vectors, GymnasiumEnvironments):
        return Image.fromarray(vectors.draw())
    return Image.fromarray(vectors.env.draw({name: np.asarray(value)[0] for name, value in state.state.items()}))


def _write(pictures: list[Image.Image], path: Path, frames_per_second: int) -> None:
    """Writes pictures with one palette, that of the first, so that colours do not flicker."""
    first = pictures[0].quantize(64)
    rest = [each.quantize(palette=first, dither=Image.Dither.NONE) for each in pictures[1:]]
    with files.writing(path) as file:
        duration = round(1000 / frames_per_second)
        first.save(file, save_all=True, append_images=rest, duration=duration, loop=0, optimize=False)
