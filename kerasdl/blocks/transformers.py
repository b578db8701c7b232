"""Blocks of transformers over sequences: encoder block and decoder block (https://arxiv.org/abs/1706.03762, figure 1).

Norm placement, kind of norm, activation, positions and masks are arguments; the table of a paper is a dict of them.
Projections are dense layers around `DotProductAttention`, so that quantisation, pruning and low-rank tuning reach them.

Deviations: attention weights are not dropped in training.
"""

from functools import partial
from typing import Any

from keras import activations, layers

from kerasdl.core import checks
from kerasdl.layers import DotProductAttention, TanhGELU

NORMS = {"layer": layers.LayerNormalization, "rms": layers.RMSNormalization}
PLACES = ("before", "after")


def encoder_block(
    x,
    heads: int,
    *,
    hidden: int,
    norm: str = "after",
    normalisation: str = "layer",
    epsilon: float = 1e-6,
    activation: str = "relu",
    gated: bool = False,
    use_bias: bool = True,
    query_bias: bool | None = None,
    shared_heads: int | None = None,
    size: int | None = None,
    scale: float | None = None,
    causal: bool = False,
    key_mask=None,
    bias=None,
    rotary: layers.Layer | None = None,
    dropout: float = 0.0,
    name: str,
):
    """Encoder block of a transformer: self-attention and a perceptron, each with a shortcut and a norm.

    With `causal=True` it is the block of GPT: a decoder's without memory.

    Source: https://arxiv.org/abs/1706.03762, section 3.1; `norm="before"`: https://arxiv.org/abs/2002.04745, figure 1;
    `gated`: https://arxiv.org/abs/2002.05202, equation 6; `shared_heads`: https://arxiv.org/abs/2305.13245.

    Args:
        x: (B, T, D).
        heads: N, attention heads.
        hidden: width of the perceptron's hidden layer.
        norm: `after` normalises each sum, as the first transformer and BERT; `before` each branch's input, as GPT-2.
        normalisation: `layer`, or `rms` without mean and offset.
        epsilon: epsilon of the norms.
        activation: of the perceptron: a Keras name, or `gelu_tanh`, the approximation of GPT-2.
        gated: whether the activation acts on a second projection, a factor of the first, as in SwiGLU.
        use_bias: whether dense layers have biases.
        query_bias: the same of queries, keys and values; None takes `use_bias`.
        shared_heads: heads of keys and values, each for a group of the queries' heads; None takes `heads`.
        size: H, width of a head; None takes D / N.
        scale: factor of the scores; None takes 1 / sqrt(H).
        causal: whether a place sees itself and those before alone.
        key_mask: (B, T) booleans of the places that are seen, or None.
        bias: (B or 1, N, T, T) floats that are added to the scores, such as those of `RelativePositionBias`, or None.
        rotary: a layer for queries and keys, such as `RotaryEmbedding`, or None.
        dropout: rate of each branch's output, from 0 to 1.
        name: prefix of the layer names.

    Returns:
        (B, T, D).

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> encoder_block(keras.Input((20, 64)), 4, hidden=256, activation="gelu", name="block1").shape
        (None, 20, 64)
    """
    form = dict(norm=norm, normalisation=normalisation, epsilon=epsilon, dropout=dropout)
    query_bias = use_bias if query_bias is None else query_bias
    projections = dict(shared_heads=shared_heads, size=size, scale=scale, use_bias=use_bias, query_bias=query_bias)
    seen = dict(causal=causal, key_mask=key_mask, bias=bias, rotary=rotary)
    perceptron = dict(hidden=hidden, activation=activation, gated=gated, use_bias=use_bias)
    x = _branch(
        x,
        lambda y, name: multi_head_attention(y, y, heads, **projections, **seen, name=name),
        f"{name}_attention",
        form,
    )
    return _branch(x, lambda y, name: feed_forward(y, **perceptron, name=name), f"{name}_mlp", form)


