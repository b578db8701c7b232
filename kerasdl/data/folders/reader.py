"""Reader of image folders with one sub-folder per class; faults are reported by file."""

import hashlib
import warnings
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from .. import sources
from ..dataset import Dataset
from ..image_files import HOW_TO_CONVERT, UnreadableError, one_line, read_image
from ..images import to_pixels
from ..splits import SPLITS
from .duplicates import equal_files
from .layout import SHOWN, Layout, Picture, listed, read_layout

REMEDY = "Repair or remove the files."
TWELVE_BITS = 4095


class DataWarning(UserWarning):
    """Warning that part of the data was left out, or looks like a mistake."""


@dataclass(frozen=True)
class DecodedFile:
    """An image file that was decoded."""

    shape: tuple[int, ...]
    """Shape of the decoded image."""
    pixels: np.ndarray | None
    """Pixels at the requested shape; None if all files together do not fit in memory."""
    largest: int
    """Largest value of a 16-bit file; 0 for other files."""


def read_folder(
    path: Path,
    split: str,
    *,
    size: int | None,
    image_shape: tuple | None,
    on_bad: str,
    seed: int,
    levels: int | None = None,
) -> Dataset:
    """Returns the images of a split, with classes and files sorted by name.

    Images may lie at any depth below their class folder. If PATH, or the only folder in it, holds `train`, `validation`
    (or `val`, `valid`, ...) and `test`, in any case, these are the splits, and classes whose names differ only by case
    or Unicode form are one. Otherwise 10 per cent of the files of each class are for validation and 10 per cent for the
    test (at least one each if a class has three files or more), chosen by a hash of the seed and the file's name. `all`
    takes all files. Each file of the split is decoded once here; unreadable files are left out with one `DataWarning`
    that names them, or refused.

    Further `DataWarning`s name images outside of class folders, a picture in two splits or classes, a split that lacks
    classes, a single class, and 16-bit files that hold 12 bits or fewer.

    Raises:
        DataError: the layout is ambiguous, or a class is empty, missing in the train split, or the only one.
    """
    path = path.expanduser()
    layout = read_layout(path, split)
    pictures = pictures_by_split(layout, split, seed)
    chosen = _chosen(layout, pictures, split, size, seed)
    results = inspect_files([each.path for each in chosen], image_shape, levels)
    pairs = list(zip(chosen, results, strict=True))
    bad = [(each.path, result) for each, result in pairs if isinstance(result, UnreadableError)]
    decoded = [(each, result) for each, result in pairs if isinstance(result, DecodedFile)]
    if bad and on_bad == "refuse":
        raise DataError(f"{_listing(path, bad)}. {REMEDY} Or pass on_bad='skip'.")
    _refuse_bare_classes(path, split, pictures, decoded, bad)
    notes = [f"{_listing(path, bad)}; left out. {REMEDY}"] if bad else []
    notes += layout.notes + _on_loose(layout, split) + _on_levels(decoded, levels)
    notes += _on_repeated(layout.root, pictures, [each for each, _ in decoded])
    for note in notes:
        checks.warn(note, DataWarning)
    pixels = [result.pixels for _, result in decoded if result.pixels is not None]
    names = {name: place for place, name in enumerate(layout.class_names)}
    return Dataset(
        name=f"folder:{path}",
        task="image_classification",
        class_names=layout.class_names,
        input_shape=image_shape or _common_shape({result.shape for _, result in decoded}),
        input_dtype="uint8",
        size=len(decoded),
        licence="not stated",
        seekable=True,
        scale=None,
        source=sources.Examples(
            [each.path for each, _ in decoded],
            np.array([names[each.label] for each, _ in decoded], np.int32),
            ready=np.stack(pixels) if pixels else None,
            levels=levels,
        ),
        images=True,
        levels=levels,
    )


