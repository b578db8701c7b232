"""Fine-tuning of a bundle's model: which of the engine's stages a word stands for, and whose run a folder holds."""

import hashlib
import os
from pathlib import Path
from typing import Any

import keras

from kerasdl.blocks import find_head
from kerasdl.core import checks, files
from kerasdl.core.registry.tasks import Task
from kerasdl.data import Dataset
from kerasdl.data.model_fit import check_dataset_fits
from kerasdl.train import RunConfig, finetune, fit

from .evaluating import check_single_output
from .label_forms import fitting_labels, plain_label_errors

HEAD_SHARE = 1 / 3
GENTLER = 1 / 3


def claim_folder(folder: str | os.PathLike | None, model: keras.Model, *, resume: bool) -> None:
    """Notes in a run's folder which weights it started from.

    Raises:
        ArgumentError: a run in it started from others, or it is a file.
    """
    if folder is None:
        return
    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()
    claim = Path(folder) / "bundle.sha256"
    if Path(folder).exists() and not Path(folder).is_dir():
        checks.refuse("the folder of a run must be none yet, or a folder", str(folder), "A file stands there.")
    if resume and claim.exists() and claim.read_text() != digest:
        rule = f"the run in {folder} must have been started from the same bundle"
        checks.refuse(rule, model.name, "Choose another folder, or pass resume=False to start anew.")
    files.write_text(claim, digest)


def model_and_data(bundle: Any, train: Any, validation: Any, labels: tuple[str, ...]) -> tuple:
    """Returns a copy of a bundle's model for the classes of the data, both datasets ready for it, and the classes.

    Raises:
        ArgumentError: data, labels and model do not fit together.
    """
    check_single_output(bundle.model, "fine-tune")
    train = bundle.ready(train, labels=labels)
    if validation is not None:
        own = isinstance(validation, (str, Dataset))  # these name their own classes
        validation = bundle.ready(validation, split="validation", labels=() if own else labels or train.class_names)
    labels = train.class_names or bundle.labels
    if validation is not None and validation.class_names not in ((), labels):
        checks.refuse(f"validation data must have the training data's classes {labels}", validation.class_names)
    outputs = bundle.model.outputs[0].shape[-1] if labels == bundle.labels else len(labels)
    datasets = [None if data is None else _fitting(bundle, data, labels, outputs) for data in (train, validation)]
    if labels != bundle.labels:
        return bundle.task.replace_head(bundle.model, len(labels)), *datasets, labels
    copy = keras.models.clone_model(bundle.model)
    copy.set_weights(bundle.model.get_weights())
    return copy, *datasets, labels


def _fitting(bundle: Any, data: Dataset, labels: tuple[str, ...], outputs: int) -> Dataset:
    check_dataset_fits(bundle.model, data)
    return fitting_labels(data, bundle.task, labels, outputs)


def finetune_model(
    model: keras.Model, train: Dataset, validation: Dataset | None, *, task: Task, freeze: str, config: RunConfig
) -> None:
    """Trains the model in place by the stages that `freeze` names."""
    checks.one_of("freeze", freeze, ("staged", "features", "none"))
    if freeze == "none":
        with plain_label_errors():
            fit(model, train, validation=validation, task=task, config=config)
        return
    probe = 1.0 if freeze == "features" else max(HEAD_SHARE, 1 / config.epochs)
    stages = {"head": find_head(model).name, "probe": probe, "groups": 1, "decay": GENTLER, "train_norms": True}
    with plain_label_errors():
        finetune(model, train, validation=validation, task=task, config=config, **stages)
