"""StyleGAN2: images from styles, layer by layer (https://arxiv.org/abs/1912.04958), in the sizes of StyleGAN2-ADA.

Learning rates are equalised as in the paper: kernels start with deviation 1, and inputs are scaled by constants.

Deviations: the deviation of a batch is that of the whole batch, not of groups of 8, and a moving average outside
training, which is one number more; the mapping has no moving mean of its own (the trainer keeps it).
"""

import math

import keras
from keras import layers

from kerasdl.core import checks, register
from kerasdl.layers import BatchDeviation, FilteredResampling2D, LearnedQueries, ModulatedConv2D, NoisyBias

PAPER = "https://arxiv.org/abs/1912.04958"
CODE = "https://github.com/NVlabs/stylegan2-ada-pytorch"
UNIT = keras.initializers.RandomNormal(stddev=1.0)
ROOT_2 = math.sqrt(2.0)
SLOWNESS = 0.01
"""Factor of the learning rate of the mapping."""
CHANNELS = (512, 512, 512, 512, 256, 128, 64)
"""Channels of the maps of 4, 8, ... 256 pixels, configuration paper256."""
CHANNELS_F = (512, 512, 512, 512, 512, 256, 128, 64, 32)
"""Those up to 1024 pixels, configuration F of the paper."""


@register(
    task="network",
    paper=PAPER,
    variants={"stylegan2_generator": {}, "stylegan2_generator_1024": {"channels": CHANNELS_F}},
    params={"stylegan2_generator": 24_767_458, "stylegan2_generator_1024": 30_370_060},
    reference=f"{CODE}, configurations paper256 and stylegan2, and the tables of tests/generative/gan/test_stylegan.py",
    qat="partial",
    partners={"discriminator": "stylegan2_discriminator"},
    tags=("gan", "cnn"),
    tiny=dict(channels=(12, 12, 8), latent=16, mapping=2),
)
def stylegan2_generator(
    channels=CHANNELS, *, image_channels: int = 3, latent: int = 512, mapping: int = 8
) -> keras.Model:
    """Generator of StyleGAN2, from noise to styles and from styles to an image, with sides of 4 times a power of 2.

    Its layer `styles` (B, L, D) has the style of each of the L convolutions and outputs; a `keras.Model` from there to
    the output is the synthesis, which `StyleGAN` uses for mixing and truncation.

    Source: https://arxiv.org/abs/1912.04958, figures 2 and 7, appendix B.

    Args:
        channels: channels of the maps of 4, 8, 16, ... pixels.
        image_channels: channels of the image.
        latent: D, numbers of the noise and of a style.
        mapping: layers from noise to styles.

    Returns:
        A model from noise (B, D) to images (B, H, H, image_channels), float32, about -1 to 1.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("stylegan2_generator").output_shape
        (None, 256, 256, 3)
    """
    channels = checks.counts("channels", channels)
    checks.at_least("image_channels", image_channels, 1)
    noise = keras.Input((checks.at_least("latent", latent, 1),), name="noise")
    w = _mapping(noise, latent, checks.at_least("mapping", mapping, 1))
    count = 2 * len(channels)
    styles = layers.RepeatVector(count, name="styles")(w)  # (B, L, D)
    scaled = layers.Rescaling(1 / math.sqrt(latent), name="styles_scaled")(styles)
    each = [_one_style(scaled, place, count) for place in range(count)]
    x = LearnedQueries(16, channels[0], name="constant")(styles)
    x, image = layers.Reshape((4, 4, channels[0]), name="constant_map")(x), None
    for level, width in enumerate(channels):
        name, place = f"map{4 * 2**level}", max(2 * level - 1, 0)
        if level:
            x = _styled_convolution(x, each[place], width, f"{name}_conv1", upsample=True)
            place += 1
        x = _styled_convolution(x, each[place], width, f"{name}_conv2")
        image = _with_output(image, x, each[place + 1], image_channels, name)
    return keras.Model(noise, layers.Activation("linear", dtype="float32", name="image")(image), name="stylegan2")


@register(
    task="network",
    paper=PAPER,
    variants={"stylegan2_discriminator": {}, "stylegan2_discriminator_1024": {"channels": CHANNELS_F}},
    params={"stylegan2_discriminator": 24_001_089 + 1, "stylegan2_discriminator_1024": 29_012_513 + 1},
    reference=f"{CODE}, configurations paper256 and stylegan2, and one moving average; test_stylegan.py",
    qat="partial",
    tags=("gan", "cnn"),
    tiny=dict(channels=(12, 12, 8)),
)
def stylegan2_discriminator(channels=CHANNELS, *, image_channels: int = 3) -> keras.Model:
    """Discriminator of StyleGAN2, residual blocks from an image to one logit.

    Source: https://arxiv.org/abs/1912.04958, figure 7 and appendix B.

    Args:
        channels: channels of the maps of 4, 8, 16, ... pixels.
        image_channels: channels of the image.

    Returns:
        A model from images (B, H, H, image_channels), about -1 to 1, to logits (B, 1) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("stylegan2_discriminator").output_shape
        (None, 1)
    """
    channels = checks.counts("channels", channels)
    side = 4 * 2 ** (len(channels) - 1)
    image = keras.Input((side, side, checks.at_least("image_channels", image_channels, 1)), name="image")
    x = _convolution(image, channels[-1], 1, f"map{side}_from_image")
    for level in range(len(channels) - 1, 0, -1):
        x = _residual_block(x, channels[level], channels[level - 1], f"map{4 * 2**level}")
    x = BatchDeviation(name="deviation")(x)
    x = _convolution(x, channels[0], 3, "map4_conv")
    x = _dense(layers.Flatten(name="flat")(x), channels[0], "map4_dense")
    x = layers.Rescaling(1 / math.sqrt(channels[0]), name="logit_scaled")(_activation(x, "map4_dense"))
    logit = layers.Dense(1, kernel_initializer=UNIT, dtype="float32", name="logit")(x)
    return keras.Model(image, logit, name="stylegan2_discriminator")


