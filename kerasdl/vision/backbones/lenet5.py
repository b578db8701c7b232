"""LeNet-5: convolutions and subsampling for handwritten digits (LeCun et al. 1998).

Deviations, all usual today: every map of C3 sees every map of S2, subsampling is plain average pooling without weights,
tanh is not scaled, and the output layer gives logits rather than distances to drawn characters. Where the image is
not 32x32, adaptive average pooling brings the last map to 5x5.
"""

import keras
from keras import layers

from kerasdl.blocks import prediction_head
from kerasdl.blocks.heads import pooled_to
from kerasdl.core import checks, register


def lenet5_features(x, *, channels=(6, 16), prefix: str = "") -> dict:
    """The two convolutions of LeNet-5, each with its subsampling: C1 and S2, C3 and S4.

    Source: LeCun et al. 1998 (https://doi.org/10.1109/5.726791), section II.B and figure 2.

    Args:
        x: (B, H, W, C), values from -1 to 1.
        channels: of each convolution.
        prefix: what every layer name begins with.

    Returns:
        `{"stride2": (B, H/2 - 2, W/2 - 2, 6), "stride4": (B, H/4 - 3, W/4 - 3, 16)}`.

    Example:
        >>> lenet5_features(keras.Input((32, 32, 1)))["stride4"].shape
        (None, 5, 5, 16)
    """
    features = {}
    for stage, filters in enumerate(channels, start=1):
        x = layers.Conv2D(filters, 5, name=f"{prefix}stage{stage}_conv")(x)
        x = layers.Activation("tanh", name=f"{prefix}stage{stage}_tanh")(x)
        x = layers.AveragePooling2D(2, name=f"{prefix}stage{stage}_pool")(x)
        features[f"stride{2**stage}"] = x
    return features


@register(
    task="image_classification",
    paper="https://doi.org/10.1109/5.726791",
    params={"lenet5": 61_706},
    reference="summed from the paper's layers: 156 + 2,416 + 48,120 + 10,164 + 850",
    tags=("cnn",),
    free={"image_shape": (None, None, 3)},
    tiny=dict(image_shape=(32, 32, 3), channels=(6, 16), hidden=(32, 24), classes=4),
)
def lenet5(
    image_shape=(32, 32, 1), *, classes: int = 10, channels=(6, 16), hidden=(120, 84), dropout: float = 0.0
) -> keras.Model:
    """LeNet-5, the image classifier that read cheques.

    Source: LeCun et al. 1998 (https://doi.org/10.1109/5.726791), section II.B.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: outputs.
        channels: of each of the two convolutions.
        hidden: units of each hidden layer, C5 and F6.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("lenet5").count_params()
        61706
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    x = pooled_to(list(lenet5_features(image, channels=channels).values())[-1], 5)
    x = layers.Flatten(name="flatten")(x)
    for number, units in enumerate(hidden, start=1):
        x = layers.Dense(units, activation="tanh", name=f"hidden{number}")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="lenet5")
