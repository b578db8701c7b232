"""R-CNN: each proposal cut out of the image, warped to one size and classified by a network (arXiv:1311.2524).

Deviations: a softmax over the classes and the background stands in place of one support vector machine a class, boxes
are regressed by a layer of the same network, and both learn at once, as in Fast R-CNN. Outside the image a crop is 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import layers, ops

from kerasdl.core import checks, register

from ...feature_maps import backbone_features
from ..method import Size
from .region_heads import region_outputs
from .windows import WindowMethod


@dataclass(frozen=True)
class CropMethod(WindowMethod):
    """Sliding windows or searched boxes, each cut out and classified by itself."""

    name = "rcnn"
    overlap = 0.3
    samples: int = 128
    context: int = 16
    """Pixels of the warped crop, on every side, that show what is around the proposal."""
    crops_at_once: int = 128
    """Crops of an image that are computed at once in prediction, which bounds the memory."""

    def with_context(self, boxes: Any, size: Size) -> Any:
        """Returns boxes (B, R, 4) widened so that their own part is `context` pixels from every edge of the crop.

        Raises:
            ArgumentError: a crop of (height, width) `size` is no larger than its context.
        """
        left, top, right, bottom = ops.split(boxes, 4, axis=-1)
        shares = []
        for start, end, side in ((left, right, size[1]), (top, bottom, size[0])):
            if side <= 2 * self.context:
                checks.refuse(f"crops must have sides above twice the context of {self.context}", size)
            more = (end - start) * self.context / (side - 2 * self.context)
            shares.append((start - more, end + more))
        (left, right), (top, bottom) = shares
        return ops.concatenate([left, top, right, bottom], axis=-1)


@register(
    task="network",
    paper="https://arxiv.org/abs/1311.2524",
    variants={"rcnn": {}},
    params={"rcnn": 14_714_688 + 25_088 * 4_096 + 4_096 + 4_097 * 4_096 + 4_097 * 21 * 5},
    reference="VGG-16 (section 3.3) with 21 classes in place of 1,000, and the offsets of each",
    tags=("cnn", "detector", "two-stage"),
    tiny=dict(
        image_shape=(40, 40, 3),
        backbone_settings={"stages": (1, 1, 1), "channels": (8, 16, 16)},
        stride=8,
        classes=3,
        width=32,
        dropout=0.0,
    ),
)
def rcnn(
    image_shape=(224, 224, 3),
    *,
    classes: int = 20,
    backbone: str = "vgg16",
    backbone_settings: Mapping[str, Any] | None = None,
    stride: int = 32,
    width: int = 4096,
    dropout: float = 0.5,
) -> keras.Model:
    """R-CNN's network: class and box of the object in the middle of a crop.

    Source: https://arxiv.org/abs/1311.2524, section 2, and appendices A and C.

    Args:
        image_shape: height, width and channels of crops in pixels.
        classes: K, classes without background.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        stride: of the map of the backbone.
        width: of both hidden layers.
        dropout: rate after each hidden layer, from 0 to 1.

    Returns:
        A model from crops (B, H, W, C), values from -1 to 1, to float32 `classes` (B, 1 + K), logits with the
        background first, and `boxes` (B, 4 * (1 + K)), offsets from the proposal for each; those of the background are
        unused.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone.

    Example:
        >>> net = rcnn((64, 64, 3), classes=3, width=32)
        >>> net.output["classes"].shape, net.output["boxes"].shape
        ((None, 4), (None, 16))
    """
    checks.at_least("classes", classes, 1)
    checks.at_least("width", width, 1)
    checks.within("dropout", dropout, 0.0, 1.0)
    shape = checks.image_shape("image_shape", image_shape)
    if None in shape:
        checks.refuse("image_shape of crops must have known sides", shape)
    crop = keras.Input(shape, name="crop")
    (x,) = backbone_features(crop, backbone, backbone_settings, strides=(stride,)).values()
    x = layers.Flatten(name="flatten")(x)
    for number in (1, 2):
        x = layers.Dense(width, activation="relu", name=f"hidden{number}")(x)
        x = layers.Dropout(dropout, name=f"drop{number}")(x)
    return keras.Model(crop, region_outputs(x, classes), name="rcnn")
