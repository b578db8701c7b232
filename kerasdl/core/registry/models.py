"""Model registry: every model by name, with its specification."""

import fnmatch
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import checks
from ..errors import ArgumentError
from ..keywords import refuse_argument
from .index import load_index, load_macs

if TYPE_CHECKING:
    import keras

EMPTY_OUTPUT = "zero or negative"
"""Words of Keras's error on a layer whose output would be empty."""
SMALLEST_SIDE = "kerasdl.core.registry.smallest:smallest_side"
EXPORT_FORMATS = ("float32", "float16", "dynamic", "int8", "int16x8", "onnx", "saved_model")


@dataclass(frozen=True)
class ModelSpec:
    """Specification of a registered model, known without building it."""

    name: str
    """The name that `build` takes."""
    builder: str
    """Its function, as `module:function`."""
    summary: str
    """The first line of the function's docstring."""
    task: str
    """The name of its `Task`."""
    paper: str
    """The address of its paper."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that this variant passes to the function."""
    params: int | None = None
    """The exact number of weights at the function's defaults, batch-norm statistics included."""
    reference: str = ""
    """Source of that number."""
    qat: str = "full"
    """Share of the model that quantisation-aware training reaches: full, partial or none."""
    exports: Mapping[str, str] = field(default_factory=dict)
    """Formats that cannot hold the model, each with the reason; every other format can."""
    tiny: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that make a small net, for tests and first trials."""
    tiny_limit: int = 50_000
    """The most weights that this net may have."""
    free: Mapping[str, Any] = field(default_factory=dict)
    """Arguments that leave sizes of its inputs open, as `{"length": None}`; nothing where every size is fixed."""
    partners: Mapping[str, str] = field(default_factory=dict)
    """The registered networks that it is trained with, by the role that the trainer of its task gives them."""
    unreached: Mapping[str, str] = field(default_factory=dict)
    """Weights that no gradient reaches, by path, each with the reason in the paper's own net."""
    tags: tuple[str, ...] = ()
    """Search terms."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """Sources of weights: a net's name for `keras-applications`, a map for `hugging-face` or `torch`."""

    @property
    def family(self) -> str:
        """The family it belongs to, such as `vision`."""
        parts = self.builder.split(".")
        return parts[1] if parts[0] == "kerasdl" else parts[0].partition(":")[0]

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates for one example at the function's defaults; None if sizes are free or not counted."""
        return load_macs().get(self.name)


_CLASSES = "Did you mean 'classes'?"
_SHAPE = "Did you mean 'image_shape'?"
_HEAD = (
    "Every net has its head; finetune of a bundle replaces it, as does kerasdl.blocks.replace_head(model, classes). "
    "For the features take keras.Model(model.input, model.layers[-2].output)."
)
_REMEDIES = {
    **dict.fromkeys(("num_classes", "n_classes", "nb_classes", "num_labels"), _CLASSES),
    **dict.fromkeys(("input_shape", "img_size", "image_size", "input_size"), _SHAPE),
    **dict.fromkeys(("include_top", "pooling"), _HEAD),
    "classifier_activation": "Nets give logits; add keras.layers.Softmax() to have probabilities.",
    "alpha": "Did you mean 'width', or a variant of kerasdl.list_models()?",
}
"""Remedy for arguments that other libraries have."""

_specs: dict[str, ModelSpec] = {}
_functions: dict[str, Callable] = {}


