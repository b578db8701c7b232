"""Attention gate of the attention U-Net: skip connections weighed by the coarser map (arXiv:1804.03999)."""

from keras import layers

from kerasdl.core import checks

from ..detection.levels import upsample_like


def attention_gate(skip, gating, filters: int, *, stride: int = 2, name: str):
    """Additive attention gate: each place of a skip connection times a share from 0 to 1.

    Source: https://arxiv.org/abs/1804.03999, section 2 and figure 2: psi(relu(theta(skip) + phi(gating))), a sigmoid,
    and resizing to the places of the skip.

    Args:
        skip: (B, H, W, C).
        gating: (B, h, w, D), the coarser map.
        filters: channels in which both are added.
        stride: H / h rounded up.
        name: prefix of the layer names.

    Returns:
        (B, H, W, C).

    Raises:
        ArgumentError: `filters` or `stride` is less than 1.

    Example:
        >>> attention_gate(keras.Input((7, 7, 16)), keras.Input((4, 4, 32)), 16, name="gate1").shape
        (None, 7, 7, 16)
    """
    checks.at_least("filters", filters, 1)
    checks.at_least("stride", stride, 1)
    theta = layers.Conv2D(filters, 1, strides=stride, use_bias=False, name=f"{name}_skip_conv")(skip)
    phi = layers.Conv2D(filters, 1, name=f"{name}_gating_conv")(gating)
    x = layers.Add(name=f"{name}_add")([theta, phi])
    x = layers.ReLU(name=f"{name}_relu")(x)
    x = layers.Conv2D(1, 1, name=f"{name}_psi_conv")(x)
    x = layers.Activation("sigmoid", name=f"{name}_sigmoid")(x)
    shares = upsample_like(x, skip, interpolation="bilinear", name=f"{name}_resize")  # (B, H, W, 1)
    return layers.Multiply(name=f"{name}_multiply")([skip, shares])
