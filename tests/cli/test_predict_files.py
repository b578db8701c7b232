"""`kerasdl predict` over folders with broken files, and on terminals that cannot print a label."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.cli import read_inputs
from kerasdl.core.errors import DataError


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("a", "c"):
        Image.new("RGB", (4, 4), "red").save(folder / f"{name}.png")
    (folder / "b.png").write_bytes(b"not a picture")
    return folder


def test_a_broken_file_is_named_and_the_others_are_read(photos):
    names, inputs, unread = read_inputs([photos])
    assert [name[-5:] for name in names] == ["a.png", "c.png"]
    assert len(inputs) == 2
    assert len(unread) == 1
    assert "b.png" in unread[0]
    assert "\n" not in unread[0]


def test_nothing_but_broken_files_is_an_error(photos):
    with pytest.raises(DataError, match=r"b\.png"):
        read_inputs([photos / "b.png"])


def test_folders_are_read_at_any_depth_without_clutter_and_other_kinds_are_named(photos):
    (photos / "b.png").unlink()
    inner = photos / "may" / "first"
    inner.mkdir(parents=True)
    Image.new("RGB", (4, 4), "blue").save(inner / "d.jfif", "JPEG")
    (photos / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    for clutter in ("._a.png", ".hidden.png"):
        (photos / clutter).write_bytes(b"not a picture")
    names, _, unread = read_inputs([photos])
    assert names == [str(photos / name) for name in ("a.png", "c.png", "may/first/d.jfif")]
    assert len(unread) == 1
    assert "phone.HEIC: a file of the kind HEIC, which is not read. Convert it to PNG or JPEG" in unread[0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[[0, 300], [1, 1]]]", "whole numbers from 0 to 255; got 0 to 300"),
        ("[[[0, -1], [1, 1]]]", "whole numbers from 0 to 255; got -1 to 1"),
        ("[[[1, 2], [3]]]", "rows of one length"),
        ("[" * 100_000 + "]" * 100_000, "must hold JSON"),
    ],
    ids=["too bright", "too dark", "ragged", "deep"],
)
def test_pixels_in_json_that_are_none_are_refused(text, said, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=said):
        read_inputs([tmp_path / "x.json"])


@pytest.fixture
def bundle(tmp_path):
    inputs = keras.Input((4, 4, 3))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.GlobalAveragePooling2D()(inputs)))
    settings = {"image_shape": (4, 4, 3), "scale": (0, 1)}
    made = Bundle.of(model, name="m", task="image_classification", preprocess=settings, labels=("кот", "犬"))
    return made.save(tmp_path / "m.zip")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["table", "json"])
def test_labels_that_a_terminal_lacks_are_spelt_out(bundle, photos, encoding, form):
    command = [sys.executable, "-m", "kerasdl", "predict", str(bundle), str(photos), *form]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, check=False)
    assert done.returncode == 3, done.stderr
    assert b"b.png" in done.stderr
    text = done.stdout.decode(encoding)
    if form:
        assert {row["label"] for row in json.loads(text)} <= {"кот", "犬"}
    else:
        assert "\\u" in text


def test_errors_are_where_a_user_looks():
    assert kerasdl.errors.BundleError is kerasdl.BundleError
    assert issubclass(kerasdl.DataError, kerasdl.KerasdlError)


def test_a_bundle_keeps_the_white_of_16_bit_files(tmp_path):
    """Tuned on 12 bits in files of 16, it reads such a file as the training did."""
    for place, value in (("dark", 400), ("light", 4000)):
        (tmp_path / "x" / place).mkdir(parents=True)
        for k in range(4):
            Image.fromarray(np.full((8, 8), value + k, np.uint16)).save(tmp_path / "x" / place / f"{k}.png")
    data = kerasdl.data.load(f"folder:{tmp_path / 'x'}", "all", image_shape=(32, 32, 3), levels=4095)
    config = kerasdl.train.RunConfig(progress="off", strategy=None)
    tuned = kerasdl.load_bundle("glyphs_mobilenet").finetune(data, epochs=1, config=config)
    assert tuned.preprocess["levels"] == 4095
    file = tmp_path / "x" / "light" / "0.png"
    inputs, _ = tuned.task.preprocess([file], tuned.preprocess)
    np.testing.assert_allclose(inputs[0], data.arrays()[0][4], atol=1e-6)
