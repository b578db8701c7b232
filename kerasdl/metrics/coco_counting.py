"""Counts of right and wrong predicted objects over falling score, and the precision that COCO reads from them."""

from dataclasses import dataclass

import numpy as np

from .coco_matching import Flat, Matches, is_outside

RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class Hits:
    """Right predicted objects of all cells, sorted by cell, then by falling score. A cell is a (class, bound, size)."""

    first: np.ndarray
    """(K * T * S + 1,) place of the first of each cell, and the end of the last."""
    predicted: np.ndarray
    """(Q,) place of each among the predicted objects."""
    seen: np.ndarray
    """(Q,) right and wrong predicted objects of its class down to its score, itself among them."""

    def of(self, cell: int) -> slice:
        return slice(self.first[cell], self.first[cell + 1])


def positives_of(true: Flat, sizes: np.ndarray, classes: int) -> np.ndarray:
    """Returns the number (K, S) of true objects to be found: without crowds, within each range of size."""
    counts = ~true.crowd[:, None] & ~is_outside(true.areas, sizes)
    return np.stack([np.bincount(true.group[each] % classes, minlength=classes) for each in counts.T], axis=-1)


def hits_of(predicted: Flat, matches: Matches, shape: tuple[int, int, int], sizes: np.ndarray) -> Hits:
    """Returns the right predicted objects of (K, T, S) cells.

    Matches are few, so only they are visited: the others of a class count as wrong unless they are outside the size.
    """
    of_class = predicted.group % shape[0]
    falling = np.lexsort((-predicted.scores, of_class))  # then by image and rank, as they come
    place = np.empty_like(falling)
    place[falling] = np.arange(len(falling))
    is_inside = ~is_outside(predicted.areas, sizes)
    inside = np.concatenate([np.zeros((1, len(sizes)), int), np.cumsum(is_inside[falling], axis=0)])
    start = np.searchsorted(of_class[falling], np.arange(shape[0]))

    rows, size = matches.predicted, matches.size
    cell = np.ravel_multi_index((of_class[rows], matches.bound, size), shape)
    order = np.argsort(cell * len(falling) + place[rows])
    rows, size, cell, right = rows[order], size[order], cell[order], ~matches.is_ignored[order]
    first = np.searchsorted(cell, np.arange(np.prod(shape) + 1))
    seen = inside[place[rows] + 1, size] - inside[start[of_class[rows]], size]
    more = np.concatenate([[0], np.cumsum(right.astype(int) - is_inside[rows, size])])  # that matches change
    seen += more[1:] - more[first[cell]]
    before = np.concatenate([[0], np.cumsum(right)])
    return Hits(before[first], rows[right], seen[right])


def precision_at_recalls(seen: np.ndarray, positives: int) -> np.ndarray:
    """Returns the highest precision (101,) from each recall on, 0 where that recall is not reached.

    Args:
        seen: (Q,) right and wrong predicted objects down to each right one.
        positives: true objects to be found.
    """
    reached = np.arange(1, len(seen) + 1)
    highest = np.maximum.accumulate((reached / seen)[::-1])[::-1]
    return np.append(highest, 0.0)[np.searchsorted(reached / positives, RECALLS)]
