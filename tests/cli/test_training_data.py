"""Split of the images of `kerasdl finetune`, and the sentences that tell it."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import kerasdl
from kerasdl.bundles import choose_evaluation_data
from kerasdl.cli.training_data import FEW, calibration_data, read_training_data
from kerasdl.core.errors import ArgumentError, DataError, UnknownNameError
from kerasdl.data import DataWarning
from kerasdl.data.detection import draw_shapes, write_coco
from kerasdl.data.segmentation import draw_cells, write_masks

RNG = np.random.default_rng(5)


def fill(root, homes, count=10, classes=("cat", "dog")):
    for home in homes:
        for label in classes:
            folder = root / home / label
            folder.mkdir(parents=True, exist_ok=True)
            for k in range(count):
                Image.fromarray(RNG.integers(0, 256, (6, 6, 3), np.uint8)).save(folder / f"{k}.png")
    return str(root)


def files(data):
    return {str(path) for path in data.source.inputs}


def per_class(data):
    return np.bincount(data.source.labels, minlength=len(data.class_names)).tolist()


def test_a_folder_without_splits_leaves_a_tenth_for_evaluate(tmp_path):
    read = read_training_data(fill(tmp_path, [""]))
    assert (per_class(read.train), per_class(read.validation)) == ([8, 8], [1, 1])
    assert read.notes[0].endswith("20 images in 2 classes: cat 10, dog 10.")
    rule = "2 left for `kerasdl evaluate`; 80, 10 and 10 % of each class, drawn by seed 0"
    assert f"16 to train, 2 to validate ({rule})" in read.notes[1]


def test_rows_of_a_file_leave_a_tenth_for_evaluate(tmp_path):
    rows = [f"text {k} of {label},{label}" for label in ("bill", "parcel") for k in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["message,topic", *rows]))
    read = read_training_data(f"csv:{tmp_path / 't.csv'}#message,topic")
    left = kerasdl.data.load(f"csv:{tmp_path / 't.csv'}#message,topic", "test").size
    assert read.train.size + read.validation.size + left == 120
    rule = "80, 10 and 10 % of each class, by a hash of the text"
    assert f"({left} left for `kerasdl evaluate`; {rule})" in read.notes[1]


def test_other_texts_validate_whole_and_leave_all_to_learn_from(tmp_path):
    names = []
    for name, count in (("one", 30), ("two", 20)):
        rows = [f"{name} {k} of {label},{label}" for label in ("bill", "parcel") for k in range(count)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,label", *rows]))
        for label in ("bill", "parcel"):
            folder = tmp_path / name / label
            folder.mkdir(parents=True)
            for k in range(count):
                (folder / f"{k}.txt").write_text(f"{name} {k} of {label}")
        names.append((f"csv:{tmp_path / name}.csv", str(tmp_path / name)))
    for data, validation in zip(*names, strict=True):
        read = read_training_data(data, validation)
        assert (read.train.size, read.validation.size) == (60, 40)


@pytest.mark.parametrize(
    "homes", [("train", "test"), ("Training", "Testing"), ("outer/train", "outer/test"), ("train",)]
)
def test_without_a_validation_folder_a_tenth_of_train_validates(tmp_path, homes):
    read = read_training_data(fill(tmp_path, homes, count=20))
    assert (per_class(read.train), per_class(read.validation)) == ([18, 18], [2, 2])
    assert not files(read.train) & files(read.validation)
    together = files(read.train) | files(read.validation)
    homes_read = {file.removeprefix(str(tmp_path)).split("/")[-3].lower() for file in together}
    assert homes_read in ({"train"}, {"training"})
    assert "36 to train, 4 to validate (10 % of each class of train, drawn by seed 0)" in read.notes[1]
    again = read_training_data(str(tmp_path))
    assert files(again.validation) == files(read.validation)


@pytest.mark.parametrize("name", ["val", "valid", "Validation", "dev"])
def test_a_validation_folder_by_any_name_validates(tmp_path, name):
    read = read_training_data(fill(tmp_path, ["train", name], count=4))
    assert (read.train.size, read.validation.size) == (8, 8)
    assert all(f"/{name}/" in file for file in files(read.validation))
    assert "8 to train, 8 to validate (by its folders)" in read.notes[1]


def test_other_images_may_validate_and_then_the_folder_is_learnt_whole(tmp_path):
    photos, other = fill(tmp_path / "photos", [""]), fill(tmp_path / "other", [""], count=3)
    read = read_training_data(photos, other)
    assert (read.train.size, read.validation.size) == (20, 6)
    assert files(read.validation) <= {str(path) for path in (tmp_path / "other").rglob("*.png")}
    with pytest.raises(UnknownNameError, match="No folder stands at nowhere"):
        read_training_data(photos, "nowhere")


@pytest.mark.filterwarnings("ignore:.*bad file")
@pytest.mark.parametrize("homes", [("",), ("train",), ("train", "val")])
def test_files_that_cannot_be_read_are_no_images_and_are_named(tmp_path, homes):
    photos = fill(tmp_path / "odd, [name]", homes, count=20)
    whole = read_training_data(photos)
    assert len(whole.notes) == 3
    damaged = sorted(files(whole.train))[:4] + sorted(files(whole.validation))[:1]
    for file in damaged:
        Path(file).write_bytes(b"no picture")
    read = read_training_data(photos)
    assert not (files(read.train) | files(read.validation)) & set(damaged)
    assert f"{40 * len(homes) - 5} images in 2 classes: cat {20 * len(homes) - 5}, dog" in read.notes[0]
    total = read.train.size + read.validation.size
    assert f"Read: {40 * len(homes) - 5} of {40 * len(homes)} images; 5 cannot be read: " in read.notes[2]
    assert sum(file in read.notes[2] for file in damaged) == 3
    if homes == ("",):
        assert f"{35 - total} left for `kerasdl evaluate`" in read.notes[1]
    other = read_training_data(fill(tmp_path / "whole", [""], count=3), photos) if homes == ("",) else None
    assert other is None or f"41 of 46 images; 5 cannot be read: {photos}" in other.notes[2]


def test_each_class_of_three_images_has_one_to_validate(tmp_path):
    read = read_training_data(fill(tmp_path, ["train"], count=3))
    assert (per_class(read.train), per_class(read.validation)) == ([2, 2], [1, 1])
    read = read_training_data(fill(tmp_path / "few", [""], count=2))
    assert (read.train.size, read.validation) == (4, None)
    assert "No validation" in read.notes[2]
    assert not read.by_loss


def test_images_of_a_coco_file_may_lie_elsewhere(tmp_path):
    for name, seed in (("train", 1), ("val", 2)):
        write_coco(draw_shapes(12, seed=seed, side=64), tmp_path / f"{name}.json", tmp_path / "other place" / name)
    data, place = [f"coco:{tmp_path / name}.json" for name in ("train", "val")], tmp_path / "other place"
    read = read_training_data(data[0], images=place / "train")
    assert (read.train.size, read.validation.size) == (9, 1)
    assert "2 left for `kerasdl evaluate`" in read.notes[1]
    calibrating = calibration_data(data[0], place / "train")
    assert files(calibrating) == files(read.train)  # the rest judges the file
    read = read_training_data(*data, place / "train", place / "val")
    assert (read.train.size, read.validation.size) == (12, 12)
    assert files(read.validation) == {str(path) for path in (place / "val").iterdir()}
    chosen = choose_evaluation_data(SimpleNamespace(preprocess={}, extra={}, task=None), data[1], images=place / "val")
    assert (chosen.split, chosen.dataset.size) == ("all", 12)
    with pytest.raises(DataError, match="images=, the folder of the images"), pytest.warns(DataWarning):
        read_training_data(data[0])
    with pytest.raises(ArgumentError, match="images is for coco, voc, yolo, labelme only"):
        read_training_data(fill(tmp_path / "classes", [""]), images=place)


def test_boxes_and_images_are_counted_before_the_split(tmp_path):
    scenes = draw_shapes(12, seed=1, side=64)
    write_coco(scenes, tmp_path / "all.json", tmp_path / "images")
    read = read_training_data(f"coco:{tmp_path / 'all.json'}", images=tmp_path / "images")
    classes = np.concatenate([label["classes"] for _, label in scenes])
    first = scenes.class_names[0]
    assert f": 12 images with {len(classes)} boxes in 6 classes: {first} {(classes == 0).sum()}, " in read.notes[0]
    assert read.notes[1].startswith("Split: 9 to train, 1 to validate (2 left for `kerasdl evaluate`")
    (held,) = [len(label["classes"]) for _, label in read.validation]
    assert read.notes[2] == f"Validation is coarse: {held} boxes in the images that validate, 1."


def test_classes_of_maps_are_named(tmp_path):
    write_masks(draw_cells(10, side=32, weights=False), tmp_path / "cells")
    name = f"masks:{tmp_path / 'cells'}"
    assert read_training_data(name).notes[0] == f"{name}: 8 images to train with maps of 2 classes: background, cell."


def test_other_maps_validate_whole(tmp_path):
    names = []
    for name, count in (("cells", 10), ("others", 6)):
        write_masks(draw_cells(count, side=32, weights=False), tmp_path / name)
        names.append(f"masks:{tmp_path / name}")
    read = read_training_data(*names)
    assert (read.train.size, read.validation.size) == (10, 6)


def test_a_class_with_one_image_is_told(tmp_path):
    fill(tmp_path, [""])
    read = read_training_data(fill(tmp_path, [""], count=1, classes=("cow",)))
    assert read.notes[-1] == "Classes with one image to learn from: cow. Give them more."
    assert not any("one image" in note for note in read_training_data(fill(tmp_path / "other", [""])).notes)


def test_few_validation_images_leave_the_choice_to_the_loss(tmp_path):
    read = read_training_data(fill(tmp_path, ["train", "val"], count=4))
    assert read.by_loss
    assert "with 8 images an accuracy moves in steps of 12 points" in read.notes[2]
    many = read_training_data("digits")
    assert many.validation.size >= FEW
    assert not many.by_loss
    assert len(many.notes) == 2
    assert "1,078 examples to train in 10 classes: 0 " in many.notes[0]
    assert "(the data's own)" in many.notes[1]


@pytest.mark.filterwarnings("ignore::kerasdl.data.DataWarning")
@pytest.mark.parametrize("homes", [("",), ("train", "test")])
def test_a_picture_of_the_test_that_cannot_be_read_is_counted_as_evaluate_counts_it(tmp_path, homes):
    photos = fill(tmp_path / "photos", homes, count=20)
    damaged = sorted(files(kerasdl.data.load(photos, "test")))[0]
    Path(damaged).write_bytes(b"no picture")
    read = read_training_data(photos)
    total = 40 * len(homes)
    assert f"{total - 1} images in 2 classes: cat" in read.notes[0]
    assert read.notes[2] == f"Read: {total - 1} of {total} images; 1 cannot be read: {damaged}."
    chosen = choose_evaluation_data(kerasdl.load_bundle("digits_mobilenet"), photos)
    assert chosen.notes[0] == f"Read: 39 of 40 images; 1 cannot be read: {damaged}."
