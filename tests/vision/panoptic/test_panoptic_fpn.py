"""Panoptic FPN: truth of a map by hand, the semantic loss, merging, learning, bundle, refusals."""

import dataclasses

import keras
import numpy as np
import pytest

import kerasdl
from kerasdl.core import ArgumentError, DataError
from kerasdl.core.objects import PredictedObjects
from kerasdl.ops import read_run_lengths
from kerasdl.vision.detection.two_stage.region_proposals import ProposalMethod
from kerasdl.vision.panoptic import PanopticFPN
from kerasdl.vision.panoptic.panoptic_fpn import PanopticFPNMethod
from kerasdl.vision.panoptic.panoptic_labels import panoptic_truth, segments_of
from kerasdl.vision.panoptic.trainer import merged

NAMES = {"model": "panoptic_fpn", "box_head": "faster_rcnn_box_head", "mask_head": "mask_rcnn_mask_head"}
FEW = PanopticFPNMethod(rpn=ProposalMethod(scale=5.0, samples=64, most=50, most_in_training=60), samples=32)
LABELS = ("ground", "disc", "square", "star")
MAP = np.array([[0, 0, 2001, 2001], [0, 3002, 3002, -1], [1000, 3002, 3002, 3001]], "int32")


def networks(stuff=1, things=3, image_shape=(64, 64, 3)):
    settings = {role: {**kerasdl.spec(name).tiny, "image_shape": image_shape} for role, name in NAMES.items()}
    settings["model"]["stuff"] = stuff
    for role in ("box_head", "mask_head"):
        settings[role] |= {"proposals": None, "classes": things}
    return {role: kerasdl.build(name, **settings[role]) for role, name in NAMES.items()}


def test_truth_of_a_map_is_its_objects_and_its_pixels():
    empty = np.full_like(MAP, 1000)
    truth = panoptic_truth({"panoptic": np.stack([MAP, empty])}, (3, 4), stuff=2, things=2)
    assert truth.boxes.shape == (2, 6, 4)
    there = np.asarray(truth.valid)
    assert there.sum(axis=1).tolist() == [3, 0]
    found = zip(np.asarray(truth.classes)[there], np.asarray(truth.boxes)[there], strict=True)
    expected = [(0, [2, 0, 4, 1]), (1, [1, 1, 3, 3]), (1, [3, 2, 4, 3])]
    assert sorted((int(number), box.tolist()) for number, box in found) == expected
    np.testing.assert_array_equal(np.asarray(truth.boxes)[~there], 0)
    assert {each.astype(int).sum() for each in np.asarray(truth.masks)[there]} == {2, 4, 1}
    assert not np.asarray(truth.masks)[~there].any()
    assert np.asarray(truth.semantic)[0].tolist() == [[0, 0, 2, 2], [0, 2, 2, 255], [1, 2, 2, 2]]
    assert segments_of(MAP)[1].tolist() == [[0, 0], [3, 2], [3, 2], [255, 0]]


