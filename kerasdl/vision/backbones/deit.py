"""DeiT: vision transformers trained on ImageNet alone, with a distillation token that learns from a teacher.

Source: https://arxiv.org/abs/2012.12877. The plain forms are ViTs under the paper's names.

Deviations: a distilled form answers with the mean of its heads' logits, as the authors' code does, where section 4 adds
their probabilities; drop path is off until asked for with `drop_path=0.1`, the paper's.
"""

import keras
from keras import layers

from kerasdl.blocks import prediction_head
from kerasdl.core import checks, register

from .vit import check_patches, token_at, vit_features

FORMS = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/2012.12877",
    variants={
        f"deit_{name}{suffix}": {"width": width, "heads": heads, "distilled": distilled}
        for name, (width, heads) in FORMS.items()
        for suffix, distilled in (("", False), ("_distilled", True))
    },
    # The distilled forms have in addition a second token, its position and its head.
    params={
        "deit_tiny": 5_717_416,
        "deit_small": 22_050_664,
        "deit_base": 86_567_656,
        "deit_tiny_distilled": 5_717_416 + 2 * 192 + 193 * 1000,
        "deit_small_distilled": 22_050_664 + 2 * 384 + 385 * 1000,
        "deit_base_distilled": 87_338_192,
    },
    reference="timm 1.0.31; the distilled tiny and small forms: 2 D + 1000 (D + 1) more, as in its base form",
    tags=("transformer",),
    weights={"hugging-face": "kerasdl.vision.peers:DEIT"},
    tiny=dict(image_shape=(32, 32, 3), patch=8, width=32, depth=2, heads=2, classes=4),
)
def deit(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    patch: int = 16,
    width: int = 384,
    depth: int = 12,
    heads: int = 6,
    distilled: bool = False,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> keras.Model:
    """DeiT, the vision transformer trained on ImageNet alone.

    A distilled form answers with the mean of two heads. What they say apart, for training by
    labels and by a teacher, is `keras.Model(model.input, [model.get_layer("head").output,
    model.get_layer("distillation_head").output])`. A new head for other classes reads the class token alone.

    Source: https://arxiv.org/abs/2012.12877, section 4 and table 1.

    Args:
        image_shape: height, width and channels in pixels; height and width are known multiples of `patch`.
        classes: outputs.
        patch: side of a patch in pixels.
        width: of the tokens, a multiple of `heads`.
        depth: encoder blocks.
        heads: attention heads of each.
        distilled: a distillation token beside the class token, and its head.
        dropout: rate inside the encoder and before the last layer, from 0 to 1.
        drop_path: the chance of leaving out the last block, from 0 to below 1; the paper trains with 0.1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("deit_tiny_distilled", classes=10).output_shape
        (None, 10)
    """
    check_patches(image_shape, patch, width, depth, heads, dropout)
    checks.at_least("classes", classes, 1)
    image = keras.Input(image_shape, name="image")
    extra = ("distillation_token",) if distilled else ()
    form = dict(patch=patch, width=width, depth=depth, heads=heads, extra_tokens=extra)
    tokens = vit_features(image, **form, dropout=dropout, drop_path=drop_path)["tokens"]
    logits = prediction_head(token_at(tokens, 0, name="class_token_out"), classes, dropout=dropout)
    if distilled:
        x = token_at(tokens, 1, name="distillation_token_out")
        x = layers.Dropout(dropout, name="distillation_head_drop")(x)
        distilled_logits = layers.Dense(classes, dtype="float32", name="distillation_head")(x)
        logits = layers.Average(dtype="float32", name="mean_of_heads")([logits, distilled_logits])
    return keras.Model(image, logits, name="deit")
