"""Heads of fully convolutional networks: logits of each pixel from a coarse map."""

from keras import layers

from kerasdl.core import checks

from ..convolution import conv_norm_act
from .pixel_logits import resized_logits


def fcn_head(x, image, classes: int, *, dropout: float = 0.1, name: str = "logits"):
    """Fully convolutional head of dilated backbones: 3x3 convolution to a quarter of the channels, logits, resizing.

    Source: torchvision's FCN and the auxiliary heads of its segmenters, after PSPNet, https://arxiv.org/abs/1612.01105,
    section 3.3.

    Args:
        x: (B, h, w, C).
        image: (B, H, W, D), of which only the sides are used.
        classes: K, 1 or more.
        dropout: rate before the logits, from 0 to 1.
        name: name of the layer of logits, and prefix of the others.

    Returns:
        Logits (B, H, W, classes) in float32, resized bilinearly.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> fcn_head(keras.Input((8, 8, 64)), keras.Input((60, 60, 3)), 21).shape
        (None, 60, 60, 21)
    """
    checks.within("dropout", dropout, 0.0, 1.0)
    x = conv_norm_act(x, x.shape[-1] // 4, 3, epsilon=1e-5, name=f"{name}_reduce")
    x = layers.Dropout(dropout, name=f"{name}_drop")(x) if dropout else x
    return resized_logits(x, image, classes, name=name)
