"""The bundles that kerasdl brings, told without loading a net or TensorFlow."""

from pathlib import Path

from . import archive
from .manifest import read_manifest

EMBEDDED = Path(__file__).with_name("embedded")


def list_bundles() -> list[str]:
    """Returns the names of the bundles that kerasdl brings.

    Example:
        >>> kerasdl.bundles.list_bundles()
        ['digits_mobilenet', 'glyphs_mobilenet', 'glyphs_resnet', 'glyphs_vit', 'imagenet_efficientnet_lite0']
    """
    return sorted(path.stem for path in EMBEDDED.glob("*.zip"))


def bundled_models() -> dict[str, list[str]]:
    """Returns the embedded bundles of each model, by its name in the registry.

    Example:
        >>> kerasdl.bundles.bundled_models()["vit_tiny"]
        ['glyphs_vit']
    """
    found: dict[str, list[str]] = {}
    for name in list_bundles():
        with archive.read(EMBEDDED / f"{name}.zip") as folder:
            found.setdefault(read_manifest(folder).builder, []).append(name)
    return found
