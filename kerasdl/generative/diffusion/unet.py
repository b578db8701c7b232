"""U-Net of DDPM: residual blocks that know the time, and attention at some sides (https://arxiv.org/abs/2006.11239).

Options of ADM (https://arxiv.org/abs/2105.05233): several heads, time as scale and shift, classes, learned variance.

Deviations: the configuration for CIFAR-10 is that of `google/ddpm-cifar10-32` in diffusers, with a projection in every
shortcut of other width; the kernels that the paper begins at zero are the last alone.
"""

import keras
from keras import layers

from kerasdl.blocks import multi_head_attention
from kerasdl.core import checks, register
from kerasdl.layers import SinusoidalTimes

EPSILON = 1e-6


def time_vector(time, width: int, *, label=None, classes: int | None = None, cosines_first: bool = False):
    """Vector of a diffusion's time, and of a class: sinusoids and two dense layers.

    Source: https://arxiv.org/abs/2006.11239, appendix B; classes: https://arxiv.org/abs/2105.05233, section 3.1.

    Args:
        time: (B,) numbers from 0 to 999.
        width: of the sinusoids; the vector is four times as wide.
        label: (B,) integers, or None; `classes` stands for no class.
        classes: K, number of classes, or None.
        cosines_first: as in `SinusoidalTimes`.

    Returns:
        (B, 4 * width).

    Raises:
        ArgumentError: the width is odd or below 4.

    Example:
        >>> time_vector(keras.Input(()), 128).shape
        (None, 512)
    """
    x = SinusoidalTimes(width, reaches_end=not cosines_first, cosines_first=cosines_first, name="time_waves")(time)
    x = layers.Dense(4 * width, activation="silu", name="time_expand")(x)
    x = layers.Dense(4 * width, name="time_project")(x)
    if label is not None:
        x = layers.Add(name="time_and_label")([x, layers.Embedding(classes + 1, 4 * width, name="label_table")(label)])
    return x


def timed_residual(x, vector, filters: int, *, groups: int, dropout: float, scale_shift: bool, name: str):
    """Residual block with a time: norm, SiLU and convolution, twice, the vector between them.

    Source: https://arxiv.org/abs/2006.11239, appendix B; `scale_shift`: https://arxiv.org/abs/2105.05233, section 3.1.

    Args:
        x: (B, H, W, C).
        vector: (B, D), activated already.
        filters: channels of the output.
        groups: groups of the norms.
        dropout: rate before the second convolution.
        scale_shift: whether the vector scales and shifts the second norm; otherwise it is added before that.
        name: prefix of the layer names.

    Returns:
        (B, H, W, filters).

    Raises:
        ArgumentError: channels are no multiple of the groups.

    Example:
        >>> image, vector = keras.Input((8, 8, 32)), keras.Input((64,))
        >>> timed_residual(image, vector, 48, groups=16, dropout=0.0, scale_shift=True, name="block").shape
        (None, 8, 8, 48)
    """
    y = normed(x, groups, name=f"{name}_norm1")
    y = layers.Activation("silu", name=f"{name}_act1")(y)
    y = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv1")(y)
    if scale_shift:
        y = normed(y, groups, name=f"{name}_norm2")
        factors = {
            part: layers.Reshape((1, 1, filters), name=f"{name}_{part}_shape")(
                layers.Dense(filters, name=f"{name}_{part}")(vector)
            )
            for part in ("scale", "shift")
        }
        scaled = layers.Multiply(name=f"{name}_scaled")([y, factors["scale"]])
        y = layers.Add(name=f"{name}_modulated")([y, scaled, factors["shift"]])
    else:
        time = layers.Dense(filters, name=f"{name}_time")(vector)
        time = layers.Reshape((1, 1, filters), name=f"{name}_time_shape")(time)
        y = layers.Add(name=f"{name}_timed")([y, time])
        y = normed(y, groups, name=f"{name}_norm2")
    y = layers.Activation("silu", name=f"{name}_act2")(y)
    if dropout:
        y = layers.Dropout(dropout, name=f"{name}_drop")(y)
    y = layers.Conv2D(filters, 3, padding="same", name=f"{name}_conv2")(y)
    if x.shape[-1] != filters:
        x = layers.Conv2D(filters, 1, name=f"{name}_shortcut")(x)
    return layers.Add(name=f"{name}_add")([x, y])


def image_attention(x, heads: int, *, groups: int, name: str):
    """Self-attention over all pixels of a feature map, normalised before, with a shortcut.

    Source: https://arxiv.org/abs/2006.11239, appendix B.

    Args:
        x: (B, H, W, C), sides known.
        heads: N, a divisor of C.
        groups: groups of the norm.
        name: prefix of the layer names.

    Returns:
        (B, H, W, C).

    Raises:
        ArgumentError: heads or groups do not divide the channels.

    Example:
        >>> image_attention(keras.Input((8, 8, 32)), 2, groups=16, name="attention").shape
        (None, 8, 8, 32)
    """
    _, height, width, channels = x.shape
    y = normed(x, groups, name=f"{name}_norm")
    y = layers.Reshape((height * width, channels), name=f"{name}_tokens")(y)  # (B, H * W, C)
    y = multi_head_attention(y, y, heads, name=name)
    y = layers.Reshape((height, width, channels), name=f"{name}_image")(y)
    return layers.Add(name=f"{name}_add")([x, y])


