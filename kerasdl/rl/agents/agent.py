"""Agent: one interface of all algorithms: train, act, evaluate, save and load.

A call of the training loop is one compiled function: a rollout in environments of tensors and the updates after it.
Everything that changes is a variable with a name, so that a killed training continues bit for bit.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.train import RunCallback

from ..envs.environment import Environment
from ..envs.host.gymnasium_environments import GymnasiumEnvironments
from ..envs.making import make
from ..envs.vectors import VectorEnvironment, VectorState
from .presets import preset_config
from .training.agent_files import read_agent, write_agent
from .training.episodes import checked_limit, episodes_on_host, run_episodes
from .training.observations import read_mask, read_observations
from .training.records import Evaluation, TrainingRecord
from .training.settings import AgentConfig, Episodes
from .training.training_loop import train_agent

STREAMS = 8
"""Independent streams of random numbers of one iteration; see `Agent.noise`."""


class Agent:
    """Base class of agents.

    A subclass sets `config_class` and `figure_names`, and defines `_build` (networks, optimizers), `_iterate` (one
    rollout and its updates, in a graph) and `_best_actions`.

    Attributes:
        env: the environment.
        config: the settings.
        seed: seed of weights, episodes and actions; the same seed gives the same training.
        networks: functional models by role; `policy` first.
        steps: environment steps so far.

    Args:
        env: name for `make`, an `Environment`, or `GymnasiumEnvironments`, which are stepped on the host.
        config: settings; None takes the preset of this agent and environment, or the defaults where there is none.
        seed: a whole number from 0.

    Raises:
        ArgumentError: an argument breaks its rule, or the agent cannot act in the environment.
        UnknownNameError: no environment has the name.

    Example:
        >>> agent = PPO("cartpole", PPOConfig(jit_compile=False), seed=0)
        >>> agent.act(np.zeros(4)).shape
        ()
    """

    config_class: ClassVar[type[AgentConfig]] = AgentConfig
    figure_names: ClassVar[tuple[str, ...]] = ("loss",)
    """Names of the figures that `_iterate` returns; `loss` is one of them."""
    acts_for_a_team: ClassVar[bool] = False  # True: in environments of several agents, and in no others

    def __init__(self, env: Any, config: AgentConfig | None = None, *, seed: int = 0):
        self.env = make(env) if isinstance(env, str) else env
        self.on_host = isinstance(self.env, GymnasiumEnvironments)
        if not self.on_host and not isinstance(self.env, Environment):
            hint = "kerasdl.rl.list_environments() has the names; kerasdl.rl.GymnasiumEnvironments runs Gymnasium's."
            checks.refuse("env must be a name, an Environment or GymnasiumEnvironments", env, hint)
        config = preset_config(self) if config is None else config
        if type(config) is not self.config_class:
            checks.refuse(f"config of {self.name} must be of the class {self.config_class.__name__}", config)
        self.config, self.seed = config, checks.at_least("seed", seed, 0)
        checks.within("seed", seed, 0, 2**31 - 1)
        self._check_environment()
        self.vectors = self.env if self.on_host else VectorEnvironment(self.env, config.environments)
        self.networks: dict[str, keras.Model] = {}
        self.optimizers: dict[str, keras.optimizers.Optimizer] = {}
        keras.utils.set_random_seed(self.seed)
        self._build()
        first = () if self.on_host else self.vectors.reset(self.seed)
        self._vector_state = tf.nest.map_structure(tf.Variable, first)
        self._host_state: VectorState | None = None
        self._iteration = tf.Variable(0, dtype=tf.int32, name="iteration")
        self._planned = tf.Variable(1, dtype=tf.int32, name="planned")
        self._sums = tf.Variable(tf.zeros(len(self.figure_names) + 5), name="sums")
        compiled = {"autograph": False, "jit_compile": config.jit_compile}
        self._compiled, self._traced = tf.function(self._call, **compiled), None
        self._compiled_update = tf.function(self._update, **compiled)
        self._evaluators: dict[tuple[int, int], Any] = {}
        self._draws = 0

    # For subclasses

    @property
    def name(self) -> str:
        """Name of the algorithm."""
        return type(self).__name__

    @property
    def steps_per_iteration(self) -> int:
        """Environment steps of one rollout."""
        raise NotImplementedError(f"{self.name} has no steps_per_iteration")

    @property
    def large(self) -> Mapping[str, tf.Variable]:
        """Variables too large to be written every few minutes, such as a replay buffer."""
        return {}

    def _check_environment(self) -> None:
        """Refuses an environment in which the agent cannot act."""
        if (self.env.agents > 1) != self.acts_for_a_team:
            number = "several agents" if self.acts_for_a_team else "one agent"
            checks.refuse(f"{self.name} acts in environments of {number}", f"{self.env.agents} of {self.env.name}")
        if self.on_host and self.env.count != self.config.environments:
            rule = f"environments of the config must be the count of {self.env.name}, {self.env.count}"
            checks.refuse(rule, self.config.environments)

    def _build(self) -> None:
        """Makes `networks` and `optimizers`."""
        raise NotImplementedError(f"{self.name} has no _build()")

    def _iterate(self, state: VectorState, iteration: tf.Tensor) -> tuple[VectorState, Mapping[str, Any], Episodes]:
        """Runs one rollout and its updates; traced once.

        Args:
            state: of the running episodes.
            iteration: () int32, counted from 0.

        Returns:
            The next state, the figures of `figure_names`, and the sums of the episodes.
        """
        raise NotImplementedError(f"{self.name} has no _iterate(state, iteration)")

    def _collect_on_host(self, state: VectorState, iteration: int) -> tuple[VectorState, Any]:
        """Returns the state after one rollout in environments of the host, and its steps as arrays.

        Raises:
            ArgumentError: the agent cannot learn from such environments.
        """
        checks.refuse(f"{self.name} learns in environments of TensorFlow operations", self.env.name)

    def _learn_from(self, steps: Any, iteration: tf.Tensor) -> tuple[Mapping[str, Any], Episodes]:
        """Makes the updates of the steps of `_collect_on_host`, in a graph; returns figures and episodes."""
        raise NotImplementedError(f"{self.name} has no _learn_from(steps, iteration)")

    def _best_actions(self, observations: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
        """Returns the actions of the deterministic policy, within the bounds of their space."""
        raise NotImplementedError(f"{self.name} has no _best_actions(observations, mask)")

    def _drawn_actions(self, observations: tf.Tensor, mask: tf.Tensor | None, key: tf.Tensor) -> tf.Tensor:
        """Returns actions as drawn in training, from a key (2,) int32 of stateless random numbers."""
        raise NotImplementedError(f"{self.name} has no _drawn_actions(observations, mask, key)")

    def _look_at(self, record: TrainingRecord) -> None:
        """Warns of what the figures of a training show."""

    def weights(self) -> dict[str, Any]:
        """Returns the variables that make the policy, by name."""
        return {name: each for role, net in self.networks.items() for name, each in _named(role, net.variables)}

    def extras(self) -> dict[str, Any]:
        """Returns all other variables that a resumed training needs, apart from `large`."""
        optimizers = {
            name: each
            for role, optimizer in self.optimizers.items()
            for name, each in _named(f"optimizer_{role}", optimizer.variables)
        }
        environment = dict(_named("environment", tf.nest.flatten(self._vector_state)))
        own = {"iteration": self._iteration, "planned": self._planned, "sums": self._sums}
        return {**optimizers, **environment, **own}

    def noise(self, shape: Sequence[int], iteration: tf.Tensor, stream: int) -> tf.Tensor:
        """Returns uniform float32 numbers in [0, 1): a function of the seed, an iteration and a stream below 8.

        Args:
            shape: shape of the numbers.
            iteration: () int32.
            stream: which of the independent streams of an iteration.
        """
        key = tf.stack([tf.constant(self.seed + 1, tf.int32), iteration * STREAMS + stream])
        return tf.random.stateless_uniform(shape, key, alg="philox")

    @property
    def progress(self) -> tf.Tensor:
        """() float32 in a graph: share of the training that is done, for schedules."""
        done, planned = (tf.cast(each, tf.float32) for each in (self._iteration, self._planned))
        return tf.clip_by_value(done / planned, 0.0, 1.0)

    # Training

    @property
    def policy(self) -> keras.Model:
        """Functional model that acts, for `kerasdl.deploy.export_tflite` and every other use of a Keras model."""
        return next(iter(self.networks.values()))

    @property
    def steps(self) -> int:
        return int(self._iteration.numpy()) * self.steps_per_iteration

    def train(
        self,
        steps: int,
        callbacks: Sequence[RunCallback] = (),
        *,
        folder: str | Path | None = None,
        resume: bool = True,
        log_every: int | None = None,
        keep_best: str | None = None,
        save_seconds: float | None = 300.0,
        progress: str = "auto",
    ) -> TrainingRecord:
        """Trains for a number of environment steps, rounded up to whole calls.

        A second call goes on where the first one stopped. With a folder, the same call in a new process continues a
        training that was killed, bit for bit.

        Args:
            steps: environment steps, of all environments together.
            callbacks: `RunCallback`s, such as `EvaluateOften`, `StopOnReward` and the trackers of `kerasdl.train`.
            folder: folder of checkpoints and logs; None writes nothing.
            resume: True if a training in the folder continues; False removes it and starts a new one.
            log_every: environment steps in a line of the record; None makes 20 lines.
            keep_best: figure whose best line gives the final weights, such as `evaluation_return`; None takes the last.
            save_seconds: seconds between checkpoints; None leaves them to the lines.
            progress: `"auto"` shows progress, `"off"` nothing.

        Returns:
            The record of this call.

        Raises:
            ArgumentError: an argument breaks its rule, or the folder holds another run.
            TrainingError: a loss or a reward is not finite.
        """
        checks.at_least("steps", steps, 1)
        monitor = None if keep_best is None else (keep_best, "max")
        settings = {"folder": folder, "resume": resume, "save_seconds": save_seconds, "progress": progress}
        record = train_agent(self, steps, callbacks, log_every=log_every, monitor=monitor, **settings)
        self._look_at(record)
        return record

    def identity(self) -> dict[str, Any]:
        """Returns what distinguishes this training from others, as plain values."""
        config = {name: list(each) if isinstance(each, tuple) else each for name, each in vars(self.config).items()}
        return {"agent": self.name, "environment": self.env.name, "config": config, "seed": self.seed}

    def plan(self, iterations: int) -> None:
        """Sets the number of iterations from now on, over which schedules run."""
        self._planned.assign(self._iteration + iterations)

    def call(self) -> dict[str, tf.Tensor]:
        """Makes one call; returns the loss and the sum of the rewards."""
        if not self.on_host:
            if self._traced is None:
                self._traced = self._compiled.get_concrete_function()
            return self._traced()
        for _ in range(self.config.iterations_per_call):
            iteration = int(self._iteration.numpy())
            if self._host_state is None:  # also after a resume, since such environments cannot be restored
                self._host_state = self.env.reset((self.seed + iteration) % 2**31)
            self._host_state, steps = self._collect_on_host(self._host_state, iteration)
            values = self._compiled_update(steps)
        return values

    def _update(self, steps: Any) -> dict[str, tf.Tensor]:
        """Learns from the steps of one rollout on the host; returns what must be finite."""
        total = self._totals(*self._learn_from(steps, tf.convert_to_tensor(self._iteration)))
        self._sums.assign_add(total)
        self._iteration.assign_add(1)
        return {"loss": total[self.figure_names.index("loss")], "reward": total[-2]}

    def _totals(self, figures: Mapping[str, Any], episodes: Episodes) -> tf.Tensor:
        """Returns what one iteration adds to the sums of a line."""
        if set(figures) != set(self.figure_names):
            checks.refuse(f"{self.name} must return the figures {self.figure_names}", tuple(figures))
        values = [tf.cast(figures[name], tf.float32) for name in self.figure_names]
        return tf.stack([*values, *episodes, tf.constant(1.0)])

    def reset_figures(self) -> None:
        """Begins a new line of the record."""
        self._sums.assign(tf.zeros_like(self._sums))

    def _call(self) -> dict[str, tf.Tensor]:
        """Runs the iterations of one call on the variables; returns what must be finite."""

        def body(index, state, total):
            state, figures, episodes = self._iterate(state, self._iteration + index)
            return index + 1, state, total + self._totals(figures, episodes)

        count = self.config.iterations_per_call
        state = tf.nest.map_structure(tf.convert_to_tensor, self._vector_state)
        loop = (tf.constant(0), state, tf.zeros_like(self._sums))
        if count == 1:
            _, state, total = body(*loop)
        else:
            _, state, total = tf.while_loop(lambda index, *_: index < count, body, loop, parallel_iterations=1)
        tf.nest.map_structure(lambda variable, value: variable.assign(value), self._vector_state, state)
        self._sums.assign_add(total)
        self._iteration.assign_add(count)
        return {"loss": total[self.figure_names.index("loss")] / count, "reward": total[-2]}

    def figures(self) -> dict[str, float]:
        """Returns the figures of the present line: means over episodes and over iterations."""
        *sums, episodes, returns, lengths, _, iterations = (float(each) for each in self._sums.numpy())
        means = {name: each / max(iterations, 1.0) for name, each in zip(self.figure_names, sums, strict=True)}
        ended = {"return": returns, "length": lengths}
        return {**{name: each / episodes if episodes else math.nan for name, each in ended.items()}, **means}

    # Acting

    def act(self, observations: Any, deterministic: bool = True, mask: Any = None) -> np.ndarray:
        """Returns actions for one observation or several.

        Args:
            observations: one of the shape of the observation space, or (B, ...) of them.
            deterministic: True for the best action; False draws one as in training.
            mask: allowed actions, bools (B, K) of the logits, or (K,) of one observation; None allows all.

        Returns:
            One action, or (B, ...) of them.

        Raises:
            ArgumentError: the shape is not that of the observation space, a number is not finite, or the mask does not
                fit.
        """
        given, one = read_observations(self.env.observation_space, observations)
        batch = tf.constant(given)
        mask = read_mask(self.env.action_space, mask, len(given))
        mask = None if mask is None else tf.constant(mask)
        if deterministic:
            actions = self._best_actions(batch, mask)
        else:
            self._draws += 1
            actions = self._drawn_actions(batch, mask, tf.constant([self.seed, -self._draws]))
        return actions.numpy()[0] if one else actions.numpy()

    def evaluate(self, episodes: int = 100, *, seed: int = 1_000_003, most_steps: int | None = None) -> Evaluation:
        """Runs whole episodes of the deterministic policy, all at once, each in a new environment.

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
        if (episodes, limit) not in self._evaluators:
            run = run_episodes(VectorEnvironment(self.env, episodes), self._best_actions, limit)
            compiled = tf.function(run, autograph=False, jit_compile=self.config.jit_compile)
            self._evaluators[episodes, limit] = compiled.get_concrete_function(tf.TensorSpec((), tf.int32))
        found = self._evaluators[episodes, limit](tf.constant(seed, tf.int32))
        return Evaluation.of(*(each.numpy() for each in found))

    # Files

    def save(self, folder: str | Path) -> None:
        """Writes the agent to a folder: settings, all variables, and each network as a Keras file.

        A loaded agent acts the same, and trains on from where this one stopped; `large` variables are left out, so that
        a replay buffer fills anew.

        Args:
            folder: replaced where it is there already.
        """
        write_agent(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, env: Any = None) -> Any:
        """Returns the agent that `save` wrote.

        Args:
            folder: folder of the agent.
            env: its environment, where that is none of `list_environments()` with its default settings.

        Raises:
            DataError: the folder is damaged, or holds no agent of this class.
            ArgumentError: the environment is another one.
        """
        return read_agent(cls, Path(folder), env)

    def __repr__(self) -> str:
        return f"{self.name} on {self.env.name}, {self.steps:,} steps, seed {self.seed}\n  {self.config!r}"


def _named(role: str, variables: Sequence[Any]) -> list[tuple[str, Any]]:
    """Returns variables by stable names, such as `policy/03_kernel`."""
    names = [str(each.name).rpartition("/")[2].partition(":")[0] for each in variables]
    return [(f"{role}/{index:02d}_{names[index]}", each) for index, each in enumerate(variables)]
