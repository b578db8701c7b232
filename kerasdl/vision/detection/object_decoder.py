"""Decoding layer of a detector: raw heads to boxes, scores and classes after suppression, for exported files."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks
from kerasdl.core.outputs.agreement import Agreement
from kerasdl.data.letterboxing import Inset, movement, place_in
from kerasdl.ops import clip_boxes, pairwise_overlaps

from .detector import MAX_BOXES, MIN_SCORE, suppressed
from .method import strides_of
from .methods import METHODS

SURE, ALIKE = 0.3, 0.5
"""Least score of an object on which network and file have to agree, and least IoU of the two boxes of one object."""
FEWEST = 10
"""Fewest objects that tell whether a file finds what its network finds."""
LARGEST = {
    "share of objects missed": 0.2,
    "share of objects added": 0.2,
    "edges off by a share of the side of": 0.1,
    "edges shifted by a share of the side of": 0.05,
    "scores off by": 0.15,
}
"""Largest differences of a file in integers. Right files had 0.01, 0.01, 0.007, 0.001 and 0.05."""


@keras.saving.register_keras_serializable("kerasdl")
class ObjectDecoder(keras.layers.Layer):
    """Decoder of raw heads with suppression, in tensors of fixed size, the best object first.

    Args:
        method: name of the detection method, such as `retinanet`.
        input_size: (height, width) of the network's input in pixels.
        min_score: lowest score of an object, from 0 to 1.
        overlap: IoU above which the less likely of two boxes of a class is dropped; None takes the method's.
        max_boxes: M, objects of an image at most.
        class_agnostic: whether boxes suppress boxes of other classes too.
        image_size: (height, width) of the image before it was resized, in whose pixels boxes are given; None takes
            `input_size`.
        letterbox: whether the input of the network is a letterbox of that image, as of `prepare_images`.

    Input:
        The raw heads of a network by name; and, optionally, `thresholds`: a dict of `min_score` and `overlap`, tensors
        (B,) with a number for each image, which take the place of the settings.

    Returns:
        A dict of `boxes` (B, M, 4), left, top, right and bottom edge in pixels of the image, `scores` (B, M),
        `classes` (B, M) int32 and `count` (B,) int32; entries beyond `count` are 0.

    Raises:
        UnknownNameError: there is no such method.
        ArgumentError: an argument breaks its rule.

    Example:
        >>> net = kerasdl.build("fcos", **kerasdl.spec("fcos").tiny)
        >>> ObjectDecoder("fcos", (64, 64), max_boxes=10)(net.output)["boxes"].shape
        (None, 10, 4)
    """

    def __init__(
        self,
        method,
        input_size,
        *,
        min_score=MIN_SCORE,
        overlap=None,
        max_boxes=MAX_BOXES,
        class_agnostic=False,
        image_size=None,
        letterbox=False,
        name=None,
        dtype=None,
        trainable=False,
    ):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.method = checks.known_name("detection method", method, METHODS)
        self.input_size = tuple(checks.counts("input_size", tuple(input_size)))
        self.min_score = checks.within("min_score", min_score, 0.0, 1.0)
        self.overlap = None if overlap is None else checks.within("overlap", overlap, 0.0, 1.0)
        self.image_size = None if image_size is None else tuple(checks.counts("image_size", tuple(image_size)))
        self.letterbox = letterbox
        self.max_boxes, self.class_agnostic = checks.at_least("max_boxes", max_boxes, 1), class_agnostic

    def build(self, input_shape):
        self.built = True

    def call(self, heads, thresholds=None):
        bounds = {"min_score": self.min_score, "overlap": self.overlap, **(thresholds or {})}
        settings = (bounds["min_score"], bounds["overlap"], self.max_boxes, self.class_agnostic)
        found = dict(suppressed(METHODS[self.method], heads, self.input_size, *settings)._asdict())
        if self.image_size is not None:
            factors, shifts = self.movement
            found["boxes"] = found["boxes"] * factors
            if self.letterbox:
                found["boxes"] = clip_boxes(found["boxes"] + shifts, self.image_size)
        return found

    @property
    def judges(self) -> bool:
        """True where `agreement` says all of a file: boxes say nothing of masks."""
        return "mask_head" not in METHODS[self.method].roles

    @property
    def movement(self) -> tuple[list[float], list[float]] | None:
        """Factors and shifts from boxes in pixels of the network's input to those of the image; None without one."""
        if self.image_size is None:
            return None
        place = place_in(self.image_size, self.input_size, self.letterbox)
        return tuple(each.tolist() for each in movement(place, Inset(*self.image_size)))

    def in_order_of(self, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Returns outputs whose objects stand in the places of the like objects of other outputs.

        Args:
            expected: boxes, scores, classes and count of a batch, as NumPy arrays, and others of each object, such as
                masks.
            actual: others of the same shapes.

        Returns:
            The second ones. Each expected object, the best first, takes the nearest of those of its class that are not
            taken; objects that are left stand behind, and fill the places of expected objects without a like one.
        """
        result = {name: np.array(value) for name, value in actual.items()}
        for place in range(len(expected["scores"])):
            order = _like_places(expected, actual, place, max(self.image_size or self.input_size))
            for name in actual.keys() - {"count"}:
                result[name][place] = actual[name][place][order]
        return result

    def agreement(self, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> Agreement | None:
        """Returns how well the objects of the raw heads of a file agree with those of the network.

        Objects of a score of 0.3 or more, of either, must be among those of the other, of the same class and an IoU of
        0.5 or more; scores weigh them. Boxes and scores are compared place by place before suppression, where the
        network has such a score, so that what is decoded from places without an object counts nothing. Proposals of
        two stages change places: there the boxes and scores of like objects are compared, after suppression.

        Args:
            expected: raw heads of the network for a batch, as NumPy arrays.
            actual: raw heads of the file for the same.

        Returns:
            The agreement; None where network and file have fewer than 10 such objects.
        """
        method = METHODS[self.method]
        (boxes, scores), (its_boxes, its_scores) = (
            [np.asarray(each, "float64") for each in method.decode(heads, self.input_size)]
            for heads in (expected, actual)
        )
        if not np.isfinite(its_boxes).all() or not np.isfinite(its_scores).all():
            return None  # the comparison of the heads says it
        own, its = ({name: np.asarray(value) for name, value in self(heads).items()} for heads in (expected, actual))
        likes, its_likes = _likes(own, its), _likes(its, own)
        if max(len(likes), len(its_likes)) < FEWEST:
            return None
        if "proposals" in expected:
            gaps, unseen = _gaps(*_of_likes(likes, own, its)), ()
        else:
            sure = scores.max(axis=-1) >= SURE  # (B, A)
            gaps = _gaps(boxes[sure], its_boxes[sure], scores[sure], its_scores[sure])
            unseen = _unseen(expected, sure)
        values = (_share_without_like(likes, own), _share_without_like(its_likes, its), *gaps)
        bounded = {words: (float(value), bound) for (words, bound), value in zip(LARGEST.items(), values, strict=True)}
        return Agreement(f"{len(likes)} objects of {len(boxes)} examples", bounded, unseen)

    def get_config(self):
        return {
            **super().get_config(),
            "method": self.method,
            "input_size": self.input_size,
            "min_score": self.min_score,
            "overlap": self.overlap,
            "max_boxes": self.max_boxes,
            "class_agnostic": self.class_agnostic,
            "image_size": self.image_size,
            "letterbox": self.letterbox,
        }


def _like_places(expected: Mapping[str, Any], actual: Mapping[str, Any], image: int, side: float) -> np.ndarray:
    """Returns for each place of the expected objects of an image the place of the actual one that goes there."""
    gaps = np.abs(expected["boxes"][image][:, None].astype("float64") - actual["boxes"][image][None]).max(axis=-1)
    gaps = gaps / side + np.abs(expected["scores"][image][:, None].astype("float64") - actual["scores"][image][None])
    gaps[expected["classes"][image][:, None] != actual["classes"][image][None]] = np.inf
    gaps = np.nan_to_num(gaps, nan=np.inf)
    count = len(gaps)
    order, free = np.full(count, -1), np.ones(count, bool)
    for place in range(int(expected["count"][image])):
        nearest = int(np.argmin(np.where(free, gaps[place], np.inf)))
        if free[nearest] and gaps[place, nearest] < 1:
            order[place], free[nearest] = nearest, False
    order[order < 0] = np.flatnonzero(free)
    return order


def _likes(objects: Mapping[str, Any], others: Mapping[str, Any]) -> list[tuple[int, int, int | None]]:
    """Returns the image and the place of each sure object, and the place of its like one among others, if there is one.

    Each takes the one that overlaps it most, of its class, that no better one has taken.
    """
    likes = []
    for image, number in enumerate(objects["count"]):
        sure = int((objects["scores"][image][:number] >= SURE).sum())  # the best stand first
        if not sure:
            continue
        overlaps = np.array(pairwise_overlaps(objects["boxes"][image][:sure], others["boxes"][image]))
        overlaps[objects["classes"][image][:sure, None] != others["classes"][image]] = 0.0
        overlaps[:, others["count"][image] :] = 0.0
        for place in range(sure):
            nearest = int(overlaps[place].argmax())
            is_like = overlaps[place, nearest] >= ALIKE
            likes.append((image, place, nearest if is_like else None))
            if is_like:
                overlaps[:, nearest] = 0.0
    return likes


def _share_without_like(likes: list[tuple[int, int, int | None]], objects: Mapping[str, Any]) -> float:
    """Returns the share of objects, by their scores, that have no like one."""
    scores = np.array([objects["scores"][image][place] for image, place, _ in likes], "float64")
    alone = np.array([other is None for *_, other in likes], bool)
    return float(scores[alone].sum() / scores.sum()) if len(likes) else 0.0


def _of_likes(
    likes: list[tuple[int, int, int | None]], objects: Mapping[str, Any], others: Mapping[str, Any]
) -> tuple[np.ndarray, ...]:
    """Returns the boxes (N, 4) of objects and of their like ones, and the scores (N, 1) of both, for `_gaps`."""
    pairs = [(image, place, other) for image, place, other in likes if other is not None]
    images, places, of_others = np.array(pairs, int).reshape(-1, 3).T
    boxes, scores = (objects[name][images, places].astype("float64") for name in ("boxes", "scores"))
    its_boxes, its_scores = (others[name][images, of_others].astype("float64") for name in ("boxes", "scores"))
    return boxes, its_boxes, scores[:, None], its_scores[:, None]


def _gaps(boxes: np.ndarray, its_boxes: np.ndarray, scores: np.ndarray, its_scores: np.ndarray) -> tuple:
    """Returns the root mean square and the largest mean of the moves of edges, in shares of the side of each box, and
    the root mean square of the changes of scores, all weighted by score.

    Args:
        boxes: (N, 4) of the network, where its score is high.
        its_boxes: (N, 4) of the file, at the same places.
        scores: (N, K) of the network.
        its_scores: (N, K) of the file.
    """
    if not len(boxes):
        return 0.0, 0.0, 0.0
    weights = scores.max(axis=-1) / scores.max(axis=-1).sum()
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 1.0)
    moves = (its_boxes - boxes) / np.concatenate([sides, sides], axis=-1)
    squares, means = weights @ moves**2, weights @ moves
    changes = weights @ ((its_scores - scores) ** 2).max(axis=-1)
    return np.sqrt(squares.max()), np.abs(means).max(), np.sqrt(changes)


def _unseen(heads: Mapping[str, Any], sure: np.ndarray) -> tuple[str, ...]:
    """Returns the heads of the feature levels on which no place has a sure object; none for heads of one level."""
    levels = [(stride, np.prod(heads[f"classes_stride{stride}"].shape[1:])) for stride in strides_of(heads, "classes")]
    if len(levels) < 2:
        return ()
    width = sum(size for _, size in levels) // sure.shape[1]
    ends = np.cumsum([size // width for _, size in levels])
    parts = np.split(sure, ends[:-1], axis=1)
    empty = [f"_stride{stride}" for (stride, _), part in zip(levels, parts, strict=True) if not part.any()]
    return tuple(sorted(name for name in heads if any(name.endswith(each) for each in empty)))
