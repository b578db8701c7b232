"""Feature pyramid network (FPN): coarse features added to finer ones, level by level (arXiv:1612.03144)."""

from keras import layers

from kerasdl.core import checks

from ..convolution import padded
from .levels import check_levels, upsample_like

EXTRA = ("pool", "input", "output")


def fpn(features: dict, channels: int = 256, *, extra: str | None = None, name: str = "fpn") -> dict:
    """Feature pyramid network: 1x1 laterals, added from coarse to fine, and a 3x3 convolution of each level.

    Source: https://arxiv.org/abs/1612.03144, section 3 and figure 3; the extra levels `input` and `output` are those
    of RetinaNet, https://arxiv.org/abs/1708.02002, section 4. Convolutions have biases and no normalisation.

    Args:
        features: `{"stride8": (B, H/8, W/8, c), ...}` of a backbone, fine to coarse.
        channels: of every level of the result.
        extra: coarser levels. `pool`: one, every second place of the last level, as Faster R-CNN has it; `input` or
            `output`: two by 3x3 convolutions of stride 2, P6 of the backbone's last level or of the pyramid's, and
            P7 of P6 after a ReLU; None: none.
        name: prefix of the layer names.

    Returns:
        The levels in the same order, and the extra ones after them: `{"stride8": (B, H/8, W/8, channels), ...}`.

    Raises:
        ArgumentError: an argument breaks its rule.

    Example:
        >>> image = keras.Input((64, 64, 3))
        >>> features = kerasdl.vision.backbones.resnet_features(image, stages=(1, 1, 1, 1), channels=8)
        >>> levels = fpn({key: features[key] for key in ("stride8", "stride16", "stride32")}, 16, extra="output")
        >>> list(levels), levels["stride8"].shape
        (['stride8', 'stride16', 'stride32', 'stride64', 'stride128'], (None, 8, 8, 16))
    """
    last_stride = check_levels(features)[-1]
    checks.one_of("extra", extra, (*EXTRA, None))
    checks.at_least("channels", channels, 1)
    levels, coarser = {}, None
    for key in reversed(features):
        x = layers.Conv2D(channels, 1, name=f"{name}_{key}_lateral_conv")(features[key])
        if coarser is not None:
            upsampled = upsample_like(coarser, x, name=f"{name}_{key}_upsample")
            x = layers.Add(name=f"{name}_{key}_add")([upsampled, x])  # weights in one order at free sizes too
        coarser = x
        levels[key] = layers.Conv2D(channels, 3, padding="same", name=f"{name}_{key}_output_conv")(x)
    levels = dict(reversed(levels.items()))
    if extra is None:
        return levels
    last = list((features if extra == "input" else levels).values())[-1]
    return levels | extra_levels(last, channels, extra, stride=2 * last_stride, name=name)


def extra_levels(x, channels: int, kind: str, *, stride: int, name: str) -> dict:
    """Returns the levels that are coarser than `x`: one by pooling, or P6 and P7 by convolutions."""
    if kind == "pool":
        return {f"stride{stride}": layers.MaxPooling2D(1, strides=2, name=f"{name}_stride{stride}_pool")(x)}
    levels = {}
    for key in (f"stride{stride}", f"stride{2 * stride}"):
        if levels:
            x = layers.ReLU(name=f"{name}_{key}_relu")(x)
        x, padding = padded(x, 3, "symmetric", name=f"{name}_{key}")
        x = layers.Conv2D(channels, 3, strides=2, padding=padding, name=f"{name}_{key}_conv")(x)
        levels[key] = x
    return levels
