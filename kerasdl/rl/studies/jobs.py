"""Trainings in processes: one agent and seed each, several at once, kept in folders so that a killed study goes on."""

import json
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kerasdl.core import checks, errors, files
from kerasdl.core.child_process import ChildProcess, child_process

from ..agents.listing import agent_class
from ..agents.presets import PRESETS
from ..agents.training.callbacks import AgentCallback, EvaluateOften
from ..envs.host.gymnasium_environments import GymnasiumEnvironments
from ..envs.making import list_environments, make

WORKER = "kerasdl.rl.studies.training_worker"
GYMNASIUM = "gymnasium:"
RESULT = "result.json"
ONE_THREAD = {name: "1" for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")}
"""A process computes in one thread, so that no result depends on how many run beside it."""


@dataclass(frozen=True)
class Job:
    """One training of an agent by one seed, as plain values."""

    agent: str
    """Name of the agent."""
    environment: str
    """Name for `make`, or `gymnasium:NAME`."""
    config: Mapping[str, Any]
    """All settings by name."""
    seed: int
    """Seed of the training."""
    steps: int
    """Environment steps."""
    episodes: int
    """Episodes of the evaluation of the last policy."""
    curve_episodes: int
    """Episodes of each evaluation within the training."""
    folder: str
    """Folder of its run, its agent and its result."""


def environment_named(name: str, count: int = 1) -> Any:
    """Returns an environment by its name, also one of Gymnasium.

    Args:
        name: name for `make`, or `gymnasium:NAME`.
        count: environments of Gymnasium that are stepped together; others take the count of their agent.

    Returns:
        An `Environment`, or `GymnasiumEnvironments`.

    Raises:
        UnknownNameError: there is none.
        ArgumentError: the name of Gymnasium would import a module.

    Example:
        >>> environment_named("cartpole").time_limit
        500
    """
    kind, mark, rest = str(name).partition(":")
    if mark and f"{kind}:" == GYMNASIUM:
        if ":" in rest:  # gymnasium.make imports what stands before a colon
            checks.refuse("gymnasium:NAME must be a name alone, without a module", name)
        return GymnasiumEnvironments(rest, count)
    checks.known_name("environment", str(name), list_environments(), "Those of Gymnasium are named gymnasium:NAME.")
    return make(name)


def resolved_config(agent: str, environment: str, config: Any) -> Any:
    """Returns the settings of a study: a config of the agent, or its preset with some settings changed.

    Args:
        agent: name of the agent.
        environment: name of the environment.
        config: a config of the agent, settings by name that differ from the preset, or None.

    Raises:
        ArgumentError: a setting is unknown or breaks its rule, or the config is of another agent.
    """
    kind = agent_class(agent).config_class
    if not (config is None or isinstance(config, Mapping)):
        if type(config) is not kind:
            checks.refuse(f"config must be a {kind.__name__}, or settings of it by name", config)
        return config
    known = kind.__dataclass_fields__
    for name in config or {}:
        checks.known_name(f"setting of {kind.__name__}", name, known)
    found = PRESETS.get((agent, environment))
    values = {**(found.config if found else {}), **(config or {})}
    return kind(**{name: tuple(each) if isinstance(each, list) else each for name, each in values.items()})


def resolved_steps(agent: str, environment: str, steps: int | None) -> int:
    """Returns the environment steps of a training, those of the preset for None.

    Raises:
        ArgumentError: steps are below 1, or there is no preset.
    """
    if steps is not None:
        return checks.at_least("steps", steps, 1)
    if (agent, environment) not in PRESETS:
        checks.refuse(f"steps must be given, since {agent} has no preset of {environment}", steps)
    return PRESETS[agent, environment].steps


def plain_config(config: Any) -> dict[str, Any]:
    """Returns all settings as plain values, as JSON gives them back."""
    return json.loads(json.dumps(vars(config)))


def read_result(job: Job) -> dict[str, Any] | None:
    """Returns the result of a job that was run to its end before, None where it was not.

    Raises:
        DataError: the file is damaged, or of another training.
    """
    path = Path(job.folder) / RESULT
    if not path.exists():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        own = {name: result["job"][name] for name in identity(job)}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.DataError(f"{path} must hold the result of a training; reading it failed: {error}.") from error
    if own != identity(job):
        raise errors.DataError(f"{path} is of another training. Name another folder.")
    return result


def identity(job: Job) -> dict[str, Any]:
    """Returns what distinguishes a training: all but its folder."""
    return {name: each for name, each in asdict(job).items() if name != "folder"}


def run_job(job: Job, tell: Callable[[Mapping[str, Any]], None], resume: bool = True) -> dict[str, Any]:
    """Trains by a job in this process, keeps agent and result in its folder, and returns the result.

    Args:
        job: the job.
        tell: called with the steps and figures of each line of the record.
        resume: whether a training that was killed goes on.
    """
    kind, folder = agent_class(job.agent), Path(job.folder)
    values = {name: tuple(each) if isinstance(each, list) else each for name, each in job.config.items()}
    config = kind.config_class(**values)
    env = environment_named(job.environment, config.environments)
    try:
        agent = kind(env, config, seed=job.seed)
        callbacks = [EvaluateOften(job.curve_episodes), Teller(tell)]
        record = agent.train(job.steps, callbacks, folder=folder / "run", resume=resume, progress="off")
        found = agent.evaluate(job.episodes)
        agent.save(folder / "agent")
    finally:
        if isinstance(env, GymnasiumEnvironments):
            env.close()
    figures = {name: [_finite(each) for each in values] for name, values in record.figures.items()}
    result = {
        **{"job": identity(job), "steps": list(record.steps), "figures": figures, "stopped": record.stopped},
        **{"return": found.mean, "deviation": found.deviation, "length": float(found.lengths.mean())},
        **{"seconds": record.seconds, "steps_per_second": _finite(record.steps_per_second)},
    }
    files.write_json(folder / RESULT, result)
    return result


class Teller(AgentCallback):
    """Progress of a training, told once a line of its record."""

    def __init__(self, tell: Callable[[Mapping[str, Any]], None]):
        self.tell = tell

    def end_epoch(self, epoch, figures):
        self.tell({"steps": self.agent.steps, "figures": {name: _finite(each) for name, each in figures.items()}})


def run_jobs(
    jobs: Sequence[Job], processes: int | None, resume: bool, tell: Callable[[Job, Mapping[str, Any]], None]
) -> list[dict[str, Any]]:
    """Returns the results of jobs, each trained in a process of its own; those that are there already are read.

    Args:
        jobs: the jobs.
        processes: processes at once; None takes one for each core.
        resume: whether trainings that were killed go on.
        tell: called with a job and each line of its record, and with its result at its end.

    Raises:
        KerasdlError: a training failed; the others are ended, and may be resumed.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = cores if processes is None else checks.at_least("processes", processes, 1)
    results = [read_result(job) if resume else None for job in jobs]
    for job, result in zip(jobs, results, strict=True):
        if result is not None:
            tell(job, result)
    missing = [index for index, result in enumerate(results) if result is None]
    children, over = set(), threading.Event()
    pool = ThreadPoolExecutor(max(1, min(count, len(missing))))
    try:
        futures = {pool.submit(_run_apart, jobs[index], resume, tell, children, over): index for index in missing}
        for future in as_completed(futures):
            results[futures[future]] = future.result()
    finally:
        over.set()
        for child in list(children):
            child.process.kill()
        pool.shutdown(wait=True, cancel_futures=True)
    return results


def _run_apart(job: Job, resume: bool, tell: Callable, children: set[ChildProcess], over: threading.Event) -> dict:
    """Runs a job in a child process, and passes on what it tells."""
    if over.is_set():
        raise errors.TrainingError(f"seed {job.seed} was not trained, since the study has ended.")
    with child_process(WORKER, ONE_THREAD) as child:
        children.add(child)
        try:
            answer = child.ask(json.dumps({"job": asdict(job), "resume": resume}))
            while answer is not None and "figures" in answer and "job" not in answer:
                tell(job, answer)
                answer = child.answer()
            if answer is None:
                child.process.kill()
                words = "; ".join(child.last_words()[-3:])
                raise errors.TrainingError(f"the process of seed {job.seed} of {job.agent} ended early: {words[:300]}")
        finally:
            children.discard(child)
    if "error" in answer:
        kind = getattr(errors, answer["error"], errors.TrainingError)
        raise kind(f"seed {job.seed} of {job.agent}: {answer['text']}")
    tell(job, answer)
    return answer


def _finite(value: Any) -> float | None:
    """Returns a number for JSON, None where it is not finite."""
    return float(value) if math.isfinite(value) else None
