"""Short epochs go on through the data, resume finds their place, and data without end are taken in parts or refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism  # it has no public name

from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import as_dataset
from kerasdl.data.pipelines import is_endless, reshuffles
from kerasdl.train import RunCallback, RunConfig, fit

BATCHES, SIZE = 5, 4
QUIET = {"progress": "off", "strategy": None, "batch_size": SIZE, "steps_per_execution": 1}


class Seen(RunCallback):
    """Notes the number of each batch: its first input, as all examples of a batch have the same."""

    def __init__(self, stop=None):
        self.batches, self.stop = [], stop

    def wants(self, step):
        if step == self.stop:
            raise ZeroDivisionError
        return True

    def inspect(self, found):
        self.batches.append(int(found.inputs.numpy()[0, 0]))


def arrays():
    x = np.repeat(np.arange(BATCHES, dtype=np.float32), SIZE)[:, None]
    return x, x / 10


def net():
    keras.utils.set_random_seed(1)
    tensor = keras.Input((1,))
    return keras.Model(tensor, keras.layers.Dense(1)(tensor))


def pipeline(kind):
    data = tf.data.Dataset.from_tensor_slices(arrays()).batch(SIZE)
    if kind == "arrays":
        return arrays()
    if kind == "stateless generator":
        whole = list(data.as_numpy_iterator())
        return tf.data.Dataset.from_generator(lambda: iter(whole), output_signature=data.element_spec)
    return {
        "finite": data,
        "endless": data.repeat(),
        "unknown": data.filter(lambda x, y: True),
        "endless of unknown length": data.repeat().filter(lambda x, y: True),
    }[kind]


KINDS = ("arrays", "finite", "endless", "unknown", "endless of unknown length", "stateless generator")


def seen(data, stop=None, **settings):
    note = Seen(stop)
    config = RunConfig(**{**QUIET, "shuffle": False, **settings})
    run = fit(net(), data, loss="mse", callbacks=[note], config=config)
    return note.batches, run


@pytest.mark.parametrize("kind", KINDS)
def test_short_epochs_go_on_where_the_last_one_stopped(kind):
    batches, run = seen(pipeline(kind), epochs=6, steps_per_epoch=2)
    assert batches == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert (run.steps, len(run.history["loss"])) == (12, 6)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "endless" not in kind])
@pytest.mark.parametrize("steps", [5, 9])
def test_an_epoch_is_one_pass_where_the_data_are_no_longer_than_it(kind, steps):
    batches, run = seen(pipeline(kind), epochs=2, steps_per_epoch=steps)
    assert batches == [0, 1, 2, 3, 4] * 2
    assert len(run.history["loss"]) == 2


def test_a_longer_epoch_than_the_data_is_said(capsys):
    seen(pipeline("finite"), epochs=1, steps_per_epoch=9, progress="auto")
    assert "steps_per_epoch=9 is more than the 5 batches" in capsys.readouterr().out


@pytest.mark.parametrize("kind", KINDS)
def test_short_epochs_resume_where_they_were(kind, tmp_path):
    settings = {"epochs": 6, "steps_per_epoch": 2}
    whole, undisturbed = seen(pipeline(kind), **settings)
    with pytest.raises(ZeroDivisionError):
        seen(pipeline(kind), stop=8, folder=tmp_path, **settings)
    rest, resumed = seen(pipeline(kind), folder=tmp_path, **settings)
    assert resumed.resumed
    assert rest == whole[6:]  # killed in the fourth epoch, it goes on from its start
    for one, other in zip(resumed.model.get_weights(), undisturbed.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert resumed.history == undisturbed.history


def test_arrays_resume_inside_a_short_epoch(tmp_path):
    settings = {"epochs": 4, "steps_per_epoch": 3, "shuffle": True, "save_every": 1}
    whole, _ = seen(arrays(), **settings)
    with pytest.raises(ZeroDivisionError):
        seen(arrays(), stop=9, folder=tmp_path, **settings)
    rest, _ = seen(arrays(), folder=tmp_path, **settings)
    assert rest == whole[8:]


@pytest.mark.parametrize("form", ["finite", "endless", "unknown", "unknown, whole passes", "finite, whole passes"])
def test_a_pipeline_with_a_seed_resumes_in_the_order_of_an_undisturbed_run(form, tmp_path):
    def made():
        keras.utils.set_random_seed(1)
        data = tf.data.Dataset.from_tensor_slices(arrays()).batch(SIZE).shuffle(BATCHES, seed=3)
        data = data.filter(lambda x, y: True) if "unknown" in form else data
        return data.repeat() if form == "endless" else data

    settings = {"epochs": 5, "steps_per_epoch": None if "whole" in form else 2}
    stop = 17 if "whole" in form else 8
    whole, _ = seen(made(), **settings)
    with pytest.raises(ZeroDivisionError):
        seen(made(), stop=stop, folder=tmp_path, **settings)
    rest, _ = seen(made(), folder=tmp_path, **settings)
    assert rest == whole[-len(rest) :]
    assert len(rest) == (10 if "whole" in form else 4)
    assert whole[:5] != whole[5:10]  # each pass is shuffled anew


def test_a_shuffle_without_a_seed_is_said_where_a_run_is_kept(tmp_path, capsys):
    tf.random.set_seed(None)
    disable_op_determinism()  # which a test before may have asked for, and which refuses to go without a seed
    data = tf.data.Dataset.from_tensor_slices(arrays()).shuffle(20).batch(SIZE)
    seen(data, epochs=1, folder=tmp_path, progress="auto")
    assert "shuffles without a seed" in capsys.readouterr().out


def test_several_updates_in_a_call_go_over_the_end_of_a_pass():
    def weights(per_call):
        run = seen_without_a_look(pipeline("finite"), epochs=3, steps_per_epoch=4, steps_per_execution=per_call)
        return np.concatenate([part.ravel() for part in run.model.get_weights()])

    np.testing.assert_allclose(weights(4), weights(1), rtol=1e-5)
    np.testing.assert_allclose(weights(3), weights(1), rtol=1e-5)


def seen_without_a_look(data, **settings):
    return fit(net(), data, loss="mse", config=RunConfig(**{**QUIET, "shuffle": False, **settings}))


def test_steps_in_all_go_on_through_short_epochs():
    batches, run = seen(pipeline("endless"), steps=7, steps_per_epoch=3)
    assert batches == [0, 1, 2, 3, 4, 0, 1]
    assert len(run.history["loss"]) == 3


def test_validation_in_between_leaves_the_place_alone():
    note, data = Seen(), pipeline("endless")
    config = RunConfig(**QUIET, epochs=3, steps_per_epoch=2)
    fit(net(), data, validation=data.take(1), loss="mse", callbacks=[note], config=config)
    assert note.batches == [0, 1, 2, 3, 4, 0]


def test_batches_in_parts_read_the_same():
    whole = seen_without_a_look(pipeline("finite"), epochs=4, steps_per_epoch=2)
    parts = seen_without_a_look(pipeline("finite"), epochs=4, steps_per_epoch=2, accumulation=2)
    np.testing.assert_allclose(parts.model.get_weights()[0], whole.model.get_weights()[0], rtol=1e-4)


# Without end


def test_validation_steps_limit_what_is_measured():
    data = pipeline("endless")
    config = RunConfig(**QUIET, epochs=1, learning_rate=0.0, weight_decay=0.0, validation_steps=2)
    run = fit(net(), arrays(), validation=data, loss="mse", config=config)
    x, y = (part[: 2 * SIZE] for part in arrays())
    expected = np.mean((run.model.predict(x, verbose=0) - y) ** 2)
    np.testing.assert_allclose(run.history["val_loss"][0], expected, rtol=1e-5)
    held = fit(net(), arrays(), validation=arrays(), loss="mse", config=config)
    np.testing.assert_allclose(held.history["val_loss"][0], expected, rtol=1e-5)


@pytest.mark.parametrize("kind", ["endless", "endless of unknown length"])
def test_data_without_end_are_refused_by_name_where_all_of_them_are_read(kind):
    data = pipeline(kind)
    with pytest.raises(ArgumentError, match=r"validation data must end.*validation_steps"):
        fit(net(), arrays(), validation=data.map(lambda x, y: (x, y)), loss="mse", config=RunConfig(**QUIET))
    with pytest.raises(ArgumentError, match="endless data need steps_per_epoch"):
        fit(net(), data, loss="mse", config=RunConfig(**QUIET))
    with pytest.raises(ArgumentError, match=r"must end.*take"):
        as_dataset(data).arrays()
    assert as_dataset(data).take(3).arrays()[0].shape == (3, 1)
    assert as_dataset(data).sample(3).arrays()[0].shape == (3, 1)


def test_validation_data_that_end_in_repeat_are_measured_once_each():
    """One pass is what all of them are: the same figure as without repeat()."""
    data, config = pipeline("finite"), RunConfig(**QUIET)
    plain = fit(net(), arrays(), validation=data, loss="mse", config=config).history["val_loss"]
    for endless in (data.repeat(), data.repeat().prefetch(1)):
        assert fit(net(), arrays(), validation=endless, loss="mse", config=config).history["val_loss"] == plain


def test_what_ends_is_not_taken_for_endless():
    numbers = tf.data.Dataset.range(4)
    keep = {"num_parallel_calls": 1}
    endless = {
        "repeat": numbers.repeat(),
        "filter": numbers.repeat().filter(lambda x: x > 1),
        "batches": numbers.repeat().batch(2).map(lambda x: x, **keep).prefetch(1),
        "unbatch": numbers.batch(2).repeat().filter(lambda x: True).unbatch(),
        "both": tf.data.Dataset.zip(numbers.repeat().filter(lambda x: True), numbers.repeat()),
    }
    ending = {
        "plain": numbers,
        "take": numbers.repeat().filter(lambda x: x > 1).take(3),
        "take_while": numbers.repeat().take_while(lambda x: x < 2),
        "three times": numbers.repeat(3).filter(lambda x: x > 1),
        "zip": tf.data.Dataset.zip(numbers.repeat().filter(lambda x: True), numbers),
        "choose": tf.data.Dataset.choose_from_datasets([numbers, numbers], tf.data.Dataset.range(2).repeat()),
    }
    assert {name: is_endless(data) for name, data in endless.items()} == dict.fromkeys(endless, True)
    assert {name: is_endless(data) for name, data in ending.items()} == dict.fromkeys(ending, False)
    assert not is_endless(arrays())


def test_how_a_pipeline_is_shuffled():
    numbers = tf.data.Dataset.range(4)
    keras.utils.set_random_seed(0)
    assert reshuffles(numbers.batch(2)) is None
    assert reshuffles(numbers.shuffle(4, seed=1).batch(2)) == "seeded"
    assert reshuffles(numbers.shuffle(4, seed=1, reshuffle_each_iteration=False)) is None


def test_an_empty_pipeline_of_unknown_length_is_refused():
    with pytest.raises(DataError, match="no batches"):
        seen(pipeline("unknown").filter(lambda x, y: False), epochs=2, steps_per_epoch=2)


def test_what_does_not_depend_on_a_batch_is_not_counted_at_the_end_of_the_data():
    x = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
    y = (np.arange(8) % 3).astype("int32")
    given = keras.Input((4,))
    model = keras.Model(given, keras.layers.Dense(3)(given))
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(4, drop_remainder=True).filter(lambda *_: True)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    expected = float(loss(y, model(x)))
    settings = {"optimizer": "sgd", "learning_rate": 0.0, "strategy": None, "progress": "off"}
    run = fit(model, data, validation=data, loss=loss, config=RunConfig(epochs=3, **settings))
    assert int(model.optimizer.iterations.numpy()) == 6
    np.testing.assert_allclose(run.history["loss"], [expected] * 3, rtol=1e-5)
    np.testing.assert_allclose(run.history["val_loss"], [expected] * 3, rtol=1e-5)
