"""Variational autoencoders: convolutions to a mean and a variance, a draw, and convolutions back to the image.

Source: Kingma 2013, https://arxiv.org/abs/1312.6114; of a class: Sohn 2015,
https://papers.nips.cc/paper/5775-learning-structured-output-representation-using-deep-conditional-generative-models.

Deviations: convolutions in place of one dense layer each.
"""

import keras
from keras import layers

from kerasdl.core import checks, register
from kerasdl.layers import GaussianSample

from ..ae.code_parts import CODE, known_sides
from ..ae.conv_autoencoder import conv_decoder, conv_encoder, halved_sides, spread_code

MEAN, LOG_VARIANCE, HALF_LOGITS = "mean", "log_variance", "half_logits"
"""Names of the layers that a `VAE` looks for."""


@register(
    task="image_reconstruction",
    paper="https://arxiv.org/abs/1312.6114",
    variants={"vae": {}, "conditional_vae": {"classes": 10}},
    params={"vae": 228_193, "conditional_vae": 260_073},
    reference="kernel * in * out + out of each layer, summed in tests/generative/vae/test_vae_training.py",
    tags=("autoencoder", "cnn"),
    tiny=dict(image_shape=(16, 16, 1), filters=(8, 12), code=4),
)
def vae(
    image_shape=(28, 28, 1),
    *,
    filters=(32, 64),
    code: int = 16,
    classes: int | None = None,
    likelihood: str = "bernoulli",
    seed: int | None = None,
) -> keras.Model:
    """Variational autoencoder of images, whose code is a draw in training and its mean otherwise.

    Source: https://arxiv.org/abs/1312.6114, section 3 and appendix C.

    Args:
        image_shape: height, width and channels in pixels, sides multiples of 2 for each level.
        filters: channels of the levels, each of which halves the sides.
        code: D, numbers of the code.
        classes: K, for a net that encoder and decoder tell the class of an image; None for one of images alone.
        likelihood: `bernoulli` ends in a tanh, of ink that is there or not; `gaussian` in a linear layer.
        seed: seed of the draws; None draws one.

    Returns:
        A model from (B, H, W, C), values from -1 to 1, to the same image, float32; with `classes` from
        `{"image", "label"}`, labels (B,) int32. `split_autoencoder` gives encoder and decoder.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("vae", code=2).get_layer("log_variance").output.shape
        (None, 2)
    """
    shape, filters = known_sides(image_shape), checks.counts("filters", filters)
    height, width = halved_sides(shape, filters)
    checks.at_least("code", code, 1)
    checks.one_of("likelihood", likelihood, ("bernoulli", "gaussian"))
    image = keras.Input(shape, name="image")
    label = None if classes is None else keras.Input((), dtype="int32", name="label")
    x = layers.Flatten(name="flatten")(conv_encoder(image, filters))
    x = _with_label(x, label, classes, "encoder")
    mean = layers.Dense(code, name=MEAN)(x)
    log_variance = layers.Dense(code, name=LOG_VARIANCE)(x)
    x = GaussianSample(seed, name=CODE)([mean, log_variance])
    x = spread_code(_with_label(x, label, classes, "decoder"), (height, width, filters[-1]))
    if likelihood == "bernoulli":
        x = conv_decoder(x, filters, shape[2], name=HALF_LOGITS)
        x = layers.Activation("tanh", dtype="float32", name="reconstruction")(x)  # 2 sigmoid(logits) - 1
    else:
        x = conv_decoder(x, filters, shape[2])
    inputs = image if label is None else {"image": image, "label": label}
    return keras.Model(inputs, x, name="vae" if label is None else "conditional_vae")


def _with_label(x, label, classes: int | None, side: str):
    """Returns features (B, D) with learnt numbers of the class behind them, as many as there are classes."""
    if label is None:
        return x
    vector = layers.Embedding(checks.at_least("classes", classes, 2), classes, name=f"{side}_label")(label)
    return layers.Concatenate(name=f"{side}_features")([x, vector])
