"""The pipeline: every batch follows from (seed, epoch, start) alone."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import as_dataset, load, sources
from kerasdl.data.dataset import Dataset
from kerasdl.data.sources import Stream


def read(dataset, *args, **kwargs):
    return list(dataset.batches(*args, **kwargs).as_numpy_iterator())


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def augment(image, seed):
    return image + tf.random.stateless_uniform(tf.shape(image), seed)


def as_stream(dataset):
    """The same raw examples, behind a stream."""
    examples = tf.data.Dataset.from_tensor_slices((dataset.source.inputs, dataset.source.labels))
    fields = {name: getattr(dataset, name) for name in Dataset.__dataclass_fields__ if name != "source"}
    return Dataset(**fields, source=Stream(examples, dataset.size))


@pytest.fixture(scope="module")
def digits():
    return load("digits").take(70)


@pytest.fixture(scope="module", params=["memory", "stream", "table"])
def seekable(request, digits):
    return {"memory": digits, "stream": as_stream(digits), "table": load("iris")}[request.param]


@settings(max_examples=15, deadline=None)
@given(size=st.integers(1, 40), batch_size=st.integers(1, 45), seed=st.integers(0, 2**31), epoch=st.integers(0, 9))
def test_batches_of_arrays_hold_every_example_once(size, batch_size, seed, epoch):
    inputs, labels = np.arange(size * 3, dtype=np.float32).reshape(size, 3), np.arange(size) % 5
    dataset = as_dataset((inputs, labels))
    plain = read(dataset, batch_size)
    np.testing.assert_array_equal(np.concatenate([x for x, _ in plain]), inputs)
    np.testing.assert_array_equal(np.concatenate([y for _, y in plain]), labels)
    assert len(plain) == dataset.steps(batch_size)
    assert {len(x) for x, _ in plain[:-1]} <= {batch_size}
    mixed = read(dataset, batch_size, shuffle=True, seed=seed, epoch=epoch)
    rows = np.concatenate([x for x, _ in mixed])[:, 0].astype(int) // 3
    np.testing.assert_array_equal(np.sort(rows), np.arange(size))
    np.testing.assert_array_equal(np.concatenate([y for _, y in mixed]), rows % 5)


@pytest.mark.parametrize("chosen", [{}, {"augment": augment}], ids=["plain", "augmented"])
def test_the_same_arguments_give_the_same_bits_and_start_equals_skipping(seekable, chosen):
    arguments = dict(batch_size=16, shuffle=True, seed=3, epoch=2, **chosen)
    whole = read(seekable, **arguments)
    assert_same(whole, read(seekable, **arguments))
    for start in (1, 3, len(whole)):
        assert_same(whole[start:], read(seekable, start=start, **arguments))


def test_epochs_and_seeds_differ(seekable):
    orders = [
        np.concatenate([x for x, _ in read(seekable, 16, shuffle=True, seed=seed, epoch=epoch)])
        for seed, epoch in ((0, 0), (0, 1), (1, 0))
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not np.array_equal(orders[one], orders[other])
        np.testing.assert_array_equal(np.sort(orders[one], axis=0), np.sort(orders[other], axis=0))


def test_augmentation_differs_between_examples_and_epochs():
    dataset = as_dataset((np.zeros((6, 2, 2, 1), np.float32), np.arange(6)))
    drawn = [np.concatenate([x for x, _ in read(dataset, 4, epoch=epoch, augment=augment)]) for epoch in (0, 1)]
    assert len(np.unique(np.concatenate(drawn)[:, 0, 0, 0])) == 12


def test_a_stream_gives_what_memory_gives(digits):
    stream = as_stream(digits)
    assert_same(read(digits, 16), read(stream, 16))
    assert_same([digits.arrays()], [stream.arrays()])
    assert_same(read(digits.take(20), 16), read(stream.take(20), 16))
    assert_same(read(digits.prepared(None, None)), read(stream.prepared(None, None)))


def test_images_too_many_for_memory_are_read_batch_by_batch(digits, monkeypatch):
    whole = read(digits, 16, shuffle=True)
    monkeypatch.setattr(sources, "MEMORY_LIMIT", 1)
    lean = load("digits").take(70)
    assert_same(whole, read(lean, 16, shuffle=True))
    assert lean.source.ready is None


def test_arrays_are_what_the_batches_hold(seekable):
    inputs, labels = seekable.arrays()
    batches = read(seekable, 16)
    np.testing.assert_array_equal(inputs, np.concatenate([x for x, _ in batches]))
    np.testing.assert_array_equal(labels, np.concatenate([y for _, y in batches]))
    x, y = seekable.batches(16).element_spec
    assert x == tf.TensorSpec((None, *seekable.input_shape), seekable.input_dtype)
    assert y == tf.TensorSpec((None,), tf.int32)


def test_per_class_is_balanced_nested_and_fixed():
    dataset = load("digits", scale=None)
    small, large = dataset.per_class(3, seed=5), dataset.per_class(8, seed=5)
    assert small.size == 30
    np.testing.assert_array_equal(np.bincount(large.arrays()[1]), np.full(10, 8))
    held = {image.tobytes() for image in large.arrays()[0]}
    assert {image.tobytes() for image in small.arrays()[0]} <= held
    assert_same([small.arrays()], [dataset.per_class(3, seed=5).arrays()])
    assert not np.array_equal(small.arrays()[0], dataset.per_class(3, seed=6).arrays()[0])
    with pytest.raises(ArgumentError, match="count must be at most 107, the size of class '0'"):
        dataset.per_class(500)


def test_prepared_starts_from_the_raw_images(digits):
    there_and_back = digits.prepared((4, 4, 1)).prepared((32, 32, 1))
    assert_same([digits.arrays()], [there_and_back.arrays()])
    raw, _ = digits.prepared((8, 8, 1), None).arrays()
    np.testing.assert_array_equal(raw, digits.source.inputs)
    with pytest.raises(ArgumentError, match="only raw uint8 images"):
        load("iris").prepared((4, 4, 1))


def test_arrays_are_taken_as_they_are():
    inputs, labels = np.random.default_rng(0).random((5, 4)), np.array([0, 1, 2, 1, 0])
    dataset = as_dataset((inputs, labels), name="mine")
    assert (dataset.task, dataset.class_names, dataset.seekable) == ("tabular_classification", ("0", "1", "2"), True)
    np.testing.assert_array_equal(dataset.arrays()[0], inputs.astype(np.float32))
    assert dataset.arrays()[1].dtype == np.int32
    assert as_dataset((inputs, labels / 2)).task == "tabular_regression"
    assert as_dataset((np.zeros((5, 4, 4, 3), np.uint8), labels)).task == "image_classification"
    assert as_dataset((np.zeros((5, 9), np.int64), labels)).task == "unknown"
    assert as_dataset((np.zeros((5, 9), np.int64), labels)).input_dtype == "int32"
    assert as_dataset(dataset) is dataset


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_zeros_and_ones_are_no_figures_of_a_regression(dtype):
    inputs, one_hot = np.zeros((6, 4), np.float32), np.eye(3, dtype=dtype)[[0, 1, 2, 1, 0, 2]]
    assert as_dataset((inputs, one_hot)).task == "unknown"
    assert as_dataset((inputs, one_hot[:, 0])).task == "unknown"
    assert as_dataset((inputs, one_hot / 2)).task == "tabular_regression"
    assert as_dataset((inputs, 0 * one_hot)).task == "tabular_regression"
    by_class = np.repeat([0, 1], 2000).astype(dtype)
    assert as_dataset((np.zeros((4000, 4), np.float32), by_class)).task == "unknown"


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        ((np.zeros((3, 2)), np.zeros(2)), DataError, "one length, 1 or more; got 3 and 2"),
        ((np.zeros((0, 2)), np.zeros(0)), DataError, "got 0 and 0"),
        (iter([1]), ArgumentError, "data must be a Dataset, arrays"),
        ([np.zeros(3)] * 3, ArgumentError, "got 'list of 3'. Weights come third"),
        (tf.data.Dataset.zip(*[tf.data.Dataset.range(3)] * 4), ArgumentError, "must give batches of inputs"),
        (({"a": np.zeros(3), "b": np.zeros(2)}, np.zeros(3)), DataError, "one length, 1 or more; got 3 and 2 and 3"),
        (
            ((np.zeros(3), [np.zeros((1, 2)), np.zeros((2, 3)), np.zeros(1)]), np.zeros(3)),
            ArgumentError,
            "length alone",
        ),
        ((np.zeros((3, 2)), np.zeros(3), np.array([1, np.nan, 1])), DataError, "weights must be finite"),
    ],
)
def test_what_is_no_data_is_refused(source, error, text):
    with pytest.raises(error, match=text):
        as_dataset(source)


def test_a_foreign_pipeline_is_returned_as_it_is():
    inputs, labels = np.arange(10, dtype=np.float32)[:, np.newaxis], np.arange(10, dtype=np.int32)
    pipeline = tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(4)
    dataset = as_dataset(pipeline)
    assert dataset.batches(2) is pipeline
    assert (dataset.size, dataset.seekable, dataset.steps(1)) == (None, False, 3)
    assert as_dataset(pipeline.take(2)).steps(1) == 2
    assert as_dataset(tf.data.Dataset.from_tensor_slices((inputs, labels)).batch(4, drop_remainder=True)).size == 8
    assert_same(read(dataset, start=2), read(dataset)[2:])
    np.testing.assert_array_equal(dataset.arrays()[1], labels)
    np.testing.assert_array_equal(dataset.take(7).arrays()[0], inputs[:7])
    with pytest.raises(ArgumentError, match="augment"):
        dataset.batches(augment=augment)


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"seed": -1}, {"epoch": 1.5}, {"start": -1}])
def test_bad_arguments_are_refused(digits, arguments):
    with pytest.raises(ArgumentError, match=next(iter(arguments))):
        digits.batches(**arguments)


def test_too_many_are_refused(digits):
    with pytest.raises(ArgumentError, match="count must be at most 70"):
        digits.take(71)


def test_no_thread_tunes_a_pipeline_and_keeps_it_from_closing():
    rows = load("digits").take(8)
    for pipeline in (rows.batches(4), rows.stream(4)):
        assert pipeline.options().autotune.enabled is False


def test_class_numbers_of_16_bits_warn_of_nothing():
    data = (np.zeros((4, 3), "float32"), np.array([0, 1, 1, 0], "float16"))
    assert as_dataset(data, task="tabular_classification").class_names == ("0", "1")


def test_rows_of_numbers_in_tuples_are_one_array():
    data = as_dataset((((1, 2), (3, 4), (5, 6)), ("a", "b", "a")))
    assert data.batches(3).element_spec[0].shape == (None, 2)
    assert data.arrays()[1].tolist() == ["a", "b", "a"]
