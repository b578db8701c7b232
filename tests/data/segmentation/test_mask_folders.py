"""Folders of images and masks: exact round trips, every form of value, every fault named with its file."""

import dataclasses
import json
import shutil
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import DataWarning, augment, load
from kerasdl.data.detection import draw_shapes
from kerasdl.data.segmentation import read_masks, write_masks
from kerasdl.data.segmentation.mask_folders import named_splits
from kerasdl.data.segmentation.mask_writing import voc_colours
from kerasdl.data.sources import Examples
from kerasdl.data.trees import LazyMaps

NAMES = ("ground", "3 cars", "# sky")


def dataset(maps, names=NAMES):
    """Images whose pixels tell their number, with maps (N, H, W)."""
    like = draw_shapes(1, side=32, semantic=True)
    maps = np.asarray(maps, np.uint8)
    images = np.zeros((*maps.shape, 3), np.uint8) + np.arange(len(maps), dtype=np.uint8)[:, None, None, None]
    source = Examples(images, {"semantic": maps})
    return dataclasses.replace(like, class_names=names, input_shape=images.shape[1:], size=len(maps), source=source)


def folder(path, masks, names=("ground", "cat", "dog")):
    """Writes an image and a mask, an array or a Pillow image, for each name; returns the folder."""
    for part in ("images", "masks"):
        (path / part).mkdir(parents=True, exist_ok=True)
    for number, (name, mask) in enumerate(masks.items()):
        mask = mask if isinstance(mask, Image.Image) else Image.fromarray(mask)
        Image.new("RGB", mask.size, (number, 0, 0)).save(path / "images" / f"{name}.png")
        mask.save(path / "masks" / f"{name}.png")
    if names:
        (path / "classes.txt").write_text("".join(f"{name}\n" for name in names))
    return path


def values(data):
    return [labels["semantic"].tolist() for _, labels in data]


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(maps=arrays(np.uint8, (2, 5, 7), elements=st.sampled_from([0, 1, 2, 255])))
def test_round_trips_are_exact(maps, tmp_path_factory):
    maps[:, 0, 0] = 1  # a map of ignored pixels alone is a fault
    place = tmp_path_factory.mktemp("trip")
    data = dataset(maps)
    write_masks(data, place)
    back = read_masks(place, "all", on_bad="refuse")
    assert back.class_names == NAMES
    for (image, labels), (image2, labels2) in zip(data, back, strict=True):
        np.testing.assert_array_equal(image, image2)
        np.testing.assert_array_equal(labels["semantic"], labels2["semantic"])


def test_a_second_writing_copies_the_files(tmp_path):
    write_masks(draw_shapes(2, side=64, semantic=True), tmp_path / "one")
    write_masks(read_masks(tmp_path / "one", "all"), tmp_path / "two")
    files = [sorted(each.read_bytes() for each in (tmp_path / part).rglob("*.*")) for part in ("one", "two")]
    assert files[0] == files[1]


def test_two_sets_do_not_mix_in_one_folder(tmp_path):
    data = dataset(np.ones((2, 4, 4)))
    write_masks(data, tmp_path, "train")
    write_masks(data, tmp_path, "test")
    with pytest.raises(DataError, match=r"test/images must be empty, or two sets would mix"):
        write_masks(data, tmp_path, "test")
    with pytest.raises(DataError, match=r"classes.txt must have the classes of the dataset"):
        write_masks(draw_shapes(1, side=32, semantic=True), tmp_path, "validation")
    assert not (tmp_path / "validation").exists()


def test_labels_beside_the_map_are_not_lost_in_silence(tmp_path):
    data = dataset(np.zeros((1, 4, 4)))
    data.source.labels["pixel_weights"] = np.ones((1, 4, 4), np.float32)
    with pytest.raises(ArgumentError, match="pixel_weights"):
        write_masks(data, tmp_path)
    with pytest.raises(ArgumentError, match="split must be one of"):
        write_masks(draw_shapes(1, side=32, semantic=True), tmp_path, "exam")
    with pytest.raises(ArgumentError, match="semantic can be written"):
        write_masks(draw_shapes(1, side=32), tmp_path)


@pytest.mark.parametrize("value", [3, 300, -1, 0.5])
def test_maps_of_other_values_are_not_written(tmp_path, value):
    data = dataset(np.zeros((1, 4, 4)))
    maps = np.full((1, 4, 4), value)
    data = dataclasses.replace(data, source=dataclasses.replace(data.source, labels={"semantic": maps}))
    with pytest.raises(DataError, match=f"classes 0 to 2, or 255; got {value} for the image"):
        write_masks(data, tmp_path)
    assert not list(tmp_path.rglob("masks/*"))