def pictures_by_split(layout: Layout, split: str, seed: int) -> list[tuple[Picture, str | None]]:
    """Returns each file with its split: that of its folder, else a random one; for `all` none where folders say none.

    Example:
        >>> pictures_by_split(Layout(Path("photos"), False), "train", 0)
        []
    """
    if layout.splits or split == "all":
        return [(each, each.split) for each in layout.pictures]
    classes = defaultdict(list)
    for each in layout.pictures:
        classes[each.label].append(each)
    drawn = {}
    for files in classes.values():
        count = max(1, round(len(files) / 10)) if len(files) >= 3 else 0
        for place, each in enumerate(sorted(files, key=lambda each: _hash(seed, each))):
            home = "validation" if place < count else "test" if place < 2 * count else "train"
            drawn[each.path] = home
    return [(each, drawn[each.path]) for each in layout.pictures]


def _chosen(
    layout: Layout, pictures: list[tuple[Picture, str | None]], split: str, size: int | None, seed: int
) -> list[Picture]:
    """Returns the files of a split, or `size` of them, drawn by the seed."""
    loose = [file for home, file in layout.loose if home == split]
    if layout.splits and split not in layout.splits and loose:
        rule = f"split {split!r} of {one_line(layout.root)} holds no class folders, but {len(loose)} images"
        raise DataError(f"{rule}, such as {one_line(loose[0].name)}. Put them into class folders.")
    rule = f"split of {one_line(layout.root)}, which holds folders of them," if layout.splits else "split"
    checks.one_of(rule, split, (*(layout.splits or SPLITS), "all"))
    chosen = [each for each, home in pictures if split in ("all", home)]
    if size is None:
        return chosen
    if size > len(chosen):
        checks.refuse(f"size must be at most {len(chosen)}, the files of split {split!r} in {layout.root}", size)
    drawn = {each.path for each in sorted(chosen, key=lambda each: _hash(seed, each))[:size]}
    return [each for each in chosen if each.path in drawn]


def inspect_files(
    files: Sequence[Path], image_shape: tuple | None, levels: int | None
) -> list[DecodedFile | UnreadableError]:
    """Decodes each file once, in parallel.

    If all pixels at `image_shape` fit in memory they are stored, so that training need not decode again.
    """
    keep = image_shape is not None and None not in image_shape
    keep = keep and len(files) * int(np.prod(image_shape)) <= sources.MEMORY_LIMIT

    def read(file: Path) -> DecodedFile | UnreadableError:
        try:
            image, largest = read_image(file, levels)
        except UnreadableError as error:
            return error
        return DecodedFile(image.shape, to_pixels(image, image_shape) if keep else None, largest)

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        # read_image refuses such a file itself; Pillow's warning would only repeat that.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return list(pool.map(read, files))


def _refuse_bare_classes(
    path: Path,
    split: str,
    pictures: list[tuple[Picture, str | None]],
    decoded: list[tuple[Picture, DecodedFile]],
    bad: list[tuple[Path, UnreadableError]],
) -> None:
    """Refuses a split without readable files, or with a class that has none."""
    if not decoded:
        reason = _listing(path, bad) if bad else "no file is there"
        place = f"split {split!r} in {one_line(path)}"
        raise DataError(f"no image for {place}: {reason}. {REMEDY} Or take another split, or 'all'.")
    faults, files = dict(bad), defaultdict(list)
    for each, home in pictures:
        if split in ("all", home):
            files[each.label].append(each.path)
    for label, paths in files.items():
        if all(file in faults for file in paths):
            rule = f"every class must hold an image that can be read; class {label!r} has none in split {split!r}"
            raise DataError(f"{rule}: {_listing(path, [(file, faults[file]) for file in paths])}. {REMEDY}")


def _on_loose(layout: Layout, split: str) -> list[str]:
    loose = [file for home, file in layout.loose if home is None or split in ("all", home)]
    if not loose:
        return []
    few = listed(file.relative_to(layout.root) if file.is_relative_to(layout.root) else file for file in loose)
    return [
        f"{len(loose)} image{'s lie' if len(loose) > 1 else ' lies'} in {one_line(layout.root)} in no class folder: "
        f"{few}; left out. Move them into class folders, or elsewhere."
    ]


