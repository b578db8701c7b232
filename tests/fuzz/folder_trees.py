"""Folders of images drawn from a seed, each with what a reader must find in it: `draw_tree(rng, root)`.

A tree is planned first, file by file, with the pixels that each holds and the faults that stand in the whole; then
written. What to expect follows from the plan, never from reading it back.
"""

import io
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

CAFE = unicodedata.normalize("NFD", "Café Ünïcode")
CLASSES = (
    "cat",
    "Dog",
    "red panda",
    " owl ",
    "кот",
    CAFE,
    "emu 🐦",
    "x" * 120,
    "two\nlines",
    "__none__",
    "3",
    "a.b",
    "-n",
)
CLASSES += ("semi;colon", "100%", "straße", "back\\slash", "quote'\"", "tab\there", "CON", "{braces}", "~")
INNER = ("more", "2024", "may 1", "ñandú", "deep.er", "IMG", "new\nline", "🐈", "y" * 90)
STEMS = ("img", "IMG_0001", "a b", "photo.final", "ü", "🐈", "z" * 100, "line\nend", "-rf", "'q'", "%s", "(1)")
SPLITS = {
    "train": ("train", "Train", "TRAIN", "training", "Training"),
    "validation": ("val", "valid", "Validation", "VAL", "dev"),
    "test": ("test", "Test", "testing", "TESTING"),
}
HIDDEN = (".hidden", ".DS_Store", "Thumbs.db", "desktop.ini", "._img.png", ".cat.jpg")
HIDDEN_FOLDERS = (".git", "__MACOSX", ".ipynb_checkpoints", "@eaDir")
SUFFIXES = {"PNG": (".png", ".PNG"), "JPEG": (".jpg", ".JPEG", ".jfif", ".jpe", ".Jpg"), "BMP": (".bmp",)}
SUFFIXES |= {"WEBP": (".webp",), "GIF": (".gif", ".GIF")}
LYING = (".txt", "", ".png", ".jpg", ".dat", ".gif", ".bak")
# What each EXIF orientation asks of the stored pixels.
TURNS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}


@dataclass
class File:
    """A file that is to be written."""

    path: Path
    label: str | None
    """Its class; None where it lies in none."""
    split: str | None
    """The split whose folder it lies in."""
    content: bytes
    pixels: np.ndarray | None
    """What it shows, upright, uint8 (H, W) or (H, W, C); None where it shows nothing."""
    exact: bool = True
    """Whether the pixels survive the format."""
    largest: int = 0
    """The largest value of a file of 16 bits."""


@dataclass
class Tree:
    """A folder and what must be found in it."""

    root: Path
    split: bool
    """Whether it holds folders of splits."""
    files: list[File] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    """What each class must be called, by the name it was planned under."""
    folders: list[Path] = field(default_factory=list)
    """Folders that hold nothing of use."""
    refusals: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    """What must be refused: the fault, and names of which one must be said."""
    loose: int = 0
    """Images in no class folder."""


def draw_tree(rng: np.random.Generator, root: Path) -> Tree:
    """Plans a tree and writes it below `root`."""
    tree = Tree(root, split=bool(rng.random() < 0.5))
    count = int(rng.choice([1, 2, 2, 3, 3, 4, 5]))
    classes = [str(name) for name in rng.choice(CLASSES, count, replace=False)]
    wrappers = [] if count == 1 else rng.choice(["archive", "data set", "v2.0", "Фото"], int(rng.choice([0, 0, 1, 2])))
    base = root.joinpath(*map(str, wrappers))
    splits = sorted(rng.choice(list(SPLITS), int(rng.integers(1, 4)), replace=False)) if tree.split else [None]
    spelled = {split: str(rng.choice(SPLITS[split])) for split in splits if split}
    flat = count == 1 or rng.random() < 0.3
    for name in classes:
        for split in splits:
            folder = base / spelled[split] if split else base
            _fill(rng, tree, folder / _other_form(rng, tree, name, split), name, split, flat)
    _name_classes(tree)
    for fault in FAULTS:
        if rng.random() < 0.04:
            fault(rng, tree, base, classes)
    _add_copies(rng, tree)
    _write(rng, tree, base)
    return tree


