"""What the stages of one call have in common: draws of their own, and folders inside that of the call."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..engine.config import RunConfig
from ..loop.run_folder import RunFolder

SEEDS_APART = 1_000


def stage_config(config: RunConfig, number: int, name: str, **changes: Any) -> RunConfig:
    """Returns the settings of a stage.

    Its seed is its own, since orders and augmentation follow from seed and epoch, and every stage begins at epoch 0.
    """
    folder = None if config.folder is None else Path(config.folder) / name
    return dataclasses.replace(config, seed=config.seed + SEEDS_APART * number, folder=folder, **changes)


def forget_stages(config: RunConfig, names: Sequence[str]) -> None:
    """Removes what earlier calls left of the stages where all are to start anew.

    The first one clears its own folder. The others would only when they begin, and till then a call that goes on after
    a kill would take up their old runs.
    """
    if config.folder is not None and not config.resume:
        for name in names[1:]:
            RunFolder(Path(config.folder) / name).clear()
