"""Generator of CycleGAN, residual blocks between images (https://arxiv.org/abs/1703.10593), after Johnson et al. 2016.

The published code, https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix, is followed where the paper is silent.
"""

import keras
from keras import layers

from kerasdl.core import checks, register
from kerasdl.layers import InstanceNormalization, ReflectionPadding2D

KERNEL = keras.initializers.RandomNormal(0.0, 0.02)


@register(
    task="network",
    paper="https://arxiv.org/abs/1703.10593",
    params={"cyclegan_generator": 11_378_179},
    reference="https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix, resnet_9blocks with instance norms",
    exports={
        "dynamic": "instance norms of images without contrast divide by what rounding left: it must stay within bounds"
    },
    tags=("gan", "cnn"),
    partners={"discriminator": "cyclegan_discriminator"},
    tiny=dict(image_shape=(16, 16, 3), width=6, blocks=2),
)
def cyclegan_generator(
    image_shape=(256, 256, 3), *, channels: int = 3, width: int = 64, blocks: int = 9, halvings: int = 2
) -> keras.Model:
    """Generator of CycleGAN, residual blocks from an image to an image of another style.

    Source: https://arxiv.org/abs/1703.10593, section 4 and appendix 7.2.

    Args:
        image_shape: height, width and channels in pixels; height and width are multiples of 2 for each halving.
        channels: channels of the image that it makes.
        width: channels of the first convolution, doubled by each halving.
        blocks: residual blocks.
        halvings: convolutions of stride 2.

    Returns:
        A model from images (B, H, W, C), values from -1 to 1, to images (B, H, W, channels), float32 from -1 to 1.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("cyclegan_generator").output_shape
        (None, 256, 256, 3)
    """
    height, across, _ = checks.image_shape("image_shape", image_shape)
    factor = 2 ** checks.at_least("halvings", halvings, 0)
    checks.at_least("width", width, 1)
    checks.at_least("blocks", blocks, 0)
    if None in (height, across) or height % factor or across % factor:
        checks.refuse(f"image_shape must have known sides, multiples of {factor}", tuple(image_shape))
    image = keras.Input(tuple(image_shape), name="image")
    x = _conv_norm(ReflectionPadding2D(3, name="stem_pad")(image), width, 7, "stem")
    for level in range(1, halvings + 1):
        x = _conv_norm(x, width * 2**level, 3, f"down{level}", strides=2, pads=True)
    for block in range(1, blocks + 1):
        x = _residual_block(x, width * factor, f"block{block}")
    for level in range(halvings, 0, -1):
        x = layers.Conv2DTranspose(
            width * 2 ** (level - 1), 3, 2, "same", kernel_initializer=KERNEL, name=f"up{level}_conv"
        )(x)
        x = InstanceNormalization(center=False, scale=False, name=f"up{level}_norm")(x)
        x = layers.ReLU(name=f"up{level}_relu")(x)
    x = ReflectionPadding2D(3, name="image_pad")(x)
    x = layers.Conv2D(
        checks.at_least("channels", channels, 1), 7, kernel_initializer=KERNEL, dtype="float32", name="image_conv"
    )(x)
    return keras.Model(image, layers.Activation("tanh", dtype="float32", name="made")(x), name="cyclegan_generator")


def _residual_block(x, width: int, name: str):
    """Two 3x3 convolutions with reflected borders beside the identity."""
    y = _conv_norm(ReflectionPadding2D(1, name=f"{name}_pad1")(x), width, 3, f"{name}_1")
    y = ReflectionPadding2D(1, name=f"{name}_pad2")(y)
    y = layers.Conv2D(width, 3, kernel_initializer=KERNEL, name=f"{name}_2_conv")(y)
    y = InstanceNormalization(center=False, scale=False, name=f"{name}_2_norm")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def _conv_norm(x, filters: int, kernel: int, name: str, *, strides: int = 1, pads: bool = False):
    """Convolution, instance norm, ReLU; `pads` puts a zero on each side, as PyTorch does under strides."""
    if pads:
        x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
    x = layers.Conv2D(filters, kernel, strides, kernel_initializer=KERNEL, name=f"{name}_conv")(x)
    x = InstanceNormalization(center=False, scale=False, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
