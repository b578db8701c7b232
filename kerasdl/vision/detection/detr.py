"""DETR: a transformer over feature maps, whose queries each tell one object or none (https://arxiv.org/abs/2005.12872).

Deviations: the loss of an image is divided by its own true boxes, and then averaged over images. Batch norm of the
backbone learns, as everywhere here, where the authors keep it still. `placed_values` adds positions at the input and in
attention; table 3 of the paper has either.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from kerasdl.core import checks, register
from kerasdl.layers import LearnedQueries, SinePositions2D
from kerasdl.ops import aligned_overlaps, convert_boxes, match_one_to_one, pairwise_overlaps

from ..feature_maps import backbone_features
from .method import Heads, Method, Size, TrueBatch, of_matched


class DETRTargets(NamedTuple):
    """Targets of the queries of one decoder layer."""

    classes: Any
    """(B, Q) int32; K, no object, for queries without a match."""
    boxes: Any
    """(B, Q, 4) of the matched box: centre and sides as shares of the image's sides."""
    positive: Any
    """(B, Q), 1 for matched queries."""
    number: Any
    """(B,), true boxes of each image, at least 1."""


@dataclass(frozen=True)
class DETRMethod(Method):
    """One query for each true box by the least total cost; cross-entropy with no object, L1 and GIoU."""

    name = "detr"
    loss_names = ("classes", "boxes", "overlaps")
    overlap = None
    class_cost: float = 1.0
    """Weight of the score of the true class in the cost of a match."""
    box_cost: float = 5.0
    """Weight of the absolute difference of boxes, in cost and loss."""
    overlap_cost: float = 2.0
    """Weight of the GIoU, in cost and loss."""
    no_object: float = 0.1
    """Weight of queries without an object in the cross-entropy."""

    def assign(self, heads: Heads, truth: TrueBatch, size: Size) -> tuple[Any, Any]:
        true = convert_boxes(truth.boxes, "xyxy", "rel_cxcywh", image_size=size)
        return self.decode(heads, size)[0], self._matches(heads["classes"], heads["boxes"], truth, true)

    def targets(self, heads: Heads, truth: TrueBatch, size: Size) -> dict[str, DETRTargets]:
        true = convert_boxes(truth.boxes, "xyxy", "rel_cxcywh", image_size=size)  # (B, M, 4)
        number = ops.maximum(ops.sum(ops.cast(truth.valid, "float32"), axis=-1), 1.0)
        return {layer: self._matched(*pair, truth, true, number) for layer, pair in _by_layer(heads).items()}

    def _matches(self, logits: Any, boxes: Any, truth: TrueBatch, true: Any) -> Any:
        shares = ops.softmax(logits, axis=-1)  # (B, Q, K + 1)
        of_class = ops.matmul(shares, ops.swapaxes(ops.one_hot(truth.classes, shares.shape[-1]), 1, 2))  # (B, Q, M)
        apart = ops.sum(ops.abs(boxes[:, :, None] - true[:, None]), axis=-1)
        edges, true_edges = (convert_boxes(each, "cxcywh", "xyxy") for each in (boxes, true))
        overlaps = pairwise_overlaps(edges, true_edges, "giou")
        costs = self.box_cost * apart - self.class_cost * of_class - self.overlap_cost * overlaps
        return match_one_to_one(costs, truth.valid)  # (B, Q)

    def _matched(self, logits: Any, boxes: Any, truth: TrueBatch, true: Any, number: Any) -> DETRTargets:
        matches = self._matches(logits, boxes, truth, true)
        is_some = matches >= 0
        classes = ops.where(is_some, of_matched(truth.classes, matches), logits.shape[-1] - 1)
        return DETRTargets(classes, of_matched(true, matches), ops.cast(is_some, "float32"), number)

    def loss(self, heads: Heads, targets: Mapping[str, DETRTargets], size: Size) -> dict[str, Any]:
        parts = [self._loss(*pair, targets[layer]) for layer, pair in _by_layer(heads).items()]
        return {name: sum(each[name] for each in parts) for name in parts[0]}

    def _loss(self, logits: Any, boxes: Any, targets: DETRTargets) -> dict[str, Any]:
        entropy = ops.sparse_categorical_crossentropy(targets.classes, logits, from_logits=True)  # (B, Q)
        weights = ops.where(targets.positive > 0, 1.0, self.no_object)
        apart = ops.sum(ops.abs(boxes - targets.boxes), axis=-1)
        edges, true_edges = (convert_boxes(each, "cxcywh", "xyxy") for each in (boxes, targets.boxes))
        gaps = 1 - aligned_overlaps(edges, true_edges, "giou")
        return {
            "classes": ops.sum(entropy * weights, axis=-1) / ops.sum(weights, axis=-1),
            "boxes": self.box_cost * ops.sum(apart * targets.positive, axis=-1) / targets.number,
            "overlaps": self.overlap_cost * ops.sum(gaps * targets.positive, axis=-1) / targets.number,
        }

    def decode(self, heads: Heads, size: Size) -> tuple[Any, Any]:
        """Returns boxes and scores; each query scores for its likeliest class alone."""
        shares = ops.softmax(heads["classes"], axis=-1)[..., :-1]
        best = ops.cast(shares == ops.max(shares, axis=-1, keepdims=True), shares.dtype)
        height, width = size
        return convert_boxes(heads["boxes"] * np.array([width, height] * 2, "float32"), "cxcywh", "xyxy"), shares * best


