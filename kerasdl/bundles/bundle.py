"""Bundle: a trained model with its labels, preprocessing, figures and provenance."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import keras
import numpy as np

from kerasdl import deploy
from kerasdl.core import checks
from kerasdl.core.errors import ArgumentError, BundleError, UnknownNameError
from kerasdl.core.outputs.decoding import to_logits, to_scores
from kerasdl.core.registry.prediction import predict_outputs
from kerasdl.core.registry.tasks import Task, get_task
from kerasdl.data import Dataset
from kerasdl.train import RunConfig

from .calibrating import CalibratedAnswers
from .card import BundleDisplay
from .format import archive
from .format.calibration_part import check_calibration
from .format.manifest import NETWORK, PARTS, QUANTIZATION, Manifest
from .format.saving import write_parts
from .operations import evaluating, finetuning
from .operations.changing import ChangingModel
from .operations.data_preparation import public_name, ready_data, with_levels
from .operations.exports import ExportKeywords, export_bundle, export_options, raw_model
from .operations.making import explained_arguments, inputs_of, networks_of, plain_settings


@dataclass(frozen=True, eq=False, repr=False)
class Bundle(BundleDisplay, ChangingModel, CalibratedAnswers):
    """Trained model with preprocessing and labels: raw input in, labels and scores out.

    `load_bundle` returns it, or `Bundle.of` for a model of your own.

    Example:
        >>> images, _ = kerasdl.data.load("digits", "test", scale=None).take(2).arrays()
        >>> [each["label"] for each in kerasdl.load_bundle("digits_mobilenet").predict(images)]
        ['5', '0']
    """

    model: keras.Model
    """A functional model; `manifest.outputs` is `logits`, `probabilities` or `values`."""
    manifest: Manifest
    """Content of bundle.json."""
    preprocess: Mapping[str, Any]
    """Settings that turn raw input into the model's input; content of preprocess.json."""
    extra: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """Further parts by role, such as a tokenizer."""
    digest: str = ""
    """SHA-256 over the checksums of every file, empty for a bundle that was not loaded from a file."""
    others: Mapping[str, keras.Model] = field(default_factory=dict, repr=False)
    """Further networks by role, such as the discriminator beside a generator."""
    quantized: "deploy.QuantizedModel | None" = field(default=None, repr=False)
    """The rounding form of the model, which then answers; what `quantize_aware` makes of a bundle has one."""

    def __post_init__(self):
        try:
            self.task.check(self.preprocess, self.labels, self.model)
            roles = sorted({*self.extra, *self.others, *([QUANTIZATION] if self.quantized else [])})
            if set(roles) != set(self.manifest.parts) - set(PARTS):
                checks.refuse("extra and others must hold each further part of the manifest, and no other", roles)
            kind = evaluating.kind_of_outputs(self.model, self.task, self.manifest.outputs)
            check_calibration(self)
        except (ArgumentError, UnknownNameError) as error:
            raise BundleError(f"{self.manifest.name}: {error}") from None
        if kind != self.manifest.outputs:
            object.__setattr__(self, "manifest", dataclasses.replace(self.manifest, outputs=kind))

    @classmethod
    @explained_arguments
    def of(
        cls,
        model: keras.Model | Mapping[str, keras.Model],
        *,
        name: str,
        task: str | Task,
        preprocess: Mapping[str, Any],
        labels=(),
        builder: str = "",
        arguments: Mapping[str, Any] | None = None,
        metrics: Mapping[str, Mapping[str, float]] | None = None,
        provenance: Mapping[str, Any] | None = None,
        licence: str = "",
    ) -> "Bundle":
        """Returns a bundle around a model of your own.

        Args:
            model: a functional model. A classifier gives logits, or probabilities where it ends in a softmax or
                sigmoid; the bundle records which. Several networks are passed by role; the first one answers.
            name: name of the bundle.
            task: the task it solves.
            preprocess: settings of the task's preprocessing; for images `{"image_shape": (H, W, C), "scale": (-1, 1)}`.
            labels: the name of each output.
            builder: the registered model it was built from, with its `arguments`.
            metrics: figures by the name of the data they were measured on.
            provenance: origin of the model: data, settings, seed.
            licence: terms of the weights.

        Returns:
            A bundle.

        Raises:
            ArgumentError: the model is not functional or Sequential, or not built; an argument is missing or unknown.
            BundleError: a field breaks its rule.

        Example:
            >>> model = kerasdl.build("mlp", features=4, classes=3)
            >>> settings = {"mean": [5.8, 3.1, 3.8, 1.2], "std": [0.8, 0.4, 1.8, 0.8]}
            >>> Bundle.of(model, name="iris", task="tabular_classification", preprocess=settings).task.name
            'tabular_classification'
        """
        model, others = networks_of(model)
        manifest = Manifest(
            name=name,
            task=get_task(task).name,
            builder=builder,
            arguments=dict(arguments or {}),
            inputs=inputs_of(model),
            labels=tuple(labels),
            metrics=metrics or {},
            provenance=dict(provenance or {}),
            licence=licence,
            parts={**PARTS, **{role: f"{role}{NETWORK}" for role in others}},
        )
        return cls(model, manifest, plain_settings(preprocess), others=others)

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self.manifest.name

    @property
    def task(self) -> Task:
        """Task that the bundle solves."""
        return get_task(self.manifest.task)

    @property
    def networks(self) -> dict[str, keras.Model]:
        """Networks of the bundle by role; the one that answers is `model`, rounding if the bundle does."""
        return {"model": self.model if self.quantized is None else self.quantized.model, **self.others}

    @property
    def labels(self) -> tuple[str, ...]:
        """Name of each output."""
        return tuple(self.manifest.labels)

    def predict(self, raw: Any, *, batch_size: int = 64) -> list[dict]:
        """Returns predictions for raw input.

        Args:
            raw: raw input of the task; for images one or many, each a uint8 array (H, W) or (H, W, 1, 3 or 4) of any
                size, a path, or a Pillow image.
            batch_size: examples computed at once.

        Returns:
            For each example `{"label", "score", "scores"}`, the label None where a calibrated bundle knows none; for
            several labels per example `{"labels", "scores"}`; for a regression `{"value"}`, or `{label: value}`; of a
            detector `{"boxes", "labels", "scores"}`, in pixels of the raw image; others as their pages say.

        Raises:
            ArgumentError: the input does not fit the model, or this has several outputs.
            DataError: an image file cannot be read, or an answer is not finite.

        Example:
            >>> kerasdl.load_bundle("digits_mobilenet").predict(np.zeros((28, 28), "uint8"))[0]["label"] in "0123456789"
            True
        """
        outputs, context = predict_outputs(self.networks, self.task, raw, self.preprocess, batch_size)
        if (calibration := self.calibration) is not None:
            scores = calibration.scores(outputs, self.manifest.outputs)
            return calibration.decided(self.task.decode(scores, self.labels, context))
        if self.task.predict is None:
            outputs = to_scores(outputs, self.task.activation, self.manifest.outputs)
        return self.task.decode(outputs, self.labels, context)

    def logits(self, raw: Any, *, batch_size: int = 64) -> np.ndarray:
        """Returns logits (B, K) in float32 for raw input; for a regression its values.

        Of probabilities they are the logarithms, or log-odds for independent labels; a temperature divides none.

        Raises:
            ArgumentError: the input does not fit the model, or this has several outputs.
            DataError: an image file cannot be read, or an answer is not finite.

        Example:
            >>> kerasdl.load_bundle("digits_mobilenet").logits(np.zeros((28, 28), "uint8")).shape
            (1, 10)
        """
        if self.task.predict is not None:
            checks.refuse("logits are of tasks that take the output of one model", self.task.name, "Use predict.")
        outputs, _ = predict_outputs(self.networks, self.task, raw, self.preprocess, batch_size)
        return to_logits(outputs, self.task.activation, self.manifest.outputs)

    def evaluate(self, data: Any, *, batch_size: int = 64) -> dict[str, float]:
        """Returns the loss and the metrics of the task over labelled data.

        Args:
            data: a `Dataset`, arrays (raw x, y), a tf.data.Dataset of batches ready for the model, or a name for
                `kerasdl.data.load`: its test split is taken, and a folder without split folders whole, less the images
                of this bundle's fine-tuning; a `DataWarning` counts these.
            batch_size: examples computed at once.

        Returns:
            `{"loss": ..., "accuracy": ...}`; for a task with a trainer the figures of trainer and task.

        Raises:
            ArgumentError: data or labels do not fit the model, or the data are endless.
            DataError: the data are empty, cannot be read or were all in the training, or the loss is not finite.

        Example:
            >>> kerasdl.load_bundle("digits_mobilenet").evaluate("digits")["accuracy"] > 0.9
            True
        """
        return evaluating.evaluate_bundle(self, data, batch_size)

    @finetuning.explained_arguments
    def finetune(
        self,
        train: Any,
        validation: Any = None,
        *,
        epochs: int = 5,
        labels: Sequence[str] = (),
        freeze: str | None = None,
        freeze_epochs: int | None = None,
        groups: int | None = None,
        layer_decay: float | None = None,
        train_norms: bool = True,
        learning_rate: float | None = 2e-3,
        callbacks: Any = (),
        config: RunConfig | None = None,
        name: str | None = None,
    ) -> "Bundle":
        """Returns a copy trained on other data; if the classes differ the copy has a new head.

        Args:
            train: a `Dataset`, a name for `kerasdl.data.load`, arrays (raw x, y), or a tf.data.Dataset of batches
                ready for the model.
            validation: the same, or None; the loss on fewer than 100 chooses the epoch, unless `config` has a monitor.
            epochs: passes over the data, all stages together.
            labels: the classes of arrays or of a tf.data.Dataset, if they are not the bundle's own; other data have
                their own names.
            freeze: as in `kerasdl.train.finetune`; "none" alone trains all layers at one rate. None is "staged", and
                "none" for tasks with a trainer, such as detection, which are tuned as a whole.
            freeze_epochs: as there.
            groups: as there; None is 1, or 3 with "gradual".
            layer_decay: as there; None is 1/3.
            train_norms: as there.
            learning_rate: the highest of the run; None keeps that of the optimizers of the task's trainer.
            callbacks: as in `kerasdl.train.finetune`; for trackers a function from the name of a stage.
            config: further settings. The arguments override its epochs and learning rate; its seed also seeds Python,
                NumPy and Keras; each stage has a subfolder in its folder, so that a killed run can resume.
            name: name of the new bundle; None adds `_finetuned`.

        Returns:
            A new bundle; this one is unchanged. Frozen layers keep their batch-norm statistics; new layers, for other
            classes, are named in its provenance.

        Raises:
            ArgumentError: an argument breaks its rule, data do not fit, or the folder holds another run.
            BundleError: the labels or the name are not valid in a bundle.
            DataError: data are missing, empty or cannot be read.
            TrainingError: the loss or its gradient is not finite.

        Example:
            >>> few = kerasdl.data.load("digits").per_class(1)
            >>> quiet = RunConfig(progress="off")
            >>> kerasdl.load_bundle("glyphs_mobilenet").finetune(few, epochs=1, config=quiet).labels[:2]
            ('0', '1')
        """
        config = dataclasses.replace(config or RunConfig(), epochs=epochs, learning_rate=learning_rate)
        keras.utils.set_random_seed(config.seed)  # for the new head and for dropout
        freeze = freeze or ("staged" if self.task.trainer is None else "none")
        freezing = finetuning.Freezing(freeze, freeze_epochs, groups, layer_decay, train_norms)
        parts = finetuning.networks_and_data(self, train, validation, tuple(labels), freezing)
        networks, train, validation, labels, fresh, extra = parts
        asked = {"fresh": fresh, "freezing": freezing, "config": config}
        manifest = finetuning.tuned_manifest(self, train, name=name, labels=labels, extra=extra, **asked)
        finetuning.claim_folder(config.folder, self.model, resume=config.resume)
        kept = finetuning.finetune_networks(networks, train, validation, task=self.task, callbacks=callbacks, **asked)
        manifest = dataclasses.replace(manifest, provenance={**manifest.provenance, "epoch kept": kept})
        tuned = Bundle(networks.pop("model"), manifest, with_levels(self.preprocess, train), extra, others=networks)
        if validation is None:
            return tuned
        return tuned.with_metrics(f"{public_name(validation.name)} validation", tuned.evaluate(validation))

    def with_metrics(self, data: str, figures: Mapping[str, float]) -> "Bundle":
        """Returns the bundle with figures measured on some data, which its card shows.

        Example:
            >>> measured = kerasdl.load_bundle("digits_mobilenet").with_metrics("mine", {"accuracy": 0.9})
            >>> measured.manifest.metrics["mine"]
            {'accuracy': 0.9}
        """
        metrics = {**self.manifest.metrics, data: dict(figures)}
        return dataclasses.replace(self, manifest=dataclasses.replace(self.manifest, metrics=metrics))

    def save(self, path: str | os.PathLike, *, half: bool = False) -> Path:
        """Writes the bundle atomically to a folder, or to a .zip if `path` ends in .zip.

        Args:
            path: the folder or .zip; a bundle at that path is replaced.
            half: whether kernels are written as float16, half the size; they are rounded, and load in float32.

        Returns:
            The path.

        Raises:
            BundleError: something other than a bundle is at `path`, or the model is not a flat graph of layers of Keras
                and kerasdl.

        Example:
            >>> kerasdl.load_bundle("digits_mobilenet").save("mine.zip").name
            'mine.zip'
        """
        return archive.write(partial(write_parts, self, half=half), path)

    def export(
        self,
        path: str | os.PathLike,
        *,
        quantize: str | None = None,
        representative: Any = None,
        raw_shape: tuple | None = None,
        tolerance: float | None = None,
        **options: Unpack[ExportKeywords],
    ) -> "deploy.ExportReport":
        """Writes the model for another runtime, and verifies that the file computes the same.

        Report, labels and card are written beside it. Networks that the task exports are signatures by name.

        Args:
            path: `.tflite` or `.onnx` selects the format; a path without a suffix becomes a SavedModel folder.
            quantize: for .tflite None, `float16`, `dynamic`, `int8` or `int16x8`; for .onnx None, `dynamic` or `int8`.
            representative: data as in `evaluate`, their train split; integer files are calibrated on them, and every
                file is verified on them.
            raw_shape: shape of raw input, (H, W, C) for images as float32 from 0 to 255; the file then contains the
                preprocessing. None leaves the preprocessing to the app.
            tolerance: largest drift allowed; None takes the format's.
            options: further options of the file, the fields of `ExportOptions`, such as `integer_io=True`.

        Returns:
            The report of the verification.

        Raises:
            ArgumentError: an option is not for that format.
            ExportError: the file would compute something else, or the format cannot hold the model; no file is left.
            UnknownNameError: there is no such option.

        Example:
            >>> kerasdl.load_bundle("digits_mobilenet").export("digits.tflite", representative="digits").top1_agreement
            1.0
        """
        chosen = export_options(quantize=quantize, tolerance=tolerance, **options)
        return export_bundle(self, Path(path), representative, raw_shape, chosen)

    def deployable(self, raw_shape: tuple | None = None) -> keras.Model:
        """Returns a flat float model of the same weights that takes raw input, with the preprocessing in its graph.

        Images are resized by the filter of `predict`, bilinear and antialiased, and not rounded to whole levels after
        it: pixels are within one grey level of those of `predict`.

        Args:
            raw_shape: the shape of one raw input; None takes the model's own.

        Raises:
            ArgumentError: the preprocessing cannot start from that shape.

        Example:
            >>> kerasdl.load_bundle("digits_mobilenet").deployable((64, 64, 3)).input_shape
            (None, 64, 64, 3)
        """
        return raw_model(self, tuple(raw_shape or self.model.inputs[0].shape[1:]))

    def ready(self, data: Any, *, split: str = "train", labels: Sequence[str] = ()) -> Dataset:
        """Returns data prepared as input of this bundle: resized, scaled or standardised as in its training.

        Args:
            data: a `Dataset`, a name for `kerasdl.data.load`, arrays (raw x, y), or a tf.data.Dataset of batches ready
                for the model.
            split: the split of data by name.
            labels: the classes of arrays or of a tf.data.Dataset, if they are not the bundle's own.

        Raises:
            ArgumentError: the data are of another task or form, or have other classes than `labels`.

        Example:
            >>> kerasdl.load_bundle("digits_mobilenet").ready("digits").input_shape
            (32, 32, 3)
        """
        return ready_data(data, split, self.task, self.preprocess, tuple(labels), self.labels)