@pytest.mark.parametrize("name", [" sky", "blue\nsky", ""])
def test_class_names_that_are_no_line_are_not_written(tmp_path, name):
    with pytest.raises(ArgumentError, match="a class name must be a line"):
        write_masks(dataset(np.zeros((1, 4, 4)), ("ground", name)), tmp_path)


def test_sizes_differ_and_maps_follow_their_images_without_blending(tmp_path):
    small, large = np.array([[0, 1], [2, 255]], np.uint8), np.tile(np.array([0, 2], np.uint8), (4, 3))
    path = folder(tmp_path, {"a": small, "b": large})
    data = read_masks(path, "all")
    assert data.input_shape == (None, None, 3)
    with pytest.raises(DataError, match="differ in size"):
        data[0]
    square = data.prepared((4, 4, 3), None)
    assert values(square)[0] == np.repeat(np.repeat(small, 2, 0), 2, 1).tolist()
    assert square.prepared((4, 6, 3), None)[1][1]["semantic"].tolist() == large.tolist()  # from the file's own pixels
    (images, labels), *_ = load(f"masks:{path}", "all", image_shape=(4, 4, 3)).batches(2, augment=augment.Flip())
    assert (images.shape, labels["semantic"].shape, labels["semantic"].dtype.name) == ((2, 4, 4, 3), (2, 4, 4), "uint8")
    (_, turned), *_ = square.batches(2, augment=augment.ScaleJitter((0.2, 0.3)))
    assert np.count_nonzero(turned["semantic"].numpy()[1] == 255) >= 8  # outside of the image


def test_maps_are_read_on_demand_alike(monkeypatch):
    read = []

    def one(item):
        read.append(item)
        return np.full((4, 6), item, np.uint8)

    maps = LazyMaps(range(5), one, [(4, 6)] * 5)
    like = draw_shapes(1, side=32, semantic=True)
    source = Examples(np.zeros((5, 4, 6, 3), np.uint8), {"semantic": maps})
    data = dataclasses.replace(like, input_shape=(4, 6, 3), size=5, source=source)
    assert not read
    assert data[3][1]["semantic"][0, 0] == 3
    assert read == [3]
    held = [y["semantic"].numpy() for _, y in data.batches(2, shuffle=True, seed=1)]
    monkeypatch.setattr("kerasdl.data.sources.TENSOR_LIMIT", 10)
    drawn = [y["semantic"].numpy() for _, y in data[:].batches(2, shuffle=True, seed=1)]
    for one_batch, other in zip(held, drawn, strict=True):
        np.testing.assert_array_equal(one_batch, other)
    assert data[1:3].source.labels["semantic"].shape == (2, 4, 6)
    assert data[1:3].arrays()[1]["semantic"][:, 0, 0].tolist() == [1, 2]
    assert data[1:3].fingerprint() != data[2:4].fingerprint()
    with pytest.raises(ValueError, match="several sizes"):
        np.asarray(LazyMaps(range(2), one, [(4, 6), (2, 2)]))


def indexed(array):
    picture = Image.fromarray(array)
    picture.putpalette(voc_colours()[::-1].ravel().tolist())
    return picture


def small_grey(path, array, bits):
    """Writes a grey PNG of 1, 2 or 4 bits, which Pillow does not write itself."""
    import struct
    import zlib

    rows = [b"\0" + np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:].ravel()).tobytes() for row in array]
    chunk = lambda kind, body: (  # noqa: E731
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    )
    head = struct.pack(">IIBBBBB", *array.shape[::-1], bits, 0, 0, 0, 0)
    content = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def test_values_are_those_of_the_file_whatever_its_kind(tmp_path):
    array = np.array([[0, 1, 1], [1, 0, 1]], np.uint8)
    path = folder(tmp_path, {"bits": Image.fromarray(array == 1), "index": indexed(array), "values": array})
    Image.fromarray(array).save(path / "masks" / "values.bmp")
    (path / "masks" / "values.png").unlink()
    for bits in (2, 4):
        small_grey(path / "masks" / f"grey{bits}.png", array, bits)
        Image.new("RGB", (3, 2)).save(path / "images" / f"grey{bits}.jpg")
    with Image.open(path / "masks" / "grey4.png") as picture:
        assert np.asarray(picture).max() == 17  # Pillow spreads the values
    assert values(read_masks(path, "all", on_bad="refuse")) == [array.tolist()] * 5


