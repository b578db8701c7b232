"""Mix Transformer (MiT): hierarchical encoder of SegFormer, attention over maps of four strides
(https://arxiv.org/abs/2105.15203).

Deviations: as in transformers, every layer normalisation has an epsilon of 1e-5, where the authors' code has 1e-6 in
and after the blocks. Drop path is off by default.
"""

import keras
from keras import layers

from kerasdl.blocks import add_residual, depth_rates, prediction_head
from kerasdl.blocks.convolution import padded
from kerasdl.core import checks, register
from kerasdl.layers import ReshapeLike

# Table 6: channels of the four stages of B0 and of the others, blocks, heads, and the reduction of keys and values.
WIDTHS_B0, WIDTHS = (32, 64, 160, 256), (64, 128, 320, 512)
DEPTHS, DEPTHS_B2 = (2, 2, 2, 2), (3, 4, 6, 3)
HEADS = (1, 2, 5, 8)
REDUCTIONS = (8, 4, 2, 1)
EPSILON = 1e-5


def overlapping_patches(x, width: int, kernel: int, stride: int, *, name: str):
    """Overlapping patch embedding of section 3.1: a convolution with a stride and a layer normalisation."""
    x, padding = padded(x, kernel, "symmetric", name=name)
    x = layers.Conv2D(width, kernel, strides=stride, padding=padding, name=f"{name}_conv")(x)
    return layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_norm")(x)