def decoder_block(
    x,
    memory,
    heads: int,
    *,
    hidden: int,
    norm: str = "after",
    normalisation: str = "layer",
    epsilon: float = 1e-6,
    activation: str = "relu",
    gated: bool = False,
    use_bias: bool = True,
    size: int | None = None,
    scale: float | None = None,
    key_mask=None,
    memory_mask=None,
    bias=None,
    rotary: layers.Layer | None = None,
    dropout: float = 0.0,
    name: str,
):
    """Decoder block of a transformer: causal self-attention, attention to a memory, and a perceptron.

    Source: https://arxiv.org/abs/1706.03762, section 3.1.

    Args:
        x: (B, T, D).
        memory: (B, S, E), the encoder's output.
        heads: as in `encoder_block`, like the arguments not named here.
        hidden: as there.
        norm: as there.
        normalisation: as there.
        epsilon: as there.
        activation: as there.
        gated: as there.
        use_bias: as there.
        size: as there.
        scale: as there.
        key_mask: (B, T) booleans of the places of `x` that are seen, or None.
        memory_mask: (B, S) booleans of the places of the memory that are seen, or None.
        bias: of the scores of self-attention, as there.
        rotary: of self-attention, as there.
        dropout: as there.
        name: prefix of the layer names.

    Returns:
        (B, T, D).

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> decoder_block(keras.Input((9, 64)), keras.Input((20, 64)), 4, hidden=256, name="block1").shape
        (None, 9, 64)
    """
    form = dict(norm=norm, normalisation=normalisation, epsilon=epsilon, dropout=dropout)
    projections = dict(size=size, scale=scale, use_bias=use_bias)
    seen = dict(causal=True, key_mask=key_mask, bias=bias, rotary=rotary)
    perceptron = dict(hidden=hidden, activation=activation, gated=gated, use_bias=use_bias)
    x = _branch(
        x,
        lambda y, name: multi_head_attention(y, y, heads, **projections, **seen, name=name),
        f"{name}_attention",
        form,
    )
    remembered = dict(projections, key_mask=memory_mask)
    x = _branch(
        x, lambda y, name: multi_head_attention(y, memory, heads, **remembered, name=name), f"{name}_memory", form
    )
    return _branch(x, lambda y, name: feed_forward(y, **perceptron, name=name), f"{name}_mlp", form)


def multi_head_attention(
    x,
    memory,
    heads: int,
    *,
    shared_heads: int | None = None,
    size: int | None = None,
    scale: float | None = None,
    use_bias: bool = True,
    query_bias: bool | None = None,
    causal: bool = False,
    key_mask=None,
    bias=None,
    rotary: layers.Layer | None = None,
    name: str,
):
    """Multi-head attention of `x` to a memory, with its four projections; self-attention where both are one.

    Source: https://arxiv.org/abs/1706.03762, section 3.2.2.

    Args:
        x: (B, T, D).
        memory: (B, S, E).
        heads: N, as in `encoder_block`, like the arguments not named here.
        shared_heads: as there.
        size: as there.
        scale: as there.
        use_bias: whether the output's projection has a bias.
        query_bias: the same of queries, keys and values; None takes `use_bias`.
        causal: as there.
        key_mask: (B, S) booleans of the places of the memory that are seen, or None.
        bias: (B or 1, N, T, S) floats that are added to the scores, or None.
        rotary: as there.
        name: prefix of the layer names.

    Returns:
        (B, T, D).

    Raises:
        ArgumentError: D is not known, or no multiple of N and no size is given, or N is no multiple of `shared_heads`.

    Example:
        >>> multi_head_attention(keras.Input((9, 64)), keras.Input((20, 32)), 4, name="memory").shape
        (None, 9, 64)
    """
    width, shared_heads = _known_width(x), heads if shared_heads is None else shared_heads
    for key, value in {"heads": heads, "shared_heads": shared_heads}.items():
        checks.at_least(key, value, 1)
    if heads % shared_heads:
        checks.refuse("heads must be a multiple of shared_heads", (heads, shared_heads))
    if size is None and width % heads:
        checks.refuse(f"heads must divide the width {width}", heads, "Or pass size=, the width of a head.")
    size = width // heads if size is None else checks.at_least("size", size, 1)
    query_bias = use_bias if query_bias is None else query_bias

    def project(y: Any, count: int, part: str) -> Any:
        y = layers.Dense(count * size, use_bias=query_bias, name=f"{name}_{part}")(y)
        return layers.Reshape((-1, count, size), name=f"{name}_{part}_heads")(y)  # (B, T, N, H)

    query, key = project(x, heads, "query"), project(memory, shared_heads, "key")
    value = project(memory, shared_heads, "value")
    if rotary is not None:
        query, key = rotary(query), rotary(key)
    seen = {key: each for key, each in (("key_mask", key_mask), ("bias", bias)) if each is not None}
    y = DotProductAttention(causal, scale, name=f"{name}_scores")([query, key, value], **seen)
    y = layers.Reshape((-1, heads * size), name=f"{name}_merge")(y)
    return layers.Dense(width, use_bias=use_bias, name=f"{name}_output")(y)


