"""Programs beside exported files: the answers of `predict` on odd images, for every kind of input and output."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import kerasdl
from kerasdl.bundles.hosts.host_file import host_file
from kerasdl.bundles.hosts.kotlin_program import kotlin_program
from kerasdl.bundles.hosts.programs import write_programs
from kerasdl.bundles.hosts.python_program import python_program
from kerasdl.bundles.hosts.swift_program import swift_program

RAW = (40, 48, 3)
# options of the file, and how far its scores may be from those of predict.
KINDS = {
    "plain.tflite": ({}, 1e-4),
    "int8.tflite": ({"quantize": "int8"}, 0.05),
    "whole int8.tflite": ({"quantize": "int8", "integer_io": True}, 0.05),
    "scores.tflite": ({"scores": True}, 1e-4),
    "raw.tflite": ({"raw_shape": RAW}, 0.1),
    "raw bytes.tflite": ({"raw_shape": RAW, "raw_dtype": "uint8"}, 0.1),
    "raw int8.tflite": ({"raw_shape": RAW, "raw_dtype": "uint8", "quantize": "int8"}, 0.1),
    "plain.onnx": ({}, 1e-4),
    "raw bytes.onnx": ({"raw_shape": RAW, "raw_dtype": "uint8", "scores": True}, 0.1),
}
FACTS = {
    "labels": ['a "quoted" one', "back\\slash", "$dollar", "Zürich", "new\nline"],
    "gives": "logits",
    "image": {"channels": "RGB", "height": 8, "width": 6, "multiply": [1.0, 2.0, 3.0], "add": -1.0},
    "inputs": [{"name": "image", "index": 0, "dtype": "float32", "scale": None, "zero_point": None}],
    "outputs": [{"name": "head", "index": 0, "dtype": "float32", "scale": None, "zero_point": None}],
}


@pytest.fixture(scope="module")
def bundle():
    return kerasdl.load_bundle("digits_mobilenet")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Digits as files of many modes and sizes; one photo lies on its side and says so."""
    folder = tmp_path_factory.mktemp("images")
    arrays, _ = kerasdl.data.load("digits", "test", scale=None).take(6).arrays()
    pictures = [Image.fromarray(array[..., 0]) for array in arrays]
    pictures[0].save(folder / "grey.png")
    pictures[1].convert("RGB").resize((97, 131)).save(folder / "large.png")
    transparent = pictures[2].convert("RGBA")
    transparent.putalpha(Image.fromarray((arrays[2, ..., 0] > 100).astype("uint8") * 255))
    transparent.resize((60, 60)).save(folder / "transparent.png")
    pictures[3].convert("P").save(folder / "palette.gif")
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures[4].resize((64, 50)).convert("RGB").rotate(90, expand=True).save(
        folder / "turned.jpg", exif=exif, quality=95
    )
    pictures[5].convert("CMYK").save(folder / "print.jpg", quality=95)
    return sorted(folder.iterdir())


QUICK = ("plain.tflite", "whole int8.tflite", "raw bytes.tflite", "raw bytes.onnx")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in KINDS])
def test_the_python_program_gives_the_answers_of_predict(name, bundle, images, tmp_path):
    options, room = KINDS[name]
    bundle.export(tmp_path / name, representative="digits", **options)
    scores_of = runpy.run_path(str(tmp_path / f"{name}.py"))["scores"]
    expected = bundle.predict(images)
    for image, answer in zip(images, expected, strict=True):
        scores = np.array([answer["scores"][label] for label in bundle.labels])
        np.testing.assert_allclose(scores_of(image), scores, atol=room, err_msg=image.name)
        assert bundle.labels[scores_of(image).argmax()] == answer["label"]


def test_the_program_runs_by_itself_and_needs_no_kerasdl(bundle, images, tmp_path):
    bundle.export(tmp_path / "digits.tflite")
    program = tmp_path / "digits.tflite.py"
    assert "kerasdl" not in program.read_text()
    command = [sys.executable, str(program), *map(str, images[:2])]
    run = subprocess.run(command, capture_output=True, text=True, cwd="/", check=True)
    answers = [line.split("\t") for line in run.stdout.splitlines()]
    assert [answer[1] for answer in answers] == [each["label"] for each in bundle.predict(images[:2])]


def test_the_program_says_in_one_line_that_an_image_is_missing_or_unreadable(bundle, tmp_path):
    bundle.export(tmp_path / "digits.tflite")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    said = {(): "images must be named: python ", ("none.jpg",): "none.jpg: ", ("broken.jpg",): "broken.jpg: "}
    for words, text in said.items():
        command = [sys.executable, "digits.tflite.py", *words]
        run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
        assert run.returncode == 1
        assert run.stdout == ""
        assert text in run.stderr
        assert "Traceback" not in run.stderr


def test_an_image_of_sixteen_bits_is_refused_by_the_program(bundle, tmp_path):
    bundle.export(tmp_path / "digits.tflite")
    Image.fromarray(np.full((9, 9), 40_000, "uint16")).save(tmp_path / "deep.png")
    with pytest.raises(SystemExit, match="8 bits a channel"):
        runpy.run_path(str(tmp_path / "digits.tflite.py"))["scores"](tmp_path / "deep.png")


def test_labels_and_names_of_any_kind_stand_in_the_programs(tmp_path):
    name = "odd \"name\" $5 'x'.tflite"
    file = host_file(name, FACTS, "softmax")
    assert file.class_name == "OddName5X"
    compiled = compile(python_program(file), "program", "exec")
    assert set(FACTS["labels"]) <= set(compiled.co_consts) | {
        c for k in compiled.co_consts if isinstance(k, tuple) for c in k
    }
    kotlin, swift = kotlin_program(file, name + ".labels.txt"), swift_program(file, name + ".labels.txt")
    escaped = json.dumps(name)
    assert escaped.replace("$", "\\$") in kotlin
    assert escaped in swift
    assert "floatArrayOf(1.0f, 2.0f, 3.0f)" in kotlin
    assert "[1.0, 2.0, 3.0], add: [Float] = [-1.0, -1.0, -1.0]" in swift
    assert "$file" not in kotlin + swift


def test_the_class_of_a_file_named_by_a_number_begins_with_a_letter():
    assert host_file("3.tflite", FACTS, "softmax").class_name == "Net3"


@pytest.mark.parametrize(
    "facts",
    [
        {**FACTS, "labels": []},
        {**FACTS, "image": None},
        {**FACTS, "gives": "values"},
        {**FACTS, "inputs": FACTS["inputs"] * 2},
        {**FACTS, "image": {**FACTS["image"], "channels": "RGBA"}},
    ],
)
def test_no_program_is_written_for_what_is_no_image_classifier(facts, tmp_path):
    assert write_programs(tmp_path / "m.tflite", facts, "softmax", Path("m.labels.txt")) == []
    assert write_programs(tmp_path / "m.tflite", FACTS, None, Path("m.labels.txt")) == []
    assert not list(tmp_path.iterdir())
