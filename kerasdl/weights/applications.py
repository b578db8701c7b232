"""Weights of keras.applications nets, and the pixel scaling of each."""

import ast
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks
from kerasdl.core.errors import WeightsError

from .pairing import front_layers

PREFIX = "keras-applications:"
# Mode of preprocess_input of keras.applications by net; nets without one contain the preprocessing.
MODES = {
    "caffe": ("VGG16", "VGG19", "ResNet50", "ResNet101", "ResNet152"),
    "torch": ("DenseNet121", "DenseNet169", "DenseNet201"),
    "tf": ("InceptionV3", "Xception", "ResNet50V2", "ResNet101V2", "ResNet152V2", "MobileNet", "MobileNetV2"),
}
MEANS = np.array([0.485, 0.456, 0.406])
DEVIATIONS = np.array([0.229, 0.224, 0.225])
# Means of the mode caffe, red first; its nets read blue first, see `reads_blue_first`.
LEVELS = np.array([123.68, 116.779, 103.939])


def parse(source: str) -> tuple[str, dict[str, Any]]:
    """Returns the name of a net and its settings from `keras-applications:NAME` or `...:NAME(alpha=0.5)`.

    Raises:
        ArgumentError: the source names no net of keras.applications.
    """
    text = source.removeprefix(PREFIX)
    name, _, rest = text.partition("(")
    known = [each for each in dir(keras.applications) if callable(getattr(keras.applications, each))]
    checks.known_name("net of keras.applications", name, known)
    try:
        call = ast.parse(text if rest else f"{text}()", mode="eval").body
        settings = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
        if call.args or None in settings:
            raise ValueError
    except (SyntaxError, ValueError):
        checks.refuse("a net of keras.applications is named NAME or NAME(setting=value)", text)
    return name, settings


def build_peer(source: str, model: keras.Model, file: str | os.PathLike | None) -> keras.Model:
    """Returns the keras.applications net for the model's image shape, with the weights of a file or of ImageNet.

    Raises:
        ArgumentError: the source names no net, or settings that it does not have.
        WeightsError: the file does not fit, or ImageNet's weights cannot be fetched.
    """
    name, settings = parse(source)
    shape = model.input_shape[1:]
    builder = getattr(keras.applications, name)
    common = {"input_shape": shape, **settings}
    if file is None:
        return _fetched(builder, common, name)
    file = Path(file)
    if not file.is_file():
        raise WeightsError(f"weights must be a file; nothing is at {str(file)!r}. Check the path.")
    if file.suffix == ".keras":
        return keras.models.load_model(file, compile=False)
    tops = ({"classes": 1000}, {"classes": model.output_shape[-1]}, {"include_top": False, "pooling": "avg"})
    for top in tops:
        try:
            peer = builder(
                weights=None, **common, **({"classifier_activation": None} if "classes" in top else {}), **top
            )
            peer.load_weights(file)
        except (ValueError, OSError, KeyError) as error:
            reason = error
        else:
            return peer
    raise WeightsError(f"{file} must hold weights of {name} as keras.applications builds it; got: {reason}")


def _fetched(builder: Any, common: dict, name: str) -> keras.Model:
    for top in ({"include_top": True}, {"include_top": False, "pooling": "avg"}):  # a head may need 224 pixels
        try:
            return builder(weights="imagenet", **common, **top)
        except ValueError as error:
            reason = error
        except Exception as error:  # urllib raises errors of several kinds without a network
            raise WeightsError(
                f"ImageNet's weights of {name} could not be fetched ({type(error).__name__}). Bring the .h5 file that "
                "keras.applications names, and pass its path as file=."
            ) from error
    raise WeightsError(f"{name} must have weights for images of this shape; got: {reason}")


def reads_blue_first(source: str) -> bool:
    """Returns whether a net of keras.applications reads channels in the order blue, green, red."""
    return parse(source)[0] in MODES["caffe"]


def preprocess_of(source: str, peer: keras.Model) -> dict[str, Any]:
    """Returns the setting of image preprocessing for a net: values of the levels 0 and 255, red first."""
    name, _ = parse(source)
    if name in MODES["caffe"]:
        return {"scale": ((0 - LEVELS).tolist(), (255 - LEVELS).tolist())}
    if name in MODES["torch"]:
        return {"scale": ((-MEANS / DEVIATIONS).tolist(), ((1 - MEANS) / DEVIATIONS).tolist())}
    if name in MODES["tf"]:
        return {"scale": (-1.0, 1.0)}
    return preprocess_in(peer) or {"scale": (0.0, 255.0)}


def preprocess_in(peer: keras.Model) -> dict[str, Any] | None:
    """Returns the values of the levels 0 and 255 after a net's own preprocessing layers; None without such layers."""
    layers = front_layers(peer)
    if not layers:
        return None
    bounds = []
    for level in (0.0, 255.0):
        x = np.full((1, 1, 1, peer.input_shape[-1]), level, "float32")
        for layer in layers:
            x = layer(x)
        bounds.append([float(value) for value in keras.ops.convert_to_numpy(x).ravel()])
    return {"scale": tuple(bounds)}
