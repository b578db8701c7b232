"""Decoding layer of a detector: raw heads to boxes, scores and classes after suppression, for exported files."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks
from kerasdl.data.letterboxing import Inset, movement, place_in
from kerasdl.ops import clip_boxes

from .detector import MAX_BOXES, MIN_SCORE, suppressed
from .methods import METHODS


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
