"""Commands that list and describe: whole names at 80 columns, no TensorFlow, and one meaning for each column."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import kerasdl
from kerasdl.cli.commands import app
from kerasdl.cli.commands.browsing import _plain_text
from kerasdl.cli.output import show_table


def run(*words, columns=80):
    result = CliRunner(env={"COLUMNS": str(columns)}).invoke(app, list(words))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_names_stay_whole_at_80_columns():
    for words in (("models",), ("models", "vision/*"), ("bundles",), ("describe", "mobilenet_v2")):
        assert all(len(line) <= 82 for line in run(*words).splitlines())
    text = run("models")
    assert all(f"│ {name} " in text for name in kerasdl.list_models())
    bundles = run("bundles")
    assert all(f"│ {name} " in bundles for name in kerasdl.bundles.list_bundles())
    assert all(f" {word} " in bundles for word in ("token_accuracy", "mean_iou", "accuracy", "object_detection"))
    assert len(bundles.splitlines()) < 35
    cells = [line.split("│")[4] for line in text.splitlines() if line.startswith("│")]
    assert {word.strip(",") for cell in cells for word in cell.split()} == {"bundle", "keras", "hf", "torch"}


def test_columns_that_do_not_fit_are_named():
    text = run("models", "mobilenet_v2")
    assert "Left out at this width: " in text
    assert "│ full" not in text
    assert "│ pretrained │" in run("models", "convnext_*").replace("┃", "│")
    wide = run("models", "mobilenet_v2", columns=160)
    assert "Left out" not in wide
    assert "│ full" in wide


def test_a_table_drops_spare_columns_in_order(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "24")
    show_table("t", ("name", "first", "second"), [("a_long_name", "x" * 5, "y" * 6)], spare=("second", "first"))
    text = capsys.readouterr().out
    assert "a_long_name" in text
    assert "Left out at this width: second." in text
    assert "xxxxx" in text


def test_a_long_path_takes_more_lines_and_cuts_no_label(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    show_table("t", ("input", "label", "score", "bottom"), [("folder/" * 6 + "a.png", "clothing", 0.7611, 119.0)])
    text = capsys.readouterr().out
    assert all(f" {word} " in text for word in ("clothing", "0.7611", "bottom", "label"))
    parts = [line.split("│")[1].strip() for line in text.splitlines() if line.startswith("│")]
    assert "".join(parts) == "folder/" * 6 + "a.png"


def test_params_is_the_column_of_counts():
    for words in (("models", "mobilenet_v2"), ("describe", "mobilenet_v2"), ("describe", "digits_mobilenet")):
        text = run(*words)
        assert "params" in text
        assert "│ weights " not in text


def test_a_model_shows_its_image_size_and_bundles_and_nothing_internal():
    text = " ".join(run("describe", "mobilenet_v2").split())
    assert "224 x 224 x 3" in text
    assert "digits_mobilenet, glyphs_mobilenet" in text
    assert "keras-applications:MobileNetV2" in text
    assert not any(word in text for word in ("tiny", "kerasdl.vision", "{", "builder"))
    assert "299 x 299 x 3" in run("describe", "inception_v3")
    values = json.loads(run("describe", "mobilenet_v2", "--json"))
    assert (values["image_shape"], values["bundles"]) == ([224, 224, 3], ["digits_mobilenet", "glyphs_mobilenet"])


def test_a_bundle_is_described_by_its_manifest():
    text = " ".join(run("describe", "digits_mobilenet").split())
    assert "image: float32 (32, 32, 3)" in text
    assert f"{kerasdl.load_bundle('digits_mobilenet').model.count_params():,}" in text
    assert "digits test" in text


def test_a_model_in_the_place_of_a_bundle_gets_the_ways_on(tmp_path):
    result = CliRunner().invoke(app, ["finetune", "mobilenet_v2", "photos", "--out", str(tmp_path / "x.zip")])
    assert result.exit_code == 2
    assert "this is the name of a model without any; got 'mobilenet_v2'" in result.stderr
    assert "`kerasdl finetune --from keras-applications:MobileNetV2 photos`" in result.stderr
    assert "`kerasdl finetune glyphs_mobilenet photos`" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [["bundles"], ["describe", "digits_mobilenet"], ["--help"], ["finetune", "--help"]])
def test_listing_does_not_load_tensorflow(words):
    code = (
        "import sys; from kerasdl.cli.commands import app\n"
        f"try: app({words!r})\n"
        "except SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('tensorflow', 'keras')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["finetune", "evaluate"])
def test_help_tells_the_rule_of_the_split(command):
    assert "Split: " in run(command, "--help", columns=200)


def test_steps_of_a_file_are_numbered_sentences():
    assert _plain_text(["Decode it.", "Resize it."]) == "1. Decode it. 2. Resize it."
    assert _plain_text(["cat", "dog"]) == ["cat", "dog"]
