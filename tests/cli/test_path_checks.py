"""Mistyped paths of every command: named at once, without TensorFlow, with the name that was meant."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json, sys
from typer.testing import CliRunner
from kerasdl.cli.commands import app
for words in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, words)
    print(json.dumps([result.exit_code, result.stderr, "tensorflow" in sys.modules or "keras" in sys.modules]))
"""
ROWS = [
    ("finetune phtos --out m.zip", 2, "No folder stands at phtos. Did you mean 'photos'?"),
    ("finetune phtos/ --out m.zip", 2, "Did you mean 'photos'?"),
    ("finetune glyps --out m.zip", 2, "Did you mean 'glyphs'?"),
    ("finetune boxes.json --out m.zip", 2, "name it as coco:boxes.json"),
    ("finetune notes.rtf --out m.zip", 2, "It is a file: name its folder"),
    ("finetune mine.zp photos --out m.zip", 2, "Did you mean 'mine.zip'?"),
    ("finetune ./no.zip photos --out m.zip", 3, "nothing is at './no.zip'"),
    ("finetune coco:boxs.json --out m.zip", 3, "nothing is at boxs.json. Check the path. Did you mean 'boxes.json'?"),
    ("finetune coco:boxes.json --images photo --out m.zip", 3, "--images must be a folder; nothing is at photo."),
    ("finetune masks:no --out m.zip", 3, "masks: must name a folder; nothing is at no."),
    ("finetune csv:no.csv#text,label --out m.zip", 3, "nothing is at no.csv."),
    ("finetune csv:words.csv --out m.zip", 3, "without ['text', 'label']. Name yours: csv:words.csv#said,stars"),
    ("finetune csv:words.csv#said,mark --out m.zip", 3, "without ['mark']"),
    ("finetune csv:words.csv --text said --out m.zip", 3, "without ['label']"),
    ("finetune photos --validation nowhere --out m.zip", 2, "No folder stands at nowhere"),
    ("finetune photos --from keras-applications:MobileNet --weights no.h5 --out m.zip", 3, "nothing is at no.h5"),
    ("finetune photos --from peer --model resnet18 --out m.zip", 3, "or a folder; nothing is at peer."),
    ("evaluate no.zip photos", 3, "nothing is at 'no.zip'"),
    ("evaluate digits_mobilenet phtos", 2, "No folder stands at phtos"),
    ("evaluate no.tflite photos", 3, "an exported file must be named; nothing is at no.tflite"),
    ("evaluate x.tflite photos --bundle no.zip", 3, "nothing is at 'no.zip'"),
    ("evaluate x.tflite.json photos", 3, "x.tflite.json is the report of x.tflite. Give x.tflite."),
    ("evaluate x.tflite.labels.txt photos", 3, "x.tflite.labels.txt is the labels of x.tflite. Give x.tflite."),
    ("predict no.zip x.png", 3, "nothing is at 'no.zip'"),
    ("predict x.tflite.json x.png", 3, "x.tflite.json is the report of x.tflite"),
    ("predict digits_mobilenet photos/on.png", 3, "nothing is at photos/on.png. Check the path. Did you mean"),
    ("predict digits_mobilenet photos/one.png photos/on.png", 3, "nothing is at photos/on.png. Check the path. Did"),
    ("predict digits_mobilnet photos", 2, "Did you mean 'digits_mobilenet'"),
    ("predict x.tflite photos", 3, "x.tflite is a TFLite file"),
    ("export no.zip m.tflite", 3, "nothing is at 'no.zip'"),
    ("export digits_mobilenet m.tflit", 2, "the suffix of path must be one of"),
    ("export digits_mobilenet m.tflite --data phtos", 2, "No folder stands at phtos"),
    ("calibrate no.zip photos --out m.zip", 3, "nothing is at 'no.zip'"),
    ("calibrate digits_mobilenet phtos --out m.zip", 2, "No folder stands at phtos"),
    ("calibrate digits_mobilenet photos --none others --out m.zip", 2, "No folder stands at others"),
    ("benchmark x.tflit", 3, "nothing is at x.tflit. Check the path. Did you mean 'x.tflite'?"),
    ("benchmark x.tflite.md", 3, "x.tflite.md is the card of x.tflite"),
    ("explain no.zip x.png", 3, "nothing is at 'no.zip'"),
    ("explain digits_mobilenet photos/on.png", 3, "nothing is at photos/on.png"),
    ("explain digits_mobilenet photos --file no.tflite", 3, "--file must be an exported file; nothing is at no.tflite"),
    ("report digits_mobilnet --data photos", 2, "Did you mean 'digits_mobilenet'"),
    ("report digits_mobilenet --data phtos", 2, "No folder stands at phtos"),
    ("describe ./min.zip", 2, "Nothing is at that path. Did you mean 'mine.zip'?"),
    ("inspect x.tflit", 3, "nothing is at 'x.tflit'. Check the path. Did you mean 'x.tflite'?"),
    ("inspect x.tflite.json", 3, "x.tflite.json is the report of x.tflite"),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """Exit code and error of each row, from one process, and whether TensorFlow or Keras is imported by then."""
    folder = tmp_path_factory.mktemp("paths")
    (folder / "photos").mkdir()
    for name in ("mine.zip", "boxes.json", "notes.rtf", "photos/one.png", "x.tflite", "x.tflite.json", "x.tflite.md"):
        (folder / name).touch()
    (folder / "x.tflite.labels.txt").touch()
    (folder / "words.csv").write_text("said,stars\ngood,5\n")
    words = json.dumps([row[0].split() for row in ROWS])
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", PROGRAM, words]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("row", range(len(ROWS)), ids=[row[0] for row in ROWS])
def test_a_mistyped_path_is_named_without_tensorflow(answers, row):
    _, code, text = ROWS[row]
    assert answers[row][0] == code, answers[row]
    assert text in answers[row][1]
    assert answers[row][1].count("\n") == 1
    assert not answers[row][2]


@pytest.mark.parametrize(
    "words", ["finetune phtos --out m.zip", "evaluate digits_mobilenet phtos", "inspect no.tflite"]
)
def test_a_mistyped_path_imports_no_heavy_package(tmp_path, words):
    command = [sys.executable, "-X", "importtime", "-m", "kerasdl", *words.split()]
    surroundings = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, cwd=tmp_path, env=surroundings, check=False, capture_output=True, text=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert done.returncode
    assert "kerasdl.cli" in imported
    assert not imported & {"tensorflow", "keras", "scipy", "pandas", "matplotlib", "PIL", "sklearn", "onnx"}
