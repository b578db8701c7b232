"""Embedded bundle of a detector: small, and as good as its card says."""

import numpy as np
import pytest

import kerasdl
from kerasdl.bundles.listing import EMBEDDED


@pytest.mark.slow
def test_shapes_are_found_as_the_card_says():
    assert (EMBEDDED / "shapes_yolo.zip").stat().st_size < 1_500_000
    bundle = kerasdl.load_bundle("shapes_yolo")
    stated = bundle.manifest.metrics["shapes test"]["AP50"]
    scenes = kerasdl.data.load("shapes", "test", size=80, image_shape=(128, 128, 3), scale=None)
    measured = bundle.evaluate(scenes)["AP50"]
    assert stated > 0.85
    assert measured == pytest.approx(stated, abs=0.05)


def test_objects_of_a_large_image_are_in_its_own_pixels():
    image, _ = kerasdl.data.load("shapes:easy", "test", size=1, scale=None)[0]
    bundle = kerasdl.load_bundle("shapes_yolo")
    (small,) = bundle.predict(image)
    (large,) = bundle.predict(np.kron(image, np.ones((2, 2, 1), np.uint8)))
    assert small["labels"]
    assert sorted(large["labels"]) == sorted(small["labels"])
    for box, label in zip(small["boxes"], small["labels"], strict=True):
        others = [other for other, name in zip(large["boxes"], large["labels"], strict=True) if name == label]
        assert min(np.abs(np.array(other) - 2 * np.array(box)).max() for other in others) < 4
