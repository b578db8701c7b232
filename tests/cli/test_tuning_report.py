"""Lines of `kerasdl finetune` about a run: updates, advice to a weak detector, and what Ctrl-C leaves."""

from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from typer.testing import CliRunner

import kerasdl
from kerasdl.cli.commands import app
from kerasdl.cli.commands.tuning_report import advice, next_command, told_on_interrupt, updates_note
from kerasdl.data.detection import draw_shapes

SCENES = draw_shapes(10, side=64)


def tuned(ap50, kept="40 of 40, the best by val_loss on 3 validation examples", labels=4, side=128, **metrics):
    manifest = SimpleNamespace(
        task="object_detection", metrics={"mine validation": {"AP50": ap50}, **metrics}, provenance={"epoch kept": kept}
    )
    model = SimpleNamespace(input_shape=(None, side, side, 3))
    return SimpleNamespace(manifest=manifest, labels=tuple(map(str, range(labels))), model=model)


def test_updates_are_counted_for_images_with_boxes_alone():
    assert updates_note(SCENES, 4, 40) == ["Updates: 3 an epoch (--batch-size 4), 120 in 40 epochs."]
    assert updates_note(kerasdl.data.load("digits"), 4, 40) == []


def test_a_weak_detector_gets_one_line_with_the_names_of_options():
    counts = np.bincount(SCENES.source.labels["classes"].values, minlength=len(SCENES.class_names))
    name = SCENES.class_names[int(counts.argmin())]
    (line,) = advice(tuned(0.19, labels=6), SCENES)
    assert line == (
        "advice: an AP50 of 0.19 is low. Usual remedies: more --epochs, since the last one was the best; more images "
        f"of {name!r} ({counts.min()} boxes to learn from); --side 256 in place of 128, for small objects; fewer "
        "classes than 6."
    )


@pytest.mark.parametrize(
    ("bundle", "text"),
    [
        (tuned(0.19, kept="7 of 40, the best by val_loss"), "--epochs"),
        (tuned(0.19, side=256), "--side"),
        (tuned(0.19, labels=2), "fewer classes"),
    ],
)
def test_advice_names_what_can_help_alone(bundle, text):
    (line,) = advice(bundle, SCENES)
    assert text not in line


def test_good_detectors_and_other_tasks_get_no_advice():
    assert advice(tuned(0.5), SCENES) == []
    assert advice(tuned(float("nan")), SCENES) == []
    other = tuned(0.19)
    other.manifest.task = "image_classification"
    assert advice(other, SCENES) == []
    other = tuned(0.19)
    other.manifest.metrics = {}
    assert advice(other, SCENES) == []


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("photos", None, None), "kerasdl evaluate mine.zip photos"),
        (("my photos", None, None), "kerasdl evaluate mine.zip 'my photos'"),
        (("coco:a.json", "images", None), "kerasdl evaluate mine.zip coco:a.json --images images"),
        (("csv:a.csv#message,topic", None, None), "kerasdl evaluate mine.zip 'csv:a.csv#message,topic'"),
        (("photos", None, "others"), "kerasdl evaluate mine.zip DATA"),
    ],
)
def test_the_next_command_can_be_typed_as_it_is(words, command):
    assert next_command("mine.zip", *words) == command


@pytest.mark.parametrize(
    ("folder", "text"),
    [
        (None, "mine.zip was not written; nothing was kept. With --folder RUN the same command"),
        ("run", "mine.zip was not written; the run is kept in run: the same command goes on from there"),
    ],
)
def test_ctrl_c_tells_what_is_kept_and_what_to_do(folder, text, capsys):
    with pytest.raises(KeyboardInterrupt), told_on_interrupt("mine.zip", folder):
        raise KeyboardInterrupt
    assert text in capsys.readouterr().err


def test_ctrl_c_of_the_command_is_told(monkeypatch, tmp_path):
    class Stand:
        preprocess: ClassVar = {}
        manifest, task = SimpleNamespace(provenance={}), SimpleNamespace(name="image_classification")

        def finetune(self, *_, **__):
            raise KeyboardInterrupt

    monkeypatch.setattr(kerasdl, "load_bundle", lambda name: Stand())
    done = CliRunner().invoke(app, ["finetune", "digits_mobilenet", "digits", "--out", str(tmp_path / "mine.zip")])
    assert done.exit_code == 130
    assert "mine.zip was not written; nothing was kept" in done.stderr
    assert done.stderr.endswith("error: interrupted.\n")
