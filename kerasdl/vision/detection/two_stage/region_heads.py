"""Classification and regression of given proposals, which R-CNN, Fast R-CNN and Faster R-CNN share
(https://arxiv.org/abs/1504.08083, sections 2.2 and 2.3).

Deviations: as torchvision, every proposal below the IoU of positives is background, however little it overlaps, and the
smooth L1 loss turns at 1/9. The loss of an image is divided by its sampled proposals, and then averaged over images.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
from keras import layers, ops

from kerasdl.core.keras_graph import freeze_inside
from kerasdl.losses import SmoothL1
from kerasdl.ops import (
    are_boxes_large,
    decode_offsets,
    encode_offsets,
    match_by_overlap,
    pairwise_overlaps,
    sample_balanced,
)
from kerasdl.ops.matching import BACKGROUND, IGNORED

from ..method import Heads, Method, Size, TrueBatch, ignored, of_matched
from .region_proposals import BETA

VARIANCES = (0.1, 0.1, 0.2, 0.2)  # offsets are multiplied by 10, 10, 5 and 5


class RegionTargets(NamedTuple):
    """Targets of all proposals of a batch."""

    classes: Any
    """(B, R) int32, 0 for background, and 1 more than the class for an object."""
    offsets: Any
    """(B, R, 4) of the matched box."""
    positive: Any
    """(B, R), 1 for proposals of an object."""
    counts: Any
    """(B, R), 0 for proposals that teach nothing."""


@dataclass(frozen=True)
class RegionMethod(Method):
    """Proposals matched by IoU, cross-entropy over the classes and background, smooth L1 of the own class's offsets.

    Its heads are `proposals` (B, R, 4), boxes in pixels of which those without area count as none; `classes`
    (B, R, 1 + K) logits, background first; and `boxes` (B, R, 4 * (1 + K)) offsets of each class, those of the
    background unused.
    """

    name = "regions"
    loss_names = ("classes", "boxes")
    positive: float = 0.5
    """IoU from which on a proposal is positive; all others are background."""
    samples: int = 512
    """Proposals of an image that count in the loss."""
    positive_share: float = 0.25
    """Share of positives among them at most."""

    def assign(self, heads: Heads, truth: TrueBatch, size: Size) -> tuple[Any, Any]:
        return heads["proposals"], self.matches(heads["proposals"], truth)

    def matches(self, proposals: Any, truth: TrueBatch) -> Any:
        """Returns (B, R) int32, the true box of each proposal, `BACKGROUND` or `IGNORED`."""
        overlaps = pairwise_overlaps(proposals, truth.boxes)  # (B, R, M)
        bounds = dict(positive=self.positive, negative=self.positive, rescue="none")
        matches = ignored(match_by_overlap(overlaps, truth.valid, **bounds), proposals, truth)
        return ops.where(are_boxes_large(proposals, 0.0), matches, IGNORED)

    def sampled(self, proposals: Any, truth: TrueBatch, noise: Any) -> Any:
        """Returns a random sample of the proposals of each image and of its true boxes.

        Args:
            proposals: (B, R, 4) `xyxy` boxes in pixels.
            truth: true objects of the batch, of M boxes.
            noise: (B, R + M) uniform random numbers.

        Returns:
            (B, S, 4), where S is `samples`, or R where that is less; 0 where there are fewer boxes.
        """
        true_boxes = truth.boxes * ops.cast(truth.valid, "float32")[..., None]
        boxes = ops.concatenate([proposals, true_boxes], axis=1)
        count = min(self.samples, proposals.shape[1])
        matches = self.matches(boxes, truth)
        taken = sample_balanced(matches, noise, count=count, positive_share=self.positive_share)
        flags, places = ops.top_k(ops.cast(taken, "float32"), count)
        chosen = ops.take_along_axis(boxes, ops.cast(places, "int32")[..., None], axis=1)
        return ops.stop_gradient(chosen * flags[..., None])

    def targets(self, heads: Heads, truth: TrueBatch, size: Size) -> RegionTargets:
        matches = self.matches(heads["proposals"], truth)
        is_positive = matches >= 0
        positive = ops.cast(is_positive, "float32")
        boxes = ops.where(is_positive[..., None], of_matched(truth.boxes, matches), 1.0)
        anchors = ops.where(is_positive[..., None], heads["proposals"], ops.convert_to_tensor([0.0, 0.0, 1.0, 1.0]))
        return RegionTargets(
            ops.where(is_positive, of_matched(truth.classes, matches) + 1, 0),
            encode_offsets(boxes, anchors, VARIANCES) * positive[..., None],
            positive,
            ops.cast(matches >= BACKGROUND, "float32"),
        )

    def loss(self, heads: Heads, targets: RegionTargets, size: Size) -> dict[str, Any]:
        entropy = ops.sparse_categorical_crossentropy(targets.classes, heads["classes"], from_logits=True)  # (B, R)
        own = ops.one_hot(targets.classes, heads["classes"].shape[-1])[..., None]  # (B, R, 1 + K, 1)
        offsets = ops.sum(of_each_class(heads) * own, axis=2)
        gaps = SmoothL1(BETA, reduction=None)(targets.offsets, offsets)
        number = ops.maximum(ops.sum(targets.counts, axis=-1), 1.0)
        return {
            "classes": ops.sum(entropy * targets.counts, axis=-1) / number,
            "boxes": ops.sum(gaps * targets.positive, axis=-1) / number,
        }

    def decode(self, heads: Heads, size: Size) -> tuple[Any, Any]:
        """Returns boxes (B, R, K, 4), one for each class, and scores (B, R, K), 0 where there is no proposal."""
        is_box = ops.cast(are_boxes_large(heads["proposals"], 0.0), "float32")[..., None]
        offsets = of_each_class(heads)[:, :, 1:]
        boxes = decode_offsets(offsets, heads["proposals"][:, :, None], VARIANCES)
        return boxes, ops.softmax(heads["classes"])[..., 1:] * is_box


def of_each_class(heads: Heads) -> Any:
    """Returns the offsets of the classes and the background, (B, R, 1 + K, 4)."""
    boxes, logits = heads["boxes"], heads["classes"]
    return ops.reshape(boxes, (-1, *boxes.shape[1:2], logits.shape[-1], 4))


def region_outputs(x: Any, classes: int) -> dict[str, Any]:
    """Last layers of a network over proposals: logits of the background and K classes, and offsets of each.

    Source: https://arxiv.org/abs/1504.08083, section 2.1; weights start as in section 3.1.

    Args:
        x: (..., D) features of each proposal.
        classes: K.

    Returns:
        `classes` (..., 1 + K) and `boxes` (..., 4 * (1 + K)), both float32.
    """
    settings = (("classes", 1 + classes, 0.01), ("boxes", 4 * (1 + classes), 0.001))
    heads = {}
    for name, width, spread in settings:
        start = keras.initializers.RandomNormal(stddev=spread)
        heads[name] = layers.Dense(width, kernel_initializer=start, dtype="float32", name=name)(x)
    return heads


LAST_LAYERS = {"classes": ("units", 1), "boxes": ("units", 4), "masks_conv": ("filters", 1)}
"""Layers of networks over proposals that have numbers for each class: the argument of their width, and how many."""


def with_classes(network: keras.Model, classes: int) -> tuple[keras.Model, list[str]]:
    """Returns a copy of a network over proposals for other classes: its last layers are new, all others keep weights.

    Args:
        network: functional model that ends in layers of `LAST_LAYERS`.
        classes: K.

    Returns:
        The copy, and the names of the new layers.
    """
    names = {layer.name for layer in network.layers}
    new = [name for name in LAST_LAYERS if name in names]

    def made_anew(layer: keras.layers.Layer) -> keras.layers.Layer:
        argument, each = LAST_LAYERS.get(layer.name, (None, 0))
        width = {argument: each * (1 + classes)} if argument else {}
        return type(layer).from_config({**layer.get_config(), **width})

    copy = freeze_inside(keras.models.clone_model(network, clone_function=made_anew))
    for layer in network.layers:
        if layer.name not in new:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy, new
