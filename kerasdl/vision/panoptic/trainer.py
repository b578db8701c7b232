"""Trainer of panoptic FPN: things and stuff learn together, and one map answers."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks, draw_classes
from kerasdl.core.objects import PredictedObjects
from kerasdl.core.outputs.native_dilation import native_dilation
from kerasdl.data import as_dataset, prepare_images
from kerasdl.data.images import read_images
from kerasdl.data.pipelines import refuse_endless
from kerasdl.data.trees import unpacked
from kerasdl.metrics import PanopticQuality
from kerasdl.ops import merge_panoptic

from ..detection.detector import MAX_BOXES
from ..detection.method import Size
from ..detection.object_records import records, resized
from ..detection.two_stage.trainers import MaskRCNN
from ..segmentation.logits_of_pixels import resized_scores
from .panoptic_fpn import PanopticBatch, PanopticFPNMethod
from .panoptic_labels import VOID, panoptic_truth, segments_of

MIN_SCORE = 0.5
"""Lowest score of an object of a panoptic map, as in Detectron2."""


class PanopticFPN(MaskRCNN):
    """Trainer of panoptic FPN: objects with masks, and classes of all pixels, learn together, end to end.

    Classes of pixels are S of stuff, from 0, and behind them K of things. Labels have `panoptic` (B, H, W), int32: 1000
    times the class plus the number of the object, from 1, or 0 of stuff. Pixels below 0 count nowhere. Boxes and masks
    are those of the map, whatever else the labels have.

    Args:
        networks: `model`, by `panoptic_fpn`; `box_head`, by `faster_rcnn_box_head`; `mask_head`, by
            `mask_rcnn_mask_head`.
        method: a `PanopticFPNMethod` with other settings.

    Raises:
        ArgumentError: the networks have other roles, inputs, heads of different classes, or more than 255 classes.

    Example:
        >>> names = {"model": "panoptic_fpn", "box_head": "faster_rcnn_box_head", "mask_head": "mask_rcnn_mask_head"}
        >>> tiny = {role: dict(kerasdl.spec(name).tiny) for role, name in names.items()}
        >>> tiny["box_head"]["proposals"] = tiny["mask_head"]["proposals"] = None
        >>> networks = {role: kerasdl.build(name, **tiny[role]) for role, name in names.items()}
        >>> PanopticFPN(networks).predict(np.zeros((1, 48, 80, 3), "uint8"))[0].shape
        (48, 80, 2)
    """

    finds = ("boxes",)

    def __init__(self, networks: Mapping[str, keras.Model], method: PanopticFPNMethod | None = None):
        super().__init__(networks, PanopticFPNMethod() if method is None else method)
        if "semantic" not in self.main.output:
            checks.refuse("the first network must give semantic", sorted(self.main.output), "Build panoptic_fpn.")
        self.stuff = self.main.output["semantic"].shape[-1] - 1
        if self.stuff + self.classes > VOID:
            checks.refuse(f"classes of stuff and things must be at most {VOID}", self.stuff + self.classes)

    def true_objects(self, labels: Any, size: Size, classes: int) -> PanopticBatch:
        return panoptic_truth(labels, size, self.stuff, self.classes)

    def sampled_heads(self, maps: Any, sample: Any, truth: PanopticBatch, training: bool) -> dict[str, Any]:
        return {**super().sampled_heads(maps, sample, truth, training), "semantic": maps["semantic"]}

    def predict(
        self,
        images: Any,
        *,
        scale: tuple[float, float] | None = (-1.0, 1.0),
        levels: int | None = None,
        batch_size: int = 8,
        min_score: float = MIN_SCORE,
        visible: float = 0.5,
        least_area: int = 0,
    ) -> list[np.ndarray]:
        """Returns the panoptic map of raw images of any size; `detect` gives the objects alone.

        Args:
            images: one image or many, as `kerasdl.data.prepare_images` takes them: uint8 arrays, paths, Pillow images.
            scale: values of the pixel levels 0 and 255 at the network's input.
            levels: the value that is white in 16-bit images, as in `prepare_images`.
            batch_size: images computed at once.
            min_score: lowest score of an object that counts, from 0 to 1.
            visible: least share of an object's pixels that others leave, as in `kerasdl.ops.merge_panoptic`.
            least_area: pixels that a class of stuff must have.

        Returns:
            (H, W, 2) int32 of each image in its own pixels: the class, S of stuff and then K of things, or 255 without
            one, and the number of the object from 1, or 0.

        Raises:
            ArgumentError: an argument breaks its rule, or the network takes images of any size.
            DataError: an image cannot be read.
        """
        shape = self.input_size
        if None in shape:
            checks.refuse("predict resizes images and needs a network of known sides", shape, "Pass image_shape.")
        raw = read_images(images, levels=levels)
        prepared = prepare_images(raw, shape, scale).astype("float32")
        answers = self.answers_to(prepared, batch_size, min_score)
        rules = dict(min_score=min_score, visible=visible, least_area=least_area)
        return [merged(*each, image.shape[:2], **rules) for each, image in zip(answers, raw, strict=True)]

    def draw(self, image: Any, labels: Sequence[str] | None = None, **settings: Any) -> np.ndarray:
        """Returns a picture of a raw image with its pixels coloured by class.

        Args:
            image: one image, as in `predict`.
            labels: name of each class of pixels, stuff first; None for their numbers.
            **settings: settings of `predict`.

        Returns:
            (H, W, 3) uint8.

        Raises:
            ArgumentError: an argument breaks its rule.
            DataError: the image cannot be read.
        """
        (pixels,) = read_images(image, levels=settings.get("levels"))
        return draw_classes(pixels, self.predict(pixels, **settings)[0][..., 0], labels)

    def answers_to(
        self, inputs: Any, batch_size: int = 8, min_score: float = MIN_SCORE
    ) -> list[tuple[PredictedObjects, np.ndarray, int]]:
        """Returns what `merged` takes of each of prepared images (B, H, W, C).

        Raises:
            ArgumentError: an argument breaks its rule.
            DataError: an input is not finite.
        """
        checks.within("min_score", min_score, 0.0, 1.0)
        inputs = self.checked_inputs(inputs, batch_size)
        step, answers = self._both(inputs.shape[1:], min_score), []
        for start in range(0, len(inputs), batch_size):
            found, scores = step(inputs[start : start + batch_size])
            answers += [(*each, self.classes) for each in zip(records(found), np.asarray(scores), strict=True)]
        return answers

    def _both(self, shape: tuple, min_score: float) -> Any:
        """Returns the compiled function from images of one shape to objects and probabilities of classes."""
        kinds = tuple(layer.compute_dtype for each in self.networks.values() for layer in each.layers)
        key = ("both", shape, min_score, kinds)
        if key not in self.compiled_steps:

            @tf.function(input_signature=[tf.TensorSpec((None, *shape), "float32")])
            def step(images):
                with native_dilation():
                    maps = self(images, training=False)
                objects = self.objects_in(images, maps, (min_score, None, MAX_BOXES, False))
                return objects, ops.softmax(maps["semantic"])

            self.compiled_steps[key] = step
        return self.compiled_steps[key]

    def panoptic_quality(
        self,
        data: Any,
        *,
        classes: Sequence[str] | None = None,
        batch_size: int = 8,
        min_score: float = MIN_SCORE,
        visible: float = 0.5,
        least_area: int = 0,
    ) -> PanopticQuality:
        """Returns PQ, SQ and RQ over labelled data that are prepared for the network.

        Args:
            data: a `Dataset`, or arrays of images and labels, as it learns from.
            classes: name of each class of pixels, stuff first; None takes those of the data, where they are as many,
                and else their numbers.
            batch_size: images computed at once.
            min_score: as in `predict`, like all others.

        Returns:
            A `PanopticQuality` of these images.

        Raises:
            ArgumentError: an argument breaks its rule, labels have another form, or the data are endless.
            DataError: an image is not finite, or a label is wrong.
        """
        dataset, number = as_dataset(data), self.stuff + self.classes
        refuse_endless("labelled data", dataset)
        if classes is not None and len(classes) != number:
            checks.refuse(f"classes must have a name for each of the {number} classes of pixels", classes)
        if classes is None and len(dataset.class_names) == number:
            classes = dataset.class_names
        metric = PanopticQuality(classes or number, range(self.stuff, number), void=VOID)
        rules = dict(min_score=min_score, visible=visible, least_area=least_area)
        for images, labels, _ in map(unpacked, dataset.batches(batch_size)):
            size = images.shape[1:3]
            panoptic_truth(labels, size, self.stuff, self.classes)
            answers = self.answers_to(images.numpy(), batch_size, min_score)
            found = [merged(*each, size, **rules) for each in answers]
            metric.update_state(list(segments_of(labels["panoptic"])), found)
        return metric


def merged(objects: PredictedObjects, scores: np.ndarray, things: int, size: Size, **rules: Any) -> np.ndarray:
    """Returns the panoptic map (H, W, 2) of one image in its own pixels.

    Args:
        objects: objects in pixels of the network's input, with masks as probabilities inside their boxes.
        scores: (h, w, S + 1), probabilities of the classes of stuff and of things.
        things: K, classes of things.
        size: (height, width) of the raw image.
        **rules: settings of `kerasdl.ops.merge_panoptic`.

    Raises:
        ArgumentError: a setting breaks its rule.
    """
    objects, stuff = resized(objects, scores.shape[:2], size), scores.shape[-1] - 1
    semantic = resized_scores(scores[np.newaxis], size)[0].argmax(axis=-1)
    return merge_panoptic(objects, semantic, range(stuff, stuff + things), void=VOID, **rules)
