"""Options of `kerasdl finetune` as settings of a run: augmentation, experiment trackers, pruning and rounding."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl import deploy
from kerasdl.core import checks
from kerasdl.data import augment
from kerasdl.train import RunConfig, tracking

from .training_data import TrainingData

POLICIES = ("light", "randaugment", "augmix")


def augmentation(policy: str | None, preprocess: Mapping[str, Any]) -> Callable | None:
    """Returns the random transform of a policy, for images as a bundle scales them.

    Args:
        policy: `light` mirrors and crops; `randaugment` and `augmix` draw operations, after mirroring; None changes
            nothing.
        preprocess: settings of the bundle, with the values of black and white.

    Raises:
        ArgumentError: there is no such policy, or it does not fit the bundle.
    """
    if policy is None:
        return None
    checks.one_of("--augment", policy, POLICIES)
    if "scale" not in preprocess:
        checks.refuse("--augment is for bundles of images", policy)
    if policy == "light":
        height, width, _ = preprocess["image_shape"]
        return augment.Chain((augment.Flip(), augment.ResizedCrop((height, width), (0.6, 1.0))))
    scale = tuple(preprocess["scale"])
    if any(np.ndim(end) for end in scale):
        checks.refuse(f"--augment {policy} needs one scale for all channels", scale, "Take --augment light.")
    drawn = augment.RandAugment(scale=scale) if policy == "randaugment" else augment.AugMix(scale=scale)
    return augment.Chain((augment.Flip(), drawn))


def trackers(tensorboard: Path | None, mlflow: str | None, name: str) -> Callable[[str], list]:
    """Returns a function from the name of a stage to its trackers, each of which logs that stage as a run.

    Args:
        tensorboard: a folder, which gets a folder for each stage; None for no such logs.
        mlflow: the tracking URI or folder; None for no such runs.
        name: name of the new bundle.
    """

    def of_stage(stage: str) -> list:
        made: list = [] if tensorboard is None else [tracking.TensorBoard(tensorboard / stage)]
        return made + ([] if mlflow is None else [tracking.MLflow(mlflow, name=f"{name} {stage}")])

    return of_stage


def check_compression(prune: float | None, qat: int | None) -> None:
    """Refuses shares and epochs that are none, and both options together, before anything is trained."""
    if prune is not None:
        checks.within("--prune", prune, 0.0, 0.99)
    if qat is not None:
        checks.at_least("--qat", qat, 0)
    if prune is not None and qat is not None:
        checks.refuse("--prune and --qat stand for themselves: rounding moves the zeros", (prune, qat))


def compressed(bundle: Any, read: TrainingData, prune: float | None, qat: int | None, config: RunConfig) -> Any:
    """Returns a fine-tuned bundle pruned, or trained with rounding, under the same name.

    Args:
        bundle: the fine-tuned bundle.
        read: its data.
        prune: share of the weights that become zero, in three epochs; None prunes nothing.
        qat: epochs of quantisation-aware training; None rounds nothing.
        config: settings of the fine-tuning; batch size, seed, folder, resumption and progress hold here too.
    """
    kept = ("batch_size", "seed", "resume", "progress")
    shared = {**{name: getattr(config, name) for name in kept}, "schedule": "cosine", "clip_norm": 1.0}
    folder = config.folder and Path(config.folder) / ("prune" if qat is None else "qat")
    data = {"train": read.train, "validation": read.validation}
    if prune is not None:
        settings = RunConfig(epochs=3, learning_rate=1e-4, folder=folder, **shared)
        result = deploy.prune(bundle, sparsity=prune, config=settings, **data)
    elif qat is not None:
        settings = RunConfig(epochs=qat, learning_rate=3e-5, folder=folder, **shared)
        result = deploy.quantize_aware(bundle, epochs=qat, config=settings, **data)
    else:
        return bundle
    return dataclasses.replace(result, manifest=dataclasses.replace(result.manifest, name=bundle.name))
