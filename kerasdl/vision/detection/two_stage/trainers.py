"""Trainers of the R-CNN family: proposals are sampled, and their classes and boxes learn."""

from dataclasses import asdict
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.core.keras_graph import copy_into
from kerasdl.ops import roi_align

from ..detector import Detector, suppressed
from ..method import Size, TrueBatch, sides_of, strides_of, true_masks, without_gradients
from .mask_rcnn import MaskedBatch, OwnMasks, own_masks
from .region_proposals import RegionProposals
from .windows import SlidingWindows


class RegionDetector(Detector):
    """Base of trainers of a method that classifies the proposals of an image.

    Proposals are sampled at random in training; in validation the sample is the same every time.
    """

    def __init__(self, networks: Any, method: Any = None):
        super().__init__(networks, method)
        self.seeds = keras.random.SeedGenerator(0)

    def proposals(self, images: Any, maps: Any, training: bool) -> Any:
        """Returns the proposals (B, R, 4) of images, of which the first network gave `maps`."""
        return self.method.proposals(images)

    def region_heads(self, maps: Any, proposals: Any, training: bool) -> dict[str, Any]:
        """Returns the raw heads of `RegionMethod`, of proposals (B, R, 4)."""
        raise NotImplementedError

    def sampled_heads(self, maps: Any, sample: Any, truth: TrueBatch, training: bool) -> dict[str, Any]:
        """Returns the raw heads that the loss takes, of a sample (B, S, 4) of the proposals."""
        return self.region_heads(maps, sample, training)

    def heads(self, images: Any) -> Any:
        maps = self(images, training=False)
        return self.region_heads(maps, self.proposals(images, maps, training=False), training=False)

    def loss_parts(self, images: Any, heads: Any, truth: TrueBatch, training: bool) -> dict[str, Any]:
        boxes = self.proposals(images, heads, training=True)
        noise = self.noise((ops.shape(boxes)[0], boxes.shape[1] + ops.shape(truth.boxes)[1]), training)
        regions = self.sampled_heads(heads, self.method.sampled(boxes, truth, noise), truth, training)
        return super().loss_parts(images, regions, truth, training)

    def noise(self, shape: tuple, training: bool) -> Any:
        """Returns uniform numbers that draw a sample: new ones in training, else the same every time."""
        return keras.random.uniform(shape, seed=self.seeds if training else 0)


