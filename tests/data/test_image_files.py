"""Image files of every mode and state: right pixels, or one line that names the file and what to do."""

import io
import struct
import zlib

import numpy as np
import pytest
from folder_trees import TURNS
from PIL import Image

from kerasdl.core.errors import DataError
from kerasdl.data import decode_image

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (9, 7, 3), np.uint8)
DEEP = RNG.integers(0, 65536, (5, 6), np.uint16)


def png(values, colour_type, bits=16):
    """A PNG of any depth and kind, which Pillow cannot write: values (H, W, channels)."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape[:2]
    rows = values.astype(">u2" if bits == 16 else "u1").reshape(height, -1)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def refused(path, **options):
    with pytest.raises(DataError) as caught:
        decode_image(path, **options)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_sixteen_bits_are_brought_to_eight(tmp_path):
    Image.fromarray(DEEP).save(tmp_path / "deep.png")
    np.testing.assert_array_equal(decode_image(tmp_path / "deep.png"), DEEP >> 8)
    np.testing.assert_array_equal(decode_image(tmp_path / "deep.png", levels=65535), DEEP >> 8)


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
@pytest.mark.parametrize("levels", [None, 4095, 1000])
def test_sixteen_bits_of_every_kind_by_levels(tmp_path, colour_type, channels, levels):
    top = levels or 65535
    values = RNG.integers(0, top + 1, (5, 6, channels), np.uint16)
    values[0, 0] = top
    (tmp_path / "deep.png").write_bytes(png(values, colour_type))
    found = decode_image(tmp_path / "deep.png", levels=levels)
    kept = values[..., 0] if channels < 3 else values
    assert found.shape == kept.shape
    assert np.abs(found - kept / top * 255).max() < 1
    assert found.max() == 255
    if levels:
        text = refused(tmp_path / "deep.png", levels=levels - 1)
        assert f"its largest value is {levels}, above levels={levels - 1}" in text


def test_levels_leave_eight_bits_alone(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    np.testing.assert_array_equal(decode_image(tmp_path / "a.png", levels=4095), COLOUR)


def test_palettes_and_single_bits(tmp_path):
    few = np.array([[0, 200], [90, 17]], np.uint8)[..., None] * np.array([1, 0, 1], np.uint8)
    for suffix in ("png", "gif", "bmp"):
        Image.fromarray(few).quantize(4).save(tmp_path / f"palette.{suffix}")
        np.testing.assert_array_equal(decode_image(tmp_path / f"palette.{suffix}")[..., :3], few)
    Image.fromarray(few[..., 0] > 50).save(tmp_path / "one_bit.png")
    np.testing.assert_array_equal(decode_image(tmp_path / "one_bit.png"), [[0, 255], [255, 0]])


@pytest.mark.parametrize("transparency", [0, bytes([0, 128, 255, 7])])
def test_palettes_with_transparency_keep_their_colours(tmp_path, transparency):
    picture = Image.fromarray(COLOUR).quantize(4)
    picture.save(tmp_path / "clear.png", transparency=transparency)
    found = decode_image(tmp_path / "clear.png")
    np.testing.assert_array_equal(found[..., :3], np.asarray(picture.convert("RGB")))
    assert found.shape[2] == 4


def test_alpha_of_grey_is_dropped_and_of_colour_kept(tmp_path):
    Image.fromarray(COLOUR[..., :2], "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(decode_image(tmp_path / "la.png"), COLOUR[..., 0])
    clear = np.dstack([COLOUR, COLOUR[..., 0]])
    for suffix, options in (("png", {}), ("webp", {"lossless": True, "exact": True})):
        Image.fromarray(clear).save(tmp_path / f"rgba.{suffix}", **options)
        np.testing.assert_array_equal(decode_image(tmp_path / f"rgba.{suffix}"), clear)


def test_cmyk_photographs_have_their_colours(tmp_path):
    smooth = np.kron(COLOUR[:2, :2], np.ones((16, 16, 1), np.uint8))
    Image.fromarray(smooth).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert Image.open(tmp_path / "print.jpg").mode == "CMYK"
    assert np.abs(decode_image(tmp_path / "print.jpg").astype(int) - smooth)[4::16, 4::16].max() < 12


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_animations_the_first_frame_is_read(tmp_path, suffix):
    frames = [Image.new("RGB", (6, 5), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
    assert Image.open(tmp_path / f"a.{suffix}").n_frames == 3
    np.testing.assert_array_equal(decode_image(tmp_path / f"a.{suffix}")[..., :3], np.asarray(frames[0]))


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("kind", ["colour.png", "grey.png", "deep.png", "deep_colour.png", "colour.webp", "photo.jpg"])
def test_photographs_are_turned_upright(tmp_path, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    deep = np.dstack([DEEP, DEEP.T.reshape(DEEP.shape), DEEP])
    stored = {"grey.png": COLOUR[..., 0], "deep.png": DEEP, "photo.jpg": np.kron(COLOUR, np.ones((8, 8, 1), np.uint8))}
    if kind == "deep_colour.png":
        # Behind the header of 33 bytes, a chunk of its own.
        body = exif.tobytes().removeprefix(b"Exif\0\0")
        chunk = struct.pack(">I", len(body)) + b"eXIf" + body + struct.pack(">I", zlib.crc32(b"eXIf" + body))
        whole = png(deep, 2)
        (tmp_path / kind).write_bytes(whole[:33] + chunk + whole[33:])
        expected = deep >> 8
    else:
        pixels = stored.get(kind, COLOUR)
        options = {"lossless": True} if kind.endswith("webp") else {}
        Image.fromarray(pixels).save(tmp_path / kind, exif=exif, **options)
        expected = pixels >> 8 if kind == "deep.png" else pixels
        if kind == "photo.jpg":
            expected = np.asarray(Image.open(tmp_path / kind))
    np.testing.assert_array_equal(decode_image(tmp_path / kind), TURNS[orientation](expected))


def held(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.9])
def test_files_that_end_early_are_named(tmp_path, kind, share):
    whole = held(Image.fromarray(RNG.integers(0, 256, (40, 50, 3), np.uint8)), kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(whole[: int(share * len(whole))])
    text = refused(path)
    assert str(path) in text
    assert "Repair or remove the file" in text


@pytest.mark.parametrize(
    ("content", "name", "text"),
    [
        (b"", "a.jpg", "the file is empty"),
        (b"text", "a.png", "not a PNG, JPEG, BMP, WebP or GIF image"),
        (b" <!doctype HTML><p>404", "a.jpg", "a web page, as failed downloads leave"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "a.jpg", "a file of the kind HEIC, which is not read. Convert it"),
        (b"\0\0\0\x18ftypavif" + bytes(50), "a.avif", "a file of the kind AVIF"),
        (b"noise", "a.HEIC", "a file of the kind HEIC"),
        (b"MM\0*" + bytes(50), "a", "a file of the kind TIFF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(8), "a.png", "Repair or remove the file"),
    ],
)
def test_files_without_an_image_say_what_they_are(tmp_path, content, name, text):
    (tmp_path / name).write_bytes(content)
    assert text in refused(tmp_path / name)


def test_a_tiff_and_an_avif_of_pillow_are_told_by_content(tmp_path):
    for kind in ("TIFF", "JPEG2000", "PPM", "PDF", "ICO"):
        (tmp_path / "a.png").write_bytes(held(Image.fromarray(np.kron(COLOUR, np.ones((8, 8, 1), np.uint8))), kind))
        assert "Convert it to PNG or JPEG" in refused(tmp_path / "a.png"), kind


def test_names_with_line_ends_stay_in_one_line(tmp_path):
    assert "two\\nlines.png: no such file. Check the path." in refused(tmp_path / "two\nlines.png")
    assert "no regular file" in refused(tmp_path)
