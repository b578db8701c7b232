"""Hybrid: a vision transformer over the feature map of a ResNet (https://arxiv.org/abs/2010.11929, section 3.1).

Deviations: the ResNet is ours, with batch normalisation, where the paper's has group normalisation and standardised
weights.
"""

import keras

from kerasdl.blocks import patch_embedding, prediction_head
from kerasdl.core import checks, register

from .resnet import resnet_features
from .vit import check_patches, encoded, token_at

# Section 4.1: the fourth stage of ResNet-50 is left out, and the third has its blocks as well.
STAGES = (3, 4, 9)


@register(
    task="image_classification",
    paper="https://arxiv.org/abs/2010.11929",
    variants={"vit_hybrid": {}},
    # stem and stages, patches of 1x1, class token and 197 positions, 12 blocks, the last norm, the head.
    params={"vit_hybrid": 11_934_656 + 787_200 + 768 * 198 + 12 * 7_087_872 + 1_536 + 769_000},
    reference="summed from the paper's tables in tests/vision/test_zoo.py",
    tags=("transformer",),
    tiny=dict(image_shape=(32, 32, 3), stages=(1,), channels=8, width=48, depth=1, heads=2, classes=4),
)
def vit_hybrid(
    image_shape=(224, 224, 3),
    *,
    classes: int = 1000,
    stages=STAGES,
    channels: int = 64,
    width: int = 768,
    depth: int = 12,
    heads: int = 12,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> keras.Model:
    """Hybrid ViT, the image classifier whose transformer reads convolutional features.

    Source: https://arxiv.org/abs/2010.11929, sections 3.1 and 4.1.

    Args:
        image_shape: height, width and channels in pixels; height and width are known multiples of the ResNet's stride.
        classes: outputs.
        stages: residual blocks in each stage of the ResNet.
        channels: of its stem.
        width: of the tokens, a multiple of `heads`.
        depth: encoder blocks.
        heads: attention heads of each.
        dropout: rate inside the encoder and before the last layer, from 0 to 1.
        drop_path: the chance of leaving out the last encoder block, from 0 to below 1; earlier ones less.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to logits (B, classes) in float32.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("vit_hybrid", image_shape=(64, 64, 3), depth=1, classes=10).output_shape
        (None, 10)
    """
    check_patches(image_shape, 2 ** (len(stages) + 1), width, depth, heads, dropout)
    checks.at_least("channels", channels, 1)
    image = keras.Input(image_shape, name="image")
    x = list(resnet_features(image, stages=stages, channels=channels, prefix="resnet_").values())[-1]
    x = patch_embedding(x, width, 1, name="patch")
    tokens = encoded(x, depth=depth, heads=heads, dropout=dropout, drop_path=drop_path)["tokens"]
    logits = prediction_head(token_at(tokens, 0, name="class_token_out"), classes, dropout=dropout)
    return keras.Model(image, logits, name="vit_hybrid")
