"""The embedded ImageNet net names real photos, and bundles with kernels in float16 answer as they did."""

import importlib.resources
import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from filling import fill_weights
from PIL import Image

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.core import BundleError

NAME = "imagenet_efficientnet_lite0"


@pytest.fixture(scope="module")
def imagenet():
    return kerasdl.load_bundle(NAME)


def photo(name):
    with (
        (importlib.resources.files("sklearn.datasets") / "images" / name).open("rb") as file,
        Image.open(file) as image,
    ):
        return np.asarray(image.convert("RGB"))


def top(answer, count):
    return sorted(answer["scores"], key=answer["scores"].get, reverse=True)[:count]


def test_photos_are_named(imagenet):
    flower, china = imagenet.predict([photo("flower.jpg"), photo("china.jpg")])
    assert flower["label"] == "daisy"  # the one flower of its shape among the 1,000 classes
    assert "palace" in top(china, 5)


def test_named_photos_are_among_the_first_five(imagenet):
    """Nine of the ten of tools/named_photos.py; the fig takes a tenth of its photo, and is known when it fills it."""
    folder = Path(__file__).with_name("photos")
    listed = json.loads((folder / "photos.json").read_text(encoding="utf-8"))
    assert {each["name"] for each in listed} == {path.stem for path in folder.glob("*.jpg")}
    assert {name for each in listed for name in each["classes"]} <= set(imagenet.labels)
    photos = {each["name"]: Image.open(folder / f"{each['name']}.jpg") for each in listed}
    assert max(max(photo.size) for photo in photos.values()) == 320
    answers = dict(zip(photos, imagenet.predict([np.asarray(photo) for photo in photos.values()]), strict=True))
    unknown = [each["name"] for each in listed if not set(top(answers[each["name"]], 5)) & set(each["classes"])]
    assert unknown in ([], ["fig"])
    assert sum(answers[each["name"]]["label"] in each["classes"] for each in listed) >= 7
    (fruit,) = imagenet.predict([np.asarray(photos["fig"].crop((128, 65, 224, 173)))])
    assert fruit["label"] == "fig"


def test_photos_have_their_licences():
    notice = (Path(__file__).parents[2] / "NOTICE").read_text(encoding="utf-8")
    for each in json.loads(Path(__file__).with_name("photos").joinpath("photos.json").read_text(encoding="utf-8")):
        assert f"{each['name']}.jpg: {each['author']}, {each['licence']}" in notice


def test_the_thousand_classes_differ(imagenet):
    assert len(set(imagenet.labels)) == 1000
    assert [imagenet.labels[number] for number in (0, 134, 285, 517, 999)] == [
        "tench",
        "crane (bird)",
        "Egyptian cat",
        "crane (machine)",
        "toilet tissue",
    ]


def test_its_size_and_its_card(imagenet):
    assert (kerasdl.bundles.listing.EMBEDDED / f"{NAME}.zip").stat().st_size <= 10_000_000
    assert {weight.dtype for weight in imagenet.model.weights} == {"float32"}
    assert imagenet.model.count_params() == 4_694_024
    card = imagenet.card()
    assert "and 960 more" in card
    assert "Apache-2.0" in card


def bundle_of(model, side=8):
    return Bundle.of(
        model,
        name="small",
        task="image_classification",
        preprocess={"image_shape": (side, side, 3), "scale": (-1, 1)},
        labels=("a", "b"),
    )


@pytest.fixture
def small():
    x = image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(128, 3, name="conv")(x)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.Flatten()(x)
    return bundle_of(fill_weights(keras.Model(image, keras.layers.Dense(2, name="head")(x))))


def test_kernels_in_float16_are_half_the_size_and_load_in_float32(small, tmp_path):
    whole, half = (small.save(tmp_path / f"{name}.zip", half=name == "half") for name in ("whole", "half"))
    sizes = []
    for path in (whole, half):
        with zipfile.ZipFile(path) as archive:
            sizes.append(next(entry.file_size for entry in archive.infolist() if entry.filename.endswith(".keras")))
    kernels = sum(weight.numpy().nbytes for weight in small.model.weights if len(weight.shape) > 1)
    assert sizes[0] - sizes[1] == pytest.approx(kernels / 2, abs=2000)
    loaded = kerasdl.load_bundle(half)
    for before, after in zip(small.model.weights, loaded.model.weights, strict=True):
        rounded = before.numpy().astype("float16").astype("float32") if len(before.shape) > 1 else before.numpy()
        np.testing.assert_array_equal(after.numpy(), rounded)
        assert after.dtype == "float32"
    assert half.read_bytes() == small.save(tmp_path / "again.zip", half=True).read_bytes()


def test_kernels_that_float16_cannot_hold_are_refused(small, tmp_path):
    head = small.model.get_layer("head")
    head.kernel.assign(head.kernel.numpy() + 1e6)
    with pytest.raises(BundleError, match=r"65,504.*dense"):
        small.save(tmp_path / "half.zip", half=True)
    assert not list(tmp_path.iterdir())
