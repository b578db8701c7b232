"""Folders of images: classes, splits, and damaged files."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import DataWarning, load, sources
from kerasdl.data.folders import duplicates

RNG = np.random.default_rng(0)
SUFFIXES = (".png", ".jpg", ".bmp", ".webp", ".jpeg")


def write_image(path, level, size=(12, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = RNG.integers(0, 8, (*size, 3))
    Image.fromarray((level + noise).astype(np.uint8)).save(path, quality=95)


def huge_png():
    """A PNG of a few bytes that claims 60000 x 60000 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.fixture
def pets(tmp_path):
    """Two classes of twenty images in four formats; the level tells the class."""
    for label, name in enumerate(("cat", "dog")):
        for index in range(20):
            write_image(tmp_path / name / f"{index:02d}{SUFFIXES[index % 5]}", 40 + 150 * label)
    return tmp_path


@pytest.fixture
def damaged(pets):
    (pets / "cat" / "empty.png").touch()
    whole = (pets / "cat" / "01.jpg").read_bytes()
    (pets / "cat" / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (pets / "dog" / "noise.bmp").write_bytes(RNG.bytes(500))
    (pets / "dog" / "notes.txt").write_text("not an image")
    (pets / "dog" / "huge.png").write_bytes(huge_png())
    (pets / "dog" / ".DS_Store").write_bytes(b"clutter")
    return pets


BAD = ("cat/empty.png", "cat/truncated.jpg", "dog/noise.bmp", "dog/notes.txt", "dog/huge.png")


def test_classes_and_files_come_in_the_order_of_their_names(pets):
    dataset = load(f"folder:{pets}", "all")
    assert (dataset.size, dataset.class_names, dataset.input_shape) == (40, ("cat", "dog"), (12, 10, 3))
    inputs, labels = dataset.arrays()
    np.testing.assert_array_equal(labels, np.repeat([0, 1], 20))
    np.testing.assert_array_equal(inputs.mean(axis=(1, 2, 3)) > 0, labels == 1)


@pytest.mark.parametrize("seed", [0, 7])
def test_splits_are_disjoint_stratified_and_fixed(pets, seed):
    splits = {split: load(f"folder:{pets}", split, seed=seed) for split in ("train", "validation", "test")}
    assert [dataset.size for dataset in splits.values()] == [32, 4, 4]
    files = [file for dataset in splits.values() for file in dataset.source.inputs]
    assert sorted(files) == load(f"folder:{pets}", "all").source.inputs
    for dataset in splits.values():
        assert len(set(np.bincount(dataset.source.labels))) == 1
    assert load(f"folder:{pets}", "test", seed=seed).source.inputs == splits["test"].source.inputs


def test_the_seed_moves_the_split(pets):
    assert load(f"folder:{pets}", "test").source.inputs != load(f"folder:{pets}", "test", seed=1).source.inputs


def test_folders_that_are_split_already_are_taken_so(tmp_path):
    write_image(tmp_path / "train" / "cat" / "a.png", 10)
    write_image(tmp_path / "train" / "dog" / "b.png", 10)
    write_image(tmp_path / "val" / "dog" / "c.png", 10)
    found = {}
    for split in ("train", "validation", "all"):
        with pytest.warns(DataWarning, match="split validation of .* lacks class 'cat'"):
            found[split] = load(f"folder:{tmp_path}", split)
    assert found["validation"].class_names == ("cat", "dog")
    assert list(found["validation"].arrays()[1]) == [1]
    assert (found["train"].size, found["all"].size) == (2, 3)
    with pytest.raises(
        ArgumentError,
        match=r"split of .*, which holds folders of them, must be one of \('train', 'validation', 'all'\)",
    ):
        load(f"folder:{tmp_path}", "test")


def test_classes_may_be_named_like_splits(tmp_path):
    for name in ("train", "test"):
        write_image(tmp_path / name / "a.png", 10)
    assert load(f"folder:{tmp_path}", "all").class_names == ("test", "train")


def test_bad_files_are_named_in_one_warning_and_left_out(damaged):
    with pytest.warns(DataWarning, match="5 bad files") as caught:
        dataset = load(f"folder:{damaged}", "all", image_shape=(8, 8, 1))
    assert len(caught) == 1
    assert all(name in str(caught[0].message) for name in BAD)
    assert ".DS_Store" not in str(caught[0].message)
    assert dataset.arrays()[0].shape == (40, 8, 8, 1)


def test_bad_files_are_refused_when_asked(damaged):
    with pytest.raises(DataError) as caught:
        load(f"folder:{damaged}", "all", on_bad="refuse")
    assert all(name in str(caught.value) for name in BAD)
    assert "empty" in str(caught.value)


def test_nothing_but_bad_files_is_an_error(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "empty.png").touch()
    with pytest.raises(DataError, match=r"cat/empty\.png: the file is empty"):
        load(f"folder:{tmp_path}", "all")


@pytest.mark.parametrize("limit", [2**30, 1], ids=["kept", "decoded each time"])
def test_images_of_many_sizes_need_a_shape_and_then_decode_alike(pets, monkeypatch, limit):
    write_image(pets / "cat" / "large.png", 40, (30, 50))
    mixed = load(f"folder:{pets}", "all")
    assert mixed.input_shape == (None, None, 3)
    with pytest.raises(DataError, match="differ in size"):
        mixed.batches()
    expected = mixed.prepared((8, 8, 3)).arrays()
    monkeypatch.setattr(sources, "MEMORY_LIMIT", limit)
    asked = load(f"folder:{pets}", "all", image_shape=(8, 8, 3))
    assert (asked.source.ready is None) == (limit == 1)
    np.testing.assert_array_equal(asked.arrays()[0], expected[0])
    np.testing.assert_array_equal(np.concatenate([x for x, _ in asked.batches(16)]), expected[0])


def test_pictures_are_decoded_once(pets):
    dataset = load(f"folder:{pets}", "all", image_shape=(8, 8, 3))
    for file in dataset.source.inputs:
        file.unlink()
    assert np.concatenate([x for x, _ in dataset.batches(16)]).shape == (40, 8, 8, 3)


def test_grey_folders_have_one_channel(tmp_path):
    for level, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((6, 6), level, np.uint8)).save(tmp_path / name / "1.png")
    assert load(f"folder:{tmp_path}", "all").input_shape == (6, 6, 1)


