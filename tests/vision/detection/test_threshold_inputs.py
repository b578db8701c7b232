"""Thresholds as inputs of exported detectors: scores and overlaps that an app chooses when it runs the file."""

import json

import keras
import numpy as np
import pytest
from test_detector import tiny

import kerasdl
from kerasdl import Bundle, ops
from kerasdl.core.errors import ArgumentError
from kerasdl.deploy import export_with_postprocess, read_metadata, run_exported
from kerasdl.vision.detection.detector import Detector
from kerasdl.vision.detection.object_decoder import ObjectDecoder

SETTINGS = {"image_shape": (64, 64, 3), "scale": (-1.0, 1.0), "min_score": 0.25}


def test_each_image_has_a_threshold_of_its_own():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 40, (3, 50, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(8, 30, (3, 50, 2))], -1).astype("float32")
    scores = rng.uniform(0, 1, (3, 50, 2)).astype("float32")
    bounds = {"min_score": np.array([0.1, 0.5, 0.9], "float32"), "overlap": np.array([0.2, 0.7, 1.5], "float32")}
    found = ops.nms(boxes, scores, **{name: keras.ops.convert_to_tensor(each) for name, each in bounds.items()})
    for place, (score, overlap) in enumerate(zip(bounds["min_score"], bounds["overlap"], strict=True)):
        numbers = {"min_score": float(score), "overlap": min(float(overlap), 1.0)}
        expected = ops.nms(boxes[place : place + 1], scores[place : place + 1], **numbers)
        for name, value in expected._asdict().items():
            np.testing.assert_array_equal(getattr(found, name)[place], value[0], err_msg=name)
    assert len(set(found.count.numpy().tolist())) == 3


@pytest.fixture(scope="module")
def bundle():
    network = tiny("fcos")
    for weight in network.weights:  # scores from 0.2 to 0.5 in place of the prior of 0.01
        if "classes" in weight.path and "bias" in weight.path:
            weight.assign(weight - weight + 0.3)
    made = {"builder": "fcos", "arguments": kerasdl.spec("fcos").tiny}
    return Bundle.of(network, name="mine", task="object_detection", preprocess=SETTINGS, labels=("r", "g", "b"), **made)


@pytest.mark.parametrize(
    "file",
    ["mine.tflite", pytest.param("mine.onnx", marks=pytest.mark.slow), pytest.param("mine", marks=pytest.mark.slow)],
)
def test_a_file_takes_what_predict_takes(file, bundle, tmp_path):
    report = bundle.export(tmp_path / file, threshold_inputs=True)
    assert {"min_score", "overlap"} < {each.name for each in report.inputs}
    assert [each.index for each in report.inputs] == list(range(3))
    stored = read_metadata(tmp_path / file)["inputs"]
    assert [each["name"] for each in stored] == [each.name for each in report.inputs]
    image = np.random.default_rng(3).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    name = bundle.model.inputs[0].name
    (all_scores,) = (each.scores for each in Detector(bundle.model).detect(image, min_score=0.1, overlap=1.0))
    between = float(all_scores[9:11].mean())
    sums = []
    for score, overlap in ((0.1, 1.0), (0.1, 0.2), (between, 1.0)):
        bounds = {"min_score": np.array([score], "float32"), "overlap": np.array([overlap], "float32")}
        answer = run_exported(tmp_path / file, {name: image, **bounds})
        (found,) = Detector(bundle.model).detect(image, min_score=score, overlap=overlap)
        count = int(answer["count"][0])
        assert count == len(found.scores)
        np.testing.assert_allclose(answer["scores"][0, :count], found.scores, atol=1e-4)
        sums.append(found.scores.sum())
    assert sums[1] < sums[0]  # what overlaps was dropped
    assert count == 10
    facts = json.loads((tmp_path / f"{file}.json").read_text())
    assert facts["thresholds"] == {"min_score": 0.25, "overlap": 0.6}
    ranges = {each["name"]: each["range"] for each in facts["inputs"]}
    assert ranges == {name: [-1.0, 1.0], "min_score": [0.0, 1.0], "overlap": [0.0, 1.0]}
    assert "`overlap`, such as 0.6" in (tmp_path / f"{file}.md").read_text()


def test_inputs_that_nobody_gives_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="threshold_inputs is for tasks whose files decode by thresholds"):
        kerasdl.load_bundle("digits_mobilenet").export(tmp_path / "a.tflite", threshold_inputs=True)
    network = tiny("fcos")
    heads = {name: keras.Input(head.shape[1:], name=name) for name, head in network.output.items()}
    bound = keras.Input((), name="min_score")
    post = keras.Model({**heads, "min_score": bound}, ObjectDecoder("fcos", (64, 64))(heads, {"min_score": bound}))
    with pytest.raises(ArgumentError, match=r"and those of settings"):
        export_with_postprocess(network, post, tmp_path / "a.tflite")
    with pytest.raises(ArgumentError, match="rows of numbers of one length"):
        export_with_postprocess(network, post, tmp_path / "a.tflite", settings={"min_score": 0.3})
    assert not list(tmp_path.iterdir())
