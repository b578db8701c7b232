"""Prefix tuning and prompt tuning: learned keys and values, or learned tokens, before those of the input.

Deviations: prefixes are learnt as they are, without the perceptron of the paper's section 4.3. In a layer that holds
its projections (`MultiHeadAttention`) they stand before the projection of keys and of values.
"""

from collections.abc import Callable
from typing import Any

import keras

from kerasdl.core import checks
from kerasdl.core.keras_graph import flattened
from kerasdl.layers import DotProductAttention, LearnedPrefix, PrefixPadding

from .bottlenecks import refuse_twice
from .graph_roles import WHOLE_ATTENTION, inside, matching, plain_graph
from .weight_changes import Patterns, layers_named

CAUSAL = "a causal MultiHeadAttention hides a prefix from the first places"


def prefix_tuning(
    model: keras.Model,
    length: int = 16,
    *,
    targets: Patterns | None = None,
    trained: Patterns = (),
    name: str = "prefix",
    seed: int = 0,
) -> keras.Model:
    """Prefix tuning: returns a copy of a frozen model whose attentions see learned keys and values before all others.

    Unlike other methods this changes what the model computes from the start: an untrained prefix takes a part of the
    attention. Masks and biases get places for the prefix, which is always seen.

    Source: https://arxiv.org/abs/2101.00190, section 4.2.

    Args:
        model: a functional or Sequential model with `DotProductAttention`, `MultiHeadAttention` or
            `GroupQueryAttention`, built; it stays as it is.
        length: keys of each prefix, 1 or more.
        targets: names or patterns of attention layers; None takes all.
        trained: names or patterns of layers that learn as a whole, such as a new `head`.
        name: part of the names of the new layers; a second call needs another.
        seed: seed of the prefixes.

    Returns:
        A model that shares no weight with the given one.

    Raises:
        ArgumentError: the model has no attention that takes a prefix, or one is a causal `MultiHeadAttention`.
        UnknownNameError: a pattern matches no such layer.

    Example:
        >>> tokens = keras.Input((10, 8))
        >>> net = keras.Model(tokens, keras.layers.MultiHeadAttention(2, 4, name="attention")(tokens, tokens))
        >>> [weight.path for weight in prefix_tuning(net, 4).trainable_weights]
        ['attention_prefix_value/prefix', 'attention_prefix_key/prefix']
    """
    checks.at_least("length", length, 1)
    model = plain_graph(model)
    kinds = (DotProductAttention, *WHOLE_ATTENTION)
    names = [layer.name for layer in model.layers if isinstance(inside(layer), kinds)]
    found = matching("attention that takes a prefix", "*" if targets is None else targets, names)
    refuse_twice(model, [f"{each}_{name}_{part}" for each in found for part in ("key", "value", "mask", "bias")])
    whole = layers_named(model, trained)

    def around(layer: keras.layers.Layer, copy: keras.layers.Layer) -> Any:
        copy.trainable = layer.name in whole
        if layer.name not in found:
            return copy
        new = _PrefixLayers(f"{layer.name}_{name}", length, seed + 2 * found.index(layer.name))
        return new.before_heads(copy) if isinstance(layer, DotProductAttention) else new.before_projections(copy)

    return flattened(model, around)


class _PrefixLayers:
    """New layers of one attention: prefixes of keys and values, paddings of masks and bias, each made once."""

    def __init__(self, name: str, length: int, seed: int):
        self.key = LearnedPrefix(length, seed=seed, name=f"{name}_key")
        self.value = LearnedPrefix(length, seed=seed + 1, name=f"{name}_value")
        self.mask = PrefixPadding(length, name=f"{name}_mask")
        self.bias = PrefixPadding(length, 0, name=f"{name}_bias")

    def before_heads(self, attention: keras.layers.Layer) -> Callable[..., Any]:
        """Returns the call of an attention whose keys and values have heads."""

        def call(inputs: list, key_mask: Any = None, bias: Any = None, **kwargs: Any) -> Any:
            query, key, value = inputs
            if key_mask is not None:
                kwargs["key_mask"] = self.mask(key_mask)
            if bias is not None:
                kwargs["bias"] = self.bias(bias)
            return attention([query, self.key(key), self.value(value)], **kwargs)

        return call

    def before_projections(self, attention: keras.layers.Layer) -> Callable[..., Any]:
        """Returns the call of an attention that projects keys and values itself."""

        def call(query: Any, value: Any, key: Any = None, **kwargs: Any) -> Any:
            if kwargs.get("use_causal_mask"):
                checks.refuse(CAUSAL, attention.name, "Narrow targets=, or build the net of DotProductAttention.")
            given = {name: mask for name, mask in kwargs.items() if name.endswith("_mask") and mask is not None}
            for name in ("attention_mask", "key_mask", "value_mask"):
                if name in given:
                    kwargs[name] = self.mask(given[name])
            return attention(query, self.value(value), key=self.key(value if key is None else key), **kwargs)

        return call