def test_size_draws_a_fixed_sample(pets):
    small, large = (load(f"folder:{pets}", "all", size=size).source.inputs for size in (10, 20))
    assert set(small) < set(large)
    assert small == sorted(small)
    assert {file.parent.name for file in small} == {"cat", "dog"}
    with pytest.raises(ArgumentError, match="size must be at most 40"):
        load(f"folder:{pets}", "all", size=41)


def test_a_long_list_of_bad_files_is_cut(pets):
    for k in range(30):
        (pets / "cat" / f"x{k:02d}.txt").write_text("no image")
    with pytest.warns(DataWarning, match=r"30 bad files .*x00\.txt.*x11\.txt.* and 18 more; left out"):
        load(f"folder:{pets}", "all")


def test_images_of_other_kinds_are_named_with_the_way_to_convert_them(pets):
    heads = {
        "IMG_1.heic": b"\0\0\0\x18ftypheic",
        "sent.jpg": b"\0\0\0\x18ftypmif1",
        "a.avif": b"",
        "scan.tiff": b"II*\0",
    }
    for name, head in heads.items():
        (pets / "cat" / name).write_bytes(head + bytes(200))
    with pytest.warns(DataWarning) as caught:
        assert load(f"folder:{pets}", "all").size == 40
    (text,) = [str(each.message) for each in caught]
    assert "4 bad files" in text
    assert "2 HEIC files are not read ('cat/IMG_1.heic', 'cat/sent.jpg'): convert to PNG or JPEG" in text
    assert "1 AVIF file is not read ('cat/a.avif')" in text
    assert "1 TIFF file is not read ('cat/scan.tiff')" in text
    assert "magick mogrify" in text


def test_the_content_tells_the_format_whatever_the_suffix(pets):
    for name in ("photo.JPE", "photo.jfif", "photo.JPEG", "photo.txt", "photo"):
        Image.fromarray(RNG.integers(0, 256, (12, 10, 3), np.uint8)).save(pets / "cat" / name, "JPEG")
    assert load(f"folder:{pets}", "all").size == 45


def copy(source, target):
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())


def notes_of(path, split):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(f"folder:{path}", split)
    assert all("\n" not in str(each.message) for each in caught)
    return [str(each.message).replace(str(path), "PATH") for each in caught]


def test_a_picture_in_two_splits_is_named(pets, tmp_path):
    root = tmp_path / "split"
    for name in ("cat", "dog"):
        for k in range(4):
            copy(pets / name / f"{k:02d}{SUFFIXES[k]}", root / "train" / name / f"{k}.png")
            write_image(root / "test" / name / f"{k}.png", 90)
        write_image(root / "val" / name / "0.png", 90)
    copy(pets / "dog" / "01.jpg", root / "train" / "dog" / "once_more.png")  # twice in one place harms nobody
    assert notes_of(root, "train") == []
    for k in (1, 2):
        copy(root / "train" / "cat" / f"{k}.png", root / "test" / "cat" / f"again{k}.jpg")
    expected = "2 pictures stand in PATH in more than one split, first test/cat/again1.jpg and train/cat/1.png: "
    expected += "figures on it are too good. Remove all but one."
    assert notes_of(root, "train") == notes_of(root, "test") == notes_of(root, "all") == [expected]
    assert notes_of(root, "validation") == []


