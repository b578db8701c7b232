"""Drawing of objects over pictures: boxes with names and scores, true beside predicted ones, many scenes on a sheet.

Pictures are arrays, so they go into files, notebooks, trackers and videos alike.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .. import checks
from ..objects import PredictedObjects, TrueObjects, mask_area
from .colours import class_colours
from .tinting import borders_of, tint

LEAST_SIDE = 480
"""Long side in pixels up to which a picture is enlarged, so that names can be read."""
GAP = 8
INK, PAPER = (31, 41, 55), (255, 255, 255)


def draw_objects(
    image: Any,
    objects: TrueObjects | PredictedObjects,
    labels: Sequence[str] | None = None,
    *,
    min_score: float = 0.0,
    least_side: int = LEAST_SIDE,
) -> np.ndarray:
    """Returns a picture of an image with a box, a name and a score for each object, coloured by class.

    Lines and letters grow with the picture. Names stand where they hide no other name, if there is room. A crowd has a
    dashed box. Of a box beyond the image, the part inside is drawn. Masks are tinted inside a line, the largest first.

    Args:
        image: (H, W), or (H, W, C) of 1, 3 or 4 channels; uint8 from 0 to 255, or floats from 0 to 1. The fourth
            channel is opacity over white.
        objects: true or predicted objects, in pixels of the image.
        labels: name of each class; None for their numbers.
        min_score: least score of a predicted object that is drawn.
        least_side: long side in pixels that the picture has at least; a smaller image is enlarged by a whole factor.

    Returns:
        (H, W, 3) uint8, or a whole multiple of the height and width.

    Raises:
        ArgumentError: the image is of another form, a mask of another size, a class has no name, or `least_side` is
            below 1.

    Example:
        >>> image = np.zeros((60, 80, 3), "uint8")
        >>> found = PredictedObjects(boxes=[[10, 20, 50, 50]], classes=[0], scores=[0.9])
        >>> draw_objects(image, found, ["cat"]).shape
        (360, 480, 3)
    """
    checks.at_least("least_side", least_side, 1)
    pixels = _pixels(image)
    height, width = pixels.shape[:2]
    factor = max(1, -(-least_side // max(height, width)))
    canvas = Image.fromarray(pixels.repeat(factor, axis=0).repeat(factor, axis=1))
    canvas = _with_masks(canvas, objects, (height, width), min_score)
    _draw(canvas, objects.boxes * factor, objects, labels, min_score)
    return np.asarray(canvas)


def draw_scenes(
    images: Sequence[Any],
    true: Sequence[TrueObjects | PredictedObjects],
    predicted: Sequence[PredictedObjects] | None = None,
    labels: Sequence[str] | None = None,
    *,
    columns: int = 3,
    side: int = 320,
    min_score: float = 0.0,
) -> np.ndarray:
    """Returns a sheet of scenes with their objects; with predicted objects, each scene twice, true and predicted.

    Args:
        images: images of any sizes, each as in `draw_objects`.
        true: objects of each image.
        predicted: predicted objects of each image, drawn beside the others; None for none.
        labels: name of each class; None for their numbers.
        columns: most scenes in a row.
        side: long side in pixels of each picture, to which images are enlarged or reduced.
        min_score: least score of a predicted object that is drawn.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ArgumentError: there is no image, an image is of another form, a mask of another size, the numbers of records
            differ, a class has no name, `columns` is below 1, or `side` below 32.

    Example:
        >>> images = np.zeros((5, 32, 32, 3), "uint8")
        >>> truth = TrueObjects(boxes=[[4, 4, 20, 20]], classes=[0])
        >>> draw_scenes(images, [truth] * 5, labels=["cat"], side=100).shape
        (224, 332, 3)
    """
    checks.at_least("columns", columns, 1)
    checks.at_least("side", side, 32)
    if not len(images):
        checks.refuse("images must hold at least one image", 0)
    for name, records in {"true": true, "predicted": predicted}.items():
        if records is not None and len(records) != len(images):
            checks.refuse(f"{name} must hold a record for each of the {len(images)} images", len(records))
    records = [true] if predicted is None else [true, predicted]
    pictures = [
        [_fitted(image, each[place], labels, side, min_score) for each in records] for place, image in enumerate(images)
    ]
    rows = [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
    heights = [max(picture.height for scene in row for picture in scene) for row in rows]
    head = 0 if predicted is None else 3 * GAP
    scene_width = len(records) * (side + GAP) + (GAP if head else 0)
    sheet = Image.new("RGB", (len(rows[0]) * scene_width + GAP, head + sum(heights) + GAP * (len(rows) + 1)), PAPER)
    top = GAP + head
    for row, height in zip(rows, heights, strict=True):
        for column, scene in enumerate(row):
            for k, picture in enumerate(scene):
                left = GAP + column * scene_width + k * (side + GAP)
                sheet.paste(picture, (left + (side - picture.width) // 2, top + (height - picture.height) // 2))
                if head and row is rows[0]:
                    ImageDraw.Draw(sheet).text((left, GAP // 2), ("true", "predicted")[k], INK, _font(16))
        top += height + GAP
    return np.asarray(sheet)


def _fitted(image: Any, objects: Any, labels: Sequence[str] | None, side: int, min_score: float) -> Image.Image:
    pixels = _pixels(image)
    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)
    canvas = _with_masks(canvas, objects, (height, width), min_score)
    _draw(canvas, objects.boxes * scale, objects, labels, min_score)
    return canvas


def _pixels(image: Any) -> np.ndarray:
    """Returns an image as (H, W, 3) uint8."""
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    if image.ndim != 3 or image.shape[-1] not in (1, 3, 4) or not image.size:
        checks.refuse("image must be (H, W) or (H, W, C) of 1, 3 or 4 channels", f"shape {image.shape}")
    if image.dtype != np.uint8:
        if image.dtype.kind != "f" or not ((image >= 0) & (image <= 1)).all():
            got = f"{image.dtype} from {image.min()} to {image.max()}"
            checks.refuse("image must be uint8, or floats from 0 to 1", got)
        image = np.round(image * 255.0).astype(np.uint8)
    if image.shape[-1] == 4:
        opacity = image[..., 3:] / 255.0
        image = np.round(image[..., :3] * opacity + 255 * (1 - opacity)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), size)


def _with_masks(canvas: Image.Image, objects: Any, size: tuple[int, int], min_score: float) -> Image.Image:
    """Returns a canvas with the masks of objects of an image of (height, width), the largest first."""
    if not objects.masks:
        return canvas
    colours, picture = class_colours(int(objects.classes.max()) + 1), np.asarray(canvas).astype(float)
    height, width = picture.shape[:2]
    rows, columns = (((np.arange(n) + 0.5) * old / n).astype(int) for n, old in zip((height, width), size, strict=True))
    seen = getattr(objects, "scores", np.full(len(objects.masks), np.inf)) >= min_score
    for k in np.argsort([-mask_area(each) for each in objects.masks], kind="stable"):
        mask = objects.masks[k]
        mask = np.asarray(mask.mask() if hasattr(mask, "mask") else mask) != 0
        if mask.shape != size:
            checks.refuse(f"masks must have the size of the image, {size}", mask.shape)
        if seen[k]:
            large = mask[rows[:, np.newaxis], columns]
            line = max(1, round(max(height, width) / 480))
            tint(picture, large, borders_of(large, line), colours[objects.classes[k]])
    return Image.fromarray(np.round(picture).astype(np.uint8))


def _draw(canvas: Image.Image, boxes: np.ndarray, objects: Any, labels: Sequence[str] | None, min_score: float) -> None:
    """Draws boxes on a canvas, the largest first, then names, that of the highest score first."""
    count = int(objects.classes.max(initial=-1)) + 1
    if labels is not None and count > len(labels):
        checks.refuse(f"labels must name every class; the highest is {count - 1}", f"{len(labels)} labels")
    colours, names = class_colours(count), list(map(str, range(count) if labels is None else labels))
    scores = getattr(objects, "scores", None)
    crowd = getattr(objects, "crowd", np.zeros(len(boxes), bool))
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    seen = (high > 0).all(axis=1) & (low < canvas.size).all(axis=1)
    seen &= True if scores is None else scores >= min_score
    pen, long = ImageDraw.Draw(canvas), max(canvas.size)
    font, line = _font(max(11, round(long / 48))), max(2, round(long / 320))
    area = (high - low).prod(axis=1)
    rows = np.flatnonzero(seen)
    for k in rows[np.argsort(-area[rows], kind="stable")]:
        _draw_box(pen, (*low[k], *high[k]), colours[objects.classes[k]], line, bool(crowd[k]))
    placed: list[tuple[float, float, float, float]] = []
    for k in rows[np.argsort(-(area if scores is None else scores)[rows], kind="stable")]:
        text = names[objects.classes[k]] + ("" if scores is None else f" {scores[k]:.2f}") + (" crowd" * bool(crowd[k]))
        text = _shortened(text, font, canvas.width)
        place = _place(_size(text, font), (*low[k], *high[k]), canvas.size, placed)
        placed.append(place)
        colour = colours[objects.classes[k]]
        pen.rectangle(place, fill=colour)
        bright = np.dot(colour, (0.299, 0.587, 0.114)) > 150
        pen.text((place[0] + 3, place[1] + 1), text, INK if bright else PAPER, font)


def _draw_box(pen: ImageDraw.ImageDraw, box: tuple, colour: tuple, line: int, dashed: bool) -> None:
    left, top, right, bottom = (round(float(edge)) for edge in box)
    right, bottom = max(left, right - 1), max(top, bottom - 1)
    if not dashed:
        pen.rectangle((left, top, right, bottom), outline=colour, width=line)
        return
    for start in range(left, right + 1, 6 * line):
        for y in (top, bottom):
            pen.line((start, y, min(start + 3 * line, right), y), fill=colour, width=line)
    for start in range(top, bottom + 1, 6 * line):
        for x in (left, right):
            pen.line((x, start, x, min(start + 3 * line, bottom)), fill=colour, width=line)


def _size(text: str, font: ImageFont.FreeTypeFont) -> tuple[int, int]:
    ascent, descent = font.getmetrics()
    return round(font.getlength(text)) + 6, ascent + descent + 2


def _shortened(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Returns a text that fits into the width of the picture; letters in the middle give way, so a score stays."""
    while _size(text, font)[0] > width and len(text) > 3:
        middle = len(text.replace("…", "")) // 2
        bare = text.replace("…", "")
        text = f"{bare[: middle - 1]}…{bare[middle:]}"
    return text


def _place(size: tuple, box: tuple, canvas: tuple, placed: list) -> tuple[float, float, float, float]:
    """Returns the place of a name: above, inside or below its box, left or right, where it hides others least."""
    width, height = size
    left, top, right, bottom = box
    options = [(x, y) for y in (top - height, top, bottom, bottom - height) for x in (left, right - width)]
    best, least = None, float("inf")
    for x, y in options:
        x, y = min(max(x, 0), max(canvas[0] - width, 0)), min(max(y, 0), max(canvas[1] - height, 0))
        place = (round(x), round(y), round(x) + width - 1, round(y) + height - 1)
        hidden = sum(_shared(place, other) for other in placed)
        if hidden < least:
            best, least = place, hidden
    return best


def _shared(one: tuple, other: tuple) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0]) + 1
    height = min(one[3], other[3]) - max(one[1], other[1]) + 1
    return max(width, 0) * max(height, 0)
