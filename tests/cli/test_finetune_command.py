"""`kerasdl finetune` with its options, on a bundle that learns in a second."""

import json
import shutil

import pytest
from colour_photos import colour_bundle, write_photos
from typer.testing import CliRunner

import kerasdl
from kerasdl.cli.commands import app


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    colour_bundle().save(folder / "start.zip")
    write_photos(folder / "photos")
    write_photos(folder / "held", count=40, seed=2)
    return folder


def finetune(place, *words):
    start = ("finetune", place / "start.zip", place / "photos", "--batch-size", 8, "--learning-rate", 0.02)
    return CliRunner().invoke(app, [*map(str, start), *map(str, words)])


def test_options_reach_the_run(place, tmp_path):
    options = (
        "--validation",
        place / "held",
        "--augment",
        "light",
        "--patience",
        9,
        *("--freeze-epochs", 2, "--groups", 2, "--layer-decay", 0.5),
        "--tensorboard",
        tmp_path / "logs",
    )
    done = finetune(place, "--out", tmp_path / "m.zip", "--epochs", 3, "--folder", tmp_path / "run", *options)
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert f"30 of {place / 'photos'} to train, 120 of {place / 'held'} to validate." in text
    assert "Validation is coarse" not in text
    assert "head epoch 1/" in text
    assert "stage1 epoch 1/" in text
    assert "the best by val_accuracy on 120 validation examples" in text
    assert all(len(line) <= 80 for line in done.output.splitlines() if " epoch " in line and "kept" not in line)
    assert sorted(each.name for each in (tmp_path / "logs").iterdir()) == ["head", "stage1"]
    settings = json.loads((tmp_path / "run" / "stage1" / "config.json").read_text())["settings"]
    assert settings["patience"] == 9
    provenance = kerasdl.load_bundle(tmp_path / "m.zip").manifest.provenance
    freezing = ("freeze", "freeze epochs", "groups", "layer decay")
    assert [provenance[name] for name in freezing] == ["staged", 2, 2, 0.5]
    assert "Flip" in json.dumps(settings["augment"])
    assert settings["monitor"] is None or settings["monitor"][0] == "val_accuracy"


def test_advice_names_the_option(place, tmp_path):
    words = ("--out", tmp_path / "m.zip", "--folder", tmp_path / "run")
    assert finetune(place, *words, "--epochs", 2).exit_code == 0
    refused = finetune(place, *words, "--epochs", 9)
    assert refused.exit_code == 2
    text = " ".join(refused.stderr.split())
    assert "1 there, 3 of epochs=9 here" in text
    assert "pass --no-resume to start anew" in text
    again = finetune(place, *words, "--epochs", 9, "--no-resume", "--json")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["epoch_kept"].endswith("by val_loss on 3 validation examples")


def test_a_second_fine_tuning_leaves_out_the_images_of_both(place, tmp_path):
    shutil.copy(place / "start.zip", tmp_path / "start.zip")
    for start, photos, out in (("start", place / "photos", "one"), ("one", place / "held", "two")):
        words = ["finetune", tmp_path / f"{start}.zip", photos, "--out", tmp_path / f"{out}.zip", "--epochs", 1]
        assert CliRunner().invoke(app, list(map(str, words))).exit_code == 0
    bundle = kerasdl.load_bundle(tmp_path / "two.zip")
    for folder, count, left in (("photos", 30, 3), ("held", 120, 12)):
        chosen = kerasdl.bundles.choose_evaluation_data(bundle, f"folder:{place / folder}")
        assert (chosen.found, chosen.dataset.size) == (count, left)


def test_a_bundle_is_trained_with_rounding_or_pruned_after_the_fine_tuning(place, tmp_path):
    done = finetune(place, "--out", tmp_path / "m.zip", "--epochs", 3, "--qat", 1, "--folder", tmp_path / "run")
    assert done.exit_code == 0, done.output
    rounding = kerasdl.load_bundle(tmp_path / "m.zip")
    assert rounding.name == "m"
    assert rounding.quantized is not None
    assert (tmp_path / "run" / "qat").is_dir()
    chosen = kerasdl.bundles.choose_evaluation_data(rounding, f"folder:{place / 'photos'}")
    assert (chosen.found, chosen.dataset.size) == (30, 3)
    report = rounding.export(tmp_path / "m.tflite")
    assert "int8" in report.format

    done = finetune(place, "--out", tmp_path / "p.zip", "--epochs", 1, "--prune", 0.5, "--json")
    assert done.exit_code == 0, done.output
    json.loads(done.stdout)
    kernels = [w.numpy() for w in kerasdl.load_bundle(tmp_path / "p.zip").model.weights if w.path.endswith("kernel")]
    assert sum((kernel == 0).sum() for kernel in kernels) / sum(kernel.size for kernel in kernels) > 0.4


@pytest.mark.parametrize("words", [("--prune", 1.5), ("--qat", -1), ("--qat", 1, "--prune", 0.5)])
def test_compression_that_cannot_be_is_refused_before_the_training(words, place, tmp_path):
    refused = finetune(place, "--out", tmp_path / "m.zip", *words)
    assert refused.exit_code == 2
    assert words[0] in refused.stderr
    assert "epoch 1/" not in refused.output
