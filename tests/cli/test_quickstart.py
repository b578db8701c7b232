"""The main job's bars, over three seeds: few emoji learnt, and few digits better than from scratch; its picture."""

import json

import numpy as np
import pytest
from PIL import Image

import kerasdl
from kerasdl.cli.pictures import FINE_TUNED, WRONG, draw_answers


def seeds(data, tmp_path, capsys):
    runs = [kerasdl.cli.run_quickstart(tmp_path / str(seed), data=data, seed=seed, quiet=True) for seed in range(3)]
    with capsys.disabled():
        for run in runs:
            print(f"\n{run}")
    for seed, run in enumerate(runs):
        assert json.loads((tmp_path / str(seed) / "figures.json").read_text())["exports"] == run["exports"]
    return runs


@pytest.mark.bars
def test_ten_emoji_a_kind_are_enough_for_a_net_that_knows_photos(tmp_path, capsys):
    runs = seeds("emoji", tmp_path, capsys)
    assert np.mean([run["same style"] for run in runs]) > 0.6
    assert np.mean([run["other style"] for run in runs]) > 0.55
    for run in runs:
        for export in run["exports"]:
            assert export["same answer"] >= 0.9
            assert export["accuracy"] >= run["same style"] - 0.05


@pytest.mark.bars
def test_fine_tuning_is_ahead_of_from_scratch_by_eight_points(tmp_path, capsys):
    runs = seeds("digits", tmp_path, capsys)
    tuned, scratch = ([run[name] for run in runs] for name in ("fine-tuned", "from scratch"))
    assert np.mean(tuned) - np.mean(scratch) >= 0.08
    assert min(scratch) > 0.5, "a baseline that does not learn proves nothing"
    for run in runs:
        for export in run["exports"]:
            assert export["same answer"] >= 0.95
            assert export["accuracy"] >= run["fine-tuned"] - 0.02


def coloured(path, colour):
    wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return int((np.asarray(Image.open(path).convert("RGB")) == wanted).all(axis=-1).sum())


def test_wrong_answers_stand_in_the_picture_in_another_colour(tmp_path):
    images, truth = np.full((4, 8, 8, 3), 255, np.uint8), np.array([0, 1, 0, 1])
    for name, answers in {"right": truth, "mixed": np.array([0, 0, 0, 0]), "none": None}.items():
        draw_answers(tmp_path / f"{name}.png", [("a style", images, truth, answers)], ("cat", "fig"))
    assert coloured(tmp_path / "right.png", FINE_TUNED) > 20
    assert coloured(tmp_path / "right.png", WRONG) == 0
    assert coloured(tmp_path / "mixed.png", FINE_TUNED) > 20
    assert coloured(tmp_path / "mixed.png", WRONG) > 20
    assert coloured(tmp_path / "none.png", FINE_TUNED) + coloured(tmp_path / "none.png", WRONG) == 0
