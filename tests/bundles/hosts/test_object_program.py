"""Program beside the file of a detector: the objects of `predict`, in pixels of the photo."""

import dataclasses
import itertools
import runpy
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import kerasdl

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
