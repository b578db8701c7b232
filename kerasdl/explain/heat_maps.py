"""Pictures of attributions: heat over an image, and numbers of an attribution as a map."""

import numpy as np

from kerasdl.core import checks


def as_map(attribution: np.ndarray) -> np.ndarray:
    """Returns an attribution (B, H, W, C) as maps (B, H, W) from 0 to 1: sizes added over channels.

    The hundredth part of the largest pixels of each image is cut, so that one of them does not hide the rest.

    Raises:
        ArgumentError: it has another rank, or is not finite.

    Example:
        >>> as_map(np.ones((1, 4, 4, 3))).max()
        np.float64(1.0)
    """
    attribution = np.asarray(attribution, float)
    if attribution.ndim not in (3, 4) or not np.isfinite(attribution).all():
        checks.refuse("attribution must be finite, (B, H, W, C) or (B, H, W)", attribution.shape)
    sizes = np.abs(attribution).sum(axis=-1) if attribution.ndim == 4 else np.abs(attribution)
    most = np.quantile(sizes, 0.99, axis=(1, 2), keepdims=True)
    most = np.where(most > 0, most, sizes.max(axis=(1, 2), keepdims=True))
    return np.minimum(sizes / np.maximum(most, 1e-12), 1.0)


def draw_heat(image: np.ndarray, heat: np.ndarray, *, strength: float = 0.6) -> np.ndarray:
    """Returns an image with a map laid over it in colours, blue for 0 to red for 1.

    Args:
        image: (H, W, C) uint8, grey or colour.
        heat: (H, W), from 0 to 1.
        strength: share of the colours, from 0 to 1; nothing is laid where the heat is 0.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ArgumentError: shapes or values do not fit.

    Example:
        >>> draw_heat(np.zeros((4, 4, 1), "uint8"), np.ones((4, 4))).shape
        (4, 4, 3)
    """
    from matplotlib import colormaps

    image, heat = np.asarray(image), np.asarray(heat, float)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (1, 3):
        checks.refuse("image must be uint8 (H, W, 1 or 3)", f"{image.dtype} {image.shape}")
    if heat.shape != image.shape[:2] or not (np.isfinite(heat).all() and heat.min() >= 0 and heat.max() <= 1):
        checks.refuse(f"heat must be {image.shape[:2]}, from 0 to 1", heat.shape)
    checks.within("strength", strength, 0.0, 1.0)
    share = strength * heat[..., None]
    mixed = (1.0 - share) * image + share * 255.0 * colormaps["jet"](heat)[..., :3]
    return np.broadcast_to(mixed, (*heat.shape, 3)).round().astype("uint8")
