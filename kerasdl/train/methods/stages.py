"""What the stages of one call have in common: draws of their own, and folders inside that of the call."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kerasdl.core import checks

from ..config import RunConfig
from ..loop.run_folder import epochs_of_run, remove_run

SEEDS_APART = 1_000


def stage_config(config: RunConfig, number: int, name: str, **changes: Any) -> RunConfig:
    """Returns the settings of a stage.

    Its seed is its own, since orders and augmentation follow from seed and epoch, and every stage begins at epoch 0.
    """
    folder = None if config.folder is None else Path(config.folder) / name
    return dataclasses.replace(config, seed=config.seed + SEEDS_APART * number, folder=folder, **changes)


def open_stages(config: RunConfig, epochs: Mapping[str, int]) -> None:
    """Makes ready the folder of a call that trains in stages.

    Where all are to start anew, what earlier calls left of the stages is removed. The first one clears its own folder;
    the others would only when they begin, and till then a call that goes on after a kill would take up their old runs.

    Args:
        config: the settings of the call.
        epochs: how many each stage has, by its name.

    Raises:
        ArgumentError: a stage in the folder had other epochs. It would go on, but the next began where it ended then.
    """
    if config.folder is None:
        return
    for place, (name, count) in enumerate(epochs.items()):
        folder = Path(config.folder) / name
        if not config.resume and place:
            remove_run(folder)
        before = epochs_of_run(folder) if config.resume and len(epochs) > 1 else None
        if before not in (None, count):
            rule = f"the run in {folder} must have as many epochs as it was started with, since others follow it"
            hint = "Choose another folder, or pass resume=False to start anew."
            checks.refuse(rule, f"{before} there, {count} here", hint)
