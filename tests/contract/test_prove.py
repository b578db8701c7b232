"""Choice of nets in `make prove`: by name, by changes since a commit, and at full size."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import kerasdl

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def prove():
    """The module tools/prove.py."""
    spec = importlib.util.spec_from_file_location("prove", ROOT / "tools" / "prove.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def changed(prove, monkeypatch, files=(), **entries):
    """Returns the nets that have changed if these files have, and these entries of the index were others."""
    index = json.loads((ROOT / prove.INDEX).read_text())
    index["models"] |= entries
    answers = {"diff": "\n".join(files), "ls-files": "", "show": json.dumps(index)}
    monkeypatch.setattr(prove, "_git", lambda verb, *_: answers[verb])
    return prove.changed_nets("before")


def test_a_net_changes_with_its_file_what_that_imports_and_its_entry(prove, monkeypatch):
    swin = kerasdl.list_models("*swin*")
    assert changed(prove, monkeypatch) == []
    assert changed(prove, monkeypatch, ["kerasdl/vision/backbones/swin.py"]) == swin
    assert changed(prove, monkeypatch, ["kerasdl/layers/windows.py"]) == swin
    assert {"resnet18", "vgg11_bn"} <= {*changed(prove, monkeypatch, ["kerasdl/blocks/convolution.py"])}
    assert changed(prove, monkeypatch, ["kerasdl/deploy/tflite/exporter.py", "kerasdl/core/checks.py"]) == []
    assert changed(prove, monkeypatch, lenet5={"tiny": {}}) == ["lenet5"]


def test_the_smallest_net_of_each_family_is_proved_at_full_size(prove):
    assert prove.smallest_of_families(["resnet50", "resnet18", "lstm_classifier"]) == ["lstm_classifier", "resnet18"]
    families = {kerasdl.spec(name).family for name in kerasdl.list_models()}
    assert len(prove.smallest_of_families(kerasdl.list_models())) == len(families)


def test_rows_run_for_the_nets_asked_for_and_those_that_stand_for_them():
    names = ("NAMES", "DISTINCT", "EXPORTED", "EVERY_CLASS", "PROVED_IN_FULL")
    code = f"import cases, json; print(json.dumps([getattr(cases, each) for each in {names}]))"
    asked = {"KERASDL_PROVE": "mlp mobilenet_v2_140", "KERASDL_PROVE_IN_FULL": "mlp"}
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "contract")])
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": paths, **asked}, capture_output=True, text=True
    )
    names, distinct, exported, classes, in_full = json.loads(run.stdout)
    assert names == ["mlp", "mobilenet_v2_140"]
    assert distinct == exported == classes == ["mlp", "mobilenet_v2"]
    assert in_full == ["mlp"]
