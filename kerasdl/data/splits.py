"""Fixed train, validation and test splits, stratified by class."""

import numpy as np

SPLITS = ("train", "validation", "test")
SHARES = (0.6, 0.2, 0.2)


def stratified_split(labels: np.ndarray, split: str, seed: int = 0) -> np.ndarray:
    """Returns the indices of a split in random order, with 60, 20 or 20 per cent of every class.

    The three splits are disjoint and cover everything. For data without classes, pass zeros as labels.

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


def grouped_split(labels: np.ndarray, groups: np.ndarray, split: str) -> np.ndarray:
    """Returns the indices of a split like `stratified_split`, with the examples of a group together.

    A group goes where `stratified_split` puts its first example, so that shares hold only on average.

    Args:
        labels: one per example, as in `stratified_split`.
        groups: for each example the index of the first one of its group.
        split: `train`, `validation` or `test`.

    Example:
        >>> len(grouped_split(np.zeros(10), np.zeros(10, int), "train")) in (0, 10)
        True
    """
    splits = np.empty(len(labels), int)
    for position, each in enumerate(SPLITS):
        splits[stratified_split(labels, each)] = position
    position = SPLITS.index(split)
    return np.random.default_rng((0, position)).permutation(np.flatnonzero(splits[groups] == position))
