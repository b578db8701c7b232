"""Experiments have the shapes of the textbooks, and baselines stand beside the net on one split."""

import numpy as np
import pytest

from kerasdl.data import load
from kerasdl.foundations import baselines, experiments


def test_capacity_first_helps_and_then_harms():
    figures = experiments.by_capacity()
    best = figures["test"].argmin()
    assert (np.diff(figures["train"]) < 0).all()
    assert 2 < best < len(figures["test"]) - 2
    assert figures["test"][-1] > 5 * figures["test"][best] < figures["test"][0]


def test_data_closes_the_gap():
    figures = experiments.by_data()
    gaps = figures["test"] - figures["train"]
    assert (np.diff(gaps) < 0).all()
    assert figures["test"][-1] == pytest.approx(0.04, rel=0.1)


def test_epochs_beyond_the_best_overfit():
    figures = experiments.by_epochs()
    best = figures["test"].argmin()
    assert best < len(figures["test"]) / 2
    assert figures["test"][-1] > 1.3 * figures["test"][best]
    assert figures["train"][-1] < figures["train"][best]


def test_error_descends_twice():
    figures = experiments.double_descent()
    peak = figures["test"].argmax()
    assert figures["features"][peak] == 40
    assert figures["test"][:peak].min() < figures["test"][peak] / 5
    assert figures["test"][-1] < figures["test"][:peak].min()


def test_width_approximates():
    figures = experiments.by_width((1, 4, 32))
    assert (np.diff(figures["error"]) < 0).all()


def test_best_rate_grows_with_the_batch():
    figures = experiments.batch_and_rate()
    best = figures["rate"][figures["test"].argmin(axis=1)]
    assert (np.diff(best) >= 0).all()
    assert best[-1] > best[0]


def test_small_weights_do_not_learn_deep():
    figures = experiments.start_and_depth(depths=(1, 8))
    small, _, he = figures["test"]
    assert small[1] > 3 * small[0]
    assert he[1] < 1.5 * he[0]
    with pytest.raises(ValueError, match="initializer must be one of"):
        experiments.start_and_depth(("glorot",))


def test_figures_are_drawn(tmp_path):
    curves = {"degree": np.array([1, 2]), "train": np.array([1.0, 0.5])}
    table = {"batch": np.array([1, 2]), "rate": np.array([0.1]), "test": np.array([[1.0], [np.inf]])}
    for name, figures in {"curves": curves, "table": table}.items():
        experiments.draw(figures, tmp_path / f"{name}.png", title=name)
        assert (tmp_path / f"{name}.png").stat().st_size > 3000


def test_baselines_in_one_table():
    train, test = load("breast_cancer").arrays(), load("breast_cancer", "test").arrays()
    rows = baselines.compare_classifiers(train, test, seeds=1)
    accuracy = {row["name"]: row["accuracy"] for row in rows}
    assert set(accuracy) == set(baselines.classifiers())
    assert list(accuracy.values()) == sorted(accuracy.values(), reverse=True)
    assert min(accuracy.values()) > 0.85
    assert accuracy["MLP"] > 0.93
    assert accuracy["logistic"] > 0.93
    with pytest.raises(ValueError, match=r"baselines need a table \(N, D\) of two classes or more; got \(4,\)"):
        baselines.compare_classifiers((np.ones(4), np.ones(4)), test)
    with pytest.raises(ValueError, match="each row must have a label"):
        baselines.compare_classifiers(train, (test[0], test[1][:, None]))