def test_classes_come_from_files_values_or_arguments(tmp_path):
    path = folder(tmp_path, {"a": np.array([[0, 128], [255, 128]], np.uint8)}, names=())
    (path / "classes.txt").write_text("# a comment\n0 ground\n128 cell\n")
    assert read_masks(path, "all").class_names == ("ground", "cell")
    assert values(read_masks(path, "all")) == [[[0, 1], [255, 1]]]
    assert values(read_masks(path, "all", values=(128, 255, 0), class_names="abc")) == [[[2, 0], [1, 0]]]
    assert values(read_masks(path, "all", values=(128,), class_names=("cell",), ignored=(0, 255))) == [
        [[255, 0], [255, 0]]
    ]
    (path / "classes.txt").unlink()
    assert read_masks(path, "all", values=(0, 128)).class_names == ("0", "128")
    with pytest.warns(DataWarning, match=r"2 of the values 0 to 128, \[0, 128\]"):
        assert len(read_masks(path, "all").class_names) == 129


def test_zero_and_255_alone_are_background_and_foreground(tmp_path):
    path = folder(tmp_path, {"a": np.array([[0, 255]], np.uint8), "b": np.array([[255, 255]], np.uint8)}, names=())
    with pytest.warns(DataWarning, match="0 and 255 are the only values"):
        data = read_masks(path, "all")
    assert (data.class_names, values(data.prepared((1, 2, 3), None))) == (
        ("background", "foreground"),
        [[[0, 1]], [[1, 1]]],
    )
    (path / "classes.txt").write_text("background\nforeground\n")
    with pytest.warns(DataWarning) as caught:
        assert read_masks(path, "all").size == 1
    assert "b: every pixel of the mask is left out" in str(caught[0].message)
    assert "no mask of" in str(caught[1].message)
    assert "write '255 name' into classes.txt" in str(caught[1].message)
    (path / "classes.txt").write_text("0 background\n255 foreground\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert values(read_masks(path, "all")) == [[[0, 1]], [[1, 1]]]


PALETTES = {
    "palette.txt": "0 0 0 ground\n255 0 0 cat\n0 255 0 cat\n9 9 9 ignore\n",
    "class_dict.csv": "name,r,g,b\nground,0,0,0\ncat,255,0,0\ncat,0,255,0\nignore,9,9,9\n",
    "labelmap.txt": "# label:color_rgb:parts:actions\nground:0,0,0::\ncat:255,0,0::\ncat:0,255,0::\nignore:9,9,9::\n",
}


@pytest.mark.parametrize("name", PALETTES)
def test_colours_are_classes_by_a_palette(name, tmp_path):
    array = np.array([[[0, 0, 0], [255, 0, 0]], [[0, 255, 0], [9, 9, 9]]], np.uint8)
    path = folder(tmp_path, {"a": array, "b": Image.fromarray(array).quantize(8, dither=0)}, names=())
    (path / name).write_text(PALETTES[name])
    data = read_masks(path, "all", on_bad="refuse")
    assert (data.class_names, values(data)) == (("ground", "cat"), [[[0, 1], [1, 255]]] * 2)
    opaque = np.dstack([array, np.full((2, 2), 255, np.uint8)])
    folder(path, {"a": opaque}, names=())
    assert values(read_masks(path, "all", on_bad="refuse"))[0] == [[0, 1], [1, 255]]


def test_holes_of_a_palette_are_named_or_left_out_as_asked(tmp_path):
    array = np.array([[[0, 0, 0], [1, 2, 3]]], np.uint8)
    path = folder(tmp_path, {"a": array}, names=())
    (path / "palette.json").write_text(json.dumps({"ground": [0, 0, 0], "cat": [255, 0, 0]}))
    with pytest.raises(DataError, match=r"a: 1 pixels have the colour \[1, 2, 3\]"):
        read_masks(path, "all", on_bad="refuse")
    assert values(read_masks(path, "all", unknown="ignore", on_bad="refuse")) == [[[0, 255]]]
    assert values(read_masks(path, "all", palette={"x": (1, 2, 3), "y": (0, 0, 0)})) == [[[1, 0]]]
    (path / "palette.json").unlink()
    with pytest.raises(DataError, match=r"colours .RGB., without a palette"):
        read_masks(path, "all", on_bad="refuse")


def turned(array, tag):
    picture = Image.fromarray(array)
    picture.getexif()[0x0112] = tag
    return picture


SOUND = np.array([[0, 1, 2], [0, 1, 2]], np.uint8)


def spoil(path, kind):
    """Spoils the pair b of a folder; returns the text of the fault."""
    image, mask = path / "images" / "b.png", path / "masks" / "b.png"
    if kind == "beyond":
        Image.fromarray(SOUND + 1).save(mask)
        return "b: 2 pixels have the value 3 or another of no class"
    if kind == "size":
        Image.fromarray(SOUND.T.copy()).save(mask)
        return "b: the mask has 2x3 pixels, the image 3x2"
    if kind == "no mask":
        mask.unlink()
        return "b: the image has no mask"
    if kind == "no image":
        image.unlink()
        return "b: the mask has no image"
    if kind == "two images":
        shutil.copy(image, path / "images" / "b.jpg")
        return r"b: several files bear the name"
    if kind in ("jpeg", "webp"):
        Image.fromarray(SOUND).save(mask, kind)
        return f"b: a {'JPEG' if kind == 'jpeg' else 'WebP'} mask, whose compression blurs labels"
    if kind == "ignored":
        Image.fromarray(np.full_like(SOUND, 255)).save(mask)
        return "b: every pixel of the mask is left out"
    if kind == "alpha":
        Image.fromarray(np.dstack([SOUND, SOUND]), "LA").save(mask)
        return "b: a mask of an alpha channel"
    if kind == "16 bits":
        Image.fromarray(SOUND.astype(np.uint16)).save(mask)
        return "b: a mask of 16 bits"
    if kind == "cut":
        mask.write_bytes(mask.read_bytes()[:45])
        return "b: "
    if kind == "empty":
        image.write_bytes(b"")
        return "b: no PNG, JPEG, BMP, WebP or GIF image"
    tag = {"turned over": 3, "turned": 6}[kind]
    picture = Image.new("RGB", (3, 2))
    exif = picture.getexif()
    exif[0x0112] = tag
    picture.save(image, exif=exif)
    return "b: the EXIF tag of the image turns it, and not its mask"


KINDS = (
    "beyond",
    "size",
    "no mask",
    "no image",
    "two images",
    "jpeg",
    "webp",
    "ignored",
    "alpha",
    "16 bits",
    "cut",
    "empty",
)


@pytest.mark.parametrize("kind", [*KINDS, "turned over", "turned"])
def test_a_fault_is_named_in_a_line_and_left_out_or_refused(kind, tmp_path):
    path = folder(tmp_path, {"a": SOUND, "b": SOUND})
    text = spoil(path, kind)
    with pytest.warns(DataWarning, match=text) as caught:
        data = read_masks(path, "all")
    assert len(caught) == 1
    assert "1 fault in" in str(caught[0].message)
    assert "\n" not in str(caught[0].message)
    assert values(data) == [SOUND.tolist()]
    with pytest.raises(DataError, match=text):
        load(f"masks:{path}", "all", on_bad="refuse")


def test_an_image_and_a_mask_that_are_both_turned_are_sound(tmp_path):
    path = folder(tmp_path, {"a": SOUND, "b": SOUND})
    stored = np.rot90(SOUND)  # tag 6: turned by 90 degrees clockwise when shown
    for part, array in (("images", np.dstack([stored * 100] * 3)), ("masks", stored)):
        picture = Image.fromarray(np.ascontiguousarray(array))
        exif = picture.getexif()
        exif[0x0112] = 6
        picture.save(path / part / "b.png", exif=exif)
    data = read_masks(path, "all", on_bad="refuse")
    assert values(data)[1] == SOUND.tolist()
    assert (data[1][0][..., 0] == SOUND * 100).all()
    Image.fromarray(SOUND).save(path / "masks" / "b.png")  # drawn on the upright image, whose size tells so
    assert values(read_masks(path, "all", on_bad="refuse"))[1] == SOUND.tolist()


def test_instance_ids_of_16_bits_are_objects_if_asked(tmp_path):
    path = folder(tmp_path, {"a": np.array([[0, 300], [65535, 0]], np.uint16)}, names=())
    data = read_masks(path, "all", instances=True, on_bad="refuse")
    assert (data.class_names, values(data)) == (("background", "object"), [[[0, 1], [1, 0]]])
    with pytest.raises(ArgumentError, match="without values and palette"):
        read_masks(path, "all", instances=True, values=(0, 1))
    with pytest.raises(ArgumentError, match="needs two class names"):
        read_masks(path, "all", instances=True, class_names=("a",))


@pytest.mark.parametrize(
    "form", ["{split}/images {split}/masks", "images/{split} masks/{split}", "{split}/Images {split}/labels"]
)
def test_splits_stand_above_or_below(form, tmp_path):
    for number, split in enumerate(("Train", "val")):
        for part, name in zip(form.format(split=split).split(), ("a", "a"), strict=True):
            (tmp_path / part / "deeper").mkdir(parents=True)
            Image.fromarray(np.full((2, 2), number, np.uint8)).save(tmp_path / part / "deeper" / f"{name}{number}.png")
    assert named_splits(tmp_path) == ("train", "validation")
    assert [load(f"masks:{tmp_path}", split).size for split in ("train", "val", "all")] == [1, 1, 2]
    assert load(f"masks:{tmp_path}").class_names == ("0", "1")  # of all splits, so that they agree
    with pytest.raises(ArgumentError, match=r"split of .* must be one of"):
        load(f"masks:{tmp_path}", "test")


def test_without_splits_a_tenth_is_for_validation_and_for_the_test(tmp_path):
    path = folder(tmp_path, {f"n{number}": SOUND for number in range(20)})
    parts = [read_masks(path, split) for split in ("train", "validation", "test")]
    assert [each.size for each in parts] == [16, 2, 2]
    assert len({file for each in parts for file in each.source.inputs}) == 20
    assert read_masks(path, seed=1).source.inputs != parts[0].source.inputs
    assert load(f"masks:{path}", size=3).size == 3
    with pytest.raises(ArgumentError, match="size must be at most 16"):
        read_masks(path, size=17)


@pytest.mark.parametrize(
    ("file", "text", "match"),
    [
        ("classes.txt", "", "must hold the name of a class"),
        ("classes.txt", "a\na\n", "unlike names"),
        ("classes.txt", "0 a\n300 b\n", "unlike numbers from 0 to 255"),
        ("classes.txt", "\n".join(f"c{n}" for n in range(256)), "1 to 255 unlike names"),
        ("palette.txt", "0 0 0\n", "must be a palette"),
        ("palette.txt", "0 0 300 a\n", "is not three numbers from 0 to 255"),
        ("palette.txt", "0 0 0 a\n0 0 0 b\n", "unlike colours"),
        ("palette.json", "[" * 100_000, "must be a palette"),
        ("palette.json", "[]", "got a list"),
        ("palette.json", '{"a": [0, 0, 0.5]}', "is not three numbers"),
        ("palette.json", "{}", "unlike colours, one at least"),
        ("palette.json", '{"ignore": [0, 0, 0]}', "unlike names of classes"),
    ],
)
def test_faulty_files_of_classes_are_refused(file, text, match, tmp_path):
    path = folder(tmp_path, {"a": SOUND}, names=())
    (path / file).write_text(text)
    with pytest.raises((DataError, ArgumentError), match=match):
        read_masks(path, "all")


def test_bad_layouts_and_arguments_are_refused(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="no folder"):
        read_masks(tmp_path / "none")
    with pytest.raises(DataError, match="must hold images and masks or annotations or labels"):
        read_masks(tmp_path)
    path = folder(tmp_path, {"a": SOUND})
    shutil.copytree(path / "masks", path / "labels")
    with pytest.raises(DataError, match="one folder of images and one of masks"):
        read_masks(path)
    shutil.rmtree(path / "labels")
    for settings_, match in (
        ({"unknown": "skip"}, "unknown must be one of"),
        ({"on_bad": "drop"}, "on_bad must be one of"),
        ({"values": (0, 1)}, "one number for each of the 3 classes"),
        ({"values": (0, 0, 1)}, "unlike numbers"),
        ({"ignored": (300,)}, "a value of ignored must be"),
        ({"values": (0, 1, 2), "palette": {"a": (0, 0, 0)}}, "contradict each other"),
        ({"class_names": ("a",), "palette": {"b": (0, 0, 0)}}, "must be those of the palette"),
    ):
        with pytest.raises(ArgumentError, match=match):
            read_masks(path, "all", **settings_)
    spoil(folder(path, {"b": SOUND}), "jpeg")
    (path / "masks" / "a.png").unlink()
    with (
        pytest.warns(DataWarning, match="2 faults"),
        pytest.raises(DataError, match="no pair of image and mask is left"),
    ):
        read_masks(path, "all")
    monkeypatch.setattr("kerasdl.data.segmentation.mask_classes.LARGEST_TEXT", 10)
    with pytest.raises(DataError, match="more than the 10"):
        read_masks(path, "all")


def test_a_folder_of_masks_is_not_read_as_two_classes(tmp_path):
    path = folder(tmp_path, {"a": SOUND})
    with pytest.raises(DataError, match="images with their masks, not two classes"):
        load(path)


def test_the_largest_image_of_a_stranger_is_not_decoded(tmp_path, monkeypatch):
    path = folder(tmp_path, {"a": SOUND, "b": np.zeros((20, 20), np.uint8)})
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    with pytest.warns(DataWarning, match="b: 20x20 pixels are more than 300"):
        assert read_masks(path, "all").size == 1
