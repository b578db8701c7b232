"""Vision transformer: an image as a sequence of patches (https://arxiv.org/abs/2010.11929).

Deviations: tiny and small come from DeiT (https://arxiv.org/abs/2012.12877, table 1), without its distillation token.
"""

import keras
from keras import layers

from kerasdl.blocks import depth_rates, patch_embedding, prediction_head, transformer_encoder
from kerasdl.core import checks, register
from kerasdl.layers import ClassToken, PositionEmbedding


def vit_features(
    x,
    *,
    patch: int = 16,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    extra_tokens=(),
    dropout: float = 0.0,
    drop_path: float = 0.0,
    prefix: str = "",
) -> dict:
    """Patches, class token, positions and the encoder of a vision transformer.

    Source: https://arxiv.org/abs/2010.11929, figure 1 and equations 1 to 4.

    Args:
        x: (B, H, W, C), values from -1 to 1, H and W known.
        patch: side of a patch in pixels.
        width: of the tokens.
        depth: encoder blocks.
        heads: attention heads of each; the width is a multiple of it.
        extra_tokens: names of further learned tokens, which stand after the class token.
        dropout: rate inside the encoder, from 0 to 1.
        drop_path: the chance of leaving out the last block, from 0 to below 1; earlier ones less, in proportion.
        prefix: what every layer name begins with.

    Returns:
        `{"tokens": (B, H*W/patch**2 + 1, width)}`, normalised, the class token first.

    Example:
        >>> vit_features(keras.Input((224, 224, 3)), width=192, heads=3)["tokens"].shape
        (None, 197, 192)
    """
    x = patch_embedding(x, width, patch, name=f"{prefix}patch")  # (B, T, D)
    return encoded(
        x, depth=depth, heads=heads, extra_tokens=extra_tokens, dropout=dropout, drop_path=drop_path, prefix=prefix
    )


def encoded(x, *, depth: int, heads: int, extra_tokens=(), dropout: float = 0.0, drop_path: float = 0.0, prefix=""):
    """Class token, positions and encoder over patches (B, T, D); otherwise as `vit_features`."""
    for token in (*reversed(extra_tokens), "class_token"):
        x = ClassToken(name=f"{prefix}{token}")(x)  # (B, T + 1, D)
    x = PositionEmbedding(name=f"{prefix}position")(x)
    x = layers.Dropout(dropout, name=f"{prefix}position_drop")(x)
    for block, rate in enumerate(depth_rates(drop_path, depth), start=1):
        x = transformer_encoder(
            x, heads, mlp=4 * x.shape[-1], dropout=dropout, drop_path=rate, name=f"{prefix}block{block}"
        )
    return {"tokens": layers.LayerNormalization(epsilon=1e-6, name=f"{prefix}norm")(x)}


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/2010.11929",
    variants={
        "vit_tiny": {"width": 192, "heads": 3},
        "vit_small": {"width": 384, "heads": 6},
        "vit_base": {"width": 768, "heads": 12},
        "vit_large": {"width": 1024, "heads": 16, "depth": 24},
        "vit_small_32": {"width": 384, "heads": 6, "patch": 32},
        "vit_base_32": {"width": 768, "heads": 12, "patch": 32},
        "vit_large_32": {"width": 1024, "heads": 16, "depth": 24, "patch": 32},
    },
    params={
        "vit_tiny": 5_717_416,
        "vit_small": 22_050_664,
        "vit_base": 86_567_656,
        "vit_large": 304_326_632,
        "vit_small_32": 22_050_664 + 3 * (32**2 - 16**2) * 384 - (14**2 - 7**2) * 384,
        "vit_base_32": 88_224_232,
        "vit_large_32": 306_535_400,
    },
    reference="timm 1.0.31 and torchvision 0.28; vit_small_32: vit_small with larger patches and fewer positions",
    tags=("transformer",),
    weights={"hugging-face": "kerasdl.vision.peers:VIT"},
    tiny=dict(image_shape=(32, 32, 3), patch=8, width=32, depth=2, heads=2, classes=4),
)
def vit(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    patch: int = 16,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> keras.Model:
    """ViT, the image classifier that is a plain transformer encoder over patches.

    Source: https://arxiv.org/abs/2010.11929, table 1.

    Args:
        image_shape: height, width and channels in pixels; height and width are known multiples of `patch`.
        classes: outputs.
        patch: side of a patch in pixels.
        width: of the tokens, a multiple of `heads`.
        depth: encoder blocks.
        heads: attention heads of each.
        dropout: rate inside the encoder and before the last layer, from 0 to 1.
        drop_path: the chance of leaving out the last block, from 0 to below 1; earlier ones less, in proportion.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("vit_tiny", classes=10).output_shape
        (None, 10)
    """
    check_patches(image_shape, patch, width, depth, heads, dropout)
    image = keras.Input(image_shape, name="image")
    form = dict(patch=patch, width=width, depth=depth, heads=heads)
    tokens = vit_features(image, **form, dropout=dropout, drop_path=drop_path)["tokens"]
    logits = prediction_head(token_at(tokens, 0, name="class_token_out"), classes, dropout=dropout)
    return keras.Model(image, logits, name="vit")


def check_patches(image_shape, patch: int, width: int, depth: int, heads: int = 1, dropout: float = 0.0) -> None:
    """Checks the arguments of a vision transformer, such as whole patches and heads; raises `ArgumentError`."""
    height, columns, _ = checks.image_shape("image_shape", image_shape)
    checks.at_least("patch", patch, 1)
    if None in (height, columns) or height % patch or columns % patch:
        checks.refuse(f"image_shape must have known sides that are multiples of the patch, {patch}", image_shape)
    checks.at_least("depth", depth, 1)
    checks.within("dropout", dropout, 0.0, 1.0)
    checks.at_least("heads", heads, 1)
    if checks.at_least("width", width, 1) % heads:
        checks.refuse(f"width must be a multiple of the {heads} heads", width)


def token_at(tokens, place: int, *, name: str):
    """Returns one token (B, D) of a sequence (B, T, D)."""
    x = layers.Cropping1D((place, tokens.shape[1] - place - 1), name=name)(tokens)  # (B, 1, D)
    return layers.Flatten(name="flatten" if name == "class_token_out" else f"{name}_flatten")(x)
