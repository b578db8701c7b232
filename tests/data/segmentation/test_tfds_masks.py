"""Maps of tfds datasets, with a builder that the tests prepare themselves; the network is cut."""

import socket

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import load, sources
from kerasdl.data.segmentation import read_tfds_masks

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (8, 9 - number % 2, 3), np.uint8) for number in range(6)]
MASKS = [RNG.integers(1, 4, (*image.shape[:2], 1), np.uint8) for image in IMAGES]


class OxfordIiitPet(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Data of the form of the real one, of images of two sizes; the test split has a damaged mask."""

    VERSION = tfds.core.Version("3.2.0")

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(None, None, 3)),
            "label": tfds.features.ClassLabel(names=["abyssinian", "beagle"]),
            "segmentation_mask": tfds.features.Image(shape=(None, None, 1), use_colormap=True),
        }
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=("image", "label"))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(6, 0), "test": self._generate_examples(1, 3)}

    def _generate_examples(self, count, added):
        for index in range(count):
            mask = MASKS[index] + np.uint8(added)
            yield index, {"image": IMAGES[index], "label": index % 2, "segmentation_mask": mask}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    path = tmp_path_factory.mktemp("tfds")
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    OxfordIiitPet(data_dir=path).download_and_prepare(download_config=config)
    return path


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def test_masks_become_classes_of_their_images(home):
    data = load("tfds:oxford_iiit_pet", data_dir=home, labels="semantic", scale=None)
    assert (data.task, data.class_names) == ("semantic_segmentation", ("pet", "background", "border"))
    assert (data.input_shape, data.size) == ((None, None, 3), 6)
    true = {image.tobytes(): mask[..., 0] - 1 for image, mask in zip(IMAGES, MASKS, strict=True)}
    for place in range(6):
        np.testing.assert_array_equal(data.source.labels["semantic"][place], true[data.source.inputs[place].tobytes()])
    label = load("tfds:oxford_iiit_pet", data_dir=home)
    assert (label.task, label.class_names) == ("image_classification", ("abyssinian", "beagle"))


def test_images_are_kept_at_the_size_that_is_asked_for(home, monkeypatch):
    whole = load("tfds:oxford_iiit_pet", data_dir=home, labels="semantic", image_shape=(4, 4, 3), scale=None)
    later = load("tfds:oxford_iiit_pet", data_dir=home, labels="semantic", scale=None).prepared((4, 4, 3), None)
    for (image, labels), (image2, labels2) in zip(whole, later, strict=True):
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(labels["semantic"], labels2["semantic"])
    monkeypatch.setattr(sources, "MEMORY_LIMIT", 500)
    with pytest.raises(DataError, match=r"must fit in 500 bytes; 2 of 6 do. Pass image_shape="):
        read_tfds_masks("oxford_iiit_pet", data_dir=home)
    assert read_tfds_masks("oxford_iiit_pet", data_dir=home, image_shape=(4, 4, 3)).size == 6


def test_faults_are_refused(home):
    with pytest.raises(DataError, match=r"hold the values \(1, 2, 3\); got .* up to 6"):
        read_tfds_masks("oxford_iiit_pet", "test", data_dir=home)
    with pytest.raises(DataError, match="known of the tfds datasets oxford_iiit_pet; got 'mnist'"):
        load("tfds:mnist", labels="semantic")
    with pytest.raises(ArgumentError, match="size must be at most 6"):
        read_tfds_masks("oxford_iiit_pet", size=7, data_dir=home)
    with pytest.raises(ArgumentError, match="split must be one of"):
        read_tfds_masks("oxford_iiit_pet", "validation", data_dir=home)
