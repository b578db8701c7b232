"""Networks of pix2pix: a U-Net between images, and a discriminator of patches (https://arxiv.org/abs/1611.07004).

Deviations: dropout acts in training alone, where the paper keeps it as noise in answers; batch norms answer by moving
statistics, of momentum 0.9.
"""

import keras
from keras import layers

from kerasdl.core import checks, register
from kerasdl.layers import InstanceNormalization

PAPER = "https://arxiv.org/abs/1611.07004"
CODE = "https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix"
ENCODER = (64, 128, 256, 512, 512, 512, 512, 512)
DROPOUT_LEVELS = 3
NORM = {"momentum": 0.9, "epsilon": 1e-5}
KERNEL = keras.initializers.RandomNormal(0.0, 0.02)


@register(
    task="network",
    paper=PAPER,
    params={"pix2pix_generator": 54_413_955 + 9_856},
    reference=f"{CODE}, unet_256 with batch norms, 54,413,955 learnt weights, and the statistics of its batch norms",
    partners={"discriminator": "patch_discriminator"},
    tags=("gan", "unet", "cnn"),
    tiny=dict(image_shape=(16, 16, 3), filters=(12, 16, 24)),
)
def pix2pix_generator(
    image_shape=(256, 256, 3), *, channels: int = 3, filters=ENCODER, dropout: float = 0.5
) -> keras.Model:
    """U-Net of pix2pix, from an image to an image of the same sides, with a skip at each level.

    Source: https://arxiv.org/abs/1611.07004, appendix 6.1.1 and figure 3.

    Args:
        image_shape: height, width and channels in pixels; height and width are multiples of 2 for each of `filters`.
        channels: channels of the image that it makes.
        filters: channels after each halving of the sides, 2 levels or more.
        dropout: rate behind the first three levels upwards that have a skip, from 0 to 1.

    Returns:
        A model from images (B, H, W, C), values from -1 to 1, to images (B, H, W, channels), float32 from -1 to 1.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("pix2pix_generator").output_shape
        (None, 256, 256, 3)
    """
    filters = checks.counts("filters", filters)
    checks.at_least("the levels of filters", len(filters), 2)
    checks.within("dropout", dropout, 0.0, 1.0)
    image = keras.Input(_divisible(image_shape, 2 ** len(filters)), name="image")
    x, skips = image, []
    for level, width in enumerate(filters, start=1):
        x = layers.LeakyReLU(0.2, name=f"down{level}_leaky")(x) if level > 1 else x
        x = _conv(width, f"down{level}")(x)
        if 1 < level < len(filters):
            x = layers.BatchNormalization(**NORM, name=f"down{level}_norm")(x)
        skips.append(x)
    for level in range(len(filters) - 1, 0, -1):
        x = layers.ReLU(name=f"up{level}_relu")(x)
        x = layers.Conv2DTranspose(
            filters[level - 1], 4, 2, "same", use_bias=False, kernel_initializer=KERNEL, name=f"up{level}_conv"
        )(x)
        x = layers.BatchNormalization(**NORM, name=f"up{level}_norm")(x)
        has_dropout = len(filters) - 1 - DROPOUT_LEVELS <= level < len(filters) - 1 and level > 1
        if dropout and has_dropout:
            x = layers.Dropout(dropout, name=f"up{level}_drop")(x)
        x = layers.Concatenate(name=f"up{level}_skip")([skips[level - 1], x])
    x = layers.ReLU(name="image_relu")(x)
    x = layers.Conv2DTranspose(
        checks.at_least("channels", channels, 1),
        4,
        2,
        "same",
        kernel_initializer=KERNEL,
        dtype="float32",
        name="image_conv",
    )(x)
    return keras.Model(image, layers.Activation("tanh", dtype="float32", name="made")(x), name="pix2pix_generator")


@register(
    task="network",
    paper=PAPER,
    variants={"patch_discriminator": {}, "cyclegan_discriminator": {"given_channels": 0, "normalization": "instance"}},
    params={"patch_discriminator": 2_768_705 + 1_792, "cyclegan_discriminator": 2_764_737},
    reference=f"{CODE}, n_layers 3, 2,768,705 and 2,764,737 learnt weights, and the statistics of batch norms",
    tags=("gan", "cnn"),
    tiny=dict(image_shape=(32, 32, 3), filters=(12, 16, 24, 24)),
)
def patch_discriminator(
    image_shape=(256, 256, 3), *, given_channels: int = 3, filters=(64, 128, 256, 512), normalization: str = "batch"
) -> keras.Model:
    """Discriminator of patches, PatchGAN: one logit for each overlapping patch of 70 x 70 pixels.

    Source: https://arxiv.org/abs/1611.07004, section 3.2.2 and appendix 6.1.2; as in
    https://arxiv.org/abs/1703.10593, section 4, with instance norms and without a given image.

    Args:
        image_shape: height, width and channels of the image that is judged, in pixels.
        given_channels: channels of the image that is given beside it; 0 for none.
        filters: channels of each convolution; all but the last halve the sides.
        normalization: `batch`, or `instance`, which has no weights.

    Returns:
        A model from images (B, H, W, C), or from `{"given": (B, H, W, G), "image": (B, H, W, C)}`, values from -1
        to 1, to logits (B, H / 8 - 2, W / 8 - 2, 1) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("patch_discriminator").output_shape
        (None, 30, 30, 1)
    """
    filters = checks.counts("filters", filters)
    checks.one_of("normalization", normalization, ("batch", "instance"))
    height, width, channels = _divisible(image_shape, 2 ** (len(filters) - 1))
    inputs = x = keras.Input((height, width, channels), name="image")
    if checks.at_least("given_channels", given_channels, 0):
        inputs = {"given": keras.Input((height, width, given_channels), name="given"), "image": x}
        x = layers.Concatenate(name="pair")(list(inputs.values()))
    for level, filters_here in enumerate(filters, start=1):
        is_last, has_norm, name = level == len(filters), level > 1, f"level{level}"
        if is_last:
            x = layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
        has_bias = not has_norm or normalization == "instance"
        steps = {"strides": 1, "padding": "valid"} if is_last else {}
        x = _conv(filters_here, name, use_bias=has_bias, **steps)(x)
        if has_norm:
            x = _norm(normalization, f"{name}_norm")(x)
        x = layers.LeakyReLU(0.2, name=f"{name}_leaky")(x)
    x = layers.ZeroPadding2D(1, name="logits_pad")(x)
    logits = layers.Conv2D(1, 4, kernel_initializer=KERNEL, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="patch_discriminator")


def _conv(filters: int, name: str, use_bias: bool = False, **settings) -> layers.Conv2D:
    settings = {"strides": 2, "padding": "same", **settings}
    return layers.Conv2D(filters, 4, use_bias=use_bias, kernel_initializer=KERNEL, name=f"{name}_conv", **settings)


def _norm(normalization: str, name: str) -> keras.Layer:
    if normalization == "instance":
        return InstanceNormalization(center=False, scale=False, name=name)
    return layers.BatchNormalization(**NORM, name=name)


def _divisible(image_shape: tuple, factor: int) -> tuple[int, int, int]:
    """Returns an image shape whose sides are known multiples of a factor.

    Raises:
        ArgumentError: they are not.
    """
    height, width, channels = checks.image_shape("image_shape", image_shape)
    if None in (height, width) or height % factor or width % factor:
        hint = "Pass filters= for another number of levels."
        checks.refuse(f"image_shape must have known sides, multiples of {factor}", tuple(image_shape), hint)
    return height, width, channels
