"""Segmenter: trainer of a network that gives a class for each pixel of an image."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks, draw_classes
from kerasdl.core.errors import DataError
from kerasdl.data import as_dataset, prepare_images
from kerasdl.data.images import read_images
from kerasdl.data.pipelines import refuse_endless
from kerasdl.data.trees import unpacked
from kerasdl.losses import PixelCrossEntropy
from kerasdl.metrics import MeanIoU, PixelAccuracy
from kerasdl.train import Trainer
from kerasdl.train.objectives.label_checks import demand

from .windows import blended_windows

IGNORED = 255
HINT = (
    'Labels are maps of classes (B, H, W), or {"semantic": maps}; kerasdl.data.load(..., labels="semantic") has them.'
)


class Segmenter(Trainer):
    """Trainer of a semantic segmenter, which gives a class for each pixel.

    It learns from batches of images (B, H, W, C) as the network takes them, with labels (B, H, W), classes from 0 to
    K - 1, or a dict of them under `semantic`. Pixels of the label 255 count nowhere. An optional `pixel_weights`
    (B, H, W) in that dict multiplies the loss of each pixel. Of the labels of a network of valid convolutions, whose
    logits are smaller than its images, the middle counts.

    Args:
        network: functional model from images to logits (B, H, W, K), such as `kerasdl.build("unet")`, or to a dict of
            `logits` and `auxiliary`. One channel is a foreground, and its classes are 0 and 1.
        loss: loss of labels (B, H, W) and logits, one of `kerasdl.losses`; None takes `PixelCrossEntropy`.
        auxiliary: weight of the loss of the auxiliary logits; PSPNet's is 0.4
            (https://arxiv.org/abs/1612.01105, section 5.1).

    Raises:
        ArgumentError: the network has another form, or `auxiliary` is not from 0 to 100.

    Example:
        >>> image = keras.Input((16, 16, 3))
        >>> network = keras.Model(image, keras.layers.Conv2D(4, 3, padding="same", name="logits")(image))
        >>> Segmenter(network).predict(np.zeros((2, 40, 60, 3), "uint8"))[0].shape
        (40, 60)
    """

    def __init__(
        self, network: keras.Model | Mapping[str, keras.Model], *, loss: keras.losses.Loss | None = None, auxiliary=0.4
    ):
        super().__init__(network if isinstance(network, Mapping) else {"model": network})
        if len(self.main.inputs) != 1 or len(self.main.inputs[0].shape) != 4:
            checks.refuse("a segmenter must take one batch of images", [tuple(i.shape) for i in self.main.inputs])
        outputs = self.main.output
        if isinstance(outputs, Mapping) and set(outputs) != {"logits", "auxiliary"}:
            checks.refuse("outputs of a segmenter must be logits, and auxiliary where it has them", sorted(outputs))
        self.logits_shape = tuple(main_logits(outputs).shape)
        if len(self.logits_shape) != 4:
            checks.refuse("logits of a segmenter must be (B, H, W, K)", self.logits_shape)
        self.pixel_loss = PixelCrossEntropy() if loss is None else loss
        self.auxiliary_weight = checks.within("auxiliary", auxiliary, 0.0, 100.0)
        names = max(2, self.logits_shape[-1])
        self.measures = [MeanIoU(names), PixelAccuracy(names)]
        self.compiled_steps: dict[tuple, Any] = {}

    @property
    def metrics(self) -> list:
        return list({id(each): each for each in (*super().metrics, *self.measures)}.values())

    def identity(self) -> dict[str, Any]:
        loss = {"class": type(self.pixel_loss).__name__, **self.pixel_loss.get_config()}
        return {**super().identity(), "loss": {name: value for name, value in loss.items() if name != "dtype"}}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        labels, weights = checked_labels(y, x.shape[1:3], main_logits(y_pred))
        if weights is not None:
            if not isinstance(self.pixel_loss, PixelCrossEntropy):
                rule = "pixel_weights are for PixelCrossEntropy"
                checks.refuse(rule, type(self.pixel_loss).__name__, "Take them out of the labels.")
            if sample_weight is not None:
                weights = weights * ops.cast(sample_weight, weights.dtype)[:, None, None]
            sample_weight = weights
        total = self.pixel_loss(labels, main_logits(y_pred), sample_weight)
        if isinstance(y_pred, Mapping):
            total = total + self.auxiliary_weight * self.pixel_loss(labels, y_pred["auxiliary"], sample_weight)
        return total

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        labels, _ = checked_labels(y, x.shape[1:3], main_logits(y_pred))
        for each in self.measures:
            each.update_state(labels, main_logits(y_pred), sample_weight)
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def predict(self, images: Any, **settings: Any) -> list[np.ndarray]:
        """Returns the class of each pixel of raw images of any size.

        Args:
            images: as in `predict_scores`.
            **settings: settings of `predict_scores`, such as `windows=True`.

        Returns:
            (H, W) of each image in its own pixels, uint8, or uint16 above 256 classes.

        Raises:
            ArgumentError: an argument breaks its rule.
            DataError: an image cannot be read.
        """
        return [chosen_classes(each) for each in self.predict_scores(images, **settings)]

    def predict_scores(
        self,
        images: Any,
        *,
        scale: tuple[float, float] | None = (-1.0, 1.0),
        levels: int | None = None,
        batch_size: int = 8,
        windows: bool = False,
        overlap: float = 0.25,
        flip: bool = False,
    ) -> list[np.ndarray]:
        """Returns the probabilities of the classes of each pixel of raw images of any size.

        Args:
            images: one image or many, as `kerasdl.data.prepare_images` takes them: uint8 arrays, paths, Pillow images.
            scale: values of the pixel levels 0 and 255 at the network's input.
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
        raw, (height, width, channels) = read_images(images, levels=levels), self.input_size
        is_free = None in (height, width)
        if windows or self.is_valid:
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
                scores = scores_of(main_logits(self.main(images, training=False)))
                if not flip:
                    return scores
                mirrored = scores_of(main_logits(self.main(images[:, :, ::-1], training=False)))
                return (scores + mirrored[:, :, ::-1]) / 2

            self.compiled_steps[key] = step
        return self.compiled_steps[key]

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
        (pixels,) = read_images(image, levels=settings.get("levels"))
        return draw_classes(pixels, self.predict(pixels, **settings)[0], labels)

    def mean_iou(self, data: Any, *, batch_size: int = 8) -> MeanIoU:
        """Returns the mean IoU over labelled data that are prepared for the network.

        Args:
            data: a `Dataset`, or arrays of images and labels, as it learns from.
            batch_size: images computed at once.

        Returns:
            A `MeanIoU` of these images, by the class names of the data.

        Raises:
            ArgumentError: an argument breaks its rule, labels have another form, or the data are endless.
            DataError: an image is not finite, or a label is wrong.
        """
        dataset = as_dataset(data)
        refuse_endless("labelled data", dataset)
        classes = max(2, self.logits_shape[-1])
        names = dataset.class_names or classes
        if names != classes and len(names) != classes:
            checks.refuse(f"classes of labelled data must be those of the segmenter, {classes}", names)
        metric = MeanIoU(names, from_logits=False)
        for images, labels, _ in map(unpacked, dataset.batches(batch_size)):
            scores = self.segment(images.numpy(), batch_size)
            metric.update_state(checked_labels(labels, images.shape[1:3], scores)[0], scores)
        return metric

    @property
    def input_size(self) -> tuple:
        """Height, width and channels of the network's input."""
        return self.main.input_shape[1:]

    @property
    def is_valid(self) -> bool:
        """True if the logits are smaller than the image, as those of valid convolutions are."""
        return any(
            None not in pair and pair[0] < pair[1]
            for pair in zip(self.logits_shape[1:3], self.input_size[:2], strict=True)
        )


def checked_labels(y: Any, size: Any, logits: Any) -> tuple[Any, Any]:
    """Returns labels (B, H, W) int32 of the size of the logits, and the weights of pixels or None.

    Args:
        y: labels of a batch, as `Segmenter` learns from.
        size: (height, width) of the images.
        logits: (B, h, w, K), or probabilities.

    Raises:
        ArgumentError: the labels have another form.
        DataError: a class is none of K; in a graph it is checked as it runs.
    """
    if isinstance(y, Mapping) and "semantic" not in y:
        checks.refuse("labels of a segmenter must have semantic", sorted(y), HINT)
    labels = tf.convert_to_tensor(y["semantic"] if isinstance(y, Mapping) else y)
    labels = tf.squeeze(labels, -1) if labels.shape.rank == 4 and labels.shape[-1] == 1 else labels
    if labels.shape.rank != 3 or not (labels.dtype.is_integer or labels.dtype.is_bool or labels.dtype.is_floating):
        checks.refuse("labels of a segmenter must be numbers (B, H, W)", f"{labels.dtype.name} {labels.shape}", HINT)
    labels = tf.cast(labels, tf.uint8) if labels.dtype.is_bool else labels
    labels = _middle("labels", labels, size, logits)
    classes = max(2, logits.shape[-1])
    wrong = ((labels < 0) | (labels >= classes)) & (labels != IGNORED)
    wrong = wrong | (labels != tf.floor(labels)) if labels.dtype.is_floating else wrong
    rule = f"classes of pixels must be whole numbers from 0 to {classes - 1}, or {IGNORED} where they do not count"
    checked = demand(wrong, rule, labels)
    with tf.control_dependencies([] if checked is None else [checked]):
        labels = tf.cast(labels, tf.int32)
    if not isinstance(y, Mapping) or "pixel_weights" not in y:
        return labels, None
    return labels, _middle("pixel_weights", tf.cast(y["pixel_weights"], tf.float32), size, logits)


def main_logits(outputs: Any) -> Any:
    """Returns the logits of a network's outputs, which may have auxiliary ones beside."""
    return outputs["logits"] if isinstance(outputs, Mapping) else outputs


def scores_of(logits: Any) -> Any:
    """Returns the probabilities of logits (B, H, W, K): a softmax over classes, or the sigmoid of a foreground."""
    return (
        ops.softmax(ops.cast(logits, "float32")) if logits.shape[-1] > 1 else ops.sigmoid(ops.cast(logits, "float32"))
    )


def resized_scores(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns probabilities (B, h, w, K) in another (height, width), bilinear with half-pixel centres."""
    return scores if scores.shape[1:3] == tuple(size) else np.asarray(tf.image.resize(scores, size))


def chosen_classes(scores: np.ndarray) -> np.ndarray:
    """Returns the likeliest class (H, W) of probabilities (H, W, K); of a foreground 1 above one half."""
    chosen = scores[..., 0] > 0.5 if scores.shape[-1] == 1 else scores.argmax(axis=-1)
    return chosen.astype("uint8" if scores.shape[-1] <= 256 else "uint16")


def _middle(name: str, values: Any, size: Any, logits: Any) -> Any:
    """Returns the middle (B, h, w) of values (B, H, W) of the pixels of images, of the size of logits (B, h, w, K)."""
    given, wanted = tuple(values.shape[1:3]), tuple(logits.shape[1:3])
    if any(None not in pair and pair[0] != pair[1] for pair in zip(given, size, strict=True)):
        checks.refuse(f"{name} must have the size of their images, {tuple(size)}", given, HINT)
    if None in (*given, *wanted) or given == wanted:
        return values
    top, left = ((one - other) // 2 for one, other in zip(given, wanted, strict=True))
    return values[:, top : top + wanted[0], left : left + wanted[1]]
