"""Sliding windows to Faster R-CNN on one data set. `python docs/recipes/sliding_window_to_faster_rcnn.py`.

Two and a half processor minutes, about one and a half minutes on two idle cores. It prints a row of each detector: AP50
and AP75 on 100 test scenes, processor milliseconds a picture, processor seconds of training. One run:

| sliding_window | 0.578 | 0.106 | 36.7 | 14 |
| r_cnn | 0.528 | 0.306 | 49.0 | 47 |
| fast_rcnn | 0.662 | 0.301 | 11.4 | 27 |
| faster_rcnn | 0.648 | 0.457 | 4.3 | 44 |
"""

import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf

import kerasdl
from kerasdl.core import PredictedObjects, TrueObjects
from kerasdl.data import Dataset
from kerasdl.data.detection import draw_shapes
from kerasdl.metrics import MeanAveragePrecision
from kerasdl.ops import nms, pairwise_overlaps
from kerasdl.train import RunConfig, fit
from kerasdl.vision.detection import RCNN, FasterRCNN, FastRCNN
from kerasdl.vision.detection.two_stage.fast_rcnn import FastRCNNMethod
from kerasdl.vision.detection.two_stage.faster_rcnn import FasterRCNNMethod
from kerasdl.vision.detection.two_stage.rcnn import CropMethod
from kerasdl.vision.detection.two_stage.region_proposals import ProposalMethod

SHAPE, CROP = (64, 64, 3), 24
WINDOWS = {"sides": (16.0, 22.0, 30.0), "ratios": (1.0,), "step": 0.25}  # objects are 16 to 32 pixels long
BACKBONE = {"backbone": "yolo_v8_n", "backbone_settings": {"stages": ((128, 1), (256, 1)), "depth": 1.0}}
SAMPLE = {"samples": 32, "positive_share": 0.5}  # of the windows of an image, in training
Find = Callable[[np.ndarray], list[PredictedObjects]]


def scenes(split: str, count: int) -> Dataset:
    """Returns easy scenes of 64 pixels."""
    return draw_shapes(count, split=split, side=SHAPE[0], lengths=(32.0, 64.0), difficulty="easy").prepared()


def config(epochs: int, seed: int, batch_size: int = 4) -> RunConfig:
    """Returns the settings that all trainings share."""
    return RunConfig(epochs=epochs, batch_size=batch_size, learning_rate=2e-3, schedule="cosine", seed=seed)


def crops_of(images: np.ndarray, boxes: np.ndarray) -> tf.Tensor:
    """Returns the part of an image (H, W, C) in each of its boxes (N, 4), resized to (N, 24, 24, C)."""
    left, top, right, bottom = np.split(boxes / SHAPE[0], 4, axis=1)
    corners = np.concatenate([top, left, bottom, right], axis=1)
    return tf.image.crop_and_resize(images[np.newaxis], corners, np.zeros(len(boxes), int), (CROP, CROP))


def sliding_window(train: Dataset, seed: int, epochs: int = 6) -> Find:
    """Trains a classifier of windows, background included: what it finds are windows, as they are."""
    windows, rng = CropMethod(**WINDOWS).windows(SHAPE[:2]), np.random.default_rng(seed)
    crops, classes = [], []
    for image, labels in train:
        overlaps = np.array(pairwise_overlaps(windows, labels["boxes"]))
        near = np.flatnonzero(overlaps.max(axis=1) >= 0.6)
        far = rng.choice(np.flatnonzero(overlaps.max(axis=1) < 0.4), 16)
        boxes = np.concatenate([labels["boxes"], windows[near], windows[far]])
        crops.append(crops_of(image, boxes))
        classes.append([*labels["classes"], *labels["classes"][overlaps[near].argmax(axis=1)], *[-1] * len(far)])
    network = kerasdl.build("lenet5", image_shape=(CROP, CROP, 3), classes=1 + len(train.class_names))
    fit(network, (np.concatenate(crops), np.concatenate(classes) + 1), config=config(epochs, seed, batch_size=64))

    @tf.function
    def scores_of(crops):
        return tf.nn.softmax(network(crops, training=False))[np.newaxis, :, 1:]

    def find(images: np.ndarray) -> list[PredictedObjects]:
        answers = [nms(windows[np.newaxis], scores_of(crops_of(image, windows)), overlap=0.3) for image in images]
        return [
            PredictedObjects(*(np.array(each)[0][: int(a.count[0])] for each in (a.boxes, a.classes, a.scores)))
            for a in answers
        ]

    return find


