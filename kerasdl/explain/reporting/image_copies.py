"""Copies: images that are the same picture, within a set or in two, found by hashes of their coarse forms."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from kerasdl.core import checks

SIDE = 8
"""Places of the hash in a row and in a column."""
CLOSE = 4
"""Bits of 64 in which copies may differ."""
NEAR = 0.03
"""Mean difference of the coarse forms of copies, as a share of the range of levels."""
CHUNK = 512


def find_copies(images: Sequence[np.ndarray], others: Sequence[np.ndarray] | None = None) -> list[tuple[int, int]]:
    """Returns pairs of images that show the same picture: copies, other sizes, other compression, a shift of light.

    Two images are copies of a picture if the signs of the differences of neighbouring cells (a difference hash of 64
    bits) are nearly the same and their grey forms of 8 x 9 cells are near. Mirrored, cut and turned copies are not
    found.

    Args:
        images: (H, W, 1 or 3) uint8, of any size.
        others: a second set, such as the training images; None looks for pairs within the first.

    Returns:
        Pairs (place in `images`, place in `others` or in `images`), sorted; within one set the smaller place first.

    Raises:
        ArgumentError: an image has another form.

    Example:
        >>> image = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype("uint8")
        >>> find_copies([image, 255 - image, image[::2, ::2]], [image])
        [(0, 0)]
    """
    first = _forms(images)
    second = first if others is None else _forms(others)
    pairs = []
    for start in range(0, len(first[0]), CHUNK):
        hashes, forms = (each[start : start + CHUNK] for each in first)
        unlike = np.bitwise_count(hashes[:, None] ^ second[0][None])
        for row, column in zip(*np.nonzero(unlike <= CLOSE), strict=True):
            place = start + row
            if others is None and column <= place:
                continue
            if np.abs(forms[row] - second[1][column]).mean() <= NEAR:
                pairs.append((int(place), int(column)))
    return sorted(pairs)


def _forms(images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Returns hashes (N,) uint64 and coarse forms (N, 8, 9) from 0 to 1, of the mean 0.5 each."""
    forms = np.empty((len(images), SIDE, SIDE + 1), "float32")
    for place, image in enumerate(images):
        image = np.asarray(image)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] not in (1, 3) or not image.size:
            checks.refuse("images must be uint8 (H, W, 1 or 3)", f"image {place}: {image.dtype} {image.shape}")
        grey = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("L")
        forms[place] = np.asarray(grey.resize((SIDE + 1, SIDE), Image.Resampling.BOX), "float32") / 255.0
    forms += 0.5 - forms.mean(axis=(1, 2), keepdims=True)
    rises = (np.diff(forms, axis=2) > 0).reshape(len(forms), -1)
    return np.packbits(rises, axis=1).view(np.uint64)[:, 0], forms
