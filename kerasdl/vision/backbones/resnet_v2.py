"""ResNet v2: normalisation and ReLU before each convolution, and an identity shortcut (https://arxiv.org/abs/1603.05027).

Deviations, as in keras.applications: a stage strides in its last block rather than in its first, and max pooling of
side 1 brings the shortcut there; the stem has a bias and no normalisation.
"""

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, norm_relu, prediction_head
from kerasdl.blocks.convolution import padded
from kerasdl.core import checks, register

from .resnet import STAGES_50, STAGES_101, STAGES_152

# keras.applications' own constants, so that its weights compute the same here.
NORM = dict(epsilon=1.001e-5, momentum=0.99)


def preactivation_residual(x, filters: int, *, stride: int = 1, project: bool = False, name: str):
    """A bottleneck after normalisation and ReLU, and a shortcut around it: figure 1b."""
    active = norm_relu(x, name=f"{name}_preactivation", **NORM)
    if project:
        shortcut = layers.Conv2D(4 * filters, 1, strides=stride, name=f"{name}_shortcut_conv")(active)
    elif stride > 1:
        shortcut = layers.MaxPooling2D(1, strides=stride, name=f"{name}_shortcut_pool")(x)
    else:
        shortcut = x
    y = conv_norm_act(active, filters, 1, name=f"{name}_1", **NORM)
    y = conv_norm_act(y, filters, 3, stride=stride, padding="symmetric", name=f"{name}_2", **NORM)
    y = layers.Conv2D(4 * filters, 1, name=f"{name}_3_conv")(y)
    return layers.Add(name=f"{name}_add")([shortcut, y])


def resnet_v2_features(x, *, stages=STAGES_50, channels: int = 64, prefix: str = "") -> dict:
    """The stem and the stages of ResNet v2, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1603.05027, section 4 and figure 4e.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: blocks in each stage.
        channels: of the stem and of the first stage's inner convolutions.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`; the last one is normalised.

    Example:
        >>> list(resnet_v2_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """
    x, padding = padded(x, 7, "symmetric", name=f"{prefix}stem")
    x = layers.Conv2D(channels, 7, strides=2, padding=padding, name=f"{prefix}stem_conv")(x)
    features, total_stride = {"stride2": x}, 4
    x = layers.ZeroPadding2D(1, name=f"{prefix}stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name=f"{prefix}stem_pool")(x)
    for stage, repeats in enumerate(checks.counts("stages", stages), start=1):
        for block in range(1, repeats + 1):
            stride = 2 if block == repeats and stage < len(stages) else 1
            name = f"{prefix}stage{stage}_block{block}"
            x = preactivation_residual(x, channels * 2 ** (stage - 1), stride=stride, project=block == 1, name=name)
            total_stride *= stride
            features[f"stride{total_stride}"] = x
    features[f"stride{total_stride}"] = norm_relu(x, name=f"{prefix}last", **NORM)
    return features


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1603.05027",
    variants={
        "resnet50_v2": {"stages": STAGES_50},
        "resnet101_v2": {"stages": STAGES_101},
        "resnet152_v2": {"stages": STAGES_152},
    },
    params={"resnet50_v2": 25_613_800, "resnet101_v2": 44_675_560, "resnet152_v2": 60_380_648},
    reference="keras.applications 3.15.1, ResNet50V2, ResNet101V2 and ResNet152V2",
    tags=("cnn",),
    weights={
        "keras-applications": {
            "resnet50_v2": "ResNet50V2",
            "resnet101_v2": "ResNet101V2",
            "resnet152_v2": "ResNet152V2",
        }
    },
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), stages=(2, 1), channels=8, classes=4),
)
def resnet_v2(
    image_shape=(224, 224, 3), *, classes: int = 1000, stages=STAGES_50, channels: int = 64, dropout: float = 0.0
) -> keras.Model:
    """ResNet v2, the image classifier with identity mappings.

    Source: https://arxiv.org/abs/1603.05027, section 4.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        stages: blocks in each stage.
        channels: of the stem and of the first stage's inner convolutions, 1 or more.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("resnet50_v2", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    checks.at_least("channels", channels, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    x = list(resnet_v2_features(image, stages=stages, channels=channels).values())[-1]
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="resnet_v2")
