"""Synthetic letters A-Z, drawn from matplotlib's fonts with random pose, stroke, contrast and noise.

Example i of a split is a function of (seed, split, i) alone, so a larger set begins with the smaller one. Its letter is
i modulo 26. Pixels are the same on one machine and one version of Pillow; another FreeType may draw edges otherwise.
"""

from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from ..dataset import Dataset
from ..sources import Examples
from ..splits import SPLITS

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
# Of the 40 fonts, 15 have no letters, LastResort draws one box for all and cmex10 draws mathematical symbols.
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSans-BoldOblique",
    "DejaVuSans-Oblique",
    "DejaVuSansMono",
    "DejaVuSansMono-Bold",
    "DejaVuSansMono-BoldOblique",
    "DejaVuSansMono-Oblique",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "DejaVuSerif-BoldItalic",
    "DejaVuSerif-Italic",
    "STIXGeneral",
    "STIXGeneralBol",
    "STIXGeneralBolIta",
    "STIXGeneralItalic",
    "cmb10",
    "cmmi10",
    "cmr10",
    "cmss10",
    "cmsy10",
    "cmti10",
    "cmtt10",
)
LICENCE = "images: free of terms; fonts: Bitstream Vera and DejaVu, STIX (OFL 1.1), Computer Modern (BaKoMa)"
SIZES = {"train": 5200, "validation": 1300, "test": 1300}
SIDE = 32
ATLAS_SIDE, ATLAS_LETTER = 48, 36
BLOCK = 256


def read_glyphs(split: str, size: int | None, seed: int) -> Dataset:
    """Returns `size` letters (by default 5200 for training, 1300 else), uint8 (32, 32, 1), mostly white on black."""
    size = size or SIZES[split]
    blocks = [draw_block(split, seed, block) for block in range(-(-size // BLOCK))]
    labels = np.arange(size, dtype=np.int32) % len(LETTERS)
    return Dataset(
        name="glyphs",
        task="image_classification",
        class_names=LETTERS,
        input_shape=(SIDE, SIDE, 1),
        input_dtype="uint8",
        size=size,
        licence=LICENCE,
        seekable=True,
        scale=None,
        source=Examples(np.concatenate(blocks)[:size], labels),
        images=True,
    )


def draw_block(split: str, seed: int, block: int) -> np.ndarray:
    """Draws examples 256 * block to 256 * (block + 1) of a split, uint8 (256, 32, 32, 1)."""
    rng = np.random.default_rng((seed, SPLITS.index(split), block))
    letters = (block * BLOCK + np.arange(BLOCK)) % len(LETTERS)
    fonts = rng.integers(len(FONTS), size=BLOCK)
    coverage = _sample(draw_atlas()[fonts, letters], *_pose(rng))
    # A threshold over the blurred letter moves its edge, which thickens or thins the stroke; the slope blurs it.
    threshold, slope = _uniform(rng, 0.05, 0.3), _uniform(rng, 1.5, 4.0)
    ink = np.clip((coverage - threshold) * slope, 0, 1)  # (256, 32, 32)
    paper, contrast = _uniform(rng, 0, 60), _uniform(rng, 110, 195)
    levels = paper + contrast * ink
    levels = np.where(rng.random((BLOCK, 1, 1)) < 0.1, 255 - levels, levels)
    levels += _uniform(rng, 0, 14) * rng.standard_normal(levels.shape, np.float32)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)[..., np.newaxis]


@cache
def draw_atlas() -> np.ndarray:
    """Draws every letter of every font, slightly blurred, scaled to one size and centred: float32 (23, 26, 48, 48)."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    atlas = [[_draw_letter(folder / f"{font}.ttf", letter) for letter in LETTERS] for font in FONTS]
    return np.asarray(atlas, np.float32) / 255


def _draw_letter(font: Path, letter: str) -> np.ndarray:
    canvas = Image.new("L", (256, 256))
    ImageDraw.Draw(canvas).text((128, 128), letter, font=ImageFont.truetype(str(font), 120), fill=255, anchor="mm")
    ink = canvas.crop(canvas.getbbox())
    ratio = ATLAS_LETTER / max(ink.size)
    ink = ink.resize([max(1, round(side * ratio)) for side in ink.size], Image.Resampling.BOX)
    centred = Image.new("L", (ATLAS_SIDE, ATLAS_SIDE))
    centred.paste(ink, ((ATLAS_SIDE - ink.width) // 2, (ATLAS_SIDE - ink.height) // 2))
    return np.asarray(centred.filter(ImageFilter.GaussianBlur(1.0)))


def _uniform(rng: np.random.Generator, low: float, high: float) -> np.ndarray:
    return rng.uniform(low, high, (BLOCK, 1, 1)).astype(np.float32)


def _pose(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draws the atlas position (256, 32, 32) of every pixel: rows, then columns."""
    grid = np.arange(SIDE, dtype=np.float32) - (SIDE - 1) / 2
    rows, columns = grid[np.newaxis, :, np.newaxis], grid[np.newaxis, np.newaxis, :]
    rows, columns = rows - _uniform(rng, -3, 3), columns - _uniform(rng, -3, 3)
    angle, shear = _uniform(rng, -0.3, 0.3), _uniform(rng, -0.25, 0.25)
    # The longer side of the letter is 18 to 30 pixels, before it is stretched in height and squeezed in width.
    zoom = ATLAS_LETTER / _uniform(rng, 18, 30)
    stretch = _uniform(rng, 0.85, 1.15)
    turned_rows = np.cos(angle) * rows - np.sin(angle) * columns
    turned_columns = np.sin(angle) * rows + np.cos(angle) * columns
    centre = (ATLAS_SIDE - 1) / 2
    return turned_rows * zoom / stretch + centre, (turned_columns + shear * turned_rows) * zoom * stretch + centre


def _sample(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns bilinear samples of images (B, 48, 48) at positions (B, 32, 32); 0 outside of the image."""
    rows, columns = np.clip(rows, 0, ATLAS_SIDE - 1.001), np.clip(columns, 0, ATLAS_SIDE - 1.001)
    top, left = rows.astype(np.int32), columns.astype(np.int32)
    down, right = rows - top, columns - left
    flat = images.reshape(-1)
    corner = (np.arange(len(images), dtype=np.int32) * ATLAS_SIDE**2)[:, np.newaxis, np.newaxis]
    corner = corner + top * ATLAS_SIDE + left
    upper = flat[corner] * (1 - right) + flat[corner + 1] * right
    lower = flat[corner + ATLAS_SIDE] * (1 - right) + flat[corner + ATLAS_SIDE + 1] * right
    return upper * (1 - down) + lower * down
