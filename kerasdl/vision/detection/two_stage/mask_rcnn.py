"""Mask R-CNN with a feature pyramid: Faster R-CNN with a third network that gives the mask of each object
(https://arxiv.org/abs/1703.06870).

The mask head sees the sampled proposals of objects in training, and the boxes that suppression keeps in prediction. Its
masks are probabilities inside a box; `kerasdl.ops.paste_mask` puts them into the image.

Deviations: those of Faster R-CNN; as torchvision, targets of cells at an outline are shares between 0 and 1, and there
is a mask of the background that nothing uses. Masks are cut out with pixel centres at half pixels, as Detectron2 does
and torchvision does not. The loss of masks is divided by the positive proposals of its image.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
from keras import layers, ops

from kerasdl.core import checks, register
from kerasdl.layers import BatchToRegions, MultiScaleROIAlign, RegionsToBatch
from kerasdl.ops import crop_masks

from ..method import Heads, Size, of_matched
from .faster_rcnn import FasterRCNNMethod, faster_rcnn, map_inputs
from .region_heads import RegionTargets

PAPER = "https://arxiv.org/abs/1703.06870"


class MaskedBatch(NamedTuple):
    """True objects of a batch as `TrueBatch` has them, with their masks."""

    boxes: Any
    """(B, M, 4)."""
    classes: Any
    """(B, M)."""
    valid: Any
    """(B, M)."""
    crowd: Any
    """(B, M)."""
    masks: Any
    """(B, M, H, W) booleans, of the size of the images."""


class MaskTargets(NamedTuple):
    """Targets of the sampled proposals of a batch, and of the P positive ones among them, which learn masks."""

    regions: RegionTargets
    """Targets of all R proposals."""
    classes: Any
    """(B, P) int32, 1 more than the class of the object, 0 where there is no proposal."""
    masks: Any
    """(B, P, rows, columns), the share of each cell that is of the object, from 0 to 1."""
    positive: Any
    """(B, P), 1 for proposals of an object."""


@dataclass(frozen=True)
class MaskRCNNMethod(FasterRCNNMethod):
    """Faster R-CNN's targets and losses, and binary cross-entropy of the mask of the true class alone.

    In training its heads have `mask_boxes` (B, P, 4), the positive proposals, and `masks` (B, P, rows, columns, 1 + K)
    beside those of `RegionMethod`.
    """

    name = "mask_rcnn"
    loss_names = ("objectness", "offsets", "classes", "boxes", "masks")
    roles = ("model", "box_head", "mask_head")

    def positives(self, proposals: Any, truth: MaskedBatch) -> Any:
        """Returns the proposals (B, P, 4) of an object, 0 behind the last one; P is their largest number."""
        is_positive = ops.cast(self.matches(proposals, truth) >= 0, "float32")
        most = max(1, int(min(self.samples, proposals.shape[1]) * self.positive_share))
        flags, places = ops.top_k(is_positive, most)
        return ops.take_along_axis(proposals, ops.cast(places, "int32")[..., None], axis=1) * flags[..., None]

    def targets(self, heads: Heads, truth: MaskedBatch, size: Size) -> MaskTargets:
        matches = self.matches(heads["mask_boxes"], truth)  # (B, P)
        is_positive = matches >= 0
        return MaskTargets(
            super().targets(heads, truth, size),
            ops.where(is_positive, of_matched(truth.classes, matches) + 1, 0),
            crop_masks(truth.masks, heads["mask_boxes"], ops.maximum(matches, 0), tuple(heads["masks"].shape[2:4])),
            ops.cast(is_positive, "float32"),
        )

    def loss(self, heads: Heads, targets: MaskTargets, size: Size) -> dict[str, Any]:
        own = of_class(heads["masks"], targets.classes)
        entropy = ops.mean(ops.binary_crossentropy(targets.masks, own, from_logits=True), axis=(2, 3))  # (B, P)
        number = ops.maximum(ops.sum(targets.positive, axis=-1), 1.0)
        masks = ops.sum(entropy * targets.positive, axis=-1) / number
        return {**super().loss(heads, targets.regions, size), "masks": masks}


def of_class(masks: Any, classes: Any) -> Any:
    """Returns the mask of one class of each region.

    Args:
        masks: (B, R, rows, columns, 1 + K).
        classes: (B, R) int32, from 0 to K.

    Returns:
        (B, R, rows, columns).
    """
    return ops.sum(masks * ops.one_hot(classes, masks.shape[-1])[:, :, None, None], axis=-1)


def own_masks(masks: Any, classes: Any, scores: Any) -> Any:
    """Returns the probabilities (B, M, rows, columns) of the masks of objects; see `OwnMasks`."""
    is_some = ops.cast(scores > 0, masks.dtype)[..., None, None]
    return ops.sigmoid(of_class(masks, classes + 1)) * is_some


@keras.saving.register_keras_serializable("kerasdl")
class OwnMasks(keras.layers.Layer):
    """Probabilities of the mask of each object, that of its own class.

    Input:
        (B, M, rows, columns, 1 + K) logits of masks, that of the background first; (B, M) classes from 0; and (B, M)
        scores, 0 where there is no object.

    Returns:
        (B, M, rows, columns) from 0 to 1; 0 where there is no object.

    Example:
        >>> OwnMasks()([keras.Input((9, 28, 28, 4)), keras.Input((9,), dtype="int32"), keras.Input((9,))]).shape
        (None, 9, 28, 28)
    """

    def call(self, inputs):
        return own_masks(*inputs)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0][:-1])


@register(
    task="object_detection",
    paper=PAPER,
    variants={"mask_rcnn": {}},
    # torchvision's 44,401,393 less the 14,362,055 of the box head and the 2,646,107 of the mask head (91 classes with
    # the background); torchvision counts no batch norm: 2 trained and 2 measured numbers of 26,560 channels are added.
    params={"mask_rcnn": 44_401_393 - 14_362_055 - 2_646_107 + 106_240},
    reference="torchvision 0.29, maskrcnn_resnet50_fpn without its heads over proposals, plus batch norm",
    weights={"torch": "kerasdl.vision.detector_peers:MASK_RCNN"},
    tags=("cnn", "detector", "two-stage", "instance-segmentation"),
    tiny=dict(
        image_shape=(64, 64, 3),
        backbone="mobilenet_v2",
        backbone_settings={"width": 0.25, "stages": ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2))},
        strides=(4, 8),
        channels=16,
    ),
    free={"image_shape": (None, None, 3)},
    partners={"box_head": "faster_rcnn_box_head", "mask_head": "mask_rcnn_mask_head"},
)
def mask_rcnn(
    image_shape=(800, 800, 3),
    *,
    backbone: str = "resnet50",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = (4, 8, 16, 32),
    channels: int = 256,
) -> keras.Model:
    """Mask R-CNN's first network, which is Faster R-CNN's: backbone, feature pyramid and region proposals.

    Source: https://arxiv.org/abs/1703.06870, section 3.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        strides: maps of the backbone that the pyramid takes; one coarser level of proposals is added.
        channels: of the pyramid.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to the maps that `faster_rcnn` gives. Its partners are
        `faster_rcnn_box_head` and `mask_rcnn_mask_head`.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone.

    Example:
        >>> mask_rcnn((64, 64, 3), backbone="mobilenet_v2", channels=32).output["region_maps_stride32"].shape
        (None, 2, 2, 32)
    """
    settings = dict(backbone_settings=backbone_settings, strides=strides, channels=channels)
    network = faster_rcnn(image_shape, backbone=backbone, **settings)
    return keras.Model(network.input, network.output, name="mask_rcnn")


@register(
    task="network",
    paper=PAPER,
    variants={"mask_rcnn_mask_head": {}},
    exports={"int16x8": "TFLite has no int16 kernel for LESS, by which proposals find their level"},
    params={"mask_rcnn_mask_head": 2_646_107},
    reference="torchvision 0.29, mask_head and mask_predictor of maskrcnn_resnet50_fpn, 90 classes and the background",
    weights={"torch": "kerasdl.vision.detector_peers:MASK_RCNN_MASK_HEAD"},
    tags=("detector", "two-stage", "instance-segmentation"),
    tiny=dict(
        image_shape=(64, 64, 3), classes=3, strides=(4, 8), channels=16, size=4, convolutions=2, width=16, proposals=8
    ),
    free={"image_shape": (None, None, 3), "proposals": None},
)
def mask_rcnn_mask_head(
    image_shape=(None, None, 3),
    *,
    classes: int = 90,
    strides: Sequence[int] = (4, 8, 16, 32),
    channels: int = 256,
    size: int = 14,
    convolutions: int = 4,
    width: int = 256,
    proposals: int | None = None,
) -> keras.Model:
    """Mask R-CNN's third network: a mask for each class of each proposal, from its features on its pyramid level.

    Source: https://arxiv.org/abs/1703.06870, section 3.1 and figure 4, right.

    Args:
        image_shape: of the first network's images; height and width may be None, which fits every one.
        classes: K, classes without background.
        strides: of the maps, as the first network has them.
        channels: of the maps.
        size: rows and columns of the features of a proposal; a mask has twice as many.
        convolutions: number of 3x3 convolutions.
        width: of the convolutions.
        proposals: R, proposals of an image; None takes any number.

    Returns:
        A model from a dict of `region_maps_stride4` (B, H/4, W/4, channels) and so on, and `proposals` (B, R, 4),
        `xyxy` boxes in pixels, to `{"masks"}` (B, R, 2 * size, 2 * size, 1 + K) in float32, logits of each cell of the
        box; those of the background, the first, are unused.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> mask_rcnn_mask_head(classes=3, channels=16, width=16).output["masks"].shape
        (None, None, 28, 28, 4)
    """
    for name, value in {"classes": classes, "size": size, "convolutions": convolutions, "width": width}.items():
        checks.at_least(name, value, 1)
    inputs = map_inputs(image_shape, strides, channels)
    inputs["proposals"] = keras.Input((proposals, 4), name="proposals")
    x = MultiScaleROIAlign(size, strides=tuple(strides), name="align")(list(inputs.values()))  # (B, R, size, size, C)
    x = RegionsToBatch(name="to_batch")(x)
    relu = dict(activation="relu", kernel_initializer="he_normal")
    for number in range(1, 1 + convolutions):
        x = layers.Conv2D(width, 3, padding="same", name=f"conv{number}", **relu)(x)
    x = layers.Conv2DTranspose(width, 2, strides=2, name="upsample", **relu)(x)
    start = keras.initializers.RandomNormal(stddev=0.001)
    x = layers.Conv2D(1 + classes, 1, kernel_initializer=start, dtype="float32", name="masks_conv")(x)
    x = BatchToRegions(dtype="float32", name="masks")([x, inputs["proposals"]])
    return keras.Model(inputs, {"masks": x}, name="mask_rcnn_mask_head")
