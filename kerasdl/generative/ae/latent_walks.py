"""Walks through codes: interpolations between images, traversals of one unit, and grids of images."""

import os
from typing import Any

import numpy as np
from PIL import Image

from kerasdl.core import checks, files

from .reconstruction import ReconstructionTrainer


def interpolate(
    trainer: ReconstructionTrainer, first: Any, second: Any, *, steps: int = 8, spherical: bool = False
) -> np.ndarray:
    """Returns the images of codes between those of two images.

    Source: Kingma 2013, https://arxiv.org/abs/1312.6114; on a sphere: White 2016, https://arxiv.org/abs/1609.04468.

    Args:
        trainer: a trained autoencoder, such as a `VAE`.
        first: (H, W, C), as the network takes it.
        second: likewise.
        steps: images, both ends among them, 2 or more.
        spherical: whether codes keep their length on the way, as draws of a wide normal prior have; else a line.

    Returns:
        (steps, H, W, C) float32.

    Raises:
        ArgumentError: images do not fit, or steps are below 2.

    Example:
        >>> trainer = ReconstructionTrainer(kerasdl.build("conv_autoencoder", filters=(4,), code=2))
        >>> interpolate(trainer, images[0, :28, :28, :1], images[1, :28, :28, :1], steps=3).shape
        (3, 28, 28, 1)
    """
    start, end = trainer.encode(np.stack([first, second])).astype(np.float64)
    shares = np.linspace(0.0, 1.0, checks.at_least("steps", steps, 2)).reshape(-1, *[1] * start.ndim)
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    cosine = np.sum(start * end) / max(lengths[0] * lengths[1], 1e-12)
    angle = np.arccos(np.clip(cosine, -1.0, 1.0))
    if spherical and 1e-6 < angle < np.pi - 1e-6:
        codes = (np.sin((1 - shares) * angle) * start + np.sin(shares * angle) * end) / np.sin(angle)
    else:
        codes = (1 - shares) * start + shares * end
    return trainer.decode(codes)


def traverse(
    trainer: ReconstructionTrainer, image: Any, *, units: Any = None, span: float = 3.0, steps: int = 8
) -> np.ndarray:
    """Returns the images of a code with one unit after the other set to values from -span to span.

    Source: Higgins 2017, https://openreview.net/forum?id=Sy2fzU9gl, figure 4.

    Args:
        trainer: a trained autoencoder with a code (B, D), such as a `VAE`.
        image: (H, W, C), as the network takes it, whose code is changed.
        units: which units; None takes all.
        span: the largest value.
        steps: values of each unit, 2 or more.

    Returns:
        (units, steps, H, W, C) float32.

    Raises:
        ArgumentError: the code is a map, or a unit is not one of it.

    Example:
        >>> trainer = ReconstructionTrainer(kerasdl.build("conv_autoencoder", filters=(4,), code=2))
        >>> traverse(trainer, images[0, :28, :28, :1], units=[1], steps=5).shape
        (1, 5, 28, 28, 1)
    """
    code = trainer.encode(np.asarray(image)[np.newaxis])
    if code.ndim != 2:
        checks.refuse("a traversal needs a code (B, D)", tuple(code.shape), "Build the network with code=32.")
    units = range(code.shape[1]) if units is None else units
    values = np.linspace(-checks.within("span", span, 0.0, 1e3), span, checks.at_least("steps", steps, 2))
    codes = np.repeat(code, len(units) * steps, axis=0).reshape(len(units), steps, -1)
    for row, unit in enumerate(units):
        checks.one_of("a unit", unit, range(code.shape[1]))
        codes[row, :, unit] = values
    found = trainer.decode(codes.reshape(-1, code.shape[1]))
    return found.reshape(len(units), steps, *found.shape[1:])


def image_grid(images: Any, columns: int = 8, *, gap: int = 2, path: str | os.PathLike | None = None) -> np.ndarray:
    """Returns images side by side as one picture, and writes it if a path is given.

    Args:
        images: (..., H, W, C) of 1 or 3 channels, values from -1 (black) to 1; others are cut to that range.
        columns: images in a row.
        gap: white pixels between two.
        path: file of the picture, such as `samples.png`.

    Returns:
        (height, width) or (height, width, 3) uint8.

    Raises:
        ArgumentError: images have another form, or are not finite.

    Example:
        >>> image_grid(np.zeros((5, 4, 4, 1)), columns=3, gap=1).shape
        (9, 14)
    """
    images = np.asarray(images, np.float64)
    if images.ndim < 4 or images.shape[-1] not in (1, 3) or not images.size or not np.isfinite(images).all():
        checks.refuse("images must be (..., H, W, C) finite numbers of 1 or 3 channels", f"shape {images.shape}")
    images = images.reshape(-1, *images.shape[-3:])
    columns = min(checks.at_least("columns", columns, 1), len(images))
    rows, (height, width, channels) = -(-len(images) // columns), images.shape[1:]
    gap = checks.at_least("gap", gap, 0)
    shape = (rows * (height + gap) - gap, columns * (width + gap) - gap, channels)
    picture = np.full(shape, 255, "uint8")
    levels = np.clip(np.round((images + 1) * 127.5), 0, 255).astype("uint8")
    for place, image in enumerate(levels):
        top, left = place // columns * (height + gap), place % columns * (width + gap)
        picture[top : top + height, left : left + width] = image
    picture = picture[..., 0] if channels == 1 else picture
    if path is not None:
        with files.writing(path) as draft:
            Image.fromarray(picture).save(draft)
    return picture
