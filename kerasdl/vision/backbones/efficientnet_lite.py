"""EfficientNet-Lite: EfficientNet for integer chips (https://arxiv.org/abs/1905.11946; its authors' code, lite).

What integer arithmetic does badly is left out: no squeeze-and-excitation, ReLU6 in place of SiLU. The stem, the last
convolution and the repeats of the first and the last stage are not scaled.

Deviations: batch-norm momentum 0.9 in place of 0.99, so that short runs learn the statistics too. Drop path is off
until asked for with `drop_path=0.2`, the authors'.
"""

import math

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, inverted_residual, prediction_head
from kerasdl.core import checks, register

from .efficientnet import STAGES, scaled_stages

# The authors' code: width, depth, pixels, dropout.
SCALES = {
    "lite0": (1.0, 1.0, 224, 0.2),
    "lite1": (1.0, 1.1, 240, 0.2),
    "lite2": (1.1, 1.2, 260, 0.3),
    "lite3": (1.2, 1.4, 280, 0.3),
    "lite4": (1.4, 1.8, 300, 0.3),
}


def efficientnet_lite_features(
    x, *, width: float = 1.0, depth: float = 1.0, stages=STAGES, drop_path: float = 0.0, prefix: str = ""
) -> dict:
    """The stem and the stages of EfficientNet-Lite, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1905.11946, table 1, in the lite form of its authors' code.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        width: multiplies the channels of every stage.
        depth: multiplies the repeats of every stage but the first and the last, rounded up.
        stages: rows of expansion, channels, repeats, stride, kernel.
        drop_path: the chance of leaving out the last block, from 0 to below 1; earlier ones less, in proportion.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`.

    Example:
        >>> list(efficientnet_lite_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """
    x = conv_norm_act(x, 32, stride=2, act="relu6", name=f"{prefix}stem")
    repeats = [math.ceil(depth * row[2]) for row in stages]
    repeats[0], repeats[-1] = stages[0][2], stages[-1][2]
    return scaled_stages(x, inverted_residual, stages, repeats, width=width, drop_path=drop_path, prefix=prefix)


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1905.11946",
    variants={
        f"efficientnet_{name}": {"image_shape": (side, side, 3), "width": width, "depth": depth, "dropout": dropout}
        for name, (width, depth, side, dropout) in SCALES.items()
    },
    # timm counts no batch-norm statistics: they are added to its figures.
    params={
        "efficientnet_lite0": 4_652_008 + 42_016,
        "efficientnet_lite1": 5_416_680 + 53_664,
        "efficientnet_lite2": 6_092_072 + 58_096,
        "efficientnet_lite3": 8_197_096 + 76_672,
        "efficientnet_lite4": 13_006_568 + 112_368,
    },
    reference="timm 1.0 plus batch-norm statistics",
    tags=("cnn", "mobile"),
    weights={"torch": "kerasdl.vision.peers:EFFICIENTNET_LITE"},
    free={"image_shape": (None, None, 3)},
    tiny=dict(
        image_shape=(32, 32, 3),
        width=0.5,
        depth=1.0,
        stages=((1, 16, 1, 1, 3), (4, 24, 2, 2, 5), (4, 40, 1, 2, 3)),
        last_channels=64,
        dropout=0.2,
        classes=4,
    ),
)
def efficientnet_lite(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    width: float = 1.0,
    depth: float = 1.0,
    stages=STAGES,
    last_channels: int = 1280,
    dropout: float = 0.2,
    drop_path: float = 0.0,
) -> keras.Model:
    """EfficientNet-Lite, the image classifier made for int8 on phones.

    Source: https://arxiv.org/abs/1905.11946, table 1, in the lite form of its authors' code.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        width: multiplies the channels of every stage, from 0.1 to 4.
        depth: multiplies the repeats of every stage but the first and the last, from 0.1 to 4.
        stages: rows of expansion, channels, repeats, stride, kernel.
        last_channels: of the last 1x1 convolution, whatever the width.
        dropout: rate before the last layer, from 0 to 1.
        drop_path: the chance of leaving out the last block, from 0 to below 1; the authors train with 0.2.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("efficientnet_lite0", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    checks.within("width", width, 0.1, 4.0, "Pass stages= for a custom net.")
    checks.within("depth", depth, 0.1, 4.0, "Pass stages= for a custom net.")
    checks.at_least("last_channels", last_channels, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    features = efficientnet_lite_features(image, width=width, depth=depth, stages=stages, drop_path=drop_path)
    x = list(features.values())[-1]
    x = conv_norm_act(x, last_channels, 1, act="relu6", name="last")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="efficientnet_lite")
