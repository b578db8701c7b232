"""Mask R-CNN: targets against plain loops, loss of the own class alone, learning, masks in the image, bundle, files."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from unallocated import unallocated

import kerasdl
from kerasdl.core import ArgumentError, DataError
from kerasdl.ops import RunLengths, paste_mask, read_run_lengths
from kerasdl.vision.detection import MaskRCNN
from kerasdl.vision.detection.method import true_batch, true_masks
from kerasdl.vision.detection.two_stage.mask_rcnn import MaskedBatch, MaskRCNNMethod, OwnMasks
from kerasdl.vision.detection.two_stage.region_proposals import ProposalMethod

NAMES = {"model": "mask_rcnn", "box_head": "faster_rcnn_box_head", "mask_head": "mask_rcnn_mask_head"}
FEW = MaskRCNNMethod(rpn=ProposalMethod(scale=5.0, samples=64, most=50, most_in_training=60), samples=32)
SETTINGS = {"image_shape": (64, 64, 3), "scale": (-1, 1), "min_score": 0.0}
LABELS = ("disc", "square", "star")


def networks(image_shape=(64, 64, 3), **of_mask_head):
    settings = {role: {**kerasdl.spec(name).tiny, "image_shape": image_shape} for role, name in NAMES.items()}
    settings["box_head"]["proposals"] = settings["mask_head"]["proposals"] = None
    settings["mask_head"] |= of_mask_head
    return {role: kerasdl.build(name, **settings[role]) for role, name in NAMES.items()}


def scene():
    """Returns an image (1, 64, 64, 3) of a disc and a square, with their masks."""
    rows, columns = np.mgrid[:64, :64] + 0.5
    disc, square = np.hypot(rows - 20, columns - 18) < 13, (abs(rows - 40) < 12) & (abs(columns - 48) < 12)
    image = np.full((1, 64, 64, 3), -0.8, "float32")
    image[0, disc], image[0, square] = (1, -1, -1), (-1, -1, 1)
    boxes = np.array([(5, 7, 31, 33), (36, 28, 60, 52)], "float32")
    masks = np.stack([disc, square]).astype("uint8")
    return image, {"boxes": [boxes], "classes": [np.array([0, 2], "int32")], "masks": [masks]}


def batch_of(images, labels):
    return next(iter(kerasdl.data.as_dataset((images, labels)).batches(len(images))))


def truth_of(labels, size=(64, 64)):
    return MaskedBatch(*true_batch(labels), true_masks(labels, size))


def test_targets_are_the_masks_of_matched_objects():
    _, labels = batch_of(*scene())
    truth = truth_of(labels)
    sample = np.zeros((1, 16, 4), "float32")
    sample[0, :5] = [(5, 7, 31, 33), (36, 28, 60, 52), (40, 0, 60, 20), (8, 9, 34, 33), (33, 30, 61, 49)]
    boxes = np.asarray(FEW.positives(tf.constant(sample), truth))
    assert boxes.shape == (1, 4, 4)  # a quarter of the sample
    np.testing.assert_array_equal(boxes[0], sample[0, [0, 1, 3, 4]])
    heads = {"mask_boxes": tf.constant(boxes), "masks": tf.zeros((1, 4, 8, 8, 4))}
    heads |= {"proposals": tf.constant(sample), "classes": tf.zeros((1, 16, 4)), "boxes": tf.zeros((1, 16, 16))}
    targets = FEW.targets(heads, truth, (64, 64))
    assert np.asarray(targets.classes).tolist() == [[1, 3, 1, 3]]
    assert np.asarray(targets.positive).tolist() == [[1, 1, 1, 1]]
    disc, square = scene()[1]["masks"][0].astype(bool)
    for place, mask in enumerate((disc, square, disc, square)):
        left, top, right, bottom = boxes[0, place]
        for row, column in np.ndindex(8, 8):
            y, x = top + (bottom - top) * (row + 0.5) / 8, left + (right - left) * (column + 0.5) / 8
            around = mask[max(int(y) - 3, 0) : int(y) + 4, max(int(x) - 3, 0) : int(x) + 4]
            if around.all() or not around.any():  # cells apart from an outline
                assert targets.masks[0, place, row, column] == mask[int(y), int(x)]
    shares = np.asarray(targets.masks)[0].mean((1, 2))
    assert abs(shares[0] - np.pi / 4) < 0.02
    assert shares[1] == 1
    assert np.asarray(targets.regions.classes).tolist() == [[1, 3, 0, 1, 3] + [0] * 11]


def test_loss_is_the_entropy_of_the_own_class_alone():
    rng = np.random.default_rng(0)
    _, labels = batch_of(*scene())
    truth = truth_of(labels)
    boxes = np.array([[(5, 7, 31, 33), (36, 28, 60, 52), (0, 0, 0, 0)]], "float32")
    heads = {"mask_boxes": tf.constant(boxes), "masks": tf.constant(rng.normal(size=(1, 3, 8, 8, 4)), tf.float32)}
    heads |= {"proposals": heads["mask_boxes"], "classes": tf.zeros((1, 3, 4)), "boxes": tf.zeros((1, 3, 16))}
    targets = FEW.targets(heads, truth, (64, 64))
    own = np.stack([heads["masks"][0, 0, ..., 1], heads["masks"][0, 1, ..., 3]])
    wanted = np.asarray(targets.masks)[0, :2]
    entropy = np.log1p(np.exp(own)) - wanted * own
    np.testing.assert_allclose(FEW.loss(heads, targets, (64, 64))["masks"], [entropy.mean()], rtol=1e-5)


def test_three_networks_have_the_weights_of_torchvision():
    with unallocated():
        parts = [kerasdl.build(name).count_params() for name in NAMES.values()]
    assert sum(parts) == 44_401_393 + 106_240


@pytest.mark.slow
def test_it_learns_the_masks_of_one_image():
    keras.utils.set_random_seed(0)
    trainer = MaskRCNN(networks(), FEW)
    trainer.compile(keras.optimizers.Adam(5e-3))
    images, labels = scene()
    data = kerasdl.data.as_dataset((images, labels))
    batch = batch_of(images, labels)
    losses = [trainer.train_on_batch(*batch, return_dict=True) for _ in range(60)]
    assert losses[-1]["loss"] < 0.3 * losses[0]["loss"]
    assert losses[-1]["masks_loss"] < 0.5 * losses[0]["masks_loss"]
    for layer in trainer.main.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    trainer(images, training=True)  # the statistics of this image
    assert trainer.average_precision(data, classes=3).result()["AP50"] > 0.99
    assert trainer.average_precision(data, classes=3, of="masks").result()["AP50"] > 0.99
    photo = np.round((images[0] + 1) * 127.5).astype("uint8")
    large = photo.repeat(2, axis=0).repeat(3, axis=1)
    (found,) = trainer.predict(large, min_score=0.5)
    assert isinstance(found.masks[0], RunLengths)
    for place, kind in enumerate((0, 2)):
        mask = found.masks[int(np.flatnonzero(found.classes == kind)[0])].mask()
        true = labels["masks"][0][place].repeat(2, axis=0).repeat(3, axis=1) > 0
        assert mask.shape == large.shape[:2]
        assert (mask & true).sum() / (mask | true).sum() > 0.8
    picture = trainer.draw(large, LABELS, min_score=0.5)
    assert picture.shape == (384, 576, 3)
    assert np.any(picture[240, 432] != (0, 0, 255))  # tinted in the middle of the square


def test_images_without_objects_and_odd_sides_give_finite_losses():
    trainer = MaskRCNN(networks((None, None, 3)), FEW)
    trainer.compile("sgd")
    images = np.random.default_rng(0).uniform(-1, 1, (2, 45, 63, 3)).astype("float32")
    mask = np.zeros((1, 45, 63), bool)
    mask[0, 4:30, 5:40] = True
    labels = {
        "boxes": [np.array([(5, 4, 40, 30)], "float32"), np.zeros((0, 4), "float32")],
        "classes": [np.array([1], "int32"), np.zeros(0, "int32")],
        "masks": [mask, mask[:0]],
    }
    images, labels = batch_of(images, labels)
    truth = trainer.true_objects(labels, (45, 63), 3)
    parts = trainer.loss_parts(images, trainer(images, training=True), truth, True)
    assert sorted(parts) == sorted(FEW.loss_names)
    assert all(part.shape == (2,) and np.isfinite(part).all() for part in parts.values())
    assert float(parts["masks"][1]) == 0
    found = trainer.detect(np.asarray(images), min_score=0.0, max_boxes=5)
    assert [(len(each.masks), each.masks[0].mask().shape) for each in found] == [(5, (45, 63))] * 2


def test_masks_that_do_not_fit_are_refused_by_name():
    images, labels = scene()
    trainer = MaskRCNN(networks(), FEW)
    for changed, text in (
        (labels["masks"][0][:1], "each box must have one mask"),
        (labels["masks"][0][:, ::2], "masks of a batch must be"),
        (labels["masks"][0].astype("float32"), "whole numbers or booleans"),
    ):
        with pytest.raises(ArgumentError, match=text):
            trainer.true_objects(batch_of(images, {**labels, "masks": [changed]})[1], (64, 64), 3)
    ragged = {name: tf.RaggedTensor.from_tensor(np.stack(each)) for name, each in labels.items()}
    with pytest.raises(DataError, match="each box must have one mask"):
        true_masks({**ragged, "masks": ragged["masks"][:, :1]}, (64, 64))
    del labels["masks"]
    with pytest.raises(ArgumentError, match="must have masks beside the boxes"):
        trainer.true_objects(batch_of(images, labels)[1], (64, 64), 3)
    with pytest.raises(ArgumentError, match="the mask head must have the classes of the box head, 3; got 5"):
        MaskRCNN(networks(classes=5))
    with pytest.raises(ArgumentError, match="Export a bundle"):
        trainer.joined()
    faster = kerasdl.build("faster_rcnn", **kerasdl.spec("faster_rcnn").tiny)
    both = kerasdl.vision.detection.FasterRCNN({"model": faster, "box_head": networks()["box_head"]})
    with pytest.raises(ArgumentError, match="of must be one of"):
        both.average_precision((images, labels), of="masks")


def test_masks_of_places_without_an_object_are_zero():
    masks = np.random.default_rng(0).normal(size=(1, 2, 3, 3, 4)).astype("float32")
    own = np.asarray(OwnMasks()([masks, np.array([[2, 0]], "int32"), np.array([[0.5, 0.0]], "float32")]))
    np.testing.assert_allclose(own[0, 0], 1 / (1 + np.exp(-masks[0, 0, ..., 3])), rtol=1e-5)
    assert not own[0, 1].any()


def random_networks():
    """Returns networks whose scores and masks differ."""
    both, generator = networks(), np.random.default_rng(0)
    for network in both.values():
        for weight in network.weights:
            if "kernel" in weight.path:
                fan_in = np.prod(weight.shape[:-1]) if "upsample" not in weight.path else weight.shape[-1]
                weight.assign(generator.normal(size=weight.shape, scale=1.3 / np.sqrt(fan_in)))
    return both


def test_a_bundle_of_three_networks_gives_masks_and_learns_other_classes(tmp_path):
    bundle = kerasdl.Bundle.of(
        random_networks(), name="three", task="object_detection", preprocess=SETTINGS, labels=LABELS
    )
    photo = np.random.default_rng(0).integers(0, 255, (40, 80, 3)).astype("uint8")
    (result,) = kerasdl.load_bundle(bundle.save(tmp_path / "three")).predict([photo])
    (expected,) = bundle.predict([photo])
    np.testing.assert_allclose(result["boxes"], expected["boxes"], atol=1e-3)
    masks = [read_run_lengths(each).mask() for each in result["masks"]]
    assert {each.shape for each in masks} == {(40, 80)}
    assert len(masks) == len(result["labels"]) > 5
    assert any(each.any() for each in masks)
    for mask, (left, top, _, bottom) in zip(masks, result["boxes"], strict=True):
        rows, columns = np.nonzero(mask)
        assert not len(rows) or (rows.min() >= top - 1 and rows.max() <= bottom and columns.min() >= left - 1)
    assert get_drawing(bundle, photo, result).shape[2] == 3
    task = kerasdl.core.get_task("object_detection")
    copies, new = task.for_labels(bundle.networks, ("one", "two"))
    assert new == ["classes", "boxes", "masks_conv"]
    assert copies["mask_head"].output["masks"].shape[-1] == 3
    old, copy = (each["mask_head"].get_layer("conv1").kernel.numpy() for each in (bundle.networks, copies))
    np.testing.assert_array_equal(old, copy)


def get_drawing(bundle, photo, result):
    return kerasdl.core.get_task("object_detection").draw(photo, result, LABELS)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "quantize"), [("a.tflite", None), ("a.onnx", None), ("a.tflite", "int8")])
def test_a_file_gives_masks_that_paste_as_predict_does(file, quantize, tmp_path):
    settings = {**SETTINGS, "min_score": 0.06}
    bundle = kerasdl.Bundle.of(
        random_networks(), name="three", task="object_detection", preprocess=settings, labels=LABELS
    )
    raw = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3)).astype("uint8")
    data = kerasdl.data.as_dataset(
        (raw, {"boxes": [np.array([[4.0, 4.0, 30.0, 30.0]])] * 8, "classes": [np.zeros(1, int)] * 8})
    )
    more = {"quantize": quantize, "representative": data} if quantize else {}
    report = bundle.export(tmp_path / file, raw_shape=(64, 64, 3), **more)
    given = kerasdl.deploy.run_exported(tmp_path / file, raw[:2].astype("float32"))
    assert given["masks"].shape == (2, 100, 8, 8)
    for place in range(2):
        count = int(given["count"][place])
        assert not given["masks"][place, count:].any()
    if quantize:
        return  # judged by its parts
    assert report.worst_relative < 1e-3
    for place, found in enumerate(bundle.predict(list(raw[:2]))):
        for box, run_lengths in list(zip(found["boxes"], found["masks"], strict=True))[:5]:
            gaps = np.abs(given["boxes"][place][: given["count"][place]] - box).max(axis=-1)
            nearest = int(gaps.argmin())
            mask, expected = (
                paste_mask(given["masks"][place, nearest], given["boxes"][place, nearest], (64, 64)),
                read_run_lengths(run_lengths).mask(),
            )
            assert gaps.min() < 1.0
            assert (mask != expected).mean() < 0.01


@pytest.mark.slow
def test_masks_of_a_file_stay_where_boxes_are_of_a_raw_image_of_another_size():
    task, both = kerasdl.core.get_task("object_detection"), random_networks()
    image = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    maps = both["model"](image, training=False)
    same, taller = (task.postprocess(both, SETTINGS, (height, 64, 3))(maps) for height in (64, 96))
    assert set(same) == {"boxes", "classes", "scores", "count", "masks"}
    np.testing.assert_allclose(taller["boxes"], same["boxes"] * np.array([1, 1.5, 1, 1.5]), rtol=1e-5)
    np.testing.assert_allclose(taller["masks"], same["masks"], atol=1e-4)
    assert int(same["count"][0]) > 5
    (found,) = MaskRCNN(both).objects_of(image, min_score=0.0)
    np.testing.assert_allclose(np.asarray(same["masks"])[0, : len(found.masks)], np.stack(found.masks), atol=1e-3)
