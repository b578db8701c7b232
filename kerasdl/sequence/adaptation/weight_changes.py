"""Low-rank adaptation and its kin as tables of weight changes: LoRA, DoRA, BitFit, (IA)3; merging, choice of adapters.

Each returns a flat functional model in which `AdaptedWeights` stand in the place of the tuned layers, by their names.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks
from kerasdl.core.keras_graph import flattened
from kerasdl.layers import AdaptedWeights
from kerasdl.layers.tuning.adapted_weights import column_norms, weights_by_name

from .graph_roles import (
    Kernel,
    attention_places,
    hidden_dense,
    inside,
    matching,
    perceptron_ends,
    plain_graph,
    tunable_kernels,
)

Changes = Mapping[str, Mapping[str, Mapping[str, Any]]]
Patterns = str | Sequence[str]
PLACE = "place to tune"


def lora(
    model: keras.Model,
    rank: int = 8,
    *,
    targets: Patterns | None = None,
    alpha: float = 16.0,
    trained: Patterns = (),
    name: str = "default",
    seed: int = 0,
) -> keras.Model:
    """Low-rank adaptation: returns a copy of a model whose kernels W are frozen and become W + alpha / rank * A B.

    A is random and B zero, so that the copy computes what the model computes until it is trained. Everything else is
    frozen too: batch norms keep their statistics. A model that has adapters gets one more, which is the active one.

    Source: https://arxiv.org/abs/2106.09685, sections 4.1 and 4.2 (queries and values).

    Args:
        model: a functional or Sequential model, built; it stays as it is.
        rank: columns of A, from 1 to the smaller side of each kernel.
        targets: places to tune, names or patterns such as `*_query`: layers by name, projections inside an attention
            layer as `LAYER/query`. None takes queries and values of all attention, and in a model without attention all
            dense layers but the outputs.
        alpha: scale, divided by the rank.
        trained: names or patterns of layers that learn as a whole, such as a new `head`.
        name: name of the adapter.
        seed: seed of A.

    Returns:
        A model that shares no weight with the given one.

    Raises:
        ArgumentError: an argument breaks its range, the model has no place to tune, or an adapter of that name.
        UnknownNameError: a pattern matches no place or layer.

    Example:
        >>> tuned = lora(kerasdl.build("mlp", features=4), rank=2, trained="head")
        >>> [weight.path for weight in tuned.trainable_weights][:2]
        ['hidden1/default_kernel_a', 'hidden1/default_kernel_b']
    """
    return _low_rank(model, rank, targets, alpha, trained, name, seed, magnitude=False)


def dora(
    model: keras.Model,
    rank: int = 8,
    *,
    targets: Patterns | None = None,
    alpha: float = 16.0,
    trained: Patterns = (),
    name: str = "default",
    seed: int = 0,
) -> keras.Model:
    """Weight-decomposed low-rank adaptation: as `lora`, and the norm of each kernel's column is learned apart.

    Source: https://arxiv.org/abs/2402.09353, equation 5; the norm in the denominator is a constant for the gradient, as
    in section 4.3.

    Args:
        model: as in `lora`, like the arguments below.
        rank: as there.
        targets: as there.
        alpha: as there.
        trained: as there.
        name: as there.
        seed: as there.

    Returns:
        A model that shares no weight with the given one.

    Raises:
        ArgumentError: as in `lora`.
        UnknownNameError: as in `lora`.

    Example:
        >>> tuned = dora(kerasdl.build("mlp", features=4), rank=2)
        >>> tuned.trainable_weights[2].name
        'default_kernel_magnitude'
    """
    return _low_rank(model, rank, targets, alpha, trained, name, seed, magnitude=True)


def _low_rank(
    model: keras.Model,
    rank: int,
    targets: Patterns | None,
    alpha: float,
    trained: Patterns,
    name: str,
    seed: int,
    magnitude: bool,
) -> keras.Model:
    checks.at_least("rank", rank, 1)
    checks.at_least("seed", seed, 0)
    alpha = checks.within("alpha", alpha, 1e-6, 1e6)
    model = plain_graph(model)
    kernels = tunable_kernels(model)
    if targets is None:
        targets = attention_places(model, ("query", "value")) or hidden_dense(model)
        if not targets:
            hint = (
                f"Pass targets=, of {[*kernels][:3]} and so on." if kernels else "It has no kernel that can be tuned."
            )
            checks.refuse("a model tuned by default must have attention or hidden dense layers", model.name, hint)
    changes: dict[str, dict] = {}
    for place in matching(PLACE, targets, kernels):
        change = {"kind": "low_rank", "rank": rank, "alpha": alpha, "inputs": [*kernels[place].inputs]}
        changes.setdefault(kernels[place].layer, {})[kernels[place].weight] = change | (
            {"magnitude": True} if magnitude else {}
        )
    return with_changes(model, name, changes, trained, seed)


def bitfit(
    model: keras.Model, *, targets: Patterns | None = None, trained: Patterns = (), name: str = "default"
) -> keras.Model:
    """Bias tuning: returns a copy of a model in which the biases alone learn, those of norms included.

    What is learnt is added to the biases, so that it is saved apart and chosen by name as other adapters are.

    Source: BitFit, https://arxiv.org/abs/2106.10199, section 2.

    Args:
        model: as in `lora`, like the arguments below.
        targets: names or patterns of layers; None takes all that have a bias.
        trained: as there.
        name: as there.

    Returns:
        A model that shares no weight with the given one.

    Raises:
        ArgumentError: no layer has a bias, or the model has an adapter of that name.
        UnknownNameError: a pattern matches no layer with a bias.

    Example:
        >>> [weight.name for weight in bitfit(kerasdl.build("mlp", features=4)).trainable_weights][0]
        'default_bias_shift'
    """
    model = plain_graph(model)
    whole = layers_named(model, trained)
    biases = {}
    for layer in model.layers:
        names = [each for each in weights_by_name(inside(layer)) if each.rpartition("/")[2].split("_")[-1] in BIASES]
        if names and layer.name not in whole:
            biases[layer.name] = {each: {"kind": "shift"} for each in names}
    found = matching("layer with a bias", "*" if targets is None else targets, biases)
    return with_changes(model, name, {layer: biases[layer] for layer in found}, trained)


BIASES = ("bias", "beta")


def ia3(
    model: keras.Model,
    *,
    outputs: Patterns | None = None,
    inputs: Patterns | None = None,
    trained: Patterns = (),
    name: str = "default",
) -> keras.Model:
    """Learned factors: returns a copy of a model that scales keys, values and the hidden layers of its perceptrons.

    Factors are one at first. A factor of what a kernel reads scales its rows, one of what it writes columns and bias.

    Source: (IA)3, https://arxiv.org/abs/2205.05638, section 3.3.

    Args:
        model: as in `lora`, like the arguments below.
        outputs: places, as targets there, whose outputs before the activation are scaled; None takes the keys and
            values of all attention.
        inputs: places whose inputs are scaled; None takes the dense layers that end a residual branch behind no
            attention, the second of each perceptron.
        trained: as there.
        name: as there.

    Returns:
        A model that shares no weight with the given one.

    Raises:
        ArgumentError: the model has no such place, or an adapter of that name.
        UnknownNameError: a pattern matches no place or layer.

    Example:
        >>> tuned = ia3(kerasdl.build("mlp", features=4), outputs="hidden1", inputs=[])
        >>> tuned.trainable_weights[0].name
        'default_kernel_factor'
    """
    model = plain_graph(model)
    kernels = tunable_kernels(model)
    outputs = attention_places(model, ("key", "value")) if outputs is None else outputs
    inputs = perceptron_ends(model) if inputs is None else inputs
    if not outputs and not inputs:
        checks.refuse("the model must have attention or residual perceptrons", model.name, "Pass outputs= or inputs=.")
    scaled = matching(PLACE, outputs, kernels) if outputs else []
    read = matching(PLACE, inputs, kernels) if inputs else []
    if {*scaled} & {*read}:
        checks.refuse("a place must be in outputs or in inputs", sorted({*scaled} & {*read}))
    changes: dict[str, dict] = {}
    for place in [*scaled, *read]:
        changes.setdefault(kernels[place].layer, {}).update(_factors(kernels[place], place in read))
    return with_changes(model, name, changes, trained)


def _factors(kernel: Kernel, of_inputs: bool) -> dict[str, dict[str, Any]]:
    rows = [*kernel.inputs]
    if of_inputs:
        return {kernel.weight: {"kind": "factor", "axes": rows, "vector": kernel.weight}}
    columns = [axis for axis in range(kernel.rank) if axis not in rows]
    found = {kernel.weight: {"kind": "factor", "axes": columns, "vector": kernel.weight}}
    if kernel.bias:
        found[kernel.bias] = {"kind": "factor", "axes": [*range(len(columns))], "vector": kernel.weight}
    return found


def with_changes(model: keras.Model, name: str, changes: Changes, trained: Patterns = (), seed: int = 0) -> keras.Model:
    """Returns a copy of a model with one more adapter, which is active; all but it and `trained` is frozen.

    Args:
        model: without nested models.
        name: name of the adapter.
        changes: `{layer: {weight: change}}`, as `AdaptedWeights` takes them.
        trained: names or patterns of layers that learn as a whole.
        seed: seed of random parts.

    Raises:
        ArgumentError: the model has an adapter of that name, a layer is in both, or a change does not fit.
        UnknownNameError: a pattern of `trained` matches no layer.
    """
    if not isinstance(name, str) or not name or "/" in name:
        checks.refuse("the name of an adapter must be a text without '/'", name)
    if name in adapter_names(model):
        checks.refuse("an adapter must have a name of its own", name, f"There are {adapter_names(model)}; pass name=.")
    whole = layers_named(model, trained)
    if whole & set(changes):
        checks.refuse("a layer must be tuned or trained as a whole", sorted(whole & set(changes)), "Narrow targets=.")
    adapted: dict[str, AdaptedWeights] = {}
    places = {layer: number for number, layer in enumerate(changes)}

    def around(layer: keras.layers.Layer, copy: keras.layers.Layer) -> keras.layers.Layer:
        copy.trainable = layer.name in whole
        if layer.name not in changes and not isinstance(layer, AdaptedWeights):
            return copy
        before = copy.changes if isinstance(copy, AdaptedWeights) else {}
        table = {**before, name: changes[layer.name]} if layer.name in changes else before
        shapes = copy.shapes if isinstance(copy, AdaptedWeights) else layer.get_build_config()
        own_seed = seed + 1000 * places.get(layer.name, 0)
        adapted[layer.name] = AdaptedWeights(inside(copy), table, name, shapes=shapes, seed=own_seed)
        return adapted[layer.name]

    copy = flattened(model, around)
    for layer in model.layers:
        if isinstance(layer, AdaptedWeights):
            for part, variable in layer.parts.items():
                adapted[layer.name].parts[part].assign(variable)
    for layer, table in changes.items():
        weights = adapted[layer].inner_weights()
        for weight, change in table.items():
            if change.get("magnitude"):
                norms = column_norms(weights[weight].value, [*change["inputs"]])
                adapted[layer].part(name, weight, "magnitude").assign(np.ravel(norms))
    return copy


def layers_named(model: keras.Model, patterns: Patterns) -> set[str]:
    """Returns the names of the layers with weights that match."""
    names = [layer.name for layer in model.layers if layer.weights]
    return set(matching("layer with weights", patterns, names)) if patterns else set()


def adapted_layers(model: keras.Model) -> list[AdaptedWeights]:
    """Returns the layers of a model whose weights have changes."""
    return [layer for layer in model.layers if isinstance(layer, AdaptedWeights)]


def adapter_names(model: keras.Model) -> list[str]:
    """Returns the names of the adapters in a model, in the order in which they came.

    Example:
        >>> adapter_names(lora(kerasdl.build("mlp", features=4), 2, name="german"))
        ['german']
    """
    return list(dict.fromkeys(name for layer in adapted_layers(model) for name in layer.changes))


def use_adapter(model: keras.Model, name: str | None) -> keras.Model:
    """Makes one adapter of a model count and learn, in place.

    Args:
        model: a model with adapters.
        name: name of the adapter; None switches all off, so that the model computes what it computed before.

    Returns:
        The model.

    Raises:
        UnknownNameError: the model has no adapter of that name.

    Example:
        >>> tuned = lora(kerasdl.build("mlp", features=4), 2, name="german")
        >>> len(use_adapter(tuned, None).trainable_weights)
        0
    """
    if name is not None:
        checks.known_name("adapter", name, adapter_names(model))
    for layer in adapted_layers(model):
        layer.activate(name)
    # Functions traced with another adapter would compute that one.
    model.train_function = model.test_function = model.predict_function = None
    return model


def merge_lora(model: keras.Model) -> keras.Model:
    """Returns a model of plain layers, in which the active adapter's changes are written into the weights.

    Of every kind of change: LoRA, DoRA, BitFit and (IA)3. Layers, names and shapes are those of the model before it was
    adapted, so that it exports, quantises and prunes as that; all its layers learn. Other adapters are left out.

    Args:
        model: a model with adapters; it stays as it is.

    Raises:
        ArgumentError: the model has no adapter, or none is active.

    Example:
        >>> tuned = lora(kerasdl.build("mlp", features=4), rank=2)
        >>> type(merge_lora(tuned).get_layer("hidden1")).__name__
        'Dense'
    """
    layers = adapted_layers(model)
    if not any(layer.active in layer.changes for layer in layers):
        hint = "Choose one by use_adapter(model, name)." if layers else "lora(model) makes one."
        checks.refuse("a model that is merged must have an active adapter", model.name, hint)

    def around(layer: keras.layers.Layer, copy: keras.layers.Layer) -> keras.layers.Layer:
        plain = inside(copy)
        plain.trainable = True
        return plain

    merged = flattened(model, around)
    for layer in layers:
        weights = weights_by_name(merged.get_layer(layer.name))
        for name, value in layer.effective_weights().items():
            weights[name].assign(value)
    return merged


def trainable_share(model: keras.Model) -> float:
    """Returns the share of the weights of a model that learn, from 0 to 1; other adapters than the active one count.

    Example:
        >>> 0 < trainable_share(lora(kerasdl.build("mlp", features=4), rank=2)) < 0.2
        True
    """
    learn = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    return learn / max(1, model.count_params())
