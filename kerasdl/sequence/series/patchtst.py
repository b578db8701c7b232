"""PatchTST: a transformer over patches of one channel of a time series (https://arxiv.org/abs/2211.14730).

Deviations: the network takes one channel, since channels are independent in the paper: each is a series of its own. The
level of a window is taken out, not its scale; layers are normalised before attention, by layer norms in place of batch
norms.
"""

import keras
from keras import layers

from kerasdl.blocks import transformer_encoder
from kerasdl.core import checks, register
from kerasdl.layers import PositionEmbedding

from .heads import Distribution, anchored, check_sizes, forecast_head


@register(
    task="forecasting",
    paper="https://arxiv.org/abs/2211.14730",
    variants={"patchtst": {}},
    params={"patchtst": 921_440},
    reference="the sum over conv, positions, blocks and head in tests/sequence/series/test_forecasters.py",
    qat="full",
    tags=("transformer",),
    tiny=dict(length=16, horizon=3, patch=4, stride=4, width=8, heads=2, depth=1, mlp=16, dropout=0.0),
)
def patchtst(
    length: int = 336,
    *,
    horizon: int = 96,
    patch: int = 16,
    stride: int = 8,
    width: int = 128,
    heads: int = 16,
    depth: int = 3,
    mlp: int = 256,
    dropout: float = 0.2,
    anchor: str | None = "mean",
    distribution: Distribution = "point",
) -> keras.Model:
    """Transformer whose tokens are patches of a window, and a linear head over all of them.

    Source: https://arxiv.org/abs/2211.14730, section 3.1 and figure 1.

    Args:
        length: steps of a window.
        horizon: steps to forecast.
        patch: steps of a patch.
        stride: steps between patches; the last value is repeated so often at the end.
        width: of a token.
        heads: attention heads; `width` is a multiple of it.
        depth: encoder blocks.
        mlp: width of the hidden layer of a block.
        dropout: rate in the blocks and before the head, from 0 to 1.
        anchor: level that is taken out and added again, `last`, `mean` or None.
        distribution: `point`, `gaussian`, or rising levels of quantiles.

    Returns:
        A model from scaled windows (B, length, 1) to (B, horizon, 1) in float32; of a distribution as `forecast_head`
        says.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("patchtst", length=64, horizon=16, width=32, heads=4).output_shape
        (None, 16, 1)
    """
    check_sizes(checks.at_least("length", length, 2), horizon, 1, 1, anchor)
    checks.at_least("stride", stride, 1)
    if not 1 <= checks.at_least("patch", patch, 1) <= length:
        checks.refuse(f"patch must be at most the {length} steps of a window", patch)
    if width % checks.at_least("heads", heads, 1):
        checks.refuse(f"width must be a multiple of the {heads} heads", width)
    window = keras.Input((length, 1), name="window")
    x, level = anchored(window, 1, anchor)
    last = layers.Cropping1D((length - 1, 0), name="end")(x)
    x = layers.Concatenate(axis=1, name="padded")([x, layers.UpSampling1D(stride, name="repeated_end")(last)])
    x = layers.Conv1D(width, patch, strides=stride, name="patch_projection")(x)  # (B, N, D)
    x = PositionEmbedding(name="positions")(x)
    for block in range(1, depth + 1):
        x = transformer_encoder(x, heads, mlp=mlp, dropout=dropout, name=f"block{block}")
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = layers.Flatten(name="tokens")(x)
    outputs = forecast_head(x, horizon, 1, distribution=distribution, level=level, dropout=dropout)
    return keras.Model(window, outputs, name="patchtst")