def feed_forward(x, *, hidden: int, activation: str = "relu", gated: bool = False, use_bias: bool = True, name: str):
    """Perceptron of each place: two dense layers, or three where the activation is a gate; the width stays.

    Source: https://arxiv.org/abs/1706.03762, section 3.3; `gated`: https://arxiv.org/abs/2002.05202, equation 6.

    Args:
        x: (B, T, D).
        hidden: width of the hidden layer.
        activation: a Keras name, or `gelu_tanh`.
        gated: whether the activation acts on a second projection, a factor of the first.
        use_bias: whether dense layers have biases.
        name: prefix of the layer names.

    Returns:
        (B, T, D).

    Raises:
        ArgumentError: D is not known, `hidden` is below 1, or Keras has no such activation.

    Example:
        >>> feed_forward(keras.Input((20, 64)), hidden=172, activation="silu", gated=True, name="mlp").shape
        (None, 20, 64)
    """
    width, hidden = _known_width(x), checks.at_least("hidden", hidden, 1)
    make = TanhGELU if activation == "gelu_tanh" else partial(layers.Activation, _known_activation(activation))
    act = make(name=f"{name}_{activation}")
    y = layers.Dense(hidden, use_bias=use_bias, name=f"{name}_expand")(x)  # (B, T, hidden)
    if gated:
        gate = act(layers.Dense(hidden, use_bias=use_bias, name=f"{name}_gate")(x))
        y = layers.Multiply(name=f"{name}_gated")([gate, y])
    else:
        y = act(y)
    return layers.Dense(width, use_bias=use_bias, name=f"{name}_project")(y)


def sequence_norm(x, *, normalisation: str = "layer", epsilon: float = 1e-6, name: str):
    """Norm of each place of a sequence, as the blocks of transformers have it.

    Args:
        x: (B, T, D).
        normalisation: `layer`, or `rms` without mean and offset (https://arxiv.org/abs/1910.07467).
        epsilon: epsilon of the norm.
        name: name of the layer.

    Returns:
        (B, T, D).

    Raises:
        ArgumentError: `normalisation` is another.

    Example:
        >>> sequence_norm(keras.Input((20, 64)), normalisation="rms", name="norm").shape
        (None, 20, 64)
    """
    make = NORMS[checks.one_of("normalisation", normalisation, NORMS)]
    return make(epsilon=epsilon, name=name)(x)


def _known_width(x) -> int:
    if x.shape[-1] is None:
        checks.refuse("the width must be known", tuple(x.shape))
    return x.shape[-1]


def _known_activation(name: str) -> str:
    try:
        activations.get(name)
    except (ValueError, TypeError):
        checks.refuse("activation must be a Keras name, or gelu_tanh", name)
    return name


def _branch(x, branch, name: str, form: dict):
    """Returns the sum of `x` and a branch of it, normalised before the branch or after the sum."""
    place = checks.one_of("norm", form["norm"], PLACES)
    kind = {"normalisation": form["normalisation"], "epsilon": form["epsilon"], "name": f"{name}_norm"}
    y = branch(sequence_norm(x, **kind) if place == "before" else x, name)
    if checks.within("dropout", form["dropout"], 0.0, 1.0):
        y = layers.Dropout(form["dropout"], name=f"{name}_drop")(y)
    x = layers.Add(name=f"{name}_add")([x, y])
    return sequence_norm(x, **kind) if place == "after" else x
