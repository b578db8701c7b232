"""Embedded bundle of a segmenter: small, and as good as its card says."""

import numpy as np
import pytest

import kerasdl
from kerasdl.bundles.listing import EMBEDDED
from kerasdl.vision.segmentation.task import class_map


@pytest.mark.slow
def test_pixels_have_the_classes_that_the_card_says():
    assert (EMBEDDED / "shapes_unet.zip").stat().st_size < 1_500_000
    bundle = kerasdl.load_bundle("shapes_unet")
    stated = bundle.manifest.metrics["shapes test"]["mean_iou"]
    scenes = kerasdl.data.load("shapes", "test", size=80, labels="semantic", scale=None)
    assert bundle.evaluate(scenes)["mean_iou"] == pytest.approx(stated, abs=0.04)


def test_a_large_image_has_the_classes_of_a_small_one():
    image, labels = kerasdl.data.load("shapes:easy", "test", size=1, labels="semantic", scale=None)[0]
    bundle = kerasdl.load_bundle("shapes_unet")
    small, large = (class_map(bundle.predict(each)[0], bundle.labels) for each in (image, np.kron(image, TWICE)))
    assert (small == labels["semantic"]).mean() > 0.95
    assert (large == np.kron(small, TWICE[..., 0])).mean() > 0.97


TWICE = np.ones((2, 2, 1), np.uint8)
