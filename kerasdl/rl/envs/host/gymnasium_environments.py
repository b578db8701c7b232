"""Adapter of Gymnasium environments: the same `reset` and `step` as `VectorEnvironment`, on the host.

Gymnasium's own vectors run the environments, one after the other or each in a process. Unlike an environment of
TensorFlow operations, one of Gymnasium holds its state in itself: a step continues from the latest state alone, and a
run that is resumed starts new episodes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.core.startup.packages import optional

from ..vectors import Transition, VectorState
from .gymnasium_spaces import space_of
from .preparation import Preparation, environment_maker

LARGEST_SEED = 2**31


class GymnasiumEnvironments:
    """N environments of Gymnasium with the interface of `VectorEnvironment`; states and transitions are NumPy arrays.

    Episodes that end are started anew in the same step, and the true successor stands in `next_observation`. An episode
    that terminates in the very step of its time limit is terminated and not truncated.

    Args:
        env: name that `gymnasium.make` knows, such as "LunarLander-v3", or a function that returns an environment.
        count: N, number of environments.
        processes: whether each runs in a process of its own, which pays where a step takes a millisecond or more.
        settings: arguments of `gymnasium.make`, such as {"continuous": True}.
        preparation: time limit, flat vectors, repeated actions, pictures and frame stacks.

    Raises:
        MissingPackageError: gymnasium is not installed.
        UnknownNameError: gymnasium knows no such environment.
        ArgumentError: a space of the environment is of an unknown kind, or an argument breaks its rule.

    Example:
        >>> envs = GymnasiumEnvironments("CartPole-v1", count=2)
        >>> state, transition = envs.step(envs.reset(seed=0), [0, 1])
        >>> transition.reward
        array([1., 1.], dtype=float32)
        >>> envs.close()
    """

    agents = 1

    def __init__(
        self,
        env: str | Callable[[], Any],
        count: int = 1,
        *,
        processes: bool = False,
        settings: Mapping[str, Any] | None = None,
        preparation: Preparation | None = None,
    ) -> None:
        gymnasium = optional("gymnasium", "rl")
        self._arguments = (env, {"processes": processes, "settings": settings, "preparation": preparation})
        self.count = checks.at_least("count", count, 1)
        spec = _spec(gymnasium, env)
        self.preparation = preparation or Preparation()
        maker = environment_maker(env, dict(settings or {}), self.preparation)
        vector = gymnasium.vector.AsyncVectorEnv if processes else gymnasium.vector.SyncVectorEnv
        try:
            self._vector = vector([maker] * count, autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP)
        except gymnasium.error.Error as error:
            checks.refuse(f"gymnasium must be able to make the environment ({error})", env)
        try:
            self.observation_space = space_of(self._vector.single_observation_space, "observation")
            self.action_space = space_of(self._vector.single_action_space, "action")
        except Exception:
            self._vector.close()
            raise
        self.name = env if isinstance(env, str) else getattr(env, "__name__", "gymnasium")
        self.time_limit = self.preparation.time_limit or _limit_of(spec, settings or {})
        self.reward_bar = spec and spec.reward_threshold
        self._latest: VectorState | None = None

    def reset(self, seed: int) -> VectorState:
        """Returns the first state of N new episodes; environment i is seeded by seed + i.

        Args:
            seed: a whole number of 0 or more.

        Returns:
            The state, whose `observation` is (N, *observation_space.shape).

        Raises:
            ArgumentError: the seed is no whole number of 0 or more.
            DataError: an environment gave an observation that is not a finite number.
        """
        seed = checks.at_least("seed", np.asarray(seed).item(), 0)
        observation, _ = self._vector.reset(seed=[(seed + each) % LARGEST_SEED for each in range(self.count)])
        elapsed, returns = np.zeros(self.count, "int32"), np.zeros(self.count, "float32")
        numbers, observation = (np.int32(seed % LARGEST_SEED), np.int32(0)), self._cast(observation)
        self._check_finite("observation", observation)
        self._latest = VectorState({}, observation, elapsed, returns, *numbers)
        return self._latest

    def step(self, vector_state: VectorState, actions: Any) -> tuple[VectorState, Transition]:
        """Returns the state after one step of every environment, and what happened in it.

        Args:
            vector_state: the latest state; environments of Gymnasium cannot go back to another.
            actions: (N,) whole numbers of a `Discrete` space, else (N, *action_space.shape).

        Returns:
            The next state, in which ended episodes have begun anew, and the `Transition`.

        Raises:
            ArgumentError: the state is not the latest, or an action lies in no action space (of a box: is not finite).
            DataError: an environment gave a reward or an observation that is not a finite number.
        """
        if vector_state is not self._latest:
            checks.refuse(
                "environments of Gymnasium step from their latest state alone", f"step {vector_state.counter}"
            )
        action = self._checked_actions(np.asarray(actions))
        fresh, reward, terminated, truncated, info = self._vector.step(action)
        fresh, reward = self._cast(fresh), np.asarray(reward, "float32")
        truncated = truncated & ~terminated
        done = terminated | truncated
        successor = fresh
        if done.any():
            successor = fresh.copy()
            for each in np.flatnonzero(done):
                successor[each] = self._cast(info["final_obs"][each])
        for name, values in (("reward", reward), ("observation", successor), ("observation", fresh)):
            self._check_finite(name, values)
        elapsed, returns = vector_state.elapsed + 1, vector_state.episode_return + reward
        transition = Transition(
            *(vector_state.observation, action, reward, terminated, truncated, successor, returns, elapsed)
        )
        self._latest = VectorState(
            state={},
            observation=fresh,
            elapsed=np.where(done, 0, elapsed).astype("int32"),
            episode_return=np.where(done, 0, returns).astype("float32"),
            seed=vector_state.seed,
            counter=np.int32(vector_state.counter + 1),
        )
        return self._latest, transition

    def action_mask(self, vector_state: VectorState) -> None:
        """Returns None: masks of Gymnasium's environments have no common form."""
        return None

    def random_actions(self, vector_state: VectorState) -> np.ndarray:
        """Returns actions of equal probability for a state, the same for the same state."""
        space, key = self.action_space, (int(vector_state.seed), int(vector_state.counter) * 4 + 2)
        return space.draw(tf.random.stateless_uniform((self.count, space.noise_size), key, alg="philox")).numpy()

    def draw(self) -> np.ndarray:
        """Returns a picture of the first environment, (H, W, 3) uint8.

        Raises:
            ArgumentError: the environment was made without settings={"render_mode": "rgb_array"}.
        """
        if self._vector.render_mode != "rgb_array":
            checks.refuse(
                "an environment is drawn in render_mode 'rgb_array'",
                self._vector.render_mode,
                'Pass settings={"render_mode": "rgb_array"}.',
            )
        return np.asarray(self._vector.render()[0])

    def another(self, count: int) -> "GymnasiumEnvironments":
        """Returns other environments of the same arguments, such as those of an evaluation."""
        env, settings = self._arguments
        return GymnasiumEnvironments(env, count, **settings)

    def close(self) -> None:
        """Closes the environments and their processes."""
        self._vector.close()

    def __enter__(self) -> "GymnasiumEnvironments":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.count} of {self.name}: {self.observation_space} -> {self.action_space}>"

    def _cast(self, observation: Any) -> np.ndarray:
        return np.asarray(observation, self.observation_space.dtype)

    def _checked_actions(self, raw: np.ndarray) -> np.ndarray:
        """Returns actions in the dtype of their space."""
        shape = (self.count, *self.action_space.shape)
        if raw.shape != shape:
            checks.refuse(f"actions must have the shape {shape}", raw.shape)
        action = raw.astype(self.action_space.dtype)
        whole = (action == raw).reshape(self.count, -1).all(-1)  # 0.7 is no action 0
        fits = np.isfinite(action) if action.dtype.kind == "f" else self.action_space.contains(action) & whole
        if not np.all(fits):
            checks.refuse(f"actions must lie in {self.action_space}", raw[~fits].tolist()[:3])
        return action

    def _check_finite(self, name: str, values: np.ndarray) -> None:
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            worst = int(np.flatnonzero(~np.isfinite(values.reshape(self.count, -1)).all(1))[0])
            raise DataError(
                f"the {name} of environment {worst} of {self.name} is not finite; got {values[worst]!r}. "
                "Mend the environment, or end its episode before."
            )


def _spec(gymnasium: Any, env: Any) -> Any:
    """Returns what Gymnasium's registry says of an environment; None of a function."""
    if not isinstance(env, str):
        if not callable(env):
            checks.refuse("env must be a name that gymnasium knows, or a function that returns an environment", env)
        return None
    try:
        return gymnasium.spec(env)
    except gymnasium.error.Error:
        return checks.known_name("environment of gymnasium", env, gymnasium.registry)


def _limit_of(spec: Any, settings: Mapping[str, Any]) -> int | None:
    """Returns the steps after which `gymnasium.make` truncates; None for none."""
    own = settings.get("max_episode_steps")
    if own is None:
        return spec and spec.max_episode_steps
    return None if own == -1 else int(own)
