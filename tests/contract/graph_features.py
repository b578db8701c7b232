"""Features of a net's graph on which converters depend, as short texts: layers by configuration, edges, joins, sizes.

Left out is what no converter looks at: names, numbers of channels, initialisers, rates of dropout. Of other whole
numbers stands whether they are -1, 0, 1, odd or even; of strides and dilations the number itself. A setting that is not
known here counts in full: rather one net too many in the cover than one too few.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import keras

LEFT_OUT = {
    *("name", "trainable", "dtype", "autocast", "batch_shape", "quantization_config", "seed", "initial", "momentum"),
    *("filters", "units", "num_heads", "key_dim", "value_dim", "input_dim", "output_dim", "output_size"),
    *("rate", "dropout", "recurrent_dropout", "renorm", "renorm_clipping", "renorm_momentum", "synchronized"),
}
INITIAL = ("_initializer", "_regularizer", "_constraint")
EXACT = ("strides", "dilation_rate", "axis", "axes", "attention_axes", "dims", "padding_id")
# Between two operations converters fold these into their neighbours, in one order and not in the other.
FOLDED = ("BatchNormalization", "Activation", "ReLU", "LeakyReLU", "PReLU", "ZeroPadding2D", "Reshape")
DEPTHS = (0, 10, 30, 100)


def features_of(model: keras.Model) -> set[str]:
    """Returns the features of a functional model without nested models."""
    nodes = [node for depth in model._nodes_by_depth.values() for node in depth]  # Keras has no public name for it
    makers = {id(tensor): node for node in nodes for tensor in node.output_tensors}
    readers = defaultdict(list)
    for node in nodes:
        for tensor in node.input_tensors:
            readers[id(tensor)].append(node)
    found = set(_of_model(model))
    for node in nodes:
        if isinstance(node.operation, keras.layers.InputLayer):
            continue
        found |= {*_of_layer(node), *_of_sizes(node), *_of_inputs(node, makers)}
    given = {id(tensor) for tensor in model.outputs}
    for node in nodes:
        found |= {*_of_readers(node, readers, given)}
    calls = Counter(node.operation for node in nodes)
    found |= {f"calls: {_kind(each)} {_band(count)} times" for each, count in calls.items() if count > 1}
    return found


def _of_model(model: keras.Model) -> Iterator[str]:
    yield f"model: {_band(len(model.inputs))} inputs, {_band(len(model.outputs))} outputs"
    yield f"model: at least {max(each for each in DEPTHS if each <= len(model._nodes_by_depth))} operations deep"
    for tensor in model.inputs:
        free = [axis for axis, size in enumerate(tensor.shape) if size is None]
        yield f"model: input of rank {len(tensor.shape)}, {tensor.dtype}, free axes {free}"


def _of_layer(node: Any) -> Iterator[str]:
    inputs = node.input_tensors
    ranks = sorted({f"{len(each.shape)} {each.dtype}" for each in inputs})
    yield f"layer: {_kind(node.operation)}({_settings(node.operation, inputs[0])}) on rank {', '.join(ranks)}"
    for name, value in node.arguments.kwargs.items():
        if value is not None and name != "training":
            yield f"layer: {_kind(node.operation)} called with {name}"


def _of_sizes(node: Any) -> Iterator[str]:
    """Yields the features that padding depends on: sizes modulo the stride or the number of windows."""
    config, inputs = node.operation.get_config(), node.input_tensors[0]
    steps = config.get("output_size", config.get("strides", config.get("window")))
    steps = [steps] * (len(inputs.shape) - 2) if isinstance(steps, int) else steps
    if not steps or set(steps) == {1}:
        return
    rest = [size if size is None else size % step for size, step in zip(inputs.shape[1:], steps, strict=False)]
    window = _form(config.get("kernel_size", config.get("pool_size")))
    form = f"window {window}, strides {steps}, padding {config['padding']}" if window else "parts"
    yield f"sizes: {type(node.operation).__name__} {form} on sizes modulo stride {rest}"


def _of_inputs(node: Any, makers: dict) -> Iterator[str]:
    kinds = [_kind(makers[id(each)].operation) for each in node.input_tensors]
    for kind in kinds:
        yield f"edge: {kind} > {_kind(node.operation)}"
    if len(kinds) > 1:
        yield f"join: {_kind(node.operation)} of {' and '.join(sorted(set(kinds)))}"
        form = _broadcasting([each.shape for each in node.input_tensors])
        yield f"join: {_kind(node.operation)} of {_band(len(kinds))} {form}"


def _broadcasting(shapes: list[tuple]) -> str:
    ranks = [len(shape) for shape in shapes]
    if len(set(ranks)) > 1:
        return f"of ranks {ranks}"
    spread = [[axis for axis, size in enumerate(shape) if size == 1] for shape in shapes]
    return "of one shape" if len({*map(str, spread)}) == 1 else f"of sizes 1 along {spread}"


def _of_readers(node: Any, readers: dict, given: set[int]) -> Iterator[str]:
    for tensor in node.output_tensors:
        behind = readers[id(tensor)]
        also = " and by the outputs" if behind and id(tensor) in given else ""
        if len(behind) > 1 or also:
            yield f"fan-out: {_kind(node.operation)} read by {_band(len(behind))}{also}"
        chain = [node, *_sole_readers(tensor, readers, given)]
        for length in range(3, len(chain) + 1):
            yield f"chain: {' > '.join(_kind(each.operation) for each in chain[:length])}"


def _sole_readers(tensor: Any, readers: dict, given: set[int]) -> Iterator[Any]:
    """Yields what alone reads a tensor, what alone reads that, and so on through two of what is folded."""
    for _ in range(3):
        behind = readers[id(tensor)]
        if len(behind) != 1 or id(tensor) in given:
            return
        yield behind[0]
        if type(behind[0].operation).__name__ not in FOLDED:
            return
        tensor = behind[0].output_tensors[0]


def _kind(operation: keras.Operation) -> str:
    """The class, and what of an activation."""
    name = type(operation).__name__
    config = operation.get_config() if isinstance(operation, (keras.layers.Activation, keras.layers.ReLU)) else {}
    function = getattr(operation, "activation", None)
    if function is not None and keras.activations.serialize(function) != "linear":
        return f"{name}[{keras.activations.serialize(function)}]"
    return f"{name}[{config['max_value']}]" if config.get("max_value") else name


def _settings(operation: keras.Operation, inputs: Any) -> str:
    parts = []
    for key, value in sorted(_config(operation).items()):
        if key == "groups" and value > 1:
            value = "every channel" if value == inputs.shape[-1] else "some"
        elif key == "axis":
            value = _axis(value, len(inputs.shape))
        elif not key.startswith(EXACT):
            value = _form(value)
        parts.append(f"{key}={value}")
    return ", ".join(parts)


def _config(operation: keras.Operation) -> dict[str, Any]:
    return {
        key: value
        for key, value in operation.get_config().items()
        if key not in LEFT_OUT and not key.endswith(INITIAL) and (key, value) != ("data_format", "channels_last")
    }


def _axis(axis: Any, rank: int) -> Any:
    if isinstance(axis, (list, tuple)):
        return [_axis(each, rank) for each in axis]
    return axis if axis is None or axis < 0 else axis - rank


def _form(value: Any) -> Any:
    """Returns a setting without its size."""
    if isinstance(value, dict) and "class_name" in value:  # a layer within a layer
        inner = keras.saving.deserialize_keras_object(value)
        inner = inner if isinstance(inner, keras.Layer) else None
        return f"{_kind(inner)}({_form(_config(inner))})" if inner else value["class_name"]
    if isinstance(value, dict):
        return {key: _form(each) for key, each in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [_form(each) for each in value]
    if isinstance(value, int) and not isinstance(value, bool) and value not in (-1, 0, 1):
        return "odd" if value % 2 else "even"
    return value


def _band(count: int) -> str:
    return str(count) if count < 4 else "4 or more"
