"""Fine-tuning of a bundle: stages for `freeze=`, new head, run folder, manifest."""

import dataclasses
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

from ..format.manifest import Manifest
from .data_preparation import public_name
from .evaluating import check_single_output
from .label_forms import fitting_labels, plain_label_errors

HEAD_SHARE = 1 / 3
GENTLER = 1 / 3


def claim_folder(folder: str | os.PathLike | None, model: keras.Model, *, resume: bool) -> None:
    """Records the digest of the initial weights in a run's folder.

    Raises:
        ArgumentError: its run started from other weights, or it is a file.
    """
    if folder is None:
        return
    digest = hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights())).hexdigest()
    claim = Path(folder) / "bundle.sha256"
    if Path(folder).exists() and not Path(folder).is_dir():
        checks.refuse("the folder of a run must be a folder or a new path", str(folder), "It is a file.")
    if resume and claim.exists() and claim.read_text() != digest:
        rule = f"the run in {folder} must have been started from the same bundle"
        checks.refuse(rule, model.name, "Choose another folder, or pass resume=False to start again.")
    files.write_text(claim, digest)


def networks_and_data(bundle: Any, train: Any, validation: Any, labels: tuple[str, ...], freeze: str) -> tuple:
    """Returns copies of a bundle's networks for the classes of the data, both prepared datasets, and the classes.

    Raises:
        ArgumentError: data, labels, networks and `freeze` do not fit together.
    """
    if bundle.task.trainer is not None:
        if freeze != "none" or labels not in ((), bundle.labels):
            rule = f"a bundle of the task {bundle.task.name} is tuned as a whole, with its own labels"
            checks.refuse(rule, f"freeze={freeze!r}, labels={labels}", 'Pass freeze="none", and no labels.')
        ready = [None if data is None else bundle.ready(data) for data in (train, validation)]
        return {role: _copy(network) for role, network in bundle.networks.items()}, *ready, bundle.labels
    check_single_output(bundle.model, "fine-tune")
    train = bundle.ready(train, labels=labels)
    if validation is not None:
        own = isinstance(validation, (str, Dataset))  # their classes have names
        validation = bundle.ready(validation, split="validation", labels=() if own else labels or train.class_names)
    labels = train.class_names or bundle.labels
    if validation is not None and validation.class_names not in ((), labels):
        checks.refuse(f"validation data must have the training data's classes {labels}", validation.class_names)
    outputs = bundle.model.outputs[0].shape[-1] if labels == bundle.labels else len(labels)
    datasets = [None if data is None else _fitting(bundle, data, labels, outputs) for data in (train, validation)]
    if labels == bundle.labels:
        return {"model": _copy(bundle.model)}, *datasets, labels
    if bundle.task.replace_head is None:
        checks.refuse(f"data for a bundle of the task {bundle.task.name} must have its labels {bundle.labels}", labels)
    return {"model": bundle.task.replace_head(bundle.model, len(labels))}, *datasets, labels


def _copy(model: keras.Model) -> keras.Model:
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    return copy


def tuned_manifest(
    bundle: Any, train: Dataset, *, name: str | None, labels: tuple[str, ...], freeze: str, config: RunConfig
) -> Manifest:
    """Returns the manifest of a fine-tuned bundle: new labels and provenance, no figures."""
    manifest = bundle.manifest
    classes = {"classes": len(labels)} if "classes" in manifest.arguments else {}
    return dataclasses.replace(
        manifest,
        name=name or f"{bundle.name.removesuffix('_finetuned')}_finetuned",
        arguments={**manifest.arguments, **classes},
        labels=labels,
        outputs="",
        metrics={},
        provenance={
            "finetuned from": bundle.name,
            "digest of that": bundle.digest,
            "data": f"{public_name(train.name)}, {train.size} examples",
            "data licence": train.licence,
            "epochs": config.epochs,
            "freeze": freeze,
            "learning rate": config.learning_rate,
            "seed": config.seed,
        },
    )


def _fitting(bundle: Any, data: Dataset, labels: tuple[str, ...], outputs: int) -> Dataset:
    check_dataset_fits(bundle.model, data)
    return fitting_labels(data, bundle.task, labels, outputs)


def finetune_networks(
    networks: dict[str, keras.Model],
    train: Dataset,
    validation: Dataset | None,
    *,
    task: Task,
    freeze: str,
    config: RunConfig,
) -> None:
    """Trains networks in place; a single model in the stages of `freeze`."""
    checks.one_of("freeze", freeze, ("staged", "features", "none"))
    model = networks["model"]
    if task.trainer is not None:
        fit(task.trainer(networks), train, validation=validation, task=task, config=config)
        return
    if freeze == "none":
        with plain_label_errors():
            fit(model, train, validation=validation, task=task, config=config)
        return
    probe = 1.0 if freeze == "features" else max(HEAD_SHARE, 1 / config.epochs)
    stages = {"head": find_head(model).name, "probe": probe, "groups": 1, "layer_decay": GENTLER, "train_norms": True}
    with plain_label_errors():
        finetune(model, train, validation=validation, task=task, config=config, **stages)
