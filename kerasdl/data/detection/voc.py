"""Pascal VOC's folders of annotation files (XML): http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf.

The first pixel of VOC is 1 and a box includes its last pixel, so the left edge is xmin - 1 and the right one xmax.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn
from xml.etree import ElementTree

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.core.files import write_text, writing

from ..dataset import Dataset
from ..image_files import one_line
from .annotations import AnnotatedImage, Faults, annotated_dataset, inner_path, numbers, read_content, sized
from .writing import WrittenScene, scenes_of, write_image

LARGEST_XML = 2**22
EDGES = ("xmin", "ymin", "xmax", "ymax")
LISTS = {"train": ("train",), "validation": ("val", "validation"), "test": ("test",)}
"""Names of the list of a split in ImageSets/Main, without suffix."""


def read_voc(
    folder: str | os.PathLike,
    split: str = "train",
    *,
    images: str | os.PathLike | None = None,
    class_names: Sequence[str] | None = None,
    on_bad: str = "skip",
    empty: str = "keep",
    crowd: str = "keep",
) -> Dataset:
    """Returns the images of a folder in Pascal VOC's form; images are decoded when they are read.

    Objects marked as `difficult` are crowd regions, since VOC's rules ignore them as COCO's rules ignore crowds.

    Args:
        folder: with Annotations/*.xml, and perhaps ImageSets/Main/train.txt and so on.
        split: `train`, `validation`, `test` or `all`; without such lists, `train` and `all` take every file.
        images: folder of the images; None is JPEGImages beside Annotations.
        class_names: names of the classes; None takes the names in all files, sorted.
        on_bad: as in `read_coco`, for the same faults and files that are no annotation.
        empty: as in `read_coco`.
        crowd: as in `read_coco`.

    Returns:
        A `Dataset` as of `read_coco`, without areas.

    Raises:
        ArgumentError: an argument breaks its rule.
        DataError: there are no annotations, or faults that are refused, or no image is left.

    Example:
        >>> write_voc(draw_shapes(2, side=64), "shapes")
        >>> read_voc("shapes").size
        2
    """
    folder = Path(folder).expanduser()
    faults = Faults(folder, on_bad)
    files = sorted((folder / "Annotations").glob("*.xml"))
    if not files:
        raise DataError(f"{one_line(folder)} holds no Annotations/*.xml. Give the folder above Annotations.")
    stems = _stems(folder, split)
    roots = {file.stem: _root(file, faults) for file in files}
    roots = {stem: root for stem, root in roots.items() if root is not None}
    if class_names is None:
        entries = (each for root in roots.values() for each in root.findall("object"))
        class_names = sorted({each.findtext("name", "").strip() for each in entries})
    chosen = [stem for stem in (roots if stems is None else stems) if stem in roots]
    for stem in set(stems or ()) - {file.stem for file in files}:
        faults.add(f"{stem}: the file {stem}.xml of split {split!r} is missing")
    pictures = folder / "JPEGImages" if images is None else Path(images).expanduser()
    paths = [inner_path(pictures, roots[stem].findtext("filename", "").strip()) for stem in chosen]
    found = []
    for stem, image in zip(chosen, sized(paths, faults, [f"{stem}.xml" for stem in chosen]), strict=True):
        if image is not None and _fits(roots[stem], stem, image, faults):
            for place, each in enumerate(roots[stem].findall("object")):
                _add(each, f"{stem}.xml, object {place + 1}", image, list(class_names), faults)
            found.append(image)
    return annotated_dataset(f"voc:{folder}", found, class_names, faults, empty=empty, crowd=crowd)


def named_splits(folder: str | os.PathLike) -> tuple[str, ...]:
    """Returns the splits that have a list in ImageSets/Main.

    Example:
        >>> write_voc(draw_shapes(2, side=64), "shapes")
        >>> named_splits("shapes")
        ('train',)
    """
    lists = Path(folder).expanduser() / "ImageSets" / "Main"
    return tuple(split for split, names in LISTS.items() if any((lists / f"{name}.txt").is_file() for name in names))


def _stems(folder: Path, split: str) -> list[str] | None:
    """Returns the names of a split; None for all files."""
    checks.one_of("split", split, (*LISTS, "all"))
    lists = folder / "ImageSets" / "Main"
    if split == "all":
        return None
    for name in LISTS[split]:
        if (lists / f"{name}.txt").is_file():
            lines = read_content(lists / f"{name}.txt").decode("utf-8", "replace").splitlines()
            return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
    if split != "train" or named_splits(folder):
        raise DataError(f"{one_line(lists)} has no {LISTS[split][0]}.txt. Take another split, or 'all'.")
    return None


class _NoDoctype(ElementTree.TreeBuilder):
    """Builder of trees that refuses entities: they are declared in a document type."""

    def doctype(self, name, pubid, system) -> NoReturn:
        raise DataError("it declares a document type")


def _root(file: Path, faults: Faults) -> ElementTree.Element | None:
    try:
        content = read_content(file, LARGEST_XML)
        root = ElementTree.fromstring(content, ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, DataError, ValueError, LookupError) as error:
        faults.add(f"{file.name}: no annotation: {error}")
        return None
    if root.tag != "annotation":
        faults.add(f"{file.name}: no annotation, but <{root.tag}>")
        return None
    return root


def _fits(root: ElementTree.Element, stem: str, image: AnnotatedImage, faults: Faults) -> bool:
    """Returns whether the stated size, if there is one, is that of the image file; adds a fault if not."""
    stated = [root.findtext(f"size/{name}") for name in ("height", "width")]
    sizes = [str(side) for side in image.size]
    if None in stated or [each.strip() for each in stated] in (sizes, ["0", "0"]):
        return True
    faults.add(f"{stem}.xml: {image.path.name} has {sizes[1]}x{sizes[0]} pixels, not {stated[1]}x{stated[0]}")
    return False


def _add(entry: ElementTree.Element, name: str, image: AnnotatedImage, class_names: list[str], faults: Faults) -> None:
    label = entry.findtext("name", "").strip()
    texts = [entry.findtext(f"bndbox/{edge}", "") for edge in EDGES]
    try:
        box = numbers([float(text) for text in texts], 4)
    except ValueError:
        faults.add(f"{name}: its bndbox {texts!r:.60} is not four numbers")
        return
    if label not in class_names:
        faults.add(f"{name}: the class {label!r} is unknown")
        return
    edges = [box[0] - 1, box[1] - 1, box[2], box[3]]
    if faults.is_sound(edges, image, name):
        image.boxes.append(edges)
        image.classes.append(class_names.index(label))
        image.crowd.append(entry.findtext("difficult", "0").strip() == "1")


def write_voc(dataset: Dataset, folder: str | os.PathLike, split: str = "train") -> None:
    """Writes a dataset of boxes in Pascal VOC's form: Annotations, JPEGImages, and the list of the split.

    Boxes keep every bit, as decimal numbers, of edges at 0 or beyond a thousandth of a pixel; VOC's own are whole.
    Crowd regions become `difficult`, areas have no place in VOC.

    Args:
        dataset: images with the labels "boxes" and "classes", and perhaps "crowd".
        folder: folder to write to. Splits may share one: their files bear the name of the split.
        split: `train`, `validation` or `test`.

    Raises:
        ArgumentError: the dataset has no boxes or classes, or the split is unknown.

    Example:
        >>> write_voc(draw_shapes(2, side=64), "shapes", "validation")
        >>> read_voc("shapes", "validation").size
        2
    """
    checks.one_of("split", split, tuple(LISTS))
    folder, stems = Path(folder), []
    for scene in scenes_of(dataset):
        name = write_image(scene, folder / "JPEGImages", f"{split}_")
        stems.append(Path(name).stem)
        tree = ElementTree.ElementTree(_annotation(scene, name, dataset.class_names))
        ElementTree.indent(tree)
        with writing(folder / "Annotations" / f"{stems[-1]}.xml") as file:
            tree.write(file, encoding="utf-8")
    write_text(folder / "ImageSets" / "Main" / f"{LISTS[split][0]}.txt", "".join(f"{stem}\n" for stem in stems))


def _annotation(scene: WrittenScene, name: str, class_names: Sequence[str]) -> ElementTree.Element:
    root = ElementTree.Element("annotation")
    _texts(root, {"filename": name})
    _texts(ElementTree.SubElement(root, "size"), {"width": scene.size[1], "height": scene.size[0], "depth": 3})
    for (left, top, right, bottom), label, crowd, _ in scene.rows():
        entry = ElementTree.SubElement(root, "object")
        _texts(entry, {"name": class_names[label], "difficult": int(crowd)})
        edges = (f"{edge:.17g}" for edge in (left + 1, top + 1, right, bottom))
        _texts(ElementTree.SubElement(entry, "bndbox"), dict(zip(EDGES, edges, strict=True)))
    return root


def _texts(parent: ElementTree.Element, texts: dict[str, object]) -> None:
    for name, text in texts.items():
        ElementTree.SubElement(parent, name).text = str(text)
