"""Bundles on disk: written whole and the same each time, read only when every file is what SHA256SUMS says."""

import hashlib
import os
import socket
import stat
import struct
import tempfile
import zipfile

import pytest
from forging import members, summed, zipped

from kerasdl.bundles.format import archive
from kerasdl.core.errors import BundleError, DataError

FILES = {"bundle.json": b"{}\n", "card.md": b"# tiny\n", "ema/weights.bin": bytes(range(256)) * 5}


def put(files, folder):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def listing(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(autouse=True)
def _nothing_left(tmp_path, monkeypatch):
    """Every temporary folder is gone after a test, whatever went wrong in it."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield
    assert list(temporary.iterdir()) == []
    assert list(tmp_path.rglob(".writing-*")) == []


@pytest.fixture
def packed(tmp_path):
    return archive.write(put(FILES, tmp_path / "source"), tmp_path / "bundle.zip")


def refused(path, said, digest=None):
    with pytest.raises(BundleError) as caught, archive.read(path, digest):
        pytest.fail("the bundle was read")
    assert said in str(caught.value), str(caught.value)
    assert "\n" not in str(caught.value)


def forged(tmp_path, files):
    path = tmp_path / "forged.zip"
    path.write_bytes(zipped(files))
    return path


@pytest.mark.parametrize("name", ["bundle.zip", "bundle", "BUNDLE.ZIP"])
def test_what_is_written_is_read(tmp_path, name):
    path = archive.write(put(FILES, tmp_path / "source"), tmp_path / name)
    assert path.is_dir() == (name == "bundle")
    with archive.read(path) as folder:
        assert listing(folder) == summed(FILES)
        assert folder != path
    assert not folder.exists()


def test_a_function_may_fill_the_bundle_and_its_own_errors_pass(tmp_path):
    assert members(archive.write(lambda folder: put(FILES, folder), tmp_path / "a.zip").read_bytes()) == summed(FILES)

    def fail(folder):
        put(FILES, folder)
        raise DataError("mine")

    for name in ("b.zip", "b"):
        with pytest.raises(DataError, match="mine"):
            archive.write(fail, tmp_path / name)
        assert not (tmp_path / name).exists()


def test_sums_are_those_of_sha256sum(tmp_path):
    path = archive.write(put(FILES, tmp_path / "source"), tmp_path / "bundle")
    expected = "".join(f"{hashlib.sha256(FILES[name]).hexdigest()}  {name}\n" for name in sorted(FILES))
    assert (path / "SHA256SUMS").read_text() == expected


def test_equal_files_give_equal_bytes(tmp_path, packed):
    for name in FILES:
        os.utime(tmp_path / "source" / name, (1, 1))
    again = archive.write(tmp_path / "source", tmp_path / "again.zip")
    assert again.read_bytes() == packed.read_bytes()
    assert {entry.date_time[0] for entry in zipfile.ZipFile(again).infolist()} == {1980}


def test_one_digest_for_both_forms(tmp_path, packed):
    folder = archive.write(tmp_path / "source", tmp_path / "bundle")
    digest = archive.digest_of(folder)
    assert digest == archive.digest_of(packed) == hashlib.sha256(summed(FILES)["SHA256SUMS"]).hexdigest()
    for path in (folder, packed):
        with archive.read(path, digest.upper()):
            pass
        refused(path, "digest", "0" * 64)


def test_only_a_bundle_is_replaced(tmp_path, packed):
    folder = archive.write(tmp_path / "source", tmp_path / "bundle")
    (tmp_path / "source/card.md").write_text("new")
    for path in (folder, packed):
        before = archive.digest_of(path)
        archive.write(tmp_path / "source", path)
        assert archive.digest_of(path) != before
    documents = put({"letter.txt": b"dear"}, tmp_path / "documents")
    for path in (documents, documents / "letter.txt"):
        with pytest.raises(BundleError, match="replace only a bundle"):
            archive.write(tmp_path / "source", path)
    (tmp_path / "folder.zip").mkdir()
    with pytest.raises(BundleError, match="replace only a bundle"):
        archive.write(tmp_path / "source", tmp_path / "folder.zip")
    assert listing(documents) == {"letter.txt": b"dear"}


@pytest.mark.parametrize("suffix", [".tflite", ".ONNX", ".keras", ".h5"])
def test_no_bundle_gets_the_suffix_of_another_format(tmp_path, suffix):
    put(FILES, tmp_path / "source")
    with pytest.raises(BundleError, match=r"written as a \.zip or a folder; got .*Save it as \.zip"):
        archive.write(tmp_path / "source", tmp_path / f"mine{suffix}")
    assert not (tmp_path / f"mine{suffix}").exists()


def test_what_would_not_be_read_is_not_written(tmp_path):
    for name in ("spaces in it", ".hidden", "a:b", "back\\slash", "ümlaut", "trailing."):
        with pytest.raises(BundleError, match="names in a bundle"):
            archive.write(put({**FILES, name: b""}, tmp_path / f"source{len(name)}"), tmp_path / "bundle.zip")
    many = {f"file{number}": b"" for number in range(archive.MAX_FILES)}
    with pytest.raises(BundleError, match="at most"):
        archive.write(put({**many, "one": b""}, tmp_path / "many"), tmp_path / "bundle.zip")
    assert not (tmp_path / "bundle.zip").exists()


def test_a_path_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match=r"must lie in a folder.*file is a file"):
        archive.write(lambda folder: None, tmp_path / "file/bundle.zip")
    with pytest.raises(BundleError, match="could not be written"):
        archive.write(lambda folder: None, tmp_path / f"{'long' * 100}.zip")


@pytest.mark.parametrize("form", ["bundle.zip", "bundle"])
def test_damage_to_any_file_is_named(tmp_path, form):
    whole = summed(FILES)
    for name, content in FILES.items():
        damaged = {**whole, name: bytes([content[0] ^ 1]) + content[1:]}
        path = forged(tmp_path, damaged) if form == "bundle.zip" else put(damaged, tmp_path / name.replace("/", "_"))
        refused(path, f"{name} is not the file")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda files: files.pop("card.md"), "'missing': ['card.md']"),
        (lambda files: files.update(extra=b""), "'unlisted': ['extra']"),
        (lambda files: files.pop("SHA256SUMS"), "must hold SHA256SUMS"),
        (lambda files: files.update(SHA256SUMS=b""), "one line"),
        (lambda files: files.update(SHA256SUMS=files["SHA256SUMS"] * 2), "one line"),
        (lambda files: files.update(SHA256SUMS=files["SHA256SUMS"].upper()), "one line"),
        (lambda files: files.update(SHA256SUMS=b"0" * 64 + b"  ../card.md\n"), "names in a bundle"),
        (lambda files: files.update(SHA256SUMS="é".encode()), "damaged"),
        (lambda files: files.update(SHA256SUMS=b"0" * 100_000), "at most"),
    ],
)
def test_the_list_is_complete_and_plain(tmp_path, change, said):
    files = summed(FILES)
    change(files)
    refused(forged(tmp_path, files), said)
    refused(put(files, tmp_path / "folder"), said)


def test_no_path_leaves_the_folder(tmp_path):
    names = ["../evil", "/evil", "a/../../evil", "C:/evil", "..\\evil", "a//b", "./a", "a/.", "a\nb", "", "a" * 201]
    names += ["/".join("abcdefghi"), "~/evil", ".evil", "e vil", "ev\u0131l"]
    for name in names:
        path = forged(tmp_path, {**summed(FILES), name: b"evil"})
        refused(path, "names in a bundle")
    assert not list(tmp_path.rglob("*evil*"))


def test_a_name_cut_at_a_zero_byte_is_seen_whole(tmp_path):
    content = zipped({**summed(FILES), "nulX.md": b"evil"})
    (tmp_path / "forged.zip").write_bytes(content.replace(b"nulX.md", b"nul\0.md"))
    refused(tmp_path / "forged.zip", "names in a bundle")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_links_and_devices_in_a_zip_are_refused(tmp_path, mode):
    path = forged(tmp_path, summed(FILES))
    with zipfile.ZipFile(path, "a") as file:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = (mode | 0o777) << 16
        file.writestr(entry, "/etc/passwd")
    refused(path, "plain files only")


def test_links_and_devices_in_a_folder_are_refused_and_not_opened(tmp_path):
    (tmp_path / "secret").write_text("secret")

    def listen(path):
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.close()

    makers = {
        "link": lambda path: path.symlink_to(tmp_path / "secret"),
        "folder_link": lambda path: path.symlink_to(tmp_path),
        "pipe": os.mkfifo,
        "socket": listen,
    }
    for name, make in makers.items():
        folder = put(summed(FILES), tmp_path / f"with_{name}")
        make(folder / "x")
        refused(folder, "plain files only")
    folder = put(summed(FILES), tmp_path / "swapped")
    (folder / "card.md").unlink()
    (folder / "card.md").symlink_to(tmp_path / "source")
    refused(folder, "plain files only")


@pytest.mark.parametrize(
    ("make", "said"),
    [(os.mkfifo, "plain files only"), (lambda path: path.symlink_to("bundle.json"), "symbolic links")],
)
def test_a_file_swapped_after_it_was_listed_is_refused(tmp_path, monkeypatch, make, said):
    folder = put(summed(FILES), tmp_path / "bundle")
    listed = archive._list_files(folder)
    (folder / "card.md").unlink()
    make(folder / "card.md")
    monkeypatch.setattr(archive, "_list_files", lambda _: listed)
    refused(folder, said)


@pytest.mark.parametrize(
    "names", [("card.md", "card.md"), ("card.md", "CARD.md"), ("ema", "ema/weights.bin"), ("EMA/x", "ema")]
)
def test_names_that_fall_together_are_refused(tmp_path, names):
    path = tmp_path / "forged.zip"
    with zipfile.ZipFile(path, "w") as file:
        for number, name in enumerate(names):
            entry = zipfile.ZipInfo(f"entry{number}")
            entry.filename = name
            file.writestr(entry, b"x")
    refused(path, "same name" if len({name.lower() for name in names}) == 1 else "another's folder")


def test_folder_entries_in_a_zip_are_taken(tmp_path):
    path = forged(tmp_path, summed(FILES))
    with zipfile.ZipFile(path, "a") as file:
        file.mkdir("ema")
    with archive.read(path) as folder:
        assert listing(folder) == summed(FILES)


def patched(content: bytes, name: bytes, offset: int, value: bytes) -> bytes:
    """Changes a field in the central directory's entry of a file (APPNOTE 4.3.12)."""
    content = bytearray(content)
    at = content.rindex(b"PK\1\2", 0, content.rindex(name))
    content[at + offset : at + offset + len(value)] = value
    return bytes(content)


def test_encrypted_and_unknown_methods_are_refused(tmp_path, packed):
    content = packed.read_bytes()
    for flag in (0x1, 0x40, 0x2000):
        packed.write_bytes(patched(content, b"card.md", 8, struct.pack("<H", flag)))
        refused(packed, "encrypted")
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 99):
        packed.write_bytes(patched(content, b"card.md", 10, struct.pack("<H", method)))
        refused(packed, "stored or deflated")


