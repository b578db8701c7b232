"""Layouts of image folders: what counts for which class and split, and what is refused in one line."""

import os
import unicodedata
import warnings

import numpy as np
import pytest
from PIL import Image

from kerasdl.core.errors import DataError
from kerasdl.data import DataWarning, load

RNG = np.random.default_rng(0)
CAFE = unicodedata.normalize("NFC", "Café"), unicodedata.normalize("NFD", "café")


def fill(root, **counts):
    """Writes so many pictures into each folder; `__` in a name parts folders."""
    for name, count in counts.items():
        put(root.joinpath(*name.split("__")), count)
    return root


def put(folder, count=2, suffix=".png"):
    folder.mkdir(parents=True, exist_ok=True)
    for k in range(count):
        Image.fromarray(RNG.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{k}{suffix}")


def read(root, split="train", **options):
    """Loads a folder of which nothing needs to be said."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load(f"folder:{root}", split, **options)


def counts(data):
    return dict(zip(data.class_names, np.bincount(data.arrays()[1], minlength=len(data.class_names)), strict=True))


def refused(root, split="train"):
    with pytest.raises(DataError) as caught:
        load(f"folder:{root}", split)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def warned(root, split="train"):
    with pytest.warns(DataWarning) as caught:
        data = load(f"folder:{root}", split)
    (text,) = [str(each.message) for each in caught]
    assert len(text.splitlines()) == 1
    return data, text


def test_images_count_at_any_depth_below_their_class(tmp_path):
    fill(tmp_path, cat=3, cat__more=3, cat__2019__may=1, dog=2, dog__more__far=2)
    assert counts(read(tmp_path, "all")) == {"cat": 7, "dog": 4}
    files = [file for split in ("train", "validation", "test") for file in read(tmp_path, split).source.inputs]
    assert sorted(files) == read(tmp_path, "all").source.inputs


@pytest.mark.parametrize(
    "names",
    [
        ("train", "test"),
        ("Training", "Testing"),
        ("TRAIN", "VAL"),
        ("train", "valid", "test"),
        ("Train", "Validation", "Test"),
        ("training", "dev"),
    ],
)
@pytest.mark.parametrize("wrapper", ["", "archive", "archive/archive", "train", "new/deep"])
def test_splits_are_known_by_their_names_inside_a_wrapper_too(tmp_path, names, wrapper):
    for size, name in enumerate(names, 1):
        fill(tmp_path / wrapper / name, cat=size, dog=2 * size)
    kinds = {"t": "train", "v": "validation", "d": "validation"}
    for size, name in enumerate(names, 1):
        split = "test" if name.lower().startswith("test") else kinds[name[0].lower()]
        assert counts(read(tmp_path, split)) == {"cat": size, "dog": 2 * size}
    total = sum(range(1, len(names) + 1))
    assert counts(read(tmp_path, "all")) == {"cat": total, "dog": 2 * total}


def test_classes_may_lie_in_a_wrapper(tmp_path):
    fill(tmp_path / "flowers" / "photos", rose=2, lily__near=3)
    assert counts(read(tmp_path, "all")) == {"lily": 3, "rose": 2}


def test_images_beside_classes_in_a_wrapper_are_refused_and_beside_splits_named(tmp_path):
    fill(tmp_path / "plain" / "archive", cat=2, dog=2)
    fill(tmp_path / "split" / "archive", train__cat=2, train__dog=2)
    for kind in ("plain", "split"):
        put(tmp_path / kind / "archive", 1)
    text = refused(tmp_path / "plain", "all")
    assert "could be read in two ways: as one class, for it holds 1 images such as '0.png', or as a wrapper" in text
    data, text = warned(tmp_path / "split")
    assert counts(data) == {"cat": 2, "dog": 2}
    assert "1 image lies in" in text


def test_a_class_with_one_folder_inside_is_a_class(tmp_path):
    fill(tmp_path, cat=2, cat__more=3)
    assert counts(warned(tmp_path, "all")[0]) == {"cat": 5}


def test_a_split_alone_is_no_wrapper(tmp_path):
    fill(tmp_path, train__cat=2, train__dog=2)
    assert counts(read(tmp_path)) == {"cat": 2, "dog": 2}


@pytest.mark.parametrize("pair", [("Cat", "cat"), CAFE, ("STRASSE", "straße")])
def test_classes_that_differ_by_case_or_unicode_form_are_one_class_in_several_splits(tmp_path, pair):
    first, second = pair
    for split, name in (("train", first), ("val", second)):
        put(tmp_path / split / name, 3)
        put(tmp_path / split / "owl", 2)
    for split in ("train", "validation", "all"):
        data = read(tmp_path, split)
        assert set(data.class_names) == {first, "owl"}
        assert counts(data) == {first: 6 if split == "all" else 3, "owl": 4 if split == "all" else 2}


@pytest.mark.parametrize("pair", [("Cat", "cat"), CAFE])
@pytest.mark.parametrize("place", ["", "train"])
def test_classes_that_differ_by_case_or_unicode_form_are_refused_within_one(tmp_path, pair, place):
    for name in pair:
        put(tmp_path / place / name)
    put(tmp_path / place / "owl")
    text = refused(tmp_path)
    assert all(ascii(name) in text for name in pair)
    assert "Merge the folders, or rename one" in text


def test_a_class_that_the_train_split_lacks_is_refused(tmp_path):
    fill(tmp_path, train__cat=2, train__dog=3, test__cat=2, test__dogs=1)
    for split in ("train", "test"):
        text = refused(tmp_path, split)
        assert "lacks in it class 'dogs' of test" in text
        assert "train: cat 2, dog 3; test: cat 2, dogs 1" in text


def test_a_class_that_the_train_split_alone_has_is_named(tmp_path):
    fill(tmp_path, train__cat=2, train__dog=3, test__cat=2)
    (tmp_path / "test" / "dog").mkdir()  # an empty folder of it changes nothing
    for split in ("train", "test"):
        data, text = warned(tmp_path, split)
        assert data.class_names == ("cat", "dog")
        assert "split test" in text
        assert "lacks class 'dog' of train. Files found: train: cat 2, dog 3; test: cat 2." in text


def test_of_all_splits_together_a_class_of_one_is_named(tmp_path):
    fill(tmp_path, train__cat=2, train__dog=3, test__cat=2, test__dog=1, test__owl=1)
    data, text = warned(tmp_path, "all")
    assert counts(data) == {"cat": 4, "dog": 4, "owl": 1}
    assert "split train" in text
    assert "lacks class 'owl' of test" in text


@pytest.mark.parametrize("split", ["train", "all"])
def test_empty_classes_are_refused(tmp_path, split):
    fill(tmp_path, cat=2, dog=0, owl__inside=0, emu=1)
    (tmp_path / "dog" / "Thumbs.db").touch()
    text = refused(tmp_path, split)
    assert "none for 'dog', 'owl'. Files found: cat 2, emu 1." in text
    assert "remove the folders" in text


@pytest.mark.parametrize("names", [("notes.txt",), ("a.png", "b.jpg"), ("photo.heic",)])
def test_classes_without_an_image_that_can_be_read_are_refused(tmp_path, names):
    fill(tmp_path, cat=2)
    (tmp_path / "dog").mkdir()
    for name in names:
        (tmp_path / "dog" / name).write_text("no image")
    text = refused(tmp_path, "all")
    assert "class 'dog' has none in split 'all'" in text
    assert all(name in text for name in names)


def test_a_class_alone_is_refused_for_training_and_named_for_reading(tmp_path):
    fill(tmp_path, cat=4)
    for split in ("train", "validation", "test"):
        assert "two classes or more" in refused(tmp_path, split)
    data, text = warned(tmp_path, "all")
    assert data.size == 4
    assert "holds 'cat' alone. Files found: cat 4." in text


@pytest.mark.parametrize("inner", ["train", "Test", "val"])
def test_splits_inside_classes_are_refused(tmp_path, inner):
    fill(tmp_path, cat=1, dog=1)
    put(tmp_path / "dog" / inner)
    text = refused(tmp_path, "all")
    assert "its class folder 'dog' holds a folder named for the split" in text
    assert "train/cat" in text


def test_a_class_inside_another_is_refused(tmp_path):
    fill(tmp_path, cat=1, dog=1, dog__old__Cat=1)
    assert "holds a folder named for class 'cat'" in refused(tmp_path)


def test_a_folder_of_its_own_name_inside_a_class_counts(tmp_path):
    fill(tmp_path, cat__cat=2, dog__dog=3)
    assert counts(read(tmp_path, "all")) == {"cat": 2, "dog": 3}


def test_splits_beside_other_folders_of_images_are_refused(tmp_path):
    fill(tmp_path, train__cat=1, train__dog=1, holdout__cat=1, holdout__dog=1)
    text = refused(tmp_path)
    assert "'train'" in text
    assert "'holdout'" in text


def test_splits_beside_folders_without_images_are_read(tmp_path):
    fill(tmp_path, train__cat=1, train__dog=1, labels=0)
    (tmp_path / "labels" / "all.csv").write_text("a,b")
    assert counts(read(tmp_path)) == {"cat": 1, "dog": 1}


@pytest.mark.parametrize("pair", [("val", "validation"), ("Train", "train")])
def test_two_folders_of_one_split_are_refused(tmp_path, pair):
    for name in pair:
        fill(tmp_path / name, cat=1, dog=1)
    assert "must hold one folder for each split" in refused(tmp_path)


def test_images_in_no_class_are_named(tmp_path):
    fill(tmp_path, cat=2, dog=2)
    put(tmp_path, 1)
    data, text = warned(tmp_path, "all")
    assert data.size == 4
    assert "1 image lies in" in text
    assert "'0.png'" in text


def test_images_of_a_split_in_no_class_are_named(tmp_path):
    fill(tmp_path, train__cat=2, train__dog=2, test=3)
    assert counts(read(tmp_path)) == {"cat": 2, "dog": 2}
    text = refused(tmp_path, "test")
    assert "split 'test'" in text
    assert "holds no class folders, but 3 images" in text
    assert "3 images lie in" in warned(tmp_path, "all")[1]


def test_images_without_class_folders_are_refused(tmp_path):
    put(tmp_path, 3)
    assert "holds no sub-folders but 3 images" in refused(tmp_path)


def test_hidden_files_and_clutter_are_left_out(tmp_path):
    fill(tmp_path, cat=2, dog=2)
    for name in ("__MACOSX/cat", ".git/a", "cat/.ipynb_checkpoints", "dog/__MACOSX", "dog/@eaDir"):
        put(tmp_path / name)
    for name in ("cat/.DS_Store", "cat/Thumbs.db", "dog/desktop.ini", "dog/._0.png"):
        (tmp_path / name).write_bytes(b"clutter")
    assert counts(read(tmp_path, "all")) == {"cat": 2, "dog": 2}


def test_a_class_may_begin_with_underscores(tmp_path):
    fill(tmp_path, cat=2)
    put(tmp_path / "__background__", 3)
    assert counts(read(tmp_path, "all")) == {"__background__": 3, "cat": 2}


def test_links_are_followed_but_never_in_a_circle(tmp_path):
    fill(tmp_path / "store", a=2)
    fill(tmp_path / "data", dog=3)
    (tmp_path / "data" / "cat").symlink_to(tmp_path / "store" / "a")
    for number, above in enumerate((tmp_path / "data" / "dog", tmp_path / "data", tmp_path)):
        (tmp_path / "data" / "dog" / f"up{number}").symlink_to(above)
    (tmp_path / "data" / "itself").symlink_to(tmp_path / "data")
    assert counts(read(tmp_path / "data", "all")) == {"cat": 2, "dog": 3}


def test_what_is_no_file_is_named(tmp_path):
    fill(tmp_path, cat=2, dog=2)
    os.mkfifo(tmp_path / "dog" / "pipe.png")
    (tmp_path / "dog" / "gone.png").symlink_to(tmp_path / "nowhere")
    data, text = warned(tmp_path, "all")
    assert data.size == 4
    assert "dog/pipe.png: no regular file" in text
    assert "dog/gone.png: no such file" in text


@pytest.mark.parametrize("name", ["two\nlines", " spaces ", "cat 🐈", "x" * 200, "кот", "a.b"])
def test_odd_names_are_names(tmp_path, name):
    put(tmp_path / name, 2)
    put(tmp_path / "owl", 3)
    assert counts(read(tmp_path, "all")) == {name: 2, "owl": 3}
    (tmp_path / name / "broken\n1.png").write_bytes(b"x")
    assert warned(tmp_path, "all")[0].size == 5


def test_names_that_are_no_unicode_are_refused_for_classes_and_read_for_files(tmp_path):
    fill(tmp_path, cat=2, dog=2)
    os.rename(tmp_path / "cat" / "0.png", os.fsencode(tmp_path / "cat") + b"/\xff.png")
    assert counts(read(tmp_path, "all")) == {"cat": 2, "dog": 2}
    assert read(tmp_path, "train").size == 4
    os.rename(tmp_path / "cat", os.fsencode(tmp_path) + b"/\xff")
    assert "must be named in Unicode" in refused(tmp_path)
