"""SavedModels as TensorFlow Serving calls them: by tensors under two names, and by the content of image files."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from filling import fill_weights
from PIL import Image

import kerasdl
from kerasdl.core.errors import ArgumentError, ExportError
from kerasdl.data import prepare_images
from kerasdl.deploy import export_saved_model
from kerasdl.deploy.export import image_decoding
from kerasdl.deploy.export.image_decoding import image_reader

SETTINGS = {"image_shape": (16, 16, 3), "scale": (-1, 1)}
SIZES = [(16, 16), (48, 64), (7, 9), (90, 20), (31, 200)]
FILES = {"PNG": {}, "JPEG": {"quality": 85}}


def picture(size, mode="RGB", seed=0):
    """A smooth picture under a little noise: JPEG and resizing both have something to do."""
    rng = np.random.default_rng(seed)
    smooth = Image.fromarray(rng.integers(0, 256, (3, 4, 3), np.uint8)).resize(size[::-1], Image.Resampling.BICUBIC)
    noisy = np.clip(np.asarray(smooth) + rng.normal(0, 9, (*size, 3)), 0, 255).astype(np.uint8)
    return Image.fromarray(noisy).convert(mode)


def content(image, kind):
    held = io.BytesIO()
    image.save(held, kind, **FILES[kind])
    return held.getvalue()


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("shape", [(16, 16, 3), (24, 10, 1), (None, None, 3)])
def test_files_become_what_the_library_makes_of_them(kind, mode, shape, tmp_path):
    read = tf.function(image_reader({"image_shape": shape, "scale": (-1, 1)}))
    for size in SIZES:
        path = tmp_path / f"image.{kind.lower()}"
        path.write_bytes(content(picture(size, mode), kind))
        expected = prepare_images(path, shape, (-1, 1))
        np.testing.assert_array_equal(read(tf.constant([path.read_bytes()])), expected)
        assert np.ptp(expected) > 0.5


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_png_of_other_modes(mode, tmp_path):
    picture((40, 30), mode).save(tmp_path / "image.png")
    read = image_reader(SETTINGS)
    expected = prepare_images(tmp_path / "image.png", (16, 16, 3))
    np.testing.assert_array_equal(read(tf.constant([(tmp_path / "image.png").read_bytes()])), expected)


def test_signatures_take_tensors_and_files(make, tmp_path):
    model, labels = make("conv_bn"), tuple("abcde")
    report = export_saved_model(model, tmp_path / "served" / "1", image_bytes=SETTINGS, labels=labels)
    assert report.worst_relative < 1e-5
    signatures = tf.saved_model.load(str(tmp_path / "served" / "1")).signatures
    assert set(signatures) == {"serving_default", "serve", "serving_bytes"}
    files = [content(picture(size, seed=k), "PNG") for k, size in enumerate(SIZES)]
    images = prepare_images([np.asarray(picture(size, seed=k)) for k, size in enumerate(SIZES)], (16, 16, 3))
    expected = model(images).numpy()
    for name in ("serving_default", "serve"):
        np.testing.assert_allclose(signatures[name](image=tf.constant(images))["head"], expected, atol=1e-5)
    given = signatures["serving_bytes"](image_bytes=tf.constant(files))
    np.testing.assert_allclose(given["head"], expected, atol=1e-5)
    assert [label.decode() for label in given["label"].numpy()] == [labels[row.argmax()] for row in expected]
    shares = np.exp(expected) / np.exp(expected).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(given["score"], shares.max(axis=1), atol=1e-5)


@pytest.mark.slow
def test_a_bundle_predicts_what_its_served_files_give(tmp_path):
    bundle = kerasdl.load_bundle("digits_mobilenet")
    export_saved_model(bundle.model, tmp_path / "saved", image_bytes=bundle.preprocess, labels=bundle.labels)
    files = [tmp_path / f"{k}.{kind.lower()}" for k, kind in enumerate(FILES)]
    for file, kind in zip(files, FILES, strict=True):
        file.write_bytes(content(picture((70, 50)), kind))
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serving_bytes"]
    given = serve(image_bytes=tf.constant([file.read_bytes() for file in files]))
    for answer, label, score in zip(bundle.predict(files), given["label"].numpy(), given["score"].numpy(), strict=True):
        assert answer["label"] == label.decode()
        assert max(answer["scores"].values()) == pytest.approx(score, abs=1e-4)


def test_weights_stand_in_the_folder_once(make, tmp_path):
    model = make("conv_bn")
    export_saved_model(model, tmp_path / "saved")
    held = tf.train.list_variables(str(tmp_path / "saved" / "variables" / "variables"))
    shapes = [tuple(shape) for name, shape in held if "VARIABLE_VALUE" in name]
    assert sorted(shapes) == sorted(tuple(weight.shape) for weight in model.weights)


def test_a_model_with_a_table_is_served(tmp_path):
    x = keras.Input((3,), dtype="int32", name="x")
    y = keras.layers.IntegerLookup(vocabulary=[4, 2, 9], output_mode="multi_hot")(x)
    model = fill_weights(keras.Model(x, keras.layers.Dense(2, name="head")(y)))
    export_saved_model(model, tmp_path / "saved")
    rows = np.array([[4, 9, 1], [2, 2, 2]], "int32")
    given = tf.saved_model.load(str(tmp_path / "saved")).signatures["serve"](x=tf.constant(rows))
    np.testing.assert_allclose(given["head"], model(rows), atol=1e-6)


def test_a_reader_that_strays_is_refused(make, tmp_path, monkeypatch):
    monkeypatch.setattr(image_decoding, "UNIT", 64.0)  # weights far coarser than the library's
    with pytest.raises(ExportError, match=r"'serving_bytes' must compute what the model does; .* \(47, 16, 1\)"):
        export_saved_model(make("conv_bn"), tmp_path / "saved", image_bytes=SETTINGS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("conv_bn", {"image_bytes": {"image_shape": (16, 16, 3)}}, "must hold 'image_shape' and 'scale'"),
        ("conv_bn", {"image_bytes": SETTINGS | {"image_shape": (8, 8, 3)}}, "must fit the model's only input"),
        ("conv_bn", {"image_bytes": SETTINGS | {"image_shape": (16, 16, 4)}}, "JPEG"),
        ("conv_bn", {"image_bytes": SETTINGS | {"scale": (1, 1)}}, "low < high"),
        ("conv_bn", {"image_bytes": SETTINGS, "labels": "abc"}, "labels must name the columns"),
        ("conv_bn", {"labels": "abcde"}, r"Pass image_bytes="),
        ("several", {"image_bytes": SETTINGS}, "must fit the model's only input"),
    ],
)
def test_arguments_are_checked(name, given, message, make, tmp_path):
    with pytest.raises(ArgumentError, match=message):
        export_saved_model(make(name), tmp_path / "saved", **given)
    assert not list(tmp_path.iterdir())


def test_models_of_texts_are_judged_on_empty_and_unknown_texts_too(tmp_path):
    text = keras.Input((1,), dtype="string", name="text")
    ids = keras.layers.TextVectorization(vocabulary=["good", "bad"], output_sequence_length=4)(text)
    x = keras.layers.Flatten()(keras.layers.Embedding(4, 3)(ids))
    model = fill_weights(keras.Model(text, keras.layers.Dense(2, name="head")(x)))
    report = export_saved_model(model, tmp_path / "saved")
    assert report.worst_relative < 1e-6
    assert [each.relative < 1e-6 for each in report.hostile] == [True]
    serve = tf.saved_model.load(str(tmp_path / "saved")).signatures["serve"]
    texts = np.array([["bad good"], [""]], object)
    given = serve(text=tf.constant(texts))["head"]
    np.testing.assert_allclose(given, model(tf.constant(texts)), atol=1e-6)
