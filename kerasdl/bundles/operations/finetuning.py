"""Fine-tuning of a bundle: freezing, new head, run folder, manifest."""

import dataclasses
import hashlib
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from kerasdl.blocks import find_head
from kerasdl.core import checks, files
from kerasdl.core.keras_graph import copied
from kerasdl.core.keywords import explained
from kerasdl.core.registry.prediction import check_single_output
from kerasdl.core.registry.rebuilding import rebuild_head
from kerasdl.core.registry.tasks import Task
from kerasdl.data import Dataset
from kerasdl.data.model_fit import check_dataset_fits
from kerasdl.train import Run, RunConfig, finetune, fit
from kerasdl.train.engine.fitting import argument_remedies
from kerasdl.train.methods.finetuning import FREEZE
from kerasdl.train.methods.stages import stage_callbacks

from ..format.calibration_part import without_calibration
from ..format.manifest import Manifest
from .changing import refuse_rounding
from .data_preparation import public_name, read_by_name
from .label_forms import labels_for, plain_label_errors
from .trained_images import FILE, ROLE, recorded

FEW = 100
"""Validation examples below which the loss chooses the epoch: an accuracy over 100 has a standard error of 5 points."""
LAYER_DECAY = 1 / 3


def _remedies() -> dict[str, str]:
    return {**argument_remedies(), **dict.fromkeys(("lr", "max_lr", "base_lr"), "Did you mean 'learning_rate'?")}


explained_arguments = explained(_remedies, "Arrays come as a pair: finetune((x, y)).")
"""Decorator of `Bundle.finetune`, whose unknown arguments are refused with a remedy."""


@dataclasses.dataclass(frozen=True)
class Freezing:
    """Settings of `Bundle.finetune` on frozen layers, groups and their rates, as given; None is the default."""

    freeze: str
    freeze_epochs: int | None
    groups: int | None
    layer_decay: float | None
    train_norms: bool

    def __post_init__(self):
        if self.freeze == "features":
            warnings.warn('Bundle.finetune: instead of freeze="features" pass "backbone"', DeprecationWarning, 5)
            object.__setattr__(self, "freeze", "backbone")
        checks.one_of("freeze", self.freeze, FREEZE)
        useless = {name: value for name, value in self.changes.items() if name in ("groups", "layer_decay")}
        if self.freeze == "backbone" and useless:
            checks.refuse('freeze="backbone" trains the head alone, without groups and their rates', useless)

    @property
    def changes(self) -> dict[str, Any]:
        """The settings that are not at their default, `freeze` apart."""
        defaults = {"freeze_epochs": None, "groups": None, "layer_decay": None, "train_norms": True}
        return {name: value for name, value in vars(self).items() if name in defaults and value != defaults[name]}

    @property
    def trains_all(self) -> bool:
        """True if all layers learn from the start, at one rate."""
        return self.freeze == "none" and not self.changes

    def arguments(self) -> dict[str, Any]:
        """Returns the arguments of `kerasdl.train.finetune`."""
        groups = (3 if self.freeze == "gradual" else 1) if self.groups is None else self.groups
        decay = LAYER_DECAY if self.layer_decay is None else self.layer_decay
        return {**vars(self), "groups": groups, "layer_decay": decay}


def is_chosen_by_loss(task: Task, validation: Dataset | None) -> bool:
    """Tells whether validation examples are so few that the loss chooses the epoch, not the accuracy."""
    size = None if validation is None else validation.size
    return size is not None and size < FEW and task.monitor[0] == "val_accuracy"


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


def networks_and_data(bundle: Any, train: Any, validation: Any, labels: tuple[str, ...], freezing: Freezing) -> tuple:
    """Returns copies of a bundle's networks for the classes of the data, both prepared datasets, and the classes.

    Returns:
        The networks by role, the training data, the validation data or None, the classes, the names of the layers
        that are fresh, since they answer for other classes than before, and the further parts of the new bundle.

    Raises:
        ArgumentError: data, labels, networks and freezing do not fit together.
    """
    task = bundle.task
    if bundle.quantized is not None:
        refuse_rounding(bundle, "finetune")
    if task.trainer is None:
        check_single_output(bundle.model, "fine-tune")
    elif not freezing.trains_all:
        given = {"freeze": freezing.freeze, **freezing.changes}
        checks.refuse(f"a bundle of the task {task.name} is tuned as a whole", given, 'Pass freeze="none" alone.')
    if labels and not bundle.labels and task.trainer is not None:
        checks.refuse(f"data for a bundle of the task {task.name} without labels come without labels=", labels)
    train = read_by_name(train, "train", bundle.preprocess)
    validation = read_by_name(validation, "validation", bundle.preprocess)
    extra = recorded(without_calibration(bundle).extra, train, validation)
    train = bundle.ready(train, labels=labels)
    if validation is not None:
        own = isinstance(validation, (str, Dataset))  # their classes have names
        validation = bundle.ready(validation, split="validation", labels=() if own else labels or train.class_names)
    named = bundle.labels or task.trainer is None  # a generator without labels learns from data of any classes
    labels = (train.class_names or bundle.labels) if named else ()
    if validation is not None and named and validation.class_names not in ((), labels):
        checks.refuse(f"validation data must have the training data's classes {labels}", validation.class_names)
    networks, fresh = networks_for(bundle, labels)
    datasets = [
        None if each is None else _fitting(bundle, each, labels, networks["model"]) for each in (train, validation)
    ]
    return networks, *datasets, labels, fresh, extra


