"""ResNet: stages of residual blocks (https://arxiv.org/abs/1512.03385).

Deviations: as torchvision, the 3x3 convolution of a bottleneck has the stride and no convolution has a bias; the
paper, like keras.applications, strides the first 1x1: `resnet50_keras` and its like are that form, with biases.
"""

from collections.abc import Callable
from functools import partial

import keras
from keras import layers

from kerasdl.blocks import basic_residual, bottleneck_residual, conv_norm_act, prediction_head
from kerasdl.core import checks, register

# Table 1: blocks in each of the four stages.
STAGES_18 = (2, 2, 2, 2)
STAGES_34 = STAGES_50 = (3, 4, 6, 3)
STAGES_101 = (3, 4, 23, 3)
STAGES_152 = (3, 8, 36, 3)


def residual_stages(
    x, stages, block: Callable, *, channels: int = 64, output_stride: int = 32, prefix: str = "", **norm
) -> dict:
    """The stem of ResNet and stages of any residual block, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1512.03385, table 1; dilation: DeepLabV3, https://arxiv.org/abs/1706.05587, section
    3.1; a kernel whose stride was left out has the dilation before it, as in torchvision, so that trained weights
    compute the same.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: blocks in each stage.
        block: a function from (x, filters, stride=, name=) to a tensor, which takes `dilation=` and `first_dilation=`
            too if the output stride is less than that of the last stage; filters double from stage to stage.
        channels: of the stem, and the first stage's filters.
        output_stride: greatest stride; later stages are dilated.
        prefix: what every layer name begins with.
        **norm: settings of the stem's `conv_norm_act`.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`; stride2 is the stem.
    """
    checks.counts("stages", stages)
    x = conv_norm_act(x, channels, 7, stride=2, padding="symmetric", name=f"{prefix}stem", **norm)
    features, total_stride = {"stride2": x}, 4
    x = layers.ZeroPadding2D(1, name=f"{prefix}stem_pool_pad")(x)
    x = layers.MaxPooling2D(3, strides=2, name=f"{prefix}stem_pool")(x)
    for stage, repeats in enumerate(stages, start=1):
        for number in range(1, repeats + 1):
            step = 2 if stage > 1 and number == 1 else 1
            rate = total_stride // output_stride
            settings = {"dilation": rate, "first_dilation": rate // step} if rate > 1 else {}
            stride = step if rate <= 1 else 1
            name = f"{prefix}stage{stage}_block{number}"
            x = block(x, channels * 2 ** (stage - 1), stride=stride, name=name, **settings)
        features[f"stride{total_stride}"] = x
        total_stride *= 2
    return features


def resnet_features(
    x,
    *,
    stages=STAGES_50,
    bottleneck: bool = True,
    keras_form: bool = False,
    channels: int = 64,
    output_stride: int = 32,
    prefix: str = "",
) -> dict:
    """The stem and the stages of ResNet, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1512.03385, table 1; dilation as in `residual_stages`.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: blocks in each stage; channels double from stage to stage.
        bottleneck: blocks of three convolutions rather than two.
        keras_form: biases, and the stride in the first 1x1 of a bottleneck, as in keras.applications, of bottlenecks.
        channels: of the stem and of the first stage's inner convolutions.
        output_stride: greatest stride, 8, 16 or 32; later stages are dilated instead, and their maps keep their names.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`; stride2 is the stem. With an output
        stride of 8 the maps `stride16` and `stride32` have the sides of `stride8`.

    Raises:
        ArgumentError: `keras_form` without bottlenecks, or an unknown output stride.

    Example:
        >>> list(resnet_features(keras.Input((64, 64, 3)), stages=(2, 2, 2, 2), bottleneck=False))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """
    shared = dict(channels=channels, output_stride=checks.one_of("output_stride", output_stride, (8, 16, 32)))
    if not keras_form:
        block = bottleneck_residual if bottleneck else basic_residual
        return residual_stages(x, stages, block, prefix=prefix, epsilon=1e-5, **shared)
    # keras.applications' own constants, so that its weights compute the same here.
    checks.one_of("bottleneck", bottleneck, (True,), "keras.applications has no other form.")
    norm = dict(bias=True, epsilon=1.001e-5, momentum=0.99)
    block = partial(bottleneck_residual, stride_in_first=True, **norm)
    return residual_stages(x, stages, block, prefix=prefix, **shared, **norm)


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1512.03385",
    variants={
        "resnet18": {"stages": STAGES_18, "bottleneck": False},
        "resnet34": {"stages": STAGES_34, "bottleneck": False},
        "resnet50": {"stages": STAGES_50},
        "resnet101": {"stages": STAGES_101},
        "resnet152": {"stages": STAGES_152},
        "resnet50_keras": {"stages": STAGES_50, "keras_form": True},
        "resnet101_keras": {"stages": STAGES_101, "keras_form": True},
        "resnet152_keras": {"stages": STAGES_152, "keras_form": True},
    },
    # torchvision counts no batch-norm statistics: they are added to its figures.
    params={
        "resnet18": 11_689_512 + 9_600,
        "resnet34": 21_797_672 + 17_024,
        "resnet50": 25_557_032 + 53_120,
        "resnet101": 44_549_160 + 105_344,
        "resnet152": 60_192_808 + 151_424,
        "resnet50_keras": 25_636_712,
        "resnet101_keras": 44_707_176,
        "resnet152_keras": 60_419_944,
    },
    reference="torchvision 0.28 plus batch-norm statistics; the _keras forms: keras.applications 3.15.1",
    tags=("cnn",),
    weights={
        "keras-applications": {
            "resnet50_keras": "ResNet50",
            "resnet101_keras": "ResNet101",
            "resnet152_keras": "ResNet152",
        },
        "hugging-face": {
            name: "kerasdl.vision.peers:RESNET"
            for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
        },
    },
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), stages=(1, 1), channels=8, classes=4),
)
def resnet(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    stages=STAGES_50,
    bottleneck: bool = True,
    keras_form: bool = False,
    channels: int = 64,
    dropout: float = 0.0,
) -> keras.Model:
    """ResNet, the image classifier whose layers learn residuals.

    Source: https://arxiv.org/abs/1512.03385, table 1.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        stages: blocks in each stage; channels double from stage to stage.
        bottleneck: blocks of three convolutions rather than two.
        keras_form: biases, and the stride in the first 1x1 of a bottleneck, as in keras.applications, of bottlenecks.
        channels: of the stem and of the first stage's inner convolutions.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("resnet18", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    checks.at_least("channels", channels, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    features = resnet_features(image, stages=stages, bottleneck=bottleneck, keras_form=keras_form, channels=channels)
    x = layers.GlobalAveragePooling2D(name="pool")(list(features.values())[-1])
    logits = prediction_head(x, classes, dropout=dropout)
    return keras.Model(image, logits, name="resnet")
