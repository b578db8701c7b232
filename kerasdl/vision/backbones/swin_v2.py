"""Swin V2: cosine attention, and normalisation after each branch, for larger nets (https://arxiv.org/abs/2111.09883).

Deviations: as in `swin`.
"""

import keras
from keras import layers

from kerasdl.blocks import add_residual, perceptron, prediction_head
from kerasdl.core import checks, register
from kerasdl.layers import CosineWindowAttention

from .swin import FORMS, check_windows, norm, swin_stages, window_attention


def swin_v2_block(x, heads: int, *, window: int, shift: int, drop_path: float = 0.0, name: str):
    """Window attention and a perceptron, each normalised after: figure 1 right."""
    y = window_attention(x, heads, window=window, shift=shift, kind=CosineWindowAttention, name=f"{name}_attention")
    y = norm(y, name=f"{name}_attention_norm")
    x = add_residual(x, y, drop_path=drop_path, name=f"{name}_attention")
    y = perceptron(x, 4 * x.shape[-1], name=f"{name}_mlp")
    y = norm(y, name=f"{name}_mlp_norm")
    return add_residual(x, y, drop_path=drop_path, name=f"{name}_mlp")


def swin_v2_features(
    x,
    *,
    width: int = 96,
    stages=FORMS["tiny"][1],
    heads=FORMS["tiny"][2],
    window: int = 8,
    drop_path: float = 0.0,
    prefix: str = "",
) -> dict:
    """The patches and the stages of Swin V2, with the last tensor of each stride.

    Source: https://arxiv.org/abs/2111.09883, section 3.

    Args:
        x: (B, H, W, C), values from -1 to 1, H and W known multiples of 4.
        width: channels of the first stage; they double from stage to stage.
        stages: blocks in each stage.
        heads: attention heads in each stage.
        window: side of a window in tokens.
        drop_path: the chance of leaving out the last block, from 0 to below 1; earlier ones less, in proportion.
        prefix: what every layer name begins with.

    Returns:
        `{"stride4": (B, H/4, W/4, c), ..., "stride32": (B, H/32, W/32, c)}`, sides rounded up.

    Example:
        >>> list(swin_v2_features(keras.Input((64, 64, 3))))
        ['stride4', 'stride8', 'stride16', 'stride32']
    """
    form = dict(width=width, stages=stages, heads=heads, window=window, drop_path=drop_path)
    return swin_stages(x, swin_v2_block, **form, norm_first=False, prefix=prefix)


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/2111.09883",
    variants={f"swin_v2_{name}": {"width": w, "stages": s, "heads": h} for name, (w, s, h) in FORMS.items()},
    # torchvision holds biases of the keys, always zero, one for each channel of each block: they are left out.
    params={
        "swin_v2_tiny": 28_351_570 - 4_416,
        "swin_v2_small": 49_737_442 - 9_024,
        "swin_v2_base": 87_930_848 - 12_032,
    },
    reference="torchvision 0.28, swin_v2_t, swin_v2_s and swin_v2_b, without their key biases",
    qat="partial",
    exports={"int16x8": "no 16-bit kernel for LOGISTIC, which bounds the bias of an offset"},
    tags=("transformer",),
    weights={"hugging-face": "kerasdl.vision.peers:SWIN_V2"},
    tiny=dict(image_shape=(36, 36, 3), width=16, stages=(2, 1), heads=(2, 4), window=4, classes=4),
)
def swin_v2(
    image_shape=(256, 256, 3),
    *,
    classes: int = 1000,
    width: int = 96,
    stages=FORMS["tiny"][1],
    heads=FORMS["tiny"][2],
    window: int = 8,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> keras.Model:
    """Swin V2, the vision transformer with cosine attention in shifted windows.

    Source: https://arxiv.org/abs/2111.09883, section 3.

    Args:
        image_shape: height, width and channels in pixels; height and width are known multiples of 4.
        classes: outputs.
        width: channels of the first stage; they double from stage to stage.
        stages: blocks in each stage.
        heads: attention heads in each stage.
        window: side of a window in tokens, 2 or more.
        dropout: rate before the last layer, from 0 to 1.
        drop_path: the chance of leaving out the last block, from 0 to below 1; the paper trains with 0.2 to 0.5.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("swin_v2_tiny", image_shape=(64, 64, 3), classes=10).output_shape
        (None, 10)
    """
    checks.at_least("window", window, 2)
    check_windows(image_shape, width, stages, heads)
    image = keras.Input(image_shape, name="image")
    form = dict(width=width, stages=stages, heads=heads, window=window, drop_path=drop_path)
    x = norm(list(swin_v2_features(image, **form).values())[-1], name="norm")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="swin_v2")
