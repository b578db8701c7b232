"""Logits of each pixel: a convolution to the classes on a coarse map, and bilinear resizing."""

from keras import layers

from kerasdl.core import checks

from ..detection.levels import upsample_like


def resized_logits(x, image, classes: int, *, kernel: int = 1, name: str = "logits"):
    """Logits of each pixel in float32: a convolution to the classes, resized bilinearly to the sides of the image.

    Source: the last step of DeepLab, https://arxiv.org/abs/1606.00915, section 3.1; pixels are at half-pixel centres.

    Args:
        x: (B, h, w, C).
        image: (B, H, W, D), of which only the sides are used.
        classes: K, 1 or more.
        kernel: side of the kernel in pixels.
        name: name of the convolution, and prefix of the resizing layer.

    Returns:
        Logits (B, H, W, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> resized_logits(keras.Input((8, 8, 64)), keras.Input((60, 60, 3)), 21).shape
        (None, 60, 60, 21)
    """
    checks.at_least("classes", classes, 1)
    checks.at_least("kernel", kernel, 1)
    x = layers.Conv2D(classes, kernel, padding="same", dtype="float32", name=name)(x)
    return upsample_like(x, image, interpolation="bilinear", dtype="float32", name=f"{name}_resize")
