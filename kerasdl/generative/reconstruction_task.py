"""Image reconstruction task: images in, the same images out as a code keeps them, with their errors."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import Task, checks, register_task
from kerasdl.core.outputs.model_shapes import input_shape_of
from kerasdl.data import prepare_images

from .ae.code_parts import check_autoencoder
from .ae.reconstruction import ReconstructionTrainer
from .vae.quantized import VQVAE
from .vae.quantized_networks import ENCODING
from .vae.variational import VAE
from .vae.variational_networks import LOG_VARIANCE

WHITE = 255.0


def check_reconstruction(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    """Checks the settings of a bundle against an autoencoder; raises `ArgumentError`."""
    if labels:
        checks.refuse("an autoencoder gives images and has no labels", labels[0])
    check_autoencoder(model)
    shape = checks.image_shape("image_shape", settings.get("image_shape"))
    if shape != tuple(input_shape_of(model)):
        checks.refuse(f"image_shape must be that of the model, {input_shape_of(model)}", shape)
    if tuple(settings.get("scale", ())) != (-1.0, 1.0):
        checks.refuse("scale of an autoencoder must be (-1, 1), the values of black and white", settings.get("scale"))


def prepared(raw: Any, settings: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Returns raw images as input of the network, and as the context against which `decoded` measures."""
    images = prepare_images(raw, tuple(settings["image_shape"]), (-1.0, 1.0), levels=settings.get("levels"))
    return images, images


def preparing_layers(settings: Mapping[str, Any], raw_shape: tuple) -> list[keras.Layer]:
    """Returns layers that do the same inside a graph, for raw images of the network's shape."""
    if tuple(raw_shape) != tuple(settings["image_shape"]):
        checks.refuse(f"a raw image must have the shape {tuple(settings['image_shape'])}", tuple(raw_shape))
    return [keras.layers.Rescaling(2 / WHITE, offset=-1.0, name="rescale")]


def decoded(outputs: np.ndarray, labels: Sequence[str], context: np.ndarray) -> list[dict[str, Any]]:
    """Returns `{"image", "error"}` of each image: levels (H, W, C) uint8, and the mean squared error of its pixels."""
    errors = np.square(outputs - context).reshape(len(outputs), -1).mean(axis=1)
    levels = np.clip(np.round((outputs + 1) / 2 * WHITE), 0, WHITE).astype("uint8")
    return [{"image": image, "error": float(error)} for image, error in zip(levels, errors, strict=True)]


def trainer_of(networks: Mapping[str, keras.Model]) -> ReconstructionTrainer:
    """Returns the trainer that the layers of a network ask for: `VAE`, `VQVAE` or that of plain errors."""
    names = {layer.name for layer in networks["model"].layers}
    if LOG_VARIANCE in names:
        return VAE(networks)
    return VQVAE(networks) if ENCODING in names else ReconstructionTrainer(networks)


def _drawn(image: Any, result: Mapping[str, Any], labels: Sequence[str]) -> np.ndarray:
    """Returns the picture that a network gave back, in three channels."""
    picture = result["image"]
    return np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture[..., :3]


def _row(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"error": result["error"]}]


def _example(model: keras.Model, batch: int, seed: int) -> tuple[Any, np.ndarray]:
    """Draws images, and classes for a network that takes them, with the images as targets."""
    rng = np.random.default_rng(seed)
    image = rng.uniform(-1.0, 1.0, (batch, *model.inputs[0].shape[1:])).astype("float32")
    if len(model.inputs) == 1:
        return image, image
    classes = model.get_layer("decoder_label").input_dim
    return {"image": image, "label": rng.integers(0, classes, batch).astype("int32")}, image


register_task(
    Task(
        name="image_reconstruction",
        module=__name__,
        loss=lambda: None,
        metrics=list,
        monitor=("val_loss", "min"),
        check=check_reconstruction,
        preprocess=prepared,
        preprocess_layers=preparing_layers,
        decode=decoded,
        replace_head=None,
        example=_example,
        trainer=trainer_of,
        draw=_drawn,
        table=_row,
        summary="gives an image back from a short code, without what the code has no room for, such as noise",
        limits="It gives back images of the kind that it learnt; the error of others is high, and is no probability.",
    )
)