def _on_levels(decoded: list[tuple[Picture, DecodedFile]], levels: int | None) -> list[str]:
    """Returns a warning about 16-bit files that become nearly black; refuses `levels` that are too small."""
    deep = [(result.largest, each.path) for each, result in decoded if result.largest]
    largest, file = max(deep, default=(0, None))
    if levels is not None and largest > levels:
        hint = f"{one_line(file)} holds {largest}."
        checks.refuse("levels must be at least the largest value in files of 16 bits", levels, hint)
    if levels is not None or not 0 < largest <= TWELVE_BITS:
        return []
    holds, come = ("hold", "come") if len(deep) > 1 else ("holds", "comes")
    return [
        f"{len(deep)} file{'s' * (len(deep) > 1)} of 16 bits, such as {one_line(file)}, {holds} values up to {largest} "
        f"of 65535 and {come} out nearly black. Pass levels=4095 to load where they hold 12 bits (1023 for 10, 255 for "
        "8)."
    ]


def _on_repeated(root: Path, pictures: list[tuple[Picture, str | None]], chosen: list[Picture]) -> list[str]:
    """Returns warnings about pictures that occur, byte for byte, in another split or class too."""
    kinds, ours = [(home, each.label) for each, home in pictures], {each.path for each in chosen}
    notes = []
    groups = equal_files([each.path for each, _ in pictures], kinds)
    groups = [group for group in groups if any(pictures[place][0].path in ours for place in group)]
    for word, part, harm in (("split", 0, "figures on it are too good"), ("class", 1, "one of its labels is wrong")):
        several = [group for group in groups if len({kinds[place][part] for place in group}) > 1]
        if several:
            first = several[0][0]
            other = next(place for place in several[0] if kinds[place][part] != kinds[first][part])
            names = " and ".join(_placed(root, pictures[place]) for place in (first, other))
            count = f"{len(several)} picture{'s stand' if len(several) > 1 else ' stands'}"
            ends = f"in more than one {word}, first {names}: {harm}. Remove all but one."
            notes.append(f"{count} in {one_line(root)} {ends}")
    return notes


def _placed(root: Path, picture: tuple[Picture, str | None]) -> str:
    file, home = picture
    inner = one_line(file.path.relative_to(root))
    return inner if file.split or home is None else f"{inner} ({home})"


def _common_shape(shapes: set[tuple[int, ...]]) -> tuple[int | None, int | None, int]:
    """Returns the shape of all images: 1 channel if all are grey, else 3; None for sides that differ."""
    channels = 1 if all(len(shape) == 2 for shape in shapes) else 3
    sizes = {shape[:2] for shape in shapes}
    return (*(sizes.pop() if len(sizes) == 1 else (None, None)), channels)


def _listing(path: Path, bad: list[tuple[Path, UnreadableError]]) -> str:
    """Returns the fault of each bad file for a message; files of each unread format share a sentence."""
    reasons, kinds = [], Counter(error.kind for _, error in bad if error.kind)
    for kind, count in kinds.items():
        files = [file.relative_to(path) for file, error in bad if error.kind == kind]
        rule = f"{count} {kind} file{'s are' if count > 1 else ' is'} not read ({listed(files)})"
        reasons.append(f"{rule}: convert to PNG or JPEG{HOW_TO_CONVERT}")
    plain = [f"{one_line(file.relative_to(path))}: {error}" for file, error in bad if not error.kind]
    reasons += plain[:SHOWN] + [f"and {len(plain) - SHOWN} more"] * (len(plain) > SHOWN)
    return f"{len(bad)} bad file{'s' if len(bad) > 1 else ''} in {one_line(path)}: {'; '.join(reasons)}"


def _hash(seed: int, picture: Picture) -> str:
    return hashlib.sha256(f"{seed}/{picture.folder}/{picture.inner}".encode("utf-8", "surrogatepass")).hexdigest()
