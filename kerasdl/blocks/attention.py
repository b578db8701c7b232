"""The pre-norm transformer encoder block (https://arxiv.org/abs/2010.11929)."""

from keras import layers


def transformer_encoder(x, heads: int, *, mlp: int, dropout: float = 0.0, epsilon: float = 1e-6, name: str):
    """Self-attention and a two-layer perceptron, each normalised before and added to its input.

    Source: https://arxiv.org/abs/2010.11929, figure 1 and equations 2 and 3.

    Args:
        x: (B, T, D).
        heads: attention heads; D is a multiple of it.
        mlp: width of the perceptron's hidden layer.
        dropout: rate after attention and after each layer of the perceptron, from 0 to 1.
        epsilon: of the layer normalisations.
        name: what the names of the layers begin with.

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
    x = layers.Add(name=f"{name}_attention_add")([x, y])
    y = layers.LayerNormalization(epsilon=epsilon, name=f"{name}_mlp_norm")(x)
    y = layers.Dense(mlp, name=f"{name}_mlp_expand")(y)  # (B, T, mlp)
    y = layers.Activation("gelu", name=f"{name}_mlp_gelu")(y)
    y = layers.Dropout(dropout, name=f"{name}_mlp_drop1")(y)
    y = layers.Dense(width, name=f"{name}_mlp_project")(y)
    y = layers.Dropout(dropout, name=f"{name}_mlp_drop2")(y)
    return layers.Add(name=f"{name}_mlp_add")([x, y])
