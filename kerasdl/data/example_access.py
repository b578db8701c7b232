"""Examples of a dataset one by one: length, iteration, indexing, and the display of a dataset."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from kerasdl.core import checks
from kerasdl.core.display.results import Displayed, names_text, picture_of

from . import trees
from .images import scale_pixels

SHOWN = 12
SHOWN_SIDE = 96


class ExampleAccess(Displayed):
    """Base class of `Dataset`: its examples as a sequence, and how it shows itself.

    An example is (inputs, labels), (inputs, labels, weight) or the inputs alone, as NumPy arrays without a batch axis.
    """

    def __len__(self) -> int:
        if self.size is None:
            raise TypeError(f"{self.name} is a pipeline that does not tell how many examples it has.")
        return self.size

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[Any]:
        return self.batches(32).unbatch().as_numpy_iterator()

    def __getitem__(self, place: int | slice) -> Any:
        """Returns one example, or the dataset of a slice of them."""
        if not self.any_order:
            checks.refuse("examples by number need data that can be read in any order", self.name, "Use take(n) first.")
        if isinstance(place, slice):
            return self.of_examples(self.source.pick(np.arange(self.size)[place]))
        if not -self.size <= place < self.size:
            raise IndexError(f"{self.name} has {self.size} examples; there is no number {place}.")
        source = self.source.pick(np.array([place % self.size]))
        inputs = source.reader(self._image_shape())(np.array([0]))
        inputs = scale_pixels(inputs, self.scale) if self.images else inputs
        return trees.mapped(_first, trees.packed(inputs, source.labels, source.weights))

    def _shown(self) -> tuple[str, dict[str, Any]]:
        count = "unknown number of" if self.size is None else f"{self.size:,}"
        shape = tuple("any" if side is None else side for side in self.input_shape)
        scale = "" if self.scale is None else f", levels 0 to 255 as {self.scale[0]} to {self.scale[1]}"
        rows = {
            "inputs": f"{shape} {self.input_dtype}{scale}".replace("'", ""),
            "classes": names_text(self.class_names),
            "features": names_text(self.feature_names),
            "licence": self.licence if self.licence != "not stated" else None,
        }
        return f"Dataset {self.name}: {count} examples, {self.task.replace('_', ' ')}", rows

    def _picture(self) -> Any:
        """Returns a grid of up to 12 images over all classes; None for data that are not images in memory or files."""
        if not self.images or not self.any_order or not isinstance(self.source.labels, (np.ndarray, type(None))):
            return None
        shape = tuple(min(side or SHOWN_SIDE, SHOWN_SIDE) for side in self.input_shape[:2])
        few = self.sample(min(SHOWN, self.size)).prepared((*shape, self.input_shape[2]), (0, 1))
        pixels, labels = few.arrays()
        named = bool(self.class_names) and labels is not None and labels.ndim == 1
        titles = [self.class_names[int(label)] for label in labels] if named else [""] * len(pixels)
        return picture_of("grid", pixels, titles)


def _first(leaf: Any) -> Any:
    return leaf[0]
