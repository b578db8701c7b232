"""Training loop of an agent: compiled calls under `run_steps`."""

import math
import time
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kerasdl.core import checks
from kerasdl.train import LoopConfig, RunCallback, State, run_steps

from .agent_files import environment_rules
from .callbacks import AgentCallback
from .records import TrainingRecord

LINES = 20
"""Lines of a record, unless its caller sets their length."""


def train_agent(
    agent: Any, steps: int, callbacks: Sequence[RunCallback], *, log_every: int | None, **settings: Any
) -> TrainingRecord:
    """Trains an agent; see `Agent.train`.

    Args:
        agent: the agent.
        steps: environment steps.
        callbacks: callbacks of the run.
        log_every: environment steps in a line of the record; None makes 20 lines.
        settings: other settings of `LoopConfig`.
    """
    per_call, before = agent.steps_per_iteration * agent.config.iterations_per_call, agent.steps
    calls = math.ceil(steps / per_call)
    if log_every is None:
        calls_per_line = math.ceil(calls / LINES)
    else:
        calls_per_line = math.ceil(checks.at_least("log_every", log_every, 1) / per_call)
    agent.plan(calls * agent.config.iterations_per_call)
    for callback in callbacks:
        if isinstance(callback, AgentCallback):
            callback.agent = agent
    clock = _Clock(agent.call)
    state = State(
        model=next(iter(agent.networks.values())),
        weights=agent.weights(),
        extras=agent.extras(),
        large=agent.large,
        stream=lambda epoch, batch: None,
        steps_per_epoch=calls_per_line,
        batch_size=per_call,
        reset=agent.reset_figures,
        figures=agent.figures,
        must_be_finite=("loss", "reward"),
        run_callbacks=tuple(callbacks),
        identity={**agent.identity(), **_rules(agent.env), "steps_before": before},
    )
    run = run_steps(clock.step, state, LoopConfig(steps=calls, **settings))
    lines = range(1, len(next(iter(run.history.values()), ())) + 1)
    ends = [before + min(line * calls_per_line, calls) * per_call for line in lines]
    return TrainingRecord(
        agent=agent.name,
        environment=agent.env.name,
        steps=ends,
        figures=run.history,
        seconds=run.seconds,
        steps_per_second=clock.calls_per_second() * per_call,
        stopped=run.stopped,
        folder=run.folder,
    )


def _rules(env: Any) -> dict[str, Any]:
    """Returns settings of an environment that its name does not tell."""
    limit = None if env.time_limit is None else int(env.time_limit)
    return {"environment_rules": environment_rules(env), "time_limit": limit}


class _Clock:
    """Seconds inside the compiled calls, without the first one."""

    def __init__(self, call: Any):
        self.call, self.calls, self.seconds = call, 0, 0.0

    def step(self, stream: None) -> dict[str, tf.Tensor]:
        """Makes one call and waits for its values."""
        started = time.perf_counter()
        values = self.call()
        values["loss"].numpy()
        if self.calls:
            self.seconds += time.perf_counter() - started
        self.calls += 1
        return values

    def calls_per_second(self) -> float:
        """Returns the speed; NaN where only one call was made."""
        return (self.calls - 1) / self.seconds if self.calls > 1 else math.nan