def efficient_attention(x, heads: int, reduction: int, *, name: str):
    """Efficient self-attention of section 3.1 over a map (B, H, W, D): keys and values are of a smaller map.

    The convolution that makes it reads whole squares of `reduction` places; those that are left over at the right and
    below give no keys.
    """
    width, smaller = x.shape[-1], x
    if reduction > 1:
        smaller = layers.Conv2D(width, reduction, strides=reduction, name=f"{name}_reduce_conv")(x)
        smaller = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_reduce_norm")(smaller)
    keys = layers.Reshape((-1, width), name=f"{name}_keys")(smaller)  # (B, H/r * W/r, D)
    queries = layers.Reshape((-1, width), name=f"{name}_queries")(x)  # (B, H * W, D)
    y = layers.MultiHeadAttention(heads, width // heads, name=name)(queries, keys)
    if None in x.shape[1:3]:
        return ReshapeLike(name=f"{name}_map")([y, x])
    return layers.Reshape((*x.shape[1:3], width), name=f"{name}_map")(y)


def mix_ffn(x, hidden: int, *, name: str):
    """Mix-FFN of section 3.1: a perceptron with a 3x3 convolution inside, which tells places in lieu of positions."""
    width = x.shape[-1]
    x = layers.Dense(hidden, name=f"{name}_expand")(x)
    x = layers.DepthwiseConv2D(3, padding="same", name=f"{name}_depthwise")(x)
    x = layers.Activation("gelu", name=f"{name}_gelu")(x)
    return layers.Dense(width, name=f"{name}_project")(x)


def check_stages(widths, depths, heads, reductions, sides) -> None:
    """Checks the rows of the table, and that each map has a key for each of its sides; raises `ArgumentError`."""
    rows = {"widths": widths, "depths": depths, "heads": heads, "reductions": reductions}
    lengths = {name: len(checks.counts(name, tuple(row))) for name, row in rows.items()}
    if len(set(lengths.values())) > 1:
        checks.refuse("widths, depths, heads and reductions must have a number for each stage", rows)
    if any(width % count for width, count in zip(widths, heads, strict=True)):
        checks.refuse("each width must be a multiple of its heads", (tuple(widths), tuple(heads)))
    least = max(2 ** (stage + 2) * (reduction - 1) + 1 for stage, reduction in enumerate(reductions))
    if any(side is not None and side < least for side in sides):
        checks.refuse(f"sides of an image must be {least} or more pixels for the reductions {tuple(reductions)}", sides)


def mix_transformer_features(
    x,
    *,
    widths=WIDTHS_B0,
    depths=DEPTHS,
    heads=HEADS,
    reductions=REDUCTIONS,
    expansion: int = 4,
    drop_path: float = 0.0,
    prefix: str = "",
) -> dict:
    """The four stages of the Mix Transformer, each normalised at its end.

    Source: https://arxiv.org/abs/2105.15203, section 3.1, figure 2 and table 6.

    Args:
        x: (B, H, W, C), values from -1 to 1; with the paper's reductions sides of 29 pixels or more.
        widths: channels of each stage, multiples of its heads.
        depths: blocks of each stage.
        heads: attention heads of each stage.
        reductions: sides of the map over those of the map of keys and values, of each stage.
        expansion: hidden width of a perceptron over that of its stage.
        drop_path: highest probability to drop a branch, of the last block.
        prefix: what every layer name begins with.

    Returns:
        `{"stride4": (B, H/4, W/4, c), ..., "stride32": (B, H/32, W/32, c)}`.

    Raises:
        ArgumentError: an argument breaks its rule, or a side is too small for the reductions.

    Example:
        >>> list(mix_transformer_features(keras.Input((64, 64, 3))))
        ['stride4', 'stride8', 'stride16', 'stride32']
    """
    check_stages(widths, depths, heads, reductions, tuple(x.shape[1:3]))
    checks.at_least("expansion", expansion, 1)
    rates = iter(depth_rates(drop_path, sum(depths)))
    features, total_stride = {}, 4
    rows = zip(widths, depths, heads, reductions, strict=True)
    for stage, (width, depth, count, reduction) in enumerate(rows, start=1):
        name = f"{prefix}stage{stage}"
        x = overlapping_patches(x, width, *((7, 4) if stage == 1 else (3, 2)), name=f"{name}_patch")
        for block in range(1, depth + 1):
            start, rate = f"{name}_block{block}", next(rates)
            y = layers.LayerNormalization(epsilon=EPSILON, name=f"{start}_attention_norm")(x)
            y = efficient_attention(y, count, reduction, name=f"{start}_attention")
            x = add_residual(x, y, drop_path=rate, name=f"{start}_attention")
            y = layers.LayerNormalization(epsilon=EPSILON, name=f"{start}_mlp_norm")(x)
            y = mix_ffn(y, expansion * width, name=f"{start}_mlp")
            x = add_residual(x, y, drop_path=rate, name=f"{start}_mlp")
        x = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_norm")(x)
        features[f"stride{total_stride}"] = x
        total_stride *= 2
    return features


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/2105.15203",
    variants={
        "mit_b0": {"widths": WIDTHS_B0},
        "mit_b1": {"widths": WIDTHS},
        "mit_b2": {"widths": WIDTHS, "depths": DEPTHS_B2},
    },
    params={"mit_b0": 3_576_392, "mit_b1": 13_664_424, "mit_b2": 24_709_288},
    reference="transformers 5.24, SegformerForImageClassification with 1,000 labels",
    tags=("transformer",),
    weights={"hugging-face": "kerasdl.vision.segmenter_peers:MIX_TRANSFORMER"},
    free={"image_shape": (None, None, 3)},
    tiny=dict(
        image_shape=(37, 35, 3), widths=(16, 24), depths=(1, 1), heads=(1, 2), reductions=(4, 1), expansion=2, classes=4
    ),
)
def mix_transformer(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    widths=WIDTHS_B0,
    depths=DEPTHS,
    heads=HEADS,
    reductions=REDUCTIONS,
    expansion: int = 4,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> keras.Model:
    """Mix Transformer (MiT), the image classifier that is the encoder of SegFormer.

    Source: https://arxiv.org/abs/2105.15203, section 3.1 and table 6.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None. With the paper's reductions
            sides are 29 or more.
        classes: outputs.
        widths: channels of each stage, multiples of its heads.
        depths: blocks of each stage.
        heads: attention heads of each stage.
        reductions: sides of the map over those of the map of keys and values, of each stage.
        expansion: hidden width of a perceptron over that of its stage.
        dropout: rate before the last layer, from 0 to 1.
        drop_path: highest probability to drop a branch, of the last block.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range, or a side is too small for the reductions.

    Example:
        >>> kerasdl.build("mit_b0", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    settings = dict(widths=widths, depths=depths, heads=heads, reductions=reductions, expansion=expansion)
    x = list(mix_transformer_features(image, drop_path=drop_path, **settings).values())[-1]
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="mix_transformer")
