"""Fine-tuning of a pretrained net: the head first, then layer groups from the head down, each at its own rate."""

import functools
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import keras

from kerasdl.core import checks
from kerasdl.core.registry.tasks import Task

from ..config import RunConfig
from ..engine.compilation import user_compile, with_optimizer
from ..engine.fitting import DEFAULTS, fit
from ..loop.state import Run
from ..optim.layer_rates import LayerRates
from .stages import Callbacks, open_stages, stage_callbacks, stage_config

F = TypeVar("F", bound=Callable[..., Any])

FREEZE = ("staged", "gradual", "backbone", "none")


def _earlier_arguments(function: F) -> F:
    """Decorator under which `finetune` also takes `probe` and `gradual`, the arguments of 0.1, with a warning."""

    @functools.wraps(function)
    def call(*args: Any, probe: float | None = None, gradual: bool | None = None, **kwargs: Any) -> Any:
        if probe is None and gradual is None:
            return function(*args, **kwargs)
        share = checks.within("probe", 0.25 if probe is None else probe, 0.0, 1.0)
        epochs = round(share * kwargs.get("config", DEFAULTS).epochs)
        now = {"freeze": "gradual" if gradual else "staged", "freeze_epochs": epochs}
        text = ", ".join(f"{name}={value!r}" for name, value in now.items())
        if set(now) & set(kwargs):
            rule = "probe and gradual must not be given beside freeze and freeze_epochs"
            checks.refuse(rule, [*kwargs], f"Pass {text}.")
        warnings.warn(f"finetune: instead of probe and gradual pass {text}", DeprecationWarning, stacklevel=2)
        return function(*args, **now, **kwargs)

    return call


@_earlier_arguments
def finetune(
    model: keras.Model,
    train: Any,
    *,
    validation: Any = None,
    head: str | Sequence[str] = "head",
    freeze: str = "staged",
    freeze_epochs: int | None = None,
    groups: int = 3,
    layer_decay: float = 0.4,
    train_norms: bool = False,
    loss: Any = None,
    metrics: Sequence | Mapping | None = None,
    callbacks: Callbacks = (),
    task: Task | str | None = None,
    config: RunConfig = DEFAULTS,
) -> Run:
    """Trains a pretrained model in place in stages, and returns the run of the last one.

    First the head alone is trained, on the frozen backbone (a linear probe). Then all layers are trained, or with
    `freeze="gradual"` one more group in each stage. A group learns at `layer_decay` times the rate of the group above
    it. Batch norms stay in inference mode, with statistics and factors of the pretraining. Layers that were frozen
    before stay frozen. Each stage is a separate run: it selects its own best epoch and reads the data from their start.

    Source: https://arxiv.org/abs/1801.06146, sections 3.2 (discriminative rates) and 3.3 (gradual unfreezing); the
    probe first, https://arxiv.org/abs/2202.10054.

    Args:
        model: a functional model whose head is new.
        train: as in `fit`.
        validation: as in `fit`.
        head: name of the output layer, or names of several.
        freeze: "staged" freezes the backbone, which is all layers below the head, for the first epochs; "gradual" then
            unfreezes its groups one after another, from the head down; "backbone" freezes it in all epochs, and "none"
            in none.
        freeze_epochs: epochs in which the head alone learns, of "staged" and "gradual", from 0 to all; None is a third
            of them, and at least one.
        groups: number of groups, by depth, of the layers below the head; "gradual" needs 2 or more.
        layer_decay: rate of a group divided by that of the group above it, above 0 to 1.
        train_norms: whether batch norms learn too.
        loss: as in `fit`.
        metrics: as in `fit`.
        callbacks: as in `fit`, for every stage; or a function from the name of a stage ("head", "stage1", ...) to its
            callbacks, as trackers need it, since each stage is a run.
        task: as in `fit`.
        config: total epochs, learning rate of the head, and other settings; with a folder, each stage has a subfolder.

    Returns:
        The run of the last stage, whose model is `model`.

    Raises:
        ArgumentError: an argument breaks its rule, or the model has no such layer.

    Example:
        >>> config = RunConfig(epochs=2, batch_size=8, progress="off")
        >>> finetune(model, (x, y), groups=2, task="image_classification", config=config).model is model
        True
    """
    checks.within("layer_decay", layer_decay, 1e-6, 1.0)
    if freeze == "gradual" and groups < 2:
        checks.refuse('freeze="gradual" needs 2 groups or more', groups, 'Pass groups=3, or freeze="staged".')
    if config.steps is not None:
        checks.refuse("the length of fine-tuning must be set by epochs", f"steps={config.steps}")
    layered = depth_groups(model, groups, head=head)
    head_layers = [layer for layer in _layers_of(model) if layer.name in _names(head)]
    optimizer = with_optimizer(config, user_compile(model)).optimizer
    optimizer = _layer_rates_by_depth([*layered, head_layers], layer_decay, optimizer)
    first = _frozen_epochs(freeze, freeze_epochs, config.epochs)
    stages = [*_stages(layered, config.epochs, first, freeze == "gradual")]
    open_stages(config, {name: epochs for name, epochs, _ in stages})
    run = None
    for number, (name, epochs, free) in enumerate(stages):
        with _trainable_only(model, [*head_layers, *free], train_norms):
            stage = stage_config(config, number, name, epochs=epochs, optimizer=optimizer)
            called = stage_callbacks(callbacks, name, len(stages))
            objective = {"loss": loss, "metrics": metrics, "task": task}
            run = fit(model, train, validation=validation, callbacks=called, config=stage, **objective)
    return run


