"""Fine-tuning in stages over the engine: the new head first, then every layer, gently."""

import dataclasses
from pathlib import Path

import keras

from kerasdl.core import checks
from kerasdl.core.task import Task
from kerasdl.data import Dataset
from kerasdl.train import Run, RunConfig, fit

HEAD_SHARE = 1 / 3
GENTLER = 1 / 3


def finetune_model(
    model: keras.Model, train: Dataset, validation: Dataset | None, *, task: Task, freeze: str, config: RunConfig
) -> Run:
    """Trains the model in place by the stages that `freeze` names, and returns the last stage's run.

    Source: staged unfreezing, https://arxiv.org/abs/1801.06146, section 3.3, with two stages.
    """
    checks.one_of("freeze", freeze, ("staged", "features", "none"))
    head_epochs = {"staged": max(1, round(config.epochs * HEAD_SHARE)), "features": config.epochs, "none": 0}[freeze]
    run = None
    if head_epochs:
        _freeze_all_but_the_head(model)
        run = _stage(model, train, validation, task, config, "head", head_epochs, config.learning_rate)
        _thaw(model)
    if head_epochs < config.epochs:
        rate = config.learning_rate * (GENTLER if head_epochs else 1.0)
        run = _stage(model, train, validation, task, config, "all", config.epochs - head_epochs, rate)
    return run


def _stage(model, train, validation, task, config, name, epochs, learning_rate) -> Run:
    folder = None if config.folder is None else Path(config.folder) / name
    config = dataclasses.replace(config, epochs=epochs, learning_rate=learning_rate, folder=folder)
    return fit(model, train, validation=validation, task=task, config=config)


def _freeze_all_but_the_head(model: keras.Model) -> None:
    for layer in model.layers:
        layer.trainable = layer.name == "head"


def _thaw(model: keras.Model) -> None:
    for layer in model.layers:
        layer.trainable = True
