"""MobileNet: depthwise separable convolutions throughout (https://arxiv.org/abs/1704.04861).

Deviations: ReLU6 as in the authors' code, and batch-norm momentum 0.9 in place of 0.99, so that short runs learn the
statistics too.
"""

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, depthwise_separable, prediction_head
from kerasdl.core import checks, register

# Table 1: channels and stride of each separable convolution.
BLOCKS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1))


def mobilenet_features(x, *, blocks=BLOCKS, width: float = 1.0, prefix: str = "") -> dict:
    """The stem and the separable convolutions of MobileNet, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1704.04861, table 1.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        blocks: rows of channels, stride.
        width: multiplies every channel count.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`.

    Example:
        >>> list(mobilenet_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """
    x = conv_norm_act(x, int(32 * width), stride=2, act="relu6", name=f"{prefix}stem")
    features, total_stride = {"stride2": x}, 2
    for block, (channels, stride) in enumerate(blocks, start=1):
        x = depthwise_separable(x, int(channels * width), stride=stride, act="relu6", name=f"{prefix}block{block}")
        total_stride *= stride
        features[f"stride{total_stride}"] = x
    return features


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1704.04861",
    variants={
        "mobilenet_025": {"width": 0.25},
        "mobilenet_050": {"width": 0.5},
        "mobilenet_075": {"width": 0.75},
        "mobilenet": {},
    },
    params={"mobilenet_025": 475_544, "mobilenet_050": 1_342_536, "mobilenet_075": 2_601_976, "mobilenet": 4_253_864},
    reference="keras.applications 3.15.1, MobileNet(alpha=width)",
    tags=("cnn", "mobile"),
    weights={
        "keras-applications": {
            "mobilenet_025": "MobileNet(alpha=0.25)",
            "mobilenet_050": "MobileNet(alpha=0.5)",
            "mobilenet_075": "MobileNet(alpha=0.75)",
            "mobilenet": "MobileNet",
        },
        "hugging-face": "kerasdl.vision.peers:MOBILENET_V1",
    },
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), width=0.25, blocks=((64, 1), (128, 2)), classes=4),
)
def mobilenet(
    image_shape=(224, 224, 3), *, classes: int = 1000, width: float = 1.0, blocks=BLOCKS, dropout: float = 1e-3
) -> keras.Model:
    """MobileNet, the image classifier made of depthwise separable convolutions.

    Source: https://arxiv.org/abs/1704.04861, table 1.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        width: multiplies every channel count, from 0.1 to 2; the paper's are 0.25, 0.5, 0.75 and 1.
        blocks: rows of channels, stride, for a net of one's own.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("mobilenet_025", image_shape=(96, 96, 3), classes=10).output_shape
        (None, 10)
    """
    checks.within("width", width, 0.1, 2.0, "Pass blocks= for a custom net.")
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    x = list(mobilenet_features(image, blocks=blocks, width=width).values())[-1]
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="mobilenet")
