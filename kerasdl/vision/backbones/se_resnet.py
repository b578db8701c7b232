"""SE-ResNet: ResNet whose blocks weigh their channels (https://arxiv.org/abs/1709.01507)."""

from functools import partial

import keras
from keras import layers

from kerasdl.blocks import basic_residual, bottleneck_residual, prediction_head, squeeze_excite
from kerasdl.core import checks, register

from .resnet import STAGES_18, STAGES_50, residual_stages


def se_resnet_features(
    x, *, stages=STAGES_50, bottleneck: bool = True, reduction: int = 16, channels: int = 64, prefix: str = ""
) -> dict:
    """The stem and the stages of ResNet with gates in every block, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1709.01507, table 1.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: blocks in each stage.
        bottleneck: blocks of three convolutions rather than two.
        reduction: by how much the gate's bottleneck is narrower than the block.
        channels: of the stem and of the first stage's inner convolutions.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`.

    Example:
        >>> list(se_resnet_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """

    def attention(x, *, name):
        return squeeze_excite(x, max(1, x.shape[-1] // reduction), name=name)

    block = partial(bottleneck_residual if bottleneck else basic_residual, attention=attention)
    return residual_stages(x, stages, block, channels=channels, prefix=prefix, epsilon=1e-5)


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1709.01507",
    variants={"se_resnet18": {"stages": STAGES_18, "bottleneck": False}, "se_resnet50": {"stages": STAGES_50}},
    params={"se_resnet18": 11_689_512 + 89_080 + 9_600, "se_resnet50": 28_088_024 + 53_120},
    reference="timm 1.0.31, seresnet50, plus statistics; se_resnet18: resnet18 and C^2 / 8 + 17 C / 16 a block",
    tags=("cnn",),
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), stages=(1, 1), reduction=4, channels=8, classes=4),
)
def se_resnet(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    stages=STAGES_50,
    bottleneck: bool = True,
    reduction: int = 16,
    channels: int = 64,
    dropout: float = 0.0,
) -> keras.Model:
    """SE-ResNet, the image classifier with gates over channels.

    Source: https://arxiv.org/abs/1709.01507, table 1.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        stages: blocks in each stage.
        bottleneck: blocks of three convolutions rather than two.
        reduction: by how much the gate's bottleneck is narrower than the block, 1 or more.
        channels: of the stem and of the first stage's inner convolutions.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("se_resnet50", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    checks.at_least("reduction", reduction, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    features = se_resnet_features(image, stages=stages, bottleneck=bottleneck, reduction=reduction, channels=channels)
    x = layers.GlobalAveragePooling2D(name="pool")(list(features.values())[-1])
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="se_resnet")
