"""Names of bundles, embedded or from installed packages, listed without loading a net or a package.

A package declares bundles by entry points of the group `kerasdl.bundles`, and is not imported: the name of the entry
point is the bundle's, and its value `package.folder:file.zip` names one of the package's installed files.
"""

from importlib import metadata
from pathlib import Path

from kerasdl.core.errors import BundleError

from .format.manifest import Manifest
from .format.single_files import read_manifest_alone

EMBEDDED = Path(__file__).with_name("embedded")
GROUP = "kerasdl.bundles"


def list_bundles() -> list[str]:
    """Returns the names of the bundles in kerasdl and in installed packages.

    Raises:
        BundleError: two packages declare bundles of one name.

    Example:
        >>> kerasdl.bundles.list_bundles()[:2]
        ['cartpole_ppo', 'dates_seq2seq']
    """
    return sorted({*_embedded(), *_entries()})


def package_of(name: str) -> str:
    """Returns the package of a bundle, `kerasdl` for an embedded one.

    Raises:
        BundleError: two packages declare bundles of one name.

    Example:
        >>> kerasdl.bundles.package_of("digits_mobilenet")
        'kerasdl'
    """
    return "kerasdl" if name in _embedded() else _entries()[name].dist.name


def path_of(name: str) -> Path:
    """Returns the file of a bundle in `list_bundles`; embedded bundles hide those of packages.

    Raises:
        BundleError: its package installed no such file.
    """
    if name in _embedded():
        return EMBEDDED / f"{name}.zip"
    entry = _entries()[name]
    module, _, file = entry.value.partition(":")
    inside = "/".join([*module.split("."), file])
    matches = [each for each in entry.dist.files or () if each.as_posix() == inside]
    path = Path(matches[0].locate()) if matches else None
    if path is None or path.suffix != ".zip" or not path.is_file():
        rule = f"{entry.dist.name} must install the .zip of its bundle {name!r}"
        raise BundleError(
            f"{rule}; there is no {inside}. Declare it as 'package.folder:file.zip', and as package data."
        )
    return path


def bundle_manifest(name: str) -> Manifest:
    """Returns the manifest of a bundle in `list_bundles`, read alone and checked, without TensorFlow.

    Raises:
        BundleError: its package installed no such file, or the file is damaged.

    Example:
        >>> kerasdl.bundles.bundle_manifest("digits_mobilenet").task
        'image_classification'
    """
    return read_manifest_alone(path_of(name))[0]


def bundled_models() -> dict[str, list[str]]:
    """Returns the embedded bundles of each model, by its name in the registry, without bundles of other models.

    Example:
        >>> kerasdl.bundles.bundled_models()["vit_tiny"]
        ['glyphs_vit']
    """
    bundles: dict[str, list[str]] = {}
    for name in _embedded():
        if builder := bundle_manifest(name).builder:
            bundles.setdefault(builder, []).append(name)
    return bundles


def _embedded() -> list[str]:
    return sorted(path.stem for path in EMBEDDED.glob("*.zip"))


def _entries() -> dict[str, metadata.EntryPoint]:
    """Returns the entry points of bundles by name, without those hidden by embedded ones."""
    entries: dict[str, metadata.EntryPoint] = {}
    for entry in metadata.entry_points(group=GROUP):
        other = entries.setdefault(entry.name, entry)
        if (other.dist.name, other.value) != (entry.dist.name, entry.value):
            both = sorted((other.dist.name, entry.dist.name))
            raise BundleError(f"a bundle's name must be new; {both[0]} and {both[1]} both declare {entry.name!r}.")
    return {name: entry for name, entry in entries.items() if name not in _embedded()}
