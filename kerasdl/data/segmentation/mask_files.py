"""Mask files: pixels as they are stored, neither scaled nor blended; faults by file."""

import stat
from pathlib import Path

import numpy as np
from PIL import Image

from ..detection.annotations import ORIENTATION, TURNED
from ..image_files import FORMATS, HEAD, PNG_BITS, PNG_START, UnreadableError, one_line

EXACT = ("PNG", "BMP", "GIF")
"""Formats that keep every value."""
COLOUR_TYPE = 25
"""Offset of the byte in a PNG file that tells grey, colour, palette and alpha."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_mask(path: Path, colours: bool = False) -> np.ndarray:
    """Returns the pixels of a mask, turned upright by its own EXIF tag.

    Args:
        path: a PNG, BMP or GIF file.
        colours: whether the colours of pixels count, also of indexed files, or else their values.

    Returns:
        (H, W, 3) uint8 colours; or (H, W) values, uint8, of 16-bit files uint16.

    Raises:
        UnreadableError: the file has no values that are surely exact, or they are not of this kind.
    """
    head = b""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableError("no regular file")
        with open(path, "rb") as file:
            head = file.read(HEAD)
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > Image.MAX_IMAGE_PIXELS:
                    raise UnreadableError(f"{image.width}x{image.height} pixels are more than {Image.MAX_IMAGE_PIXELS}")
                if image.format not in EXACT:
                    kind = "WebP" if image.format == "WEBP" else "JPEG"
                    raise UnreadableError(f"a {kind} mask, whose compression blurs labels; save masks as PNG")
                pixels = _pixels(image, head, colours)
                turn = image.getexif().get(ORIENTATION)
    except UnreadableError:
        raise
    except Exception as error:  # the errors of Pillow's decoders are of any kind
        raise UnreadableError(_reason(error)) from error
    return pixels if turn not in TURNS else _turned(pixels, turn)


def image_header(path: Path) -> tuple[tuple[int, int], int, bool]:
    """Returns (height, width) of an image turned upright, its EXIF tag of that (1 for none), and whether it is grey.

    Raises:
        UnreadableError: the file is missing, or no image.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            tag = image.getexif().get(ORIENTATION)
            turn = tag if tag in TURNS else 1
            is_grey = image.mode in ("1", "L", "LA", "I", "I;16", "I;16B")
            width, height = image.size
    except Exception as error:  # as above
        raise UnreadableError(_reason(error)) from error
    return ((width, height) if turn in TURNED else (height, width)), turn, is_grey


def _pixels(image: Image.Image, head: bytes, colours: bool) -> np.ndarray:
    if colours:
        return _colours(image)
    if image.mode.startswith("I"):
        return np.asarray(image).astype(np.uint16)
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    if image.mode not in ("L", "P"):
        alpha = "an alpha channel" if image.mode in ("LA", "PA", "La") else "colours"
        raise UnreadableError(f"a mask of {alpha} ({image.mode}), without a palette that tells its classes")
    values = np.asarray(image)
    is_small = head.startswith(PNG_START) and head[COLOUR_TYPE] == 0 and head[PNG_BITS] in (2, 4)
    # Pillow spreads grey of 2 or 4 bits over 0 to 255; classes are the values of the file.
    return values // (255 // (2 ** head[PNG_BITS] - 1)) if is_small else values


def _colours(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):
        raise UnreadableError("a mask of 16 bits, beside a palette of colours of 8")
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa"):
        pixels = np.asarray(image.convert("RGBA"))
        if (pixels[..., 3] < 255).any():
            raise UnreadableError("a mask with pixels that are not opaque, whose colours are not certain")
        return np.ascontiguousarray(pixels[..., :3])
    return np.asarray(image.convert("RGB"))


def _turned(pixels: np.ndarray, turn: int) -> np.ndarray:
    """Returns pixels of any dtype turned as an EXIF tag says."""
    rows, columns = pixels.shape[:2]
    places = Image.fromarray(np.arange(rows * columns, dtype=np.int32).reshape(rows, columns))
    order = np.asarray(places.transpose(TURNS[turn]))
    return pixels.reshape(rows * columns, *pixels.shape[2:])[order]


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "the file is missing"
    return "no PNG, JPEG, BMP, WebP or GIF image" if "cannot identify" in str(error) else one_line(error)
