"""Property test of folders: drawn trees of images are read as they stand, or refused in one line.

`run(seconds, seed)` gives the figures.
"""

import hashlib
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from folder_trees import Tree, draw_tree
from PIL import Image, ImageOps

from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import DataWarning, decode_image, load

SPLITS = ("train", "validation", "test")
SHAPE = (6, 5, 3)
PROGRESS = 30.0  # seconds between two lines


@dataclass
class Figures:
    """What a run has seen."""

    trees: int = 0
    loads: int = 0
    refused: int = 0
    seconds: float = 0.0
    interrupted: bool = False
    finds: list[tuple[int, str]] = field(default_factory=list)
    """The seed, and what was wrong."""

    def __str__(self) -> str:
        pace = 3600 * self.trees / max(self.seconds, 1e-9)
        lines = [
            f"folders: {self.trees} trees ({pace:.0f} an hour), {self.loads} loads, {self.refused} refused; "
            f"{len(self.finds)} finds"
        ]
        return "\n".join(lines + [f"  FIND seed {seed}: {what}" for seed, what in self.finds])


def run(
    seconds: float, seed: int = 0, *, count: int | None = None, tell: Callable[[str], None] = lambda line: None
) -> Figures:
    """Draws trees from `seed` on until the time is over or so many are done, and returns what was seen.

    Args:
        seconds: how long to go on.
        seed: of the first tree; the next ones count on.
        count: how many trees at most.
        tell: gets a line for every find, and every half minute one of progress.
    """
    figures, started, said = Figures(), time.monotonic(), time.monotonic()
    try:
        while time.monotonic() < started + seconds and figures.trees != count:
            try:
                loads, refused = check_tree(seed)
                figures.loads += loads
                figures.refused += refused
            except Exception as error:
                place = traceback.extract_tb(error.__traceback__)[-1]
                what = f"{type(error).__name__}: {error} ({place.name}, line {place.lineno})"
                figures.finds.append((seed, what))
                tell(f"FIND seed {seed}: {what}")
            figures.trees += 1
            seed += 1
            if time.monotonic() > said + PROGRESS:
                said = time.monotonic()
                left = max(0.0, started + seconds - said)
                tell(f"{figures.trees} trees, {len(figures.finds)} finds, {left:.0f} s left")
    except KeyboardInterrupt:
        figures.interrupted = True
    figures.seconds = time.monotonic() - started
    return figures


def check_tree(seed: int) -> tuple[int, int]:
    """Draws one tree and loads every split of it; returns how many loads there were and how many were refused."""
    with tempfile.TemporaryDirectory() as folder:
        tree = draw_tree(np.random.default_rng([seed, 1]), Path(folder) / "data")
        results = {split: loaded(tree, split) for split in (*SPLITS, "all")}
        for split, (data, text, notes) in results.items():
            if data is None:
                check_refusal(tree, split, text)
            else:
                check_data(tree, split, data, notes)
        if not tree.split:
            check_draw(tree, {split: data for split, (data, *_) in results.items()})
    return len(results), sum(data is None for data, *_ in results.values())


