"""Files of a bundle: model, preprocessing, further parts, manifest and card."""

from pathlib import Path
from typing import Any

from kerasdl.core import files

from .manifest import QUANTIZATION, read_manifest
from .model_file import check_model_file, save_model_file


def write_parts(bundle: Any, folder: Path, *, half: bool = False) -> None:
    """Writes the files of a bundle into a folder, and repeats the checks of loading on them.

    Raises:
        BundleError: the model is not a flat graph of layers of Keras and kerasdl.
    """
    parts = bundle.manifest.parts
    networks = {"model": bundle.model, **bundle.others}
    for role, network in networks.items():
        save_model_file(network, folder / parts[role], half=half)
    files.write_json(folder / parts["preprocess"], dict(bundle.preprocess))
    for role, content in bundle.extra.items():
        part = folder / parts[role]
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
    if bundle.quantized is not None:
        files.write_json(folder / parts[QUANTIZATION], bundle.quantized.state())
    (folder / "bundle.json").write_text(bundle.manifest.to_json(), encoding="utf-8")
    (folder / parts["card"]).write_text(bundle.card(), encoding="utf-8")
    read_manifest(folder)
    for role in networks:
        check_model_file(folder / parts[role])
