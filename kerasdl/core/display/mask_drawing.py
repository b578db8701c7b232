"""Drawing of the classes of pixels over pictures, with a legend."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from .. import checks
from .colours import class_colours
from .object_drawing import GAP, INK, LEAST_SIDE, PAPER, _font, _pixels
from .tinting import borders_of, tint

IGNORED = 255


def draw_classes(
    image: Any,
    classes: Any,
    labels: Sequence[str] | None = None,
    *,
    opacity: float = 0.5,
    least_side: int = LEAST_SIDE,
) -> np.ndarray:
    """Returns a picture of an image with its pixels coloured by class, and a legend of the classes that it shows.

    Class 0 is left as it is, and so are pixels of class 255, which do not count. Borders between classes are lines.

    Args:
        image: (H, W), or (H, W, C) of 1, 3 or 4 channels; uint8 from 0 to 255, or floats from 0 to 1.
        classes: (H, W) whole numbers.
        labels: name of each class; None for their numbers.
        opacity: of the colours, from 0 to 1.
        least_side: long side in pixels that the picture has at least; a smaller image is enlarged by a whole factor.

    Returns:
        (H, W, 3) uint8, or a whole multiple of them, with the legend below.

    Raises:
        ArgumentError: the classes have another size than the image, a class has no name, or an argument breaks its
            rule.

    Example:
        >>> image, classes = np.zeros((60, 80, 3), "uint8"), np.zeros((60, 80), int)
        >>> classes[20:40, 20:40] = 1
        >>> draw_classes(image, classes, ["ground", "square"]).shape
        (392, 480, 3)
    """
    checks.at_least("least_side", least_side, 1)
    checks.within("opacity", opacity, 0.0, 1.0)
    pixels, classes = _pixels(image), np.asarray(classes)
    if classes.shape != pixels.shape[:2] or classes.dtype.kind not in "iu":
        checks.refuse(f"classes must be whole numbers {pixels.shape[:2]}", f"{classes.dtype} {classes.shape}")
    shown = [int(each) for each in np.unique(classes) if each not in (0, IGNORED)]
    if labels is not None and shown and not 0 < shown[-1] < len(labels):
        checks.refuse(f"classes must be below the number of labels, {len(labels)}", shown[-1])
    colours = dict(zip(shown, (class_colours(shown[-1])[each - 1] for each in shown), strict=True)) if shown else {}
    height, width = pixels.shape[:2]
    factor = max(1, -(-least_side // max(height, width)))
    large, areas = (each.repeat(factor, axis=0).repeat(factor, axis=1) for each in (pixels, classes))
    canvas = large.astype(float)
    borders = borders_of(areas, max(1, factor // 3))
    for each, colour in colours.items():
        tint(canvas, areas == each, borders, colour, opacity)
    return _with_legend(canvas.astype(np.uint8), colours, labels)


def indexed_image(classes: np.ndarray) -> Image.Image:
    """Returns classes (H, W) as an image whose values they are, with a palette of their colours up to 256 classes."""
    if classes.dtype != np.uint8:
        return Image.fromarray(classes.astype(np.uint16))
    image = Image.fromarray(classes, mode="P")
    image.putpalette(bytes(value for colour in ((0, 0, 0), *class_colours(254), PAPER) for value in colour))
    return image


def _with_legend(picture: np.ndarray, colours: dict[int, tuple], labels: Sequence[str] | None) -> np.ndarray:
    """Returns a picture with a row of coloured squares and names below."""
    font, side = _font(16), 16
    names = {each: str(each) if labels is None else labels[each] for each in colours}
    rows, left, width = [[]], GAP, picture.shape[1]
    for each, name in names.items():
        length = side + GAP // 2 + round(font.getlength(name)) + 2 * GAP
        if rows[-1] and left + length > width:
            rows.append([])
            left = GAP
        rows[-1].append((each, name, left))
        left += length
    rows = rows if colours else []
    sheet = Image.new("RGB", (width, picture.shape[0] + (side + 2 * GAP) * len(rows)), PAPER)
    sheet.paste(Image.fromarray(picture))
    draw = ImageDraw.Draw(sheet)
    for place, row in enumerate(rows):
        top = picture.shape[0] + GAP + place * (side + 2 * GAP)
        for each, name, left in row:
            draw.rectangle((left, top, left + side, top + side), colours[each])
            draw.text((left + side + GAP // 2, top - 2), name, INK, font)
    return np.asarray(sheet)
