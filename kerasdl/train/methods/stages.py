"""Stages of one call: a seed for each, and subfolders of the folder of the call."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kerasdl.core import checks

from ..config import RunConfig
from ..loop.run_folder import epochs_of_run, remove_run

SEEDS_APART = 1_000


def stage_config(config: RunConfig, number: int, name: str, **changes: Any) -> RunConfig:
    """Returns the settings of a stage.

    Each stage has its own seed, since orders and augmentation depend on seed and epoch, and every stage starts at
    epoch 0.
    """
    folder = None if config.folder is None else Path(config.folder) / name
    return dataclasses.replace(
        config, seed=config.seed + SEEDS_APART * number, folder=folder, stage=(number, name), **changes
    )


Callbacks = Sequence[Any] | Callable[[str], Sequence[Any]]
"""Callbacks of every stage, or a function from the name of a stage to its callbacks."""


def stage_callbacks(callbacks: Callbacks, name: str, stages: int) -> Sequence[Any]:
    """Returns the callbacks of a stage.

    Args:
        callbacks: those of every stage, or a function from the name of a stage to its callbacks.
        name: the name of the stage, such as "head".
        stages: number of stages of the call.

    Raises:
        ArgumentError: a tracker would log several stages, each of which begins at epoch 1, as one run.
    """
    if callable(callbacks):
        return callbacks(name)
    trackers = [type(each).__name__ for each in callbacks if getattr(each, "writes", False)]
    if trackers and stages > 1:
        hint = f"Pass a function: callbacks=lambda stage: [{trackers[0]}(...)], with the stage in its name or path."
        checks.refuse(f"each of {stages} stages must have a tracker of its own", trackers, hint)
    return callbacks


def open_stages(config: RunConfig, epochs: Mapping[str, int]) -> None:
    """Prepares the folder of a call that trains in stages.

    With `resume=False` the stages of earlier calls are removed. The first stage clears its own folder; later stages
    would do so only when they begin, and a call resumed before that would continue their old runs.

    Args:
        config: the settings of the call.
        epochs: epochs of each stage by its name.

    Raises:
        ArgumentError: a stage in the folder has another number of epochs, while the next stage began after that number.
    """
    if config.folder is None:
        return
    for index, (name, count) in enumerate(epochs.items()):
        folder = Path(config.folder) / name
        if not config.resume and index:
            remove_run(folder)
        before = epochs_of_run(folder) if config.resume and len(epochs) > 1 else None
        if before not in (None, count):
            rule = f"the run in {folder} must have as many epochs as it was started with, since others follow it"
            hint = "Choose another folder, or pass resume=False to start anew."
            checks.refuse(rule, f"{before} there, {count} of epochs={config.epochs} here", hint)
