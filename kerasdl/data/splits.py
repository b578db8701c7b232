"""Fixed splits: which examples are for training, which for choosing and which for the final figure."""

import numpy as np

SPLITS = ("train", "validation", "test")
SHARES = (0.6, 0.2, 0.2)


def stratified_split(labels: np.ndarray, split: str, seed: int = 0) -> np.ndarray:
    """Returns the indices of a split, every class in its share (60, 20 and 20 in a hundred), in a mixed order.

    The three splits are disjoint and cover everything. Give zeros as labels where there are no classes.

    Example:
        >>> len(stratified_split(np.zeros(10), "test"))
        2
    """
    rng, picked = np.random.default_rng(seed), []
    position = SPLITS.index(split)
    low, high = sum(SHARES[:position]), sum(SHARES[: position + 1])
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        picked.append(members[round(low * len(members)) : round(high * len(members))])
    return np.random.default_rng((seed, position)).permutation(np.concatenate(picked))
