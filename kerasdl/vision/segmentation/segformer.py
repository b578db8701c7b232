"""SegFormer: segmenter of a Mix Transformer and a decoder of dense layers alone (https://arxiv.org/abs/2105.15203).

Deviations: logits are resized to the image, as transformers does after its net. Drop path is off by default; the
paper's rate is 0.1, `backbone_settings={"drop_path": 0.1}`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from kerasdl.blocks import conv_norm_act, resized_logits
from kerasdl.blocks.detection.levels import upsample_like
from kerasdl.core import checks, register

from ..feature_maps import backbone_features


@register(
    task="semantic_segmentation",
    paper="https://arxiv.org/abs/2105.15203",
    variants={
        "segformer_b0": {"backbone": "mit_b0", "channels": 256},
        "segformer_b1": {"backbone": "mit_b1", "channels": 256},
        "segformer_b2": {"backbone": "mit_b2", "channels": 768},
    },
    # transformers counts no batch-norm statistics: mean and variance of each channel of the decoder are added.
    params={
        "segformer_b0": 3_752_694 + 512,
        "segformer_b1": 13_715_798 + 512,
        "segformer_b2": 27_461_974 + 1_536,
    },
    reference="transformers 5.24, SegformerForSemanticSegmentation with 150 labels, plus batch-norm statistics",
    tags=("transformer", "segmenter"),
    weights={"hugging-face": "kerasdl.vision.segmenter_peers:SEGFORMER"},
    tiny=dict(
        image_shape=(48, 48, 3),
        backbone="mit_b0",
        backbone_settings={
            "widths": (16, 24),
            "depths": (1, 1),
            "heads": (1, 2),
            "reductions": (4, 1),
            "expansion": 2,
        },
        strides=(4, 8),
        channels=16,
        dropout=0.0,
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def segformer(
    image_shape=(512, 512, 3),
    *,
    classes: int = 150,
    backbone: str = "mit_b0",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = (4, 8, 16, 32),
    channels: int = 256,
    dropout: float = 0.1,
) -> keras.Model:
    """SegFormer, the segmenter whose transformer has maps of four strides, joined by dense layers.

    Source: https://arxiv.org/abs/2105.15203, sections 3.1 and 3.2, figure 2.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None, and need not be multiples. A
            Mix Transformer with the paper's reductions needs sides of 29 or more.
        classes: K, classes with background; 1 for one foreground.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        strides: maps of the backbone, from fine to coarse; the first has the size of the logits before resizing.
        channels: of each map in the decoder.
        dropout: rate before the logits, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, H, W, K) in float32.

    Raises:
        ArgumentError: an argument breaks its rule, or a side is too small for the backbone.
        UnknownNameError: there is no such backbone, or it has no map of a stride.

    Example:
        >>> segformer((65, 50, 3), classes=3, channels=32).output_shape
        (None, 65, 50, 3)
    """
    checks.within("dropout", dropout, 0.0, 1.0)
    checks.at_least("channels", channels, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    maps = backbone_features(image, backbone, backbone_settings, strides=strides)
    finest, joined = next(iter(maps.values())), []
    for name, each in maps.items():
        x = layers.Dense(channels, name=f"{name}_project")(each)
        if joined:
            x = upsample_like(x, finest, interpolation="bilinear", name=f"{name}_upsample")
        joined.append(x)
    x = layers.Concatenate(name="concat")(joined[::-1]) if joined[1:] else joined[0]
    x = conv_norm_act(x, channels, 1, epsilon=1e-5, name="fuse")
    x = layers.Dropout(dropout, name="drop")(x) if dropout else x
    return keras.Model(image, resized_logits(x, image, classes), name="segformer")