class FastRCNN(RegionDetector):
    """Trainer of Fast R-CNN: a map of the image, and a head over given proposals, learn together.

    Args:
        networks: `model`, images to a map, and `box_head`, both by the builders of Fast R-CNN.
        method: a `FastRCNNMethod` with other windows, or with a search.

    Raises:
        ArgumentError: the networks have other roles, names or inputs.

    Example:
        >>> photos = np.zeros((2, 48, 80, 3), "uint8")
        >>> tiny = dict(kerasdl.spec("fast_rcnn_box_head").tiny, proposals=None)
        >>> head = kerasdl.build("fast_rcnn_box_head", **tiny)
        >>> main = kerasdl.build("fast_rcnn", **kerasdl.spec("fast_rcnn").tiny)
        >>> [len(each.boxes) <= 100 for each in FastRCNN({"model": main, "box_head": head}).predict(photos)]
        [True, True]
    """

    def __init__(self, networks: Any, method: Any = None):
        super().__init__(networks, method)
        self.head_inputs = {role: [i.name for i in self.networks[role].inputs] for role in self.method.roles[1:]}
        for role, names in self.head_inputs.items():
            if missing := {*names} - {*self.main.output, "proposals"}:
                hint = "Build all networks with the same strides."
                checks.refuse(f"{role} must take maps of the first network", sorted(missing), hint)

    @property
    def classes(self) -> int:
        return self.networks["box_head"].output["classes"].shape[-1] - 1

    def classes_of(self, outputs: Any, size: Size) -> int:
        return self.classes

    def region_heads(self, maps: Any, proposals: Any, training: bool) -> dict[str, Any]:
        return {**self.over_regions("box_head", maps, proposals, training), "proposals": proposals}

    def over_regions(self, role: str, maps: Any, boxes: Any, training: bool) -> dict[str, Any]:
        """Returns what a network over regions gives of boxes (B, R, 4)."""
        inputs = {**maps, "proposals": boxes}
        return self.networks[role]({name: inputs[name] for name in self.head_inputs[role]}, training=training)

    def proposal_layer(self, outputs: Any, size: Size) -> Any:
        """Returns the proposals (B, R, 4) as a Keras tensor, from Keras tensors of the first network's outputs.

        Raises:
            ArgumentError: proposals are of a search.
        """
        if self.method.search is not None:
            checks.refuse("a graph must have no search on the host", self.method.search, "Take sliding windows.")
        (maps,) = outputs.values()
        return SlidingWindows(self.method.windows(size).tolist(), dtype="float32", name="proposals")(maps)

    def heads_of(self, outputs: Any, size: Size) -> dict[str, Any]:
        inputs = {**outputs, "proposals": self.proposal_layer(outputs, size)}
        taken = [*outputs, "image", "proposals", *(layer.name for layer in self.main.layers)]
        heads = copy_into(self.networks["box_head"], [inputs[name] for name in self.head_inputs["box_head"]], taken)
        return {**heads, "proposals": inputs["proposals"]}

    def joined(self) -> keras.Model:
        """Returns one flat network from images to the raw heads of `RegionMethod`, with weights of its own.

        Returns:
            A model of the method's name, from (B, H, W, C) to float32 `proposals` (B, R, 4), `classes` (B, R, 1 + K)
            and `boxes` (B, R, 4 * (1 + K)).

        Raises:
            ArgumentError: the first network takes images of any size, or proposals are of a search.
        """
        shape = self.main.input_shape[1:]
        if None in shape:
            checks.refuse("the first network must have known sides", shape, "Build it with image_shape.")
        image = keras.Input(shape, name="image")
        heads = self.heads_of(copy_into(self.main, [image]), shape[:2])
        return keras.Model(image, heads, name=self.main.name)


class FasterRCNN(FastRCNN):
    """Trainer of Faster R-CNN: the network of proposals and the head over them learn together, end to end.

    Args:
        networks: `model`, images to pyramid and proposals' maps, and `box_head`, both by the builders of Faster R-CNN.
        method: a `FasterRCNNMethod` with other settings.

    Raises:
        ArgumentError: the networks have other roles, names or inputs.

    Example:
        >>> photos = np.zeros((2, 48, 80, 3), "uint8")
        >>> tiny = dict(kerasdl.spec("faster_rcnn_box_head").tiny, proposals=None)
        >>> head = kerasdl.build("faster_rcnn_box_head", **tiny)
        >>> main = kerasdl.build("faster_rcnn", **kerasdl.spec("faster_rcnn").tiny)
        >>> [len(each.boxes) <= 100 for each in FasterRCNN({"model": main, "box_head": head}).predict(photos)]
        [True, True]
    """

    def proposals(self, images: Any, maps: Any, training: bool) -> Any:
        return self.method.rpn.proposals(maps, sides_of(images), training)

    def loss_parts(self, images: Any, heads: Any, truth: TrueBatch, training: bool) -> dict[str, Any]:
        rpn, size = self.method.rpn, sides_of(images)
        anchors = sum(map(len, rpn.level_anchors(heads)))
        noise = self.noise((ops.shape(truth.boxes)[0], anchors), training)
        parts = rpn.loss(heads, without_gradients(rpn.targets(heads, truth, size, noise)), size)
        return {**parts, **super().loss_parts(images, heads, truth, training)}

    def proposal_layer(self, outputs: Any, size: Size) -> Any:
        strides = strides_of(outputs, "objectness")
        of_levels = [outputs[f"{kind}_stride{stride}"] for kind in ("objectness", "offsets") for stride in strides]
        return RegionProposals(strides, size, asdict(self.method.rpn), dtype="float32", name="proposals")(of_levels)


