"""Layout of a folder of images: splits, classes and their files; an ambiguous layout is refused."""

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from kerasdl.core.errors import DataError

from ..image_files import OTHER_SUFFIXES, SUFFIXES, one_line
from ..splits import SPLITS

# Names of the folders of a split, in any case.
SPLIT_FOLDERS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "validate": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}
CLUTTER = ("thumbs.db", "desktop.ini", "__macosx", "__pycache__", "@eadir", "$recycle.bin")
MASK_FOLDERS = ("masks", "annotations", "labels")
"""Names of a folder of masks beside one of images."""
SHOWN = 12
"""Number of classes or files that a message lists one by one."""


@dataclass(frozen=True)
class Picture:
    """A file below a class folder."""

    path: Path
    label: str
    """The name of its class."""
    split: str | None
    """The split whose folder it lies in; None without folders of splits."""
    inner: str
    """Its path below the class folder, which decides its random split."""
    folder: str
    """The class folder's own name."""


@dataclass
class Layout:
    """Splits, classes and files of a folder of images."""

    root: Path
    """The folder that holds the class folders, or those of the splits."""
    splits: tuple[str, ...]
    """Splits that have class folders of their own; empty without folders of splits."""
    class_names: tuple[str, ...] = ()
    pictures: list[Picture] = field(default_factory=list)
    loose: list[tuple[str | None, Path]] = field(default_factory=list)
    """Images outside of class folders, each with its split."""
    notes: list[str] = field(default_factory=list)
    """Warnings for the user about oddities that did not stop the reading."""

    def counts(self) -> str:
        """Returns the number of files of each class and split, as the end of a message."""
        counts = Counter((each.split, each.label) for each in self.pictures)
        parts = []
        for split in self.splits or (None,):
            names = [name for name in self.class_names if counts[split, name]]
            shown = [f"{one_line(name)} {counts[split, name]}" for name in names[:SHOWN]]
            more = [f"{len(names) - SHOWN} classes more"] if len(names) > SHOWN else []
            parts.append(f"{split}: " * (split is not None) + (", ".join(shown + more) or "nothing"))
        return f"Files found: {'; '.join(parts)}."


def read_layout(path: Path, split: str) -> Layout:
    """Returns the splits, classes and files of a folder, checked for reading `split`, which may be `all`.

    The layout may lie inside one or several outer folders. Files lie at any depth below their class folder. Hidden
    files and clutter of file systems are ignored. In several splits, names that differ only by case or Unicode form are
    one class, with the name that it has in the first split.

    Raises:
        DataError: the folder holds no classes, or its layout is ambiguous.
    """
    if not path.is_dir():
        raise DataError(f"no folder {one_line(path)}. Give the path of a folder that holds one sub-folder a class.")
    root = _unwrapped(path) or path
    tops = subfolders(root)
    is_split = _is_split(root, tops)
    if is_split:
        tops = [top for top in tops if _split_of(top)]
        homes = [(_split_of(top), folder) for top in tops for folder in subfolders(top)]
    else:
        homes = [(None, folder) for folder in tops]
    layout = Layout(root, tuple(split for split in SPLITS if split in {home for home, _ in homes}))
    above = [*root.parents[: len(root.parts) - len(path.parts)], root]
    layout.loose = [(None, file) for folder in above for file in images_in(folder)]
    layout.loose += [(_split_of(top), file) for top in tops if is_split for file in images_in(top)]
    if not homes:
        loose = f" but {len(layout.loose)} images, such as {one_line(layout.loose[0][1].name)}" if layout.loose else ""
        remedy = "Put the images of each class into one, named for the class."
        raise DataError(f"{one_line(root)} holds no sub-folders{loose}. {remedy}")
    if is_split:
        _refuse_two_folders_of_a_split(root, tops)
    names = _class_names(homes)
    for home, folder in homes:
        for file in files_below(folder):
            inner = file.relative_to(folder)
            layout.pictures.append(Picture(file, names[key(folder.name)], home, inner.as_posix(), folder.name))
    layout.class_names = tuple(sorted(names.values()))
    _check_classes(layout, homes, split)
    return layout


