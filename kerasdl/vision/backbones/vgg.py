"""VGG: stacks of 3x3 convolutions, and little else (https://arxiv.org/abs/1409.1556).

Deviations: the `_bn` variants put a batch normalisation before every ReLU, as torchvision does; the paper has none.
Where the last feature map is not 7x7, adaptive average pooling brings it there, so that any image size fits.
"""

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, dense_head
from kerasdl.core import checks, register

# Table 1, columns A, B, D and E: convolutions in each of the five stages.
STAGES = {11: (1, 1, 2, 2, 2), 13: (2, 2, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
CHANNELS = (64, 128, 256, 512, 512)


def vgg_features(
    x,
    *,
    stages=STAGES[16],
    channels=CHANNELS,
    norm: bool = False,
    pooled: bool = True,
    round_up: bool = False,
    prefix: str = "",
) -> dict:
    """The five stages of VGG, each ended by a max pooling.

    Source: https://arxiv.org/abs/1409.1556, table 1.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: convolutions in each stage.
        channels: of each stage.
        norm: a batch normalisation after each convolution.
        pooled: whether the maps are those after each pooling. Otherwise they are those before it, as detectors take
            them, the last pooling is left out, and the others round sides up.
        round_up: whether poolings round odd sides up and not down, as segmenters take them.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2, W/2, c), ..., "stride32": (B, H/32, W/32, c)}`; before pooling `stride1` to `stride16`.

    Example:
        >>> list(vgg_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'stride16', 'stride32']
    """
    features, pooling = {}, "same" if round_up or not pooled else "valid"
    for stage, (repeats, filters) in enumerate(zip(stages, channels, strict=True), start=1):
        for number in range(1, repeats + 1):
            name = f"{prefix}stage{stage}_{number}"
            if norm:
                x = conv_norm_act(x, filters, bias=True, epsilon=1e-5, name=name)
            else:
                x = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv")(x)
                x = layers.ReLU(name=f"{name}_relu")(x)
        if not pooled:
            features[f"stride{2 ** (stage - 1)}"] = x
        if pooled or stage < len(stages):
            x = layers.MaxPooling2D(2, padding=pooling, name=f"{prefix}stage{stage}_pool")(x)
        if pooled:
            features[f"stride{2**stage}"] = x
    return features


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1409.1556",
    variants={
        f"vgg{depth}{suffix}": {"stages": stages, "norm": norm}
        for depth, stages in STAGES.items()
        for suffix, norm in (("", False), ("_bn", True))
    },
    # torchvision counts no batch-norm statistics: those of the _bn variants are added to its figures.
    params={
        "vgg11": 132_863_336,
        "vgg13": 133_047_848,
        "vgg16": 138_357_544,
        "vgg19": 143_667_240,
        "vgg11_bn": 132_868_840 + 5_504,
        "vgg13_bn": 133_053_736 + 5_888,
        "vgg16_bn": 138_365_992 + 8_448,
        "vgg19_bn": 143_678_248 + 11_008,
    },
    reference="torchvision 0.28 plus batch-norm statistics; vgg16 and vgg19 also keras.applications 3.15.1",
    tags=("cnn",),
    weights={"keras-applications": {"vgg16": "VGG16", "vgg19": "VGG19"}},
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), stages=(1, 2), channels=(8, 16), hidden=16, pooled=4, dropout=0.0, classes=4),
)
def vgg(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    stages=STAGES[16],
    channels=CHANNELS,
    norm: bool = False,
    hidden: int = 4096,
    pooled: int = 7,
    dropout: float = 0.5,
) -> keras.Model:
    """VGG, the image classifier that is deep and plain.

    Source: https://arxiv.org/abs/1409.1556, table 1 and section 2.1.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        stages: convolutions in each stage.
        channels: of each stage.
        norm: a batch normalisation after each convolution.
        hidden: units of each of the two hidden layers.
        pooled: side of the feature map that the hidden layers see.
        dropout: rate after each hidden layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("vgg11", image_shape=(32, 32, 3), classes=10, hidden=64, pooled=1).output_shape
        (None, 10)
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    x = list(vgg_features(image, stages=stages, channels=channels, norm=norm).values())[-1]
    logits = dense_head(x, classes, hidden=hidden, pooled=pooled, dropout=dropout)
    return keras.Model(image, logits, name="vgg")
