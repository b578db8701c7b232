"""Object decoder: the detector's answers inside a file, and their order against that of other answers."""

import numpy as np
import pytest
from test_detector import tiny

import kerasdl
from kerasdl import Bundle
from kerasdl.core.errors import UnknownNameError
from kerasdl.data import as_dataset
from kerasdl.deploy import run_exported
from kerasdl.vision.detection.detector import Detector
from kerasdl.vision.detection.object_decoder import ObjectDecoder


def answers(boxes, scores, classes, size=4):
    count = len(scores)
    rows = {"boxes": np.zeros((1, size, 4), "float32"), "scores": np.zeros((1, size), "float32")}
    rows |= {"classes": np.zeros((1, size), "int32"), "count": np.array([count], "int32")}
    rows["boxes"][0, :count], rows["scores"][0, :count], rows["classes"][0, :count] = boxes, scores, classes
    return rows


ONE, TWO, THREE = (0, 0, 8, 8), (20, 20, 40, 40), (1, 0, 8, 9)


def test_objects_that_changed_places_come_into_the_same_order():
    decoder = ObjectDecoder("fcos", (64, 64))
    expected = answers([ONE, TWO, THREE], [0.9, 0.9, 0.5], [0, 1, 0])
    actual = answers([TWO, ONE, THREE], [0.9, 0.9, 0.5], [1, 0, 0])
    aligned = decoder.in_order_of(expected, actual)
    for name in expected:
        np.testing.assert_array_equal(aligned[name], expected[name])


def test_an_object_of_another_class_or_far_away_is_no_like_one():
    decoder = ObjectDecoder("fcos", (64, 64))
    expected = answers([ONE, TWO], [0.9, 0.8], [0, 1])
    for actual in (answers([ONE, TWO], [0.9, 0.8], [1, 0]), answers([TWO, ONE], [0.9, 0.8], [0, 1])):
        aligned = decoder.in_order_of(expected, actual)
        assert not np.array_equal(aligned["boxes"], expected["boxes"]) or not np.array_equal(
            aligned["classes"], expected["classes"]
        )
    missing = decoder.in_order_of(expected, answers([TWO], [0.8], [1]))
    assert missing["scores"][0].tolist() == pytest.approx([0, 0.8, 0, 0])
    more = decoder.in_order_of(answers([TWO], [0.8], [1]), expected)
    assert more["scores"][0].tolist() == pytest.approx([0.8, 0.9, 0, 0])


def test_the_layer_gives_what_the_detector_finds_in_pixels_of_the_image():
    network = tiny("fcos")
    images = np.random.default_rng(0).uniform(-1, 1, (3, 64, 64, 3)).astype("float32")
    heads = network(images)
    settings = {"min_score": 0.02, "max_boxes": 20}
    given = ObjectDecoder("fcos", (64, 64), image_size=(128, 32), **settings)(heads)
    for place, found in enumerate(Detector(network).detect(images, **settings)):
        count = int(given["count"][place])
        assert count == len(found.scores) > 0
        np.testing.assert_allclose(given["scores"][place, :count], found.scores, rtol=1e-5)
        np.testing.assert_allclose(given["boxes"][place, :count], found.boxes * [0.5, 2, 0.5, 2], atol=1e-3)
        assert not given["boxes"][place, count:].numpy().any()


@pytest.mark.parametrize("name", ["retinanet", "yolo_v8_n"])
def test_overlapping_boxes_are_suppressed_as_by_the_detector(name):
    """Equal scores everywhere make every place an object, of which most overlap another."""
    network = tiny(name)
    for weight in network.weights:
        if "classes" in weight.path and "bias" in weight.path:
            weight.assign(weight - weight + 0.3)
    images = np.random.default_rng(1).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    heads = network(images)
    decoder = ObjectDecoder(network.name, (64, 64), max_boxes=100)
    for place, found in enumerate(Detector(network).detect(images)):
        assert int(decoder(heads)["count"][place]) == len(found.scores)
        np.testing.assert_allclose(decoder(heads)["boxes"][place, : len(found.scores)], found.boxes, atol=1e-3)
    every = ObjectDecoder(network.name, (64, 64), overlap=1.0, max_boxes=100)(heads)
    assert np.abs(every["boxes"].numpy() - decoder(heads)["boxes"].numpy()).max() > 1


def test_settings_are_kept_and_checked():
    layer = ObjectDecoder("retinanet", (64, 96), min_score=0.2, overlap=0.3, max_boxes=7, class_agnostic=True)
    assert ObjectDecoder.from_config(layer.get_config()).get_config() == layer.get_config()
    with pytest.raises(UnknownNameError, match="unknown detection method 'retina'"):
        ObjectDecoder("retina", (64, 64))


@pytest.mark.slow
@pytest.mark.parametrize("file", ["d.tflite", "d.onnx", "d"])
@pytest.mark.parametrize("name", ["retinanet", "fcos"])
def test_an_exported_bundle_finds_what_predict_finds(name, file, tmp_path):
    network = tiny(name)
    generator = np.random.default_rng(0)
    for weight in network.weights:  # so that many objects pass the threshold
        if "kernel" in weight.path:
            weight.assign(generator.normal(size=weight.shape, scale=1.3 / np.sqrt(np.prod(weight.shape[:-1]))))
        elif "classes_conv/bias" in weight.path:
            weight.assign(weight - weight - 1)
    settings = {"image_shape": (64, 64, 3), "scale": (-1.0, 1.0), "min_score": 0.06}
    made = {"builder": name, "arguments": kerasdl.spec(name).tiny}
    bundle = Bundle.of(network, name="d", task="object_detection", preprocess=settings, labels=("a", "b", "c"), **made)
    raw = generator.integers(0, 256, (40, 100, 80, 3), dtype=np.uint8)
    labels = {"boxes": [np.array([[1, 2, 30, 40]], "float32")] * 40, "classes": [np.array([1], "int32")] * 40}
    path = tmp_path / file
    report = bundle.export(path, raw_shape=(100, 80, 3), representative=as_dataset((raw, labels)))
    assert report.worst_relative < 1e-4
    given = run_exported(path, raw[:3].astype("float32"))
    for place, found in enumerate(bundle.predict(list(raw[:3]))):
        count = int((given["scores"][place] >= 0.06).sum())
        assert abs(count - len(found["scores"])) <= 2, "a grey level moves a score over the threshold at most"
        assert count > 20
        best = np.array(found["boxes"][:5])
        gaps = np.abs(given["boxes"][place][None, :count] - best[:, None]).max(axis=-1).min(axis=1)
        assert gaps.max() < 1.0, gaps
