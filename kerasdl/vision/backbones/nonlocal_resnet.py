"""Non-local ResNet: ResNet with self-attention between all places of an image (https://arxiv.org/abs/1711.07971).

Deviations: the paper adds the blocks to nets for video; here they stand in the net for images, at the places of its
table 2c: after every other block of the second and the third stage.
"""

import keras
from keras import layers

from kerasdl.blocks import bottleneck_residual, non_local, prediction_head
from kerasdl.core import checks, register

from .resnet import STAGES_50, residual_stages

# Section 4.1: five blocks in ResNet-50, two in its second and three in its third stage.
PLACES = ("stage2_block2", "stage2_block4", "stage3_block2", "stage3_block4", "stage3_block6")


def nonlocal_resnet_features(x, *, stages=STAGES_50, places=PLACES, channels: int = 64, prefix: str = "") -> dict:
    """The stem and the stages of ResNet with non-local blocks, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1711.07971, section 4.1.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: blocks in each stage.
        places: the residual blocks that a non-local one follows.
        channels: of the stem and of the first stage's inner convolutions.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`.

    Example:
        >>> list(nonlocal_resnet_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """

    blocks = [f"stage{s}_block{b}" for s, count in enumerate(stages, start=1) for b in range(1, count + 1)]
    for place in places:
        checks.one_of("a place", place, blocks)

    def block(x, filters, *, stride, name):
        x = bottleneck_residual(x, filters, stride=stride, name=name)
        return non_local(x, name=f"{name}_non_local") if name.removeprefix(prefix) in places else x

    return residual_stages(x, stages, block, channels=channels, prefix=prefix, epsilon=1e-5)


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1711.07971",
    variants={"nonlocal_resnet50": {"stages": STAGES_50}},
    params={"nonlocal_resnet50": 25_557_032 + 53_120 + 2 * 527_616 + 3 * 2_103_808},
    reference="the blocks of section 3.3 added to torchvision's ResNet-50 in tests/vision/test_zoo.py",
    qat="partial",
    tags=("cnn",),
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), stages=(1, 1), places=("stage1_block1",), channels=8, classes=4),
)
def nonlocal_resnet(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    stages=STAGES_50,
    places=PLACES,
    channels: int = 64,
    dropout: float = 0.0,
) -> keras.Model:
    """Non-local ResNet, the image classifier that attends within its convolutions.

    Source: https://arxiv.org/abs/1711.07971, section 4.1.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        stages: blocks in each stage.
        places: the residual blocks that a non-local one follows, such as "stage2_block2".
        channels: of the stem and of the first stage's inner convolutions.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("nonlocal_resnet50", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    features = nonlocal_resnet_features(image, stages=stages, places=places, channels=channels)
    x = layers.GlobalAveragePooling2D(name="pool")(list(features.values())[-1])
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="nonlocal_resnet")
