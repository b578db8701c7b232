"""Folders of plain colours, and a small bundle that learns them in a second."""

from pathlib import Path

import keras
import numpy as np
from PIL import Image

from kerasdl.bundles import Bundle

COLOURS = {"blue": (40, 60, 220), "green": (60, 200, 40), "red": (220, 30, 30)}


def write_photos(folder: Path, count: int = 10, seed: int = 1) -> Path:
    """Writes so many noisy pictures of 12 pixels of each colour into a folder of its name; returns the folder."""
    rng = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for k in range(count):
            pixels = np.clip(np.array(colour) + rng.integers(-25, 26, (12, 12, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{k}.png")
    return folder


def colour_bundle() -> Bundle:
    """Returns an untrained bundle of one dense layer over 8 x 8 pixels."""
    inputs = keras.Input((8, 8, 3), name="image")
    model = keras.Model(inputs, keras.layers.Dense(3, name="head")(keras.layers.Flatten(name="flat")(inputs)))
    settings = {"image_shape": (8, 8, 3), "scale": (-1, 1)}
    return Bundle.of(model, name="start", task="image_classification", preprocess=settings, labels=tuple(COLOURS))
