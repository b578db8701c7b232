"""Changes of a bundle by functions of models, such as `kerasdl.deploy.prune`."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

import keras

from kerasdl.core import checks
from kerasdl.core.keras_graph import copied
from kerasdl.core.model_carrier import ModelCarrier
from kerasdl.core.registry.prediction import check_single_output
from kerasdl.data import Dataset
from kerasdl.data.model_fit import check_dataset_fits
from kerasdl.train import RunConfig

from ..format.calibration_part import without_calibration
from ..format.manifest import QUANTIZATION, Manifest
from .data_preparation import public_name
from .evaluating import check_classes
from .label_forms import labels_for, plain_label_errors
from .making import inputs_of

MODELS, DATA = ("model", "student", "teacher"), {"train": "train", "validation": "validation"}
UNTOLD = ("loss", "metrics", "callbacks", "task")  # arguments that are objects and no settings
EXPORTED = "exported as "


ELSEWHERE = {
    "export_tflite": "bundle.export('model.tflite', ...), with quantize='int8' for integers",
    "export_onnx": "bundle.export('model.onnx', ...)",
    "export_saved_model": "bundle.export('folder', ...)",
    "fit": "bundle.finetune(data, ...)",
    "compile": "bundle.finetune(data, ...), which compiles by itself",
    "summary": "bundle.model.summary()",
    "layers": "bundle.model.layers",
    "get_layer": "bundle.model.get_layer(name)",
    "get_weights": "bundle.model.get_weights()",
    "save_weights": "bundle.save(path), or bundle.model.save_weights(path)",
}
"""Names of models that a bundle lacks, with what does it here."""


class ChangingModel(ModelCarrier):
    """Methods of a bundle that give another bundle with a changed model."""

    if not TYPE_CHECKING:  # for type checkers a bundle has its own attributes alone

        def __getattr__(self, name: str) -> Any:
            """Refuses names of models, such as `export_tflite`, by what does the same in a bundle."""
            text = f"{type(self).__name__!r} object has no attribute {name!r}"
            if name in ELSEWHERE:
                whence = "quantize_aware, prune, prune_channels, cluster and distill give a bundle for a bundle"
                text = f"a bundle has no {name}, which is of models: call {ELSEWHERE[name]} ({whence})."
            raise AttributeError(text, name=name, obj=self)

    def changed_by(self, function: Callable[..., Any], arguments: dict[str, Any]) -> Self:
        """Returns a bundle with the model that a function makes of this one's: what `prune(bundle, data)` calls.

        Data are prepared as by `ready`. Figures are measured on the validation data, or there are none. The provenance
        has a line with the function, its settings and its data.

        Args:
            function: a function of models that gives a model, a `Run` or a `QuantizedModel`.
            arguments: all its arguments by name.

        Raises:
            ArgumentError: the bundle rounds already, has several networks or outputs, or data do not fit.
        """
        student, plain = arguments.get("student"), without_calibration(self)
        check_changeable(self, function.__name__)
        for each in arguments.values():
            if isinstance(each, ChangingModel):
                check_alike(self, each)
        given = {
            name: copied(each.model) if isinstance(each, ChangingModel) else each for name, each in arguments.items()
        }
        model = next(given[name] for name in MODELS if name in given)
        for name, split in DATA.items():
            if given.get(name) is not None:
                given[name] = prepared(self, model, given[name], split)
        if "task" in given and given["task"] is None:
            given["task"] = self.task
        if isinstance(given.get("config"), RunConfig):
            keras.utils.set_random_seed(given["config"].seed)
        with plain_label_errors():
            result = function(**given)
        is_own = not isinstance(student, keras.Model)  # else the labels of a teacher go to a model without any
        bundle = with_result(plain, result, changed_manifest(plain, function, given, is_own))
        if given.get("validation") is None:
            return bundle
        validation = given["validation"]
        return bundle.with_metrics(f"{public_name(validation.name)} validation", bundle.evaluate(validation))

    def to_float(self) -> Self:
        """Returns the bundle with the same weights, not rounded; one that rounds cannot be trained any further.

        Figures, which were measured with rounding, are left out.

        Example:
            >>> kerasdl.load_bundle("digits_mobilenet").to_float().quantized is None
            True
        """
        if self.quantized is None:
            return dataclasses.replace(self, digest="")
        parts = {role: name for role, name in self.manifest.parts.items() if role != QUANTIZATION}
        manifest = dataclasses.replace(self.manifest, parts=parts, metrics={})
        return without_calibration(dataclasses.replace(self, quantized=None, manifest=manifest, digest=""))


def check_changeable(bundle: Any, doing: str) -> None:
    """Refuses a bundle whose model a function of one model cannot change."""
    if bundle.quantized is not None:
        refuse_rounding(bundle, doing)
    if bundle.others or bundle.task.trainer is not None or bundle.task.predict is not None:
        rule = f"{doing} takes bundles of one network that answers by itself"
        hint = f"Call {doing} with the network, from bundle.networks, and data of its own."
        if bundle.task.postprocess is not None:
            hint = "Its export with quantize='int8' corrects biases, and compares the file with the model."
        checks.refuse(rule, f"{bundle.name}: {bundle.task.name}, {[*bundle.networks]}", hint)
    check_single_output(bundle.model, doing)


def refuse_rounding(bundle: Any, doing: str) -> None:
    """Refuses a bundle that rounds, which training or changing would undo."""
    checks.refuse(f"{doing} takes a bundle that does not round", bundle.name, "Pass bundle.to_float().")


def check_alike(bundle: Any, other: Any) -> None:
    """Refuses two bundles of which one cannot learn from the other on the same input."""
    check_changeable(other, "a teacher or student")
    for name in ("task", "labels", "preprocess"):
        own, its = getattr(bundle, name), getattr(other, name)
        if own != its:
            named = (bundle.task.name, other.task.name) if name == "task" else (own, its)
            checks.refuse(f"student and teacher must have the same {name}", named, "Fine-tune one of them first.")


def prepared(bundle: Any, model: keras.Model, data: Any, split: str) -> Dataset:
    """Returns data as input of a bundle's model, with labels that fit its outputs."""
    dataset = bundle.ready(data, split=split)
    check_classes(dataset, bundle.labels, model.outputs[0].shape[-1], bundle.name)
    check_dataset_fits(model, dataset)
    return labels_for(model, dataset, bundle.task, bundle.labels)


