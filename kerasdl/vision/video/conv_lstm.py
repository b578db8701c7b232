"""ConvLSTM over the frames of a clip: states are maps, gates are convolutions (https://arxiv.org/abs/1506.04214).

Deviations: no peepholes; the paper forecasts the next frames, this net names what happens, by the mean of its last map.
"""

import keras
from keras import layers

from kerasdl.blocks import prediction_head
from kerasdl.core import checks, register

from .task import clip_shape as checked_shape


@register(
    task="video_classification",
    paper="https://arxiv.org/abs/1506.04214",
    variants={"conv_lstm": {}},
    params={"conv_lstm": 262_538},
    reference="equation 3 of the paper without peepholes, summed in tests/vision/video/test_recurrent_video.py",
    qat="partial",
    tags=("cnn", "recurrent"),
    tiny=dict(clip_shape=(3, 8, 8, 2), channels=(4, 6), classes=3),
)
def conv_lstm_classifier(
    clip_shape=(16, 64, 64, 3), *, classes: int = 10, channels: tuple[int, ...] = (32, 64), dropout: float = 0.0
) -> keras.Model:
    """ConvLSTM layers over a clip, strided from the second on, and a head on the mean of the last map.

    Source: https://arxiv.org/abs/1506.04214, section 3.1.

    Args:
        clip_shape: frames, height, width and channels.
        classes: outputs.
        channels: of each ConvLSTM layer.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from clips (B, T, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("conv_lstm", clip_shape=(8, 32, 32, 1), channels=(8, 8), classes=6).output_shape
        (None, 6)
    """
    checked_shape("clip_shape", clip_shape)
    checks.counts("channels", channels)
    clip = keras.Input(clip_shape, name="clip")  # (B, T, H, W, C)
    x = clip
    for level, filters in enumerate(channels, start=1):
        settings = {"strides": 1 if level == 1 else 2, "return_sequences": level < len(channels)}
        x = layers.ConvLSTM2D(filters, 3, padding="same", **settings, name=f"conv_lstm{level}")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(clip, prediction_head(x, classes, dropout=dropout), name="conv_lstm_classifier")
