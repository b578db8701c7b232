"""Fine-tuning in stages over the engine: the new head first, then every layer, gently."""

import dataclasses
import hashlib
import os
from pathlib import Path

import keras

from kerasdl.blocks import find_head
from kerasdl.core import checks, files
from kerasdl.core.task import Task
from kerasdl.data import Dataset
from kerasdl.train import RunConfig, fit

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
    """Trains the model in place by the stages that `freeze` names.

    Source: staged unfreezing, https://arxiv.org/abs/1801.06146, section 3.3, with two stages.
    """
    checks.one_of("freeze", freeze, ("staged", "features", "none"))
    head_epochs = {"staged": max(1, round(config.epochs * HEAD_SHARE)), "features": config.epochs, "none": 0}[freeze]
    if head_epochs:
        trainable = {layer.name: layer.trainable for layer in model.layers}
        head = find_head(model)
        for layer in model.layers:
            layer.trainable = layer is head
        _stage(model, train, validation, task, config, "head", head_epochs, config.learning_rate)
        for layer in model.layers:
            layer.trainable = trainable[layer.name]
    if head_epochs < config.epochs:
        rate = config.learning_rate * (GENTLER if head_epochs else 1.0)
        _stage(model, train, validation, task, config, "all", config.epochs - head_epochs, rate)


def _stage(model, train, validation, task, config, name, epochs, learning_rate) -> None:
    folder = None if config.folder is None else Path(config.folder) / name
    config = dataclasses.replace(config, epochs=epochs, learning_rate=learning_rate, folder=folder)
    fit(model, train, validation=validation, task=task, config=config)
