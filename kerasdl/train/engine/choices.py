"""What a run says of how it computes, and why, before it starts."""

import os

import tensorflow as tf

from ..distribute.replicas import Team
from .config import RunConfig
from .train_steps import Way


def choices_of(way: Way, config: RunConfig, team: Team) -> list[str]:
    """Returns a line on devices, threads and precision, and one on XLA."""
    accelerators = [device.device_type for device in tf.config.list_physical_devices() if device.device_type != "CPU"]
    place = accelerators[0] if accelerators else f"{_threads()} CPU threads"
    if team.replicas > 1:
        workers = "" if team.workers is None else f" in {team.workers.size} workers"
        place = f"{team.replicas} replicas{workers}, {config.batch_size / team.replicas:g} examples each, on {place}"
    precision = config.mixed_precision or "float32"
    return [f"computes on {place} in {precision}; {_xla(way, config, bool(accelerators))}"]


def _threads() -> int:
    chosen = tf.config.threading.get_intra_op_parallelism_threads()
    return chosen or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def _xla(way: Way, config: RunConfig, has_accelerator: bool) -> str:
    if way.jit:
        return "XLA compiles the update"
    if way.strategy is not None:
        return "no XLA, which does not compile updates of several replicas"
    if config.jit_compile == "auto" and not has_accelerator:
        return "no XLA, which is slower on CPUs for most nets"
    return "no XLA"
