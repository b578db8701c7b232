"""Classes of mask files: which value or colour of a pixel stands for which class, from files or arguments."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from ..detection.annotations import read_content
from ..image_files import one_line

IGNORED = 255
"""Class of pixels that are left out."""
MOST = 255
"""Most classes of a map of bytes, whose last value is `IGNORED`."""
UNKNOWN = -1
IGNORED_NAME = "ignore"
"""Name of colours of a palette whose pixels are left out."""
LARGEST_TEXT = 2**20
CLASS_FILES = ("classes.txt", "labels.txt")
PALETTE_FILES = ("palette.txt", "palette.json", "labelmap.txt", "label_colors.txt", "class_dict.csv")
NUMBERED = re.compile(r"(\d{1,3})[\s,:]+(\S.*)")
COLOUR_FIRST = re.compile(r"(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\S.*)")
NAME_FIRST = re.compile(r"(.+?)\s*[:,]\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*:*.*")
Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class MaskClasses:
    """Classes of the pixels of mask files.

    Example:
        >>> classes = MaskClasses(("ground", "cell"), values=(0, 128))
        >>> classes.of(np.array([[0, 128, 255, 7]], np.uint8)).tolist()
        [[0, 1, 255, -1]]
    """

    names: tuple[str, ...]
    """Name of each class."""
    values: tuple[int, ...] = ()
    """Value of each class in a file without colours; empty for 0, 1, 2, ..."""
    colours: Mapping[Colour, int] = field(default_factory=dict)
    """Class of each colour, `IGNORED` for colours to leave out; empty where files hold values."""
    ignored: tuple[int, ...] = (IGNORED,)
    """Values of pixels to leave out, unless they are a class."""
    instances: bool = False
    """True if files hold the numbers of objects: every one but 0 is class 1."""

    @cached_property
    def _table(self) -> np.ndarray:
        """Class of each value, or of each colour as a number of 24 bits, int16."""
        table = np.full(2**24 if self.colours else 256, UNKNOWN, np.int16)
        if self.colours:
            for (red, green, blue), label in self.colours.items():
                table[red << 16 | green << 8 | blue] = label
            return table
        table[list(self.ignored)] = IGNORED
        table[list(self.values or range(len(self.names)))] = np.arange(len(self.names))
        return table

    def of(self, pixels: np.ndarray) -> np.ndarray:
        """Returns the class of each pixel (H, W), int16: 255 to leave out, -1 unknown.

        Args:
            pixels: (H, W) values, or (H, W, 3) colours.
        """
        if self.instances:
            return (pixels != 0).astype(np.int16)
        if pixels.ndim == 3:
            red, green, blue = np.moveaxis(pixels.astype(np.int32), -1, 0)
            pixels = red << 16 | green << 8 | blue
        return self._table[pixels]


def stated_classes(
    folder: Path,
    class_names: Sequence[str] | None,
    values: Sequence[int] | None,
    palette: str | Path | Mapping[str, Colour] | None,
    ignored: Sequence[int],
    instances: bool,
) -> MaskClasses | None:
    """Returns the classes that arguments or files state; None where nothing does.

    Args:
        folder: folder in which files of classes and of a palette may lie.
        class_names: names of the classes; None takes those of a palette, or of `CLASS_FILES`.
        values: value of each class in the masks.
        palette: colours of the classes, a file or a dict; None takes a file of `PALETTE_FILES`.
        ignored: values to leave out.
        instances: whether masks hold numbers of objects.

    Raises:
        ArgumentError: arguments contradict each other.
        DataError: a file of classes or colours breaks its form.
    """
    ignored = tuple(int(checks.within("a value of ignored", each, 0, 255)) for each in ignored)
    if instances:
        if palette is not None or values is not None:
            checks.refuse("instances=True reads every number but 0 as an object, without values and palette", values)
        names = ("background", "object") if class_names is None else _names(class_names, "class_names")
        if len(names) != 2:
            checks.refuse("instances=True needs two class names, of the background and of objects", names)
        return MaskClasses(names, instances=True)
    if palette is not None and values is not None:
        checks.refuse("values and palette contradict each other: masks hold values or colours", values)
    if isinstance(palette, Mapping):
        return _of_palette([(name, tuple(colour)) for name, colour in palette.items()], "palette", class_names)
    file = _first(folder, PALETTE_FILES) if palette is None and values is None else palette
    if file is not None:
        return _of_palette(read_palette(Path(file)), one_line(file), class_names)
    if class_names is None and (file := _first(folder, CLASS_FILES)) is not None:
        class_names, stated = read_class_names(file)
        values = stated if values is None else values
    if values is not None:
        values = tuple(checks.at_least("a value of values", each, 0) for each in values)
        if len(set(values)) < len(values) or max(values, default=256) > 255:
            checks.refuse("values must be unlike numbers from 0 to 255, one for each class", values)
        class_names = [str(each) for each in values] if class_names is None else class_names
        if len(class_names) != len(values):
            checks.refuse(f"values must have one number for each of the {len(class_names)} classes", values)
    if class_names is None:
        return None
    return MaskClasses(_names(class_names, "class names"), values or (), ignored=ignored)


def read_class_names(file: Path) -> tuple[list[str], tuple[int, ...] | None]:
    """Returns the names of a file, one a line, and their values where each line begins with one.

    Raises:
        DataError: the file cannot be read, or has no line.
    """
    lines = _lines(file)
    numbered = [NUMBERED.fullmatch(line) for line in lines]
    if not lines:
        raise DataError(f"{one_line(file)} must hold the name of a class in each line; it is empty. Fill or remove it.")
    if not all(numbered):
        return lines, None
    return [each[2] for each in numbered], tuple(int(each[1]) for each in numbered)


def read_palette(file: Path) -> list[tuple[str, Colour]]:
    """Returns name and colour of each entry of a palette.

    Args:
        file: JSON, {name: [R, G, B]}; or a text with `R G B name`, `name,R,G,B` or `name:R,G,B` in each line.

    Raises:
        DataError: the file cannot be read, or breaks this form.
    """
    rule = f"{one_line(file)} must be a palette: {{name: [R, G, B]}} in JSON, or 'R G B name' in each line of a text"
    if file.suffix.lower() == ".json":
        try:
            content = json.loads(read_content(file, LARGEST_TEXT))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{rule}; got {one_line(error)}. Mend it.") from error
        if not isinstance(content, dict):
            raise DataError(f"{rule}; got a {type(content).__name__}. Mend it.")
        return [(name, _colour(colour, rule)) for name, colour in content.items()]
    entries, lines = [], _lines(file)
    for place, line in enumerate(lines):
        if found := COLOUR_FIRST.fullmatch(line):
            entries.append((found[4], _colour([int(each) for each in found.groups()[:3]], rule)))
        elif found := NAME_FIRST.fullmatch(line):
            entries.append((found[1], _colour([int(each) for each in found.groups()[1:]], rule)))
        elif place or re.search(r"\d", line):  # the first line may be a heading
            raise DataError(f"{rule}; got {one_line(line)[:60]!r}. Mend it.")
    return entries


def _of_palette(entries: list[tuple[str, Colour]], place: str, class_names: Sequence[str] | None) -> MaskClasses:
    """Returns the classes of a palette, in the order of its names; entries of one name are one class."""
    rule = f"the palette {place} must hold unlike colours"
    if not entries or len({colour for _, colour in entries}) < len(entries):
        raise DataError(f"{rule}, one at least; got {one_line(entries[:8])}. Mend it.")
    found = tuple(dict.fromkeys(name for name, _ in entries if name != IGNORED_NAME))
    names = _names(found if class_names is None else class_names, place)
    if set(names) != set(found):
        checks.refuse(f"class_names must be those of the palette, {found}", names)
    labels = {name: place for place, name in enumerate(names)} | {IGNORED_NAME: IGNORED}
    return MaskClasses(names, colours={_colour(colour, rule): labels[name] for name, colour in entries})


def _colour(value: object, rule: str) -> Colour:
    whole = isinstance(value, (list, tuple)) and len(value) == 3 and all(type(each) is int for each in value)
    if not whole or min(value) < 0 or max(value) > 255:
        raise DataError(f"{rule}; the colour {one_line(value)[:40]} is not three numbers from 0 to 255. Mend it.")
    return tuple(value)


def _names(names: Sequence[str], place: str) -> tuple[str, ...]:
    names = tuple(names)
    if not 1 <= len(names) <= MOST or len(set(names)) < len(names) or not all(isinstance(each, str) for each in names):
        raise DataError(f"{place} must be 1 to {MOST} unlike names of classes; got {one_line(names[:8])}. Mend them.")
    return names


def _first(folder: Path, names: Sequence[str]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _lines(file: Path) -> list[str]:
    lines = read_content(file, LARGEST_TEXT).decode("utf-8-sig", "replace").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
