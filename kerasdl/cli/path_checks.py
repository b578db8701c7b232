"""Path checks of the commands before TensorFlow is imported, so that a mistyped path is named at once."""

import ast
from collections.abc import Sequence
from pathlib import Path

import kerasdl
from kerasdl.bundles.format.single_files import read_manifest_alone
from kerasdl.bundles.locating import check_not_beside, locate_bundle
from kerasdl.core import checks, files
from kerasdl.core.errors import DataError
from kerasdl.data.text.csv_header import UTF16, parted_place, wanted_columns

PLACES = {
    "folder": "a folder",
    "masks": "a folder",
    "voc": "a folder",
    "labelme": "a folder",
    "yolo": "a data.yaml",
    "coco": "a file",
    "conll": "a file",
    "squad": "a file",
    "csv": "a file",
    "jsonl": "a file",
    "text": "a file",
}
"""Names of data that stand before a path, with what must be there."""
FILE_NAMES = {
    ".json": "coco:",
    ".yaml": "yolo:",
    ".csv": "csv:",
    ".jsonl": "jsonl:",
    ".txt": "text:",
    ".conll": "conll:",
}
EXPORTED = (".tflite", ".onnx")


def check_bundle(name: str) -> None:
    """Refuses the name of a bundle at which there is none, by the rule of `kerasdl.load_bundle`.

    Raises:
        BundleError: nothing is at that path, or something else.
        UnknownNameError: there is no such embedded bundle.
    """
    locate_bundle(name)


def check_data(*names: str | None) -> None:
    """Refuses names of data at whose path there is nothing, and names that are neither a data set nor a folder.

    Args:
        *names: as in `kerasdl.data.load`; None stands for data that are not given.

    Raises:
        DataError: nothing is at the path.
        UnknownNameError: there is no such data set and no such folder.
    """
    for name in names:
        kind, _, place = (name or "").partition(":")
        if name is None or Path(name).expanduser().is_dir():
            continue
        if kind in PLACES and place:
            _check_place(f"{kind}: must name {PLACES[kind]}", place)
        elif ":" not in name:
            path, hint = Path(name).expanduser(), f"No folder stands at {name}."
            if path.is_file():
                hint = "It is a file: name its folder, or its form before it, such as coco:FILE or csv:FILE."
            if path.suffix in FILE_NAMES and path.is_file():
                hint = f"It is a file: name it as {FILE_NAMES[path.suffix]}{name}."
            near = files.near_miss(name) if not path.is_file() else ""
            if name not in (known := _data_sets()):
                checks.known_name("dataset or folder", name, [] if near else known, hint + near)


def check_paths(rule: str, *paths: str | Path | None) -> None:
    """Refuses paths at which there is nothing; None stands for one that is not given.

    Args:
        rule: what the path must be, such as `--images must be a folder`.
        *paths: the paths.

    Raises:
        DataError: nothing is at one of them.
    """
    for path in paths:
        if path is not None and not Path(path).expanduser().exists():
            raise DataError(f"{rule}; nothing is at {path}. Check the path.{files.near_miss(path)}")


def check_sources(
    data: str,
    validation: str | None,
    images: Path | None,
    validation_images: Path | None,
    source: str | None,
    weights: Path | None,
) -> None:
    """Refuses missing paths among the sources of a fine-tuning; None stands for what is not given.

    Raises:
        DataError: nothing is at a path.
        UnknownNameError: there is no such data set and no such folder.
    """
    check_data(data, validation)
    check_paths("--images must be a folder", images)
    check_paths("--validation-images must be a folder", validation_images)
    check_paths("--weights must be a file", weights)
    if source is not None and ":" not in source:
        check_paths("--from must be keras-applications:NAME, hf://owner/name or a folder", source)


def check_csv_columns(text: str | None, label: str | None, *names: str | None) -> None:
    """Refuses names `csv:FILE` of texts whose first line has not the columns; None stands for data that are not given.

    Args:
        text: column of the texts; None is `text`, or that of the name.
        label: column of the labels; None is `label`, or that of the name.
        *names: names of data.

    Raises:
        DataError: a column is missing, or is there twice.
    """
    for name in names:
        if name is None or not name.startswith("csv:"):
            continue
        path, *columns = parted_place(name.removeprefix("csv:"), text or "text", label or "label")
        if path.is_file():
            with open(path, "rb") as file:
                first = file.readline()
            if not first.startswith(UTF16):  # which the reader names
                wanted_columns(path.name, first.decode("utf-8-sig", "surrogateescape"), *columns)


def check_exported(*paths: str | Path) -> None:
    """Refuses exported files that are missing, and those beside them that are no models, such as reports.

    Raises:
        BundleError: a file is one that an export wrote beside another.
        DataError: nothing is at one of them.
    """
    check_paths("an exported file must be named", *paths)
    for path in paths:
        check_not_beside(path)


def check_inputs(bundle: str, inputs: Sequence[str]) -> None:
    """Refuses input of a bundle at whose path there is nothing; for a bundle of texts inputs are texts or paths.

    Raises:
        BundleError: the bundle is damaged.
        DataError: an input does not exist.
    """
    path = locate_bundle(bundle)
    files_named = [each.removeprefix("csv:") for each in inputs]
    if path is None or all(Path(each).exists() for each in files_named):
        return
    if not read_manifest_alone(path)[1].get("tokenizer"):
        check_paths("input must be an image, a folder of images, a .json file or csv:FILE", *files_named)


def _check_place(rule: str, place: str) -> None:
    """Refuses a missing path; columns may stand behind it, as in `FILE#text,label`."""
    path = Path(place).expanduser()
    if not path.exists() and not Path(place.rpartition("#")[0] or place).expanduser().exists():
        check_paths(rule, place.rpartition("#")[0] or place)


def _data_sets() -> list[str]:
    """Returns the names of embedded and drawn data, read from the source of their table, which imports TensorFlow."""
    source = Path(kerasdl.__file__).with_name("data") / "listing.py"
    calls = [each for each in ast.walk(ast.parse(source.read_text(encoding="utf-8"))) if isinstance(each, ast.Call)]
    names = [each.args[0].value for each in calls if getattr(each.func, "id", "") == "Entry"]
    return [each for each in names if ":" not in each]
