"""CNN + LSTM over the frames of a clip (LRCN, https://arxiv.org/abs/1411.4389).

Frames meet the CNN as a 3-D convolution whose kernel spans one frame, (1, 3, 3): it computes each frame by itself with
the same weights, as a 2-D convolution would, and is a built-in layer of a flat graph. Strides, (1, 2, 2), make the maps
smaller: TFLite has no 3-D pooling.

Deviations: a small CNN of strided convolutions in place of CaffeNet, trained with the LSTM; the last state gives the
classes, where the paper averages the answers of all frames.
"""

import keras
from keras import layers

from kerasdl.blocks import prediction_head
from kerasdl.core import checks, register

from .task import clip_shape as checked_shape


@register(
    task="video_classification",
    paper="https://arxiv.org/abs/1411.4389",
    variants={"cnn_lstm": {"cell": "lstm"}, "cnn_gru": {"cell": "gru"}},
    params={"cnn_lstm": 684_874, "cnn_gru": 537_674},
    reference="the sum of its layers, in tests/vision/video/test_recurrent_video.py",
    qat="partial",
    tags=("cnn", "recurrent"),
    tiny=dict(clip_shape=(4, 8, 8, 2), channels=(6, 8), units=12, classes=3),
)
def cnn_lstm(
    clip_shape=(16, 64, 64, 3),
    *,
    classes: int = 10,
    channels: tuple[int, ...] = (32, 64, 64, 64),
    cell: str = "lstm",
    units: int = 128,
    dropout: float = 0.0,
) -> keras.Model:
    """CNN over each frame of a clip, and a recurrent layer over what it finds.

    Source: https://arxiv.org/abs/1411.4389, section 3 and figure 2.

    Args:
        clip_shape: frames, height, width and channels; each convolution halves height and width.
        classes: outputs.
        channels: of each convolution.
        cell: `lstm` or `gru`.
        units: of the recurrent layer.
        dropout: rate before the last layer, from 0 to 1.

    Returns:
        A model from clips (B, T, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("cnn_lstm", clip_shape=(8, 32, 32, 1), classes=6).output_shape
        (None, 6)
    """
    frames = checked_shape("clip_shape", clip_shape)[0]
    checks.counts("channels", channels)
    make = {"lstm": layers.LSTM, "gru": layers.GRU}[checks.one_of("cell", cell, ("lstm", "gru"))]
    clip = keras.Input(clip_shape, name="clip")  # (B, T, H, W, C)
    x = clip
    settings = {"strides": (1, 2, 2), "padding": "same", "activation": "relu"}
    for number, filters in enumerate(channels, start=1):
        x = layers.Conv3D(filters, (1, 3, 3), **settings, name=f"conv{number}")(x)
    x = layers.Reshape((frames, -1), name="frames")(x)  # (B, T, D)
    x = make(units, name=cell)(x)
    return keras.Model(clip, prediction_head(x, classes, dropout=dropout), name="cnn_lstm")