def _mapping(noise, latent: int, depth: int):
    """Style (B, D) from noise: dense layers on noise of length sqrt(D), with a hundredth of the learning rate."""
    x = layers.UnitNormalization(name="noise_direction")(noise)
    x = layers.Rescaling(math.sqrt(latent), name="noise_scaled")(x)
    slow = keras.initializers.RandomNormal(stddev=1 / SLOWNESS)
    for layer in range(1, depth + 1):
        name = f"mapping{layer}"
        x = layers.Rescaling(1 / math.sqrt(latent), name=f"{name}_scaled")(x)
        x = layers.Dense(latent, kernel_initializer=slow, name=name)(x)
        x = _activation(layers.Rescaling(SLOWNESS, name=f"{name}_slowed")(x), name)
    return x


def _one_style(styles, place: int, count: int):
    """The style (B, D) of one layer."""
    x = layers.Cropping1D((place, count - 1 - place), name=f"style{place + 1}")(styles)
    return layers.Reshape((styles.shape[-1],), name=f"style{place + 1}_vector")(x)


def _styled_convolution(x, style, filters: int, name: str, upsample: bool = False):
    """Modulated convolution, filter where the sides double, noise, bias, leaky ReLU."""
    scales = layers.Dense(x.shape[-1], kernel_initializer=UNIT, bias_initializer="ones", name=f"{name}_style")(style)
    x = ModulatedConv2D(filters, 3, upsample=upsample, name=name)([x, scales])
    if upsample:
        x = FilteredResampling2D(padding=(1, 1), gain=4.0, name=f"{name}_filter")(x)
    return _activation(NoisyBias(name=f"{name}_noise")(x), name)


def _with_output(image, x, style, channels: int, name: str):
    """The image so far at twice its sides, and what a map adds to it."""
    scales = layers.Dense(x.shape[-1], kernel_initializer=UNIT, bias_initializer="ones", name=f"{name}_image_style")(
        style
    )
    scales = layers.Rescaling(1 / math.sqrt(x.shape[-1]), name=f"{name}_image_scaled")(scales)
    added = ModulatedConv2D(channels, 1, demodulate=False, use_bias=True, name=f"{name}_image")([x, scales])
    if image is None:
        return added
    image = FilteredResampling2D(up=2, padding=(2, 1), name=f"{name}_image_up")(image)
    return layers.Add(name=f"{name}_image_sum")([image, added])


def _residual_block(x, width: int, filters: int, name: str):
    """Two convolutions, the second halving the sides, beside a filtered shortcut; the sum has deviation 1."""
    short = FilteredResampling2D(down=2, padding=(1, 1), name=f"{name}_short_filter")(x)
    short = layers.Rescaling(1 / math.sqrt(x.shape[-1]), name=f"{name}_short_scaled")(short)
    short = layers.Conv2D(filters, 1, use_bias=False, kernel_initializer=UNIT, name=f"{name}_short")(short)
    x = _convolution(x, width, 3, f"{name}_conv1")
    x = FilteredResampling2D(padding=(2, 2), name=f"{name}_filter")(x)
    x = _convolution(x, filters, 3, f"{name}_conv2", strides=2, padding="valid")
    x = layers.Add(name=f"{name}_sum")([x, short])
    return layers.Rescaling(1 / ROOT_2, name=f"{name}_halved")(x)


def _convolution(x, filters: int, kernel: int, name: str, *, strides: int = 1, padding: str = "same"):
    """Convolution of equalised learning rate and leaky ReLU."""
    x = layers.Rescaling(1 / math.sqrt(kernel**2 * x.shape[-1]), name=f"{name}_scaled")(x)
    x = layers.Conv2D(filters, kernel, strides, padding, kernel_initializer=UNIT, name=name)(x)
    return _activation(x, name)


def _dense(x, units: int, name: str):
    """Dense layer of equalised learning rate."""
    x = layers.Rescaling(1 / math.sqrt(x.shape[-1]), name=f"{name}_scaled")(x)
    return layers.Dense(units, kernel_initializer=UNIT, name=name)(x)


def _activation(x, name: str):
    """Leaky ReLU that keeps the deviation."""
    x = layers.LeakyReLU(0.2, name=f"{name}_leaky")(x)
    return layers.Rescaling(ROOT_2, name=f"{name}_kept")(x)
