"""Trainings of studies that are not made: the agent as it is at first, and a result that follows from its seed."""

from pathlib import Path

from kerasdl.core import files
from kerasdl.rl.agents.listing import agent_class
from kerasdl.rl.studies.jobs import RESULT, environment_named, identity

LINES = 4


def return_of(seed):
    return 100.0 + 7.0 * seed


def fake_training(job, resume, tell, *rest):
    """Stands in for a training in a process."""
    kind = agent_class(job.agent)
    config = kind.config_class(**{k: tuple(v) if isinstance(v, list) else v for k, v in job.config.items()})
    folder = Path(job.folder)
    kind(environment_named(job.environment), config, seed=job.seed).save(folder / "agent")
    steps = [job.steps * (line + 1) // LINES for line in range(LINES)]
    curve = [return_of(job.seed) * (line + 1) / LINES for line in range(LINES)]
    for done, value in zip(steps, curve, strict=True):
        tell(job, {"steps": done, "figures": {"evaluation_return": value}})
    result = {"job": identity(job), "steps": steps, "figures": {"evaluation_return": curve}, "seconds": 2.0}
    result |= {"return": return_of(job.seed), "deviation": 0.0, "length": 9.0}
    files.write_json(folder / RESULT, result)
    tell(job, result)
    return result
