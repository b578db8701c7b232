"""Archive of a bundle: a folder or a .zip whose files are all checked before any is read.

A stranger may have made the bundle. It is first copied or unpacked, within limits and by plain names alone, to a
private folder, so that nothing can change between check and use; there each file is compared with SHA256SUMS.
"""

import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from kerasdl.core import files
from kerasdl.core.errors import BundleError, KerasdlError

SUMS = "SHA256SUMS"
MANIFEST = "bundle.json"

FOREIGN = (".tflite", ".onnx", ".keras", ".h5")

MAX_FILES = 64
MAX_BYTES = 2 * 2**30
MAX_RATIO = 200
# Small files may shrink by more than MAX_RATIO: this size is harmless at any ratio.
FREE_BYTES = 2**20
MAX_DIRECTORY = 2**20
MAX_NAME = 200
MAX_DEPTH = 8

_NAME_PART = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_-])?")
_SUMS_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")
_END_OF_ZIP = 22
_ZIP64_LOCATOR = 20
_CHUNK = 2**20
_ENCRYPTED = 0x2041


def refuse(rule: str, got: Any, hint: str = "") -> NoReturn:
    """Raises `BundleError("<rule>; got <got>. <hint>")`, with `got` cut short."""
    shown = (
        got if isinstance(got, int) else f"{got[:100]!r}..." if isinstance(got, str) and len(got) > 100 else repr(got)
    )
    raise BundleError(f"{rule}; got {str(shown)[:200]}." + (f" {hint}" if hint else ""))


@contextmanager
def one_error(path: str | os.PathLike, what: str = "bundle") -> Iterator[None]:
    """Turns any error of parsing hostile bytes into one `BundleError`; kerasdl's own errors pass unchanged."""
    try:
        yield
    except KerasdlError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(
            f"the {what} {Path(path).name!r} is damaged or hostile: {type(error).__name__}: {reason}. "
            "Fetch it again from a source that you trust."
        ) from error


def check_name(name: str) -> str:
    """Returns a file's relative name if it is plain: no `..`, no root, no drive, no special character."""
    parts = name.split("/")
    if len(name) > MAX_NAME or len(parts) > MAX_DEPTH or not all(map(_NAME_PART.fullmatch, parts)):
        refuse("names in a bundle are relative, of letters, digits and ._- between slashes", name)
    return name


@contextmanager
def open_zip(
    path: str | os.PathLike, *, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES
) -> Iterator[tuple[zipfile.ZipFile, list[zipfile.ZipInfo]]]:
    """Yields an open zip and the entries of its files, checked against the limits; errors in the block pass."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        _check_directory(file, size)
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            if len(entries) > max_files:
                refuse(f"{Path(path).name!r} may hold at most {max_files} files", len(entries))
            for entry in entries:
                _check_entry(entry)
            total = sum(entry.file_size for entry in entries)
            if total > min(max_bytes, MAX_RATIO * size + FREE_BYTES):
                refuse(f"{size} packed bytes must unpack to fewer bytes", total)
            entries = [entry for entry in entries if not entry.is_dir()]
            _check_names(entry.filename for entry in entries)
            yield archive, entries


def unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    """Writes one entry to the new file `target`, and counts the bytes that it unpacks to."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as reader, open(target, "xb") as writer:
        copied = _copy_bytes(reader, writer, entry.file_size)
    if copied != entry.file_size:
        refuse(f"{entry.filename} must unpack to the {entry.file_size} bytes that it declares", copied)


@contextmanager
def read(path: str | os.PathLike, digest: str | None = None) -> Iterator[Path]:
    """Yields a private folder that holds the verified files of a bundle, and removes it afterwards.

    Args:
        path: the bundle, a folder or a .zip.
        digest: expected `digest_of` the bundle, in hexadecimal; None accepts any bundle.

    Returns:
        A context manager over the folder's path.

    Raises:
        BundleError: the bundle is missing or breaks a limit, a file is missing, unlisted or changed, or the digest
            differs.

    Example:
        >>> with read("mine.zip") as folder:
        ...     print((folder / "card.md").read_text())
    """
    path = Path(path)
    with tempfile.TemporaryDirectory(prefix="kerasdl-bundle-") as temporary:
        folder = Path(temporary) / "bundle"
        folder.mkdir()
        with one_error(path):
            if path.is_dir():
                _copy_folder(path, folder)
            elif path.is_file():
                with open_zip(path) as (archive, entries):
                    for entry in entries:
                        unpack(archive, entry, folder / entry.filename)
            else:
                refuse("a bundle must be a folder or a .zip", str(path), "Check that the path exists.")
            _verify(folder, digest)
        yield folder


