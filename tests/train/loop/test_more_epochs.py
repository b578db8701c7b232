"""A finished run that is given more epochs goes on as if it had been given them at once."""

import json

import keras
import numpy as np
import pytest

from kerasdl.core.errors import ArgumentError
from kerasdl.train import RunConfig, finetune, fit
from kerasdl.train.loop.runner import run_steps
from kerasdl.train.loop.state import State


def run(toy, task, epochs, folder=None, **more):
    keras.utils.set_random_seed(3)
    settings = {"batch_size": 8, "learning_rate": 0.01, "progress": "off", "strategy": None, "steps_per_execution": 1}
    config = RunConfig(**{**settings, "epochs": epochs, "folder": folder, **more})
    return fit(toy.model(dropout=0.3), toy.data(40), validation=toy.data(24, seed=1), task=task, config=config)


@pytest.mark.parametrize("more", [{}, {"ema": 0.9, "steps_per_epoch": 3}, {"schedule": "plateau"}], ids=str)
def test_more_epochs_end_where_a_run_of_them_all_ends(toy, task, tmp_path, more):
    whole = run(toy, task, 5, **more)
    run(toy, task, 2, tmp_path, **more)
    longer = run(toy, task, 5, tmp_path, **more)
    assert (longer.resumed, longer.stopped, longer.steps) == (True, "finished", whole.steps)
    assert longer.history == whole.history
    assert longer.best == whole.best
    assert toy.digest(longer.model) == toy.digest(whole.model)
    again = run(toy, task, 5, tmp_path, **more)
    assert (again.resumed, toy.digest(again.model)) == (True, toy.digest(whole.model))
    assert json.loads((tmp_path / "config.json").read_text())["settings"]["epochs"] == 5
    with pytest.raises(ArgumentError, match="epochs is 5 there, 2 here"):
        run(toy, task, 2, tmp_path, **more)


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"schedule": "cosine"}, "its schedule follows from the length"),
        ({"swa": 0.5}, "swa begins at a share"),
        ({"steps": 4}, "steps sets its length"),
    ],
)
def test_a_run_that_follows_from_its_length_says_why_it_cannot_be_longer(toy, task, tmp_path, more, reason):
    run(toy, task, 2, tmp_path, **more)
    with pytest.raises(ArgumentError, match=f"cannot have more epochs: {reason}"):
        run(toy, task, 3, tmp_path, **more)


def test_more_epochs_and_another_setting_are_another_run(toy, task, tmp_path):
    run(toy, task, 1, tmp_path)
    with pytest.raises(ArgumentError, match=r"epochs is 1 there, 2 here; settings.batch_size is 8 there, 4 here"):
        run(toy, task, 2, tmp_path, batch_size=4)


def test_a_run_that_stopped_early_stays_as_it_is(toy, task, tmp_path):
    more = {"patience": 1, "min_delta": 10.0}
    first = run(toy, task, 6, tmp_path, **more)
    assert first.stopped == "early"
    again = run(toy, task, 9, tmp_path, **more)
    assert (again.stopped, again.steps) == ("early", first.steps)


def test_stages_that_others_follow_keep_their_epochs(toy, task, tmp_path):
    def tuned(epochs, resume=True, **more):
        config = RunConfig(
            epochs=epochs, folder=tmp_path, resume=resume, progress="off", strategy=None, steps_per_execution=1
        )
        return finetune(toy.model(), toy.data(), task=task, config=config, **more)

    tuned(2, freeze_epochs=1)
    with pytest.raises(ArgumentError, match=r"as many epochs as it was started with.*1 there, 2 of epochs=4 here"):
        tuned(4, freeze_epochs=2)
    assert tuned(4, freeze_epochs=2, resume=False).steps == 4


def trickling(figures):
    epochs = iter(figures)
    return State(None, {}, {}, lambda epoch, batch: iter([1.0]), steps_per_epoch=1, evaluate=lambda: next(epochs))


def test_a_figure_that_only_some_epochs_have_is_empty_in_the_others(tmp_path):
    figures = [{"loss": 1.0}, {"loss": 0.5, "fid": 7.0}, {"loss": 0.2}, {"loss": 0.1, "fid": 3.0}]
    config = RunConfig(epochs=4, progress="off", folder=tmp_path, monitor=("loss", "min"), patience=3)
    found = run_steps(lambda stream: {"loss": next(stream)}, trickling(figures), config)
    np.testing.assert_array_equal(found.history["fid"], [np.nan, 7.0, np.nan, 3.0])
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert rows == ["epoch,loss,fid", "1,1.0,", "2,0.5,7.0", "3,0.2,", "4,0.1,3.0"]
    assert (tmp_path / "curves.png").stat().st_size > 1000
    assert run_steps(lambda stream: {}, trickling([]), config).history["loss"] == [1.0, 0.5, 0.2, 0.1]


def test_a_monitored_figure_may_be_absent_later_but_not_at_first():
    figures = [{"fid": 7.0}, {}, {"fid": 8.0}, {}, {"fid": 9.0}, {}]
    config = RunConfig(epochs=6, progress="off", monitor=("fid", "min"), patience=2)
    found = run_steps(lambda stream: {"loss": next(stream)}, trickling(figures), config)
    assert (found.best.value, found.best.epoch, found.stopped) == (7.0, 1, "early")
    assert len(found.history["fid"]) == 5
    with pytest.raises(ArgumentError, match=r"monitor must name one of .* figures of the first epoch"):
        run_steps(lambda stream: {"loss": 1.0}, trickling([{"loss": 1.0}]), config)
