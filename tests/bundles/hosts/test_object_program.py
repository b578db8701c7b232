"""Programs beside the file of a detector: the objects of `predict`, in pixels of the photo."""

import dataclasses
import itertools
import runpy
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import kerasdl
from kerasdl.bundles.hosts.programs import write_programs

# options of the file, and the room in pixels: a file that resizes takes pixels that were shrunk to whole levels before.
KINDS = {
    "plain.tflite": ({}, 0.05),
    "letterbox.tflite": ({}, 0.05),
    "thresholds.tflite": ({"threshold_inputs": True}, 0.05),
    "thresholds.onnx": ({"threshold_inputs": True}, 0.05),
    "letterbox raw bytes.tflite": ({"raw_shape": (192, 256, 3), "raw_dtype": "uint8"}, 4.0),
    "raw bytes.tflite": ({"raw_shape": (160, 200, 3), "raw_dtype": "uint8"}, 4.0),
    "plain.onnx": ({}, 0.05),
}


@pytest.fixture(scope="module")
def bundle():
    return kerasdl.load_bundle("shapes_yolo")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two scenes as photos of another size, one of which lies on its side and says so; and a photo of nothing."""
    folder = tmp_path_factory.mktemp("photos")
    scenes, _ = kerasdl.data.load("shapes:easy", "test", size=2, scale=None).arrays()
    Image.fromarray(scenes[0]).resize((256, 192)).save(folder / "large one.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(scenes[1]).rotate(90, expand=True).save(folder / "turned.jpg", exif=exif, quality=95)
    Image.new("RGB", (90, 60), (128, 128, 128)).save(folder / "empty.png")
    return [folder / name for name in ("large one.png", "turned.jpg", "empty.png")]


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_the_program_gives_the_objects_of_predict(name, bundle, photos, tmp_path):
    options, room = KINDS[name]
    if "letterbox" in name:
        bundle = dataclasses.replace(bundle, preprocess={**bundle.preprocess, "letterbox": True})
    bundle.export(tmp_path / name, **options)
    program = tmp_path / f"{name}.py"
    assert "kerasdl" not in program.read_text()
    objects_of = runpy.run_path(str(program))["objects"]
    answers = bundle.predict(photos)
    assert len(answers[0]["labels"]) > 2
    assert not answers[2]["labels"]
    in_shape = (True, name != "letterbox raw bytes.tflite", True)  # a square photo is boxed, and so shrunk, twice there
    for photo, answer in itertools.compress(zip(photos, answers, strict=True), in_shape):
        found = objects_of(photo)
        if "raw" in name:  # a score near the bound may pass it, or not
            found = [each for each in found if each[1] > 0.4]
            kept = [place for place, score in enumerate(answer["scores"]) if score > 0.4]
            answer = {key: [values[place] for place in kept] for key, values in answer.items()}
        assert sorted(label for label, *_ in found) == sorted(answer["labels"])
        edges = np.array(answer["boxes"]).reshape(-1, 4)
        for label, _, box in found:
            same = edges[[each == label for each in answer["labels"]]]
            assert np.abs(same - box).max(axis=1).min() < room
    if "thresholds" in name:
        surest = objects_of(photos[0], min_score=answers[0]["scores"][0] - 1e-3)
        assert [each[0] for each in surest] == answers[0]["labels"][:1]
        assert len(objects_of(photos[0], min_score=0.05, overlap=1.0)) > len(objects_of(photos[0], min_score=0.05))
    run = subprocess.run([sys.executable, program, *photos[::2]], capture_output=True, text=True, cwd="/", check=True)
    lines = [line.split("\t") for line in run.stdout.splitlines()]
    assert lines[-1] == [str(photos[2]), "nothing found"]
    assert len(lines) == 1 + len(objects_of(photos[0]))
    assert all(len(line[3].split()) == 4 for line in lines[:-1])


def slot(name, index, shape, dtype="float32"):
    return {"name": name, "index": index, "dtype": dtype, "shape": shape, "scale": None, "zero_point": None}


def facts(**image):
    """Content of the JSON beside a detector's file."""
    outputs = [slot("count", 0, [1], "int32"), slot("classes", 1, [1, 9], "int32")]
    outputs += [slot("boxes", 2, [1, 9, 4]), slot("scores", 3, [1, 9])]
    image = {"height": 48, "width": 64, "channels": "RGB", "multiply": 2 / 255, "add": -1.0, **image}
    inputs = [slot("image", 0, [1, 48, 64, 3])]
    return {"labels": ['"a$"', "b"], "gives": "answers", "image": image, "inputs": inputs, "outputs": outputs}


def test_classes_in_kotlin_and_swift_read_each_output_by_name_or_place(tmp_path):
    """Both kinds of the Kotlin class were compiled and run, see docs/android.md."""
    written = write_programs(tmp_path / "d.tflite", facts(), None, tmp_path / "d.labels.txt")
    assert [each.suffix for each in written] == [".py", ".kt", ".swift"]
    kotlin, swift = (each.read_text() for each in written[1:])
    assert "const val MOST = 9" in kotlin
    assert 'mapOf<String, Any>("image" to input(photo))' in kotlin
    assert "minScore: Float = 0.3f)" in kotlin
    assert "boxes: [Float] = try numbers(at: 2), scores: [Float] = try numbers(at: 3)" in swift
    assert "classes: [Int32] = try numbers(at: 1), count: [Int32] = try numbers(at: 0)" in swift
    for text in (kotlin, swift):
        assert "inset" not in text
        assert "overlap" not in text
        assert text.count("{") == text.count("}")
    assert "$" not in kotlin
    assert not write_programs(tmp_path / "d.onnx", facts(), None, tmp_path / "d.labels.txt")[1:]


def test_classes_in_kotlin_and_swift_have_thresholds_and_a_letterbox(tmp_path):
    asks = facts(letterbox=114)
    asks["inputs"] = [slot("min_score", 0, [1]), slot("image", 1, [1, 48, 64, 3]), slot("overlap", 2, [1])]
    asks |= {"thresholds": {"min_score": 0.2, "overlap": 0.6}, "min_score": 0.2}
    written = write_programs(tmp_path / "d.tflite", asks, None, tmp_path / "d.labels.txt")
    kotlin, swift = (each.read_text() for each in written[1:])
    assert "minScore: Float = 0.2f, overlap: Float = 0.6f" in kotlin
    assert '"min_score" to floatArrayOf(minScore), "overlap" to floatArrayOf(overlap)' in kotlin
    assert "const val BORDER = 114" in kotlin
    assert "input(photo), toInputAt: 1)" in swift
    assert "withUnsafeBytes(of: minScore) { Data($0) }, toInputAt: 0)" in swift
    assert "withUnsafeBytes(of: overlap) { Data($0) }, toInputAt: 2)" in swift
    assert "[Int](repeating: 114, count: height * width * channels)" in swift
    for text in (kotlin, swift):
        assert text.count("{") == text.count("}")
        assert text.count("inset(") == 3, "defined, and called for the pixels and for the boxes"
