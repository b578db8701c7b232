"""Record of the images and texts that a bundle was fine-tuned on: their short hashes, in a part of the bundle."""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.data import Dataset
from kerasdl.data.letterboxing import Letterboxed
from kerasdl.data.text.rows import text_key

ROLE, FILE = "trained_images", "trained_images.bin"
OF_TEXTS = ("folder:", "csv:", "jsonl:", "conll:")
"""How names of texts of files start."""
BYTES = 8
"""Bytes of a hash: among a million images a chance match has a probability of 1 in 40 million."""


def holds_files(data: Dataset | None) -> bool:
    """Returns whether the examples of some data are image files, or texts of files."""
    if not isinstance(data, Dataset) or not data.any_order:
        return False
    items = _items(data)
    if not data.images:
        return data.name.startswith(OF_TEXTS) and isinstance(items, np.ndarray) and items.dtype.kind == "U"
    return isinstance(items, list) and all(isinstance(file, Path) for file in items)


def _items(data: Dataset) -> Any:
    """Returns the images or files of some data, out of their letterboxes."""
    items = data.source.inputs
    return [each.image if isinstance(each, Letterboxed) else each for each in items] if type(items) is list else items


def file_hashes(data: Dataset) -> np.ndarray:
    """Returns the start of the SHA-256 of each image file, or text, of some data, uint64 (N,)."""
    with ThreadPoolExecutor() as pool:
        return np.array(list(pool.map(_hash, _items(data))), np.uint64)


def recorded(extra: Mapping[str, bytes], train: Any, validation: Any) -> dict[str, bytes]:
    """Returns the further parts of a bundle, with the hashes of new training data added to those that it has."""
    if not holds_files(train):
        return dict(extra)
    found = [file_hashes(each) for each in (train, validation) if holds_files(each)]
    known = np.unique(np.concatenate([trained_hashes(extra), *found]))
    return {**extra, ROLE: known.astype(">u8").tobytes()}


def trained_hashes(extra: Mapping[str, bytes]) -> np.ndarray:
    """Returns the hashes in the further parts of a bundle, uint64 (N,); empty where it has none.

    Raises:
        ArgumentError: the part is damaged.
    """
    content = extra.get(ROLE, b"")
    if len(content) % BYTES:
        checks.refuse(f"{FILE} of a bundle must hold hashes of {BYTES} bytes", f"{len(content)} bytes")
    return np.frombuffer(content, ">u8").astype(np.uint64)


def seen_in_training(extra: Mapping[str, bytes], data: Dataset) -> np.ndarray:
    """Returns for each example whether a bundle was fine-tuned on it or chose its epoch by it, bool (N,)."""
    known = trained_hashes(extra)
    if not len(known) or not holds_files(data):
        return np.zeros(data.size or 0, bool)
    return np.isin(file_hashes(data), known)


def any_seen(extra: Mapping[str, bytes], files: list[Path]) -> bool:
    """Returns whether a bundle was fine-tuned on one of some files, or chose its epoch by it."""
    known = set(trained_hashes(extra).tolist())
    return bool(known) and any(_hash(file) in known for file in files)


def _hash(item: Path | str | np.ndarray) -> int:
    if not isinstance(item, Path):
        text = text_key(item if isinstance(item, str) else " ".join(item))  # one, or a pair
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:BYTES], "big")
    with open(item, "rb") as opened:
        return int.from_bytes(hashlib.file_digest(opened, "sha256").digest()[:BYTES], "big")
