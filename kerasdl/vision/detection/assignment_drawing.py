"""Pictures of target assignment: which anchors, places or queries learn which true object."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from kerasdl.core import checks
from kerasdl.core.display.colours import class_colours
from kerasdl.ops.matching import IGNORED

from .detector import Detector
from .method import checked_truth, sides_of, true_batch

GAP, FAINT, PAPER = 8, (156, 163, 175), (255, 255, 255)


def draw_assignment(detector: Detector, images: Any, labels: Any, *, columns: int = 2, side: int = 480) -> np.ndarray:
    """Returns a sheet of images on which each true object has a colour, and so have the predictions that learn it.

    A true box has a thick edge. A prediction is drawn as the box it starts from, with a dot at its centre: its anchor,
    its cell of the image, its proposal, or of a query the box that it predicts now. A grey dot is a prediction that
    learns nothing, not even background; the others learn background and are not drawn.

    Args:
        detector: the detector, trained or not. Where its method looks at predictions (YOLOv8, DETR), they change what
            is drawn.
        images: (B, H, W, C) as the network takes them.
        labels: `{"boxes", "classes"}` as `fit` takes them.
        columns: most images in a row.
        side: long side in pixels of each picture, 32 or more.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ArgumentError: an argument breaks its rule, or the labels have another form.
        DataError: a label is wrong.

    Example:
        >>> detector = Detector(kerasdl.build("fcos", **kerasdl.spec("fcos").tiny))
        >>> boxes = {"boxes": np.array([[[8.0, 8.0, 40.0, 36.0]]]), "classes": np.array([[1]])}
        >>> draw_assignment(detector, np.zeros((1, 64, 64, 3), "float32"), boxes).shape
        (496, 496, 3)
    """
    checks.at_least("columns", columns, 1)
    checks.at_least("side", side, 32)
    images = np.asarray(images, "float32")
    if images.ndim != 4 or not len(images):
        checks.refuse("images must be a batch (B, H, W, C) as the network takes them", images.shape)
    size = sides_of(images)
    heads = detector.heads(images)
    truth = checked_truth(true_batch(labels), size, detector.method.decode(heads, size)[1].shape[-1])
    if len(truth.boxes) != len(images):
        checks.refuse(f"labels must be those of the {len(images)} images", len(truth.boxes))
    starts, matches = detector.method.assign(heads, truth, size)
    matches = np.asarray(matches)
    starts = np.broadcast_to(np.asarray(starts), (*matches.shape, 4))
    scale = side / max(size)
    pictures = [
        _picture(image, boxes[is_one], start, match, scale)
        for image, boxes, is_one, start, match in zip(
            _visible(images), np.asarray(truth.boxes), np.asarray(truth.valid), starts, matches, strict=True
        )
    ]
    columns = min(columns, len(pictures))
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, rows * (height + GAP) + GAP), PAPER)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, columns)
        sheet.paste(picture, (GAP + column * (width + GAP), GAP + row * (height + GAP)))
    return np.asarray(sheet)


def _visible(images: np.ndarray) -> np.ndarray:
    """Returns images (B, H, W, 3) uint8 whose lowest value is black and whose highest is white."""
    low, high = images.min(), images.max()
    levels = np.clip((images - low) / max(high - low, 1e-6) * 255, 0, 255).astype("uint8")
    return np.broadcast_to(levels[..., :3] if levels.shape[-1] >= 3 else levels[..., :1], (*levels.shape[:3], 3))


def _picture(image: np.ndarray, boxes: np.ndarray, starts: np.ndarray, matches: np.ndarray, scale: float) -> Any:
    height, width = image.shape[:2]
    size = round(width * scale), round(height * scale)
    canvas = Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.NEAREST)
    canvas = Image.blend(canvas, Image.new("RGB", size, PAPER), 0.35)
    pen, colours = ImageDraw.Draw(canvas), class_colours(len(boxes))
    for start in starts[matches == IGNORED] * scale:
        _dot(pen, start, FAINT, 1)
    for start, match in zip(starts[matches >= 0] * scale, matches[matches >= 0], strict=True):
        pen.rectangle(_ordered(start), outline=colours[match], width=1)
        _dot(pen, start, colours[match], 3)
    for box, colour in zip(boxes * scale, colours, strict=True):
        pen.rectangle(_ordered(box), outline=colour, width=4)
    return canvas


def _ordered(box: np.ndarray) -> tuple:
    return (*np.minimum(box[:2], box[2:]).tolist(), *np.maximum(box[:2], box[2:]).tolist())


def _dot(pen: ImageDraw.ImageDraw, box: np.ndarray, colour: tuple, radius: int) -> None:
    x, y = (box[:2] + box[2:]) / 2
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
