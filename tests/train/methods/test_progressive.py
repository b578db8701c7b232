"""Training on images that grow: sizes, one schedule over all stages, resumption, and what is refused."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasdl
from kerasdl.core.errors import ArgumentError
from kerasdl.train import RunConfig, fit_progressively, schedules

DIGITS = kerasdl.data.load("digits").take(32)
CONFIG = RunConfig(epochs=5, batch_size=16, learning_rate=0.1, optimizer="sgd", schedule="polynomial", progress="off")


def net(side=None):
    keras.utils.set_random_seed(0)
    tensor = keras.Input((side, side, 1))
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(tensor))
    return keras.Model(tensor, keras.layers.Dense(10, name="head")(features))


def test_images_grow_under_one_schedule(tmp_path):
    config, seen, model = RunConfig(**{**vars(CONFIG), "folder": tmp_path}), set(), net()

    def noting(size):
        def note(image, seed):
            seen.add((size, image.shape[0]))
            return image

        return note

    run = fit_progressively(model, DIGITS, (8, 16), validation=DIGITS, augment=noting, config=config)
    assert run.model is model
    assert seen == {(8, 8), (16, 16)}
    logs = [(tmp_path / f"size{size}" / "log.csv").read_text().splitlines() for size in (8, 16)]
    rates = [float(row["learning_rate"]) for log in logs for row in csv.DictReader(log)]
    whole = schedules.as_schedule("polynomial").over(0.1, 10)
    np.testing.assert_allclose(rates, [whole(step) for step in (1, 3, 5, 7, 9)], rtol=1e-5)


def test_no_stage_repeats_what_another_drew():
    drawn = {8: [], 16: []}

    def noting(size):
        def note(image, seed):
            keep = tf.numpy_function(lambda seed: drawn[size].append(tuple(seed)) or np.float32(0), [seed], tf.float32)
            return image + keep

        return note

    fit_progressively(net(), DIGITS, (8, 16), augment=noting, config=CONFIG)
    assert len(drawn[8]) >= 32
    assert not set(drawn[8]) & set(drawn[16])


def test_a_finished_run_is_not_made_again(tmp_path):
    config = RunConfig(**{**vars(CONFIG), "folder": tmp_path})
    first = fit_progressively(net(), DIGITS, (8, 16), config=config)
    again = fit_progressively(net(), DIGITS, (8, 16), config=config)
    assert again.resumed
    for one, other in zip(first.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["cosine", "one_cycle", "step", "cosine_restarts"])
def test_stretches_join_to_the_whole(name):
    whole = schedules.as_schedule(name).over(0.2, 90)
    rates = []
    for begin, end in ((0.0, 1 / 3), (1 / 3, 1.0)):
        part = schedules.Stretch(name, begin, end).over(0.2, round(90 * (end - begin)))
        again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(part))
        rates += [float(again(step)) for step in range(round(90 * (end - begin)))]
    np.testing.assert_allclose(rates, [float(whole(step)) for step in range(90)], rtol=1e-6)


def test_what_does_not_fit_is_refused():
    for sizes in ((16, 8), (8,), (8, 8), (4, 5, 6, 7, 8, 9)):
        with pytest.raises(ArgumentError, match="sizes must grow"):
            fit_progressively(net(), DIGITS, sizes, config=CONFIG)
    with pytest.raises(ArgumentError, match=r"any size.*image_shape=\(None, None, 3\)"):
        fit_progressively(net(16), DIGITS, (8, 16), config=CONFIG)
    with pytest.raises(ArgumentError, match="only raw uint8 images"):
        fit_progressively(net(), DIGITS.arrays(), (8, 16), config=CONFIG)
    with pytest.raises(ArgumentError, match="must be set by epochs"):
        fit_progressively(net(), DIGITS, (8, 16), config=RunConfig(steps=9))
    with pytest.raises(ArgumentError, match="begin must lie before end"):
        schedules.Stretch("cosine", 0.5, 0.5)
    with pytest.raises(ArgumentError, match="closed form"):
        schedules.Stretch("plateau")
