"""DCGAN: convolutions that grow an image from noise, and that judge one (https://arxiv.org/abs/1511.06434).

Deviations: the momentum of batch norms is 0.9, as everywhere in kerasdl; other sides than 64 pixels begin with another
kernel or have other levels.
"""

import keras
from keras import layers

from kerasdl.core import checks, register
from kerasdl.layers import SpectralNorm

PAPER = "https://arxiv.org/abs/1511.06434"
FILTERS = (512, 256, 128, 64)
NORMALIZATIONS = ("batch", "spectral", "none")
KERNEL = keras.initializers.RandomNormal(0.0, 0.02)
NORM = {"momentum": 0.9, "epsilon": 1e-5, "gamma_initializer": keras.initializers.RandomNormal(1.0, 0.02)}
COUNTED = "PyTorch's DCGAN tutorial, {:,} learnt weights, and two statistics of each channel of its batch norms"


@register(
    task="network",
    paper=PAPER,
    params={"dcgan_generator": 3_576_704 + 1_920},
    reference=COUNTED.format(3_576_704),
    partners={"discriminator": "dcgan_discriminator"},
    tags=("gan", "cnn"),
    tiny=dict(image_shape=(16, 16, 3), latent=16, filters=(24, 16)),
)
def dcgan_generator(image_shape=(64, 64, 3), *, latent: int = 100, filters=FILTERS) -> keras.Model:
    """Generator of DCGAN, transposed convolutions from noise to an image, each doubling the sides.

    Source: https://arxiv.org/abs/1511.06434, section 3 and figure 1.

    Args:
        image_shape: height, width and channels in pixels; height and width are multiples of 2 for each of `filters`.
        latent: D, numbers of the noise.
        filters: channels before each doubling of the sides.

    Returns:
        A model from noise (B, D) to images (B, H, W, C), float32 from -1 to 1.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("dcgan_generator").output_shape
        (None, 64, 64, 3)
    """
    noise = keras.Input((checks.at_least("latent", latent, 1),), name="noise")
    image = grown_image(noise, image_shape, filters)
    return keras.Model(noise, image, name="dcgan_generator")


@register(
    task="network",
    paper=PAPER,
    params={"dcgan_discriminator": 2_765_568 + 1_792},
    reference=COUNTED.format(2_765_568),
    tags=("gan", "cnn"),
    tiny=dict(image_shape=(16, 16, 3), filters=(16, 24)),
)
def dcgan_discriminator(image_shape=(64, 64, 3), *, filters=FILTERS[::-1], normalization: str = "batch") -> keras.Model:
    """Discriminator of DCGAN, strided convolutions from an image to one logit.

    With `spectral` the largest singular value of each kernel is 1 after each update, as in SN-GAN; with it and with
    `none` convolutions have biases in place of batch norms.

    Source: https://arxiv.org/abs/1511.06434, section 3; spectral normalisation https://arxiv.org/abs/1802.05957.

    Args:
        image_shape: height, width and channels in pixels; height and width are multiples of 2 for each of `filters`.
        filters: channels after each halving of the sides.
        normalization: `batch`, `spectral` or `none`.

    Returns:
        A model from images (B, H, W, C), values from -1 to 1, to logits (B, 1) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("dcgan_discriminator").output_shape
        (None, 1)
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    x = shrunk_map(image, filters, normalization)
    x = logit_conv(x, normalization)
    return keras.Model(image, layers.Reshape((1,), dtype="float32", name="logit")(x), name="dcgan_discriminator")


def grown_image(x, image_shape: tuple, filters: tuple):
    """Image from a vector by transposed convolutions, each but the first doubling the sides.

    Args:
        x: (B, D) floats.
        image_shape: height, width and channels of the image.
        filters: channels before each doubling.

    Returns:
        (B, H, W, C) float32 from -1 to 1.

    Raises:
        ArgumentError: the sides are no multiples of 2 for each of `filters`.
    """
    filters = checks.counts("filters", filters)
    start = smallest_map(image_shape, len(filters))
    x = layers.Reshape((1, 1, x.shape[-1]), name="as_map")(x)
    for level, width in enumerate(filters, start=1):
        size = {"kernel_size": start} if level == 1 else {"kernel_size": 4, "strides": 2, "padding": "same"}
        name, plain = f"level{level}", {"use_bias": False, "kernel_initializer": KERNEL}
        x = layers.Conv2DTranspose(width, **size, **plain, name=f"{name}_conv")(x)
        x = layers.BatchNormalization(**NORM, name=f"{name}_norm")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
    settings = {"use_bias": False, "kernel_initializer": KERNEL, "dtype": "float32", "name": "image_conv"}
    x = layers.Conv2DTranspose(image_shape[-1], 4, 2, "same", **settings)(x)
    return layers.Activation("tanh", dtype="float32", name="image")(x)


def shrunk_map(image, filters: tuple, normalization: str):
    """Map from an image by convolutions that halve the sides.

    Args:
        image: (B, H, W, C) floats.
        filters: channels after each halving.
        normalization: `batch`, `spectral` or `none`.

    Returns:
        (B, h, w, the last of `filters`).

    Raises:
        ArgumentError: the sides are no multiples of 2 for each of `filters`, or there is no such normalization.
    """
    filters = checks.counts("filters", filters)
    smallest_map(tuple(image.shape[1:]), len(filters))
    settings, x = kernel_settings(normalization), image
    for level, width in enumerate(filters, start=1):
        x = layers.Conv2D(width, 4, 2, "same", **settings, name=f"level{level}_conv")(x)
        if normalization == "batch" and level > 1:
            x = layers.BatchNormalization(**NORM, name=f"level{level}_norm")(x)
        x = layers.LeakyReLU(0.2, name=f"level{level}_leaky")(x)
    return x


def logit_conv(x, normalization: str):
    """Convolution of a whole map (B, h, w, C) to (B, 1, 1, 1), float32."""
    settings = kernel_settings(normalization)
    return layers.Conv2D(1, x.shape[1:3], **settings, dtype="float32", name="logit_conv")(x)


def kernel_settings(normalization: str) -> dict:
    """Returns initializer, constraint and bias of the kernels of a discriminator.

    Raises:
        ArgumentError: there is no such normalization.
    """
    checks.one_of("normalization", normalization, NORMALIZATIONS)
    constraint = SpectralNorm() if normalization == "spectral" else None
    return {"kernel_initializer": KERNEL, "kernel_constraint": constraint, "use_bias": normalization != "batch"}


def smallest_map(image_shape: tuple, levels: int) -> tuple[int, int]:
    """Returns the sides of the map that remains after all halvings.

    Raises:
        ArgumentError: the sides are free, or no multiples of 2 for each level.
    """
    height, width, _ = checks.image_shape("image_shape", image_shape)
    factor = 2**levels
    if None in (height, width) or height % factor or width % factor:
        hint = "Pass filters= for another number of levels." if None not in (height, width) else ""
        checks.refuse(
            f"image_shape must have known sides, multiples of {factor}, 2 for each of filters", image_shape, hint
        )
    return height // factor, width // factor