def draw_picture(rng: np.random.Generator) -> tuple[bytes, np.ndarray | None, bool, int, str]:
    """Returns a file's content, its pixels, whether they are exact, the largest value of 16 bits, and the format."""
    height, width = rng.integers(1, 14, 2)
    colour = rng.integers(0, 256, (height, width, 4), np.uint8)
    mode = str(rng.choice(["L", "RGB", "RGB", "RGBA", "P", "1", "LA", "I;16", "CMYK"]))
    formats = {"I;16": ["PNG"], "CMYK": ["JPEG"], "1": ["PNG", "BMP"], "P": ["PNG", "BMP", "GIF"], "LA": ["PNG"]}
    formats |= {"RGBA": ["PNG", "WEBP"], "L": ["PNG", "JPEG", "BMP"], "RGB": ["PNG", "JPEG", "BMP", "WEBP"]}
    kind, largest = str(rng.choice(formats[mode])), 0
    if mode == "I;16":
        deep = rng.integers(0, int(rng.choice([200, 4096, 65536, 65536])), (height, width), np.uint16)
        picture, pixels, largest = Image.fromarray(deep), (deep >> 8).astype(np.uint8), int(deep.max())
    elif mode == "P":
        picture = Image.fromarray(colour[..., :3]).quantize(int(rng.integers(2, 9)))
        pixels = np.asarray(picture.convert("RGB"))
    elif mode == "CMYK":
        picture, pixels = Image.fromarray(colour[..., :3]).convert("CMYK"), colour[..., :3]
    elif mode == "1":
        picture, pixels = Image.fromarray(colour[..., 0] > 99), np.where(colour[..., 0] > 99, 255, 0).astype(np.uint8)
    else:
        array = {"L": colour[..., 0], "LA": colour[..., :2], "RGB": colour[..., :3], "RGBA": colour}[mode]
        picture = Image.fromarray(array, mode) if mode == "LA" else Image.fromarray(array)
        pixels = colour[..., 0] if mode == "LA" else array
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    orientation = 1
    if kind in ("PNG", "JPEG", "WEBP") and rng.random() < 0.3:
        orientation = int(rng.integers(1, 9))
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = orientation
    if mode == "P" and kind == "PNG" and rng.random() < 0.3:
        options["transparency"] = 0
    held = io.BytesIO()
    picture.save(held, kind, **options)
    return held.getvalue(), TURNS[orientation](pixels), kind != "JPEG", largest, kind


