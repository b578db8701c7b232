"""`make golden`: it writes what is named and has changed, and nothing else."""

import importlib.util
import json
from pathlib import Path

ROOT = Path(__file__).parents[2]


def make_golden():
    spec = importlib.util.spec_from_file_location("make_golden", ROOT / "tools" / "make_golden.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_only_a_changed_net_is_written(tmp_path):
    stored = json.loads((ROOT / "tests" / "golden" / "lenet5.json").read_text())
    file, other = tmp_path / "lenet5.json", tmp_path / "mlp.json"
    other.write_text("{}")
    rounded = json.dumps({**stored, "outputs": [each * (1 + 1e-6) for each in stored["outputs"]]})
    file.write_text(rounded)
    assert make_golden()(["lenet5"], tmp_path) == []
    assert file.read_text() == rounded
    for changed in ({"outputs": [each + 1 for each in stored["outputs"]]}, {"layers": ["image", "head"]}):
        file.write_text(json.dumps({**stored, **changed}))
        assert make_golden()(["lenet5"], tmp_path) == ["lenet5"]
        assert json.loads(file.read_text())["layers"] == stored["layers"]
    file.unlink()
    assert make_golden()(["lenet5"], tmp_path) == ["lenet5"]
    assert other.read_text() == "{}"
