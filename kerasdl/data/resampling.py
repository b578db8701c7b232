"""Resampling of a dataset: hold-out split, oversampling of rare classes."""

from collections.abc import Mapping

import numpy as np
from sklearn.model_selection import train_test_split

from kerasdl.core import checks

from .dataset import Dataset
from .trees import MOVING

SHARE = 0.1
"""Share of images that are held out of data without splits, once to test and once to validate."""
LEAST_TO_PART = 3


def hold_out(data: Dataset, share: float = 0.2, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Returns the data split in two, with the class shares of the whole in both parts.

    The split is scikit-learn's `train_test_split`. Images with boxes or maps are drawn at random.

    Args:
        data: examples in memory or in files.
        share: share of the held-out part, between 0 and 1.
        seed: 0 or more; equal seeds hold out the same.

    Returns:
        The part to train on, and the held-out part.

    Raises:
        ArgumentError: the data cannot be read in any order, or a class is too small to be in both.

    Example:
        >>> train, held = hold_out(load("digits"), 0.25)
        >>> train.size, held.size
        (808, 270)
    """
    checks.within("share", share, 1e-6, 1 - 1e-6)
    if not data.any_order:
        checks.refuse("hold_out needs data in memory or in files", data.name, "Use take(n) first.")
    has_places = isinstance(data.source.labels, Mapping) and not {*MOVING}.isdisjoint(data.source.labels)
    labels = _labels(data, "hold_out") if data.class_names and not has_places else None
    try:
        parts = train_test_split(np.arange(data.size), test_size=share, random_state=seed, stratify=labels)
    except ValueError as error:
        checks.refuse("every class must be in both parts", f"share={share} of {data.name}: {error}")
    return tuple(_picked(data, part) for part in parts)


def unsplit_parts(data: Dataset) -> tuple[Dataset, Dataset | None, Dataset | None]:
    """Returns images with boxes that name no splits in three parts, by seed 0: 80 % to learn, 10 % to validate, 10 %.

    A part is None where fewer than three images are left to take it from.

    Args:
        data: images in memory or in files.

    Example:
        >>> scenes = kerasdl.data.detection.draw_shapes(20, side=32)
        >>> [part.size for part in unsplit_parts(scenes)]
        [16, 2, 2]
    """
    if data.size < LEAST_TO_PART:
        return data, None, None
    rest, left = hold_out(data, SHARE)
    if rest.size < LEAST_TO_PART:
        return rest, None, left
    return (*hold_out(rest, SHARE), left)


def oversample(data: Dataset, seed: int = 0) -> Dataset:
    """Returns the data with rare classes repeated until every class is as large as the largest.

    All examples of a class are repeated equally often; the last, incomplete round is drawn at random.

    Args:
        data: data with classes, in memory or in files; use training data alone, after the hold-out split.
        seed: 0 or more.

    Returns:
        The larger dataset.

    Raises:
        ArgumentError: the data have no classes, or cannot be read in any order.

    Example:
        >>> rare = load("digits").take(50)
        >>> largest = np.bincount(rare.arrays()[1]).max()
        >>> bool((np.bincount(oversample(rare).arrays()[1]) == largest).all())
        True
    """
    labels = _labels(data, "oversample")
    if not data.class_names:
        checks.refuse("oversample needs data with classes", data.name)
    rng, classes, picked = np.random.default_rng(seed), np.unique(labels, return_counts=True), []
    for label, count in zip(*classes, strict=True):
        members, largest = np.flatnonzero(labels == label), classes[1].max()
        picked += [np.tile(members, largest // count), rng.permutation(members)[: largest % count]]
    return _picked(data, np.sort(np.concatenate(picked)))


def _labels(data: Dataset, function: str) -> np.ndarray:
    if not data.any_order or not isinstance(data.source.labels, np.ndarray):
        rule = f"{function} needs data in memory or in files, with one label an example"
        checks.refuse(rule, data.name, "Use take(n) first.")
    return data.source.labels


def _picked(data: Dataset, places: np.ndarray) -> Dataset:
    return data.of_examples(data.source.pick(places))
