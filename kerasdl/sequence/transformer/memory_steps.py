"""Halves of an encoder-decoder transformer: an encoder that runs once, and a step with cached keys and values.

Both are replays of the network's own graph. What depends on the source alone goes to the encoder: the memory, and its
keys and values for each block of the decoder. The rest becomes the step of one token; its self-attention reads what
earlier steps wrote to a cache.
"""

from dataclasses import dataclass
from typing import Any

import keras
from keras import layers

from kerasdl.core import checks
from kerasdl.core.keras_graph import replay
from kerasdl.layers import (
    ALiBi,
    CachePlaces,
    CacheWrite,
    DotProductAttention,
    LearnedPositions,
    PaddingMask,
    PositionalEncoding,
    RelativePositionBias,
    RotaryEmbedding,
    TanhGELU,
)

from ..rnn.carried_state import mixes_tokens, refuse_layer

POSITIONED = (PositionalEncoding, LearnedPositions, RotaryEmbedding)
BIASES = (RelativePositionBias, ALiBi)
AT_EACH_TOKEN = (
    *(layers.Embedding, layers.Dense, layers.Dropout, layers.Activation, layers.ReLU, layers.Identity, TanhGELU),
    *(layers.LayerNormalization, layers.RMSNormalization, layers.Rescaling, layers.Add, layers.Multiply),
)
"""Layers that compute each place by itself."""


@dataclass(eq=False)
class _Value:
    """Tensor of one of the halves."""

    tensor: Any
    is_of_step: bool
    origin: keras.Operation | None = None
    """The layer that gives it, None for an input."""
    arguments: tuple = ()
    """The values on which that was called."""


def encoder_and_cached_step(network: keras.Model, places: int) -> dict[str, keras.Model]:
    """Returns an encoder-decoder transformer as two models that share its weights, `encoder` and `step`.

    The encoder maps `source` (B, S) to keys and values of the memory by the names of their layers. The step takes
    these, the `source` for its padding, a `token` (B, 1), its `position` (B,), and of each self-attention LAYER the
    caches `LAYER_key` and `LAYER_value` (B, places, N, H), which begin with zeros. It gives `logits` (B, K) and
    `next_LAYER_key` and so on.

    Args:
        network: model from `{"source", "target"}` to logits, of attention and of layers that compute each place by
            itself.
        places: tokens that a sequence may have.

    Raises:
        ArgumentError: a layer is of another kind, or the network knows fewer positions.

    Example:
        >>> network = kerasdl.build("transformer_base", **kerasdl.spec("transformer_base").tiny)
        >>> encoder_and_cached_step(network, 5)["step"].output["logits"].shape
        (None, 20)
    """
    checks.at_least("places", places, 1)
    halves = _Halves({each.name: each for each in network.inputs}, places)
    logits = replay(network, [halves.first(each.name) for each in network.inputs], halves.substitute)
    if not isinstance(logits, _Value) or not logits.is_of_step:
        checks.refuse("a network of two halves must have one output that depends on its target", network.name)
    size = logits.tensor.shape[-1]
    outputs = {"logits": layers.Reshape((size,), dtype="float32", name="logits")(logits.tensor), **halves.following}
    return {
        "encoder": keras.Model(halves.source.tensor, halves.memory, name="encoder"),
        "step": keras.Model(halves.inputs, outputs, name="step"),
    }


