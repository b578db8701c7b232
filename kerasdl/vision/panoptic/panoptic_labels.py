"""Labels of panoptic maps: objects with masks and classes of pixels, read from one map a picture."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.train.objectives.label_checks import demand

from ..detection.method import Size
from .panoptic_fpn import PanopticBatch

DIVISOR = 1000
"""A panoptic map holds `DIVISOR * class + number of the object, from 1`; of stuff the number is 0."""
VOID = 255
"""Class of pixels without one, of which a map has a number below 0."""
HINT = 'kerasdl.data.load("shapes", labels="panoptic") has them.'


def panoptic_truth(labels: Any, size: Size, stuff: int, things: int) -> PanopticBatch:
    """Returns the objects, at most M an image, and the classes of the pixels of a batch of panoptic maps.

    Args:
        labels: dict with `panoptic` (B, H, W), whole numbers.
        size: (height, width) of the images.
        stuff: S, classes of stuff, which come first.
        things: K, classes of things.

    Raises:
        ArgumentError: there are no maps, or they have another form.
        DataError: a class is none of S + K, or a pixel of a thing has no object; a graph checks them as it runs.
    """
    codes = _codes(labels, size)
    classes, numbers = codes // DIVISOR, codes % DIVISOR
    unknown, lost = classes >= stuff + things, (classes >= stuff) & (numbers == 0)
    demands = [
        demand(unknown, f"classes of a panoptic map must be below {stuff + things}, of stuff and things", classes),
        demand(lost, f"pixels of a thing, class {stuff} or above, must have the number of an object", codes),
    ]
    with tf.control_dependencies([each for each in demands if each is not None]):
        signature = tf.RaggedTensorSpec((None,), tf.int32, ragged_rank=0)
        flat = tf.reshape(codes, (-1, size[0] * size[1]))
        shown = tf.map_fn(lambda each: tf.unique(each)[0], flat, fn_output_signature=signature)
    shown = shown.to_tensor(-1)  # (B, M)
    is_object = shown // DIVISOR >= stuff
    masks = (codes[:, None] == shown[..., None, None]) & is_object[..., None, None]  # (B, M, H, W)
    (left, right), (top, bottom) = _edges(tf.reduce_any(masks, axis=2)), _edges(tf.reduce_any(masks, axis=3))
    boxes = tf.stack([left, top, right, bottom], axis=-1) * tf.cast(is_object, tf.float32)[..., None]
    semantic = tf.where(codes < 0, VOID, tf.minimum(classes, stuff))
    no_crowd = tf.zeros_like(is_object)
    return PanopticBatch(boxes, tf.maximum(shown // DIVISOR - stuff, 0), is_object, no_crowd, masks, semantic)


def segments_of(panoptic: Any) -> np.ndarray:
    """Returns panoptic maps (..., H, W) as (..., H, W, 2) int32, class and object, as `PanopticQuality` takes them."""
    codes = np.asarray(panoptic).astype("int32")
    return np.stack([np.where(codes < 0, VOID, codes // DIVISOR), np.where(codes < 0, 0, codes % DIVISOR)], axis=-1)


def _codes(labels: Any, size: Size) -> Any:
    """Returns the maps of a batch of labels, int32."""
    if not isinstance(labels, Mapping) or "panoptic" not in labels:
        got = sorted(labels) if isinstance(labels, Mapping) else type(labels).__name__
        checks.refuse("labels of a panoptic segmenter must have panoptic maps", got, HINT)
    codes = tf.convert_to_tensor(labels["panoptic"])
    if not codes.dtype.is_integer or codes.dtype.size < 4 or not codes.shape.is_compatible_with((None, *size)):
        form = f"{codes.dtype.name} {codes.shape}"
        checks.refuse(f"panoptic maps of a batch must be int32 or int64 {('B', *size)}", form, HINT)
    return tf.cast(codes, tf.int32)


def _edges(shown: Any) -> tuple[Any, Any]:
    """Returns the first place (B, M) that is shown, and the one behind the last, of booleans (B, M, places)."""
    numbers = tf.cast(shown, tf.int32)
    first, last = tf.argmax(numbers, axis=-1), shown.shape[-1] - tf.argmax(numbers[..., ::-1], axis=-1)
    return tf.cast(first, tf.float32), tf.cast(last, tf.float32)