def test_bombs_are_refused_before_they_are_unpacked(tmp_path, packed, monkeypatch):
    monkeypatch.setattr(archive, "unpack", lambda *_: pytest.fail("something was unpacked"))
    refused(forged(tmp_path, summed({**FILES, "bomb": bytes(20 * 2**20)})), "times its packed size")
    refused(forged(tmp_path, summed({f"bomb{number}": bytes(2**20) for number in range(40)})), "must unpack to fewer")
    content = packed.read_bytes()
    packed.write_bytes(patched(content, b"ema/weights.bin", 24, struct.pack("<I", 2**32 - 2)))
    refused(packed, "times its packed size")
    refused(forged(tmp_path, {f"file{number}": b"" for number in range(65)}), "at most 64 files")


def test_real_bytes_are_counted(tmp_path, packed, monkeypatch):
    """A header may say less than what comes; the limit holds for what comes."""
    target = tmp_path / "target"
    with open(target, "wb") as writer, open(packed, "rb") as reader, pytest.raises(BundleError, match="at most 10"):
        archive._copy_bytes(reader, writer, 10)
    assert target.stat().st_size <= 10
    content = packed.read_bytes()
    packed.write_bytes(patched(content, b"ema/weights.bin", 24, struct.pack("<I", 3)))
    refused(packed, "damaged")
    packed.write_bytes(patched(content, b"ema/weights.bin", 24, struct.pack("<I", 3000)))
    refused(packed, "that it declares")
    monkeypatch.setattr(archive, "MAX_BYTES", 500)
    refused(put(summed(FILES), tmp_path / "folder"), "at most")