class _Halves:
    """Inputs and outputs of both halves, found while the graph runs."""

    def __init__(self, inputs: dict[str, Any], places: int):
        length = inputs["source"].shape[1]
        self.source = _Value(keras.Input((length,), dtype="int32", name="source"), False)
        self.token = _Value(keras.Input((1,), dtype="int32", name="token"), True)
        self.position = keras.Input((), dtype="int32", name="position")
        self.inputs = {"token": self.token.tensor, "position": self.position}
        self.memory: dict[str, Any] = {}
        self.following: dict[str, Any] = {}
        self.places = places
        self.crossed: dict[int, Any] = {}
        self.column = layers.Reshape((1,), name="position_column")(self.position)  # (B, 1)
        self.numbers, self.seen = CachePlaces(places, name="cache_places")(self.position)

    def first(self, name: str) -> _Value:
        return self.source if name == "source" else self.token

    def substitute(self, operation: keras.Operation) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            values = [each for each in keras.tree.flatten((args, kwargs)) if isinstance(each, _Value)]
            if not any(each.is_of_step for each in values):
                given = operation(*_tensors(args), **_tensors(kwargs))
                return keras.tree.map_structure(lambda each: _Value(each, False, operation, tuple(values)), given)
            given = self.in_step(operation, args, kwargs)
            return keras.tree.map_structure(lambda each: _Value(each, True, operation), given)

        return call

    def in_step(self, operation: keras.Operation, args: tuple, kwargs: dict) -> Any:
        """Returns the outputs of a layer for one token."""
        if isinstance(operation, DotProductAttention):
            return self.attention(operation, args, kwargs)
        args, kwargs = keras.tree.map_structure(self.for_step, (args, kwargs))
        if isinstance(operation, POSITIONED):
            if isinstance(operation, LearnedPositions) and operation.positions < self.places:
                rule = f"a sequence must have at most {operation.positions} places, those of {operation.name!r}"
                checks.refuse(rule, self.places)
            return operation([args[0], self.column])
        if isinstance(operation, BIASES):
            return operation([self.column, self.numbers])
        keeps_places = isinstance(operation, layers.Reshape) and operation.target_shape[0] == -1
        if mixes_tokens(operation) or not (keeps_places or isinstance(operation, AT_EACH_TOKEN)):
            rule = "a step of a decoder needs layers that compute each token by itself, and causal attention"
            refuse_layer(rule, operation)
        return operation(*args, **kwargs)

    def attention(self, operation: DotProductAttention, args: tuple, kwargs: dict) -> Any:
        """Returns attention of one token to the memory, or to itself and the tokens before from the cache."""
        query, key, value = args[0]
        to_memory = not (key.is_of_step or value.is_of_step)
        mask = kwargs.get("key_mask")
        if operation.causal == to_memory or (not to_memory and mask is not None):
            rule = "attention of a decoder must be causal, without a mask of its own, or to the memory"
            checks.refuse(rule, operation.name)
        args, kwargs = keras.tree.map_structure(self.for_step, (args, kwargs))
        if to_memory:
            return operation(*args, **kwargs)
        query, *entries = args[0]
        caches = []
        for part, entry in zip(("key", "value"), entries, strict=True):
            name = f"{operation.name}_{part}"
            if name in self.inputs:
                checks.refuse("attention with a cache must be called once", operation.name, "Give each block its own.")
            cache = keras.Input((self.places, *entry.shape[2:]), dtype=entry.dtype, name=name)
            self.inputs[name] = cache
            caches.append(CacheWrite(name=f"next_{name}")([cache, entry, self.position]))
            self.following[f"next_{name}"] = caches[-1]
        alone = type(operation).from_config({**operation.get_config(), "causal": False})
        return alone([query, *caches], **{**kwargs, "key_mask": self.seen})

    def for_step(self, value: Any) -> Any:
        """Returns the tensor of the step for a value: its own, or an input that the encoder gives."""
        if not isinstance(value, _Value) or value.is_of_step:
            return value.tensor if isinstance(value, _Value) else value
        if id(value) not in self.crossed:
            self.crossed[id(value)] = self.crossing(value)
        return self.crossed[id(value)]

    def crossing(self, value: _Value) -> Any:
        if value is self.source:
            return self.inputs.setdefault("source", keras.Input(value.tensor.shape[1:], dtype="int32", name="source"))
        if isinstance(value.origin, PaddingMask):
            return value.origin(self.for_step(value.arguments[0]))
        name = value.origin.name
        if name in self.memory:
            checks.refuse("a layer that reads the source alone must give the decoder one tensor", name)
        self.memory[name] = value.tensor
        self.inputs[name] = keras.Input(value.tensor.shape[1:], dtype=value.tensor.dtype, name=name)
        return self.inputs[name]


def _tensors(values: Any) -> Any:
    return keras.tree.map_structure(lambda each: each.tensor if isinstance(each, _Value) else each, values)
