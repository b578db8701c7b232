"""Silhouettes of shapes, letters, digits and clutter, turned and scaled to any size."""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.spatial import ConvexHull

CLASSES = ("circle", "square", "triangle", "star", "letter", "digit")
LETTERS, DIGITS = "AKR", "257"
FONTS = ("DejaVuSans-Bold", "DejaVuSansMono-Bold", "DejaVuSerif-Bold", "STIXGeneralBol")
CLUTTER = ("bar", "ring", "cross", "corner", "half")
MASTER = 256
"""Side of the largest drawing of a silhouette; smaller ones halve it."""
REACH = 112
HALVES = 4


@dataclass(frozen=True)
class Silhouette:
    """A filled form, drawn at several sizes."""

    drawings: tuple[Image.Image, ...]
    """White on black, (256, 256), (128, 128), ..."""
    outline: np.ndarray
    """(P, 2): corners of the convex hull as x, y from the middle of the largest drawing."""

    def drawn(self, size: float, angle: float, stretch: float = 1.0) -> np.ndarray:
        """Returns the form turned by `angle` (radians), its longer side about `size` pixels: uint8 coverage (h, w)."""
        cosine, sine = math.cos(angle), math.sin(angle)
        x, y = self.outline[:, 0] * stretch, self.outline[:, 1]
        across, down = cosine * x - sine * y, sine * x + cosine * y
        left, right, top, bottom = across.min(), across.max(), down.min(), down.max()
        zoom = size / max(right - left, bottom - top)
        width, height = math.ceil((right - left) * zoom) + 1, math.ceil((bottom - top) * zoom) + 1
        half = min(max(int(math.log2(1 / zoom)), 0), HALVES - 1) if zoom < 1 else 0
        back = 1 / (zoom * 2**half)  # pixels of the drawing in one of the result
        middle = MASTER / 2 / 2**half
        x0, y0 = width / 2 - (left + right) / 2 * zoom, height / 2 - (top + bottom) / 2 * zoom
        rows = (cosine * back / stretch, sine * back / stretch), (-sine * back, cosine * back)
        map_back = [(a, b, middle - a * x0 - b * y0) for a, b in rows]
        picture = self.drawings[half].transform(
            (width, height), Image.Transform.AFFINE, (*map_back[0], *map_back[1]), Image.Resampling.BILINEAR
        )
        return np.asarray(picture)


@cache
def silhouettes(name: str) -> tuple[Silhouette, ...]:
    """Returns the forms of a class or a kind of clutter: one, or one for each letter and font."""
    if name in ("letter", "digit"):
        folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
        fonts = [ImageFont.truetype(str(folder / f"{font}.ttf"), 4 * REACH) for font in FONTS]
        return tuple(_of_letter(letter, f) for letter in (LETTERS if name == "letter" else DIGITS) for f in fonts)
    canvas = Image.new("L", (4 * MASTER, 4 * MASTER))
    _draw(ImageDraw.Draw(canvas), name)
    return (_of_canvas(canvas),)


def _draw(pen: ImageDraw.ImageDraw, name: str) -> None:
    """Draws a form about the middle of a canvas four times as large as the largest drawing."""
    middle, reach = 2 * MASTER, 4 * REACH

    def corners(count: int, *reaches: float) -> list[tuple[float, float]]:
        angles = [2 * math.pi * n / count - math.pi / 2 for n in range(count)]
        radii = [reaches[n % len(reaches)] * reach for n in range(count)]
        return [(middle + r * math.cos(a), middle + r * math.sin(a)) for a, r in zip(angles, radii, strict=True)]

    def box(x0: float, y0: float, x1: float, y1: float) -> list[float]:
        return [middle + share * reach for share in (x0, y0, x1, y1)]

    if name == "circle":
        pen.ellipse(box(-1, -1, 1, 1), fill=255)
    elif name == "square":
        pen.rectangle(box(-0.75, -0.75, 0.75, 0.75), fill=255)
    elif name == "triangle":
        pen.polygon(corners(3, 1.0), fill=255)
    elif name == "star":
        pen.polygon(corners(10, 1.0, 0.42), fill=255)
    elif name == "bar":
        pen.rectangle(box(-1, -0.14, 1, 0.14), fill=255)
    elif name == "ring":
        pen.ellipse(box(-1, -1, 1, 1), outline=255, width=int(0.2 * reach))
    elif name == "cross":
        pen.rectangle(box(-1, -0.22, 1, 0.22), fill=255)
        pen.rectangle(box(-0.22, -1, 0.22, 1), fill=255)
    elif name == "corner":
        pen.rectangle(box(-0.8, -0.8, -0.4, 0.8), fill=255)
        pen.rectangle(box(-0.8, 0.4, 0.8, 0.8), fill=255)
    else:
        pen.pieslice(box(-1, -1, 1, 1), 0, 180, fill=255)


def _of_letter(letter: str, font: ImageFont.FreeTypeFont) -> Silhouette:
    canvas = Image.new("L", (4 * MASTER, 4 * MASTER))
    ImageDraw.Draw(canvas).text((2 * MASTER, 2 * MASTER), letter, font=font, fill=255, anchor="mm")
    return _of_canvas(canvas)


def _of_canvas(canvas: Image.Image) -> Silhouette:
    drawings = [canvas.resize((MASTER >> half,) * 2, Image.Resampling.BOX) for half in range(HALVES)]
    rows, columns = np.nonzero(np.asarray(drawings[0]) >= 128)
    pixels = np.stack([columns, rows], 1) + 0.5 - MASTER / 2
    return Silhouette(tuple(drawings), pixels[ConvexHull(pixels).vertices].astype(np.float32))
