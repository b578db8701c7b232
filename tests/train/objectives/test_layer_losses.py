"""Regularizers of networks in the losses of trainers that compute their own."""

import numpy as np
import tensorflow as tf
from bright_squares import bright, pointwise
from regularized import check_regularizers_count

import kerasdl
from kerasdl.generative import Diffusion
from kerasdl.vision.segmentation import Segmenter


def test_those_of_a_segmenter_count():
    (images, labels), segmenter = bright(2), Segmenter(pointwise())
    images = tf.constant(images)
    check_regularizers_count(segmenter, lambda: segmenter.compute_loss(images, labels, segmenter(images)))


def test_those_of_a_diffusion_count():
    trainer = Diffusion(kerasdl.build("diffusion_mlp", width=8, depth=1, waves=4))
    points = np.random.default_rng(0).normal(size=(8, 2)).astype("float32")
    check_regularizers_count(
        trainer, lambda: trainer.compute_loss(points, None, trainer(points, training=False), training=False)
    )
