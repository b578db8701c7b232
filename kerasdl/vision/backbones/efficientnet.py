"""EfficientNet: one small net scaled in depth, width and resolution together (https://arxiv.org/abs/1905.11946).

Deviations: batch-norm momentum 0.9 in place of 0.99, so that short runs learn the statistics too. Drop path is off
until asked for with `drop_path=0.2`, the paper's.
"""

import math

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, depth_rates, inverted_residual, prediction_head, round_channels
from kerasdl.core import checks, register

# Table 1: expansion, channels, repeats, stride of the first repeat, kernel.
STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
# The authors' code: width, depth, pixels, dropout.
SCALES = {
    "b0": (1.0, 1.0, 224, 0.2),
    "b1": (1.0, 1.1, 240, 0.2),
    "b2": (1.1, 1.2, 260, 0.3),
    "b3": (1.2, 1.4, 300, 0.3),
    "b4": (1.4, 1.8, 380, 0.4),
    "b5": (1.6, 2.2, 456, 0.4),
    "b6": (1.8, 2.6, 528, 0.5),
    "b7": (2.0, 3.1, 600, 0.5),
}


def efficientnet_features(
    x, *, width: float = 1.0, depth: float = 1.0, stages=STAGES, drop_path: float = 0.0, prefix: str = ""
) -> dict:
    """The stem and the stages of EfficientNet, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1905.11946, table 1 and section 3.3.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        width: multiplies every channel count.
        depth: multiplies the repeats of every stage, rounded up.
        stages: rows of expansion, channels, repeats, stride, kernel.
        drop_path: the chance of leaving out the last block, from 0 to below 1; earlier ones less, in proportion.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`.

    Example:
        >>> list(efficientnet_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """
    x = conv_norm_act(x, round_channels(32 * width), stride=2, act="silu", name=f"{prefix}stem")
    repeats = [math.ceil(depth * row[2]) for row in stages]
    return scaled_stages(x, _squeezed_residual, stages, repeats, width=width, drop_path=drop_path, prefix=prefix)


def scaled_stages(x, block, stages, repeats, *, width: float, drop_path: float, prefix: str) -> dict:
    """Returns the stem and the last tensor of each stride of stages of inverted residuals.

    Args:
        x: the output of the stem, of stride 2.
        block: `inverted_residual`, or a function with its arguments.
        stages: rows of expansion, channels, repeats, stride, kernel.
        repeats: blocks in each stage.
        width: multiplies the channels of every stage.
        drop_path: the chance of leaving out the last block; earlier ones less, in proportion.
        prefix: the start of every layer name.
    """
    features, total_stride = {"stride2": x}, 2
    rates = iter(depth_rates(drop_path, sum(repeats)))
    for stage, ((expansion, channels, _, stride, kernel), count) in enumerate(zip(stages, repeats, strict=True), 1):
        for number in range(1, count + 1):
            x = block(
                x,
                round_channels(channels * width),
                expanded=expansion * x.shape[-1],
                kernel=kernel,
                stride=stride if number == 1 else 1,
                drop_path=next(rates),
                name=f"{prefix}stage{stage}_block{number}",
            )
        total_stride *= stride
        features[f"stride{total_stride}"] = x
    return features


def _squeezed_residual(x, filters: int, **settings):
    squeezed = max(1, x.shape[-1] // 4)
    activations = {"act": "silu", "squeeze_act": "silu", "gate": "sigmoid"}
    return inverted_residual(x, filters, squeezed=squeezed, **activations, **settings)


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1905.11946",
    variants={
        f"efficientnet_{name}": {"image_shape": (side, side, 3), "width": width, "depth": depth, "dropout": dropout}
        for name, (width, depth, side, dropout) in SCALES.items()
    },
    # torchvision counts no batch-norm statistics: they are added to its figures.
    params={
        "efficientnet_b0": 5_288_548 + 42_016,
        "efficientnet_b1": 7_794_184 + 62_048,
        "efficientnet_b2": 9_109_994 + 67_568,
        "efficientnet_b3": 12_233_232 + 87_296,
        "efficientnet_b4": 19_341_616 + 125_200,
        "efficientnet_b5": 30_389_784 + 172_736,
        "efficientnet_b6": 43_040_704 + 224_432,
        "efficientnet_b7": 66_347_960 + 310_720,
    },
    reference="torchvision 0.28 plus batch-norm statistics; keras.applications 3.15.1 without its Normalization",
    tags=("cnn", "mobile"),
    weights={
        "keras-applications": {f"efficientnet_{name}": f"EfficientNet{name.upper()}" for name in SCALES},
        "hugging-face": "kerasdl.vision.peers:EFFICIENTNET",
    },
    free={"image_shape": (None, None, 3)},
    tiny=dict(
        image_shape=(32, 32, 3),
        width=0.5,
        depth=1.0,
        stages=((1, 16, 1, 1, 3), (4, 24, 2, 2, 5)),
        last_channels=64,
        dropout=0.2,
        classes=4,
    ),
)
def efficientnet(
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
    """EfficientNet, the image classifier scaled in three directions at once.

    Source: https://arxiv.org/abs/1905.11946, table 1 and section 3.3.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        width: multiplies every channel count, from 0.1 to 4.
        depth: multiplies the repeats of every stage, from 0.1 to 4.
        stages: rows of expansion, channels, repeats, stride, kernel.
        last_channels: of the last 1x1 convolution, before `width`.
        dropout: rate before the last layer, from 0 to 1.
        drop_path: the chance of leaving out the last block, from 0 to below 1; the paper trains with 0.2.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("efficientnet_b0", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    checks.within("width", width, 0.1, 4.0, "Pass stages= for a custom net.")
    checks.within("depth", depth, 0.1, 4.0, "Pass stages= for a custom net.")
    checks.at_least("last_channels", last_channels, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    features = efficientnet_features(image, width=width, depth=depth, stages=stages, drop_path=drop_path)
    x = list(features.values())[-1]
    x = conv_norm_act(x, round_channels(last_channels * width), 1, act="silu", name="last")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="efficientnet")