def write(source: str | os.PathLike | Callable[[Path], None], path: str | os.PathLike) -> Path:
    """Writes a bundle atomically, with SHA256SUMS over its files; equal files give equal bytes.

    Args:
        source: a folder with the files, or a function that fills the empty folder it is given.
        path: a .zip if it ends in .zip, else a folder. A bundle at that path is replaced.

    Returns:
        The path.

    Raises:
        BundleError: something other than a bundle is at `path`, or the files could not be read back.

    Example:
        >>> write("work/bundle", "mine.zip").name
        'mine.zip'
    """
    path = Path(path)
    fill = source if callable(source) else lambda folder: _copy_folder(Path(source), folder)
    packed = path.suffix.lower() == ".zip"
    try:
        check_replaceable(path)
        if packed:
            with tempfile.TemporaryDirectory(prefix="kerasdl-bundle-") as temporary, files.writing(path) as file:
                _fill(Path(temporary), fill)
                _pack(Path(temporary), file)
        else:
            with files.writing_folder(path) as folder:
                _fill(folder, fill)
    except OSError as error:
        raise BundleError(f"the bundle {str(path)!r} could not be written: {error}.") from error
    return path


def check_replaceable(path: str | os.PathLike) -> None:
    """Checks that a path is free, an empty folder, or a bundle, which a new one may replace.

    Raises:
        BundleError: something else is there, which writing would destroy, a file where a folder must be, or the path
            has the suffix of another format.
    """
    path = Path(path)
    if path.suffix.lower() in FOREIGN:
        refuse("a bundle is written as a .zip or a folder", str(path), "Save it as .zip; export writes other formats.")
    above = next((each for each in path.absolute().parents if each.exists()), None)
    if above is not None and not above.is_dir():
        refuse("a bundle must lie in a folder", str(path), f"{above.name} is a file.")
    if not path.exists() or (path.is_dir() and path.suffix.lower() != ".zip" and not any(path.iterdir())):
        return
    if path.is_dir() == (path.suffix.lower() != ".zip"):
        with suppress(BundleError), read(path):
            return
    refuse(
        "a new bundle may replace only a bundle", str(path), "Choose another path, or remove the file or folder there."
    )


def digest_of(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a verified bundle's SHA256SUMS; it is the same for a folder and a .zip.

    Raises:
        BundleError: the bundle does not match its SHA256SUMS.

    Example:
        >>> digest_of("mine.zip") == digest_of("mine")
        True
    """
    with read(path) as folder:
        return files.sha256(folder / SUMS)


def _check_directory(file: IO[bytes], size: int) -> None:
    """Checks the size of a zip's directory, which `zipfile` reads at once; it must end the file, without zip64."""
    file.seek(max(0, size - _END_OF_ZIP - _ZIP64_LOCATOR))
    tail = file.read()
    end = tail[-_END_OF_ZIP:]
    if len(end) < _END_OF_ZIP or end[:4] != b"PK\5\6" or end[-2:] != b"\0\0":
        raise BundleError(
            "a zipped bundle must end with its directory, with no comment; this file is cut short or no zip. "
            "Fetch it again from a source that you trust."
        )
    if tail[:-_END_OF_ZIP][:4] == b"PK\6\7":
        refuse("a zipped bundle must not use zip64", "a zip64 directory")
    directory = int.from_bytes(end[12:16], "little")
    if directory > MAX_DIRECTORY:
        refuse(f"the directory of a zipped bundle may take at most {MAX_DIRECTORY} bytes", directory)


def _check_entry(entry: zipfile.ZipInfo) -> None:
    # zipfile cuts `filename` at a NUL and converts separators; `orig_filename` is the name in the file.
    name = entry.orig_filename
    check_name(name.removesuffix("/"))
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFDIR if name.endswith("/") else stat.S_IFREG):
        refuse("a bundle holds plain files only, no links and no devices", name)
    if entry.flag_bits & _ENCRYPTED:
        refuse("a bundle may not be encrypted", name)
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        refuse("files in a bundle are stored or deflated", f"{name}: method {entry.compress_type}")
    if entry.file_size > max(FREE_BYTES, MAX_RATIO * entry.compress_size):
        refuse(
            f"a file may not unpack to more than {MAX_RATIO} times its packed size", f"{name}: {entry.file_size} bytes"
        )