def with_result(bundle: Any, result: Any, manifest: Manifest) -> Any:
    """Returns a bundle around what a function gave: a model, a run of one, or one that rounds."""
    rounds = hasattr(result, "to_keras")
    model = result.to_keras() if rounds else getattr(result, "model", result)
    if [each.shape for each in model.weights] != [each.shape for each in bundle.model.weights]:
        manifest = dataclasses.replace(manifest, builder="", arguments={})
    parts = {**manifest.parts, QUANTIZATION: f"{QUANTIZATION}.json"} if rounds else manifest.parts
    manifest = dataclasses.replace(manifest, inputs=inputs_of(model), parts=parts)
    return dataclasses.replace(bundle, model=model, manifest=manifest, quantized=result if rounds else None, digest="")


def changed_manifest(bundle: Any, function: Callable, arguments: Mapping[str, Any], is_own: bool) -> Manifest:
    """Returns the manifest after a change: a line more in the provenance, no figures."""
    manifest, name = bundle.manifest, function.__name__
    earlier = (
        {key: value for key, value in manifest.provenance.items() if not key.startswith(EXPORTED)} if is_own else {}
    )
    number = 1 + sum(key.startswith("step ") for key in earlier)
    return dataclasses.replace(
        manifest,
        name=f"{bundle.name}_{name}",
        builder=manifest.builder if is_own else "",
        arguments=manifest.arguments if is_own else {},
        outputs="",
        metrics={},
        provenance={**earlier, f"step {number}": step_in_words(bundle, function, arguments)},
    )


def step_in_words(bundle: Any, function: Callable, arguments: Mapping[str, Any]) -> str:
    """Returns in words the function, its settings, its data and the bundle that it was given."""
    settings = []
    for name, value in arguments.items():
        if isinstance(value, RunConfig):
            epochs = arguments.get("epochs")
            plan = {"epochs": value.epochs if epochs is None else epochs, "learning rate": value.learning_rate}
            settings += [f"{key} {each}" for key, each in {**plan, "seed": value.seed}.items()]
        elif value is not None and name not in (*MODELS, *DATA, *UNTOLD, "epochs"):
            settings.append(f"{name} {value}")
    train = arguments.get("train")
    data = "" if train is None else f" on {public_name(train.name)}, {train.size} examples,"
    digest = f" ({bundle.digest[:16]})" if bundle.digest else ""
    return f"{function.__name__} of {bundle.name}{digest}{data} with {', '.join(settings)}"
