"""Data prepared by tensorflow-datasets, with builders that the tests prepare themselves; the network is cut."""

import socket

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import load, tfds_source

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (30, 8, 9, 3), np.uint8)
FIGURES = RNG.random((30, 4), np.float32)


class Flat(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Images of one size."""

    VERSION = tfds.core.Version("1.0.0")
    SHAPE = (8, 9, 3)

    def _info(self):
        features = {"image": tfds.features.Image(shape=self.SHAPE), "label": tfds.features.ClassLabel(names=["a", "b"])}
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(20, 0), "test": self._generate_examples(10, 20)}

    def _generate_examples(self, count, first):
        for index in range(first, first + count):
            yield index, {"image": self.image(index), "label": index % 2}

    def image(self, index):
        return IMAGES[index]


class Mixed(Flat, skip_registration=True):
    """Images of two sizes."""

    SHAPE = (None, None, 3)

    def image(self, index):
        return IMAGES[index][: 8 - index % 2]


class Figures(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Float features with a figure."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"x": tfds.features.Tensor(shape=(4,), dtype=np.float32), "y": tfds.features.Scalar(np.float32)}
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("x", "y"))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for index, row in enumerate(FIGURES):
            yield index, {"x": row, "y": row.sum()}


class Words(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Text, which kerasdl does not read."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(num_classes=2)}
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("text", "label"))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield 0, {"text": "word", "label": 0}


@pytest.fixture(autouse=True)
def attempts(monkeypatch):
    """Cuts the network and counts who tries."""
    tried = []

    def refuse(*args, **kwargs):
        tried.append(args)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield tried
    assert tried == []


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    path = tmp_path_factory.mktemp("tfds")
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    for builder in (Flat, Mixed, Figures, Words):
        builder(data_dir=path).download_and_prepare(download_config=config)
    return path


def test_images_are_read_into_memory(home):
    train, test = (
        load(f"tfds:flat{kind}", split, data_dir=home, scale=None)
        for kind, split in (("", "train"), (":1.0.0", "test"))
    )
    images, labels = (np.concatenate(parts) for parts in zip(train.arrays(), test.arrays(), strict=True))
    assert (train.size, train.class_names, train.input_shape, train.seekable) == (20, ("a", "b"), (8, 9, 3), True)
    assert sorted(image.tobytes() for image in images) == sorted(image.tobytes() for image in IMAGES)
    assert labels.dtype == np.int32
    for image, label in zip(images, labels, strict=True):
        assert np.flatnonzero((image == IMAGES).all(axis=(1, 2, 3)))[0] % 2 == label


@pytest.mark.parametrize("name", ["flat", "mixed"])
def test_what_is_too_large_is_streamed_alike(home, monkeypatch, name):
    arguments = dict(split="train", data_dir=home, image_shape=(8, 8, 1))
    held = load(f"tfds:{name}", **arguments)
    monkeypatch.setattr(tfds_source, "MEMORY_LIMIT", 1000)
    streamed = load(f"tfds:{name}", **arguments)
    assert isinstance(streamed.source, tfds_source.Stream)
    np.testing.assert_array_equal(held.arrays()[0], streamed.arrays()[0])
    np.testing.assert_array_equal(held.arrays()[1], streamed.arrays()[1])
    whole = list(streamed.batches(6, shuffle=True, seed=1).as_numpy_iterator())
    rest = list(streamed.batches(6, shuffle=True, seed=1, start=2).as_numpy_iterator())
    assert [y.tolist() for _, y in whole[2:]] == [y.tolist() for _, y in rest]
    np.testing.assert_array_equal(whole[2][0], rest[0][0])


def test_figures_are_a_regression(home):
    dataset = load("tfds:figures", data_dir=home)
    inputs, labels = dataset.arrays()
    assert dataset.task == "tabular_regression"
    np.testing.assert_allclose(inputs.sum(axis=1), labels, rtol=1e-6)
    np.testing.assert_array_equal(np.sort(inputs[:, 0]), np.sort(FIGURES[:, 0]))


def test_slices_and_sizes(home):
    whole = load("tfds:flat", data_dir=home).arrays()[0]
    np.testing.assert_array_equal(load("tfds:flat", "train[:50%]", data_dir=home).arrays()[0], whole[:10])
    np.testing.assert_array_equal(load("tfds:flat", size=7, data_dir=home).arrays()[0], whole[:7])
    with pytest.raises(ArgumentError, match="size must be at most 20"):
        load("tfds:flat", size=21, data_dir=home)
    with pytest.raises(ArgumentError, match="split must be one of"):
        load("tfds:flat", "validation", data_dir=home)


def test_what_is_not_prepared_says_how_to_bring_it_and_asks_no_one(home, monkeypatch):
    with pytest.raises(DataError) as caught:
        load("tfds:mnist", data_dir=home)
    for part in ('tfds.builder("mnist"', "download_and_prepare", str(home / "mnist"), "figures, flat, mixed, words"):
        assert part in str(caught.value)
    monkeypatch.setenv("TFDS_DATA_DIR", str(home / "nowhere"))
    with pytest.raises(DataError, match="nowhere"):
        load("tfds:mnist")
    with pytest.raises(DataError, match="not prepared"):
        load("tfds:flat:2.0.0", data_dir=home)


def test_the_environment_says_where_to_look(home, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(home))
    assert load("tfds:flat").size == 20


@pytest.mark.parametrize("name", ["../etc", "Flat/..:1.0.0", "a b"])
def test_odd_names_are_refused(home, name):
    with pytest.raises(ArgumentError, match="a tfds name must be"):
        load(f"tfds:{name}", data_dir=home)


def test_other_kinds_are_refused(home):
    with pytest.raises(DataError, match="maps Text to ClassLabel"):
        load("tfds:words", data_dir=home)


def test_one_configuration_is_taken_and_several_are_named(home, tmp_path):
    for config in ("big", "small"):
        (tmp_path / "coco").mkdir(exist_ok=True)
        tf.io.gfile.makedirs(str(tmp_path / "coco" / config / "1.0.0"))
        (tmp_path / "coco" / config / "1.0.0" / "dataset_info.json").write_text("{}")
    with pytest.raises(DataError, match="not a complete tfds dataset"):
        load("tfds:coco/big", data_dir=tmp_path)
    with pytest.raises(DataError, match=r"configurations \['big', 'small'\]"):
        load("tfds:coco", data_dir=tmp_path)
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "only").symlink_to(home / "flat")
    assert load("tfds:flat", data_dir=tmp_path).size == 20
    assert load("tfds:flat/only", data_dir=tmp_path).size == 20