def normed(x, groups: int, *, name: str):
    """Returns `x` normalised in groups of channels; refuses channels that are no multiple of them."""
    if x.shape[-1] % checks.at_least("groups", groups, 1):
        checks.refuse(f"channels must be a multiple of the {groups} groups", x.shape[-1], "Pass groups=.")
    return layers.GroupNormalization(groups, epsilon=EPSILON, name=name)(x)


def checked_input(image_shape, divisor: int, classes: int | None) -> dict:
    """Returns the inputs `x`, `time` and, with classes, `label` of a network of images; sides must be known.

    Args:
        image_shape: height, width and channels.
        divisor: number that must divide both sides.
        classes: K, or None.

    Raises:
        ArgumentError: a side is free or no multiple, or there is less than one class.
    """
    height, width, channels = checks.image_shape("image_shape", image_shape)
    if None in (height, width):
        checks.refuse("a diffusion network must have known sides", image_shape)
    if height % divisor or width % divisor:
        checks.refuse(f"sides must be multiples of {divisor}", (height, width))
    inputs = {"x": keras.Input((height, width, channels), name="x"), "time": keras.Input((), name="time")}
    if classes is not None:
        checks.at_least("classes", classes, 1)
        inputs["label"] = keras.Input((), dtype="int32", name="label")
    return inputs


@register(
    task="network",
    paper="https://arxiv.org/abs/2006.11239",
    variants={"diffusion_unet": {}},
    params={"diffusion_unet": 35_746_307},
    reference="UNet2DModel of diffusers with the configuration of google/ddpm-cifar10-32",
    qat="none",
    tags=("diffusion",),
    tiny=dict(image_shape=(8, 8, 1), widths=(8, 16), blocks=1, attention=(4,), groups=4, classes=3, dropout=0.0),
)
def diffusion_unet(
    image_shape=(32, 32, 3),
    *,
    widths=(128, 256, 256, 256),
    blocks: int = 2,
    attention=(16,),
    heads: int = 1,
    groups: int = 32,
    dropout: float = 0.1,
    classes: int | None = None,
    scale_shift: bool = False,
    learned_variance: bool = False,
) -> keras.Model:
    """U-Net of DDPM, which predicts the noise, the data or a velocity of a noisy image at a time.

    Source: https://arxiv.org/abs/2006.11239, appendix B; https://arxiv.org/abs/2105.05233, section 3.

    Args:
        image_shape: height, width and channels, known, the sides multiples of 2 for each width after the first.
        widths: channels of each level; the sides halve from one to the next.
        blocks: residual blocks of a level; one more on the way up.
        attention: heights of the maps with attention, in pixels; the smallest always has it.
        heads: of attention.
        groups: groups of the norms, a divisor of all widths.
        dropout: rate in residual blocks, from 0 to 1.
        classes: K, number of classes that it is told, or None; label K stands for no class.
        scale_shift: as in `timed_residual`.
        learned_variance: whether the output has as many channels again, for the variance of a step.

    Returns:
        A model from `{"x": (B, H, W, C), "time": (B,)}`, with classes also `"label": (B,)` integers, to
        (B, H, W, C) float32.

    Raises:
        ArgumentError: an argument breaks its range, or sides and widths do not fit.

    Example:
        >>> kerasdl.build("diffusion_unet").count_params()
        35746307
    """
    widths, attention = checks.counts("widths", widths), checks.counts("attention", attention)
    checks.at_least("blocks", blocks, 1)
    checks.within("dropout", dropout, 0.0, 1.0)
    inputs = checked_input(image_shape, 2 ** (len(widths) - 1), classes)
    form = dict(groups=groups, dropout=dropout, scale_shift=scale_shift)
    vector = time_vector(inputs["time"], widths[0], label=inputs.get("label"), classes=classes)
    vector = layers.Activation("silu", name="time_act")(vector)

    x = layers.Conv2D(widths[0], 3, padding="same", name="stem")(inputs["x"])
    skips = [x]
    for level, width in enumerate(widths, start=1):
        for block in range(1, blocks + 1):
            x = timed_residual(x, vector, width, name=f"down{level}_block{block}", **form)
            if x.shape[1] in attention:
                x = image_attention(x, heads, groups=groups, name=f"down{level}_attention{block}")
            skips.append(x)
        if level < len(widths):
            x = layers.ZeroPadding2D(((0, 1), (0, 1)), name=f"down{level}_pad")(x)
            x = layers.Conv2D(width, 3, strides=2, name=f"down{level}_conv")(x)
            skips.append(x)

    x = timed_residual(x, vector, widths[-1], name="middle_block1", **form)
    x = image_attention(x, heads, groups=groups, name="middle_attention")
    x = timed_residual(x, vector, widths[-1], name="middle_block2", **form)

    for level, width in reversed(list(enumerate(widths, start=1))):
        for block in range(1, blocks + 2):
            x = layers.Concatenate(name=f"up{level}_skip{block}")([x, skips.pop()])
            x = timed_residual(x, vector, width, name=f"up{level}_block{block}", **form)
            if x.shape[1] in attention:
                x = image_attention(x, heads, groups=groups, name=f"up{level}_attention{block}")
        if level > 1:
            x = layers.UpSampling2D(2, name=f"up{level}_nearest")(x)
            x = layers.Conv2D(width, 3, padding="same", name=f"up{level}_conv")(x)

    x = layers.Activation("silu", name="out_act")(normed(x, groups, name="out_norm"))
    channels = inputs["x"].shape[-1] * (2 if learned_variance else 1)
    x = layers.Conv2D(channels, 3, padding="same", kernel_initializer="zeros", dtype="float32", name="prediction")(x)
    return keras.Model(inputs, x, name="diffusion_unet")