def draw_trash(rng: np.random.Generator) -> tuple[bytes, str]:
    """Returns the content and the suffix of a file that holds no image that can be read."""
    whole, *_, kind = draw_picture(rng)
    suffix = str(rng.choice(SUFFIXES[kind]))
    choices = [(b"", suffix), (b"plain text", ".txt"), (b"<!DOCTYPE html><p>404", suffix), (rng.bytes(60), suffix)]
    choices += [(b"\0\0\0\x18ftypheic" + bytes(40), str(rng.choice([".heic", ".jpg"]))), (b"II*\0" + bytes(40), ".tif")]
    choices += [(whole[: len(whole) // 3], suffix)]
    return choices[rng.integers(len(choices))]


def _fill(rng, tree: Tree, folder: Path, label: str, split: str | None, flat: bool) -> None:
    """Plans the files of a class folder: one good one at least."""
    good = int(rng.integers(1, 7)) if split else int(rng.integers(3, 14))
    for place in range(good + int(rng.random() < 0.3) * int(rng.integers(1, 4))):
        inside = folder
        if not flat and rng.random() < 0.4:
            inside = folder.joinpath(*map(str, rng.choice(INNER, int(rng.integers(1, 4)))))
        stem = f"{rng.choice(STEMS)}{place}"
        if place < good:
            content, pixels, exact, largest, kind = draw_picture(rng)
            suffix = str(rng.choice(SUFFIXES[kind] if rng.random() < 0.8 else LYING))
            tree.files.append(File(inside / f"{stem}{suffix}", label, split, content, pixels, exact, largest))
        else:
            content, suffix = draw_trash(rng)
            tree.files.append(File(inside / f"{stem}{suffix}", label, split, content, None))


def _other_form(rng, tree: Tree, name: str, split: str | None) -> str:
    """Returns the name as another system might write it, where several splits may differ; notes what it is called."""
    forms = [name, name.upper(), name.swapcase(), unicodedata.normalize("NFC", name)]
    form = str(rng.choice(forms)) if split and rng.random() < 0.3 else name
    if split:
        tree.names[f"{split}/{name}"] = form
    return form


def _name_classes(tree: Tree) -> None:
    for label in {file.label for file in tree.files}:
        forms = [tree.names.get(f"{split}/{label}") for split in ("train", "validation", "test")]
        tree.names[label] = next((form for form in forms if form), label)


def _empty_class(rng, tree: Tree, base: Path, classes: list[str]) -> None:
    top = base / tree.files[0].path.relative_to(base).parts[0] if tree.split else base
    tree.folders.append(top / "nothing here")
    tree.refusals.append(("an empty class", ("nothing here",)))


def _two_forms(rng, tree: Tree, base: Path, classes: list[str]) -> None:
    first = tree.files[0]
    folder = base.joinpath(*first.path.relative_to(base).parts[: 2 if tree.split else 1])
    other = folder.name.swapcase()
    if other != folder.name and other.casefold() == folder.name.casefold():
        tree.files.append(File(folder.with_name(other) / "twin.png", first.label, first.split, *draw_picture(rng)[:2]))
        tree.refusals.append(("two forms of a class", (ascii(folder.name),)))


def _class_of_one_split(rng, tree: Tree, base: Path, classes: list[str]) -> None:
    homes = {file.split: base / file.path.relative_to(base).parts[0] for file in tree.files}
    if not tree.split or len(homes) < 2:
        return
    split = sorted(homes)[int(rng.integers(len(homes)))]
    content, pixels, exact, largest, _ = draw_picture(rng)
    tree.files.append(File(homes[split] / "newcomer" / "a", "newcomer", split, content, pixels, exact, largest))
    tree.names["newcomer"] = "newcomer"
    if split != "train" and "train" in homes:
        tree.refusals.append(("a class that train lacks", ("newcomer",)))


def _split_inside(rng, tree: Tree, base: Path, classes: list[str]) -> None:
    if len(classes) > 1:
        first = tree.files[0]
        folder = base.joinpath(*first.path.relative_to(base).parts[: 2 if tree.split else 1])
        inner = folder / str(rng.choice(["train", "Test", "VALID"]))
        tree.files.append(File(inner / "a.png", first.label, first.split, *draw_picture(rng)[:2]))
        tree.refusals.append(("a split inside a class", (inner.name, folder.name)))


def _class_inside(rng, tree: Tree, base: Path, classes: list[str]) -> None:
    if len(classes) > 1:
        first, other = tree.files[0], next(name for name in classes if name != tree.files[0].label)
        folder = base.joinpath(*first.path.relative_to(base).parts[: 2 if tree.split else 1]) / other
        tree.files.append(File(folder / "a.png", first.label, first.split, *draw_picture(rng)[:2]))
        tree.refusals.append(("a class inside a class", (tree.names[other],)))


def _stranger(rng, tree: Tree, base: Path, classes: list[str]) -> None:
    if tree.split:
        tree.files.append(File(base / "holdout" / "cat" / "a.png", None, None, *draw_picture(rng)[:2]))
        tree.refusals.append(("images beside splits", ("holdout",)))


def _loose_images(rng, tree: Tree, base: Path, classes: list[str]) -> None:
    if len(classes) > 1:
        tree.loose = int(rng.integers(1, 4))
        for place in range(tree.loose):
            tree.files.append(File(base / f"loose{place}.png", None, None, *draw_picture(rng)[:2]))
        if base != tree.root and not tree.split:
            tree.refusals.append(("images beside classes in a wrapper", (base.name,)))


FAULTS = (_empty_class, _two_forms, _class_of_one_split, _split_inside, _class_inside, _stranger, _loose_images)


def _add_copies(rng, tree: Tree) -> None:
    """Copies a few good pictures elsewhere: into other classes and splits, and beside themselves."""
    good = [file for file in tree.files if file.label and file.pixels is not None]
    for place in range(int(rng.integers(1, 4)) if rng.random() < 0.3 else 0):
        source, target = (good[int(k)] for k in rng.integers(len(good), size=2))
        path = target.path.with_name(f"copy{place}{source.path.suffix}")
        values = (source.content, source.pixels, source.exact, source.largest)
        tree.files.append(File(path, target.label, target.split, *values))


def _write(rng, tree: Tree, base: Path) -> None:
    for file in tree.files:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        file.path.write_bytes(file.content)
    for folder in tree.folders:
        folder.mkdir(parents=True, exist_ok=True)
    inside = sorted({file.path.parent for file in tree.files} | {base})
    for folder in inside:
        if rng.random() < 0.1:
            (folder / str(rng.choice(HIDDEN))).write_bytes(draw_picture(rng)[0])
        if rng.random() < 0.05:
            hidden = folder / str(rng.choice(HIDDEN_FOLDERS)) / "cat"
            hidden.mkdir(parents=True)
            (hidden / "a.png").write_bytes(draw_picture(rng)[0])
    if rng.random() < 0.2:
        (base / "README.txt").write_text("about the data")
