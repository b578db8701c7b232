"""Region proposal network (RPN): anchors of a pyramid, judged as object or background and moved to the object
(https://arxiv.org/abs/1506.01497, section 3.1; on a pyramid https://arxiv.org/abs/1612.03144, section 4.1).

Deviations: as torchvision, anchors that leave the image learn too, and suppression treats each level by itself. The
loss of an image is divided by its sampled anchors, and then averaged over images.
"""

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from kerasdl.losses import SmoothL1
from kerasdl.ops import (
    anchor_boxes,
    are_boxes_large,
    clip_boxes,
    decode_offsets,
    encode_offsets,
    match_by_overlap,
    nms,
    pairwise_overlaps,
    sample_balanced,
)
from kerasdl.ops.matching import BACKGROUND

from ..method import Heads, Method, Size, TrueBatch, flattened, ignored, map_sizes, of_matched, strides_of

RATIOS = (0.5, 1.0, 2.0)
BETA = 1 / 9  # of the smooth L1 loss of offsets, as in Faster R-CNN's code


class ProposalTargets(NamedTuple):
    """Targets of all anchors of a batch."""

    offsets: Any
    """(B, A, 4) of the matched box."""
    positive: Any
    """(B, A), 1 for sampled anchors of an object."""
    counts: Any
    """(B, A), 1 for sampled anchors."""


@dataclass(frozen=True)
class ProposalMethod(Method):
    """Anchors of one size a level, matched by IoU, binary cross-entropy and smooth L1 of a random sample."""

    name = "region_proposals"
    overlap = 0.7
    scale: float = 8.0
    """Side of the square anchor of a level, in strides."""
    positive: float = 0.7
    """IoU from which on an anchor is positive."""
    negative: float = 0.3
    """IoU below which an anchor is background."""
    samples: int = 256
    """Anchors of an image that count in the loss."""
    positive_share: float = 0.5
    """Share of positives among them at most."""
    most: int = 1000
    """Proposals of a level before suppression, and of an image after it."""
    most_in_training: int = 2000
    """The same in training."""
    smallest: float = 1e-3
    """Least side of a proposal in pixels."""

    def level_anchors(self, heads: Heads) -> list[np.ndarray]:
        """Returns the (A, 4) anchors of each level."""
        sizes, strides = map_sizes(heads, "objectness"), strides_of(heads, "objectness")
        return [
            anchor_boxes([size], [stride], [[self.scale * stride]], RATIOS, offset=0.0, rounded=True)
            for size, stride in zip(sizes, strides, strict=True)
        ]

    def assign(self, heads: Heads, truth: TrueBatch, size: Size) -> tuple[Any, Any]:
        anchors = np.concatenate(self.level_anchors(heads))
        overlaps = pairwise_overlaps(anchors, truth.boxes)  # (B, A, M)
        matches = match_by_overlap(overlaps, truth.valid, positive=self.positive, negative=self.negative)
        return anchors, ignored(matches, anchors, truth)

    def targets(self, heads: Heads, truth: TrueBatch, size: Size, noise: Any = None) -> ProposalTargets:
        """Returns the targets of every anchor; uniform `noise` (B, A) draws the sample, without it all count."""
        anchors, matches = self.assign(heads, truth, size)
        counts = matches >= BACKGROUND
        if noise is not None:
            counts = sample_balanced(matches, noise, count=self.samples, positive_share=self.positive_share)
        positive = ops.cast(ops.logical_and(counts, matches >= 0), "float32")
        offsets = encode_offsets(of_matched(truth.boxes, matches), anchors) * positive[..., None]
        return ProposalTargets(offsets, positive, ops.cast(counts, "float32"))

    def loss(self, heads: Heads, targets: ProposalTargets, size: Size) -> dict[str, Any]:
        logits = flattened(heads, "objectness", 1)
        entropy = ops.binary_crossentropy(targets.positive[..., None], logits, from_logits=True)[..., 0]
        gaps = SmoothL1(BETA, reduction=None)(targets.offsets, flattened(heads, "offsets", 4))
        number = ops.maximum(ops.sum(targets.counts, axis=-1), 1.0)
        return {
            "objectness": ops.sum(entropy * targets.counts, axis=-1) / number,
            "offsets": ops.sum(gaps * targets.positive, axis=-1) / number,
        }

    def decode(self, heads: Heads, size: Size) -> tuple[Any, Any]:
        boxes = decode_offsets(flattened(heads, "offsets", 4), np.concatenate(self.level_anchors(heads)))
        return boxes, ops.sigmoid(flattened(heads, "objectness", 1))

    def proposals(self, heads: Heads, size: Size, training: bool = False) -> Any:
        """Returns the likeliest boxes of an image, class-agnostic, without gradients.

        Args:
            heads: `objectness` and `offsets` of each level, maps of known sides.
            size: (height, width) of the image in pixels.
            training: whether there are `most_in_training` of them in place of `most`.

        Returns:
            (B, R, 4) float32 `xyxy` boxes inside the image, the likeliest first; places beyond the last one are 0.
        """
        most = self.most_in_training if training else self.most
        boxes, scores, start = [], [], 0
        all_boxes, all_scores = self.decode(heads, size)
        for anchors in self.level_anchors(heads):
            end, few = start + len(anchors), min(most, len(anchors))
            of_level = clip_boxes(all_boxes[:, start:end], size)
            large = ops.cast(are_boxes_large(of_level, self.smallest), "float32")[..., None]
            limits = dict(min_score=0.0, max_boxes=few, candidates=few)
            chosen = nms(of_level, all_scores[:, start:end] * large, overlap=self.overlap, **limits)
            boxes, scores, start = [*boxes, chosen.boxes], [*scores, chosen.scores], end
        boxes, scores = ops.concatenate(boxes, axis=1), ops.concatenate(scores, axis=1)
        _, places = ops.top_k(scores, min(most, scores.shape[1]))
        return ops.stop_gradient(ops.take_along_axis(boxes, ops.cast(places, "int32")[..., None], axis=1))


@keras.saving.register_keras_serializable("kerasdl")
class RegionProposals(keras.layers.Layer):
    """Proposals of a region proposal network, as the layer between both networks of an inference graph.

    Args:
        strides: of the levels in pixels, from fine to coarse.
        image_size: (height, width) of the image in pixels.
        settings: fields of a `ProposalMethod`.

    Input:
        (B, h, w, A) objectness of each level, and after them (B, h, w, 4 * A) offsets of each level.

    Returns:
        (B, R, 4) float32 `xyxy` boxes in pixels, as `ProposalMethod.proposals` gives them.

    Example:
        >>> maps = [keras.Input((8, 8, 3)), keras.Input((8, 8, 12))]
        >>> RegionProposals((8,), (64, 64), {"most": 20})(maps).shape
        (None, 20, 4)
    """

    def __init__(self, strides, image_size, settings=None, **kwargs):
        super().__init__(autocast=False, **kwargs)
        self.strides, self.image_size = tuple(strides), tuple(image_size)
        self.method = ProposalMethod(**(settings or {}))

    def call(self, inputs):
        kinds = [f"{kind}_stride{stride}" for kind in ("objectness", "offsets") for stride in self.strides]
        return self.method.proposals(dict(zip(kinds, inputs, strict=True)), self.image_size)

    def get_config(self):
        own = {"strides": self.strides, "image_size": self.image_size, "settings": asdict(self.method)}
        return {**super().get_config(), **own}