@pytest.mark.parametrize(
    ("labels", "things", "error", "text"),
    [
        ({"panoptic": MAP[None]}, 1, DataError, "classes of a panoptic map must be below 3"),
        ({"panoptic": MAP[None] // 1000 * 1000}, 2, DataError, "must have the number of an object"),
        ({"panoptic": MAP[None].astype("float32")}, 2, ArgumentError, "must be int32 or int64"),
        ({"panoptic": MAP[None, :2]}, 2, ArgumentError, r"\('B', 3, 4\)"),
        ({"semantic": MAP[None]}, 2, ArgumentError, "must have panoptic maps; got"),
    ],
)
def test_maps_that_do_not_fit_are_refused_by_name(labels, things, error, text):
    with pytest.raises(error, match=text):
        panoptic_truth(labels, (3, 4), stuff=2, things=things)


def test_one_map_of_objects_and_of_pixels_in_the_size_of_the_image():
    scores = np.zeros((4, 4, 3), "float32")
    scores[:, :2, 0], scores[:, 2:, 1], scores[3, :, 2] = 0.9, 0.9, 1.0
    objects = PredictedObjects([[0, 0, 2, 2], [1, 0, 3, 2]], [1, 0], [0.8, 0.9], [np.ones((2, 2))] * 2)
    panoptic = merged(objects, scores, 2, (8, 8), min_score=0.5)
    assert panoptic.shape == (8, 8, 2)
    assert panoptic[0, ::2].tolist() == [[3, 2], [2, 1], [2, 1], [1, 0]]  # the likelier object is on top
    assert panoptic[5, ::2].tolist() == [[0, 0], [0, 0], [1, 0], [1, 0]]
    assert panoptic[7].tolist() == [[255, 0]] * 8  # pixels of things without an object


def test_losses_are_those_of_mask_rcnn_and_the_entropy_of_the_pixels():
    trainer = PanopticFPN(networks(stuff=2, image_shape=(None, None, 3)), FEW)
    trainer.compile("sgd")
    assert (trainer.stuff, trainer.classes) == (2, 3)
    images = np.random.default_rng(0).uniform(-1, 1, (2, 45, 63, 3)).astype("float32")
    maps = np.zeros((2, 45, 63), "int32")
    maps[0, 4:30, 5:40], maps[:, 40:], maps[1, :, 60:] = 3001, 1000, -1
    batch = next(iter(kerasdl.data.as_dataset((images, {"panoptic": maps})).batches(2)))
    outputs = trainer(batch[0], training=True)
    parts = trainer.loss_parts(batch[0], outputs, trainer.true_objects(batch[1], (45, 63), 3), True)
    assert sorted(parts) == sorted(FEW.loss_names)
    assert all(part.shape == (2,) and np.isfinite(part).all() for part in parts.values())
    assert float(parts["masks"][1]) == 0
    surprise = -np.log(np.asarray(keras.ops.softmax(outputs["semantic"])))
    wanted = np.minimum(maps // 1000, 2)
    own = np.take_along_axis(surprise, np.maximum(wanted, 0)[..., None], axis=-1)[..., 0]
    expected = [own[place][maps[place] >= 0].mean() / 2 for place in range(2)]
    np.testing.assert_allclose(parts["semantic"], expected, rtol=1e-4)


def test_networks_that_do_not_belong_together_are_refused():
    with pytest.raises(ArgumentError, match="at most 255; got 257"):
        PanopticFPN(networks(stuff=254))
    parts = networks()
    plain = kerasdl.build("mask_rcnn", **kerasdl.spec("mask_rcnn").tiny)
    with pytest.raises(ArgumentError, match="the first network must give semantic"):
        PanopticFPN({**parts, "model": plain})


def test_results_are_segments_with_their_masks():
    task, scores = kerasdl.core.get_task("panoptic_segmentation"), np.zeros((4, 4, 2), "float32")
    scores[:3, :, 0], scores[3, :, 1] = 1, 1
    objects = PredictedObjects([[0, 0, 2, 2], [2, 0, 4, 2]], [2, 2], [0.8, 0.9], [np.ones((2, 2))] * 2)
    (result,) = task.decode([(objects, scores, 3)], LABELS, [(8, 8)])
    assert (result["labels"], result["objects"]) == (["ground", "star", "star"], [0, 1, 2])
    assert result["shares"] == [16 / 64, 16 / 64, 16 / 64]
    right, left = (read_run_lengths(each).mask() for each in result["masks"][1:])
    assert right[:4, 4:].all()
    assert left[:4, :4].all()
    classes = task.class_map(result, LABELS)
    assert classes[::2, 0].tolist() == [3, 3, 0, 255]
    assert task.draw(np.zeros((8, 8, 3), "uint8"), result, LABELS).ndim == 3
    with pytest.raises(ArgumentError, match="a label for each of its 4 classes"):
        task.decode([(objects, scores, 3)], LABELS[:2], [(8, 8)])


@pytest.mark.slow
def test_a_bundle_gives_segments_and_no_file(tmp_path):
    settings = {"image_shape": (64, 64, 3), "scale": (-1, 1)}
    parts = networks()
    parts["box_head"].get_layer("classes").bias.assign([0, 4, 0, 0])
    named = dict(name="scenes", task="panoptic_segmentation", preprocess=settings, labels=LABELS)
    bundle = kerasdl.Bundle.of(parts, **named)
    photo = np.random.default_rng(0).integers(0, 255, (40, 80, 3)).astype("uint8")
    (result,) = kerasdl.load_bundle(bundle.save(tmp_path / "scenes")).predict([photo])
    segments = PanopticFPN(parts).predict(photo)[0]
    assert "disc" in result["labels"]
    for label, number, mask in zip(result["labels"], result["objects"], result["masks"], strict=True):
        shown = (segments == (LABELS.index(label), number)).all(axis=-1)
        np.testing.assert_array_equal(read_run_lengths(mask).mask(), shown)
    assert sum(read_run_lengths(each).area for each in result["masks"]) == (segments[..., 0] != 255).sum()
    data = kerasdl.data.load("shapes", "test", size=2, labels="panoptic", scale=None)
    with pytest.raises(ArgumentError, match="must have its classes"):
        bundle.evaluate(data)  # seven others
    data.source.labels["panoptic"][data.source.labels["panoptic"] >= 4000] = 0
    figures = bundle.evaluate(dataclasses.replace(data, class_names=LABELS))
    assert {"loss", "semantic_loss", "PQ", "PQ_things", "RQ_stuff"} <= set(figures)
    with pytest.raises(ArgumentError, match="a file must have no merging"):
        bundle.export(tmp_path / "scenes.tflite")


@pytest.mark.slow
def test_it_learns_few_scenes():
    keras.utils.set_random_seed(0)
    data = kerasdl.data.load("shapes", "train", size=8, labels="panoptic", image_shape=(64, 64, 3))
    parts = networks(things=6)
    for layer in parts["model"].layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    trainer = PanopticFPN(parts, FEW)
    before = trainer.panoptic_quality(data).result()
    config = kerasdl.train.RunConfig(epochs=60, batch_size=8, learning_rate=5e-3, progress="off")
    after = kerasdl.train.fit(trainer, data, config=config).trainer.panoptic_quality(data).result()
    assert before["PQ"] < 0.1
    assert after["PQ"] > 0.25
    assert after["PQ_things"] > 0.15
    assert after["PQ_stuff"] > 0.8
