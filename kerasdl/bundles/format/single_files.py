"""Reading of single files of a bundle, each checked against SHA256SUMS, without unpacking the others."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from .archive import MANIFEST, SUMS, check_name, one_error, open_zip, refuse
from .manifest import MAX_JSON, MAX_SETTINGS, Manifest, parse_json


def read_single_files(path: str | os.PathLike, names: Sequence[str], *, limit: int = MAX_JSON) -> dict[str, bytes]:
    """Returns the content of some files of a bundle, a folder or a .zip, each equal to its line in SHA256SUMS.

    Args:
        path: the bundle.
        names: their names in it.
        limit: the most bytes of each.

    Raises:
        BundleError: the bundle breaks a limit, or a file is missing, changed or too large.
    """
    path = Path(path)
    with one_error(path):
        if path.is_dir():
            contents = {name: _of_folder(path, name, limit) for name in (SUMS, *names)}
        else:
            with open_zip(path) as (archive, entries):
                sizes = {entry.filename: entry.file_size for entry in entries}
                contents = {}
                for name in (SUMS, *names):
                    if sizes.get(name, limit + 1) > limit:
                        refuse(f"a bundle must hold {name}, of at most {limit} bytes", sorted(sizes)[:8])
                    contents[name] = archive.read(name)
        sums = contents.pop(SUMS).decode("ascii").splitlines()
    for name, content in contents.items():
        if f"{hashlib.sha256(content).hexdigest()}  {name}" not in sums:
            refuse(f"{name} must be the file that {SUMS} lists", path.name, "Fetch the bundle again.")
    return contents


def read_manifest_alone(path: str | os.PathLike) -> tuple[Manifest, dict]:
    """Returns the manifest of a bundle and the settings of its preprocessing.

    Raises:
        BundleError: the bundle breaks a limit, or one of the two files is missing, changed or invalid.
    """
    manifest = Manifest.from_json(read_single_files(path, [MANIFEST])[MANIFEST])
    name = manifest.parts["preprocess"]
    settings = parse_json(read_single_files(path, [name], limit=MAX_SETTINGS)[name], name)
    if not isinstance(settings, dict):
        refuse(f"{name} must hold an object", type(settings).__name__)
    return manifest, settings


def _of_folder(folder: Path, name: str, limit: int) -> bytes:
    file = folder / check_name(name)
    if file.is_symlink() or not file.is_file() or file.stat().st_size > limit:
        refuse(f"a bundle must hold the plain file {name}, of at most {limit} bytes", folder.name)
    return file.read_bytes()