def networks_for(bundle: Any, labels: tuple[str, ...]) -> tuple[dict[str, keras.Model], list[str]]:
    """Returns copies of a bundle's networks by role whose outputs are those labels, and the names of fresh layers.

    Raises:
        ArgumentError: the labels are others, and the networks cannot be made to answer for them.
    """
    if labels == bundle.labels:
        return {role: copied(network) for role, network in bundle.networks.items()}, []
    if bundle.others and bundle.task.for_labels is not None:
        return bundle.task.for_labels(bundle.networks, labels)
    if bundle.others:
        hint = "Fine-tune it on its own labels."
        checks.refuse(f"a bundle of the networks {[*bundle.networks]} keeps its labels {bundle.labels}", labels, hint)
    task, model = bundle.task, bundle.model
    if task.replace_head is not None:
        return {"model": task.replace_head(model, len(labels))}, [find_head(model).name]
    arguments = bundle.manifest.arguments
    model, fresh = rebuild_head(model, bundle.manifest.builder, arguments, labels, task.label_arguments)
    return {"model": model}, fresh


def tuned_manifest(
    bundle: Any,
    train: Dataset,
    *,
    name: str | None,
    labels: tuple[str, ...],
    extra: Mapping[str, bytes],
    fresh: Sequence[str],
    freezing: Freezing,
    config: RunConfig,
) -> Manifest:
    """Returns the manifest of a fine-tuned bundle: new labels and provenance, no figures."""
    manifest = without_calibration(bundle).manifest
    by_labels = bundle.task.label_arguments(labels) if fresh and not bundle.others else {}
    return dataclasses.replace(
        manifest,
        name=name or f"{bundle.name.removesuffix('_finetuned')}_finetuned",
        arguments={**manifest.arguments, **by_labels} if manifest.builder else manifest.arguments,
        labels=labels,
        outputs="",
        metrics={},
        parts={**manifest.parts, **({ROLE: FILE} if ROLE in extra else {})},
        provenance={
            "finetuned from": bundle.name,
            "digest of that": bundle.digest,
            "data": f"{public_name(train.name)}, {train.size} examples",
            "data licence": train.licence,
            **({"fresh layers": ", ".join(fresh)} if fresh else {}),
            "epochs": config.epochs,
            "freeze": freezing.freeze,
            **{name.replace("_", " "): value for name, value in freezing.changes.items()},
            "learning rate": config.learning_rate,
            "seed": config.seed,
        },
    )


def _fitting(bundle: Any, data: Dataset, labels: tuple[str, ...], model: keras.Model) -> Dataset:
    """Returns data whose inputs and labels fit a model; those of a task with a trainer are that one's to judge."""
    if bundle.task.trainer is not None:
        return data
    check_dataset_fits(model, data)
    return labels_for(model, data, bundle.task, labels)


def finetune_networks(
    networks: dict[str, keras.Model],
    train: Dataset,
    validation: Dataset | None,
    *,
    task: Task,
    fresh: Sequence[str],
    freezing: Freezing,
    callbacks: Any,
    config: RunConfig,
) -> str:
    """Trains networks in place; a single model in stages, its new layers as the head.

    Returns:
        The epoch that was kept, and the reason, in words.
    """
    if config.monitor is None and is_chosen_by_loss(task, validation):
        config = dataclasses.replace(config, monitor=("val_loss", "min"))
    model = networks["model"]
    if task.trainer is not None or freezing.trains_all:
        model = model if task.trainer is None else task.trainer(networks)
        called = stage_callbacks(callbacks, "stage1", 1)
        with plain_label_errors():
            run = fit(model, train, validation=validation, callbacks=called, task=task, config=config)
        return _kept_epoch(run, validation, task, config)
    stages = {"head": tuple(fresh) or find_head(model).name, **freezing.arguments()}
    with plain_label_errors():
        run = finetune(model, train, validation=validation, callbacks=callbacks, task=task, config=config, **stages)
    return _kept_epoch(run, validation, task, config)


def _kept_epoch(run: Run, validation: Dataset | None, task: Task, config: RunConfig) -> str:
    last = max(map(len, run.history.values()), default=0)
    if run.best is None or not config.restore_best:
        return f"{last} of {last}, the last one"
    place = run.best.epoch - 1  # trainers with figures of their own are judged by their loss, whatever the task names
    at_best = [name for name, values in run.history.items() if values[place : place + 1] == [run.best.value]]
    known = task.monitor[0] if task.monitor[0] in at_best else "val_loss"
    monitored = config.monitor[0] if config.monitor else known
    examples = "" if validation is None or validation.size is None else f" on {validation.size} validation examples"
    return f"{run.best.epoch} of {last}, the best by {monitored}{examples}"
