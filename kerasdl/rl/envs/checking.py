"""Check of an environment: rules of the interface that it breaks, each by name."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.errors import first_line

from .environment import Environment
from .spaces import Box, Discrete, MultiDiscrete
from .vectors import VectorEnvironment

COUNT, STEPS = 8, 64
TOLERANCE = 1e-5


def check_env(env: Environment, *, steps: int = STEPS, seed: int = 0) -> None:
    """Refuses an environment that breaks a rule, and names each rule that it breaks.

    Random actions are taken in 8 episodes at once. Checked are spaces and settings; shapes, dtypes and bounds of
    observations, rewards and ends; that equal arguments give equal results, that no row depends on another and no state
    is changed in place; that masks allow an action; and that all of it compiles into a loop.

    Args:
        env: the environment.
        steps: steps that are taken in each episode.
        seed: seed of noise and actions.

    Raises:
        ArgumentError: the environment breaks a rule; the text has one sentence for each.

    Example:
        >>> check_env(kerasdl.rl.make("cartpole"))
    """
    if not isinstance(env, Environment):
        checks.refuse("env must be an Environment", env, "GymnasiumEnvironments are checked by gymnasium itself.")
    checks.at_least("steps", steps, 1)
    faults = [*_setting_faults(env)] or [*_run_faults(env, steps, seed)]
    if faults:
        lines = "".join(f"\n  {number}. {fault}" for number, fault in enumerate(dict.fromkeys(faults), 1))
        checks.refuse(f"an environment must keep the rules of Environment, but:{lines}\n ", type(env).__name__)


def _setting_faults(env: Environment) -> Iterator[str]:
    kinds = (Box, Discrete, MultiDiscrete)
    for name in ("observation_space", "action_space"):
        if not isinstance(getattr(env, name, None), kinds):
            yield f"{name} must be a Box, Discrete or MultiDiscrete; got {getattr(env, name, None)!r}."
    for name, low in {"noise_size": 0, "step_noise_size": 0, "agents": 1, "time_limit": 1}.items():
        value = getattr(env, name)
        if not (value is None and name == "time_limit") and (not isinstance(value, int) or value < low):
            yield f"{name} must be an integer of {low} or more; got {value!r}."
    space = getattr(env, "action_space", None)
    if isinstance(space, Box) and not space.bounded:
        yield f"action_space must have finite bounds, since policies scale their actions to them; got {space}."


def _run_faults(env: Environment, steps: int, seed: int) -> Iterator[str]:
    """Yields faults seen in a run; a step that raises ends it."""
    random = np.random.default_rng(seed)

    def noise(size: int) -> tf.Tensor:
        return tf.constant(random.random((COUNT, size), dtype="float32"))

    try:
        state = env.start(noise(env.noise_size))
        yield from _state_faults(state, "start")
        if not isinstance(state, dict):
            return
        yield from _observation_faults(env, env.observe(state), "the first observation")
        for _ in range(steps):
            action = env.action_space.draw(noise(env.action_space.noise_size))
            yield from _mask_faults(env, state)
            arguments = (state, action, noise(env.step_noise_size))
            before = {name: np.array(value) for name, value in state.items()}
            after, reward, terminated = env.step(*arguments)
            yield from _result_faults(env, state, before, after, reward, terminated)
            yield from _purity_faults(env, arguments, (after, reward, terminated))
            keep = ~np.asarray(terminated)
            state = {name: value if keep.all() else _where(value, state[name], keep) for name, value in after.items()}
        yield from _loop_faults(env)
    except Exception as error:
        yield f"a call raised {type(error).__name__}: {first_line(error)}"


def _where(after: tf.Tensor, before: tf.Tensor, keep: np.ndarray) -> tf.Tensor:
    """Returns the rows of `after` that go on; a terminated episode stays at its last state."""
    return tf.where(keep.reshape(-1, *(1 for _ in after.shape[1:])), after, before)


def _state_faults(state: Any, call: str) -> Iterator[str]:
    if not isinstance(state, dict) or not state:
        yield f"{call} must return a dict of tensors; got {type(state).__name__}."
        return
    for name, value in state.items():
        if not tf.is_tensor(value) or value.shape[:1] != (COUNT,):
            yield f"{call} must give tensors with one row an episode; {name!r} has {getattr(value, 'shape', value)!r}."


def _observation_faults(env: Environment, observation: Any, where: str) -> Iterator[str]:
    space = env.observation_space
    shape = (COUNT, *space.shape)
    if not tf.is_tensor(observation) or tuple(observation.shape) != shape or observation.dtype.name != space.dtype:
        got = f"{observation.dtype.name} {tuple(observation.shape)}" if tf.is_tensor(observation) else observation
        yield f"{where} must be a tensor {space.dtype} {shape}; got {got}."
        return
    values = observation.numpy()
    if not np.all(np.isfinite(values)):
        yield f"{where} must be finite; got {values[~np.isfinite(values)][0]}."
    elif not space.contains(values).all():
        outside = values[~space.contains(values)][0]
        yield f"{where} must lie in {space}; got {outside.ravel()[:8].tolist()}."


def _mask_faults(env: Environment, state: Any) -> Iterator[str]:
    mask = env.action_mask(state)
    if mask is None:
        return
    if mask.dtype != tf.bool or not np.asarray(mask).any(-1).all():
        yield "action_mask must be bool and allow one action or more in every state."
    elif isinstance(env.action_space, Discrete) and tuple(mask.shape) != (COUNT, env.action_space.n):
        yield f"action_mask must be (N, {env.action_space.n}); got {tuple(mask.shape)}."


def _result_faults(env, state, before, after, reward, terminated) -> Iterator[str]:
    yield from _state_faults(after, "step")
    form = {name: (value.dtype.name, tuple(value.shape)) for name, value in state.items()}
    now = {name: (value.dtype.name, tuple(value.shape)) for name, value in after.items()}
    if form != now:
        yield f"step must keep names, dtypes and shapes of the state, {form}; got {now}."
    if any(not np.array_equal(before[name], state[name], equal_nan=before[name].dtype.kind == "f") for name in before):
        yield "step must not change the state that it takes."
    for name, value, dtype in (("reward", reward, "float32"), ("terminated", terminated, "bool")):
        if not tf.is_tensor(value) or value.dtype.name != dtype or tuple(value.shape) != (COUNT,):
            got = f"{value.dtype.name} {tuple(value.shape)}" if tf.is_tensor(value) else repr(value)
            yield f"{name} must be a tensor {dtype} ({COUNT},); got {got}."
    if tf.is_tensor(reward) and not np.isfinite(reward.numpy()).all():
        yield f"rewards must be finite; got {reward.numpy().tolist()}."
    yield from _observation_faults(env, env.observe(after), "an observation")


def _purity_faults(env: Environment, arguments: tuple, results: tuple) -> Iterator[str]:
    state, action, noise = arguments
    if _differs(env.step(state, action, noise), results, slice(None)):
        yield "equal states, actions and noise must give equal steps; draw what is random from noise."
    half = slice(0, COUNT // 2)
    part = env.step({name: value[half] for name, value in state.items()}, action[half], noise[half])
    if _differs(part, results, half):
        yield "each row must depend on its own state, action and noise alone; half a batch gave other numbers."


def _differs(first: tuple, second: tuple, rows: slice) -> bool:
    pairs = zip(tf.nest.flatten(first), tf.nest.flatten(second), strict=True)
    return not all(
        np.allclose(np.asarray(a, float), np.asarray(b, float)[rows], atol=TOLERANCE, equal_nan=True) for a, b in pairs
    )


def _loop_faults(env: Environment) -> Iterator[str]:
    """Yields a fault if the environment does not compile, or computes something else in a compiled loop."""
    vectors = VectorEnvironment(env, COUNT)

    def run(count: Any) -> tf.Tensor:
        def body(index, state, total):
            state, transition = vectors.step(state, vectors.random_actions(state))
            return index + 1, state, total + transition.reward

        return tf.while_loop(lambda index, *_: index < count, body, (0, vectors.reset(0), tf.zeros(COUNT)))[2]

    yield from _compiled_faults(run)


def _compiled_faults(run: Callable[[Any], tf.Tensor]) -> Iterator[str]:
    try:
        compiled = tf.function(run)(tf.constant(3)).numpy()
    except Exception as error:
        yield f"the environment must compile into a loop, but {type(error).__name__}: {first_line(error)}"
        return
    if not np.allclose(compiled, run(3).numpy(), atol=TOLERANCE):
        yield "a compiled loop must give the rewards of plain steps; use TensorFlow's operations alone."
