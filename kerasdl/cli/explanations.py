"""Explanations for the command line: heat of each image as a picture, beside that of an exported file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from kerasdl import explain
from kerasdl.bundles import AttentionComparison, Bundle
from kerasdl.core import checks, files
from kerasdl.data import prepare_images

from .images import free_picture_name

SIDE = 224
"""Least side of an image in a picture, in pixels."""


def explain_images(
    bundle: Bundle,
    names: Sequence[str],
    raw: Sequence[Any],
    method: str,
    label: str | None,
    compared: AttentionComparison | None,
    folder: Path,
) -> list[dict[str, Any]]:
    """Writes a picture of each image, the image beside its heat, and returns a row of values for each.

    Args:
        bundle: a classifier of images.
        names: name of each image.
        raw: raw images.
        method: a function of `kerasdl.explain` by name.
        label: the class that is explained, or None for the likeliest.
        compared: maps of an exported file and of the bundle, which come beside the heat, or None.
        folder: of the pictures.

    Returns:
        Rows of `input`, `label`, `score`, `picture` and, with maps of a file, `correlation`.

    Raises:
        UnknownNameError: the bundle has no such label.

    Example:
        >>> bundle = kerasdl.load_bundle("digits_mobilenet")
        >>> image = np.zeros((8, 8, 1), "uint8")
        >>> explain_images(bundle, ["a"], [image], "grad_cam", "3", None, Path("explained"))[0]["picture"]
        'a.png'
    """
    labels = bundle.labels or tuple(map(str, range(bundle.model.output_shape[-1])))
    if label is not None:
        checks.known_name("label", label, labels)
    settings = bundle.preprocess
    shape, levels = settings["image_shape"], settings.get("levels")
    images = prepare_images(raw, shape, tuple(settings["scale"]), levels=levels)
    pixels = prepare_images(raw, shape, None, levels=levels)
    scores = [result["scores"] for result in bundle.predict(raw)]
    named = [next(iter(each)) if label is None else label for each in scores]  # from the highest score on
    heats = [getattr(explain, method)(bundle.model, images, [labels.index(each) for each in named])]
    if compared is not None:
        heats += [compared.of_bundle, compared.of_file]
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for place, name in enumerate(names):
        picture = free_picture_name(name, [row["picture"] for row in rows])
        with files.writing(folder / picture) as draft:
            Image.fromarray(_beside(pixels[place], [each[place] for each in heats])).save(draft, format="PNG")
        row = {"input": name, "label": named[place], "score": scores[place][named[place]], "picture": picture}
        if compared is not None:
            row["correlation"] = float(compared.correlations[place])
        rows.append(row)
    return rows


def _beside(image: np.ndarray, heats: Sequence[np.ndarray]) -> np.ndarray:
    """Returns an image beside itself under each heat, enlarged by a whole factor."""
    factor = max(1, -(-SIDE // max(image.shape[:2])))
    large = image.repeat(factor, axis=0).repeat(factor, axis=1)[..., :3]
    parts = [np.broadcast_to(large, (*large.shape[:2], 3))]
    for heat in heats:
        positive = explain.as_map(np.maximum(heat[None], 0.0))[0]
        grown = Image.fromarray(positive.astype("float32")).resize(large.shape[1::-1], Image.Resampling.BILINEAR)
        parts.append(explain.draw_heat(large, np.clip(np.asarray(grown), 0.0, 1.0)))
    return np.concatenate(parts, axis=1)
