"""Image files that a served graph reads: turned by EXIF and brought to 8 bits as the library does, bit for bit."""

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from kerasdl.data import prepare_images
from kerasdl.deploy.export.image_decoding import image_reader

RNG = np.random.default_rng(0)
SHAPE = (None, None, 3)
PIXELS = np.kron(RNG.integers(0, 256, (3, 5, 3), np.uint8), np.ones((8, 8, 1), np.uint8))


@pytest.fixture(scope="module")
def read():
    return tf.function(image_reader({"image_shape": SHAPE, "scale": (0, 255)}))


def held(kind, pixels=PIXELS, **options):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def exif(orientation, order="<", kind=3):
    """EXIF by hand: the camera's name before the orientation, in either order of bytes."""
    value = struct.pack(order + ("HH" if kind == 3 else "I"), *([orientation, 0] if kind == 3 else [orientation]))
    entries = struct.pack(order + "HHII", 0x010F, 2, 4, 0) + struct.pack(order + "HHI", 0x0112, kind, 1) + value
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    return b"Exif\0\0" + head + struct.pack(order + "H", 2) + entries + bytes(4)


def segment(data, marker=0xE1):
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def agrees(read, content, tmp_path):
    """Returns the pixels, which must be those of `prepare_images`."""
    (tmp_path / "file").write_bytes(content)
    expected = prepare_images(tmp_path / "file", SHAPE, (0, 255))
    np.testing.assert_array_equal(read(tf.constant([content])), expected)
    return expected[0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_files_are_turned_as_the_library_turns_them(read, tmp_path, orientation, kind):
    tag = Image.Exif()
    tag[0x0112] = orientation
    found = agrees(read, held(kind, exif=tag), tmp_path)
    assert found.shape[:2] == ((24, 40) if orientation < 5 else (40, 24))
    assert (found == agrees(read, held(kind), tmp_path)).all() if orientation == 1 else True


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
def test_both_orders_of_bytes_behind_other_segments(read, tmp_path, order, kind):
    whole = held("JPEG")
    before = segment(b"http://ns.adobe.com/xap/1.0/\0<x/>") + segment(bytes(60_000), 0xE2) + b"\xff"
    assert agrees(read, whole[:2] + before + segment(exif(6, order, kind)) + whole[2:], tmp_path).shape == (40, 24, 3)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_what_is_no_orientation_turns_nothing(read, tmp_path, orientation):
    whole = held("JPEG")
    content = whole[:2] + segment(exif(orientation)) + whole[2:]
    np.testing.assert_array_equal(agrees(read, content, tmp_path), agrees(read, whole, tmp_path))


@pytest.mark.parametrize("cut", range(6, 44, 5))
def test_broken_tags_turn_nothing_or_as_the_library_does(read, tmp_path, cut):
    whole = held("JPEG")
    found = read(tf.constant([whole[:2] + segment(exif(6)[:cut]) + whole[2:]])).numpy()
    assert found.shape in ((1, 24, 40, 3), (1, 40, 24, 3))


def test_a_length_beyond_the_file_ends_the_search(read, tmp_path):
    whole = held("PNG")
    chunk = struct.pack(">I", 0xFFFFFFF0) + b"junkdata"
    assert agrees(read, whole, tmp_path).shape == (24, 40, 3)
    assert read(tf.constant([whole + chunk])).shape == (1, 24, 40, 3)


def test_a_tag_behind_the_pixels_of_a_png_is_read(read, tmp_path):
    body, whole = exif(8)[6:], held("PNG")
    chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
    assert agrees(read, whole[:-12] + chunk + whole[-12:], tmp_path).shape == (40, 24, 3)


@pytest.mark.parametrize("levels", [None, 4095, 65535])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_brought_to_eight_as_the_library_does(tmp_path, levels, channels):
    settings = {"image_shape": (7, 6, channels), "scale": (-1, 1), "levels": levels}
    read = tf.function(image_reader(settings))
    deep = RNG.integers(0, (levels or 65535) + 1, (11, 13), np.uint16)
    for name, pixels in (("deep.png", deep), ("eight.png", PIXELS), ("photo.jpg", PIXELS)):
        Image.fromarray(pixels).save(tmp_path / name)
        expected = prepare_images(tmp_path / name, (7, 6, channels), levels=levels)
        np.testing.assert_array_equal(read(tf.constant([(tmp_path / name).read_bytes()])), expected)
        assert expected.max() > 0
