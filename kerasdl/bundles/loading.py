"""Bundles by embedded name, folder, .zip or Hugging Face name."""

import json
import os
from pathlib import Path

from kerasdl.core import checks
from kerasdl.core.errors import BundleError
from kerasdl.core.packages import optional

from . import archive
from .bundle import Bundle
from .manifest import Manifest
from .model_file import load_model_file

EMBEDDED = Path(__file__).with_name("embedded")
REMOTE = "hf://"


def load_bundle(name_or_path: str | os.PathLike, digest: str | None = None) -> Bundle:
    """Loads a bundle after checking every byte of it; nothing in it is executed.

    Args:
        name_or_path: an embedded name (`list_bundles()` names all), a folder, a .zip, or `hf://owner/name`, the one
            form that reaches the network.
        digest: what `Bundle.digest` must be, for a bundle from a stranger.

    Returns:
        The bundle, its model ready to use.

    Raises:
        BundleError: it is damaged, hostile, of another digest or of an unknown form.
        UnknownNameError: there is no such embedded bundle and no such path.

    Example:
        >>> kerasdl.load_bundle("digits_mobilenet").labels[:3]
        ('0', '1', '2')
    """
    with archive.read(_locate(name_or_path), digest) as folder:
        manifest = Manifest.from_json((folder / "bundle.json").read_text(encoding="utf-8"))
        extra = {role: name for role, name in manifest.parts.items() if role not in ("model", "preprocess", "card")}
        return Bundle(
            model=load_model_file(folder / manifest.parts["model"]),
            manifest=manifest,
            preprocess=_read_settings(folder / manifest.parts["preprocess"]),
            extra={role: (folder / name).read_bytes() for role, name in extra.items()},
            digest=archive.digest_of(folder),
        )


def list_bundles() -> list[str]:
    """Returns the names of the bundles that kerasdl brings.

    Example:
        >>> kerasdl.bundles.list_bundles()
        ['digits_mobilenet', 'glyphs_mobilenet']
    """
    return sorted(path.stem for path in EMBEDDED.glob("*.zip"))


def _locate(name_or_path: str | os.PathLike) -> Path:
    if str(name_or_path).startswith(REMOTE):
        return _fetch(str(name_or_path).removeprefix(REMOTE))
    if Path(name_or_path).exists():
        return Path(name_or_path)
    if os.sep in str(name_or_path) or Path(name_or_path).suffix == ".zip":
        raise BundleError(f"a bundle is a folder or a .zip; nothing is at {str(name_or_path)!r}. Check the path.")
    checks.known_name("bundle", str(name_or_path), list_bundles(), "Or pass the path of a folder or a .zip.")
    return EMBEDDED / f"{name_or_path}.zip"


def _fetch(owner_and_name: str) -> Path:
    if owner_and_name.count("/") != 1:
        checks.refuse("a remote bundle is named hf://owner/name", REMOTE + owner_and_name)
    hub = optional("huggingface_hub", "hub")
    try:
        return Path(hub.snapshot_download(owner_and_name))
    except (OSError, hub.errors.HfHubHTTPError, hub.errors.HFValidationError) as error:
        raise BundleError(
            f"{REMOTE}{owner_and_name} could not be fetched ({type(error).__name__}). On a machine with a network run"
            f" `hf download {owner_and_name} --local-dir my_bundle`, bring the folder, and load it by its path."
        ) from error


def _read_settings(path: Path) -> dict:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path.name} must be JSON; it could not be read: {error}.") from None
    if not isinstance(settings, dict):
        raise BundleError(f"{path.name} must hold an object; got {type(settings).__name__}.")
    return settings
