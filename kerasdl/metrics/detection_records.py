"""Checks of the records that detections are judged by, and the names of their classes."""

from collections.abc import Sequence

from kerasdl.core import checks
from kerasdl.core.objects import PredictedObjects, TrueObjects


def class_names(classes: int | Sequence[str]) -> tuple[str, ...]:
    """Returns the names of classes, of a number of them the digits.

    Raises:
        ArgumentError: there is no class, or two bear one name.
    """
    if isinstance(classes, int):
        checks.at_least("classes", classes, 1)
        return tuple(map(str, range(classes)))
    names = tuple(classes)
    if not names:
        checks.refuse("classes must hold at least one name", classes)
    if len(set(names)) < len(names):
        checks.refuse("classes must bear different names", [name for name in names if names.count(name) > 1][:4])
    return names


def check_records(true: Sequence[TrueObjects], predicted: Sequence[PredictedObjects], classes: int) -> None:
    """Refuses records that do not belong together.

    Raises:
        ArgumentError: the numbers of records differ, or a class is beyond the number of classes.
    """
    if len(true) != len(predicted):
        checks.refuse(f"predicted must hold a record for each of the {len(true)} images", len(predicted))
    for each in (*true, *predicted):
        if len(each.classes) and each.classes.max() >= classes:
            checks.refuse(f"a class must be below the number of classes {classes}", int(each.classes.max()))


def check_masks(true: Sequence[TrueObjects], predicted: Sequence[PredictedObjects]) -> None:
    """Refuses records without masks of their objects.

    Raises:
        ArgumentError: a record has objects and no masks.
    """
    lacking = [place for place, each in enumerate((*true, *predicted)) if each.masks is None and len(each.boxes)]
    if lacking:
        checks.refuse("records must have masks", f"none in image {lacking[0] % len(true)}", "Pass masks=[...].")


def is_of_masks(of: str) -> bool:
    """Returns whether masks are compared and not boxes; raises `ArgumentError` where `of` is neither."""
    return checks.one_of("of", of, ("boxes", "masks")) == "masks"


def checked_names(
    true: Sequence[TrueObjects], predicted: Sequence[PredictedObjects], classes: int | Sequence[str], of: str = "boxes"
) -> tuple[str, ...]:
    """Returns the names of the classes that records of at least one image are judged by.

    Raises:
        ArgumentError: there is no class or no image, two classes bear one name, the records do not belong together, or
            they lack the masks that `of` asks for.
    """
    names = class_names(classes)
    if not len(true):
        checks.refuse("true must hold a record for at least one image", 0)
    check_records(true, predicted, len(names))
    if is_of_masks(of):
        check_masks(true, predicted)
    return names
