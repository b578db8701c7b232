"""U-Net: encoder and decoder with skip connections (https://arxiv.org/abs/1505.04597).

Deviations: `unet` pads, so that its logits are as large as the image, and normalises, as most programs have it since;
`unet_2015` is the paper's. Poolings of `unet` round sides up, and the decoder cuts what is too much. The decoder of
`unet_resnet34` is that of segmentation_models: maps of any backbone, nearest neighbours in place of transposed
convolutions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from kerasdl.blocks import double_conv, skip_decoder
from kerasdl.blocks.detection.levels import check_levels
from kerasdl.core import checks, register

from ..feature_maps import backbone_features

STRIDES = (2, 4, 8, 16, 32)
CHANNELS = (256, 128, 64, 32, 16)


def contracting_path(x, channels: int, depth: int, *, norm: bool = True) -> list:
    """Encoder of U-Net: double convolutions, each but the last followed by a pooling that rounds sides up.

    Args:
        x: (B, H, W, C).
        channels: of the first level; they double from level to level.
        depth: poolings.
        norm: as in `kerasdl.blocks.double_conv`.

    Returns:
        The maps of all levels, fine to coarse, each before its pooling.
    """
    maps = []
    for level in range(1, depth + 2):
        if level > 1:
            x = layers.MaxPooling2D(2, padding="same", name=f"pool{level - 1}")(x)
        x = double_conv(x, channels * 2 ** (level - 1), norm=norm, name=f"encoder{level}")
        maps.append(x)
    return maps


def pixel_logits(x, classes: int, *, kernel: int = 1):
    """Convolution named `logits` to the classes of each pixel, in float32 under mixed precision too."""
    checks.at_least("classes", classes, 1)
    return layers.Conv2D(classes, kernel, padding="same", dtype="float32", name="logits")(x)


@register(
    task="semantic_segmentation",
    paper="https://arxiv.org/abs/1505.04597",
    variants={"unet": {}},
    # The reference counts no batch-norm statistics: two of each of 5,888 channels are added.
    params={"unet": 31_037_698 + 11_776},
    reference="milesial/Pytorch-UNet with 3 channels and 2 classes, plus batch-norm statistics",
    tags=("cnn", "segmenter"),
    tiny=dict(image_shape=(32, 32, 3), channels=8, depth=2, classes=3),
    free={"image_shape": (None, None, 3)},
)
def unet(
    image_shape=(256, 256, 3),
    *,
    classes: int = 2,
    channels: int = 64,
    depth: int = 4,
    norm: bool = True,
    up: str = "transpose",
    skips: bool = True,
) -> keras.Model:
    """U-Net, the segmenter that joins each map of its decoder with the encoder's map of that size.

    Source: https://arxiv.org/abs/1505.04597, section 2 and figure 1, with padded convolutions.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None, and need not be multiples.
        classes: K, classes with background; 1 for one foreground.
        channels: of the first level; they double with each pooling.
        depth: poolings.
        norm: a batch normalisation after each 3x3 convolution.
        up: `transpose`, the paper's 2x2 convolutions, or `resize`, nearest neighbours, which leave no checkerboards.
        skips: whether the decoder has the encoder's maps; without them borders are blurred.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, H, W, K) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> unet((50, 38, 3), classes=3, channels=8).output_shape
        (None, 50, 38, 3)
    """
    checks.at_least("channels", channels, 1)
    checks.at_least("depth", depth, 1)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    *finer, x = contracting_path(image, channels, depth, norm=norm)
    for level, skip in reversed(list(enumerate(finer, start=1))):
        joined = [skip] if skips else []
        x = skip_decoder(x, skip, skip.shape[-1], skips=joined, up=up, norm=norm, name=f"decoder{level}")
    return keras.Model(image, pixel_logits(x, classes), name="unet")


@register(
    task="semantic_segmentation",
    paper="https://arxiv.org/abs/1505.04597",
    variants={"unet_2015": {}},
    params={"unet_2015": 31_030_658},
    reference="figure 1 of the paper, by the sum of its layers",
    tags=("cnn", "segmenter"),
    tiny=dict(image_shape=(60, 60, 3), channels=8, depth=2, dropout=0.0, classes=3),
)
def unet_2015(
    image_shape=(572, 572, 1),
    *,
    classes: int = 2,
    channels: int = 64,
    depth: int = 4,
    dropout: float = 0.5,
    skips: bool = True,
) -> keras.Model:
    """U-Net as published in 2015, whose convolutions do not pad: logits are smaller than the image.

    Source: https://arxiv.org/abs/1505.04597, section 2 and figure 1.

    Args:
        image_shape: height, width and channels in pixels; each side such that all poolings see even sides.
        classes: K, classes with background; 1 for one foreground.
        channels: of the first level; they double with each pooling.
        depth: poolings.
        dropout: rate at the end of the two coarsest levels of the encoder, from 0 to 1.
        skips: whether the decoder has the encoder's maps, cut to the middle.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, H', W', K) in float32 of the middle of the image:
        572 pixels give 388.

    Raises:
        ArgumentError: an argument breaks its range, or a side is none that the poolings take.

    Example:
        >>> unet_2015((188, 204, 1), channels=8).output_shape
        (None, 4, 20, 2)
    """
    checks.at_least("channels", channels, 1)
    checks.at_least("depth", depth, 1)
    checks.within("dropout", dropout, 0.0, 1.0)
    image = keras.Input(check_valid_sides(image_shape, depth), name="image")
    x, finer = image, []
    for level in range(1, depth + 2):
        x = double_conv(x, channels * 2 ** (level - 1), padding="valid", norm=False, name=f"encoder{level}")
        if dropout and level >= depth:
            x = layers.Dropout(dropout, name=f"encoder{level}_drop")(x)
        if level <= depth:
            finer.append(x)
            x = layers.MaxPooling2D(2, name=f"pool{level}")(x)
    for level, skip in reversed(list(enumerate(finer, start=1))):
        name = f"decoder{level}"
        x = layers.Conv2DTranspose(skip.shape[-1], 2, strides=2, name=f"{name}_up_conv")(x)
        if skips:
            margins = tuple((large - small) // 2 for large, small in zip(skip.shape[1:3], x.shape[1:3], strict=True))
            skip = layers.Cropping2D(margins, name=f"{name}_crop")(skip)
            x = layers.Concatenate(name=f"{name}_concat")([x, skip])
        x = double_conv(x, channels * 2 ** (level - 1), padding="valid", norm=False, name=name)
    return keras.Model(image, pixel_logits(x, classes), name="unet_2015")


def check_valid_sides(image_shape: Any, depth: int) -> tuple[int, int, int]:
    """Returns an image shape of which every pooling sees even sides; raises `ArgumentError` for others."""
    shape = checks.image_shape("image_shape", image_shape)
    step = 2**depth
    # A coarsest map of n pixels before its convolutions has step * n + 4 (step - 1) pixels in the image, and gives
    # step * (n - 4) - 4 (step - 1) of them back.
    lost, least = 4 * (step - 1), -(-(8 * step - 3) // step)
    if None in shape[:2]:
        checks.refuse("image_shape must have known sides, since the poolings must see even ones", shape)
    if any((side - lost) % step or (side - lost) // step < least for side in shape[:2]):
        rule = f"sides of unet_2015 with {depth} poolings must be {lost + least * step} or more, by steps of {step}"
        near = [max(least, round((side - lost) / step)) * step + lost for side in shape[:2]]
        checks.refuse(rule, shape, f"The nearest are {near[0]} and {near[1]}; unet takes any.")
    return shape


@register(
    task="semantic_segmentation",
    paper="https://arxiv.org/abs/1505.04597",
    variants={"unet_resnet34": {}},
    # The reference counts no batch-norm statistics: 19,008 are added.
    params={"unet_resnet34": 24_436_369 + 19_008},
    reference="segmentation_models_pytorch 0.6.0, Unet('resnet34') with 1 class, plus batch-norm statistics",
    weights={"torch": "kerasdl.vision.segmenter_peers:UNET"},
    tags=("cnn", "segmenter"),
    tiny=dict(
        image_shape=(64, 64, 3),
        backbone="mobilenet_v2",
        backbone_settings={"width": 0.25, "stages": ((1, 8, 1, 1), (6, 8, 1, 2), (6, 16, 1, 2))},
        strides=(2, 4, 8),
        channels=(16, 8, 8),
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def unet_on_backbone(
    image_shape=(256, 256, 3),
    *,
    classes: int = 1,
    backbone: str = "resnet34",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = STRIDES,
    channels: Sequence[int] = CHANNELS,
    up: str = "resize",
    skips: bool = True,
) -> keras.Model:
    """U-Net over any backbone: its maps are the encoder, whose pretrained weights go in by name.

    Source: https://arxiv.org/abs/1505.04597, figure 1, in the form of segmentation_models.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None, and need not be multiples.
        classes: K, classes with background; 1 for one foreground.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features.
        strides: maps of the backbone, fine to coarse, each twice the one before.
        channels: of the decoder from coarse to fine, one for each map.
        up: `resize`, nearest neighbours, or `transpose`, transposed convolutions.
        skips: whether the decoder has the backbone's maps beside the coarsest.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, H, W, K) in float32.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone, or it has no map of a stride.

    Example:
        >>> unet_on_backbone((64, 50, 3), classes=3, backbone="mobilenet_v2").output_shape
        (None, 64, 50, 3)
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    maps = backbone_features(image, backbone, backbone_settings, strides=strides)
    check_levels(maps)
    channels = check_decoder(channels, len(maps))
    *finer, x = maps.values()
    for level, filters in zip(range(len(maps), 0, -1), channels, strict=True):
        skip = finer[level - 2] if level > 1 else None
        x = skip_decoder(
            x,
            image if skip is None else skip,
            filters,
            skips=[skip] if skips and skip is not None else [],
            up=up,
            factor=2 if level > 1 else strides[0],
            name=f"decoder{level}",
        )
    return keras.Model(image, pixel_logits(x, classes, kernel=3), name="unet_on_backbone")


def check_decoder(channels: Sequence[int], levels: int) -> tuple[int, ...]:
    """Returns the channels of a decoder; raises `ArgumentError` unless there is one entry for each level."""
    entries = checks.counts("channels", tuple(channels))
    if len(entries) != levels:
        checks.refuse(f"channels must have one entry for each of the {levels} maps", entries)
    return entries
