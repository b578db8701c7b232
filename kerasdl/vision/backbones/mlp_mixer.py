"""MLP-Mixer: perceptrons across places and across channels, in turn (https://arxiv.org/abs/2105.01601).

Deviations: drop path is off until asked for with `drop_path=0.1`, the paper's.
"""

import keras
from keras import layers

from kerasdl.blocks import add_residual, depth_rates, patch_embedding, perceptron, prediction_head
from kerasdl.core import register

from .vit import check_patches

EPSILON = 1e-6
# Table 1: width, depth, hidden units across places and across channels.
FORMS = {"s": (512, 8, 256, 2048), "b": (768, 12, 384, 3072), "l": (1024, 24, 512, 4096)}


def mixer_block(x, *, across_places: int, across_channels: int, drop_path: float = 0.0, name: str):
    """Mixer layer (figure 1): perceptrons across places, then across channels."""
    y = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_token_norm")(x)
    y = layers.Permute((2, 1), name=f"{name}_token_transpose")(y)  # (B, D, T)
    y = perceptron(y, across_places, name=f"{name}_token")
    y = layers.Permute((2, 1), name=f"{name}_token_back")(y)
    x = add_residual(x, y, drop_path=drop_path, name=f"{name}_token")
    y = layers.LayerNormalization(epsilon=EPSILON, name=f"{name}_channel_norm")(x)
    y = perceptron(y, across_channels, name=f"{name}_channel")
    return add_residual(x, y, drop_path=drop_path, name=f"{name}_channel")


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/2105.01601",
    variants={
        f"mlp_mixer_{name}{patch}": {
            "patch": patch,
            "width": width,
            "depth": depth,
            "across_places": places,
            "across_channels": channels,
        }
        for name, (width, depth, places, channels) in FORMS.items()
        for patch in (16, 32)
        if (name, patch) != ("l", 32)
    },
    params={
        "mlp_mixer_s16": 18_528_264,
        "mlp_mixer_s32": 19_104_624,
        "mlp_mixer_b16": 59_880_472,
        "mlp_mixer_b32": 60_293_428,
        "mlp_mixer_l16": 208_196_168,
    },
    reference="timm 1.0.31, mixer_b16_224; the others summed from table 1 in tests/vision/test_zoo.py",
    tags=("transformer",),
    tiny=dict(image_shape=(32, 32, 3), patch=8, width=32, depth=2, across_places=24, across_channels=64, classes=4),
)
def mlp_mixer(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    patch: int = 16,
    width: int = 512,
    depth: int = 8,
    across_places: int = 256,
    across_channels: int = 2048,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> keras.Model:
    """MLP-Mixer, the image classifier without convolution or attention.

    Source: https://arxiv.org/abs/2105.01601, table 1 and section 2.

    Args:
        image_shape: height, width and channels in pixels; height and width are known multiples of `patch`.
        classes: outputs.
        patch: side of a patch in pixels.
        width: of the tokens.
        depth: Mixer layers.
        across_places: hidden units of the perceptron across places.
        across_channels: hidden units of the perceptron across channels.
        dropout: rate before the last layer, from 0 to 1.
        drop_path: the chance of leaving out the last layer, from 0 to below 1; the paper trains with 0.1.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("mlp_mixer_s32", classes=10).output_shape
        (None, 10)
    """
    check_patches(image_shape, patch, width, depth)
    image = keras.Input(image_shape, name="image")
    x = patch_embedding(image, width, patch, name="patch")
    for block, rate in enumerate(depth_rates(drop_path, depth), start=1):
        hidden = dict(across_places=across_places, across_channels=across_channels)
        x = mixer_block(x, **hidden, drop_path=rate, name=f"block{block}")
    x = layers.LayerNormalization(epsilon=EPSILON, name="norm")(x)
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return keras.Model(image, prediction_head(x, classes, dropout=dropout), name="mlp_mixer")