def test_a_picture_that_is_drawn_into_two_splits_is_named(pets):
    (file, *_) = load(f"folder:{pets}", "test").source.inputs
    for k in range(20):
        copy(file, file.with_name(f"again{k}{file.suffix}"))
    for split in ("train", "test"):
        assert any("more than one split" in note for note in notes_of(pets, split))
    assert notes_of(pets, "all") == []


def test_a_picture_in_two_classes_is_named(pets):
    copy(pets / "cat" / "03.webp", pets / "dog" / "03.webp")
    note = "1 picture stands in PATH in more than one class, first cat/03.webp and dog/03.webp: one of its labels is "
    assert notes_of(pets, "all") == [note + "wrong. Remove all but one."]


def test_bad_files_of_one_content_are_no_pictures(pets):
    for name in ("cat", "dog"):
        (pets / name / "page.jpg").write_text("<!DOCTYPE html><p>Not found")
        (pets / name / "empty.jpg").touch()
    (note,) = notes_of(pets, "all")
    assert "page.jpg: a web page, as failed downloads leave" in note


def test_files_are_read_no_further_than_it_takes(tmp_path, monkeypatch):
    contents = [b"a" * 9000, b"b" * 9000, b"a" * 9000, b"c" + b"a" * 8999, b"a" * 8000, b"", b""]
    files = [tmp_path / str(k) for k in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    read = {"_tail": [], "_digest": []}
    for name, seen in read.items():
        measure = getattr(duplicates, name)
        monkeypatch.setattr(
            duplicates, name, lambda file, measure=measure, seen=seen: (seen.append(file), measure(file))[1]
        )
    assert duplicates.equal_files([*files, tmp_path / "gone"], range(8)) == [[0, 2]]
    assert read == {"_tail": files[:4], "_digest": [files[0], files[2], files[3]]}
    assert duplicates.equal_files(files, [0] * 7) == []


def grey(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint16)).save(path)


@pytest.fixture
def twelve_bits(tmp_path):
    for name in ("a", "b"):
        for k in range(3):
            grey(tmp_path / name / f"{k}.png", RNG.integers(0, 4001, (6, 7)))
    grey(tmp_path / "b" / "2.png", np.full((6, 7), 4095))
    return tmp_path


def test_twelve_bits_in_sixteen_are_named_and_read_by_levels(twelve_bits):
    with pytest.warns(
        DataWarning, match=r"6 files of 16 bits, such as .*b/2\.png, hold values up to 4095 of 65535"
    ) as caught:
        dark = load(f"folder:{twelve_bits}", "all", scale=None)
    assert "Pass levels=4095" in str(caught[0].message)
    assert dark.arrays()[0].max() == 15
    assert dark.levels is None
    for limit in (2**30, 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sources, "MEMORY_LIMIT", limit)
            data = load(f"folder:{twelve_bits}", "all", image_shape=(6, 7, 1), scale=None, levels=4095)
            values = np.stack([np.asarray(Image.open(file)) for file in data.source.inputs])
            found = np.concatenate([x for x, _ in data.batches(4)])
            assert np.abs(found[..., 0] - values / 4095 * 255).max() < 1
            assert found.max() == 255
            np.testing.assert_array_equal(data.prepared((6, 7, 1), None).take(2).arrays()[0], found[:2])
        assert data.levels == data.take(3).levels == 4095
    assert notes_of(twelve_bits, "all") != []


def test_levels_below_the_largest_value_are_refused(twelve_bits):
    with pytest.raises(ArgumentError, match=r"levels must be at least .* got 1023.*b/2\.png holds 4095"):
        load(f"folder:{twelve_bits}", "all", levels=1023)


def test_sixteen_bits_that_are_used_and_eight_bits_are_read_as_ever(twelve_bits):
    grey(twelve_bits / "a" / "bright.png", np.full((6, 7), 65535))
    Image.fromarray(np.full((6, 7), 9, np.uint8)).save(twelve_bits / "a" / "eight.png")
    assert notes_of(twelve_bits, "all") == []
    data = load(f"folder:{twelve_bits}", "all", scale=None)
    for file, found in zip(data.source.inputs, data.arrays()[0], strict=True):
        values = np.asarray(Image.open(file))
        np.testing.assert_array_equal(found[..., 0], values if file.stem == "eight" else values >> 8)


@pytest.mark.parametrize(("make", "text"), [(False, "no folder"), (True, "holds no sub-folders")])
def test_missing_and_empty_folders_say_what_to_do(tmp_path, make, text):
    path = tmp_path / "pictures"
    if make:
        path.mkdir()
    with pytest.raises(DataError, match=text):
        load(f"folder:{path}")