def loaded(tree: Tree, split: str):
    """Returns the data or None, the refusal's text, and the texts of all warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            data, text = load(f"folder:{tree.root}", split, image_shape=SHAPE, scale=None), ""
        except (ArgumentError, DataError) as error:
            data, text = None, str(error)
    notes = [str(each.message) for each in caught if issubclass(each.category, DataWarning)]
    for line in (text, *notes):
        assert line.isprintable(), f"not one line: {line!r}"
    return data, text, notes


def reasons(tree: Tree, split: str) -> list[tuple[str, tuple[str, ...]]]:
    """Returns why a split must be refused: each fault with the words of which one must be said."""
    found = list(tree.refusals)
    if tree.split:
        present = {file.split for file in tree.files if file.label}
        if split not in (*present, "all"):
            found.append(("a split that is not there", (split,)))
    labels = {file.label for file in tree.files if file.label}
    if split == "all":
        found = [each for each in found if each[0] != "a class that train lacks"]
    elif len(labels) == 1:
        found.append(("a class alone", tuple(said(tree.names[label]) for label in labels)))
    if tree.split or split == "all":
        files = [file for file in tree.files if file.label and split in ("all", file.split)]
        for label in labels:
            own = [file for file in files if file.label == label]
            if own and all(file.pixels is None for file in own):
                found.append(("a class of bad files", (said(tree.names[label]),)))
    return found


def check_refusal(tree: Tree, split: str, text: str) -> None:
    expected = reasons(tree, split)
    if not tree.split and split != "all":  # where bad files are drawn into one split, it may hold nothing else
        bad = any(file.pixels is None for file in tree.files)
        if bad and ("has none in split" in text or "no image for split" in text):
            return
    assert expected, f"refused without a reason: {text}"
    words = [word for _, names in expected for word in names]
    assert any(word in text or said(word) in text for word in words), f"{text!r} says none of {words}"


def check_data(tree: Tree, split: str, data, notes: list[str]) -> None:
    expected = reasons(tree, split)
    assert not expected, f"{split} was read in spite of {expected}"
    planned = {file.path: file for file in tree.files if file.label and file.pixels is not None}
    assert data.class_names == tuple(sorted({tree.names[file.label] for file in tree.files if file.label}))
    if tree.split or split == "all":
        wanted = {path for path, file in planned.items() if split in ("all", file.split)}
        assert set(data.source.inputs) == wanted, f"files {set(data.source.inputs) ^ wanted}"
    assert len(set(data.source.inputs)) == data.size
    arrays, labels = data.arrays()
    for path, label, pixels in zip(data.source.inputs, labels, arrays, strict=True):
        assert data.class_names[label] == tree.names[planned[path].label], path
        found = decode_image(path)
        plain = pillow(path)
        if planned[path].exact:
            np.testing.assert_array_equal(plain[..., :3] if plain.ndim > 2 else plain, colours(planned[path].pixels))
        np.testing.assert_array_equal(found, plain)
        np.testing.assert_array_equal(pixels, resized(plain))
    check_notes(tree, split, [planned[path] for path in data.source.inputs], notes)


def check_notes(tree: Tree, split: str, read: list, notes: list[str]) -> None:
    """Demands a warning for each thing that is to be said, and no other."""
    whole = tree.split or split == "all"
    said_of = {word: any(word in note for note in notes) for word in NOTES}
    bad = [file for file in tree.files if file.label and file.pixels is None and split in ("all", file.split)]
    labels, present = (
        {file.label for file in tree.files if file.label},
        {file.split for file in tree.files if file.label},
    )
    lacking = [
        home
        for home in present
        for label in labels
        if not any(f.split == home and f.label == label for f in tree.files)
    ]
    deep = max((file.largest for file in read), default=0)
    expected = {
        "bad file": bool(bad),
        "in no class folder": bool(tree.loose),
        "two classes or more": len(labels) == 1,
        "lacks class": bool(lacking),
        "of 16 bits": 0 < deep <= 4095,
    }
    if whole:
        kinds = defaultdict(set)
        for file in tree.files:
            if file.label and file.pixels is not None:
                kinds[hashlib.sha256(file.content).digest()].add((file.split, file.label))
        ours = [kinds[hashlib.sha256(file.content).digest()] for file in read]
        expected["in more than one split"] = any(len({home for home, _ in kind}) > 1 for kind in ours)
        expected["in more than one class"] = any(len({label for _, label in kind}) > 1 for kind in ours)
    else:
        expected.pop("bad file")
    for word, must in expected.items():
        assert said_of[word] == must, f"{split}: {word!r} {'is not' if must else 'is'} said: {notes}"
    if whole and 0 < len(bad) <= 12:
        for file in bad:
            plain = file.path.name
            # Of the whole path, which may hold both kinds of quotes, or of the name alone.
            forms = (said(plain), said(repr(plain)[1:-1]), said(repr(f"\"'{plain}")[4:-1]))
            assert any(form in note for form in forms for note in notes), file


NOTES = ("bad file", "in no class folder", "two classes or more", "lacks class", "of 16 bits")
NOTES += ("in more than one split", "in more than one class")


def check_draw(tree: Tree, data: dict) -> None:
    """Demands of a folder without splits that the three that are drawn are disjoint, complete and in their shares."""
    if any(data[split] is None for split in SPLITS):
        return
    files = [path for split in SPLITS for path in data[split].source.inputs]
    assert sorted(files) == sorted(data["all"].source.inputs)
    if all(file.pixels is not None for file in tree.files):
        sizes = Counter(file.label for file in tree.files if file.label)
        for split in ("validation", "test"):
            found = Counter(data[split].class_names[label] for label in data[split].source.labels)
            for label, size in sizes.items():
                assert found[tree.names[label]] == max(1, round(size / 10)), (split, label)


def said(name: str) -> str:
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in name)


def pillow(path: Path) -> np.ndarray:
    """Returns an image as a plain loop over Pillow would."""
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):
            return (np.asarray(upright).astype(np.uint32) // 256).astype(np.uint8)
        if upright.mode in ("1", "L", "LA"):
            return np.asarray(upright.convert("L"))
        clear = upright.mode == "RGBA" or "transparency" in upright.info
        return np.asarray(upright.convert("RGBA" if clear else "RGB"))


def colours(pixels: np.ndarray) -> np.ndarray:
    return pixels[..., :3] if pixels.ndim > 2 else pixels


def resized(pixels: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(colours(pixels)).convert("RGB")
    picture = picture.resize((SHAPE[1], picture.height), Image.Resampling.BILINEAR)
    return np.asarray(picture.resize((SHAPE[1], SHAPE[0]), Image.Resampling.BILINEAR))
