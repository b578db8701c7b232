"""Options of `kerasdl finetune` as settings of a run: augmentation policies and experiment trackers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.data import augment
from kerasdl.train import tracking

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
