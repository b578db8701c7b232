"""Blocks of vision transformers: patch embedding, pre-norm encoder block (https://arxiv.org/abs/2010.11929)."""

from keras import layers

from .residual import add_residual


def transformer_encoder(
    x, heads: int, *, mlp: int, dropout: float = 0.0, drop_path: float = 0.0, epsilon: float = 1e-6, name: str
):
    """Transformer encoder block: self-attention and a perceptron, each with normalisation before and a shortcut around.

    Source: https://arxiv.org/abs/2010.11929, figure 1 and equations 2 and 3.

    Args:
        x: (B, T, D).
        heads: attention heads; D is a multiple of it.
        mlp: width of the perceptron's hidden layer.
        dropout: rate after attention and after each layer of the perceptron, from 0 to 1.
        drop_path: probability to drop a branch, as in `add_residual`.
        epsilon: epsilon of the layer normalisations.
        name: prefix of the layer names.

    Returns:
        (B, T, D).

    Example:
        >>> transformer_encoder(keras.Input((197, 192)), 3, mlp=768, name="block1").shape
        (None, 197, 192)
    """
    width = x.shape[-1]
    y = layers.LayerNormalization(epsilon=epsilon, name=f"{name}_attention_norm")(x)
    y = layers.MultiHeadAttention(heads, width // heads, name=f"{name}_attention")(y, y)
    y = layers.Dropout(dropout, name=f"{name}_attention_drop")(y)
    x = add_residual(x, y, drop_path=drop_path, name=f"{name}_attention")
    y = layers.LayerNormalization(epsilon=epsilon, name=f"{name}_mlp_norm")(x)
    y = perceptron(y, mlp, dropout=dropout, name=f"{name}_mlp")
    return add_residual(x, y, drop_path=drop_path, name=f"{name}_mlp")


def perceptron(x, hidden: int, *, dropout: float = 0.0, name: str):
    """Perceptron of two dense layers with a GELU between them; the output width is the input width.

    Source: https://arxiv.org/abs/2010.11929, section 3.1.

    Args:
        x: (B, ..., D).
        hidden: width of the first layer.
        dropout: rate after each of them, from 0 to 1.
        name: prefix of the layer names.

    Returns:
        (B, ..., D).

    Example:
        >>> perceptron(keras.Input((197, 192)), 768, name="block1_mlp").shape
        (None, 197, 192)
    """
    width = x.shape[-1]
    x = layers.Dense(hidden, name=f"{name}_expand")(x)  # (B, ..., hidden)
    x = layers.Activation("gelu", name=f"{name}_gelu")(x)
    x = layers.Dropout(dropout, name=f"{name}_drop1")(x)
    x = layers.Dense(width, name=f"{name}_project")(x)
    return layers.Dropout(dropout, name=f"{name}_drop2")(x)


def patch_embedding(x, width: int, patch: int, *, name: str):
    """Patch embedding: cuts an image into square patches and projects each to a token.

    Source: https://arxiv.org/abs/2010.11929, equation 1.

    Args:
        x: (B, H, W, C), sides that are multiples of `patch`.
        width: width of a token.
        patch: side of a patch in pixels.
        name: prefix of the layer names.

    Returns:
        (B, H/patch * W/patch, width), row by row.

    Example:
        >>> patch_embedding(keras.Input((224, 224, 3)), 192, 16, name="patch").shape
        (None, 196, 192)
    """
    x = layers.Conv2D(width, patch, strides=patch, name=f"{name}_conv")(x)
    return layers.Reshape((-1, width), name=f"{name}_tokens")(x)
