"""Drawn calls of fit and finetune come to what NumPy gives, or are refused in a line; a fault is seen."""

import fuzz_training
import numpy as np
import pytest
import training_cases
import training_data
import training_oracle

from kerasdl.train.engine import train_steps


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_drawn_calls_come_to_what_numpy_gives_or_are_refused_in_one_line():
    figures = fuzz_training.run(800, seed=0, count=30)
    assert not figures.finds, str(figures)
    assert figures.calls == 30
    assert 5 < sum(figures.refused.values()) < 25


def right_seed(**wanted):
    """Returns the first seed of a call that is right, plain, and has such attributes."""
    for seed in range(2000):
        case = training_cases.drawn(seed)
        plain = case.net == "functional" and case.call == "fit" and len(case.heads) == 1
        rate = case.settings["learning_rate"]
        if plain and rate and all(getattr(case.train, name) == value for name, value in wanted.items()):
            answer = training_oracle.answer(case)
            if answer.refused is None and not answer.near:
                return seed
    raise AssertionError(wanted)


@pytest.mark.parametrize("endless", [False, True])
def test_a_drawn_call_is_right(endless):
    assert fuzz_training.examine(right_seed(container="pipeline", endless=endless)) == ("right", "")


def test_a_wrong_gradient_is_a_find(monkeypatch):
    gradients = train_steps.CompiledSteps._gradients

    def doubled(*given, **settings):
        found, loss = gradients(*given, **settings)
        return [None if each is None else 2 * each for each in found], loss

    monkeypatch.setattr(train_steps.CompiledSteps, "_gradients", doubled)
    outcome, what = fuzz_training.examine(right_seed(container="pair"))
    assert outcome == "find"
    assert "a weight is off" in what or "loss" in what


def test_a_call_that_does_not_come_back_is_a_find(monkeypatch):
    monkeypatch.setattr(fuzz_training, "LIMIT", 0.01)
    figures = fuzz_training.run(60, seed=0, count=1)
    assert [what.partition(":")[0] for _, what in figures.finds] == ["hung"]


def test_every_kind_of_draw_occurs():
    cases = [training_cases.drawn(seed) for seed in range(1500)]
    heads = [head for case in cases for head in case.heads]
    assert {case.net for case in cases} == set(training_cases.NETS)
    assert {head.loss for head in heads} == {None, *training_cases.FIT}
    assert {head.kind for head in heads} == set(training_cases.LABELS)
    assert {head.flaw for head in heads} == {None, *training_cases.LABEL_FLAWS}
    assert {head.labels.dtype.name for head in heads} >= {*training_cases.INTEGERS, *training_cases.FLOATS, "bool"}
    assert {array.dtype.name for case in cases for array in case.inputs} == set(training_cases.INPUTS)
    feeds = [case.train for case in cases]
    assert {feed.container for feed in feeds} == {*training_cases.PAIRS, *training_cases.NO_DATA, "pipeline"}
    assert {feed.endless for feed in feeds} == {feed.unknown for feed in feeds} == {False, True}


def test_batches_of_a_drawn_pipeline_are_those_of_tensorflow():
    import tensorflow as tf

    for seed in range(60):
        case = training_cases.drawn(seed)
        feed = case.train
        if not feed.is_pipeline or "shuffle" in feed.names:
            continue
        source = tf.data.Dataset.from_tensor_slices(feed.rows)
        for name, value in feed.stages:
            source = training_data.staged(source, name, value, tf)
        found = list(source.take(12).as_numpy_iterator())
        expected = [rows for rows, _ in zip(feed.batches(4), range(12), strict=False)]
        assert len(found) == len(expected), case
        for ours, theirs in zip(expected, found, strict=True):
            np.testing.assert_array_equal(ours, theirs)
