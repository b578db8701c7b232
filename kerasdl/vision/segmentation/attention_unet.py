"""Attention U-Net: U-Net whose skip connections are weighed by the coarser map (https://arxiv.org/abs/1804.03999).

Deviations: in two dimensions, where the paper has volumes, with U-Net's channels. The gate of a level takes the coarser
map of the decoder, and all levels have one; the authors' code leaves out the finest and adds deep supervision.
"""

import keras

from kerasdl.blocks import attention_gate, skip_decoder
from kerasdl.core import checks, register

from .unet import contracting_path, pixel_logits


@register(
    task="semantic_segmentation",
    paper="https://arxiv.org/abs/1804.03999",
    variants={"attention_unet": {}},
    # U-Net has 31,037,698 + 11,776; a gate of c channels between c and 2c has 3c * c + 2c + 1 more.
    params={"attention_unet": 31_037_698 + 11_776 + 1_046_404},
    reference="U-Net of milesial/Pytorch-UNet, and four gates by the sum of their layers",
    tags=("cnn", "segmenter", "attention"),
    tiny=dict(image_shape=(32, 32, 3), channels=8, depth=2, classes=3),
    free={"image_shape": (None, None, 3)},
)
def attention_unet(
    image_shape=(256, 256, 3),
    *,
    classes: int = 2,
    channels: int = 64,
    depth: int = 4,
    norm: bool = True,
    up: str = "transpose",
) -> keras.Model:
    """Attention U-Net, the U-Net that hides what a skip connection has beside the objects.

    Source: https://arxiv.org/abs/1804.03999, section 2 and figure 1.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None, and need not be multiples.
        classes: K, classes with background; 1 for one foreground.
        channels: of the first level; they double with each pooling.
        depth: poolings, and gates.
        norm: a batch normalisation after each 3x3 convolution.
        up: `transpose` or `resize`, as in `unet`.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, H, W, K) in float32. The layers
        `gate1_sigmoid` to `gate4_sigmoid` give the shares of each level, fine to coarse.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> net = attention_unet((50, 38, 3), classes=3, channels=8)
        >>> net.get_layer("gate1_sigmoid").output.shape
        (None, 25, 19, 1)
    """
    checks.at_least("channels", channels, 1)
    checks.at_least("depth", depth, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    *finer, x = contracting_path(image, channels, depth, norm=norm)
    for level, skip in reversed(list(enumerate(finer, start=1))):
        filters = skip.shape[-1]
        weighed = attention_gate(skip, x, filters, name=f"gate{level}")
        x = skip_decoder(x, skip, filters, skips=[weighed], up=up, norm=norm, name=f"decoder{level}")
    return keras.Model(image, pixel_logits(x, classes), name="attention_unet")