def register(
    *,
    task: str,
    paper: str,
    variants: Mapping[str, Mapping[str, Any]] | None = None,
    params: Mapping[str, int] | None = None,
    reference: str = "",
    qat: str = "full",
    exports: Mapping[str, str] | None = None,
    tiny: Mapping[str, Any] | None = None,
    tiny_limit: int = 50_000,
    free: Mapping[str, Any] | None = None,
    partners: Mapping[str, str] | None = None,
    unreached: Mapping[str, str] | None = None,
    tags: tuple[str, ...] = (),
    weights: Mapping[str, str | Mapping[str, str]] | None = None,
) -> Callable[[Callable], Callable]:
    """Registers a model function under the name of each of its variants.

    Args:
        task: the name of the task it solves; `network` for a part that solves none alone, such as a discriminator.
        paper: the address of its paper.
        variants: arguments of the function by variant name; without them the function is the only variant.
        params: exact weight counts by variant name, and `reference`, their source.
        qat: how far quantisation-aware training reaches: `full`, every convolution and matrix product computes in
            int8; `partial`, some stay in float, as in recurrent layers; `none`.
        exports: a reason for each export format that cannot take it.
        tiny: arguments that make a net small enough for tests, of at most `tiny_limit` weights.
        tiny_limit: as above; more than 50,000 if the architecture cannot be smaller.
        free: arguments that leave sizes of the inputs open, such as `{"image_shape": (None, None, 3)}`.
        partners: networks that it is trained with, such as a generator's `{"discriminator": "dcgan_discriminator"}`.
        unreached: weights that no gradient reaches, by path, each with the reason.
        tags: search terms.
        weights: by library, `keras-applications`, `hugging-face` or `torch`, the name of the net there or, as
            `module:name`, the map of its weights; one text for all variants, or a dict by variant name.

    Returns:
        A decorator that returns the function unchanged.

    Raises:
        ArgumentError: a name is taken, a format or a variant is unknown.

    Example:
        >>> @register(task="tabular_classification", paper="https://doi.org/10.1038/323533a0")
        ... def my_model(features=4, *, classes=3):
        ...     "A model of my own."
    """
    checks.one_of("qat", qat, ("full", "partial", "none"))
    for export_format in exports or {}:
        checks.one_of("an export format", export_format, EXPORT_FORMATS)

    def add(function: Callable) -> Callable:
        named = variants or {function.__name__: {}}
        for name in params or {}:
            checks.one_of("a name in params", name, named)
        for name, arguments in named.items():
            _add(
                ModelSpec(
                    name=name,
                    builder=f"{function.__module__}:{function.__qualname__}",
                    summary=(inspect.getdoc(function) or "").partition("\n")[0],
                    task=task,
                    paper=paper,
                    arguments=dict(arguments),
                    params=(params or {}).get(name),
                    reference=reference if name in (params or {}) else "",
                    qat=qat,
                    exports=dict(exports or {}),
                    tiny=dict(tiny or {}),
                    tiny_limit=tiny_limit,
                    free=dict(free or {}),
                    partners=dict(partners or {}),
                    unreached=dict(unreached or {}),
                    tags=tuple(tags),
                    weights=_of_variant(name, weights or {}),
                ),
                function,
            )
        return function

    return add


def _of_variant(name: str, weights: Mapping[str, str | Mapping[str, str]]) -> dict[str, str]:
    peers = {kind: peer if isinstance(peer, str) else peer.get(name) for kind, peer in weights.items()}
    return {kind: peer for kind, peer in peers.items() if peer}


def _add(spec: ModelSpec, function: Callable) -> None:
    indexed = load_index()["models"].get(spec.name, {"builder": spec.builder})
    if spec.name in _specs or indexed["builder"] != spec.builder:
        checks.refuse("a model's name must be new", spec.name)
    _specs[spec.name] = spec
    _functions[spec.name] = function


def live_specs() -> list[ModelSpec]:
    """Returns the specs of all models registered in this process, by name."""
    return [_specs[name] for name in sorted(_specs)]


