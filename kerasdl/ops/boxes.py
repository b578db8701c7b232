"""Boxes as tensors (..., 4): formats, areas, clipping, flips.

Inside kerasdl a box is `xyxy` in pixels: its left, top, right and bottom edge, where the first pixel spans 0 to 1.
"""

from typing import Any

from keras import ops

from kerasdl.core import checks

RELATIVE = "rel_"
TO_EDGES = {
    "xyxy": lambda left, top, right, bottom: (left, top, right, bottom),
    "yxyx": lambda top, left, bottom, right: (left, top, right, bottom),
    "xywh": lambda left, top, width, height: (left, top, left + width, top + height),
    "cxcywh": lambda x, y, width, height: (x - width / 2, y - height / 2, x + width / 2, y + height / 2),
}
FROM_EDGES = {
    "xyxy": lambda left, top, right, bottom: (left, top, right, bottom),
    "yxyx": lambda left, top, right, bottom: (top, left, bottom, right),
    "xywh": lambda left, top, right, bottom: (left, top, right - left, bottom - top),
    "cxcywh": lambda left, top, right, bottom: ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top),
}
FORMATS = (*TO_EDGES, *(RELATIVE + name for name in TO_EDGES))


def convert_boxes(boxes: Any, source: str, target: str, *, image_size: Any = None) -> Any:
    """Returns boxes in another format.

    Args:
        boxes: (..., 4) numbers.
        source: their format: `xyxy` (edges), `yxyx`, `xywh` (left, top, width, height) or `cxcywh` (centre, width,
            height) in pixels; `rel_xyxy` and so on as shares of the image's sides.
        target: the format to return.
        image_size: (height, width) in pixels, or a tensor (..., 2) that broadcasts over the boxes; needed between
            pixels and shares alone.

    Returns:
        (..., 4) floats.

    Raises:
        ArgumentError: a format is unknown, the last axis is not 4, or `image_size` is missing.

    Example:
        >>> convert_boxes([[0, 0, 64, 32]], "xyxy", "rel_cxcywh", image_size=(64, 128)).numpy()
        array([[0.25, 0.25, 0.5 , 0.5 ]], dtype=float32)
    """
    for name in (source, target):
        checks.one_of("the format of boxes", name, FORMATS)
    edges = TO_EDGES[source.removeprefix(RELATIVE)](*columns_of(boxes))
    from_shares, to_shares = source.startswith(RELATIVE), target.startswith(RELATIVE)
    if from_shares != to_shares:
        if image_size is None:
            checks.refuse(f"image_size must be given between {source} and {target}", None, "Pass (height, width).")
        height, width = ops.split(ops.cast(ops.convert_to_tensor(image_size), edges[0].dtype), 2, axis=-1)
        sides = (width, height, width, height)
        edges = [edge * side if from_shares else edge / side for edge, side in zip(edges, sides, strict=True)]
    return ops.concatenate(FROM_EDGES[target.removeprefix(RELATIVE)](*edges), axis=-1)


def columns_of(boxes: Any) -> list:
    """Returns the four columns of boxes, each (..., 1) floats; integers and float64 become float32.

    Raises:
        ArgumentError: the last axis is not 4.
    """
    boxes = ops.convert_to_tensor(boxes)
    if not len(boxes.shape) or boxes.shape[-1] != 4:
        checks.refuse("boxes must have the shape (..., 4)", tuple(boxes.shape))
    if boxes.dtype not in ("float16", "bfloat16", "float32"):
        boxes = ops.cast(boxes, "float32")
    return ops.split(boxes, 4, axis=-1)


def box_areas(boxes: Any) -> Any:
    """Returns the areas of `xyxy` boxes in square pixels; 0 where an edge stands before its opposite.

    Args:
        boxes: (..., 4) numbers.

    Returns:
        (...,) floats.

    Raises:
        ArgumentError: the last axis is not 4.

    Example:
        >>> box_areas([[0, 0, 4, 2], [3, 3, 1, 5]]).numpy()
        array([8., 0.], dtype=float32)
    """
    left, top, right, bottom = columns_of(boxes)
    return ops.squeeze(ops.relu(right - left) * ops.relu(bottom - top), axis=-1)


def clip_boxes(boxes: Any, image_size: Any) -> Any:
    """Returns `xyxy` boxes cut at the edges of their image.

    Args:
        boxes: (..., 4) numbers.
        image_size: (height, width) in pixels, or a tensor (..., 2) that broadcasts over the boxes.

    Returns:
        (..., 4) floats; a box outside the image has no area.

    Raises:
        ArgumentError: the last axis is not 4.

    Example:
        >>> clip_boxes([[-3, 2, 9, 20]], (10, 8)).numpy()
        array([[ 0.,  2.,  8., 10.]], dtype=float32)
    """
    edges = columns_of(boxes)
    height, width = ops.split(ops.cast(ops.convert_to_tensor(image_size), edges[0].dtype), 2, axis=-1)
    sides = (width, height, width, height)
    return ops.concatenate(
        [ops.minimum(ops.maximum(edge, 0), side) for edge, side in zip(edges, sides, strict=True)], axis=-1
    )


def are_boxes_large(boxes: Any, side: float) -> Any:
    """Returns which `xyxy` boxes are at least `side` pixels wide and high.

    Args:
        boxes: (..., 4) numbers.
        side: pixels; a box of area 0 is never large.

    Returns:
        (...,) booleans.

    Raises:
        ArgumentError: the last axis is not 4.

    Example:
        >>> are_boxes_large([[0, 0, 4, 2], [0, 0, 3, 3]], 3).numpy()
        array([False,  True])
    """
    left, top, right, bottom = columns_of(boxes)
    shortest = ops.squeeze(ops.minimum(right - left, bottom - top), axis=-1)
    return ops.logical_and(shortest >= side, shortest > 0)
