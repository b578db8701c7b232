"""DiT: transformer over patches of an image or latent, whose norms follow time and class.

Source: https://arxiv.org/abs/2212.09748, figure 3, adaLN-Zero, and table 1.

Deviations: queries, keys and values are three dense layers. diffusers counts 749,826,464 weights for DiT-XL/2, since it
embeds time and class in each of the 28 blocks and leaves the fixed positions out.
"""

import keras
from keras import layers

from kerasdl.blocks import feed_forward, multi_head_attention
from kerasdl.core import checks, register
from kerasdl.layers import ChannelSlice, FixedPositions2D, SinusoidalTimes

from .unet import checked_input

WAVES = 256  # numbers of the sinusoidal time
# Table 1 of the paper: blocks, width and heads.
SIZES = {
    "dit_s": dict(depth=12, width=384, heads=6),
    "dit_b": dict(depth=12, width=768, heads=12),
    "dit_l": dict(depth=24, width=1024, heads=16),
    "dit_xl": dict(depth=28, width=1152, heads=16),
}


def modulated(x, scale, shift, *, name: str):
    """Normed tokens x * (1 + scale) + shift, by factors of the condition.

    Source: https://arxiv.org/abs/2212.09748, section 3.2, adaLN.

    Args:
        x: (B, T, D).
        scale: (B, 1, D).
        shift: (B, 1, D).
        name: prefix of the layer names.

    Returns:
        (B, T, D).

    Example:
        >>> row = keras.Input((1, 8))
        >>> modulated(keras.Input((4, 8)), row, row, name="block").shape
        (None, 4, 8)
    """
    x = layers.LayerNormalization(epsilon=1e-6, center=False, scale=False, name=f"{name}_norm")(x)
    scaled = layers.Multiply(name=f"{name}_scaled")([x, scale])
    return layers.Add(name=f"{name}_modulated")([x, scaled, shift])


def condition_factors(condition, count: int, *, name: str) -> list:
    """Factors (B, 1, D) of a condition for the norms and gates of a block, zero at first.

    Source: https://arxiv.org/abs/2212.09748, section 3.2, adaLN-Zero.

    Args:
        condition: (B, D), activated already.
        count: number of factors.
        name: prefix of the layer names.

    Returns:
        A list of `count` tensors (B, 1, D).

    Example:
        >>> [each.shape for each in condition_factors(keras.Input((8,)), 2, name="final")]
        [(None, 1, 8), (None, 1, 8)]
    """
    width = condition.shape[-1]
    x = layers.Dense(count * width, kernel_initializer="zeros", name=f"{name}_factors")(condition)
    x = layers.Reshape((1, count * width), name=f"{name}_factors_shape")(x)
    return [ChannelSlice(part, count, name=f"{name}_factor{part + 1}")(x) for part in range(count)]


def dit_block(x, condition, heads: int, *, hidden: int, name: str):
    """Block of DiT: attention and a perceptron, each between a modulated norm and a gate.

    Source: https://arxiv.org/abs/2212.09748, figure 3, adaLN-Zero.

    Args:
        x: (B, T, D).
        condition: (B, D), activated already.
        heads: N, a divisor of D.
        hidden: width of the perceptron's hidden layer.
        name: prefix of the layer names.

    Returns:
        (B, T, D).

    Raises:
        ArgumentError: the heads do not divide the width.

    Example:
        >>> dit_block(keras.Input((4, 8)), keras.Input((8,)), 2, hidden=32, name="block1").shape
        (None, 4, 8)
    """
    shift1, scale1, gate1, shift2, scale2, gate2 = condition_factors(condition, 6, name=name)
    y = modulated(x, scale1, shift1, name=f"{name}_attention")
    y = multi_head_attention(y, y, heads, name=f"{name}_attention")
    y = layers.Multiply(name=f"{name}_attention_gated")([y, gate1])
    x = layers.Add(name=f"{name}_attention_add")([x, y])
    y = modulated(x, scale2, shift2, name=f"{name}_mlp")
    y = feed_forward(y, hidden=hidden, activation="gelu_tanh", name=f"{name}_mlp")
    y = layers.Multiply(name=f"{name}_mlp_gated")([y, gate2])
    return layers.Add(name=f"{name}_mlp_add")([x, y])


@register(
    task="network",
    paper="https://arxiv.org/abs/2212.09748",
    variants=SIZES,
    params={"dit_s": 32_963_360, "dit_b": 130_512_416, "dit_l": 458_102_816, "dit_xl": 675_129_632},
    reference="the authors' definition with patches of 2 and 1,000 classes, by the sum of its layers",
    qat="partial",
    tags=("diffusion", "transformer"),
    tiny=dict(image_shape=(8, 8, 2), depth=2, width=16, heads=2, classes=3),
)
def dit(
    image_shape=(32, 32, 4),
    *,
    patch: int = 2,
    depth: int = 12,
    width: int = 384,
    heads: int = 6,
    classes: int | None = 1000,
    learned_variance: bool = True,
) -> keras.Model:
    """Diffusion transformer (DiT) over the patches of a latent or image, of the sizes S to XL.

    Source: https://arxiv.org/abs/2212.09748, section 3.2 and table 1.

    Args:
        image_shape: height, width and channels, known, height and width equal multiples of the patch.
        patch: side of a patch in pixels.
        depth: number of blocks.
        width: D, a multiple of 4.
        heads: N, a divisor of D.
        classes: K, number of classes that it is told, or None; label K stands for no class.
        learned_variance: whether the output has as many channels again, for the variance of a step.

    Returns:
        A model from `{"x": (B, H, W, C), "time": (B,)}`, with classes also `"label": (B,)` integers, to
        (B, H, W, 2 C) float32, or C channels without `learned_variance`.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("dit_s").count_params()
        32963360
    """
    for key, value in {"patch": patch, "depth": depth, "width": width, "heads": heads}.items():
        checks.at_least(key, value, 1)
    inputs = checked_input(image_shape, patch, classes)
    height, length, channels = inputs["x"].shape[1:]
    if height != length:
        checks.refuse("height and width must be equal", (height, length))
    side = height // patch
    condition = SinusoidalTimes(WAVES, cosines_first=True, name="time_waves")(inputs["time"])
    condition = layers.Dense(width, activation="silu", name="time_expand")(condition)
    condition = layers.Dense(width, name="time_project")(condition)
    if classes is not None:
        label = layers.Embedding(classes + 1, width, name="label_table")(inputs["label"])
        condition = layers.Add(name="time_and_label")([condition, label])
    condition = layers.Activation("silu", name="condition_act")(condition)  # (B, D)

    x = layers.Conv2D(width, patch, strides=patch, name="patches")(inputs["x"])
    x = layers.Reshape((side * side, width), name="tokens")(x)  # (B, T, D)
    x = FixedPositions2D(name="positions")(x)
    for block in range(1, depth + 1):
        x = dit_block(x, condition, heads, hidden=4 * width, name=f"block{block}")
    shift, scale = condition_factors(condition, 2, name="final")
    x = modulated(x, scale, shift, name="final")
    outputs = channels * (2 if learned_variance else 1)
    x = layers.Dense(patch * patch * outputs, kernel_initializer="zeros", name="final_project")(x)
    x = layers.Reshape((side, side, patch, patch, outputs), name="unpatch_split")(x)
    x = layers.Permute((1, 3, 2, 4, 5), name="unpatch_swap")(x)
    x = layers.Reshape((height, length, outputs), name="unpatch_join")(x)
    return keras.Model(inputs, layers.Activation("linear", dtype="float32", name="prediction")(x), name="dit")
