"""Reconstruction: trainer of an autoencoder on images without labels, and its answers: codes, images, errors."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.core.data_fit import check_fits
from kerasdl.data.model_fit import check_dataset_fits, warn_of_raw_pixels
from kerasdl.train import Trainer
from kerasdl.train.trainer import own_losses

from .code_parts import check_autoencoder, split_autoencoder


class ReconstructionTrainer(Trainer):
    """Trainer of an autoencoder: the squared error of each image, the mean over its pixels.

    It learns from inputs alone. Labels of their shape are targets in their place, such as clean images of noisy ones;
    classes are not read.

    Source: https://doi.org/10.1126/science.1127647.

    Args:
        network: functional model from images (B, H, W, C) to the same, with a layer `code`, such as
            `kerasdl.build("conv_autoencoder")`.

    Raises:
        ArgumentError: the network has another form.

    Example:
        >>> trainer = ReconstructionTrainer(kerasdl.build("conv_autoencoder", filters=(4,), code=2))
        >>> images = kerasdl.data.load("mnist", "test").take(8).arrays()[0]
        >>> trainer.encode(images).shape, trainer.errors(images).shape
        ((8, 2), (8,))
    """

    def __init__(self, network: keras.Model | Mapping[str, keras.Model]):
        super().__init__(network if isinstance(network, Mapping) else {"model": network})
        check_autoencoder(self.main)
        self.encoder, self.decoder = split_autoencoder(self.main)
        self.with_code = keras.Model(self.main.input, {"output": self.main.output, "code": self.encoder.output})

    def check_data(self, data: Any) -> None:
        check_dataset_fits(self.main, data)
        refuse_other_targets(data)
        warn_of_raw_pixels(self.main, data)

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Returns `output` (B, H, W, C) and `code` of images."""
        return self.with_code(inputs, training=training)

    def predict_step(self, data: Any) -> Any:
        return self.main(keras.utils.unpack_x_y_sample_weight(data)[0], training=False)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        errors = mean_of_each(ops.square(target_of(x, y) - y_pred["output"]))
        return mean_over_replicas(errors, sample_weight) + own_losses(self)

    # Answers

    def encode(self, images: Any, *, batch_size: int = 256) -> np.ndarray:
        """Returns the codes of images.

        Args:
            images: (N, H, W, C), as the network takes them.
            batch_size: images computed at once.

        Returns:
            (N, ...) float32.

        Raises:
            ArgumentError: images do not fit the network.
        """
        return self._answers(self.encoder, images, batch_size)

    def decode(self, codes: Any, *, batch_size: int = 256) -> np.ndarray:
        """Returns the images of codes, as `encode` gives them.

        Raises:
            ArgumentError: codes do not fit the network.
        """
        return self._answers(self.decoder, codes, batch_size)

    def reconstruct(self, images: Any, *, batch_size: int = 256) -> np.ndarray:
        """Returns the images as the network gives them back: of a denoiser, without their noise.

        Raises:
            ArgumentError: images do not fit the network.
        """
        return self._answers(self.main, images, batch_size)

    def errors(self, images: Any, *, batch_size: int = 256) -> np.ndarray:
        """Returns the squared error (N,) of each image, the mean over its pixels: high for what was never learnt.

        Raises:
            ArgumentError: images do not fit the network.
        """
        found = self.reconstruct(images, batch_size=batch_size)
        given = np.asarray(next(iter(keras.tree.flatten(images))))
        return np.square(found - given).reshape(len(found), -1).mean(axis=1)

    def _answers(self, network: keras.Model, inputs: Any, batch_size: int) -> Any:
        inputs = keras.tree.map_structure(np.asarray, inputs)
        first = next(iter(keras.tree.flatten(inputs)))
        if first.dtype.kind != "f" or not len(first) or not np.isfinite(first).all():
            hint = "kerasdl.data.prepare_images gives images from -1 to 1."
            checks.refuse("inputs must be finite floats, one or more", f"{first.dtype} {first.shape}", hint)
        inputs = keras.tree.map_structure(lambda leaf: leaf.astype("f4") if leaf.dtype.kind == "f" else leaf, inputs)
        check_fits(network, inputs, name="input")
        parts = tf.data.Dataset.from_tensor_slices(inputs).batch(checks.at_least("batch_size", batch_size, 1))
        answers = [keras.tree.map_structure(np.asarray, network(part, training=False)) for part in parts]
        return keras.tree.map_structure(lambda *leaves: np.concatenate(leaves), *answers)


def target_of(x: Any, y: Any) -> Any:
    """Returns labels that have the shape of the inputs, else the inputs, float32."""
    images = next(iter(keras.tree.flatten(x)))
    targets = keras.tree.flatten(y) if y is not None else []
    is_target = len(targets) == 1 and tuple(targets[0].shape[1:]) == tuple(images.shape[1:])
    return ops.cast(targets[0] if is_target else images, "float32")


def refuse_other_targets(data: Any) -> None:
    """Refuses labels that are images, but of another shape than the inputs: they could not be targets."""
    images, labels = (keras.tree.flatten(part) for part in data.spec[:2])
    shape = tuple(images[0].shape[1:])
    for each in labels:
        rank = 0 if each is None else tf.TensorShape(each.shape).rank or 0
        if rank > 2 and len(shape) > 1 and tuple(each.shape[1:]) != shape:
            hint = "Classes are not read; targets have the shape of the inputs."
            checks.refuse(f"target images must be of the shape {shape}", tuple(each.shape[1:]), hint)


def mean_of_each(values: Any) -> Any:
    """Returns the mean (B,) of each example, float32."""
    values = ops.cast(values, "float32")
    return ops.mean(ops.reshape(values, (ops.shape(values)[0], -1)), axis=1)


def mean_over_replicas(losses: Any, sample_weight: Any = None) -> Any:
    """Returns this replica's part of the mean of losses (B,), each times its weight.

    Raises:
        ArgumentError: weights are not one an example.
    """
    if sample_weight is not None:
        if tuple(sample_weight.shape[1:]) not in ((), (1,)):
            checks.refuse("weights of images must be (B,)", tuple(sample_weight.shape))
        losses = losses * ops.cast(ops.reshape(sample_weight, (-1,)), losses.dtype)
    return ops.mean(losses) / tf.distribute.get_strategy().num_replicas_in_sync