def _layer_rates_by_depth(
    groups: Sequence[Sequence[keras.layers.Layer]], layer_decay: float, optimizer: Any
) -> LayerRates:
    """Returns an optimizer in which each group learns at `layer_decay` times the rate of the group above it.

    Inner layers are named too: in a cloned or loaded model the paths of their weights no longer hold the outer name.
    """
    factors = [(layer, layer_decay**depth) for depth, group in enumerate(reversed(groups)) for layer in group]
    inner = {each.name: factor for layer, factor in factors for each in layer._flatten_layers()}
    rates = LayerRates(optimizer, inner | {layer.name: factor for layer, factor in factors})
    mismatched = [w.path for layer, factor in factors for w in layer.weights if rates.factor_of(w) != factor]
    if mismatched:
        checks.refuse("layers of different depth must differ by the names in their weights' paths", mismatched[0])
    return rates


def depth_groups(
    model: keras.Model, count: int, *, head: str | Sequence[str] = "head"
) -> list[list[keras.layers.Layer]]:
    """Returns the layers with weights below the head in groups of about equal length, from the input up.

    Blocks, as named by their layers (`stage2_block1_...`), are not split. Layers of a nested model count singly.

    Args:
        model: a functional model.
        count: number of groups, 1 or more; fewer where there are fewer blocks.
        head: name of the output layer, or names of several.

    Returns:
        Lists of layers.

    Raises:
        ArgumentError: the model has no such layer.

    Example:
        >>> [group[0].name for group in depth_groups(model, 2)]
        ['stem_conv', 'stage2_block2_expand_conv']
    """
    checks.at_least("count", count, 1)
    inside = _layers_of(model)
    names = [layer.name for layer in inside]
    heads = _names(head)
    if not heads or not set(heads) <= set(names):
        checks.refuse("head must name a layer of the model", head, f"The last one is {names[-1]!r}.")
    layers = [layer for layer in inside if layer.weights and layer.name not in heads]
    blocks: list[list[keras.layers.Layer]] = []
    for layer in layers:
        if blocks and _block(blocks[-1][-1].name) == _block(layer.name):
            blocks[-1].append(layer)
        else:
            blocks.append([layer])
    groups: list[list[keras.layers.Layer]] = [[]]
    for block in blocks:
        done = sum(map(len, groups))
        if groups[-1] and done * count >= len(groups) * len(layers) and len(groups) < count:
            groups.append([])
        groups[-1] += block
    return groups


def _names(head: str | Sequence[str]) -> tuple[str, ...]:
    return (head,) if isinstance(head, str) else tuple(head)


def _layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers of a model, with nested models replaced by their layers."""
    return [
        each for layer in model.layers for each in (_layers_of(layer) if isinstance(layer, keras.Model) else [layer])
    ]


def _block(name: str) -> str:
    match = re.match(r"\w*?block\d+", name)
    return match.group() if match else re.sub(r"_(conv|bn|norm)$", "", name)


def _frozen_epochs(freeze: str, freeze_epochs: int | None, epochs: int) -> int:
    """Returns the number of epochs in which the head alone learns."""
    checks.one_of("freeze", freeze, FREEZE)
    if freeze in ("backbone", "none"):
        if freeze_epochs is not None:
            checks.refuse(f"freeze={freeze!r} takes no freeze_epochs", freeze_epochs, 'Pass freeze="staged".')
        return epochs if freeze == "backbone" else 0
    if freeze_epochs is None:
        return max(1, round(epochs / 3))
    if not isinstance(freeze_epochs, int) or not 0 <= freeze_epochs <= epochs:
        checks.refuse(f"freeze_epochs must be a whole number from 0 to the {epochs} epochs", freeze_epochs)
    return freeze_epochs


def _stages(
    groups: Sequence[Sequence], epochs: int, first: int, gradual: bool
) -> Iterator[tuple[str, int, list[keras.layers.Layer]]]:
    """Yields the name of each stage, its epochs, and the layers below the head that learn."""
    if first:
        yield "head", first, []
    left = epochs - first
    stages = min(left, len(groups)) if gradual else min(left, 1)
    for stage in range(stages):
        free = groups[len(groups) - 1 - stage :] if gradual and stage < stages - 1 else groups
        share = left * (stage + 1) // stages - left * stage // stages
        yield f"stage{stage + 1}", share, [layer for group in free for layer in group]


@contextmanager
def _trainable_only(model: keras.Model, free: Sequence[keras.layers.Layer], train_norms: bool) -> Iterator[None]:
    """Context manager that freezes all layers of a model but these, and batch norms unless `train_norms`."""
    # Outer layers first, since setting one sets all inner layers.
    inside = {id(layer): [*layer._flatten_layers()] for layer in _layers_of(model)}
    before = [(layer, layer.trainable) for layers in inside.values() for layer in layers]
    trained = {id(inner) for layer in free for inner in inside[id(layer)]}
    try:
        for layer, was in before:
            norm = isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = was and id(layer) in trained and (train_norms or not norm)
        yield
    finally:
        for layer, was in before:
            layer.trainable = was
