"""Folders of images: classes, splits, and damaged files."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import DataWarning, load, sources

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
    with pytest.warns(DataWarning, match="split validation of .* lacks class 'cat'"):
        validation = load(f"folder:{tmp_path}", "validation")
        assert validation.class_names == ("cat", "dog")
        assert list(validation.arrays()[1]) == [1]
        assert load(f"folder:{tmp_path}", "train").size == 2
        assert load(f"folder:{tmp_path}", "all").size == 3
    with pytest.raises(ArgumentError, match="split must be one of"):
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


@pytest.mark.parametrize(("make", "text"), [(False, "no folder"), (True, "holds no sub-folders")])
def test_missing_and_empty_folders_say_what_to_do(tmp_path, make, text):
    path = tmp_path / "pictures"
    if make:
        path.mkdir()
    with pytest.raises(DataError, match=text):
        load(f"folder:{path}")
