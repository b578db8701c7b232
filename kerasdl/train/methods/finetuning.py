"""Fine-tuning of a trained net: the head first, then layer groups from the head down, each at a rate of its own."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from kerasdl.core import checks
from kerasdl.core.registry.tasks import Task

from ..config import RunConfig
from ..engine.fitting import DEFAULTS, fit
from ..loop.state import Run
from ..optim.layer_rates import LayerRates
from .stages import open_stages, stage_config


def finetune(
    model: keras.Model,
    train: Any,
    *,
    validation: Any = None,
    head: str = "head",
    groups: int = 3,
    probe: float = 0.25,
    gradual: bool = False,
    decay: float = 0.4,
    train_norms: bool = False,
    task: Task | str | None = None,
    config: RunConfig = DEFAULTS,
) -> Run:
    """Trains a pretrained model in place in stages, and returns the run of the last one.

    First the head alone (a linear probe), then all groups of layers at once, or one more of them in each stage. A group
    learns at `decay` times the rate of the one above it. Batch norms stay in inference mode: statistics and factors
    are those of the pretraining. Layers that were frozen before stay frozen throughout. Each stage is a
    run of its own: it looks for the best epoch among its own, and reads the data from their start.

    Source: https://arxiv.org/abs/1801.06146, sections 3.2 (discriminative rates) and 3.3 (gradual unfreezing); the
    probe first, https://arxiv.org/abs/2202.10054.

    Args:
        model: a functional model whose head is new.
        train: as in `fit`.
        validation: as in `fit`.
        head: the name of the layer that answers.
        groups: into how many groups the layers below the head fall, by depth.
        probe: share of the epochs in which the head alone learns, from 0 to 1.
        gradual: whether groups are set free one after another, from the head down, in the epochs that are left.
        decay: what a group's rate is to that of the one above it, above 0 to 1.
        train_norms: whether batch norms learn too.
        task: as in `fit`.
        config: epochs in all, the head's learning rate, and all else; with a folder, each stage is kept in one inside.

    Returns:
        The run of the last stage, its model the one given.

    Raises:
        ArgumentError: an argument breaks its range, or the model has no such layer.

    Example:
        >>> config = RunConfig(epochs=2, batch_size=8, progress="off")
        >>> finetune(model, (x, y), groups=2, task="image_classification", config=config).model is model
        True
    """
    checks.within("probe", probe, 0.0, 1.0)
    checks.within("decay", decay, 1e-6, 1.0)
    if config.steps is not None:
        checks.refuse("fine-tuning is told its length by epochs", f"steps={config.steps}")
    layered = depth_groups(model, groups, head=head)
    answering = [layer for layer in _layers_of(model) if layer.name == head]
    optimizer = _slower_below([*layered, answering], decay, config.optimizer)
    stages = [*_stages(layered, config.epochs, probe, gradual)]
    open_stages(config, {name: epochs for name, epochs, _ in stages})
    run = None
    for number, (name, epochs, free) in enumerate(stages):
        with _only(model, [*answering, *free], train_norms):
            stage = stage_config(config, number, name, epochs=epochs, optimizer=optimizer)
            run = fit(model, train, validation=validation, task=task, config=stage)
    return run


def _slower_below(groups: Sequence[Sequence[keras.layers.Layer]], decay: float, optimizer: Any) -> LayerRates:
    """Returns an optimizer in which each group learns at `decay` times the rate of the one above it.

    Layers inside others are named too: in a cloned or loaded model their weights no longer bear the outer name.
    """
    factors = [(layer, decay**depth) for depth, group in enumerate(reversed(groups)) for layer in group]
    inner = {each.name: factor for layer, factor in factors for each in layer._flatten_layers()}
    rates = LayerRates(optimizer, inner | {layer.name: factor for layer, factor in factors})
    lost = [w.path for layer, factor in factors for w in layer.weights if rates.factor_of(w) != factor]
    if lost:
        checks.refuse("layers of different depth must be told apart by the names in their weights' paths", lost[0])
    return rates


def depth_groups(model: keras.Model, count: int, *, head: str = "head") -> list[list[keras.layers.Layer]]:
    """Returns the layers with weights below the head in groups of about equal length, from the input up.

    Blocks, as their layers' names tell them (`stage2_block1_...`), are not cut. The layers of a model inside the model
    count each for itself.

    Args:
        model: a functional model.
        count: groups, 1 or more; fewer where there are fewer blocks.
        head: the name of the layer that answers.

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
    if head not in names:
        checks.refuse("head must name a layer of the model", head, f"The last one is {names[-1]!r}.")
    layers = [layer for layer in inside if layer.weights and layer.name != head]
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


def _layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """Returns the layers of a model, with those of a model inside it in its place."""
    return [
        each for layer in model.layers for each in (_layers_of(layer) if isinstance(layer, keras.Model) else [layer])
    ]


def _block(name: str) -> str:
    found = re.match(r"\w*?block\d+", name)
    return found.group() if found else re.sub(r"_(conv|bn|norm)$", "", name)


def _stages(
    groups: Sequence[Sequence], epochs: int, probe: float, gradual: bool
) -> Iterator[tuple[str, int, list[keras.layers.Layer]]]:
    """Yields the name of each stage, its epochs, and the layers below the head that learn."""
    first = min(epochs, round(epochs * probe))
    if first:
        yield "head", first, []
    left = epochs - first
    stages = min(left, len(groups)) if gradual else min(left, 1)
    for stage in range(stages):
        free = groups[len(groups) - 1 - stage :] if gradual and stage < stages - 1 else groups
        share = left * (stage + 1) // stages - left * stage // stages
        yield f"stage{stage + 1}", share, [layer for group in free for layer in group]


@contextmanager
def _only(model: keras.Model, free: Sequence[keras.layers.Layer], train_norms: bool) -> Iterator[None]:
    """Freezes all layers of a model but these, and its batch norms unless they are to learn."""
    # Outer layers first, since what is said of one holds for all inside.
    inside = {id(layer): [*layer._flatten_layers()] for layer in _layers_of(model)}
    before = [(layer, layer.trainable) for layers in inside.values() for layer in layers]
    wanted = {id(inner) for layer in free for inner in inside[id(layer)]}
    try:
        for layer, was in before:
            norm = isinstance(layer, keras.layers.BatchNormalization)
            layer.trainable = was and id(layer) in wanted and (train_norms or not norm)
        yield
    finally:
        for layer, was in before:
            layer.trainable = was
