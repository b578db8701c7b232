"""Commands with a bundle of a detector: rows and pictures of objects."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.cli.commands import app
from kerasdl.data.detection import draw_shapes, write_coco


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    arguments = kerasdl.spec("fcos").tiny
    network = kerasdl.build("fcos", **arguments)
    settings = {"image_shape": (64, 64, 3), "scale": (-1.0, 1.0), "min_score": 0.01}
    made = {"builder": "fcos", "arguments": arguments, "labels": ("red", "green", "blue")}
    detector = Bundle.of(network, name="tiny", task="object_detection", preprocess=settings, **made)
    return detector.save(tmp_path_factory.mktemp("bundle") / "tiny.zip")


@pytest.fixture
def photos(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 90, 3), np.uint8)
    for name in ("a/one.png", "b/one.png"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "photos"


def run(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def test_objects_are_rows_and_pictures(bundle, photos, tmp_path):
    answer = run("predict", bundle, photos, "--draw", tmp_path / "drawn")
    assert answer.exit_code == 0, answer.output
    assert "label" in answer.stdout
    assert f"{tmp_path / 'drawn'}/ holds one.png, one_2.png." in " ".join(answer.stdout.split())
    drawn = np.asarray(Image.open(tmp_path / "drawn" / "one_2.png"))
    assert drawn.shape[1] / drawn.shape[0] == pytest.approx(90 / 40, rel=0.02)
    results = json.loads(run("predict", bundle, photos / "a" / "one.png", "--json").stdout)
    assert set(results[0]) == {"input", "boxes", "labels", "scores"}
    assert max(box[2] for box in results[0]["boxes"]) <= 90


def test_answers_that_cannot_be_drawn_are_refused(photos, tmp_path):
    answer = run("predict", "digits_mobilenet", photos, "--draw", tmp_path / "drawn")
    assert answer.exit_code != 0
    assert "--draw is for bundles whose answers can be drawn" in answer.output
    assert not (tmp_path / "drawn").exists()


def test_every_frame_of_an_animation_is_drawn(bundle, tmp_path):
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 256, (40, 90, 3), np.uint8)) for _ in range(3)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:], loop=0)
    answer = run("predict", bundle, tmp_path / "clip.gif", "--draw", tmp_path / "drawn", "--json", "--min-score", 0.99)
    results = json.loads(answer.stdout)
    assert [each["input"] for each in results] == [f"{tmp_path / 'clip.gif'}[{place}]" for place in range(3)]
    assert not any(each["boxes"] for each in results)
    drawn = [np.asarray(Image.open(tmp_path / "drawn" / name)) for name in ("clip.png", "clip_2.png", "clip_3.png")]
    assert (drawn[0] != drawn[1]).any()
    assert (drawn[1] != drawn[2]).any()


def test_a_video_is_refused_with_the_way_to_its_frames(bundle, tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    answer = run("predict", bundle, tmp_path / "clip.mp4")
    assert answer.exit_code != 0
    assert "ffmpeg -i clip.mp4 frames/%04d.png" in " ".join(answer.output.split())


@pytest.mark.slow
def test_a_detector_is_tuned_to_a_coco_file_measured_and_exported(tmp_path):
    scenes = kerasdl.data.load("stickers", "train", size=12, image_shape=(64, 64, 3), scale=None, seed=2)
    write_coco(scenes, tmp_path / "train.json", tmp_path / "images")
    data, out = f"coco:{tmp_path / 'train.json'}", tmp_path / "mine.zip"
    answer = run("finetune", data, "--out", out, "--epochs", 1, "--batch-size", 4, "--letterbox")
    assert answer.exit_code == 0, answer.output
    rule = "(2 left for `kerasdl evaluate`; 80, 10 and 10 %, drawn by seed 0)"
    assert f"9 to train, 1 to validate {rule}" in " ".join(answer.stdout.split())
    tuned = kerasdl.load_bundle(out)
    assert tuned.labels == scenes.class_names
    assert tuned.manifest.builder == "yolo_v8_n"
    assert tuned.preprocess["letterbox"]
    assert "none" in tuned.manifest.provenance["freeze"]
    measured = run("evaluate", out, data)
    assert "Measured on 2 of 12 images in 5 classes" in measured.stdout, measured.output
    assert "AP50" in measured.stdout
    options = ("--quantize", "int8", "--data", data, "--threshold-inputs")
    files = run("export", out, tmp_path / "mine.tflite", *options)
    assert files.exit_code == 0, files.output
    assert "objects follows in float32" in " ".join(files.stdout.split())
    inputs = json.loads((tmp_path / "mine.tflite.json").read_text())["inputs"]
    assert {each["name"] for each in inputs} == {"image", "min_score", "overlap"}  # in the order of the file
    assert (tmp_path / "mine.tflite.labels.txt").read_text().split() == list(scenes.class_names)


@pytest.mark.slow
def test_maps_of_a_coco_file_are_learnt_and_measured(tmp_path):
    arguments = {"image_shape": (32, 32, 3), "classes": 7, "channels": 4, "depth": 2}
    network = kerasdl.build("unet", **arguments)
    names = ("ground", *kerasdl.data.load("shapes", size=1).class_names)
    settings = {"image_shape": (32, 32, 3), "scale": (-1.0, 1.0)}
    made = {"builder": "unet", "arguments": arguments, "labels": names}
    bundle = Bundle.of(network, name="tiny", task="semantic_segmentation", preprocess=settings, **made)
    bundle.save(tmp_path / "tiny")
    write_coco(draw_shapes(12, side=48, masks=True), tmp_path / "a.json", tmp_path / "a_images")
    data, out = (f"coco:{tmp_path}/a.json", "--images", tmp_path / "a_images"), tmp_path / "mine.zip"
    answer = run("finetune", tmp_path / "tiny", *data, "--labels", "semantic", "--epochs", 1, "--out", out, "--json")
    assert answer.exit_code == 0, answer.output
    assert kerasdl.load_bundle(out).labels[0] == "background"
    report = run("evaluate", out, *data, "--json")
    assert report.exit_code == 0, report.output
    assert "mean_iou" in report.stdout
    wrong = run("finetune", tmp_path / "tiny", *data, "--labels", "masses", "--out", tmp_path / "no.zip")
    assert wrong.exit_code == 2
    assert "must be one of" in wrong.output


def test_the_report_of_a_file_of_objects_has_figures_of_objects_alone(bundle, tmp_path):
    done = run("export", bundle, tmp_path / "tiny.tflite")
    assert done.exit_code == 0, done.output
    assert "worst_relative" in done.stdout
    path = tmp_path / "tiny.tflite"
    assert f"Saved to {path}; beside it: tiny.tflite.json, " in done.stdout
    assert done.stdout.endswith(f"Next: `python {path}.py INPUT`.\n")
    assert "top1_agreement" not in done.stdout
    report = json.loads((tmp_path / "tiny.tflite.json").read_text())
    assert not {each["top1_agreement"] for each in (*report["drifts"], *report["hostile"])} - {None}
    assert report["top1_agreement"] is None
    assert isinstance(report["gpu_fallback"], list)
    assert "GPU delegate: " in (tmp_path / "tiny.tflite.md").read_text()
