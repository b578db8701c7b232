"""Commands that explain a bundle: pictures with heat, an exported file's places, and the report of errors."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import kerasdl
from kerasdl.bundles import compare_attention
from kerasdl.bundles.operations import file_attention
from kerasdl.cli.commands import app, explaining
from kerasdl.core import ArgumentError


def run(*words):
    return CliRunner().invoke(app, list(map(str, words)))


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Real digits as PNG files in class folders, six each of two, and an int8 file of the bundle."""
    folder = tmp_path_factory.mktemp("digits")
    images, labels = kerasdl.data.load("digits", "test", scale=None).arrays()
    for digit in (3, 8):
        (folder / "photos" / str(digit)).mkdir(parents=True)
        for number, image in enumerate(images[labels == digit][:6]):
            Image.fromarray(image.squeeze()).save(folder / "photos" / str(digit) / f"{number}.png")
    bundle = kerasdl.load_bundle("digits_mobilenet")
    bundle.export(folder / "model.tflite", quantize="int8", representative="digits")
    return folder


def test_heat_of_each_image_is_written(digits, tmp_path):
    result = run("explain", "digits_mobilenet", digits / "photos", "--out", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)
    assert len(rows) == 12
    assert len({row["picture"] for row in rows}) == 12  # two folders hold files of one name
    assert np.mean([row["label"] == row["input"].split("/")[-2] for row in rows]) > 0.8
    for row in rows:
        assert Image.open(tmp_path / "out" / row["picture"]).size == (448, 224)


@pytest.mark.slow
def test_the_exported_file_is_compared(digits, tmp_path):
    image = digits / "photos" / "3" / "0.png"
    result = run("explain", "digits_mobilenet", image, "--out", tmp_path, "--file", digits / "model.tflite")
    assert result.exit_code == 0, result.output
    assert "model.tflite looks at the same places to 0.9" in result.stdout or "places to 1.00" in result.stdout
    assert Image.open(tmp_path / "0.png").size == (896, 224)


@pytest.mark.slow
@pytest.mark.parametrize("words", [["score_cam"], ["grad_cam", "--data", "digits"]], ids=lambda words: words[0])
def test_the_exported_file_is_compared_by_maps(digits, tmp_path, words):
    photo, file = digits / "photos" / "3" / "0.png", digits / "model.tflite"
    result = run(
        "explain", "digits_mobilenet", photo, "--out", tmp_path, "--file", file, "--json", "--compare-by", *words
    )
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    assert 0.9 < row["correlation"] <= 1.0


@pytest.mark.slow
def test_grad_cam_of_a_file_follows_its_rounding(digits):
    """Ranges of one value of grey leave nothing of the maps; those of digits leave them as they are."""
    bundle = kerasdl.load_bundle("digits_mobilenet")
    image = np.asarray(Image.open(digits / "photos" / "3" / "0.png"))[None]
    ways = {"digits": "digits", "grey": np.full((32, 8, 8, 1), 128, "uint8")}
    found = {
        name: compare_attention(digits / "model.tflite", image, bundle, method="grad_cam", representative=data)
        for name, data in ways.items()
    }
    assert found["digits"].correlations.min() > 0.9
    assert found["grey"].correlations.max() < found["digits"].correlations.min() - 0.02
    np.testing.assert_array_equal(found["grey"].of_bundle, found["digits"].of_bundle)


def test_a_comparison_says_what_does_not_fit(digits):
    assert explaining.COMPARISONS == file_attention.METHODS
    bundle, image = kerasdl.load_bundle("digits_mobilenet"), np.zeros((1, 8, 8, 1), "uint8")
    for settings, message in (
        ({"method": "magic"}, "method must be one of"),
        ({"method": "grad_cam"}, "ranges by the data that calibrated"),
        ({"method": "score_cam", "size": 4}, "size is for occlusion"),
        ({"representative": "digits"}, "representative is for grad_cam"),
    ):
        with pytest.raises(ArgumentError, match=message):
            compare_attention(digits / "model.tflite", image, bundle, **settings)


@pytest.mark.slow
def test_grad_cam_of_a_file_that_does_not_round_is_refused(digits, tmp_path):
    bundle, image = kerasdl.load_bundle("digits_mobilenet"), np.zeros((1, 8, 8, 1), "uint8")
    for suffix in ("tflite", "onnx"):
        bundle.export(tmp_path / f"float.{suffix}")
        with pytest.raises(ArgumentError, match=r"is for int8 \.tflite files"):
            compare_attention(tmp_path / f"float.{suffix}", image, bundle, method="grad_cam", representative="digits")


@pytest.mark.slow
def test_a_file_of_another_net_looks_elsewhere(digits, tmp_path):
    bundle = kerasdl.load_bundle("digits_mobilenet")
    images = [np.asarray(Image.open(digits / "photos" / "3" / f"{number}.png")) for number in range(3)]
    same = compare_attention(digits / "model.tflite", images, bundle)
    assert same.correlations.min() > 0.8
    rng = np.random.default_rng(0)
    bundle.model.set_weights([rng.permuted(each) for each in bundle.model.get_weights()])
    with pytest.warns(UserWarning, match="names other classes for"):
        compare_attention(digits / "model.tflite", images, bundle, method="grad_cam", representative="digits")
    other = compare_attention(digits / "model.tflite", images, bundle)
    assert other.correlations.max() < same.correlations.min()
    np.testing.assert_allclose(other.of_file.shape, same.of_file.shape)
    with pytest.raises(ArgumentError, match="size must be at most"):
        compare_attention(digits / "model.tflite", images, bundle, size=33)


def test_a_report_is_written_beside_its_figures(digits, tmp_path):
    out = tmp_path / "errors.html"
    result = run("report", "digits_mobilenet", "--data", digits / "photos", "--out", out)
    assert result.exit_code == 2, result.output  # a folder of two classes is no test of ten
    result = run("report", "digits_mobilenet", "--data", "digits", "--out", out)
    assert result.exit_code == 0, result.output
    assert "mistakes" in result.stdout
    assert json.loads((tmp_path / "errors.json").read_text())["examples"] == 359
    assert out.read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["explain", "digits_mobilenet", "PHOTO", "--method", "magic"], "unknown method 'magic'"),
        (["explain", "digits_mobilenet", "PHOTO", "--label", "11"], "unknown label '11'"),
        (["explain", "digits_mobilenet", "PHOTO", "--compare-by", "score_cam"], "are for --file"),
        (["explain", "series_tcn", "PHOTO"], "explain is for classifiers of images"),
        (["report", "series_tcn", "--data", "digits"], ""),
    ],
)
def test_mistakes_are_one_line(digits, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    words = [digits / "photos" / "3" / "0.png" if word == "PHOTO" else word for word in words]
    result = run(*words)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())
