"""Image preprocessing: files and arrays converted, resized and scaled to a model's pixels."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from PIL import Image

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from .image_files import check_levels, decode_image, of_pillow, to_8_bits
from .letterboxing import GREY, Letterboxed, inset

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# Values of the pixel levels 0 and 255: two numbers for all channels, or two tuples with a number per channel.
Scale = tuple[float, float] | tuple[tuple[float, ...], tuple[float, ...]]


def prepare_images(
    images: Any,
    image_shape: tuple,
    scale: Scale | None = (-1.0, 1.0),
    *,
    levels: int | None = None,
    letterbox: bool = False,
) -> np.ndarray:
    """Resizes, converts and scales images; all pixels that reach a model pass through it.

    Channels are converted first (grey by the weights of ITU-R 601; alpha is dropped, not blended), then the image is
    resized (bilinear, antialiased, aspect ratio not kept by default) and rounded to whole levels, then scaled.

    Args:
        images: one image or many. An image is a uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), the path of a
            PNG, JPEG, BMP, WebP or GIF file, or a Pillow image, which is turned upright like a file. Many are an array
            (B, H, W, C) or (B, H, W), or a sequence of any sizes.
        image_shape: (height, width, channels) of the result, channels 1, 3 or 4; None keeps the height or width.
        scale: values of the levels 0 and 255, each a number or one per channel; None leaves uint8.
        levels: the value, 1 to 65535, that is white in 16-bit files, such as 4095 if they hold 12 bits; with it,
            uint16 arrays are allowed too. None takes 65535.
        letterbox: whether the aspect ratio is kept: the image is resized to the largest size that fits, and borders of
            level 114 fill the rest, half of them on each side. Height and width must be known.

    Returns:
        (B, height, width, channels), float32, or uint8 if scale is None; one image gives B = 1.

    Raises:
        ArgumentError: an argument breaks its rule.
        DataError: a file cannot be read or is brighter than `levels`, or images of several sizes are to keep them.

    Example:
        >>> prepare_images(np.zeros((8, 8), np.uint8), (32, 32, 3)).shape
        (1, 32, 32, 3)
    """
    image_shape = check_image_shape(image_shape)
    scale = check_scale(scale, image_shape[2])
    items = _as_items(images, check_levels(levels))
    if letterbox:
        if None in image_shape:
            checks.refuse("image_shape of a letterbox must have known sides", image_shape)
        items = [Letterboxed(each, image_shape[:2]) for each in items]
    return scale_pixels(stack_pixels(items, image_shape, levels), scale)


def read_images(images: Any, *, levels: int | None = None) -> list[np.ndarray]:
    """Returns images as arrays of their own size, (H, W) or (H, W, C) uint8.

    Args:
        images: as in `prepare_images`.
        levels: as in `prepare_images`.

    Raises:
        ArgumentError: an image is not one.
        DataError: a file cannot be read.
    """
    items = _as_items(images, check_levels(levels))
    return [decode_image(each, levels=levels) if isinstance(each, (str, os.PathLike)) else each for each in items]


def to_pixels(
    image: np.ndarray | os.PathLike | str | Letterboxed, image_shape: tuple, levels: int | None = None
) -> np.ndarray:
    """Returns one image, given as an array or as a file, as uint8 (height, width, channels)."""
    if isinstance(image, Letterboxed):
        image = _bordered(image, image_shape[2], levels)
    if isinstance(image, (str, os.PathLike)):
        image = decode_image(image, levels=levels)
    height, width, channels = image_shape
    if image.ndim == 2:
        image = image[:, :, np.newaxis]
    size = (height or image.shape[0], width or image.shape[1])
    if image.shape == (*size, channels):
        return image
    mode = MODES[image.shape[2]]
    picture = Image.fromarray(np.ascontiguousarray(image[:, :, 0] if mode == "L" else image))
    if mode != MODES[channels]:
        picture = picture.convert(MODES[channels])
    # Which axis Pillow resizes first depends on version and size, and it rounds in between: columns always go first.
    picture = picture.resize((size[1], picture.height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture.resize(size[::-1], Image.Resampling.BILINEAR))
    return pixels.reshape(*size, channels)


def _bordered(image: Letterboxed, channels: int, levels: int | None) -> np.ndarray:
    """Returns an image in its letterbox, uint8."""
    raw = image.image
    raw = decode_image(raw, levels=levels) if isinstance(raw, (str, os.PathLike)) else raw
    height, width, top, left = inset(raw.shape[:2], image.size)
    pixels = np.full((*image.size, channels), GREY, np.uint8)
    pixels[top : top + height, left : left + width] = to_pixels(raw, (height, width, channels))
    return pixels


def stack_pixels(items: Sequence, image_shape: tuple, levels: int | None = None) -> np.ndarray:
    """Returns many images, each an array or a file, as one uint8 array (B, height, width, channels)."""
    if isinstance(items, np.ndarray) and items.shape[1:] == image_shape:
        return items
    with ThreadPoolExecutor() as pool:
        pixels = list(pool.map(lambda item: to_pixels(item, image_shape, levels), items))
    if len({each.shape for each in pixels}) > 1:
        raise DataError(
            f"images of one batch must have one size; got several. Pass a full image_shape, not {image_shape}."
        )
    return np.stack(pixels) if pixels else np.zeros((0, *(side or 0 for side in image_shape)), np.uint8)


def scale_pixels(pixels: np.ndarray, scale: Scale | None) -> np.ndarray:
    """Maps the levels 0..255 onto `scale`, float32; None returns them unchanged."""
    if scale is None:
        return pixels
    levels = level_table(scale)
    return levels[pixels, 0] if levels.shape[1] == 1 else levels[pixels, np.arange(levels.shape[1])]


def level_table(scale: Scale) -> np.ndarray:
    """Returns the value of each level, (256, C), float32; C is 1 if all channels share it."""
    low, high = (np.atleast_1d(bound) for bound in scale)
    return (low + (high - low) * np.arange(256)[:, np.newaxis] / 255).astype(np.float32)


def check_image_shape(value: Any) -> tuple:
    """Returns an image shape of 1, 3 or 4 channels, else raises `ArgumentError`."""
    shape = checks.image_shape("image_shape", value)
    checks.one_of("channels of image_shape", shape[2], MODES)
    return shape


def check_scale(value: Any, channels: int | None = None) -> Scale | None:
    """Returns `(low, high)`, numbers or tuples of one per channel, or None; else raises `ArgumentError`."""
    if value is None:
        return None
    try:
        low, high = (np.asarray(bound, float) for bound in value)
        sound = low.shape == high.shape and low.ndim < 2 and bool(np.isfinite([low, high]).all() and (low < high).all())
    except (TypeError, ValueError):
        sound = False
    if not sound:
        rule = "scale must be (low, high) with low < high, numbers or one for each channel, or None for raw pixels"
        checks.refuse(rule, value)
    if not low.ndim:
        return float(low), float(high)
    if channels is not None and low.size != channels:
        checks.refuse(f"scale must have one number for each of the {channels} channels", value)
    return tuple(low.tolist()), tuple(high.tolist())


def _as_items(images: Any, levels: int | None) -> Sequence:
    if isinstance(images, (str, os.PathLike)) and os.path.isdir(images):
        checks.refuse("images must be files, not a folder", os.fspath(images), "Pass sorted(Path(folder).iterdir()).")
    if isinstance(images, (str, os.PathLike, Image.Image)):
        images = [images]
    elif hasattr(images, "__array__") and not isinstance(images, np.ndarray):  # such as a tensor
        images = np.asarray(images)
    if not hasattr(images, "__len__") or isinstance(images, (Mapping, bytes, bytearray)):
        files = isinstance(images, (bytes, bytearray))
        hint = "Open the content of a file by PIL.Image.open(io.BytesIO(content))." if files else "Pass list(images)."
        checks.refuse("images must be one image, or a sequence of them", type(images).__name__, hint)
    if isinstance(images, np.ndarray) and (images.ndim == 2 or (images.ndim == 3 and images.shape[2] in MODES)):
        images = images[np.newaxis]
    if isinstance(images, np.ndarray):
        return _of_8_bits(images, levels, many=True)
    items = [of_pillow(item) if isinstance(item, Image.Image) else item for item in images]
    items = [item if isinstance(item, (str, os.PathLike)) else _as_array(item) for item in items]
    return [_of_8_bits(item, levels) if isinstance(item, np.ndarray) else item for item in items]


def _as_array(image: Any) -> np.ndarray:
    try:
        return np.asarray(image)
    except ValueError:  # rows of different lengths
        checks.refuse(
            "an image must be an array of pixels", " ".join(f"{image!r}".split())[:60], "Its rows must have one length."
        )


def _of_8_bits(image: np.ndarray, levels: int | None, *, many: bool = False) -> np.ndarray:
    """Returns one image, or an array of many, as uint8; refuses arrays that are not images."""
    one = image[0] if many and image.ndim > 2 and len(image) else image
    fits = one.ndim == 2 or (one.ndim == 3 and one.shape[2] in MODES)
    deep = image.dtype == np.uint16 and levels is not None
    if not (image.dtype == np.uint8 or deep) or not fits or one.size == 0:
        checks.refuse(
            "an image must be a non-empty uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)",
            f"{one.dtype} {one.shape}",
            "Pass levels=, the value that is white, for uint16."
            if image.dtype == np.uint16
            else "Bring other pixels to whole levels 0..255 first.",
        )
    if not deep:
        return image
    if image.max() > levels:
        checks.refuse("levels must be at least the largest value of the images", levels, f"They hold {image.max()}.")
    return to_8_bits(image, levels)