def _by_layer(heads: Heads) -> dict[str, tuple[Any, Any]]:
    """Returns class logits and boxes of each decoder layer that has heads, by the end of their names."""
    ends = sorted(name.removeprefix("classes") for name in heads if name.startswith("classes"))
    return {end or "last": (heads[f"classes{end}"], heads[f"boxes{end}"]) for end in ends}


def detr_encoder_layer(x, positions, heads: int, *, hidden: int, dropout: float, name: str):
    """Encoder layer of DETR: self-attention and a perceptron, each followed by a sum and a normalisation.

    Source: https://arxiv.org/abs/2005.12872, figure 10.

    Args:
        x: (B, T, D).
        positions: (B, T, D), added to queries and keys.
        heads: attention heads.
        hidden: width of the perceptron.
        dropout: rate after attention and in the perceptron.
        name: prefix of the layer names.

    Returns:
        (B, T, D).
    """
    placed = layers.Add(name=f"{name}_placed")([x, positions])
    x = _attended(x, placed, placed, x, heads, dropout, f"{name}_attention")
    return _fed_forward(x, hidden, dropout, name)


def detr_decoder_layer(x, queries, memory, placed, heads: int, *, hidden: int, dropout: float, name: str):
    """Decoder layer of DETR: attention among queries, attention to the image, and a perceptron, normalised after each.

    Source: https://arxiv.org/abs/2005.12872, figure 10.

    Args:
        x: (B, Q, D).
        queries: (B, Q, D), the learned queries, added to queries and keys.
        memory: (B, T, D), output of the encoder.
        placed: (B, T, D), the same with positions.
        heads: attention heads.
        hidden: width of the perceptron.
        dropout: rate after attention and in the perceptron.
        name: prefix of the layer names.

    Returns:
        (B, Q, D).
    """
    asked = layers.Add(name=f"{name}_asked")([x, queries])
    x = _attended(x, asked, asked, x, heads, dropout, f"{name}_self")
    asked = layers.Add(name=f"{name}_asked_image")([x, queries])
    x = _attended(x, asked, placed, memory, heads, dropout, f"{name}_image")
    return _fed_forward(x, hidden, dropout, name)


