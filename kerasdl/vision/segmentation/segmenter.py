"""Segmenter: trainer of a network that gives a class for each pixel of an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks, draw_classes
from kerasdl.core.errors import DataError
from kerasdl.core.outputs.loss_scale import from_logits
from kerasdl.core.outputs.native_dilation import native_dilation
from kerasdl.data import as_dataset, prepare_images
from kerasdl.data.images import read_images
from kerasdl.data.pipelines import refuse_endless
from kerasdl.data.trees import unpacked
from kerasdl.losses import PixelCrossEntropy
from kerasdl.metrics import MeanIoU, PixelAccuracy
from kerasdl.train import Trainer
from kerasdl.train.trainer import own_losses

from .logits_of_pixels import checked_logits, chosen_classes, main_logits, resized_scores, scores_of
from .pixel_labels import IGNORED, check_foreground, checked_labels, warn_of_foreground
from .windows import blended_windows

VALID = ("unet_2015",)
"""Names of networks whose logits are of the middle of the image."""
BLIND = tuple(getattr(keras.metrics, f"{kind}Accuracy") for kind in ("", "Binary", "Categorical", "SparseCategorical"))
"""Metrics of Keras that count ignored pixels as wrong, and take logits of a foreground for probabilities."""
OVERLAPPING = "_classes_overlap"
"""Mark of a network whose classes overlap, which a bundle would answer by the likeliest."""


class Segmenter(Trainer):
    """Trainer of a semantic segmenter, which gives a class for each pixel.

    It learns from batches of images (B, H, W, C) as the network takes them, with labels (B, H, W), classes from 0 to
    K - 1, or a dict of them under `semantic`. Pixels of the label 255 count nowhere. An optional `pixel_weights`
    (B, H, W) in that dict multiplies the loss of each pixel.

    Args:
        network: functional model from images to logits (B, H, W, K), such as `kerasdl.build("unet")`, or to a dict of
            `logits` and `auxiliary`. One channel is a foreground, and its classes are 0 and 1.
        loss: loss of labels (B, H, W) and logits, one of `kerasdl.losses`, or several that are added, such as
            `(PixelCrossEntropy(), Dice())`; None takes `PixelCrossEntropy`.
        auxiliary: weight of the loss of the auxiliary logits; PSPNet's is 0.4
            (https://arxiv.org/abs/1612.01105, section 5.1).
        valid: whether logits are of the middle of the image, as those of valid convolutions are; None takes the
            network's name, `unet_2015`.
        multi_label: whether classes overlap: a sigmoid for each, labels (B, H, W, K) of 0 and 1, and booleans
            (H, W, K) as answers.

    Raises:
        ArgumentError: the network or the loss has another form, or `auxiliary` is not from 0 to 100.

    Example:
        >>> image = keras.Input((16, 16, 3))
        >>> network = keras.Model(image, keras.layers.Conv2D(4, 3, padding="same", name="logits")(image))
        >>> Segmenter(network).predict(np.zeros((2, 40, 60, 3), "uint8"))[0].shape
        (40, 60)
    """

    def __init__(
        self,
        network: keras.Model | Mapping[str, keras.Model],
        *,
        loss: keras.losses.Loss | Sequence[keras.losses.Loss] | None = None,
        auxiliary: float = 0.4,
        valid: bool | None = None,
        multi_label: bool = False,
    ):
        super().__init__(network if isinstance(network, Mapping) else {"model": network})
        self.valid = self.main.name in VALID if valid is None else valid
        self.multi_label = multi_label
        if multi_label:
            object.__setattr__(self.main, OVERLAPPING, True)
        self.logits_shape = checked_logits(self.main, self.valid)
        given = PixelCrossEntropy(multi_label=multi_label) if loss is None else loss
        self.pixel_losses = given if isinstance(given, (list, tuple)) else [given]
        for each in self.pixel_losses:
            if from_logits(each) is False:
                hint = "Pass it with from_logits=True."
                checks.refuse("a loss of a segmenter must take logits", type(each).__name__, hint)
            if getattr(each, "multi_label", multi_label) != multi_label:
                checks.refuse(f"a loss of a segmenter must have its multi_label={multi_label}", type(each).__name__)
        self.auxiliary_weight = checks.within("auxiliary", auxiliary, 0.0, 100.0)
        names = 2 if multi_label else max(2, self.logits_shape[-1])
        self.measures = [MeanIoU(names), PixelAccuracy(names)]
        self.supports_jit = False  # XLA would leave out the checks of labels
        self.learnt_scale: Any = (-1.0, 1.0)
        self.compiled_steps: dict[tuple, Any] = {}

    @property
    def metrics(self) -> list:
        return list({id(each): each for each in (*super().metrics, *self.measures)}.values())

    def identity(self) -> dict[str, Any]:
        losses = [{"class": type(each).__name__, **each.get_config(), "dtype": None} for each in self.pixel_losses]
        return {**super().identity(), "loss": losses}

    def check_data(self, data):
        check_foreground(data)
        warn_of_foreground(data)
        if data.images:
            self.learnt_scale = data.scale

    def compile(self, optimizer="rmsprop", loss=None, **settings):
        for each in keras.tree.flatten([settings.get("metrics"), settings.get("weighted_metrics")]):
            if isinstance(each, (str, *BLIND)):
                hint = "Pass those of kerasdl.metrics; mean_iou and pixel_accuracy are measured already."
                checks.refuse(f"metrics of a segmenter must know logits and pixels of {IGNORED}", each, hint)
        if settings.get("jit_compile") is True:
            checks.refuse(
                "a segmenter must check its labels, which XLA leaves out", "jit_compile=True", "Leave it out."
            )
        super().compile(optimizer, loss, **settings)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        labels, weights = self._labels(y, x, main_logits(y_pred))
        if sample_weight is not None and len(sample_weight.shape) > 1 and sample_weight.shape[1:].num_elements() != 1:
            hint = (
                "Weights of classes go to the loss, PixelCrossEntropy(class_weights=...); of pixels, to pixel_weights."
            )
            checks.refuse("weights of a segmenter must be one number an image", tuple(sample_weight.shape), hint)
        if weights is not None:
            for each in self.pixel_losses:
                if not isinstance(each, PixelCrossEntropy):
                    rule = "pixel_weights are for PixelCrossEntropy"
                    checks.refuse(rule, type(each).__name__, "Take them out of the labels.")
            if sample_weight is not None:
                weights = weights * ops.cast(sample_weight, weights.dtype)[:, None, None]
            sample_weight = weights
        total = sum(each(labels, main_logits(y_pred), sample_weight) for each in self.pixel_losses)
        if isinstance(y_pred, Mapping):
            others = sum(each(labels, y_pred["auxiliary"], sample_weight) for each in self.pixel_losses)
            total = total + self.auxiliary_weight * others
        return total + own_losses(self)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        labels, _ = self._labels(y, x, main_logits(y_pred))
        for each in self.measures:
            each.update_state(*self._pairs(labels, main_logits(y_pred)), sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def _labels(self, y: Any, images: Any, logits: Any) -> tuple[Any, Any]:
        return checked_labels(y, images.shape[1:3], logits, multi_label=self.multi_label)

    def _pairs(self, labels: Any, predictions: Any) -> tuple[Any, Any]:
        """Returns labels and predictions of a batch for a metric; each class of overlapping ones as a foreground."""
        if not self.multi_label:
            return labels, predictions
        count = ops.shape(labels)[0]
        return ops.reshape(labels, (count, -1)), ops.reshape(predictions, (count, -1, 1))

    def predict(self, images: Any, **settings: Any) -> list[np.ndarray]:
        """Returns the class of each pixel of raw images of any size.

        Args:
            images: as in `predict_scores`.
            **settings: settings of `predict_scores`, such as `windows=True`.

        Returns:
            (H, W) of each image in its own pixels, uint8, or uint16 above 256 classes; (H, W, K) booleans of classes
            that overlap.

        Raises:
            ArgumentError: an argument breaks its rule.
            DataError: an image cannot be read.
        """
        scores = self.predict_scores(images, **settings)
        return [each > 0.5 if self.multi_label else chosen_classes(each) for each in scores]

    def predict_scores(
        self,
        images: Any,
        *,
        scale: tuple[float, float] | str | None = "learnt",
        levels: int | None = None,
        batch_size: int = 8,
        windows: bool = False,
        overlap: float = 0.25,
        flip: bool = False,
    ) -> list[np.ndarray]:
        """Returns the probabilities of the classes of each pixel of raw images of any size.

        Args:
            images: one image or many, as `kerasdl.data.prepare_images` takes them: uint8 arrays, paths, Pillow images.
            scale: values of the pixel levels 0 and 255 at the network's input. `learnt` is that of the images of a
                `Dataset` that it was trained on, and (-1, 1) where there were none; None leaves levels as they are.
            levels: the value that is white in 16-bit images, as in `prepare_images`.
            batch_size: images computed at once.
            windows: whether windows of the network's size slide over the image as it is, and are blended where they
                overlap; without them the image is resized to that size, and its probabilities back. Networks of valid
                convolutions always take windows.
            overlap: share of a window that the next one covers, from 0 to 0.9.
            flip: whether the answers to the image and to its mirror image are averaged.

        Returns:
            (H, W, K) float32 of each image in its own pixels, (H, W, 1) of a foreground.

        Raises:
            ArgumentError: an argument breaks its rule, or the network takes windows and images of any size.
            DataError: an image cannot be read.
        """
        checks.at_least("batch_size", batch_size, 1)
        if isinstance(scale, str):
            checks.one_of("scale, where it is a name,", scale, ("learnt",))
            scale = self.learnt_scale
        raw, (height, width, channels) = read_images(images, levels=levels), self.input_size
        is_free = None in (height, width)
        if windows or self.valid:
            if is_free:
                hint = "Build the network with known sides, or leave windows out: it takes whole images."
                checks.refuse("windows need a network of known sides", self.input_size, hint)
            return [
                blended_windows(
                    prepare_images(image, (None, None, channels), scale)[0].astype("float32"),
                    lambda row: self.segment(row, batch_size=batch_size, flip=flip),
                    (height, width),
                    self.logits_shape[1:3],
                    overlap,
                )
                for image in raw
            ]
        if is_free:
            whole = [prepare_images(image, self.input_size, scale).astype("float32") for image in raw]
            return [resized_scores(self.segment(each, flip=flip), each.shape[1:3])[0] for each in whole]
        found = self.segment(prepare_images(raw, self.input_size, scale).astype("float32"), batch_size, flip=flip)
        return [resized_scores(each[None], image.shape[:2])[0] for each, image in zip(found, raw, strict=True)]

    def segment(self, inputs: Any, batch_size: int = 8, *, flip: bool = False) -> np.ndarray:
        """Returns the probabilities of the classes of images that are prepared for the network.

        Args:
            inputs: (B, H, W, C) float32.
            batch_size: images computed at once.
            flip: as in `predict_scores`.

        Returns:
            (B, H', W', K) float32, of the size of the logits.

        Raises:
            ArgumentError: an argument breaks its rule.
            DataError: an input is not finite.
        """
        checks.at_least("batch_size", batch_size, 1)
        inputs = np.asarray(inputs)
        shape = self.input_size
        if inputs.ndim != 4 or inputs.dtype.kind != "f":
            hint = "predict takes raw images; kerasdl.data.prepare_images prepares them."
            checks.refuse("inputs must be prepared float images (B, H, W, C)", f"{inputs.dtype} {inputs.shape}", hint)
        if any(side not in (None, given) for side, given in zip(shape, inputs.shape[1:], strict=True)):
            checks.refuse(f"inputs must have the shape that the network takes, {shape}", inputs.shape[1:])
        if not np.isfinite(inputs).all():
            raise DataError("inputs must be finite; got NaN or infinity.")
        step = self._step(inputs.shape[1:], flip)
        starts = range(0, len(inputs), batch_size)
        return np.concatenate([np.asarray(step(inputs[start : start + batch_size])) for start in starts])

    def _step(self, shape: tuple, flip: bool) -> Any:
        """Returns the compiled function from images of one shape to probabilities, in the present precision."""
        key = (shape, flip, tuple(layer.compute_dtype for layer in self.main.layers))
        if key not in self.compiled_steps:

            @tf.function(input_signature=[tf.TensorSpec((None, *shape), "float32")])
            def step(images):
                scores = self._scores(images)
                return (scores + self._scores(images[:, :, ::-1])[:, :, ::-1]) / 2 if flip else scores

            self.compiled_steps[key] = step
        return self.compiled_steps[key]

    def _scores(self, images: Any) -> Any:
        with native_dilation():
            return scores_of(main_logits(self.main(images, training=False)), self.multi_label)

    def draw(self, image: Any, labels: Sequence[str] | None = None, **settings: Any) -> np.ndarray:
        """Returns a picture of a raw image with its pixels coloured by class.

        Args:
            image: one image, as in `predict_scores`.
            labels: name of each class; None for their numbers.
            **settings: settings of `predict_scores`.

        Returns:
            (H, W, 3) uint8.

        Raises:
            ArgumentError: an argument breaks its rule.
            DataError: the image cannot be read.
        """
        if self.multi_label:
            checks.refuse("draw is for one class a pixel", "multi_label=True")
        (pixels,) = read_images(image, levels=settings.get("levels"))
        return draw_classes(pixels, self.predict(pixels, **settings)[0], labels)

    def mean_iou(self, data: Any, *, batch_size: int = 8) -> MeanIoU:
        """Returns the mean IoU over labelled data that are prepared for the network.

        Args:
            data: a `Dataset`, or arrays of images and labels, as it learns from.
            batch_size: images computed at once.

        Returns:
            A `MeanIoU` of these images, by the class names of the data; of all classes together where they overlap.

        Raises:
            ArgumentError: an argument breaks its rule, labels have another form, or the data are endless.
            DataError: an image is not finite, or a label is wrong.
        """
        dataset = as_dataset(data)
        refuse_endless("labelled data", dataset)
        check_foreground(dataset)
        classes = max(2, self.logits_shape[-1])
        names = dataset.class_names or classes
        if names != classes and len(names) != classes:
            checks.refuse(f"classes of labelled data must be those of the segmenter, {classes}", names)
        metric = MeanIoU(2 if self.multi_label else names, from_logits=False)
        for images, labels, _ in map(unpacked, dataset.batches(batch_size)):
            scores = self.segment(images.numpy(), batch_size)
            metric.update_state(*self._pairs(self._labels(labels, images, scores)[0], scores))
        return metric

    @property
    def input_size(self) -> tuple:
        """Height, width and channels of the network's input."""
        return self.main.input_shape[1:]
