"""Run-length coding of masks by COCO's rules: both ways, areas, boxes, overlaps, outlines; NumPy on the host.

A mask is read column by column, from the top, and told by the lengths of its runs in turn: of background first, which
may be 0, then of foreground. COCO's files hold them as a list of numbers, or as a string that packs them.

Source: the format of https://cocodataset.org/#format-data, equal to pycocotools.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kerasdl.core import checks

FIRST = 48  # the character of the value 0 in a packed string
MOST_CHARACTERS = 13  # of one packed number


@dataclass(frozen=True, eq=False)
class RunLengths:
    """Run lengths of one mask.

    Example:
        >>> RunLengths(2, 3, [1, 2, 3]).mask().astype(int)
        array([[0, 1, 0],
               [1, 0, 0]])
    """

    height: int
    """Pixels."""
    width: int
    """Pixels."""
    counts: Any
    """(R,) int64 lengths of runs, background first; their sum is height * width."""

    def __post_init__(self):
        counts = np.asarray(self.counts)
        counts = counts.astype(np.int64) if counts.size == 0 else counts
        for name in ("height", "width"):
            object.__setattr__(self, name, checks.at_least(name, getattr(self, name), 0))
        if counts.ndim != 1 or counts.dtype.kind not in "iu" or (counts.size and counts.min() < 0):
            checks.refuse("counts must be whole numbers of 0 or more", counts.tolist()[:8])
        if counts.sum() != self.height * self.width:
            rule = f"counts must have the sum of the mask's pixels, {self.height} * {self.width}"
            checks.refuse(rule, int(counts.sum()), "Rows and columns may be exchanged.")
        object.__setattr__(self, "counts", counts.astype(np.int64))

    @property
    def area(self) -> int:
        """Pixels of the foreground."""
        return int(self.counts[1::2].sum())

    @property
    def box(self) -> np.ndarray:
        """(4,) float64 left, top, right and bottom edge in pixels; zeros for an empty mask."""
        first, last = self._runs()
        if not len(first):
            return np.zeros(4)
        left, right = first[0] // self.height, last[-1] // self.height + 1
        several = first // self.height != last // self.height  # such a run reaches the bottom, and the next top
        top = 0 if several.any() else (first % self.height).min()
        bottom = self.height if several.any() else (last % self.height).max() + 1
        return np.array([left, top, right, bottom], np.float64)

    def mask(self) -> np.ndarray:
        """Returns the mask, (height, width) booleans."""
        values = np.arange(len(self.counts)) % 2 == 1
        return np.repeat(values, self.counts).reshape(self.width, self.height).T

    def packed(self) -> str:
        """Returns COCO's string: 5 bits a character, from the fourth number on differences to the last but one."""
        counts = self.counts.tolist()
        text = []
        for place, count in enumerate(counts):
            value = count - (counts[place - 2] if place > 2 else 0)
            is_last = False
            while not is_last:
                bits = value & 31
                value >>= 5
                is_last = value == (-1 if bits & 16 else 0)
                text.append(chr(FIRST + bits + (0 if is_last else 32)))
        return "".join(text)

    def to_json(self, packed: bool = True) -> dict[str, Any]:
        """Returns the entry of a COCO file: `size` [height, width], and `counts` as a string or a list."""
        return {"size": [self.height, self.width], "counts": self.packed() if packed else self.counts.tolist()}

    def _runs(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the first and the last pixel of each run of foreground that has pixels."""
        after = np.cumsum(self.counts)[1::2]
        lengths = self.counts[1::2]
        some = lengths > 0
        return (after - lengths)[some], after[some] - 1


def encode_mask(mask: Any) -> RunLengths:
    """Returns the run lengths of a mask.

    Args:
        mask: (H, W) booleans, or numbers of which those other than 0 are foreground.

    Raises:
        ArgumentError: the mask is not (H, W).

    Returns:
        Run lengths that begin with background, as pycocotools has them.

    Example:
        >>> encode_mask([[0, 1], [1, 1]]).counts.tolist()
        [1, 3]
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        checks.refuse("mask must be (H, W)", mask.shape)
    pixels = (mask != 0).T.ravel()
    changes = np.flatnonzero(np.diff(pixels)) + 1
    edges = np.concatenate([[0], changes, [pixels.size]]) if pixels.size else np.zeros(1, int)
    counts = np.diff(edges)
    return RunLengths(*mask.shape, np.concatenate([[0], counts]) if pixels.size and pixels[0] else counts)


def read_run_lengths(entry: Any) -> RunLengths:
    """Returns run lengths from the entry of a COCO file.

    Args:
        entry: a dict of `size` [height, width] and `counts`, a list of numbers or a packed string (or bytes).

    Returns:
        The run lengths.

    Raises:
        ArgumentError: the entry is of another form, the string is cut or no packed one, or lengths do not fit the size.

    Example:
        >>> read_run_lengths({"size": [2, 2], "counts": "13"}).counts.tolist()
        [1, 3]
    """
    size = entry.get("size") if isinstance(entry, dict) else None
    if not isinstance(size, (list, tuple)) or len(size) != 2 or "counts" not in entry:
        checks.refuse("run lengths must be a dict of size [height, width] and counts", entry)
    counts = entry["counts"]
    counts = _unpacked(counts) if isinstance(counts, (str, bytes)) else counts
    return RunLengths(*size, counts)


def _unpacked(text: str | bytes) -> list[int]:
    rule = "a packed string of run lengths must be whole"
    values = list(text) if isinstance(text, bytes) else [ord(each) for each in text]
    counts, value, shift = [], 0, 0
    for bits in (each - FIRST for each in values):
        if not 0 <= bits < 64 or shift >= 5 * MOST_CHARACTERS:
            checks.refuse(rule, text[:40])
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4) if bits & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = shift = 0
    if shift:
        checks.refuse(rule, text[-40:])
    return counts


