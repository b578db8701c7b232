"""GoogLeNet: inception modules and auxiliary classifiers (https://arxiv.org/abs/1409.4842).

Deviations, all as in torchvision: a batch normalisation after each convolution, no local response normalisation, the
third branch convolves 3x3 where the paper has 5x5, the last pooling is 2x2 where it has 3x3, dropout is 0.2 where it is
0.4, and the auxiliary classifiers average to 4x4 at any size of image.
"""

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, inception, prediction_head
from kerasdl.core import checks, register

# Table 1: channels of 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool projection. Stages 3 to 5.
STAGES = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)


def branches_of(row) -> tuple:
    """Returns the branches of one row of table 1."""
    one, reduce3, three, reduce5, five, pool = row
    return ((one, 1),), ((reduce3, 1), (three, 3)), ((reduce5, 1), (five, 3)), (("max", 3, 1), (pool, 1))


def ceil_pool(x, size: int, *, name: str):
    """Max pooling of stride 2 whose last window may extend beyond the edge."""
    if size == 2:
        return layers.MaxPooling2D(2, strides=2, padding="same", name=name)(x)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"{name}_pad")(x)  # "same" would begin before the edge
    return layers.MaxPooling2D(size, strides=2, name=name)(x)


def googlenet_features(x, *, stages=STAGES, width: int = 64, prefix: str = "") -> dict:
    """The stem and the inception modules of GoogLeNet, with the last tensor of each stride.

    Source: https://arxiv.org/abs/1409.4842, table 1.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        stages: rows of table 1 for each stage.
        width: channels of the stem; it ends with three times as many.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": ..., "stride32": (B, H/32, W/32, c)}`, and the tensors that the auxiliary classifiers read,
        "block4_1" and "block4_4", where there are such.

    Example:
        >>> list(googlenet_features(keras.Input((64, 64, 3))))
        ['stride2', 'stride4', 'stride8', 'block4_1', 'block4_4', 'stride16', 'stride32']
    """
    x = conv_norm_act(x, width, 7, stride=2, padding="symmetric", name=f"{prefix}stem1")
    features = {"stride2": x}
    x = ceil_pool(x, 3, name=f"{prefix}stem1_pool")
    x = conv_norm_act(x, width, 1, name=f"{prefix}stem2")
    x = conv_norm_act(x, 3 * width, 3, name=f"{prefix}stem3")
    features["stride4"] = x
    for stage, rows in enumerate(stages, start=3):
        x = ceil_pool(x, 2 if stage == 5 else 3, name=f"{prefix}stage{stage}_pool")
        for block, row in enumerate(rows, start=1):
            x = inception(x, branches_of(row), name=f"{prefix}stage{stage}_block{block}")
            if stage == 4 and block in (1, 4):
                features[f"block4_{block}"] = x
        features[f"stride{2**stage}"] = x
    return features


def auxiliary_head(x, classes: int, *, name: str):
    """Auxiliary classifier for training (section 5)."""
    x = layers.AdaptiveAveragePooling2D(4, name=f"{name}_pool")(x)
    x = conv_norm_act(x, 128, 1, name=f"{name}_1")
    x = layers.Flatten(name=f"{name}_flatten")(x)
    x = layers.Dense(1024, activation="relu", name=f"{name}_hidden")(x)
    x = layers.Dropout(0.7, name=f"{name}_drop")(x)
    return layers.Dense(classes, dtype="float32", name=f"{name}_head")(x)


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/1409.4842",
    params={"googlenet": 6_624_904 + 14_560},
    reference="torchvision 0.28 without its auxiliary heads, plus batch-norm statistics",
    tags=("cnn",),
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), stages=(((8, 8, 12, 4, 8, 4),),), width=8, classes=4),
)
def googlenet(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    stages=STAGES,
    width: int = 64,
    auxiliary: bool = False,
    dropout: float = 0.2,
) -> keras.Model:
    """GoogLeNet, the image classifier made of inception modules.

    Source: https://arxiv.org/abs/1409.4842, table 1 and section 5.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        stages: rows of table 1 for each stage.
        width: channels of the stem.
        auxiliary: whether to add the two auxiliary classifiers, after the first and the fourth block of stage 4.
            The model then has three outputs, the main one first, each with a loss of its own:
            `model.compile("sgd", loss=[loss] * 3, loss_weights=[1.0, 0.3, 0.3])` and `model.fit(x, (y, y, y))`.
            `keras.Model(model.input, model.outputs[0])` is what remains.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32, or to three of them.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("googlenet", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    features = googlenet_features(image, stages=stages, width=width)
    x = layers.GlobalAveragePooling2D(name="pool")(list(features.values())[-1])
    logits = prediction_head(x, classes, dropout=dropout)
    if not auxiliary:
        return keras.Model(image, logits, name="googlenet")
    beside = [features[key] for key in ("block4_1", "block4_4") if key in features]
    if len(beside) < 2:
        checks.refuse("auxiliary classifiers need four blocks or more in stage 4", [len(rows) for rows in stages])
    heads = [auxiliary_head(y, classes, name=f"auxiliary{number}") for number, y in enumerate(beside, start=1)]
    return keras.Model(image, [logits, *heads], name="googlenet")
