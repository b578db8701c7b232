"""EfficientNetV2: plain convolutions early, depthwise ones late, found by training speed.

Source: https://arxiv.org/abs/2104.00298. Deviations: drop path is off until asked for with `drop_path=0.2`, as in the
paper.
"""

import math
from functools import partial

import keras
from keras import layers

from kerasdl.blocks import (
    conv_norm_act,
    depth_rates,
    fused_inverted_residual,
    inverted_residual,
    prediction_head,
)
from kerasdl.core import checks, register

# Table 4 and the authors' code: fused, expansion, channels, repeats, stride. All kernels are 3x3; blocks that are not
# fused have squeeze-and-excitation to a quarter of their input.
S = (
    (True, 1, 24, 2, 1),
    (True, 4, 48, 4, 2),
    (True, 4, 64, 4, 2),
    (False, 4, 128, 6, 2),
    (False, 6, 160, 9, 1),
    (False, 6, 256, 15, 2),
)
M = (
    (True, 1, 24, 3, 1),
    (True, 4, 48, 5, 2),
    (True, 4, 80, 5, 2),
    (False, 4, 160, 7, 2),
    (False, 6, 176, 14, 1),
    (False, 6, 304, 18, 2),
    (False, 6, 512, 5, 1),
)
L = (
    (True, 1, 32, 4, 1),
    (True, 4, 64, 7, 2),
    (True, 4, 96, 7, 2),
    (False, 4, 192, 10, 2),
    (False, 6, 224, 19, 1),
    (False, 6, 384, 25, 2),
    (False, 6, 640, 7, 1),
)
B0 = (
    (True, 1, 16, 1, 1),
    (True, 4, 32, 2, 2),
    (True, 4, 48, 2, 2),
    (False, 4, 96, 3, 2),
    (False, 6, 112, 5, 1),
    (False, 6, 192, 8, 2),
)
# The authors' code: stages, stem, width, depth, pixels, dropout.
FORMS = {
    "b0": (B0, 32, 1.0, 1.0, 224, 0.2),
    "b1": (B0, 32, 1.0, 1.1, 240, 0.2),
    "b2": (B0, 32, 1.1, 1.2, 260, 0.3),
    "b3": (B0, 32, 1.2, 1.4, 300, 0.3),
    "s": (S, 24, 1.0, 1.0, 384, 0.2),
    "m": (M, 24, 1.0, 1.0, 480, 0.3),
    "l": (L, 32, 1.0, 1.0, 480, 0.4),
}


def nearest_eight(channels: float) -> int:
    """Returns the nearest multiple of 8, 8 or more."""
    return max(8, int(channels + 4) // 8 * 8)


def efficientnet_v2_features(
    x,
    *,
    stages=S,
    stem: int = 24,
    width: float = 1.0,
    depth: float = 1.0,
    drop_path: float = 0.0,
    prefix: str = "",
) -> dict:
    """The stem and the stages of EfficientNetV2, with the last tensor of each stride.

    Source: https://arxiv.org/abs/2104.00298, table 4.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: rows of fused, expansion, channels, repeats, stride.
        stem: channels of the first convolution.
        width: multiplies every channel count.
        depth: multiplies the repeats of every stage, rounded up.
        drop_path: the chance of leaving out the last block, from 0 to below 1; earlier ones less, in proportion.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`.

    Example:
        >>> list(efficientnet_v2_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """
    x = conv_norm_act(x, nearest_eight(stem * width), stride=2, act="silu", name=f"{prefix}stem")
    features, total_stride = {"stride2": x}, 2
    repeats = [math.ceil(depth * row[3]) for row in stages]
    rates = iter(depth_rates(drop_path, sum(repeats)))
    for stage, ((fused, expansion, channels, _, stride), count) in enumerate(zip(stages, repeats, strict=True), 1):
        for number in range(1, count + 1):
            block = fused_inverted_residual
            if not fused:
                block = partial(
                    inverted_residual, squeezed=max(1, x.shape[-1] // 4), squeeze_act="silu", gate="sigmoid"
                )
            x = block(
                x,
                nearest_eight(channels * width),
                expanded=expansion * x.shape[-1],
                stride=stride if number == 1 else 1,
                act="silu",
                drop_path=next(rates),
                name=f"{prefix}stage{stage}_block{number}",
            )
        total_stride *= stride
        features[f"stride{total_stride}"] = x
    return features


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/2104.00298",
    variants={
        f"efficientnet_v2_{name}": {
            "image_shape": (side, side, 3),
            "stages": stages,
            "stem": stem,
            "width": width,
            "depth": depth,
            "dropout": dropout,
        }
        for name, (stages, stem, width, depth, side, dropout) in FORMS.items()
    },
    params={
        "efficientnet_v2_b0": 7_200_312,
        "efficientnet_v2_b1": 8_212_124,
        "efficientnet_v2_b2": 10_178_374,
        "efficientnet_v2_b3": 14_467_622,
        "efficientnet_v2_s": 21_612_360,
        "efficientnet_v2_m": 54_431_388,
        "efficientnet_v2_l": 119_027_848,
    },
    reference="keras.applications 3.15.1, EfficientNetV2B0 to B3, S, M and L",
    tags=("cnn",),
    weights={"keras-applications": {f"efficientnet_v2_{name}": f"EfficientNetV2{name.upper()}" for name in FORMS}},
    free={"image_shape": (None, None, 3)},
    tiny=dict(
        image_shape=(32, 32, 3),
        stages=((True, 1, 8, 1, 1), (True, 4, 16, 1, 2), (False, 4, 24, 1, 2)),
        stem=8,
        width=1.0,
        depth=1.0,
        dropout=0.2,
        last_channels=64,
        classes=4,
    ),
)
def efficientnet_v2(
    image_shape=(384, 384, 3),
    *,
    classes: int = 1000,
    stages=S,
    stem: int = 24,
    width: float = 1.0,
    depth: float = 1.0,
    last_channels: int = 1280,
    dropout: float = 0.2,
    drop_path: float = 0.0,
) -> keras.Model:
    """EfficientNetV2, the image classifier found for fast training.

    Source: https://arxiv.org/abs/2104.00298, table 4.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        stages: rows of fused, expansion, channels, repeats, stride.
        stem: channels of the first convolution.
        width: multiplies every channel count, from 0.1 to 4.
        depth: multiplies the repeats of every stage, from 0.1 to 4.
        last_channels: of the last 1x1 convolution, before `width`.
        dropout: rate before the last layer, from 0 to 1.
        drop_path: the chance of leaving out the last block, from 0 to below 1; the paper trains with 0.2.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("efficientnet_v2_b0", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    checks.within("width", width, 0.1, 4.0, "Pass stages= for a custom net.")
    checks.within("depth", depth, 0.1, 4.0, "Pass stages= for a custom net.")
    checks.at_least("last_channels", last_channels, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    features = efficientnet_v2_features(image, stages=stages, stem=stem, width=width, depth=depth, drop_path=drop_path)
    x = conv_norm_act(list(features.values())[-1], nearest_eight(last_channels * width), 1, act="silu", name="last")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="efficientnet_v2")
