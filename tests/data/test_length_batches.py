"""Bucketing by length: every example once, short batches, labels of tokens cut with them, equal outputs."""

import numpy as np
import pytest

import kerasdl
from kerasdl.data import as_dataset, bucket_by_length

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(1, 60, 200)
LENGTHS[0] = 60
ROWS = [RNG.integers(1, 30, length).astype("int32") for length in LENGTHS]
PADDED = np.zeros((200, 60), np.int32)
for row, values in zip(PADDED, ROWS, strict=True):
    row[: len(values)] = values


@pytest.mark.parametrize("inputs", [PADDED, ROWS], ids=["padded", "ragged"])
def test_each_epoch_has_every_example_once_in_batches_as_long_as_needed(inputs):
    data = bucket_by_length(as_dataset((inputs, np.arange(200, dtype="int32"))), 16)
    sizes = []
    for epoch in (0, 1):
        seen = []
        for ids, number in data.batches(16, shuffle=True, epoch=epoch):
            ids, number = ids.numpy(), number.numpy()
            longest = LENGTHS[number].max()
            assert ids.shape[1] == min(-(-longest // 8) * 8, 60)
            assert np.array_equal(ids, PADDED[number][:, : ids.shape[1]])
            seen += number.tolist()
            sizes.append(ids.shape[1])
        assert sorted(seen) == list(range(200))
    assert sum(sizes) < 0.7 * 60 * len(sizes)


def test_labels_of_tokens_are_cut_with_them():
    labels = np.where(PADDED > 0, PADDED % 3, -1).astype("int32")
    for ids, tags in bucket_by_length(as_dataset((PADDED, labels)), 16).batches(16):
        assert ids.shape == tags.shape
        assert np.array_equal(tags.numpy() >= 0, ids.numpy() > 0)


def test_outputs_do_not_depend_on_padding():
    model = kerasdl.build("bilstm_classifier", length=None, vocabulary=30, embedding=8, units=8)
    whole = model.predict(PADDED, verbose=0)
    for ids, number in bucket_by_length(as_dataset((PADDED, np.arange(200, dtype="int32"))), 32).batches(32):
        np.testing.assert_allclose(model(ids), whole[number.numpy()], atol=1e-5)


def test_other_data_are_refused():
    for data in (as_dataset((PADDED.astype("float32"), LENGTHS)), kerasdl.data.load("sentiment").take(4)):
        with pytest.raises(kerasdl.ArgumentError, match="token ids in memory"):
            bucket_by_length(data)
