"""State of recurrent models between calls: a run that takes a state and returns the next one, and one step for export.

A state is a dict by layer of the tensors (B, units) that its cell carries: h, and c of an LSTM.
"""

from typing import Any, NoReturn

import keras
from keras import layers, ops

from kerasdl.core import checks
from kerasdl.core.keras_graph import replay
from kerasdl.layers import AdaptedWeights

State = dict[str, tuple[Any, ...]]
AT_EACH_TOKEN = (
    *(layers.Embedding, layers.Dense, layers.Dropout, layers.SpatialDropout1D, layers.GaussianDropout),
    *(layers.LayerNormalization, layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Add),
    *(layers.Multiply, layers.Concatenate, layers.Average, layers.TimeDistributed, layers.InputLayer),
)
"""Layers that compute each position by itself, beside the recurrent ones."""


def recurrent_layers(model: keras.Model) -> list[layers.RNN]:
    """Returns the recurrent layers of a model that can go on from a state, in the order of its graph.

    Raises:
        ArgumentError: it has none, or a layer computes a position from others in another way.
    """
    if len(model.inputs) != 1 or len(model.inputs[0].shape) != 2:
        shapes = [tuple(tensor.shape) for tensor in model.inputs]
        checks.refuse("a model with a carried state must take token ids (B, T) alone", shapes)
    for operation in model.operations:
        if isinstance(operation, layers.RNN):
            if operation.go_backwards or operation.stateful or not operation.return_sequences or operation.return_state:
                rule = (
                    "a recurrent layer with a carried state must return its sequence alone, forwards, without a state"
                )
                checks.refuse(rule, operation.name)
        elif not isinstance(operation, AT_EACH_TOKEN) or mixes_tokens(operation):
            rule = "a model with a carried state must compute each token from it and the state alone"
            refuse_layer(rule, operation)
    found = [each for each in model.operations if isinstance(each, layers.RNN)]
    if not found:
        checks.refuse("a model with a carried state must have a recurrent layer", model.name)
    return found


def mixes_tokens(layer: keras.Operation) -> bool:
    """Returns whether a norm or a concatenation runs along the places of its inputs (B, T, ...)."""
    if not isinstance(layer, (layers.LayerNormalization, layers.RMSNormalization, layers.Concatenate)):
        return False
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    ranks = {len(tensor.shape) for node in layer._inbound_nodes for tensor in node.input_tensors}  # no public name
    return any(axis % rank == 1 for axis in axes for rank in ranks)


def refuse_layer(rule: str, layer: keras.Operation) -> NoReturn:
    """Refuses a layer of a model that writes by its name and class, and says what to do where it has adapters."""
    hint = "Merge its adapters: kerasdl.sequence.merge_lora(model)." if isinstance(layer, AdaptedWeights) else ""
    checks.refuse(rule, f"{layer.name}, a {type(layer).__name__}", hint)


def state_names(layer: layers.RNN) -> tuple[str, ...]:
    """Returns the names of what a layer carries: h, and c of an LSTM.

    Raises:
        ArgumentError: the cell is none of Keras's three.
    """
    if not isinstance(layer, (layers.SimpleRNN, layers.LSTM, layers.GRU)):
        checks.refuse("a layer with a carried state must be SimpleRNN, LSTM or GRU", type(layer).__name__)
    return ("h", "c") if isinstance(layer, layers.LSTM) else ("h",)


def zero_state(model: keras.Model, batch: Any) -> State:
    """Returns the state before the first token of `batch` sequences."""
    return {
        layer.name: tuple(ops.zeros((batch, layer.units), layer.compute_dtype) for _ in state_names(layer))
        for layer in recurrent_layers(model)
    }


def run_with_state(model: keras.Model, tokens: Any, state: State, mask: Any = None) -> tuple[Any, State]:
    """Returns the outputs of a model over tokens (B, T) from a state, and the state behind them.

    Args:
        model: a model of `recurrent_layers`.
        tokens: (B, T) integers.
        state: the state before them.
        mask: (B, T) booleans; a token of False leaves the state as it is.
    """
    following: State = {}

    def substitute(operation: keras.Operation) -> Any:
        if not isinstance(operation, layers.RNN):
            return operation

        def run(sequences: Any, *_: Any, **__: Any) -> Any:
            outputs, *states = _with_states(operation, sequences, state[operation.name], mask)
            following[operation.name] = tuple(states)
            return outputs[:]  # a new tensor, without the mask that layers behind it would lose with a warning

        return run

    return replay(model, [tokens], substitute), following


def _with_states(layer: layers.RNN, sequences: Any, initial: tuple, mask: Any) -> list:
    """Calls a layer so that it returns its states too, and takes a single step without a loop."""
    before = layer.return_state, layer.unroll
    layer.return_state, layer.unroll = True, layer.unroll or sequences.shape[1] == 1
    try:
        return layer(sequences, initial_state=list(initial), mask=mask)
    finally:
        layer.return_state, layer.unroll = before


def streaming_step(model: keras.Model) -> keras.Model:
    """Returns one step of a recurrent model as a model of its own: a token and a state in, logits and a state out.

    The inputs are `token` (B, 1) and, for each recurrent layer, `LAYER_h` and, of an LSTM, `LAYER_c` (B, units), which
    begin with zeros. The outputs are `logits` (B, V), and `next_LAYER_h` and so on, which the next call takes. The
    recurrent layers are copies; other layers are shared.

    Args:
        model: a model of `recurrent_layers`, such as `lstm_language_model`.

    Raises:
        ArgumentError: the model is of another kind.

    Example:
        >>> network = kerasdl.build("gru_language_model", length=None, vocabulary=9, embedding=4, units=4, depth=1)
        >>> {name: tuple(tensor.shape) for name, tensor in streaming_step(network).output.items()}
        {'logits': (None, 9), 'next_gru1_h': (None, 4)}
    """
    token = keras.Input((1,), dtype="int32", name="token")
    inputs, following = {"token": token}, {}
    recurrent_layers(model)

    def substitute(operation: keras.Operation) -> Any:
        if not isinstance(operation, layers.RNN):
            return operation
        names = [f"{operation.name}_{each}" for each in state_names(operation)]
        own = {name: keras.Input((operation.units,), name=name) for name in names}
        copy = type(operation).from_config({**operation.get_config(), "return_state": True, "unroll": True})

        def run(sequences: Any, *_: Any, **__: Any) -> Any:
            outputs, *states = copy(sequences, initial_state=list(own.values()))
            copy.set_weights(operation.get_weights())
            inputs.update(own)
            for name, each in zip(names, states, strict=True):
                following[f"next_{name}"] = layers.Identity(name=f"next_{name}")(each)
            return outputs

        return run

    logits = replay(model, [token], substitute)
    logits = layers.Reshape((logits.shape[-1],), dtype="float32", name="logits")(logits)
    return keras.Model(inputs, {"logits": logits, **following}, name=f"{model.name}_step")
