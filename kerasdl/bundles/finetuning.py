"""Fine-tuning of a bundle's model: which of the engine's stages a word stands for, and whose run a folder holds."""

import hashlib
import os
from pathlib import Path

import keras

from kerasdl.blocks import find_head
from kerasdl.core import checks, files
from kerasdl.core.task import Task
from kerasdl.data import Dataset
from kerasdl.train import RunConfig, finetune, fit

HEAD_SHARE = 1 / 3
GENTLER = 1 / 3


def claim_folder(folder: str | os.PathLike | None, model: keras.Model, *, resume: bool) -> None:
    """Notes in a run's folder which weights it started from.

    Raises:
        ArgumentError: a run in it started from others.
    """
    if folder is None:
        return
    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()
    claim = Path(folder) / "bundle.sha256"
    if resume and claim.exists() and claim.read_text() != digest:
        rule = f"the run in {folder} must have been started from the same bundle"
        checks.refuse(rule, model.name, "Choose another folder, or pass resume=False to start anew.")
    files.write_text(claim, digest)


def finetune_model(
    model: keras.Model, train: Dataset, validation: Dataset | None, *, task: Task, freeze: str, config: RunConfig
) -> None:
    """Trains the model in place by the stages that `freeze` names."""
    checks.one_of("freeze", freeze, ("staged", "features", "none"))
    if freeze == "none":
        fit(model, train, validation=validation, task=task, config=config)
        return
    probe = 1.0 if freeze == "features" else max(HEAD_SHARE, 1 / config.epochs)
    stages = {"head": find_head(model).name, "probe": probe, "groups": 1, "decay": GENTLER, "train_norms": True}
    finetune(model, train, validation=validation, task=task, config=config, **stages)
