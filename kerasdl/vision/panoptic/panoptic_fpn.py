"""Panoptic FPN: Mask R-CNN with a semantic branch on the same feature pyramid (https://arxiv.org/abs/1901.02446).

The first network gives proposals and classes of pixels from one pyramid; both networks over proposals are those of Mask
R-CNN. All learn together, and `kerasdl.ops.merge_panoptic` makes one map of both answers.

Deviations: those of Mask R-CNN. The losses of objects have the weight 1, as in Detectron2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras

from kerasdl.blocks import resized_logits, semantic_branch
from kerasdl.core import checks, register
from kerasdl.losses import PixelCrossEntropy

from ..detection.method import Heads, Size
from ..detection.two_stage.faster_rcnn import faster_rcnn
from ..detection.two_stage.mask_rcnn import MaskedBatch, MaskRCNNMethod, MaskTargets


class PanopticBatch(NamedTuple):
    """True objects of a batch as `MaskedBatch` has them, and the classes of its pixels."""

    boxes: Any
    """(B, M, 4)."""
    classes: Any
    """(B, M)."""
    valid: Any
    """(B, M)."""
    crowd: Any
    """(B, M)."""
    masks: Any
    """(B, M, H, W)."""
    semantic: Any
    """(B, H, W) int32 from 0 to S - 1 of stuff, S of all things, and 255 where nothing is learnt."""


class PanopticTargets(NamedTuple):
    """Targets of the networks over proposals, and of the semantic branch."""

    masks: MaskTargets
    """Those of Mask R-CNN."""
    semantic: Any
    """(B, H, W), as in `PanopticBatch`."""


@dataclass(frozen=True)
class PanopticFPNMethod(MaskRCNNMethod):
    """Mask R-CNN's targets and losses, and the cross-entropy of the pixels' classes, all things being one class.

    In training its heads have `semantic` (B, H, W, S + 1), logits of S classes of stuff and of things, beside those of
    `MaskRCNNMethod`.
    """

    name = "panoptic_fpn"
    loss_names = (*MaskRCNNMethod.loss_names, "semantic")
    semantic_weight: float = 0.5
    """Weight of the loss of the semantic branch, section 3.2 of the paper; the value is that of Detectron2 for COCO."""

    def targets(self, heads: Heads, truth: PanopticBatch, size: Size) -> PanopticTargets:
        return PanopticTargets(super().targets(heads, MaskedBatch(*truth[:-1]), size), truth.semantic)

    def loss(self, heads: Heads, targets: PanopticTargets, size: Size) -> dict[str, Any]:
        entropy = PixelCrossEntropy(reduction=None)(targets.semantic, heads["semantic"])
        return {**super().loss(heads, targets.masks, size), "semantic": self.semantic_weight * entropy}


@register(
    task="panoptic_segmentation",
    paper="https://arxiv.org/abs/1901.02446",
    variants={"panoptic_fpn": {}},
    # The first network of `mask_rcnn`, 27,499,471; seven 3x3 convolutions without bias, four from 256 and three from
    # 128 to 128 channels, each with 2 * 128 numbers of group normalisation; and 54 logits from 128 channels.
    params={"panoptic_fpn": 27_499_471 + 9 * 128 * (4 * 256 + 3 * 128) + 7 * 256 + 129 * 54},
    reference="torchvision 0.29, maskrcnn_resnet50_fpn without its heads over proposals, plus batch norm; and "
    "Detectron2's SemSegFPNHead by panoptic_fpn_R_50 (53 classes of stuff and one of things), counted by its layers",
    tags=("cnn", "segmenter", "detector", "two-stage", "panoptic"),
    tiny=dict(
        image_shape=(64, 64, 3),
        stuff=2,
        backbone="mobilenet_v2",
        backbone_settings={"width": 0.25, "stages": ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2))},
        strides=(4, 8),
        channels=16,
        branch_channels=8,
        groups=4,
    ),
    free={"image_shape": (None, None, 3)},
    partners={"box_head": "faster_rcnn_box_head", "mask_head": "mask_rcnn_mask_head"},
)
def panoptic_fpn(
    image_shape=(800, 800, 3),
    *,
    stuff: int = 53,
    backbone: str = "resnet50",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = (4, 8, 16, 32),
    channels: int = 256,
    branch_channels: int = 128,
    groups: int = 32,
) -> keras.Model:
    """Panoptic FPN's first network: that of Mask R-CNN, and classes of pixels from the same pyramid.

    Source: https://arxiv.org/abs/1901.02446, section 3 and figure 3.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None, and need not be multiples.
        stuff: S, classes of pixels that are no objects; 1 is a ground.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        strides: maps of the backbone that the pyramid takes; one coarser level of proposals is added.
        channels: of the pyramid.
        branch_channels: of the semantic branch.
        groups: of the group normalisation in the branch.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to the maps that `faster_rcnn` gives, and `semantic`
        (B, H, W, S + 1), float32 logits of the classes of stuff and, last, of things. Its partners are
        `faster_rcnn_box_head` and `mask_rcnn_mask_head`.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone.

    Example:
        >>> net = panoptic_fpn((64, 50, 3), stuff=1, backbone="mobilenet_v2", channels=32)
        >>> net.output["semantic"].shape, net.output["region_maps_stride32"].shape
        ((None, 64, 50, 2), (None, 2, 2, 32))
    """
    checks.at_least("stuff", stuff, 1)
    settings = dict(backbone_settings=backbone_settings, strides=strides, channels=channels)
    network = faster_rcnn(image_shape, backbone=backbone, **settings)
    pyramid = {f"stride{stride}": network.output[f"region_maps_stride{stride}"] for stride in strides}
    x = semantic_branch(pyramid, branch_channels, groups=groups)
    semantic = resized_logits(x, network.input, stuff + 1, name="semantic")
    return keras.Model(network.input, {**network.output, "semantic": semantic}, name="panoptic_fpn")
