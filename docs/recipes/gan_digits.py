"""Digits by a conditional GAN, read by an independent net: `python docs/recipes/gan_digits.py [PICTURE]`.

A generator makes digits of asked classes against a projection discriminator with spectral normalisation. A small
classifier, which learnt on real digits and never saw a made one, says what it reads in them: about 0.1 before the
training. The picture has a row for each class.
"""

import sys

import keras
import numpy as np
from PIL import Image

import kerasdl
from kerasdl import generative
from kerasdl.train import RunConfig, fit

SHAPE, CLASSES = (32, 32, 1), 10


def reader(digits, epochs: int) -> keras.Model:
    """Returns a classifier of real digits."""
    net = kerasdl.build("lenet5", image_shape=SHAPE, classes=CLASSES)
    fit(net, digits, config=RunConfig(epochs=epochs, progress="off"))
    return net


def read_share(net: keras.Model, gan: generative.ConditionalGAN, count: int = 500) -> float:
    """Returns the share of made digits in which a net reads the asked class."""
    asked = np.arange(count) % CLASSES
    logits = net.predict(gan.sample(asked, seed=1), verbose=0)
    return float(np.mean(logits.argmax(-1) == asked))


def picture(gan: generative.ConditionalGAN, columns: int = 12) -> Image.Image:
    """Returns a row of digits for each class."""
    made = gan.sample(np.repeat(np.arange(CLASSES), columns))
    rows = made.reshape(CLASSES, columns, *SHAPE[:2]).swapaxes(1, 2).reshape(CLASSES * SHAPE[0], -1)
    return Image.fromarray(np.uint8(np.clip((rows + 1) * 127.5, 0, 255)))


def main(
    path: str = "gan_digits.png", steps: int = 1500, filters: tuple = (64, 32), epochs: int = 8
) -> dict[str, float]:
    """Trains both adversaries; returns the share of digits that are read right, before and after."""
    keras.utils.set_random_seed(0)
    digits = kerasdl.data.load("digits")
    net = reader(digits, epochs)
    shape = dict(image_shape=SHAPE, classes=CLASSES)
    gan = generative.ConditionalGAN(
        kerasdl.build("conditional_generator", **shape, latent=32, filters=filters),
        kerasdl.build("projection_discriminator", **shape, filters=filters[::-1]),
        classes=CLASSES,
        loss="hinge",
        average=0.99,
    )
    gan.compile({role: keras.optimizers.Adam(5e-4, 0.0, 0.9) for role in gan.networks})
    before = read_share(net, gan)
    fit(gan, digits, config=RunConfig(steps=steps, batch_size=64))
    found = {"before": before, "after": read_share(net, gan)}
    picture(gan).save(path)
    print(f"asked digit read by the independent net: {found['before']:.2f} before, {found['after']:.2f} after")
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
