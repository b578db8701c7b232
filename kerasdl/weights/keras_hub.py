"""Weights of KerasHub presets."""

import keras

from kerasdl.core.startup.packages import optional

from .applications import preprocess_in

PREFIX = "keras-hub:"


def load(source: str) -> tuple[keras.Model, dict | None]:
    """Returns the net of a KerasHub preset, a folder or a name, and the pixel scaling of its converter.

    Raises:
        MissingPackageError: keras_hub is not installed.
    """
    hub = optional("keras_hub", "peers")
    net = hub.models.ImageClassifier.from_preset(source.removeprefix(PREFIX))
    converter = getattr(net.preprocessor, "image_converter", None)
    return net, preprocess_in(net) if converter is None else scale_of(converter)


def scale_of(converter) -> dict:
    """Returns the values of the levels 0 and 255 of each channel after an image converter."""
    factor, offset = (1.0 if converter.scale is None else converter.scale), converter.offset or 0.0
    factors, offsets = (list(each) if isinstance(each, (list, tuple)) else [each] * 3 for each in (factor, offset))
    high = [255.0 * one + other for one, other in zip(factors, offsets, strict=True)]
    return {"scale": ([float(each) for each in offsets], [float(each) for each in high])}
