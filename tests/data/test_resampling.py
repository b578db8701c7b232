"""Held-out parts by scikit-learn's split, and rare classes repeated."""

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from kerasdl.core.errors import ArgumentError
from kerasdl.data import as_dataset, hold_out, load, oversample

LABELS = np.repeat([0, 1, 2], [20, 7, 3])
DATA = as_dataset((np.arange(30.0, dtype="float32")[:, np.newaxis], LABELS))


def test_what_is_held_out_is_what_scikit_learn_holds_out():
    for seed in range(3):
        parts = train_test_split(np.arange(30), test_size=0.3, random_state=seed, stratify=LABELS)
        for part, wanted in zip(hold_out(DATA, 0.3, seed), parts, strict=True):
            np.testing.assert_array_equal(part.arrays()[0][:, 0], wanted)
            np.testing.assert_array_equal(part.arrays()[1], LABELS[wanted])
    figures = as_dataset((np.arange(10.0, dtype="float32")[:, np.newaxis], np.arange(10) / 3))
    assert [part.size for part in hold_out(figures, 0.2)] == [8, 2]


def test_every_class_comes_as_often_and_its_members_nearly_so():
    inputs, labels = oversample(DATA, seed=1).arrays()
    assert np.bincount(labels).tolist() == [20, 20, 20]
    times = np.bincount(inputs[:, 0].astype(int))
    assert (times[:20] == 1).all()
    for low, high in ((20, 27), (27, 30)):
        assert times[low:high].max() - times[low:high].min() == 1
    np.testing.assert_array_equal(LABELS[inputs[:, 0].astype(int)], labels)
    np.testing.assert_array_equal(oversample(DATA, seed=1).arrays()[0], inputs)
    assert not np.array_equal(oversample(DATA, seed=2).arrays()[0], inputs)


def test_what_cannot_be_drawn_from_is_refused():
    pipeline = as_dataset(DATA.batches(4))
    for function in (hold_out, oversample):
        with pytest.raises(ArgumentError, match=r"in memory or in files.*take\(n\)"):
            function(pipeline)
    with pytest.raises(ArgumentError, match="needs data with classes"):
        oversample(as_dataset((np.zeros((4, 1), "float32"), np.arange(4) / 3)))
    with pytest.raises(ArgumentError, match="every class must be in both parts"):
        hold_out(as_dataset((np.zeros((4, 1), "float32"), np.array([0, 0, 0, 1]))), 0.5)
    with pytest.raises(ArgumentError, match="share must be"):
        hold_out(DATA, 1.0)


def test_images_with_boxes_are_held_out_at_random():
    train, held = hold_out(load("shapes", size=8, image_shape=(32, 32, 3)), 0.25)
    assert (train.size, held.size) == (6, 2)
    assert len(train.source.labels["boxes"]) == 6