def test_cut_and_lengthened_zips_are_refused(tmp_path, packed):
    content = packed.read_bytes()
    for length in [*range(0, len(content), 7), len(content) - 1]:
        packed.write_bytes(content[:length])
        refused(packed, "directory")
    packed.write_bytes(content + b"more")
    refused(packed, "directory")
    packed.write_bytes(content[:-2] + b"\4\0note")
    refused(packed, "directory")


def test_a_directory_too_large_to_hold_is_not_read(tmp_path, packed):
    content = bytearray(packed.read_bytes())
    content[-10:-6] = struct.pack("<I", 2**31)
    packed.write_bytes(content)
    refused(packed, "directory of a zipped bundle may take")
    content = packed.read_bytes()[:-22] + b"PK\6\7" + bytes(16) + content[-22:]
    packed.write_bytes(content)
    refused(packed, "zip64")


def test_what_is_no_bundle_is_one_error(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no zip")
    refused(tmp_path / "empty", "SHA256SUMS")
    refused(tmp_path / "text.zip", "no zip")
    refused(tmp_path / "nothing", "folder or a .zip")


def test_the_errors_of_the_reader_pass(tmp_path, packed):
    with pytest.raises(KeyError, match="mine"), archive.read(packed):
        raise KeyError("mine")


def test_changes_after_the_check_do_not_reach_the_reader(tmp_path):
    path = archive.write(put(FILES, tmp_path / "source"), tmp_path / "bundle")
    with archive.read(path) as folder:
        (path / "card.md").write_text("changed")
        assert (folder / "card.md").read_bytes() == FILES["card.md"]
