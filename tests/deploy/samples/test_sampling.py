"""Real examples for exports: every form of data, drawn over the whole of it, calibration apart from evaluation."""

from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core.errors import ArgumentError
from kerasdl.data import as_dataset
from kerasdl.deploy.samples import sampling
from kerasdl.deploy.samples.model_inputs import NamedInput
from kerasdl.deploy.samples.sample_forms import classes_of
from kerasdl.deploy.samples.sampling import draw, samples_of

ONE = (NamedInput("x", (None, 3), "float32"),)
TWO = (NamedInput("b", (None, 3), "float32"), NamedInput("a", (None,), "int32", ids=5))
X, A = np.arange(12, dtype="float32").reshape(4, 3), np.arange(4, dtype="int32")
PAIRS = tf.data.Dataset.from_tensor_slices((X, A))
CLASSES = np.repeat(np.arange(4), 100)  # one class behind the other
ROWS = np.random.default_rng(0).normal(size=(400, 3)).astype("float32") + 100 * CLASSES[:, None].astype("float32")


class Batches(keras.utils.PyDataset):
    """Two batches of two."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return X[2 * index : 2 * index + 2], A[2 * index : 2 * index + 2]


def only_inputs(x, y):
    return x


def by_name(x, y):
    return {"x": x, "label": y}


def named_pair(x, y):
    return {"x": x}, y


def batches():
    yield X[:3], A[:3]
    yield X[3:], A[3:]


FORMS = {
    "array": X,
    "lists": X.tolist(),
    "list of one": [X],
    "list of examples": list(X),
    "dict": {"x": X},
    "pair": (X, A),
    "list of two": [X, A],
    "weights": (X, A, A),
    "one-hot": (X, np.eye(4)),
    "labels in lists": (X, ["a", "b", "b", "a"]),
    "labels by name": (X, {"one": A, "two": A}),
    "tensor": tf.constant(X),
    "tf.data in batches": PAIRS.batch(3),
    "tf.data of examples": PAIRS,
    "tf.data of inputs": PAIRS.map(only_inputs).batch(2),
    "tf.data of dicts": PAIRS.map(by_name).batch(2),
    "tf.data of dict pairs": PAIRS.map(named_pair).batch(2),
    "tf.data of unknown length": PAIRS.filter(lambda x, y: True).batch(3),
    "generator function": batches,
    "PyDataset": Batches(),
    "Dataset": as_dataset((X, A)),
    "Dataset of a pipeline": as_dataset(PAIRS.batch(3)),
}


@pytest.mark.parametrize("source", FORMS.values(), ids=FORMS)
def test_forms_of_samples_for_one_input(source):
    pool = draw(source, ONE, 10)
    np.testing.assert_array_equal(np.sort(pool.arrays["x"], axis=0), X)
    assert str(pool.count) == "4 of 4"


def test_generators_of_batches_of_examples_and_of_single_arrays():
    for source in (batches(), zip(X, A, strict=True), iter(X), ([row[None]] for row in X), ({"x": X} for _ in "a")):
        np.testing.assert_array_equal(np.sort(draw(source, ONE, 10).arrays["x"], axis=0), X)


TWO_FORMS = {
    "list": [X, A],
    "tuple": (X, A),
    "dict": {"a": A, "b": X},
    "pair of a list": ([X, A], A),
    "pair of a tuple": ((X, A), A),
    "pair of a dict": ({"a": A, "b": X}, A),
    "list and weights": ([X, A], A, A),
    "tf.data of inputs": PAIRS.batch(3),
    "tf.data of pairs": tf.data.Dataset.from_tensor_slices(((X, A), A)).batch(3),
    "tf.data of dict examples": tf.data.Dataset.from_tensor_slices(({"a": A, "b": X}, A)),
    "lists": [X.tolist(), A.tolist()],
}


@pytest.mark.parametrize("source", TWO_FORMS.values(), ids=TWO_FORMS)
def test_forms_of_samples_for_two_inputs(source):
    arrays = draw(source, TWO, 10).arrays
    order = np.argsort(arrays["a"])
    np.testing.assert_array_equal(arrays["b"][order], X)
    np.testing.assert_array_equal(arrays["a"][order], A)


def test_generators_for_two_inputs():
    for source in (([X[k : k + 1], A[k : k + 1]] for k in range(4)), (((X[k], A[k]), 1) for k in range(4))):
        arrays = draw(source, TWO, 10).arrays
        np.testing.assert_array_equal(arrays["b"], X[arrays["a"]])
        assert len(arrays["a"]) == 4


@pytest.mark.parametrize(
    ("source", "forms", "message"),
    [
        ([X, A[:2]], TWO, "equally many"),
        ((X, A[:2]), ONE, "as many labels as examples, 4; got 2"),
        ({"b": X}, TWO, r"\['a'\] lack one"),
        (X, TWO, r"an array for each of the inputs \['b', 'a'\]"),
        (X[:0], ONE, "one or more"),
        (iter(()), ONE, "empty, or used up"),
        ("digits", ONE, r"kerasdl.data.load\('digits'\)"),
        (7, ONE, "must be arrays, a pair"),
    ],
    ids=["lengths", "labels", "missing", "one for two", "nothing", "used up", "name", "number"],
)
def test_what_is_no_sample_is_refused_in_one_line(source, forms, message):
    with pytest.raises(ArgumentError, match=message) as caught:
        draw(source, forms, 10)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def model():
    return keras.Sequential([keras.Input((3,), name="x"), keras.layers.Dense(2)])


def classes_in(arrays):
    return np.bincount(np.round(arrays["x"].mean(axis=1) / 100).astype(int), minlength=4)


SORTED = {
    "labelled": (ROWS, CLASSES),
    "one-hot": (ROWS, np.eye(4, dtype="bool")[CLASSES]),
    "unlabelled": ROWS,
    "list": list(ROWS),
    "dict": {"x": ROWS},
    "pipeline": tf.data.Dataset.from_tensor_slices((ROWS, CLASSES)).batch(50),
    "pipeline of inputs": tf.data.Dataset.from_tensor_slices(ROWS).batch(50),
    "endless": tf.data.Dataset.from_tensor_slices((ROWS, CLASSES)).batch(400).repeat(),
}


@pytest.mark.parametrize("source", SORTED.values(), ids=SORTED)
def test_data_class_by_class_calibrate_and_judge_on_every_class(model, source):
    samples = samples_of(model, source, source)
    assert len(samples.calibration["x"]) == samples.calibrated_on.used == 200
    assert len(samples.evaluation["x"]) == samples.judged_on.used == 64
    assert classes_in(samples.calibration).min() >= 30
    assert classes_in(samples.evaluation).min() >= 5
    assert samples.held_out
    assert not set(map(bytes, samples.calibration["x"])) & set(map(bytes, samples.evaluation["x"]))


@pytest.mark.parametrize("form", [partial(tuple), tf.data.Dataset.from_tensor_slices], ids=["arrays", "pipeline"])
def test_a_class_of_two_stands_in_both_parts(model, form):
    classes = np.array([0] * 398 + [1] * 2)
    x = np.random.default_rng(1).normal(size=(400, 3)).astype("float32") + 100 * classes[:, None].astype("float32")
    source = form((x, classes))
    samples = samples_of(model, source, source)
    assert classes_in(samples.calibration)[1] == classes_in(samples.evaluation)[1] == 1


def test_a_draw_repeats_and_that_of_a_pipeline_asks_for_no_order(model):
    shuffled = tf.data.Dataset.from_tensor_slices((ROWS, CLASSES)).shuffle(400).batch(30)
    first, second = (samples_of(model, shuffled, shuffled) for _ in range(2))
    np.testing.assert_array_equal(first.evaluation["x"], second.evaluation["x"])
    again = [samples_of(model, ROWS, ROWS).calibration["x"] for _ in range(2)]
    np.testing.assert_array_equal(*again)


def test_fewer_than_twenty_different_examples_do_both(model):
    for source in (ROWS[:19], np.zeros((400, 3), "float32")):
        samples = samples_of(model, source, source)
        np.testing.assert_array_equal(samples.calibration["x"], samples.evaluation["x"])
        assert not samples.held_out
    twenty = ROWS[:20]
    samples = samples_of(model, twenty, twenty)
    assert (samples.calibrated_on.used, samples.judged_on.used, samples.held_out) == (15, 5, True)


def test_samples_given_apart_judge(model):
    samples = samples_of(model, ROWS[:30], ROWS[200:])
    assert len(classes_in(samples.evaluation).nonzero()[0]) == 1
    assert (str(samples.calibrated_on), str(samples.judged_on)) == ("200 of 200", "30 of 30")
    assert samples.held_out
    assert not samples_of(model, ROWS[:30], ROWS).held_out  # they are among what calibrates


def test_a_stream_is_read_up_to_a_limit_and_the_count_says_so(model, monkeypatch):
    endless = tf.data.Dataset.from_tensor_slices(ROWS).repeat()
    assert str(draw(endless, ONE, 9).count) == "9 of the first 10,000"
    monkeypatch.setattr(sampling, "STREAM_EXAMPLES", 70)
    assert str(draw(endless.batch(32), ONE, 90).count) == "70 of the first 70"
    monkeypatch.setattr(sampling, "STREAM_SECONDS", -1.0)
    with pytest.raises(ArgumentError, match="one or more"):
        draw(endless.batch(32), ONE, 90)


def test_no_more_of_a_stream_is_held_than_is_drawn(model):
    def images():
        for index in range(100):
            batch = np.zeros((8, 64, 64, 3), np.uint8)
            batch[:, 0, 0, 0], batch[:, 0, 0, 1] = index, np.arange(8)
            yield batch

    pool = draw(images(), (NamedInput("x", (None, 64, 64, 3), "uint8"),), 16)
    assert str(pool.count) == "16 of 800"
    assert pool.arrays["x"].nbytes == 16 * 64 * 64 * 3


def test_of_files_those_drawn_alone_are_read():
    class Files(list):
        read = 0

        def __getitem__(self, index):
            Files.read += 1
            return super().__getitem__(index)

    pictures = np.zeros((1000, 8, 8, 3), np.uint8)
    pictures[:, 0, 0, 0], pictures[:, 0, 0, 1] = np.arange(1000) % 250, np.arange(1000) // 250
    data = as_dataset((pictures, np.arange(1000) % 4))
    data.source.inputs = Files(data.source.inputs)
    pool = draw(data, (NamedInput("x", (None, 8, 8, 3), "uint8"),), 50)
    assert Files.read == 50
    assert str(pool.count) == "50 of 1,000"


def test_sequences_of_unlike_lengths_are_padded_and_said_to_be():
    free = (NamedInput("x", (None, None), "int32", ids=9),)
    rows = [[1, 2, 3], [4, 5], [6]]
    pipeline = tf.data.Dataset.from_generator(lambda: rows, output_signature=tf.TensorSpec((None,), tf.int32))
    for source in (pipeline, pipeline.padded_batch(1), rows):
        pool = draw(source, free, 10)
        assert sorted(map(tuple, pool.arrays["x"])) == [(1, 2, 3), (4, 5, 0), (6, 0, 0)]
        assert "padded with zeros" in pool.notes[0]


def test_a_subclassed_model_reads_its_dtypes_off_what_was_drawn():
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.table, self.pool = keras.layers.Embedding(9, 2), keras.layers.GlobalAveragePooling1D()

        def call(self, tokens):
            return self.pool(self.table(tokens))

    net, tokens = Net(), np.arange(8, dtype="int32").reshape(2, 4)
    net(tokens)
    generator = (tokens for _ in range(1))  # read once
    (form,) = samples_of(net, generator).inputs
    assert (form.dtype, form.ids) == ("int32", 9)


def test_boxes_of_unlike_number_are_labels_that_name_no_class():
    """A list with an entry an example is one part of the labels, however long each entry is."""
    boxes = [np.zeros((count, 4)) for count in (0, 2, 1)]
    assert classes_of({"boxes": boxes}, 3) is None
    np.testing.assert_array_equal(classes_of({"boxes": boxes, "kind": np.array([1, 0, 1])}, 3), [1, 0, 1])
    with pytest.raises(ArgumentError, match="as many labels as examples, 3; got 2"):
        classes_of({"boxes": boxes, "kind": np.array([1, 0])}, 3)