def list_models(pattern: str = "*", *, task: str | None = None, tag: str | None = None) -> list[str]:
    """Returns the names of the registered models in alphabetical order, without importing TensorFlow.

    Args:
        pattern: shell wildcards, against the name or `family/name`: `"resnet*"`, `"vision/*"`.
        task: only the models of this task.
        tag: only the models with this tag.

    Returns:
        A list of names.

    Example:
        >>> kerasdl.list_models("vision/mobilenet_v3*")
        ['mobilenet_v3_large', 'mobilenet_v3_small']
    """
    specs = (spec(name) for name in sorted({*load_index()["models"], *_specs}))
    return [
        each.name
        for each in specs
        if (fnmatch.fnmatchcase(each.name, pattern) or fnmatch.fnmatchcase(f"{each.family}/{each.name}", pattern))
        and task in (None, each.task)
        and (tag is None or tag in each.tags)
    ]


def spec(name: str) -> ModelSpec:
    """Returns the specification of a model, without importing TensorFlow.

    Raises:
        UnknownNameError: no model has that name; the text names its nearest neighbours.

    Example:
        >>> kerasdl.spec("mobilenet_v2").params
        3538984
    """
    if name in _specs:
        return _specs[name]
    models = load_index()["models"]
    checks.known_name("model", name, [*_specs, *models], "kerasdl.list_models() names all.")
    return ModelSpec(**{key: _as_tuples(value) for key, value in models[name].items()})


def build(name: str, **arguments: Any) -> "keras.Model":
    """Builds a registered model.

    Args:
        name: its name; `list_models()` names all.
        **arguments: arguments of its function; they override the variant's.

    Returns:
        A functional `keras.Model`. A classifier's outputs are logits, a regressor's its values.

    Raises:
        UnknownNameError: no model has that name.
        ArgumentError: its function takes no such argument, or refuses its value.

    Example:
        >>> kerasdl.build("mobilenet_v2", image_shape=(96, 96, 3), classes=10).output_shape
        (None, 10)
    """
    model_spec = spec(name)
    function = _functions.get(name) or _import_builder(model_spec.builder)
    parameters = inspect.signature(function).parameters
    for argument in arguments:
        if argument not in parameters:
            refuse_argument(name, argument, parameters, {**_REMEDIES, **_weights_remedies(model_spec)})
    try:
        return function(**{**model_spec.arguments, **arguments})
    except ValueError as error:
        if "image_shape" not in arguments or isinstance(error, ArgumentError):
            raise
        _refuse_small_images(name, model_spec, function, arguments, error)
        raise


def _weights_remedies(model_spec: ModelSpec) -> dict[str, str]:
    """Returns the remedy for arguments by which other libraries load trained weights."""
    peer = model_spec.weights.get("keras-applications")
    call = f'kerasdl.import_weights(model, "keras-applications:{peer}")' if peer else "kerasdl.import_weights"
    remedy = f"Nets are built untrained: fill one with {call}, or start from kerasdl.load_bundle."
    return dict.fromkeys(("weights", "pretrained", "checkpoint"), remedy)


def _refuse_small_images(
    name: str, model_spec: ModelSpec, function: Callable, arguments: Mapping[str, Any], error: ValueError
) -> None:
    """Raises `ArgumentError` with the smallest size of images where an error is about an empty output of a layer."""
    usual = inspect.signature(function).parameters["image_shape"].default
    if EMPTY_OUTPUT not in str(error) or not isinstance(usual, tuple):
        return
    shape = (*usual[:2], checks.image_shape("image_shape", arguments["image_shape"])[2])
    smallest_side = _import_builder(SMALLEST_SIDE)  # Keras is imported by then
    side = smallest_side(function(**{**model_spec.arguments, **arguments, "image_shape": shape}))
    rule = f"image_shape of {name} must have sides of {side} or more"
    checks.refuse(rule, tuple(arguments["image_shape"]), f"Its default is {usual}.")


def _import_builder(builder: str) -> Callable:
    module, _, function = builder.partition(":")
    return getattr(importlib.import_module(module), function)


def _as_tuples(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_as_tuples(each) for each in value)
    if isinstance(value, dict):
        return {key: _as_tuples(each) for key, each in value.items()}
    return value
