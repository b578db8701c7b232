"""Networks of conditional GANs: those of DCGAN with a class beside the noise or the image.

Concatenation is https://arxiv.org/abs/1411.1784, projection https://arxiv.org/abs/1802.05637, section 4, the auxiliary
classifier https://arxiv.org/abs/1610.09585, section 3.

Deviations: convolutions in place of the perceptrons of the first paper; the generator takes a learnt vector of its
class beside the noise; features are averaged over the image where the paper of projection sums them.
"""

import keras
from keras import layers

from kerasdl.core import checks, register

from .dcgan import grown_image, kernel_settings, logit_conv, shrunk_map, smallest_map

SUMMED = "kernels, biases, embeddings and batch norms, summed in tests/generative/gan/test_conditional.py"
SHAPE, FILTERS = (32, 32, 1), (128, 64, 32)
CONDITIONS = ("concat", "projection", "auxiliary")


@register(
    task="network",
    paper="https://arxiv.org/abs/1411.1784",
    params={"conditional_generator": 428_032},
    reference=SUMMED,
    partners={"discriminator": "projection_discriminator"},
    tags=("gan", "cnn"),
    tiny=dict(image_shape=(16, 16, 1), classes=4, latent=12, filters=(24, 16)),
)
def conditional_generator(image_shape=SHAPE, *, classes: int = 10, latent: int = 64, filters=FILTERS) -> keras.Model:
    """Generator of a conditional GAN, from noise and a class to an image.

    Source: https://arxiv.org/abs/1411.1784, section 3.2.

    Args:
        image_shape: height, width and channels in pixels; height and width are multiples of 2 for each of `filters`.
        classes: K.
        latent: D, numbers of the noise and of the learnt vector of a class.
        filters: channels before each doubling of the sides.

    Returns:
        A model from `{"noise": (B, D), "label": (B,)}`, int32 labels from 0, to images (B, H, W, C), float32 from -1
        to 1.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("conditional_generator").output_shape
        (None, 32, 32, 1)
    """
    noise = keras.Input((checks.at_least("latent", latent, 1),), name="noise")
    label = keras.Input((), dtype="int32", name="label")
    vector = layers.Embedding(checks.at_least("classes", classes, 1), latent, name="class")(label)
    x = layers.Concatenate(name="noise_and_class")([noise, vector])
    image = grown_image(x, image_shape, filters)
    return keras.Model({"noise": noise, "label": label}, image, name="conditional_generator")


@register(
    task="network",
    paper="https://arxiv.org/abs/1802.05637",
    variants={
        "conditional_discriminator": {"condition": "concat"},
        "projection_discriminator": {"condition": "projection"},
        "acgan_discriminator": {"condition": "auxiliary"},
    },
    params={
        "conditional_discriminator": 177_377,
        "projection_discriminator": 165_985,
        "acgan_discriminator": 165_995,
    },
    reference=SUMMED,
    qat="none",
    tags=("gan", "cnn"),
    tiny=dict(image_shape=(16, 16, 1), classes=4, filters=(16, 24)),
)
def conditional_discriminator(
    image_shape=SHAPE,
    *,
    classes: int = 10,
    filters=FILTERS[::-1],
    condition: str = "concat",
    normalization: str = "spectral",
) -> keras.Model:
    """Discriminator of a conditional GAN: it takes the class beside the image, or tells the class.

    With `concat` a learnt plane of the class is a channel more; with `projection` the product of a learnt vector of the
    class with the features is added to the logit; with `auxiliary` a second head tells the class.

    Source: https://arxiv.org/abs/1411.1784, section 3.2; https://arxiv.org/abs/1802.05637, section 4;
    https://arxiv.org/abs/1610.09585, section 3.

    Args:
        image_shape: height, width and channels in pixels; height and width are multiples of 2 for each of `filters`.
        classes: K.
        filters: channels after each halving of the sides.
        condition: `concat`, `projection` or `auxiliary`.
        normalization: `batch`, `spectral` or `none`, as in `dcgan_discriminator`.

    Returns:
        A model from `{"image": (B, H, W, C), "label": (B,)}`, values from -1 to 1 and int32 labels from 0, to logits
        (B, 1) in float32; with `auxiliary` from images alone to `{"logit": (B, 1), "classes": (B, K)}`.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> kerasdl.build("projection_discriminator").output_shape
        (None, 1)
    """
    checks.at_least("classes", classes, 1)
    checks.one_of("condition", condition, CONDITIONS)
    height, width, channels = checks.image_shape("image_shape", image_shape)
    smallest_map(image_shape, len(checks.counts("filters", filters)))
    image = keras.Input((height, width, channels), name="image")
    label, dense = keras.Input((), dtype="int32", name="label"), kernel_settings(normalization) | {"use_bias": True}
    if condition == "concat":
        x = layers.Embedding(classes, height * width, name="class")(label)
        x = layers.Reshape((height, width, 1), name="class_plane")(x)
        x = shrunk_map(layers.Concatenate(name="image_and_class")([image, x]), filters, normalization)
        logit = layers.Reshape((1,), dtype="float32", name="logit")(logit_conv(x, normalization))
        return keras.Model({"image": image, "label": label}, logit, name="conditional_discriminator")
    x = layers.GlobalAveragePooling2D(name="pool")(shrunk_map(image, filters, normalization))
    if condition == "auxiliary":
        logit = layers.Dense(1, **dense, dtype="float32", name="logit")(x)
        told = layers.Dense(classes, **dense, dtype="float32", name="classes")(x)
        return keras.Model(image, {"logit": logit, "classes": told}, name="acgan_discriminator")
    vector = layers.Embedding(classes, x.shape[-1], name="class")(label)
    product = layers.Dot(1, dtype="float32", name="projection")([x, vector])
    logit = layers.Dense(1, **dense, dtype="float32", name="image_logit")(x)
    logit = layers.Add(dtype="float32", name="logit")([logit, product])
    return keras.Model({"image": image, "label": label}, logit, name="projection_discriminator")
