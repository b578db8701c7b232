"""RegNet: nets whose widths follow a quantised straight line (https://arxiv.org/abs/2003.13678).

X has grouped bottlenecks, Y squeeze-and-excitation in them as well.
"""

import math

import keras
from keras import layers

from kerasdl.blocks import add_residual, conv_norm_act, prediction_head, round_channels, squeeze_excite
from kerasdl.core import checks, register

# Depth, w0, wa, wm and group width of section 3.3, as found by the authors (appendix, tables of models).
X = {
    "400mf": (22, 24, 24.48, 2.54, 16),
    "800mf": (16, 56, 35.73, 2.28, 16),
    "1_6gf": (18, 80, 34.01, 2.25, 24),
    "3_2gf": (25, 88, 26.31, 2.25, 48),
    "8gf": (23, 80, 49.56, 2.88, 120),
}
Y = {
    "400mf": (16, 48, 27.89, 2.09, 8),
    "800mf": (14, 56, 38.84, 2.4, 16),
    "1_6gf": (27, 48, 20.71, 2.65, 24),
    "3_2gf": (21, 80, 42.63, 2.66, 24),
    "8gf": (17, 192, 76.82, 2.19, 56),
}
NORM = dict(padding="symmetric", epsilon=1e-5)


def regnet_stages(line) -> tuple[tuple[int, int, int], ...]:
    """Returns the (blocks, width, group width) of each stage.

    Source: https://arxiv.org/abs/2003.13678, equations 2 to 4.

    Args:
        line: depth, w0, wa, wm, group width.

    Example:
        >>> regnet_stages((16, 48, 27.89, 2.09, 8))
        ((1, 48, 8), (3, 104, 8), (6, 208, 8), (6, 440, 8))
    """
    depth, first, slope, factor, group = line
    powers = [round(math.log((first + slope * block) / first) / math.log(factor)) for block in range(depth)]
    widths = [int(round(first * factor**power / 8) * 8) for power in powers]
    stages = []
    for width in dict.fromkeys(widths):
        size = min(group, width)
        stages.append((widths.count(width), round_channels(width, size), size))
    return tuple(stages)


def regnet_block(x, width: int, *, group: int, stride: int, squeezed: int | None, name: str):
    """A bottleneck of one width whose 3x3 convolution is grouped: figure 9 of the paper's appendix."""
    shortcut = x
    if stride > 1 or x.shape[-1] != width:
        shortcut = conv_norm_act(x, width, 1, stride=stride, act=None, name=f"{name}_shortcut", **NORM)
    x = conv_norm_act(x, width, 1, name=f"{name}_1", **NORM)
    x = conv_norm_act(x, width, 3, stride=stride, groups=width // group, name=f"{name}_2", **NORM)
    if squeezed:
        x = squeeze_excite(x, squeezed, name=f"{name}_se")
    x = conv_norm_act(x, width, 1, act=None, name=f"{name}_3", **NORM)
    x = add_residual(shortcut, x, name=name)
    return layers.ReLU(name=f"{name}_out")(x)


def regnet_features(x, *, line=X["400mf"], squeeze: bool = False, stem: int = 32, prefix: str = "") -> dict:
    """The stem and the stages of RegNet, with the last tensor of each stride.

    Source: https://arxiv.org/abs/2003.13678, section 3.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        line: depth, w0, wa, wm, group width.
        squeeze: squeeze-and-excitation in each block, to a quarter of the block's input (RegNetY).
        stem: channels of the first convolution.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`.

    Example:
        >>> list(regnet_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """
    x = conv_norm_act(x, stem, 3, stride=2, name=f"{prefix}stem", **NORM)
    features = {"stride2": x}
    for stage, (repeats, width, group) in enumerate(regnet_stages(line), start=1):
        for block in range(1, repeats + 1):
            x = regnet_block(
                x,
                width,
                group=group,
                stride=2 if block == 1 else 1,
                squeezed=round(0.25 * x.shape[-1]) if squeeze else None,
                name=f"{prefix}stage{stage}_block{block}",
            )
        features[f"stride{2 ** (stage + 1)}"] = x
    return features


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/2003.13678",
    variants={
        **{f"regnet_x_{size}": {"line": line} for size, line in X.items()},
        **{f"regnet_y_{size}": {"line": line, "squeeze": True} for size, line in Y.items()},
    },
    params={
        "regnet_x_400mf": 5_495_976 + 37_856,
        "regnet_x_800mf": 7_259_656 + 37_312,
        "regnet_x_1_6gf": 9_190_136 + 43_504,
        "regnet_x_3_2gf": 15_296_552 + 62_560,
        "regnet_x_8gf": 39_572_648 + 90_464,
        "regnet_y_400mf": 4_344_144 + 27_152,
        "regnet_y_800mf": 6_432_512 + 30_432,
        "regnet_y_1_6gf": 11_202_430 + 52_672,
        "regnet_y_3_2gf": 19_436_338 + 66_160,
        "regnet_y_8gf": 39_381_472 + 86_528,
    },
    reference="torchvision's documented num_params plus batch-norm statistics",
    tags=("cnn",),
    weights={"hugging-face": "kerasdl.vision.peers:REGNET"},
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), line=(3, 16, 8.0, 2.0, 8), stem=8, classes=4),
)
def regnet(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    line=X["400mf"],
    squeeze: bool = False,
    stem: int = 32,
    dropout: float = 0.0,
) -> keras.Model:
    """RegNet, the image classifier from a designed design space.

    Source: https://arxiv.org/abs/2003.13678, section 3.3.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        line: depth, w0, wa, wm, group width.
        squeeze: squeeze-and-excitation in each block (RegNetY).
        stem: channels of the first convolution, 1 or more.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("regnet_y_400mf", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    checks.at_least("stem", stem, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    features = regnet_features(image, line=line, squeeze=squeeze, stem=stem)
    x = layers.GlobalAveragePooling2D(name="pool")(list(features.values())[-1])
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="regnet")
