"""Pictures of projected vectors: points in colours, and a page with a thumbnail at each point."""

import base64
import html
import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps

from kerasdl.core import checks, files, plotting

from .projections import checked_vectors


def draw_projection(
    points: np.ndarray,
    classes: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    path: str | os.PathLike | None = None,
) -> Any:
    """Draws points of the plane, a colour for each class.

    Args:
        points: (B, 2).
        classes: the class of each; None draws all alike.
        names: of the classes, for the legend.
        path: file of the picture, or None.

    Returns:
        The Matplotlib figure.

    Raises:
        ArgumentError: shapes do not fit.

    Example:
        >>> draw_projection(np.eye(2), [0, 1], ["cat", "dog"]).axes[0].get_title(loc="left")
        'Projection'
    """
    points, colours = _coloured(points, classes)
    figure = plotting.new_figure(6.0, 5.0)
    axes = figure.subplots()
    plotting.dress(axes, "Projection", "")
    axes.set_xticks([])
    axes.set_yticks([])
    found = np.unique(np.zeros(len(points), int) if classes is None else np.asarray(classes))
    for number in found:
        chosen = np.ones(len(points), bool) if classes is None else np.asarray(classes) == number
        label = None if classes is None else str(names[number] if names is not None else number)
        axes.scatter(*points[chosen].T, s=12, color=colours[chosen][0], alpha=0.7, linewidths=0, label=label)
    if classes is not None and len(found) <= 20:
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return plotting.keep(figure, path)


def write_projection_page(
    points: np.ndarray,
    images: np.ndarray,
    path: str | os.PathLike,
    *,
    classes: Sequence[int] | None = None,
    names: Sequence[str] | None = None,
    side: int = 32,
) -> None:
    """Writes one HTML file with a thumbnail of each image at its point; it opens without a network.

    Args:
        points: (B, 2).
        images: (B, H, W, 1 or 3) uint8.
        path: of the file.
        classes: the class of each, which colours the frames; None frames all alike.
        names: of the classes, which show beside the pointer.
        side: of a thumbnail in pixels.

    Raises:
        ArgumentError: shapes do not fit.

    Example:
        >>> write_projection_page(np.eye(2), np.zeros((2, 8, 8, 1), "uint8"), "page.html")
    """
    from PIL import Image

    points, colours = _coloured(points, classes)
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] not in (1, 3) or len(images) != len(points):
        checks.refuse(f"images must be uint8 ({len(points)}, H, W, 1 or 3)", f"{images.dtype} {images.shape}")
    checks.at_least("side", side, 4)
    span = points.max(axis=0) - points.min(axis=0)
    places = (points - points.min(axis=0)) / np.where(span > 0, span, 1.0) * (1000 - side)
    parts = []
    for number, (image, place, colour) in enumerate(zip(images, places, colours, strict=True)):
        picture = io.BytesIO()
        grey = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        grey.resize((side, side)).save(picture, "PNG")
        text = "" if classes is None else str(names[classes[number]] if names is not None else classes[number])
        frame = "#" + "".join(f"{round(255 * level):02x}" for level in colour[:3])
        parts.append(
            f'<g transform="translate({place[0]:.1f} {1000 - side - place[1]:.1f})">'
            f"<title>{html.escape(f'{number} {text}'.strip())}</title>"
            f'<image width="{side}" height="{side}" href="data:image/png;base64,'
            f'{base64.b64encode(picture.getvalue()).decode()}"/>'
            f'<rect width="{side}" height="{side}" fill="none" stroke="{frame}" stroke-width="2"/></g>'
        )
    page = (
        '<!doctype html><meta charset="utf-8"><title>Projection</title>'
        f'<svg viewBox="-4 -4 1008 1008" width="100%">{"".join(parts)}</svg>\n'
    )
    with files.writing(path) as draft:
        draft.write_text(page, encoding="utf-8")


def _coloured(points: Any, classes: Sequence[int] | None) -> tuple[np.ndarray, np.ndarray]:
    """Returns points (B, 2) and a colour (B, 4) for each."""
    points = checked_vectors("points", points)
    numbers = np.zeros(len(points), int) if classes is None else np.asarray(classes)
    if points.shape[1] != 2 or numbers.shape != (len(points),) or numbers.dtype.kind not in "iu" or numbers.min() < 0:
        rule = "points must be (B, 2), and classes whole numbers (B,) of 0 or more"
        checks.refuse(rule, (points.shape, numbers.shape))
    return points, np.asarray(colormaps["tab20"](numbers % 20))