def _check_names(names: Iterable[str]) -> None:
    """Refuses names that are equal but for case, and a file that has the name of another's folder."""
    lower_names: set[str] = set()
    for name in map(str.lower, names):
        if name in lower_names:
            refuse("no two files of a bundle may have the same name, in whatever case", name)
        lower_names.add(name)
    for name in lower_names:
        if any(str(parent) in lower_names for parent in Path(name).parents):
            refuse("no file of a bundle may have the name of another's folder", name)


def _list_files(folder: Path) -> list[str]:
    """Returns the sorted relative names of the files in a folder; refuses links and special files unopened."""
    names, pending, count = [], [""], 0
    while pending:
        prefix = pending.pop()
        with os.scandir(folder / prefix) as entries:
            for entry in entries:
                name = check_name(f"{prefix}{entry.name}")
                count += 1
                if count > MAX_FILES:
                    refuse(f"a bundle may hold at most {MAX_FILES} files", f"more in {folder.name}")
                if entry.is_dir(follow_symlinks=False):
                    pending.append(f"{name}/")
                elif entry.is_file(follow_symlinks=False):
                    names.append(name)
                else:
                    refuse("a bundle holds plain files only, no links and no devices", name)
    _check_names(names)
    return sorted(names)


def _copy_folder(source: Path, folder: Path) -> None:
    left = MAX_BYTES
    for name in _list_files(source):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(source / name, "rb", opener=_open_plain) as reader, open(target, "xb") as writer:
            left -= _copy_bytes(reader, writer, left)


def _open_plain(path: str, flags: int) -> int:
    """Opens a plain file; does not follow a link, or wait for a pipe, that has replaced it since it was listed."""
    descriptor = os.open(path, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        refuse("a bundle holds plain files only, no links and no devices", Path(path).name)
    return descriptor


def _copy_bytes(reader: IO[bytes], writer: IO[bytes], limit: int) -> int:
    copied = 0
    while chunk := reader.read(_CHUNK):
        copied += len(chunk)
        if copied > limit:
            refuse(f"a file of the bundle may unpack to at most {limit} bytes", f"{copied} or more")
        writer.write(chunk)
    return copied


def _verify(folder: Path, digest: str | None) -> None:
    sums = folder / SUMS
    if not sums.is_file():
        refuse(f"a bundle must hold {SUMS}", sorted(_list_files(folder))[:8], "Is this a bundle?")
    if digest is not None and files.sha256(sums) != digest.lower():
        refuse(f"the bundle's digest must be the one asked for, {digest}", files.sha256(sums))
    listed = _read_sums(sums)
    present = set(_list_files(folder)) - {SUMS}
    if set(listed) != present:
        apart = {"missing": sorted(set(listed) - present)[:4], "unlisted": sorted(present - set(listed))[:4]}
        refuse(f"a bundle must hold the files that {SUMS} lists and no others", apart)
    for name, expected in listed.items():
        if files.sha256(folder / name) != expected:
            raise BundleError(
                f"{name} is not the file that {SUMS} lists: it was damaged or changed. "
                "Fetch the bundle again from a source that you trust."
            )


def _read_sums(path: Path) -> dict[str, str]:
    if path.stat().st_size > MAX_FILES * (64 + 2 + MAX_NAME + 1):
        refuse(f"{SUMS} lists at most {MAX_FILES} files", f"{path.stat().st_size} bytes")
    listed: dict[str, str] = {}
    for line in path.read_bytes().decode("ascii").removesuffix("\n").split("\n"):
        match = _SUMS_LINE.fullmatch(line)
        if match is None or match[2] in listed:
            refuse(f"{SUMS} has one line `<64 hexadecimal digits>  <name>` for each file", line)
        listed[check_name(match[2])] = match[1]
    return listed


def _fill(folder: Path, fill: Callable[[Path], None]) -> None:
    fill(folder)
    sums = folder / SUMS
    sums.unlink(missing_ok=True)
    lines = [f"{files.sha256(folder / name)}  {name}\n" for name in _list_files(folder)]
    sums.write_bytes("".join(lines).encode("ascii"))
    _verify(folder, None)


def _pack(folder: Path, path: Path) -> None:
    """Zips a folder to reproducible bytes: names are sorted, and `ZipFile.open` dates every entry to 1980."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in _list_files(folder):
            with open(folder / name, "rb") as reader, archive.open(name, "w") as writer:
                shutil.copyfileobj(reader, writer, _CHUNK)
