"""Detector: trainer that ties a network of raw heads to its target assigner, loss and decoder."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks, draw_objects, draw_scenes
from kerasdl.core.errors import DataError
from kerasdl.core.keywords import explained
from kerasdl.core.objects import PredictedObjects
from kerasdl.core.outputs.native_dilation import native_dilation
from kerasdl.data import as_dataset, prepare_images
from kerasdl.data.images import read_images
from kerasdl.data.pipelines import refuse_endless
from kerasdl.data.trees import unpacked
from kerasdl.metrics import MeanAveragePrecision
from kerasdl.ops import clip_boxes, nms
from kerasdl.ops.suppression import Detections
from kerasdl.train import RunCallback, RunInfo, Trainer
from kerasdl.train.trainer import own_losses

from .method import Method, Size, TrueBatch, checked_truth, sides_of, true_batch, without_gradients
from .methods import method_of
from .object_records import records, resized, true_records

MIN_SCORE, MAX_BOXES = 0.05, 100
START = {"boxes": "", "masks": "mask_"}
"""Beginning of the names of figures."""

SETTINGS = {
    "min_score": ("conf", "confidence", "threshold", "score_threshold", "score_thresh", "box_score_thresh"),
    "overlap": ("iou", "iou_threshold", "iou_thres", "nms_thresh", "box_nms_thresh", "nms_threshold"),
    "max_boxes": ("max_det", "max_detections", "detections_per_img", "box_detections_per_img", "top_k"),
    "class_agnostic": ("agnostic_nms", "agnostic"),
}
"""Settings of `predict` and `detect`, with their names in other libraries."""
REMEDIES = {name: f"Did you mean {ours!r}?" for ours, names in SETTINGS.items() for name in names}


class Detector(Trainer):
    """Trainer of an object detector.

    It learns from batches of images (B, H, W, C) as the network takes them, with labels `{"boxes", "classes"}` of
    ragged boxes (B, N, 4), left, top, right and bottom edge in pixels of those images, and classes from 0 to K - 1. An
    optional `crowd` marks regions in which nothing is learnt. A box of no area is padding.

    Args:
        network: functional model from images to raw heads, such as `kerasdl.build("retinanet")`; or networks by role,
            `model` first, where the method has several.
        method: target assigner, loss and decoder; None takes the one that the network's name names.

    Raises:
        ArgumentError: no method is named as the network, the network has no single image input, or the roles are not
            those of the method.

    Example:
        >>> network = kerasdl.build("fcos", **kerasdl.spec("fcos").tiny)
        >>> [len(each.boxes) <= 100 for each in Detector(network).predict(np.zeros((2, 48, 80, 3), "uint8"))]
        [True, True]
    """

    takes_stand_ins = True
    finds: ClassVar[tuple[str, ...]] = ("boxes",)
    """Kinds of answers that `average_precision` measures."""

    def __init__(self, network: keras.Model | Mapping[str, keras.Model], method: Method | None = None):
        super().__init__(network if isinstance(network, Mapping) else {"model": network})
        network = self.main
        self.method = method_of(network) if method is None else method
        if set(self.networks) != set(self.method.roles):
            hint = "Such as FasterRCNN({'model': ..., 'box_head': ...})."
            checks.refuse(
                f"networks of {self.method.name} must have the roles {self.method.roles}", [*self.networks], hint
            )
        if len(network.inputs) != 1 or len(network.inputs[0].shape) != 4:
            checks.refuse("a detector must take one batch of images", [tuple(each.shape) for each in network.inputs])
        self.supports_jit = False  # XLA has no ragged tensors, and would leave out the checks of labels
        self.means = {name: keras.metrics.Mean(name=f"{name}_loss") for name in self.method.loss_names}
        object.__setattr__(self, "parts", {})  # of the loss of a batch; Keras would track the tensors in an attribute
        self.compiled_steps: dict[tuple, Any] = {}

    @property
    def metrics(self) -> list:
        return list({id(each): each for each in (*super().metrics, *self.means.values())}.values())

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        size = sides_of(x)
        truth = self.true_objects(y, size, self.classes_of(y_pred, size))
        self.parts.update(self.loss_parts(x, y_pred, truth, training))
        if self.method.loss_names and set(self.parts) != set(self.method.loss_names):
            checks.refuse(f"parts of the loss must be its loss_names {self.method.loss_names}", tuple(self.parts))
        for name in self.parts:
            if name not in self.means:
                self.means[name] = keras.metrics.Mean(name=f"{name}_loss")
        total = tf.add_n(list(self.parts.values()))
        return MeanOfImages()(total, total, sample_weight) + own_losses(self)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        for name, value in self.parts.items():
            self.means[name].update_state(value, sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def heads(self, images: Any) -> Any:
        """Returns the raw heads from which the method decodes boxes, of images as the network takes them."""
        return self.main(images, training=False)

    def heads_of(self, outputs: Any, size: Size) -> Any:
        """Returns these raw heads as a graph of Keras tensors.

        Args:
            outputs: Keras tensors in place of the outputs of the main network, by name.
            size: (height, width) of the images in pixels.
        """
        return outputs

    def completed(self, model: keras.Model, movement: tuple[list[float], list[float]] | None) -> keras.Model:
        """Returns the model of an exported file's answers, from one that gives boxes, scores, classes and count.

        Args:
            model: from the outputs of the main network, by name, to the outputs of an `ObjectDecoder`.
            movement: factors and shifts from boxes in pixels of the network's input to those of the model; None where
                they are the same.
        """
        return model

    def true_objects(self, labels: Any, size: Size, classes: int) -> TrueBatch:
        """Returns the true objects of a batch of labels, checked by `checked_truth`."""
        return checked_truth(true_batch(labels), size, classes)

    def detections(self, images: Any, settings: tuple) -> Detections:
        """Returns the objects that suppression keeps, of images as the network takes them."""
        return suppressed(self.method, self.heads(images), sides_of(images), *settings)

    def classes_of(self, outputs: Any, size: Size) -> int:
        """Returns the number of classes K, from what `call` gives of images of a size."""
        return self.method.decode(outputs, size)[1].shape[-1]

    def loss_parts(self, images: Any, heads: Any, truth: TrueBatch, training: bool) -> dict[str, Any]:
        """Returns the parts of the loss by name, each (B,), of images and what `call` gave of them."""
        size = sides_of(images)
        return self.method.loss(heads, without_gradients(self.method.targets(heads, truth, size)), size)

    @explained(lambda: REMEDIES)
    def predict(
        self,
        images: Any,
        *,
        scale: tuple[float, float] | None = (-1.0, 1.0),
        levels: int | None = None,
        letterbox: bool = False,
        batch_size: int = 8,
        min_score: float = MIN_SCORE,
        overlap: float | None = None,
        max_boxes: int = MAX_BOXES,
        class_agnostic: bool = False,
    ) -> list[PredictedObjects]:
        """Returns the objects of raw images of any size, in pixels of each image.

        Args:
            images: one image or many, as `kerasdl.data.prepare_images` takes them: uint8 arrays, paths, Pillow images.
            scale: values of the pixel levels 0 and 255 at the network's input.
            levels: the value that is white in 16-bit images, as in `prepare_images`.
            letterbox: whether images keep their aspect ratio, between grey borders, as in `prepare_images`; for
                networks trained on data of `kerasdl.data.detection.letterbox`. Else they are stretched.
            batch_size: images computed at once.
            min_score: lowest score of an object, from 0 to 1.
            overlap: IoU above which the less likely of two boxes of a class is dropped; None takes the method's.
            max_boxes: objects of an image at most.
            class_agnostic: whether boxes suppress boxes of other classes too.

        Returns:
            A record for each image, the likeliest object first. Masks, where the method has them, are
            `kerasdl.ops.RunLengths` of the image.

        Raises:
            ArgumentError: an argument breaks its rule, or the network takes images of any size.
            DataError: an image cannot be read.
        """
        shape = self.input_size
        if None in shape:
            hint = "Use detect for batches of one size, or build the network with known sides."
            checks.refuse("predict resizes images and needs a network of known sides", shape, hint)
        raw = read_images(images, levels=levels)
        prepared = prepare_images(raw, shape, scale, letterbox=letterbox).astype("float32")
        found = self.objects_of(prepared, batch_size, min_score, overlap, max_boxes, class_agnostic)
        sizes = [image.shape[:2] for image in raw]
        return [resized(each, shape[:2], size, letterbox) for each, size in zip(found, sizes, strict=True)]

    def draw(self, images: Any, labels: Sequence[str] | None = None, **settings: Any) -> np.ndarray:
        """Returns a picture of raw images with the objects that are found; several stand on one sheet.

        Args:
            images: as in `predict`.
            labels: name of each class; None for their numbers.
            **settings: settings of `predict`, such as `min_score=0.5`.

        Returns:
            (H, W, 3) uint8.

        Raises:
            ArgumentError: an argument breaks its rule.
            DataError: an image cannot be read.
        """
        raw = read_images(images, levels=settings.get("levels"))
        objects = self.predict(raw, **settings)
        return draw_objects(raw[0], objects[0], labels) if len(raw) == 1 else draw_scenes(raw, objects, labels=labels)

    @explained(lambda: REMEDIES)
    def detect(
        self,
        inputs: Any,
        *,
        batch_size: int = 8,
        min_score: float = MIN_SCORE,
        overlap: float | None = None,
        max_boxes: int = MAX_BOXES,
        class_agnostic: bool = False,
    ) -> list[PredictedObjects]:
        """Returns the objects of images that are prepared for the network, in pixels of its input.

        Args:
            inputs: (B, H, W, C) float32.
            batch_size: as in `predict`, like all others.

        Returns:
            A record for each image, the likeliest object first; boxes end at the image's edges. Masks, where the
            method has them, are `kerasdl.ops.RunLengths` of the image.

        Raises:
            ArgumentError: an argument breaks its rule.
            DataError: an input is not finite.
        """
        found = self.objects_of(inputs, batch_size, min_score, overlap, max_boxes, class_agnostic)
        size = np.shape(inputs)[1:3]
        return [resized(each, size, size) for each in found]

    def objects_of(
        self, inputs: Any, batch_size=8, min_score=MIN_SCORE, overlap=None, max_boxes=MAX_BOXES, class_agnostic=False
    ) -> list[PredictedObjects]:
        """Returns what `detect` does, with masks as probabilities inside their boxes, for `resized`.

        Raises:
            ArgumentError: an argument breaks its rule.
            DataError: an input is not finite.
        """
        inputs = self.checked_inputs(inputs, batch_size)
        checks.within("min_score", min_score, 0.0, 1.0)
        checks.at_least("max_boxes", max_boxes, 1)
        if overlap is not None:
            checks.within("overlap", overlap, 0.0, 1.0)
        settings = (min_score, overlap, max_boxes, class_agnostic)
        return [
            each
            for start in range(0, len(inputs), batch_size)
            for each in records(self._step(inputs.shape[1:], settings)(inputs[start : start + batch_size]))
        ]

    def checked_inputs(self, inputs: Any, batch_size: int) -> np.ndarray:
        """Returns prepared images (B, H, W, C) as float32.

        Raises:
            ArgumentError: they have another form, or the batch size is less than 1.
            DataError: an input is not finite.
        """
        checks.at_least("batch_size", batch_size, 1)
        inputs = np.asarray(inputs)
        if inputs.ndim != 4 or inputs.dtype.kind != "f":
            hint = "predict takes raw images; kerasdl.data.prepare_images prepares them."
            checks.refuse("inputs must be prepared float images (B, H, W, C)", f"{inputs.dtype} {inputs.shape}", hint)
        if not np.isfinite(inputs).all():
            raise DataError("inputs must be finite; got NaN or infinity.")
        inputs = inputs.astype("float32", copy=False)
        shape = self.input_size
        if any(side not in (None, given) for side, given in zip(shape, inputs.shape[1:], strict=True)):
            checks.refuse(f"inputs must have the shape that the network takes, {shape}", inputs.shape[1:])
        return inputs

    def _step(self, shape: tuple, settings: tuple) -> Any:
        """Returns the compiled function from images of one shape to `Detections`, in the present precision."""
        key = (shape, settings, tuple(layer.compute_dtype for each in self.networks.values() for layer in each.layers))
        if key not in self.compiled_steps:

            @tf.function(input_signature=[tf.TensorSpec((None, *shape), "float32")])
            def step(images):
                with native_dilation():
                    return self.detections(images, settings)

            self.compiled_steps[key] = step
        return self.compiled_steps[key]

    def average_precision(
        self, data: Any, *, classes: int | Sequence[str] | None = None, of: str = "boxes", batch_size: int = 8
    ) -> MeanAveragePrecision:
        """Returns COCO's figures over labelled data that are prepared for the network.

        Args:
            data: a `Dataset`, or arrays (images, {"boxes", "classes"}).
            classes: number of classes, or their names; None takes the names of the data.
            of: `boxes`, or `masks` of labels that have them, where the method finds them.
            batch_size: images computed at once.

        Returns:
            A `MeanAveragePrecision` of these images.

        Raises:
            ArgumentError: an argument breaks its rule, labels have another form, or the data are endless.
            DataError: an image is not finite, or a label is wrong.
        """
        checks.one_of("of", of, self.finds)
        dataset = as_dataset(data)
        refuse_endless("labelled data", dataset)
        metric = MeanAveragePrecision(classes or dataset.class_names or self.classes, of=of)
        if None not in self.input_size[:2] and len(metric.names) != self.classes:
            checks.refuse(f"classes of labelled data must be those of the detector, {self.classes}", metric.names)
        for images, labels, _ in map(unpacked, dataset.batches(batch_size)):
            self.true_objects(labels, sides_of(images), len(metric.names))
            true = list(true_records(labels, of == "masks"))
            metric.update_state(true, self.detect(images.numpy(), batch_size=batch_size))
        return metric

    @property
    def input_size(self) -> tuple:
        """Height, width and channels to which `predict` resizes images."""
        return self.main.input_shape[1:]

    @property
    def classes(self) -> int:
        """Number of classes."""
        _, scores = self.method.decode(self.main.output, tuple(self.main.input_shape[1:3]))
        return scores.shape[-1]


class AveragePrecision(RunCallback):
    """Callback of `fit` that measures a detector by COCO's figures after each epoch.

    Its figures are `val_AP`, `val_AP50` and `val_AP75`, which may choose the best epoch and stop a run.

    Args:
        data: labelled images that are prepared for the network, as `Detector.average_precision` takes them.
        every: epochs between two measurements; the epochs between have NaN.
        of: `boxes`, or `masks`, whose figures are `val_mask_AP` and so on.

    Raises:
        ArgumentError: an argument breaks its rule, or the model in training is no `Detector`.

    Example:
        >>> labels = {"boxes": [np.array([[4, 4, 20, 20]])] * 8, "classes": [np.zeros(1, int)] * 8}
        >>> measured = AveragePrecision((images, labels), every=2)  # one of the callbacks of fit
        >>> kerasdl.train.RunConfig(epochs=20, monitor=("val_AP50", "max"), patience=6).patience
        6
    """

    def __init__(self, data: Any, *, every: int = 1, of: str = "boxes"):
        self.data, self.every = as_dataset(data), checks.at_least("every", every, 1)
        self.of = checks.one_of("of", of, ("boxes", "masks"))

    def setup(self, run_info: RunInfo) -> None:
        if not isinstance(run_info.model, Detector):
            hint = 'Call fit(Detector(network), ...), or fit(network, ..., task="object_detection").'
            checks.refuse("AveragePrecision measures a Detector", type(run_info.model).__name__, hint)
        self.detector = run_info.model

    def measure(self, epoch: int) -> dict[str, float]:
        if (epoch + 1) % self.every:
            return {}
        result, start = self.detector.average_precision(self.data, of=self.of).result(), START[self.of]
        return {f"val_{start}{name}": float(result[name]) for name in ("AP", "AP50", "AP75")}


class MeanOfImages(keras.losses.Loss):
    """Mean of losses that are given, one for each image, as Keras reduces and shares them among replicas."""

    def call(self, y_true, y_pred):
        return y_pred


def suppressed(
    method: Method, heads: Any, size: tuple, min_score: Any, overlap: Any, max_boxes: int, agnostic: bool
) -> Detections:
    """Returns the decoded boxes of raw heads that suppression keeps, clipped to the image.

    Where `overlap` is None it is the method's; a method without one, such as DETR's, drops no box.
    """
    overlap = method.overlap if overlap is None else overlap
    boxes, scores = method.decode(heads, size)
    boxes = clip_boxes(boxes, size)
    settings = dict(min_score=min_score, max_boxes=max_boxes, candidates=method.candidates, class_agnostic=agnostic)
    return nms(boxes, scores, overlap=1.0 if overlap is None else overlap, **settings)