def r_cnn(train: Dataset, seed: int, epochs: int = 8) -> Find:
    """Trains R-CNN: a network looks at each window by itself, and tells its class and a better box."""
    settings = {**BACKBONE, "stride": 8, "classes": len(train.class_names), "width": 64, "dropout": 0.0}
    network = kerasdl.build("rcnn", image_shape=(CROP, CROP, 3), **settings)
    detector = RCNN(network, SHAPE, CropMethod(**WINDOWS, context=4, **SAMPLE))
    fit(detector, train, config=config(epochs, seed))
    return detector.detect


def fast_rcnn(train: Dataset, seed: int, epochs: int = 8) -> Find:
    """Trains Fast R-CNN: one map of the image, from which the features of each window are cut."""
    head = {"stride": 4, "channels": 32, "size": 5, "width": 64, "dropout": 0.0}
    networks = {
        "model": kerasdl.build("fast_rcnn", image_shape=SHAPE, **BACKBONE, stride=4),
        "box_head": kerasdl.build("fast_rcnn_box_head", image_shape=SHAPE, classes=len(train.class_names), **head),
    }
    detector = FastRCNN(networks, FastRCNNMethod(**WINDOWS, **SAMPLE))
    fit(detector, train, config=config(epochs, seed))
    return detector.detect


def faster_rcnn(train: Dataset, seed: int, epochs: int = 8) -> Find:
    """Trains Faster R-CNN: a network proposes the boxes too, a few in place of all windows."""
    head = {"strides": (4, 8), "channels": 32, "size": 5, "width": 64}
    networks = {
        "model": kerasdl.build("faster_rcnn", image_shape=SHAPE, **BACKBONE, strides=(4, 8), channels=32),
        "box_head": kerasdl.build("faster_rcnn_box_head", image_shape=SHAPE, classes=len(train.class_names), **head),
    }
    proposals = ProposalMethod(scale=4.0, samples=64, most=60, most_in_training=60)
    detector = FasterRCNN(networks, FasterRCNNMethod(**SAMPLE, rpn=proposals))
    fit(detector, train, config=config(epochs, seed))
    return detector.detect


def measured(find: Find, test: Dataset) -> tuple[float, float, float]:
    """Returns AP50, AP75 and processor milliseconds a picture."""
    images, labels = test.arrays()
    find(images[:8])  # traces the graphs
    started = time.process_time()
    found = find(images)
    spent = 1000 * (time.process_time() - started) / len(images)
    metric = MeanAveragePrecision(test.class_names)
    truth = [TrueObjects(*pair) for pair in zip(labels["boxes"], labels["classes"], strict=True)]
    metric.update_state(truth, found)
    figures = metric.result()
    return figures["AP50"], figures["AP75"], spent


def compare(
    names=("sliding_window", "r_cnn", "fast_rcnn", "faster_rcnn"), count: int = 400, seed: int = 0, **epochs
) -> dict:
    """Returns AP50, AP75 and processor milliseconds a picture of the detectors, and prints them."""
    train, test, rows = scenes("train", count), scenes("test", 100), {}
    for name in names:
        kerasdl.set_seed(seed)
        started = time.process_time()
        find = globals()[name](train, seed, **epochs)
        spent = time.process_time() - started
        rows[name] = measured(find, test)
        print(f"| {name} | {rows[name][0]:.3f} | {rows[name][1]:.3f} | {rows[name][2]:.1f} | {spent:.0f} |", flush=True)
    return rows


if __name__ == "__main__":
    compare()
