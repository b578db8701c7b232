"""Data as trees: several inputs and labels, weights, none, arrays of unlike length, batches that a sampler draws."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasdl.core import ArgumentError
from kerasdl.data import Episodes, LengthBuckets, Ragged, as_dataset, augment, load
from kerasdl.data.batching.sharding import Share
from kerasdl.data.sources import Examples

INPUTS = {"left": np.arange(14.0, dtype="float32").reshape(7, 2), "right": np.arange(7, dtype="int32")}
BOXES = [np.full((count % 3, 4), count, "float32") for count in range(7)]


def read(data, *arguments, **settings):
    return [tf.nest.map_structure(np.asarray, batch) for batch in data.batches(*arguments, **settings)]


def joined(batches):
    return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *batches)


@pytest.mark.parametrize("limit", [2**28, 0], ids=["tensors", "read"])
def test_nested_inputs_labels_and_weights_keep_their_rows_together(limit, monkeypatch):
    monkeypatch.setattr("kerasdl.data.sources.TENSOR_LIMIT", limit)
    labels = (np.arange(7) * 2.0, np.array(list("abcdefg")))
    data = as_dataset((INPUTS, labels, np.arange(7) * 0.5))
    assert (data.size, data.task, data.labelled, data.input_shape) == (7, "unknown", True, (2,))
    (inputs, (twice, letters), weights) = joined(read(data, 3, shuffle=True, seed=1))
    assert sorted(inputs["right"]) == list(range(7))
    assert list(inputs["right"]) != list(range(7))
    np.testing.assert_array_equal(inputs["left"][:, 0], inputs["right"] * 2)
    np.testing.assert_array_equal(twice, inputs["right"] * 2)
    np.testing.assert_array_equal(weights, inputs["right"] * 0.5)
    assert [each.decode() for each in letters] == ["abcdefg"[place] for place in inputs["right"]]


def test_inputs_alone_are_unlabelled_as_keras_gives_them():
    assert not as_dataset(INPUTS).labelled
    assert set(as_dataset(INPUTS).batches(2).element_spec) == {"left", "right"}
    assert as_dataset(np.zeros((4, 2))).batches(2).element_spec.shape == (None, 2)
    assert len(as_dataset(((np.zeros(4), np.zeros(4)),)).batches(2).element_spec) == 1
    pipeline = as_dataset(tf.data.Dataset.from_tensor_slices(INPUTS).batch(2))
    assert not pipeline.labelled
    assert pipeline.take(3).size == 3
    np.testing.assert_array_equal(pipeline.take(3).arrays()[0]["right"], [0, 1, 2])


def test_a_list_of_arrays_is_several_inputs_where_rows_say_so():
    two = as_dataset(([np.zeros((7, 2)), np.ones((7, 3))], np.zeros(7)))
    assert [spec.shape[1] for spec in two.batches(2).element_spec[0]] == [2, 3]
    rows = as_dataset(([np.zeros(3), np.ones(3)], np.zeros(2)))
    assert rows.batches(2).element_spec[0].shape == (None, 3)


@pytest.mark.parametrize("given", [BOXES, Ragged.of(BOXES)], ids=["list", "ragged"])
def test_labels_of_unlike_length_are_ragged(given):
    data = as_dataset((np.arange(7), {"boxes": given, "count": np.arange(7) % 3}))
    for places, labels in data.batches(3, shuffle=True):
        assert labels["boxes"].row_lengths().numpy().tolist() == labels["count"].numpy().tolist()
        for place, boxes in zip(places.numpy(), labels["boxes"], strict=True):
            np.testing.assert_array_equal(boxes.numpy(), BOXES[place])
    assert data.take(4).fingerprint() != data.fingerprint()
    np.testing.assert_array_equal(data.take(4).source.labels["boxes"][2], BOXES[2])


def test_parts_of_replicas_hold_the_rows_of_the_whole():
    data = as_dataset((INPUTS, {"boxes": BOXES}, np.ones(7)))
    whole = [batch[0]["right"].numpy() for batch in data.batches(5, shuffle=True)]
    for number, parts in enumerate(data.batches(5, shuffle=True, share=Share(0, 2, 2))):
        rows = np.concatenate([inputs["right"] for (inputs, _, _), _ in parts])
        np.testing.assert_array_equal(rows, whole[number])
        assert all(labels["boxes"].nrows() == len(inputs["right"]) for (inputs, labels, _), _ in parts)


def scenes():
    images = np.random.default_rng(0).integers(0, 255, (6, 16, 16, 3)).astype("uint8")
    boxes = [np.tile(np.float32([[1, 2, 6, 9]]), (count % 3, 1)) for count in range(6)]
    return as_dataset((images, {"boxes": boxes, "classes": [np.arange(count % 3) for count in range(6)]}))


def test_boxes_move_with_their_image_and_what_leaves_it_goes():
    flipped = [labels["boxes"] for _, labels in scenes().batches(6, augment=augment.Flip())]
    found = {tuple(box) for box in flipped[0].flat_values.numpy().tolist()}
    assert found <= {(1, 2, 6, 9), (10, 2, 15, 9)}
    assert len(found) == 2
    left = 0
    for _, labels in scenes().batches(6, augment=augment.Affine(translate=0.9), seed=3):
        assert labels["boxes"].row_lengths().numpy().tolist() == labels["classes"].row_lengths().numpy().tolist()
        left += len(labels["boxes"].flat_values)
    assert left < 6


@pytest.mark.parametrize(
    ("data", "settings", "match"),
    [
        (scenes, {"augment": lambda image, seed: image}, "augment must move boxes with their image"),
        (lambda: as_dataset((INPUTS, np.zeros(7))), {"augment": augment.Flip()}, "augment must take one image"),
        (lambda: as_dataset(np.zeros((4, 2))), {"mix": augment.Mixup(3)}, "got 'unlabelled data'"),
        (lambda: as_dataset((np.zeros((4, 2)), np.zeros(4), np.ones(4))), {"mix": augment.Mixup(3)}, "sample weights"),
    ],
)
def test_what_would_part_inputs_and_labels_is_refused(data, settings, match):
    with pytest.raises(ArgumentError, match=match):
        data().batches(2, **settings)


def test_boxes_are_resized_with_their_images():
    data = scenes()
    wide = data.prepared((8, 32, 3))
    boxes, resized = data.source.labels["boxes"], wide.source.labels["boxes"]
    np.testing.assert_allclose(resized.values, boxes.values * (2, 0.5, 2, 0.5))
    np.testing.assert_array_equal(resized.lengths, boxes.lengths)
    assert wide.batches(2).element_spec[0].shape.as_list() == [None, 8, 32, 3]
    listed = Examples(list(data.source.inputs), data.source.labels)
    free = dataclasses.replace(data, source=listed, input_shape=(None, None, 1)).prepared((8, 32, 1))
    np.testing.assert_array_equal(free.source.labels["boxes"].values, resized.values)
    assert data.prepared((16, 16, 1)).input_shape == (16, 16, 1)


# Samplers


def test_a_sampler_draws_the_batches_of_every_epoch():
    data = as_dataset((INPUTS, {"boxes": BOXES})).batched_by(lambda seed, epoch: [[epoch, 1, 2], [3], [5, 4]])
    assert (data.steps(32), data.sizes(32).tolist()) == (3, [3, 1, 2])
    batches = read(data, shuffle=True, epoch=6)
    assert [batch[0]["right"].tolist() for batch in batches] == [[6, 1, 2], [3], [5, 4]]
    stream = data.stream(shuffle=True, start=1).take(3)
    assert [inputs["right"].numpy().tolist() for inputs, _ in stream] == [[3], [5, 4], [1, 1, 2]]
    parts = [[len(part[0][0]["right"]) for part in each] for each in data.batches(share=Share(0, 2, 2))]
    assert parts == [[2, 1], [1, 1], [1, 1]]


def test_augmented_examples_keep_the_batches_of_a_sampler():
    data = scenes().batched_by(lambda seed, epoch: [[0, 1, 2], [3], [5, 4]])
    plain = read(
        load("digits").take(6).batched_by(lambda seed, epoch: [[0, 1, 2], [3], [5, 4]]), augment=lambda x, s: x
    )
    assert [len(labels) for _, labels in plain] == [3, 1, 2]
    assert [len(images) for images, _ in data.batches(augment=augment.Flip())] == [3, 1, 2]
    seen = [labels["classes"].row_lengths().numpy().tolist() for _, labels in data.batches(augment=augment.Flip())]
    assert seen == [[0, 1, 2], [0], [2, 1]]


@pytest.mark.parametrize("drawn", [[[0, 7]], [[-1]], [[0.5]], [], [[]], [[[1]]]])
def test_a_sampler_of_other_than_places_is_refused(drawn):
    with pytest.raises(ArgumentError, match="a sampler must give arrays of whole numbers from 0 to 6"):
        as_dataset((INPUTS, np.zeros(7))).batched_by(lambda seed, epoch: drawn)


def test_examples_are_chosen_before_a_sampler_is():
    data = as_dataset((INPUTS, np.zeros(7))).batched_by(lambda seed, epoch: [[6]])
    with pytest.raises(ArgumentError, match="chosen before a sampler"):
        data.take(3)


def test_length_buckets_hold_every_example_once_and_pad_little():
    lengths = np.random.default_rng(0).integers(1, 100, 1000)
    buckets = LengthBuckets(lengths, 16, pool=20)
    first, again, other = buckets(1, 0), buckets(1, 0), buckets(1, 1)
    assert sorted(np.concatenate(first)) == list(range(1000))
    assert len(first) == len(other) == 63
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(first, other, strict=True))

    def padded(batches):
        return sum(len(each) * lengths[each].max() for each in batches) / lengths.sum()

    assert padded(first) < 1.1 < 1.7 < padded(np.array_split(np.arange(1000), 63))


def test_episodes_hold_ways_classes_of_shots_examples():
    labels = np.repeat(np.arange(8), 5)
    for batch in Episodes(labels, shots=3, ways=4, batches=5)(0, 2):
        assert len(np.unique(batch)) == 12
        assert (labels[batch].reshape(4, 3) == labels[batch].reshape(4, 3)[:, :1]).all()
    (balanced,) = Episodes(labels, shots=1, batches=1)(0, 0)
    assert sorted(labels[balanced]) == list(range(8))
    with pytest.raises(ArgumentError, match="shots must be at most 5, the size of class 0"):
        Episodes(labels, shots=6)
    with pytest.raises(ArgumentError, match="ways must be at most 8"):
        Episodes(labels, shots=1, ways=9)


def test_a_model_of_two_inputs_takes_arrays_in_a_dict():
    entries = {"left": keras.Input((2,), name="left"), "right": keras.Input((), dtype="int32", name="right")}
    row = keras.layers.Reshape((1,))(keras.layers.Rescaling(1.0)(entries["right"]))
    model = keras.Model(entries, keras.layers.Concatenate()([entries["left"], row]))
    inputs, _ = as_dataset((INPUTS, np.zeros(7))).arrays()
    assert model(inputs).shape == (7, 3)
