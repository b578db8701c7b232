"""Watch for collapse: duplicates and modes of generators that are known, and the advice in the log."""

import numpy as np
import pytest
from point_nets import config, gan, points

from kerasdl.core.errors import ArgumentError
from kerasdl.generative import CollapseWatch, eight_gaussians, gaussian_centres
from kerasdl.generative.gan.collapse import advice_on, nearest_distances
from kerasdl.train import fit


class Sampler:
    def __init__(self, samples):
        self.samples = samples

    def sample(self, count, seed):
        return self.samples[:count]


def test_figures_of_known_samples():
    real, centres = eight_gaussians(500, 0), gaussian_centres()
    good = CollapseWatch(Sampler(eight_gaussians(500, 1)), real, centres=centres).measure(0)
    assert (good["modes"], good["high_quality"] > 0.97, good["duplicates"] < 0.05) == (8.0, True, True)
    one = CollapseWatch(Sampler(np.repeat(centres[:1], 500, axis=0)), real, centres=centres).measure(0)
    assert one == {"duplicates": 1.0, "modes": 1.0, "high_quality": 1.0}
    assert set(CollapseWatch(Sampler(real), real).measure(0)) == {"duplicates"}
    assert np.isnan(CollapseWatch(Sampler(real * np.nan), real).measure(0)["duplicates"])
    rows = np.random.default_rng(0).normal(size=(40, 3, 2))
    flat = rows.reshape(40, -1)
    brute = np.linalg.norm(flat[:, None] - flat[None], axis=-1) + np.diag(np.full(40, np.inf))
    np.testing.assert_allclose(nearest_distances(rows), brute.min(1))
    with pytest.raises(ArgumentError, match="2 examples or more"):
        CollapseWatch(Sampler(real), real[:1])


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({"duplicates": 0.31}, ["many samples are alike"]),
        ({"modes": 4.0}, ["half of the modes"]),
        ({"modes": 5.0, "duplicates": 0.1}, []),
        ({"real_accuracy": 0.99, "fake_accuracy": 0.99}, ["always right"]),
        ({"real_accuracy": 0.99, "fake_accuracy": 0.7}, []),
        ({"real_accuracy": 0.3, "fake_accuracy": 0.4}, ["mostly wrong"]),
        ({}, []),
    ],
)
def test_advice(figures, said):
    found = advice_on(figures, 8)
    assert len(found) == len(said)
    assert all(part in line for part, line in zip(said, found, strict=True))


def test_a_run_says_each_advice_once(capsys):
    trainer = gan(rate=0.0)
    trainer.networks["generator"].set_weights([0 * each for each in trainer.networks["generator"].get_weights()])
    watch = CollapseWatch(trainer, points(), centres=gaussian_centres(), count=50)
    run = fit(trainer, points(), callbacks=[watch], config=config(progress="auto"))
    assert run.history["duplicates"] == [1.0, 1.0]
    assert run.history["modes"] == [0.0, 0.0]
    text = "".join(capsys.readouterr())
    assert text.count("many samples are alike") == 1
    other = CollapseWatch(trainer, points())
    other.restore(watch.saved())
    assert other.said == watch.said