class MaskedDetections(NamedTuple):
    """Objects that suppression keeps, as `kerasdl.ops.Detections` has them, with their masks."""

    boxes: Any
    """(B, M, 4)."""
    scores: Any
    """(B, M)."""
    classes: Any
    """(B, M)."""
    count: Any
    """(B,)."""
    masks: Any
    """(B, N, rows, columns) probabilities inside the boxes; N is the largest count."""


class MaskRCNN(FasterRCNN):
    """Trainer of Mask R-CNN: proposals, boxes and masks learn together, end to end.

    Labels have `masks` beside boxes and classes: ragged (B, N, H, W), whole numbers or booleans of the size of the
    images, of which those other than 0 are of the object.

    Args:
        networks: `model`, by `mask_rcnn`; `box_head`, by `faster_rcnn_box_head`; `mask_head`, by `mask_rcnn_mask_head`.
        method: a `MaskRCNNMethod` with other settings.

    Raises:
        ArgumentError: the networks have other roles, names, inputs, or heads of different classes.

    Example:
        >>> names = {"model": "mask_rcnn", "box_head": "faster_rcnn_box_head", "mask_head": "mask_rcnn_mask_head"}
        >>> tiny = {role: dict(kerasdl.spec(name).tiny) for role, name in names.items()}
        >>> tiny["box_head"]["proposals"] = tiny["mask_head"]["proposals"] = None
        >>> networks = {role: kerasdl.build(name, **tiny[role]) for role, name in names.items()}
        >>> (found,) = MaskRCNN(networks).predict(np.zeros((1, 48, 80, 3), "uint8"), min_score=0.0)
        >>> {each.mask().shape for each in found.masks}
        {(48, 80)}
    """

    finds = ("boxes", "masks")

    def __init__(self, networks: Any, method: Any = None):
        super().__init__(networks, method)
        classes = self.networks["mask_head"].output["masks"].shape[-1] - 1
        if classes != self.classes:
            checks.refuse(f"the mask head must have the classes of the box head, {self.classes}", classes)

    def true_objects(self, labels: Any, size: Size, classes: int) -> MaskedBatch:
        return MaskedBatch(*super().true_objects(labels, size, classes), true_masks(labels, size))

    def sampled_heads(self, maps: Any, sample: Any, truth: MaskedBatch, training: bool) -> dict[str, Any]:
        boxes = self.method.positives(sample, truth)
        masks = self.over_regions("mask_head", maps, boxes, training)
        return {**super().sampled_heads(maps, sample, truth, training), **masks, "mask_boxes": boxes}

    def detections(self, images: Any, settings: tuple) -> MaskedDetections:
        return self.objects_in(images, self(images, training=False), settings)

    def objects_in(self, images: Any, maps: Any, settings: tuple) -> MaskedDetections:
        """Returns the objects that suppression keeps of images, of which the first network gave `maps`."""
        heads = self.region_heads(maps, self.proposals(images, maps, training=False), training=False)
        kept = suppressed(self.method, heads, sides_of(images), *settings)
        number = ops.maximum(ops.max(kept.count), 1)
        boxes, classes, scores = (each[:, :number] for each in (kept.boxes, kept.classes, kept.scores))
        masks = self.over_regions("mask_head", maps, boxes, training=False)["masks"]
        return MaskedDetections(*kept, own_masks(masks, classes, scores))

    def completed(self, model: keras.Model, movement: tuple[list[float], list[float]] | None) -> keras.Model:
        found, boxes = model.output, model.output["boxes"]
        if movement is not None:  # back to pixels of the network's input
            factors, shifts = map(np.array, movement)
            back = {"scale": (1 / factors).tolist(), "offset": (-shifts / factors).tolist()}
            boxes = keras.layers.Rescaling(**back, dtype="float32", name="boxes_of_masks")(boxes)
        inputs = {**model.input, "proposals": boxes}
        taken = [*(layer.name for layer in model.layers), "boxes_of_masks"]
        head = copy_into(self.networks["mask_head"], [inputs[name] for name in self.head_inputs["mask_head"]], taken)
        masks = OwnMasks(dtype="float32", name="mask_scores")([head["masks"], found["classes"], found["scores"]])
        return keras.Model(model.input, {**found, "masks": masks}, name=model.name)

    def joined(self) -> keras.Model:
        """Refuses a network of raw heads: masks are those of boxes that suppression keeps.

        Raises:
            ArgumentError: always.
        """
        hint = "Export a bundle of the three networks: its file gives boxes and masks."
        checks.refuse("a joined network must have no suppression between its parts", self.main.name, hint)


