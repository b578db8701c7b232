"""Distances of pixels to the borders of masks, in pixels, on the host."""

import numpy as np
from scipy import ndimage

from kerasdl.core import checks


def signed_distances(labels, classes: int, ignore_label: int | None = 255) -> np.ndarray:
    """Returns the signed distance of each pixel to the border of each class, as the boundary loss takes it.

    Source: Kervadec 2019, https://arxiv.org/abs/1812.07032, section 2. It runs in NumPy: in a pipeline of TensorFlow
    call it by `tf.numpy_function`. Deviation: a border lies between two pixels, so that no distance is 0.

    Args:
        labels: (H, W) indices of classes.
        classes: number of classes; 1 for a mask of 0 and 1, whose foreground has the only channel.
        ignore_label: label of pixels that do not count and are of no class; None for none.

    Returns:
        (H, W, K) float32 distances in pixels between centres, less a half: negative inside of the class, positive
        outside, 0 in ignored pixels; 0 everywhere for a class that the image lacks, or that is all of it.

    Raises:
        ArgumentError: the labels are not (H, W) whole numbers, or one of them is neither a class nor ignored.

    Example:
        >>> signed_distances(np.array([[1, 0, 0]]), 1)[0, :, 0]
        array([-0.5,  0.5,  1.5], dtype=float32)
    """
    labels = np.asarray(labels)
    checks.at_least("classes", classes, 1)
    if labels.ndim != 2 or labels.dtype.kind not in "iub":
        checks.refuse("labels must be (H, W) whole numbers", f"shape {labels.shape}, dtype {labels.dtype}")
    labels = labels.astype(np.int64)
    ignored = np.zeros(labels.shape, bool) if ignore_label is None else labels == ignore_label
    wrong = ~ignored & ((labels < 0) | (labels >= max(classes, 2)))
    if wrong.any():
        checks.refuse(f"a label must be below {max(classes, 2)} or the ignore_label", int(labels[wrong][0]))
    distances = np.zeros((*labels.shape, classes), np.float32)
    for k in range(classes):
        inside = (labels == (1 if classes == 1 else k)) & ~ignored
        if inside.any() and not inside.all():
            outer, inner = (ndimage.distance_transform_edt(each) for each in (~inside, inside))
            distances[..., k] = np.where(inside, 0.5 - inner, outer - 0.5)
    distances[ignored] = 0
    return distances
