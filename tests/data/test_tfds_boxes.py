"""Boxes of data prepared by tensorflow-datasets: COCO's, VOC's and one box an image, in memory and streamed."""

from typing import ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds

from kerasdl.core.errors import DataError
from kerasdl.data import load, tfds_source
from kerasdl.data.detection import letterbox

SIZES = [(20, 40), (30, 10), (24, 24), (16, 32), (40, 20)]
COUNTS = (2, 0, 3, 1, 2)
FLAGS = {"coco": "is_crowd", "voc": "is_difficult"}


def pixels_of(index):
    return np.random.default_rng(index).integers(0, 256, (*SIZES[index], 3), np.uint8)


def objects_of(index):
    """Boxes as shares (top, left, bottom, right), classes and flags; the last box of image 2 has no area."""
    rng = np.random.default_rng(100 + index)
    start = rng.uniform(0, 0.5, (COUNTS[index], 2))
    shares = np.concatenate([start, start + rng.uniform(0.2, 0.5, start.shape)], axis=1).astype("float32")
    if index == 2:
        shares[-1, 2] = shares[-1, 0]
    return shares, rng.integers(0, 3, COUNTS[index]), rng.random(COUNTS[index]) < 0.4


class Coco(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Features of COCO, of VOC, and of Oxford's pets from version 4 on."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS: ClassVar = [
        tfds.core.BuilderConfig(name=name, version="1.0.0") for name in ("coco", "voc", "pets")
    ]

    def _info(self):
        kind = self.builder_config.name
        label = tfds.features.ClassLabel(names=["a", "b", "c"])
        box = tfds.features.BBoxFeature()
        features = {"image": tfds.features.Image()}
        if kind == "pets":
            features |= {"label": label, "head_bbox": box, "empty": tfds.features.Text()}
        else:
            features["objects"] = tfds.features.Sequence({"bbox": box, "label": label, FLAGS[kind]: np.bool_})
        keys = ("image", "label") if kind == "pets" else None
        features = tfds.features.FeaturesDict(features)
        return tfds.core.DatasetInfo(builder=self, features=features, supervised_keys=keys)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        kind = self.builder_config.name
        for index in range(len(SIZES)):
            shares, classes, flags = objects_of(index)
            boxes = [tfds.features.BBox(*map(float, each)) for each in shares]
            example = {"image": pixels_of(index)}
            if kind == "pets":  # image 1 has no box
                example |= {"label": index % 3, "head_bbox": (boxes or [tfds.features.BBox(0.0, 0.0, 0.0, 0.0)])[0]}
                example["empty"] = ""
            else:
                rows = zip(boxes, classes, flags, strict=True)
                example["objects"] = [
                    {"bbox": box, "label": int(label), FLAGS[kind]: bool(flag)} for box, label, flag in rows
                ]
            yield index, example


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    path = tmp_path_factory.mktemp("tfds")
    for name in ("coco", "voc", "pets"):
        Coco(data_dir=path, config=name).download_and_prepare()
    return path


def by_image(data):
    """Returns the labels of each image by its number; the order is that of tfds."""
    raw = [np.asarray(each) for each in data.source.inputs]
    numbers = [next(k for k in range(len(SIZES)) if np.array_equal(pixels_of(k), each)) for each in raw]
    rows = {name: part for name, part in data.source.labels.items()}
    return {number: {name: part[place] for name, part in rows.items()} for place, number in enumerate(numbers)}


@pytest.mark.parametrize("kind", ["coco", "voc"])
def test_boxes_are_in_pixels_with_their_classes_and_crowds(home, kind):
    data = load(f"tfds:coco/{kind}", data_dir=home, scale=None)
    assert (data.task, data.class_names, data.size) == ("object_detection", ("a", "b", "c"), 5)
    labels = by_image(data)
    assert sorted(labels) == [0, 1, 2, 3, 4]
    for index, (height, width) in enumerate(SIZES):
        shares, classes, flags = objects_of(index)
        if index == 2:  # without the box of no area
            shares, classes, flags = shares[:-1], classes[:-1], flags[:-1]
        edges = shares[:, [1, 0, 3, 2]] * [width, height, width, height]
        np.testing.assert_allclose(labels[index]["boxes"], edges, atol=1e-4)
        np.testing.assert_array_equal(labels[index]["classes"], classes)
        np.testing.assert_array_equal(labels[index]["crowd"], flags)
    assert labels[1]["boxes"].shape == (0, 4)


def test_one_box_an_image_is_read_where_the_name_asks_for_it(home):
    assert load("tfds:coco/pets", data_dir=home, image_shape=(8, 8, 3)).task == "image_classification"
    data = load("tfds:coco/pets:1.0.0#head_bbox", data_dir=home)
    assert data.task == "object_detection"
    labels = by_image(data)
    for index, (height, width) in enumerate(SIZES):
        shares = objects_of(index)[0][:1, [1, 0, 3, 2]]
        np.testing.assert_allclose(labels[index]["boxes"], shares * [width, height, width, height], atol=1e-4)
        assert labels[index]["classes"].tolist() == [index % 3] * len(shares)
    for name in ("empty", "tail_bbox"):
        with pytest.raises(DataError, match="must have an image, and in"):
            load(f"tfds:coco/pets#{name}", data_dir=home)


@pytest.mark.parametrize("boxed", [False, True], ids=["stretched", "letterbox"])
def test_what_is_too_large_is_streamed_with_its_boxes(home, monkeypatch, boxed):
    shape = (32, 48, 3)

    def read():
        data = load("tfds:coco/coco", data_dir=home)
        return letterbox(letterbox(data, (8, 8, 3)), shape) if boxed else data.prepared(shape)

    held = read()
    monkeypatch.setattr(tfds_source, "MEMORY_LIMIT", 1000)
    streamed = read()
    assert isinstance(streamed.source, tfds_source.Stream)
    for (images, labels), (images2, labels2) in zip(held.batches(2), streamed.batches(2), strict=True):
        np.testing.assert_array_equal(images, images2)
        for name in ("boxes", "classes", "crowd"):
            for one, other in zip(labels[name], labels2[name], strict=True):
                np.testing.assert_allclose(one, other, atol=1e-4)
