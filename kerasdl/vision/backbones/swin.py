"""Swin: attention within windows that shift from block to block (https://arxiv.org/abs/2103.14030).

Deviations: a map that its windows do not fill is padded with zeros, which are seen like any place, as in torchvision;
the authors' classifier shrinks the window to a map that is smaller. Drop path is off until asked for.
"""

import keras
from keras import layers

from kerasdl.blocks import add_residual, depth_rates, perceptron, prediction_head
from kerasdl.core import checks, register
from kerasdl.layers import WindowAttention, WindowMerge, WindowPartition

EPSILON = 1e-5
# Section 3.3: width, blocks in each stage, heads in each stage.
FORMS = {
    "tiny": (96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small": (96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "base": (128, (2, 2, 18, 2), (4, 8, 16, 32)),
}


def norm(x, *, name: str):
    """Layer normalisation with Swin's epsilon."""
    return layers.LayerNormalization(epsilon=EPSILON, name=name)(x)


def window_attention(x, heads: int, *, window: int, shift: int, kind=WindowAttention, name: str):
    """Window attention of an image (B, H, W, C): partition, attention, merge."""
    sides = x.shape[1:3]
    y = WindowPartition(window, shift, name=f"{name}_windows")(x)
    y = kind(heads, window, sides, shift, name=name)(y)
    return WindowMerge(sides, window, shift, name=f"{name}_merge")(y)


def swin_block(x, heads: int, *, window: int, shift: int, drop_path: float = 0.0, name: str):
    """Window attention and a perceptron, each normalised before and added to its input: figure 3b."""
    y = norm(x, name=f"{name}_attention_norm")
    y = window_attention(y, heads, window=window, shift=shift, name=f"{name}_attention")
    x = add_residual(x, y, drop_path=drop_path, name=f"{name}_attention")
    y = norm(x, name=f"{name}_mlp_norm")
    y = perceptron(y, 4 * x.shape[-1], name=f"{name}_mlp")
    return add_residual(x, y, drop_path=drop_path, name=f"{name}_mlp")


def patch_merging(x, *, norm_first: bool = True, name: str):
    """Joins 2x2 places into one of twice the channels: section 3.1; V2 normalises after the projection."""
    height, columns, width = x.shape[1:]
    x = WindowPartition(2, name=f"{name}_windows")(x)  # (B, H/2 * W/2, 4, C)
    x = layers.Reshape((-(-height // 2), -(-columns // 2), 4 * width), name=f"{name}_join")(x)
    x = norm(x, name=f"{name}_norm") if norm_first else x
    x = layers.Dense(2 * width, use_bias=False, name=f"{name}_reduce")(x)
    return x if norm_first else norm(x, name=f"{name}_norm")


def swin_stages(x, block, *, width: int, stages, heads, window: int, drop_path: float, norm_first: bool, prefix: str):
    """Patches of 4x4 and the stages of a Swin of either version, with the last tensor of each stride.

    Args:
        x: (B, H, W, C).
        block: `swin_block`, or V2's.
        width: channels of the first stage.
        stages: blocks in each stage.
        heads: attention heads in each stage.
        window: side of a window in tokens.
        drop_path: the chance of leaving out the last block; earlier ones less, in proportion.
        norm_first: whether patch merging normalises first.
        prefix: what every layer name begins with.

    Returns:
        `{"stride4": ..., "stride32": ...}`.
    """
    x = layers.Conv2D(width, 4, strides=4, name=f"{prefix}patch_conv")(x)
    x = norm(x, name=f"{prefix}patch_norm")
    features, rates = {}, iter(depth_rates(drop_path, sum(stages)))
    for stage, (repeats, count) in enumerate(zip(stages, heads, strict=True), start=1):
        if stage > 1:
            x = patch_merging(x, norm_first=norm_first, name=f"{prefix}stage{stage}_merge")
        for number in range(1, repeats + 1):
            # One window that holds everything has nothing to shift.
            shift = window // 2 if number % 2 == 0 and min(x.shape[1:3]) > window else 0
            name = f"{prefix}stage{stage}_block{number}"
            x = block(x, count, window=window, shift=shift, drop_path=next(rates), name=name)
        features[f"stride{2 ** (stage + 1)}"] = x
    return features


def swin_features(
    x,
    *,
    width: int = 96,
    stages=FORMS["tiny"][1],
    heads=FORMS["tiny"][2],
    window: int = 7,
    drop_path: float = 0.0,
    prefix: str = "",
) -> dict:
    """The patches and the stages of Swin, with the last tensor of each stride.

    Source: https://arxiv.org/abs/2103.14030, section 3 and figure 3.

    Args:
        x: (B, H, W, C), values from -1 to 1, H and W known multiples of 4.
        width: channels of the first stage; they double from stage to stage.
        stages: blocks in each stage.
        heads: attention heads in each stage.
        window: side of a window in tokens.
        drop_path: the chance of leaving out the last block, from 0 to below 1; earlier ones less, in proportion.
        prefix: what every layer name begins with.

    Returns:
        `{"stride4": (B, H/4, W/4, c), ..., "stride32": (B, H/32, W/32, c)}`, sides rounded up.

    Example:
        >>> swin_features(keras.Input((64, 96, 3)))["stride32"].shape
        (None, 2, 3, 768)
    """
    form = dict(width=width, stages=stages, heads=heads, window=window, drop_path=drop_path)
    return swin_stages(x, swin_block, **form, norm_first=True, prefix=prefix)


def check_windows(image_shape, width: int, stages, heads) -> None:
    """Checks that an image divides into patches of 4, and each width into its heads; raises `ArgumentError`."""
    height, columns, _ = checks.image_shape("image_shape", image_shape)
    if None in (height, columns) or height % 4 or columns % 4:
        checks.refuse("image_shape must have known sides that are multiples of the patch, 4", image_shape)
    checks.at_least("width", width, 1)
    if len(checks.counts("stages", stages)) != len(checks.counts("heads", heads)):
        checks.refuse("stages and heads must be of one length", (stages, heads))
    for stage, count in enumerate(heads):
        if width * 2**stage % count:
            checks.refuse(f"{width * 2**stage} channels must be a multiple of a stage's heads", count)


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/2103.14030",
    variants={f"swin_{name}": {"width": w, "stages": s, "heads": h} for name, (w, s, h) in FORMS.items()},
    params={"swin_tiny": 28_288_354, "swin_small": 49_606_258, "swin_base": 87_768_224},
    reference="torchvision 0.28, swin_t, swin_s and swin_b",
    qat="partial",
    tags=("transformer",),
    weights={"hugging-face": "kerasdl.vision.peers:SWIN"},
    tiny=dict(image_shape=(36, 36, 3), width=16, stages=(2, 1), heads=(2, 4), window=4, classes=4),
)
def swin(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    width: int = 96,
    stages=FORMS["tiny"][1],
    heads=FORMS["tiny"][2],
    window: int = 7,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> keras.Model:
    """Swin, the vision transformer with shifted windows.

    Source: https://arxiv.org/abs/2103.14030, section 3.3.

    Args:
        image_shape: height, width and channels in pixels; height and width are known multiples of 4.
        classes: outputs.
        width: channels of the first stage; they double from stage to stage.
        stages: blocks in each stage.
        heads: attention heads in each stage.
        window: side of a window in tokens, 2 or more.
        dropout: rate before the last layer, from 0 to 1.
        drop_path: the chance of leaving out the last block, from 0 to below 1; the paper trains with 0.2 to 0.5.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("swin_tiny", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    checks.at_least("window", window, 2)
    check_windows(image_shape, width, stages, heads)
    image = keras.Input(image_shape, name="image")
    form = dict(width=width, stages=stages, heads=heads, window=window, drop_path=drop_path)
    x = norm(list(swin_features(image, **form).values())[-1], name="norm")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="swin")