def key(name: str) -> str:
    """Returns a key that is equal for names that differ only by case or Unicode form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def listed(names: Iterable[object]) -> str:
    """Returns names for a message, shortened if there are many."""
    names = list(names)
    return ", ".join(repr(str(name)) for name in names[:SHOWN]) + (
        f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    )


def subfolders(path: Path) -> list[Path]:
    """Returns the subfolders of a folder by name, without hidden ones, clutter and links to parent folders."""
    folders = (folder for folder in _entries(path) if folder.is_dir() and not is_clutter(folder.name))
    return sorted(each for each in folders if not (each.is_symlink() and path.resolve().is_relative_to(each.resolve())))


def images_in(path: Path) -> list[Path]:
    """Returns the files directly in a folder that have the suffix of an image."""
    return sorted(file for file in _entries(path) if looks_like_image(file.name) and not file.is_dir())


def files_below(path: Path) -> list[Path]:
    """Returns all files below a folder, sorted, without hidden ones, clutter and links to parent folders."""

    def refuse(error: OSError):
        raise DataError(f"cannot read the folder {one_line(error.filename)}: {error.strerror}. Check its permissions.")

    here = Path(os.path.realpath(path))
    files, seen = [], {str(each) for each in (here, *here.parents)}
    for folder, folders, names in os.walk(path, onerror=refuse, followlinks=True):
        inside = {name: os.path.realpath(os.path.join(folder, name)) for name in folders if not is_clutter(name)}
        # A link to a parent folder would lead into an endless loop, or into other classes.
        folders[:] = [name for name, real in inside.items() if real not in seen]
        seen |= set(inside.values())
        files += [Path(folder, name) for name in names if not is_clutter(name)]
    return sorted(files)


def is_clutter(name: str) -> bool:
    """Returns whether a file or folder is hidden, or was made by a file system or archiver."""
    return name.startswith(".") or name.lower() in CLUTTER


def looks_like_image(name: str) -> bool:
    """Returns whether a file has the suffix of an image, of a format that is read or of another."""
    return not is_clutter(name) and PurePath(name).suffix.lower() in (*SUFFIXES, *OTHER_SUFFIXES)


def _entries(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError as error:
        raise DataError(f"cannot read the folder {one_line(path)}: {error.strerror}. Check its permissions.") from error


def _split_of(folder: Path) -> str | None:
    return SPLIT_FOLDERS.get(folder.name.lower())


def _unwrapped(path: Path) -> Path | None:
    """Returns the folder of the classes or splits, below outer folders that hold one folder each."""
    inside = subfolders(path)
    if len(inside) != 1:
        return path if inside else None
    (only,) = inside
    below = subfolders(only)
    if _split_of(only) and below and not (all(map(_split_of, below)) and any(map(subfolders, below))):
        return path
    images = images_in(only)
    if not images or any(_split_of(folder) and subfolders(folder) for folder in below):
        return _unwrapped(only)
    if len(below) > 1:
        raise DataError(
            f"{one_line(only)} could be read in two ways: as one class, for it holds {len(images)} images such as "
            f"{images[0].name!r}, or as a wrapper of the classes {listed(folder.name for folder in below)}. "
            "Move the images into class folders, or elsewhere."
        )
    return None


def _is_split(root: Path, tops: Sequence[Path]) -> bool:
    split = [top for top in tops if _split_of(top)]
    if not any(subfolders(top) for top in split):
        return False  # classes with the names of splits
    other = [top for top in tops if not _split_of(top) and any(looks_like_image(f.name) for f in files_below(top))]
    if other:
        raise DataError(
            f"{one_line(root)} holds folders of splits, {listed(top.name for top in split)}, beside folders of images "
            f"that are named for none, {listed(top.name for top in other)}. Name those for a split (train, validation, "
            "test), or move one kind elsewhere; a class that bears a split's name needs another."
        )
    return True


def _refuse_two_folders_of_a_split(root: Path, tops: Sequence[Path]) -> None:
    for split in sorted({_split_of(top) for top in tops}):
        same = [top.name for top in tops if _split_of(top) == split and (subfolders(top) or images_in(top))]
        if len(same) > 1:
            rule = f"{one_line(root)} must hold one folder for each split; for {split} it holds {listed(same)}"
            raise DataError(f"{rule}. Merge them, or move one elsewhere.")


def _class_names(homes: Sequence[tuple[str | None, Path]]) -> dict[str, str]:
    """Returns the name of each class by its key: the name in the train folder, else in the first split that has it."""
    order = (*SPLITS, None)
    names = {}
    for _, folder in sorted(homes, key=lambda home: order.index(home[0])):
        if any("\ud800" <= letter <= "\udfff" for letter in folder.name):
            raise DataError(f"a class must be named in Unicode; got {folder.name!r}. Rename {one_line(folder)}.")
        names.setdefault(key(folder.name), folder.name)
    return names


def _check_classes(layout: Layout, homes: Sequence[tuple[str | None, Path]], split: str) -> None:
    root, counts = one_line(layout.root), layout.counts()
    folders: dict[tuple, list[str]] = {}
    for home, folder in homes:
        folders.setdefault((home, key(folder.name)), []).append(folder.name)
    for (home, _), names in folders.items():
        if len(names) > 1:
            where = f" of split {home}" if home else ""
            rule = f"classes{where} must differ by more than case or Unicode form; {root} holds"
            pair = " and ".join(ascii(name) for name in names)
            raise DataError(f"{rule} {pair}. {counts} Merge the folders, or rename one.")
    _refuse_nested_classes(layout)
    if {key(name) for name in layout.class_names} in [{"images", masks} for masks in MASK_FOLDERS]:
        rule = f"{root} holds {listed(layout.class_names)}, which are images with their masks, not two classes"
        raise DataError(f"{rule}. {counts} Load masks:PATH, or rename the folders if they are classes.")
    filled = {(each.split, each.label) for each in layout.pictures}
    empty = [name for name in layout.class_names if name not in {label for _, label in filled}]
    if empty:
        remedy = "Put images into them, or remove the folders."
        raise DataError(f"every class folder must hold images; {root} has none for {listed(empty)}. {counts} {remedy}")
    if len(layout.class_names) == 1:
        rule = f"a classifier needs two classes or more; {root} holds {listed(layout.class_names)} alone"
        if split != "all":
            remedy = "Give the folder above the class folders, or take split 'all' to read one class."
            raise DataError(f"{rule}. {counts} {remedy}")
        layout.notes.append(f"{rule}. {counts}")
    _compare_splits(layout, filled, split)


def _refuse_nested_classes(layout: Layout) -> None:
    keys = {key(name): name for name in layout.class_names}
    for each in layout.pictures:
        for depth, name in enumerate(PurePath(each.inner).parts[:-1]):
            reads_as = SPLIT_FOLDERS.get(name.lower()) if depth == 0 else None
            other = keys.get(key(name), each.label)
            if reads_as or other != each.label:
                inner = (
                    f"a folder named for the split {reads_as}" if reads_as else f"a folder named for class {other!r}"
                )
                raise DataError(
                    f"{one_line(each.path)} could be read in two ways: its class folder {each.label!r} holds {inner}. "
                    f"{layout.counts()} Put the folders of splits outside of those of classes (train/cat), and "
                    "each class beside the others, or rename the inner folder."
                )


def _compare_splits(layout: Layout, filled: set[tuple], split: str) -> None:
    """Refuses classes that the train split lacks; notes those that another split lacks."""
    root = one_line(layout.root)
    for home in layout.splits:
        lacks = [name for name in layout.class_names if (home, name) not in filled]
        if not lacks:
            continue
        rest = sorted({other for other, name in filled if name in lacks})
        classes = f"class{'es' * (len(lacks) > 1)} {listed(lacks)} of {' and '.join(rest)}"
        if home == "train" and split != "all":
            rule = f"every class must be in the train split; {root} lacks in it {classes}"
            raise DataError(f"{rule}. {layout.counts()} Add them, or rename or remove the folders.")
        layout.notes.append(f"split {home} of {root} lacks {classes}. {layout.counts()}")
