"""ConvNeXt: a convolutional net built as a transformer is (https://arxiv.org/abs/2201.03545).

Deviations: drop path is off until asked for; the paper trains with 0.1 (tiny) to 0.5 (large).
"""

import keras
from keras import layers

from kerasdl.blocks import add_residual, depth_rates, prediction_head
from kerasdl.core import checks, register
from kerasdl.layers import LayerScale

EPSILON = 1e-6
# Section 3: blocks and channels of each stage.
FORMS = {
    "tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
    "large": ((3, 3, 27, 3), (192, 384, 768, 1536)),
    "xlarge": ((3, 3, 27, 3), (256, 512, 1024, 2048)),
}


def convnext_block(x, *, drop_path: float = 0.0, name: str):
    """A 7x7 depthwise convolution, then a perceptron at each place: figure 4 right."""
    width = x.shape[-1]
    y = layers.DepthwiseConv2D(7, padding="same", name=f"{name}_depthwise_conv")(x)
    y = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_norm")(y)
    y = layers.Dense(4 * width, name=f"{name}_expand")(y)  # (B, H, W, 4 C)
    y = layers.Activation("gelu", name=f"{name}_gelu")(y)
    y = layers.Dense(width, name=f"{name}_project")(y)
    y = LayerScale(1e-6, name=f"{name}_scale")(y)
    return add_residual(x, y, drop_path=drop_path, name=name)


def convnext_features(
    x, *, stages=FORMS["tiny"][0], channels=FORMS["tiny"][1], drop_path: float = 0.0, prefix: str = ""
) -> dict:
    """The patches and the stages of ConvNeXt, with the last tensor of each stride.

    Source: https://arxiv.org/abs/2201.03545, section 2 and table 9.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: blocks in each stage.
        channels: of each stage.
        drop_path: the chance of leaving out the last block, from 0 to below 1; earlier ones less, in proportion.
        prefix: what every layer name begins with.

    Returns:
        `{"stride4": (B, H/4, W/4, c), ..., "stride32": (B, H/32, W/32, c)}`.

    Example:
        >>> list(convnext_features(keras.Input((64, 64, 3))))
        ['stride4', 'stride8', 'stride16', 'stride32']
    """
    features, rates = {}, iter(depth_rates(drop_path, sum(checks.counts("stages", stages))))
    for stage, (repeats, filters) in enumerate(zip(stages, channels, strict=True), start=1):
        if stage == 1:
            x = layers.Conv2D(filters, 4, strides=4, name=f"{prefix}stem_conv")(x)
            x = layers.LayerNormalization(epsilon=EPSILON, name=f"{prefix}stem_norm")(x)
        else:
            x = layers.LayerNormalization(epsilon=EPSILON, name=f"{prefix}stage{stage}_down_norm")(x)
            x = layers.Conv2D(filters, 2, strides=2, name=f"{prefix}stage{stage}_down_conv")(x)
        for block in range(1, repeats + 1):
            x = convnext_block(x, drop_path=next(rates), name=f"{prefix}stage{stage}_block{block}")
        features[f"stride{2 ** (stage + 1)}"] = x
    return features


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/2201.03545",
    variants={
        f"convnext_{name}": {"stages": stages, "channels": channels} for name, (stages, channels) in FORMS.items()
    },
    params={
        "convnext_tiny": 28_589_128,
        "convnext_small": 50_223_688,
        "convnext_base": 88_591_464,
        "convnext_large": 197_767_336,
        "convnext_xlarge": 350_196_968,
    },
    reference="keras.applications 3.15.1; all but xlarge also torchvision 0.28",
    tags=("cnn",),
    weights={
        "keras-applications": {
            "convnext_tiny": "ConvNeXtTiny",
            "convnext_small": "ConvNeXtSmall",
            "convnext_base": "ConvNeXtBase",
            "convnext_large": "ConvNeXtLarge",
            "convnext_xlarge": "ConvNeXtXLarge",
        },
        "hugging-face": "kerasdl.vision.peers:CONVNEXT",
    },
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), stages=(1, 1), channels=(16, 24), classes=4),
)
def convnext(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    stages=FORMS["tiny"][0],
    channels=FORMS["tiny"][1],
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> keras.Model:
    """ConvNeXt, the image classifier that modernises ResNet step by step.

    Source: https://arxiv.org/abs/2201.03545, section 2.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        stages: blocks in each stage.
        channels: of each stage.
        dropout: rate before the last layer, from 0 to 1.
        drop_path: the chance of leaving out the last block, from 0 to below 1; earlier ones less, in proportion.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("convnext_tiny", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    x = list(convnext_features(image, stages=stages, channels=channels, drop_path=drop_path).values())[-1]
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.LayerNormalization(epsilon=EPSILON, name="norm")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="convnext")
