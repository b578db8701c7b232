"""Loading of bundles by embedded name, folder, .zip or Hugging Face name."""

import os
from pathlib import Path

import keras

from kerasdl import deploy
from kerasdl.core import checks, files
from kerasdl.core.errors import BundleError, ExportError
from kerasdl.core.startup.packages import optional

from .bundle import Bundle
from .format import archive
from .format.manifest import MAX_SETTINGS, NETWORK, PARTS, QUANTIZATION, read_json, read_manifest
from .format.model_file import load_model_file
from .locating import REMOTE, locate_bundle

REMOTE_FILE = "bundle.zip"


def load_bundle(name_or_path: str | os.PathLike, digest: str | None = None) -> Bundle:
    """Loads a bundle after checking every byte; nothing in it is executed.

    Args:
        name_or_path: a name of `list_bundles()`, embedded or of an installed package, a folder, a .zip, or
            `hf://owner/name`, the only form that uses the network; that repository must hold the file bundle.zip.
        digest: expected `Bundle.digest`, for a bundle from a stranger.

    Returns:
        The bundle, its model ready to use.

    Raises:
        ArgumentError: a remote name is not `hf://owner/name`.
        BundleError: it is damaged, hostile, of another digest or of an unknown form.
        UnknownNameError: there is no such embedded bundle and no such path.

    Example:
        >>> kerasdl.load_bundle("digits_mobilenet").labels[:3]
        ('0', '1', '2')
    """
    path = locate_bundle(name_or_path) or _fetch(str(name_or_path).removeprefix(REMOTE))
    with archive.read(path, digest) as folder:
        manifest = read_manifest(folder)
        further = {role: name for role, name in manifest.parts.items() if role not in PARTS}
        rounding = further.pop(QUANTIZATION, None)
        others = {role: name for role, name in further.items() if name.endswith(NETWORK)}
        extra = {role: name for role, name in further.items() if role not in others}
        model = load_model_file(folder / manifest.parts["model"])
        return Bundle(
            model=model,
            quantized=None if rounding is None else _rounding(model, folder / rounding),
            others={role: load_model_file(folder / name) for role, name in others.items()},
            manifest=manifest,
            preprocess=_settings(folder / manifest.parts["preprocess"]),
            extra={role: (folder / name).read_bytes() for role, name in extra.items()},
            digest=files.sha256(folder / archive.SUMS),
        )


def _fetch(owner_and_name: str) -> Path:
    if owner_and_name.count("/") != 1:
        checks.refuse("a remote bundle is named hf://owner/name", REMOTE + owner_and_name)
    hub = optional("huggingface_hub", "hub")
    try:
        path = hub.hf_hub_download(owner_and_name, REMOTE_FILE)
    except (OSError, hub.errors.HfHubHTTPError, hub.errors.HFValidationError) as error:
        raise BundleError(
            f"{REMOTE}{owner_and_name} could not be fetched ({type(error).__name__}). On a machine with a network run"
            f" `hf download {owner_and_name} {REMOTE_FILE} --local-dir .`, bring the file, and load it by its path."
        ) from error
    return Path(path).resolve()  # the hub's cache holds links


def _rounding(model: keras.Model, path: Path) -> "deploy.QuantizedModel":
    try:
        return deploy.QuantizedModel.restored(model, _settings(path))
    except ExportError as error:
        raise BundleError(f"{path.name}: {error}") from error


def _settings(path: Path) -> dict:
    settings = read_json(path, MAX_SETTINGS)
    if not isinstance(settings, dict):
        raise BundleError(f"{path.name} must hold an object; got {type(settings).__name__}.")
    return settings
