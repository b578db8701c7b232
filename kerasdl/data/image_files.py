"""Image decoding: files identified by content, turned upright by EXIF, 16 bits reduced to 8, faults reported."""

import os
import stat
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

from kerasdl.core import checks, files
from kerasdl.core.errors import DataError

SUFFIXES = files.IMAGE_SUFFIXES
FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF")
NO_IMAGE = "not a PNG, JPEG, BMP, WebP or GIF image"
DEEPEST = 65535
"""The largest value of 16 bits."""

# Image formats that are not read: offset and bytes that identify each, and the suffixes of its files.
OTHER_KINDS = (
    ("HEIC", 4, (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1"), (".heic", ".heif", ".hif")),
    ("AVIF", 4, (b"ftypavi",), (".avif",)),
    ("TIFF", 0, (b"II*\0", b"MM\0*"), (".tif", ".tiff")),
    ("JPEG 2000", 4, (b"jP  ",), (".jp2", ".j2k", ".jpx")),
    ("JPEG XL", 4, (b"JXL ",), (".jxl",)),
    ("Photoshop", 0, (b"8BPS",), (".psd",)),
    ("PDF", 0, (b"%PDF",), (".pdf",)),
    ("DICOM", 128, (b"DICM",), (".dcm",)),
    ("SVG", 0, (b"<svg",), (".svg",)),
    ("camera raw", 4, (b"ftypcrx",), (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf")),
    ("Netpbm", 0, (b"P5\n", b"P6\n"), (".ppm", ".pgm", ".pbm", ".pnm")),
    ("icon", 0, (b"\0\0\1\0",), (".ico",)),
    ("Targa", 0, (), (".tga",)),
    ("OpenEXR", 0, (b"v/1\x01",), (".exr",)),
)
OTHER_SUFFIXES = tuple(suffix for *_, suffixes in OTHER_KINDS for suffix in suffixes)
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_BITS = 24
"""Offset of the byte in a PNG file that gives the bits per value."""
HEAD = 132
HOW_TO_CONVERT = ", with ImageMagick by `magick mogrify -format png FILE`"


class UnreadableError(Exception):
    """A file without readable pixels; the text gives the reason, in one line without the file's name."""

    def __init__(self, reason: str, kind: str | None = None):
        super().__init__(one_line(reason))
        self.kind = kind
        """Format of the file, if it is an image of a format that is not read, such as `HEIC`."""


def decode_image(path: str | os.PathLike, *, levels: int | None = None) -> np.ndarray:
    """Reads an image file, turned upright by its EXIF tag.

    Args:
        path: a PNG, JPEG, BMP, WebP or GIF file, whatever its suffix; of an animation the first frame is read.
        levels: the value, 1 to 65535, that is white in a 16-bit file, such as 4095 if it holds 12 bits; None
            takes 65535.

    Returns:
        (H, W) for grey, else (H, W, 3) or (H, W, 4), uint8; 16 bits are reduced to 8, rounded down.

    Raises:
        ArgumentError: `levels` breaks its rule.
        DataError: the file is missing, empty, damaged, of another format, larger than Pillow's safe size, or
            a 16-bit file brighter than `levels`.

    Example:
        >>> decode_image("cat.jpg").shape
        (48, 64, 3)
    """
    check_levels(levels)
    path = Path(path)
    try:
        pixels, largest = read_image(path, levels)
        if levels is not None and largest > levels:
            raise UnreadableError(f"its largest value is {largest}, above levels={levels}")
    except UnreadableError as error:
        remedy = f"Convert it to PNG or JPEG{HOW_TO_CONVERT}." if error.kind else "Repair or remove the file."
        remedy = remedy if path.exists() else "Check the path."
        raise DataError(f"cannot read the image {one_line(path)}: {error}. {remedy}") from error
    return pixels


def read_image(path: Path, levels: int | None = None) -> tuple[np.ndarray, int]:
    """Returns an image as `decode_image` does, and its largest value if the file has 16 bits, else 0.

    Values above `levels` become white.

    Raises:
        UnreadableError: the file has no readable pixels.
    """
    head = b""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableError("no regular file")
        with open(path, "rb") as file:
            head = file.read(HEAD)
            if not head:
                raise UnreadableError("the file is empty")
            with Image.open(file, formats=FORMATS) as image:
                if image.width * image.height > Image.MAX_IMAGE_PIXELS:
                    raise UnreadableError(f"{image.width}x{image.height} pixels are more than {Image.MAX_IMAGE_PIXELS}")
                if head.startswith(PNG_START) and head[PNG_BITS] == 16:
                    return _of_16_bits(image, path, levels)
                return _to_array(ImageOps.exif_transpose(image)), 0
    except UnreadableError:
        raise
    except FileNotFoundError as error:
        raise UnreadableError("no such file") from error
    except Exception as error:  # the errors of Pillow's decoders are of any kind
        if "cannot identify" not in str(error):
            raise UnreadableError(str(error) or type(error).__name__) from error
        kind = _kind_of(head, path.suffix.lower())
        is_page = head.lstrip().lower().startswith((b"<!doctype html", b"<html"))
        reason = f"a file of the kind {kind}, which is not read" if kind else NO_IMAGE
        raise UnreadableError("a web page, as failed downloads leave" if is_page else reason, kind) from error


def of_pillow(image: Image.Image) -> np.ndarray:
    """Returns a Pillow image in the form of `decode_image`; a 16-bit image is unchanged.

    Raises:
        DataError: its file cannot be read to the end.
    """
    try:
        deep = image.mode.startswith(("I", "F"))
        return np.asarray(image) if deep else _to_array(ImageOps.exif_transpose(image))
    except (OSError, ValueError) as error:  # Pillow reads the file late, on first use
        raise DataError(f"cannot read the Pillow image: {one_line(error)}. Repair or remove its file.") from error


def check_levels(value: int | None) -> int | None:
    """Returns the white value of 16-bit files, 1 to 65535, or None; else raises `ArgumentError`."""
    if value is not None and checks.at_least("levels", value, 1) > DEEPEST:
        checks.refuse(f"levels must be the value, 1 to {DEEPEST}, that is white in files of 16 bits", value)
    return None if value is None else int(value)


def to_8_bits(values: np.ndarray, levels: int | None) -> np.ndarray:
    """Returns 16-bit values as uint8, rounded down; `levels` and larger values become 255."""
    top = DEEPEST if levels is None else levels
    return (np.minimum(values, top).astype(np.uint32) * 256 // (top + 1)).astype(np.uint8)


def one_line(text: object) -> str:
    """Returns a text, such as a file's name, without line ends and unprintable characters."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in str(text))


def _of_16_bits(image: Image.Image, path: Path, levels: int | None) -> tuple[np.ndarray, int]:
    if image.mode.startswith("I"):
        # Pillow's own conversion clips 16 bits at 255, which turns most pictures white.
        values = np.asarray(image)
    else:  # in colour and with alpha, Pillow reads only the upper eight bits
        image.load()  # finds damage that TensorFlow ignores
        with tf.device("CPU:0"):
            values = tf.io.decode_png(path.read_bytes(), dtype=tf.uint16).numpy()
        values = values[..., 0] if values.shape[2] < 3 else values
    picture = Image.fromarray(to_8_bits(values, levels))
    picture.info["exif"] = image.getexif().tobytes()
    colours = values if values.ndim == 2 else values[..., :3]
    return np.asarray(ImageOps.exif_transpose(picture)), int(colours.max())


def _to_array(image: Image.Image) -> np.ndarray:
    if image.mode in ("1", "L", "LA"):
        return np.asarray(image.convert("L"))
    has_alpha = image.mode in ("RGBA", "PA") or "transparency" in image.info
    return np.asarray(image.convert("RGBA" if has_alpha else "RGB"))


def _kind_of(head: bytes, suffix: str) -> str | None:
    """Returns the name of an image format that is not read, by content, else by suffix."""
    by_content = [kind for kind, place, starts, _ in OTHER_KINDS if starts and head[place:].startswith(starts)]
    by_suffix = [kind for kind, *_, suffixes in OTHER_KINDS if suffix in suffixes]
    return (by_content + by_suffix or [None])[0]
