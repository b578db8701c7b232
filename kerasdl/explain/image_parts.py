"""Superpixels: parts of an image of like colour and place (SLIC, https://doi.org/10.1109/TPAMI.2012.120)."""

import numpy as np

from kerasdl.core import checks

ROUNDS = 8


def superpixels(images: np.ndarray, count: int = 50, *, compactness: float = 0.3) -> np.ndarray:
    """Returns the superpixel of each pixel: clusters of colour and place around the points of a grid.

    Source: SLIC, https://doi.org/10.1109/TPAMI.2012.120, section 3. Deviations: colours are taken as they are, not in
    CIELAB, and parts need not be connected.

    Args:
        images: (B, H, W, C) of any range.
        count: superpixels of an image, about; the points of the grid are spread evenly.
        compactness: weight of the place against the colour; colours run from 0 to 1 in each image, places from one
            grid point to the next. Large values give squares.

    Returns:
        (B, H, W) int32, numbered from 0 in each image without gaps; as `groups` of `shap` and `lime` for one image
        each, since images may differ in their number.

    Raises:
        ArgumentError: images have another rank or are not finite, or there are more superpixels than pixels.

    Example:
        >>> superpixels(np.zeros((1, 8, 8, 3)), 4)[0, ::4, ::4]
        array([[0, 1],
               [2, 3]], dtype=int32)
    """
    images = np.asarray(images, float)
    if images.ndim != 4 or not np.isfinite(images).all():
        checks.refuse("images must be finite (B, H, W, C)", images.shape)
    checks.at_least("count", count, 1)
    checks.within("compactness", compactness, 0.0, 1e6)
    if count > images.shape[1] * images.shape[2]:
        checks.refuse(f"count must be at most the pixels {images.shape[1:3]}", count)
    return np.stack([_superpixels(image, count, compactness) for image in images])


def _superpixels(image: np.ndarray, count: int, compactness: float) -> np.ndarray:
    height, width = image.shape[:2]
    low, high = image.min(), image.max()
    rows = max(1, min(height, round((count * height / width) ** 0.5)))
    columns = max(1, min(width, round(count / rows)))
    places = np.stack(np.mgrid[:height, :width], axis=-1) / (height / rows, width / columns)
    colours = (image - low) / max(high - low, 1e-12)
    features = np.concatenate([compactness * places, colours], axis=-1)  # (H, W, 2 + C)
    grid = np.minimum(places.astype(int), (rows - 1, columns - 1))
    found = grid[..., 0] * columns + grid[..., 1]
    for _ in range(ROUNDS):
        sums = np.zeros((rows * columns, features.shape[-1]))
        np.add.at(sums, found, features)
        sizes = np.bincount(found.ravel(), minlength=rows * columns)
        centres = sums / np.maximum(sizes, 1)[:, None]
        best = np.full((height, width), np.inf)
        for down in (-1, 0, 1):  # only the cells around a pixel's own can have its centre
            for right in (-1, 0, 1):
                near = grid + np.array([down, right])
                inside = ((near >= 0) & (near < (rows, columns))).all(axis=-1)
                number = np.where(inside, near[..., 0] * columns + near[..., 1], 0)
                distance = ((features - centres[number]) ** 2).sum(axis=-1)
                better = inside & (sizes[number] > 0) & (distance < best)
                best, found = np.where(better, distance, best), np.where(better, number, found)
    return np.unique(found, return_inverse=True)[1].reshape(height, width).astype("int32")
