"""Commands with a bundle of a detector: rows and pictures of objects."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.cli.commands import app


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
