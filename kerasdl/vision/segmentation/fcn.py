"""FCN: classifiers turned into segmenters by convolutions in place of dense layers (https://arxiv.org/abs/1411.4038).

Deviations: convolutions pad as usual, where the paper pads the image by 100 pixels and cuts the answer out; poolings
round sides up, and what is too much is cut at the right and below. All transposed convolutions learn, the last one
too. `fcn_resnet50` is torchvision's form: a dilated ResNet, one head, and bilinear resizing.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import layers

from kerasdl.blocks import fcn_head
from kerasdl.blocks.detection.levels import upsample_like
from kerasdl.core import checks, register
from kerasdl.layers import BilinearKernel

from ..feature_maps import backbone_features

# Section 4.2: strides of the maps that are scored, fine to coarse.
STRIDES = {"fcn32s": (32,), "fcn16s": (16, 32), "fcn8s": (8, 16, 32)}


@register(
    task="semantic_segmentation",
    paper="https://arxiv.org/abs/1411.4038",
    variants={name: {"strides": strides} for name, strides in STRIDES.items()},
    params={"fcn32s": 136_152_917, "fcn16s": 134_815_994, "fcn8s": 134_489_759},
    reference="the authors' definitions for Caffe, voc-fcn32s, voc-fcn16s and voc-fcn8s, by the sum of their layers",
    tags=("cnn", "segmenter"),
    tiny=dict(
        image_shape=(32, 32, 3),
        backbone_settings={"stages": (1, 1, 1), "channels": (8, 8, 16), "round_up": True},
        strides=(2, 4, 8),
        hidden=16,
        kernel=3,
        dropout=0.0,
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def fcn(
    image_shape=(500, 500, 3),
    *,
    classes: int = 21,
    backbone: str = "vgg16",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = STRIDES["fcn8s"],
    hidden: int = 4096,
    kernel: int = 7,
    dropout: float = 0.5,
) -> keras.Model:
    """Fully convolutional network (FCN): scores of coarse maps, enlarged by learned transposed convolutions and added.

    Source: https://arxiv.org/abs/1411.4038, sections 3.3 and 4.2, figure 3.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None, and need not be multiples.
        classes: K, classes with background; 1 for one foreground.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features; None lets poolings of VGG round sides up, and takes
            the settings of any other net.
        strides: maps that are scored, fine to coarse, each a multiple of the one before and the first even.
        hidden: channels of the two convolutions over the coarsest map, fc6 and fc7 of VGG.
        kernel: side of the first of them.
        dropout: rate after each of them, from 0 to 1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, H, W, K) in float32.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone, or it has no map of a stride.

    Example:
        >>> fcn((100, 70, 3), classes=3, backbone="mobilenet_v2", strides=(16, 32), hidden=32).output_shape
        (None, 100, 70, 3)
    """
    checks.at_least("classes", classes, 1)
    checks.at_least("hidden", hidden, 1)
    checks.at_least("kernel", kernel, 1)
    checks.within("dropout", dropout, 0.0, 1.0)
    strides = check_multiples(strides)
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    if backbone_settings is None and backbone.startswith("vgg"):
        backbone_settings = {"round_up": True}
    *finer, x = backbone_features(image, backbone, backbone_settings, strides=strides).values()
    for name, side in (("fc6", kernel), ("fc7", 1)):
        x = layers.Conv2D(hidden, side, padding="same", activation="relu", name=f"{name}_conv")(x)
        x = layers.Dropout(dropout, name=f"{name}_drop")(x) if dropout else x
    x = layers.Conv2D(classes, 1, name=f"score_stride{strides[-1]}")(x)
    # The scores of finer maps start at 0, so that they begin as what the coarser ones say (section 4.2).
    for (stride, coarser), skip in reversed(list(zip(itertools.pairwise(strides), finer, strict=True))):
        x = enlarged(x, skip, coarser // stride, name=f"up_stride{stride}")
        score = layers.Conv2D(classes, 1, kernel_initializer="zeros", name=f"score_stride{stride}")(skip)
        x = layers.Add(name=f"add_stride{stride}")([x, score])
    return keras.Model(image, enlarged(x, image, strides[0], name="logits", dtype="float32"), name="fcn")


def enlarged(x, like, factor: int, *, name: str, dtype: str | None = None):
    """Transposed convolution of (B, h, w, K) that starts as bilinear resizing, cut to the sides of `like`."""
    x = layers.Conv2DTranspose(
        x.shape[-1],
        2 * factor,
        strides=factor,
        padding="same",
        use_bias=False,
        kernel_initializer=BilinearKernel(),
        dtype=dtype,
        name=name,
    )(x)
    return upsample_like(x, like, dtype=dtype, name=f"{name}_cut")


def check_multiples(strides: Sequence[int]) -> tuple[int, ...]:
    """Returns strides of which each is an even multiple of the one before; raises `ArgumentError` for others."""
    entries = checks.counts("strides", tuple(strides))
    if any(coarse % (2 * fine) for fine, coarse in itertools.pairwise((1, *entries))):
        checks.refuse("strides must run from fine to coarse, each an even multiple of the one before", entries)
    return entries


@register(
    task="semantic_segmentation",
    paper="https://arxiv.org/abs/1411.4038",
    variants={"fcn_resnet50": {}},
    # torchvision counts no batch norm: 2 measured numbers of each of 26,560 + 512 channels are added.
    params={"fcn_resnet50": 32_957_013 + 54_144},
    reference="torchvision 0.29, fcn_resnet50 with 21 classes and no auxiliary head, plus batch-norm statistics",
    weights={"torch": "kerasdl.vision.segmenter_peers:FCN_RESNET"},
    tags=("cnn", "segmenter"),
    tiny=dict(
        image_shape=(32, 32, 3),
        backbone_settings={"stages": (1, 1, 1), "channels": 4, "bottleneck": False, "output_stride": 8},
        strides=(8, 16),
        dropout=0.0,
        classes=3,
    ),
    free={"image_shape": (None, None, 3)},
)
def fcn_resnet(
    image_shape=(520, 520, 3),
    *,
    classes: int = 21,
    backbone: str = "resnet50",
    backbone_settings: Mapping[str, Any] | None = None,
    strides: Sequence[int] = (16, 32),
    dropout: float = 0.1,
    auxiliary: bool = False,
) -> keras.Model:
    """FCN over a dilated ResNet, whose last map is an eighth of the image, with one head and bilinear resizing.

    Source: https://arxiv.org/abs/1411.4038, section 3.1, in the form of torchvision.

    Args:
        image_shape: height, width and channels in pixels; height and width may be None, and need not be multiples.
        classes: K, classes with background; 1 for one foreground.
        backbone: name of a registered net with feature maps, with its layers' own names.
        backbone_settings: arguments of its function of features, which override `{"output_stride": 8}`.
        strides: names of the maps of the auxiliary head and of the head; dilation leaves their names as they are.
        dropout: rate before the logits, from 0 to 1.
        auxiliary: whether a second head stands on the map before the last, to be learned with less weight.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, H, W, K) in float32; with an auxiliary head to
        `{"logits": ..., "auxiliary": ...}`, both of that shape.

    Raises:
        ArgumentError: an argument breaks its rule.
        UnknownNameError: there is no such backbone, or it has no map of a stride.

    Example:
        >>> fcn_resnet((100, 70, 3), classes=3, backbone="resnet18").output_shape
        (None, 100, 70, 3)
    """
    image = keras.Input(checks.image_shape("image_shape", image_shape), name="image")
    if len(checks.counts("strides", tuple(strides))) != 2:
        checks.refuse("strides must name two maps, that of the auxiliary head and that of the head", tuple(strides))
    settings = {"output_stride": 8, **(backbone_settings or {})}
    middle, last = backbone_features(image, backbone, settings, strides=strides).values()
    logits = fcn_head(last, image, classes, dropout=dropout)
    if not auxiliary:
        return keras.Model(image, logits, name="fcn_resnet")
    second = fcn_head(middle, image, classes, dropout=dropout, name="auxiliary")
    return keras.Model(image, {"logits": logits, "auxiliary": second}, name="fcn_resnet")