def _attended(x, query, key, value, heads: int, dropout: float, name: str):
    y = layers.MultiHeadAttention(heads, x.shape[-1] // heads, name=name)(query, value, key)
    y = layers.Dropout(dropout, name=f"{name}_drop")(y)
    x = layers.Add(name=f"{name}_add")([x, y])
    return layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm")(x)


def _fed_forward(x, hidden: int, dropout: float, name: str):
    y = layers.Dense(hidden, name=f"{name}_expand")(x)
    y = layers.ReLU(name=f"{name}_relu")(y)
    y = layers.Dropout(dropout, name=f"{name}_drop1")(y)
    y = layers.Dense(x.shape[-1], name=f"{name}_project")(y)
    y = layers.Dropout(dropout, name=f"{name}_drop2")(y)
    x = layers.Add(name=f"{name}_add")([x, y])
    return layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm")(x)


@register(
    task="object_detection",
    paper="https://arxiv.org/abs/2005.12872",
    variants={"detr": {}},
    # The authors count no batch norm: 2 trained and 2 measured numbers of each of 26,560 channels are added.
    params={"detr": 41_524_768 + 106_240},
    reference="transformers 4.57, facebook/detr-resnet-50 with 91 labels and no object, plus batch norm",
    unreached={"decoder1_self/value/kernel": "the first decoder layer begins with zeros, as the authors' does"},
    weights={"hugging-face": "kerasdl.vision.detector_peers:DETR"},
    tags=("transformer", "detector"),
    tiny=dict(
        image_shape=(64, 64, 3),
        backbone="mobilenet_v2",
        backbone_settings={"width": 0.25, "stages": ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2))},
        stride=8,
        width=32,
        heads=2,
        encoder_layers=1,
        decoder_layers=1,
        hidden=32,
        queries=8,
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def detr(
    image_shape=(800, 800, 3),
    *,
    classes: int = 91,
    backbone: str = "resnet50",
    backbone_settings: Mapping[str, Any] | None = None,
    stride: int = 32,
    width: int = 256,
    heads: int = 8,
    encoder_layers: int = 6,
    decoder_layers: int = 6,
    hidden: int = 2048,
    queries: int = 100,
    dropout: float = 0.1,
    auxiliary: bool = False,
    placed_values: bool = False,
    temperature: float = 10_000.0,
) -> keras.Model:
    """DETR, the object detector whose learned queries each tell one object, without anchors and suppression.

    Source: https://arxiv.org/abs/2005.12872, section 3.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None.
        classes: K, classes without no object.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        stride: map of the backbone that the transformer reads.
        width: D, numbers of a token.
        heads: attention heads; D is a multiple of it.
        encoder_layers: layers of the encoder, 0 or more.
        decoder_layers: layers of the decoder, 1 or more.
        hidden: width of each perceptron.
        queries: Q, objects of an image at most.
        dropout: rate, from 0 to 1.
        auxiliary: whether every decoder layer has heads, of shared weights; the net then learns from all, and its
            files are heavier.
        placed_values: whether positions are also added to the tokens that enter the encoder, as in the paper's table 3.
            Otherwise only queries and keys of attention contain them: a shallow net then learns places slowly.
        temperature: longest wavelength of the positions over the shortest. DAB-DETR
            (https://arxiv.org/abs/2201.12329, "temperature tuning") takes 20, which tells near places apart.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to raw heads in float32: `classes` (B, Q, K + 1) logits, the
        last of no object, and `boxes` (B, Q, 4), centre and sides as shares of the image's sides; with `auxiliary` also
        `classes_layer1`, `boxes_layer1` and so on.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone.

    Example:
        >>> net = detr((64, 64, 3), classes=3, backbone="resnet18", width=64, queries=10)
        >>> net.output["classes"].shape
        (None, 10, 4)
    """
    checks.at_least("classes", classes, 1)
    checks.at_least("decoder_layers", decoder_layers, 1)
    if width % heads:
        checks.refuse(f"width must be a multiple of the {heads} heads", width)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    (x,) = backbone_features(image, backbone, backbone_settings, strides=(stride,)).values()
    positions = SinePositions2D(width, temperature, name="positions")(x)  # (B, T, D)
    x = layers.Conv2D(width, 1, name="projection")(x)
    x = layers.Reshape((-1, width), name="tokens")(x)
    if placed_values:
        x = layers.Add(name="tokens_placed")([x, positions])
    settings = {"hidden": hidden, "dropout": dropout}
    for number in range(1, encoder_layers + 1):
        x = detr_encoder_layer(x, positions, heads, **settings, name=f"encoder{number}")
    placed = layers.Add(name="memory_placed")([x, positions])
    asked = LearnedQueries(queries, width, name="queries")(x)
    given = layers.Rescaling(0.0, name="nothing_yet")(asked)  # (B, Q, D), zeros
    norm = layers.LayerNormalization(epsilon=1e-5, name="decoder_norm")
    of_layers = {}
    for number in range(1, decoder_layers + 1):
        given = detr_decoder_layer(given, asked, x, placed, heads, **settings, name=f"decoder{number}")
        if auxiliary or number == decoder_layers:
            of_layers["" if number == decoder_layers else f"_layer{number}"] = norm(given)
    return keras.Model(image, _object_heads(of_layers, width, classes), name="detr")


def _object_heads(of_layers: Mapping[str, Any], width: int, classes: int) -> dict[str, Any]:
    """Returns class logits and boxes of each decoder layer by layers of shared weights."""
    of_classes = layers.Dense(classes + 1, dtype="float32", name="classes_dense")
    of_boxes = [
        layers.Dense(width, activation="relu", name="boxes_dense1"),
        layers.Dense(width, activation="relu", name="boxes_dense2"),
        layers.Dense(4, dtype="float32", name="boxes_dense3"),
    ]
    heads = {}
    for end, x in of_layers.items():
        name = f"classes{end}"
        heads[name] = layers.Activation("linear", dtype="float32", name=name)(of_classes(x))
        for layer in of_boxes:
            x = layer(x)
        heads[f"boxes{end}"] = layers.Activation("sigmoid", dtype="float32", name=f"boxes{end}")(x)
    return heads