class RCNN(RegionDetector):
    """Trainer of R-CNN: each proposal is cut out of the image, warped to one size and classified by itself.

    Args:
        network: from crops (B, h, w, C) to `classes` and `boxes`, by `kerasdl.vision.rcnn`.
        image_shape: height, width and channels to which `predict` resizes images.
        method: a `CropMethod` with other windows, or with a search.

    Raises:
        ArgumentError: the network has another name or other inputs, or its sides are not known.

    Example:
        >>> detector = RCNN(kerasdl.build("rcnn", **kerasdl.spec("rcnn").tiny), (64, 64, 3))
        >>> [len(each.boxes) <= 100 for each in detector.predict(np.zeros((1, 48, 80, 3), "uint8"))]
        [True]
    """

    def __init__(self, network: keras.Model, image_shape: tuple[int, int, int], method: Any = None):
        super().__init__(network, method)
        self.image_shape = checks.image_shape("image_shape", image_shape)
        if None in (*self.image_shape, *self.main.input_shape[1:]):
            checks.refuse("images and crops must have known sides", (self.image_shape, self.main.input_shape[1:]))

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns the images as they are: the loss makes the crops."""
        return inputs

    @property
    def input_size(self) -> tuple[int, int, int]:
        return self.image_shape

    @property
    def classes(self) -> int:
        return self.main.output["classes"].shape[-1] - 1

    def classes_of(self, outputs: Any, size: Size) -> int:
        return self.classes

    def region_heads(self, maps: Any, proposals: Any, training: bool) -> dict[str, Any]:
        if training:
            return {**self._classified(maps, proposals, True), "proposals": proposals}
        number, few = proposals.shape[1], self.method.crops_at_once
        parts = -(-number // few)
        padded = ops.pad(proposals, ((0, 0), (0, parts * few - number), (0, 0)))
        padded = ops.transpose(ops.reshape(padded, (-1, parts, few, 4)), (1, 0, 2, 3))
        signature = {name: tf.TensorSpec((None, few, each.shape[-1])) for name, each in self.main.output.items()}
        outputs = tf.map_fn(lambda boxes: self._classified(maps, boxes, False), padded, fn_output_signature=signature)
        heads = {
            name: ops.reshape(ops.transpose(each, (1, 0, 2, 3)), (-1, parts * few, each.shape[-1]))[:, :number]
            for name, each in outputs.items()
        }
        return {**heads, "proposals": proposals}

    def _classified(self, images: Any, boxes: Any, training: bool) -> dict[str, Any]:
        """Returns the outputs of the network for the crop of each box (B, R, 4)."""
        height, width, channels = self.main.input_shape[1:]
        around = self.method.with_context(boxes, (height, width))
        crops = roi_align(images, around, (height, width), sampling_ratio=1, aligned=True)
        outputs = self.main(ops.reshape(crops, (-1, height, width, channels)), training=training)
        return {name: ops.reshape(each, (-1, boxes.shape[1], each.shape[-1])) for name, each in outputs.items()}