def mask_overlaps(masks: Sequence[RunLengths], others: Sequence[RunLengths], crowd: Any = None) -> np.ndarray:
    """Returns the IoU of each mask with each other mask.

    Args:
        masks: N run lengths.
        others: M run lengths of the same image size.
        crowd: (M,) booleans: with a crowd it is the share of the mask that lies in it. None is no crowd.

    Returns:
        (N, M) float64 from 0 to 1; 0 where both are empty.

    Raises:
        ArgumentError: masks differ in size, or `crowd` has another length.

    Example:
        >>> mask_overlaps([encode_mask([[1, 1, 0]])], [encode_mask([[0, 1, 1]])]).round(3)
        array([[0.333]])
    """
    crowd = np.zeros(len(others), bool) if crowd is None else np.asarray(crowd, bool)
    if crowd.shape != (len(others),):
        checks.refuse(f"crowd must have one entry for each of the {len(others)} masks", crowd.shape)
    sizes = {(each.height, each.width) for each in (*masks, *others)}
    if len(sizes) > 1:
        checks.refuse("masks must be of one size", sorted(sizes)[:4])
    shared = np.zeros((len(masks), len(others)))
    boxes, other_boxes = (np.array([each.box for each in some]).reshape(-1, 4) for some in (masks, others))
    low = np.maximum(boxes[:, None, :2], other_boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], other_boxes[None, :, 2:])
    rows, columns = np.nonzero((high > low).all(axis=-1))
    for column in np.unique(columns):
        before = _pixels_before(others[column])
        for row in rows[columns == column]:
            first, last = masks[row]._runs()
            shared[row, column] = (before(last + 1) - before(first)).sum()
    areas, other_areas = (np.array([each.area for each in some], float) for some in (masks, others))
    union = np.where(crowd, areas[:, None], areas[:, None] + other_areas - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def _pixels_before(mask: RunLengths):
    """Returns a function from pixels (R,) to the number of foreground pixels before each."""
    first, last = mask._runs()
    before = np.concatenate([[0], np.cumsum(last + 1 - first)])
    starts = np.concatenate([first, [np.iinfo(np.int64).max]])

    def count(pixels: np.ndarray) -> np.ndarray:
        place = np.searchsorted(starts, pixels)  # runs that begin before the pixel
        beyond = np.where(place > 0, np.maximum(last[np.maximum(place - 1, 0)] + 1 - pixels, 0), 0)
        return before[place] - beyond

    return count
