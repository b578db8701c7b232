"""Panoptic segmentation task: the objects of an image, and the classes of the pixels between them."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import Task, checks, draw_classes, register_task
from kerasdl.core.outputs.measurement import Measurement
from kerasdl.data import Dataset
from kerasdl.data.images import read_images
from kerasdl.data.trees import unpacked
from kerasdl.ops import encode_mask
from kerasdl.ops.run_lengths import read_run_lengths
from kerasdl.train.trainer import reused_trainer

from ..classification.task import check_image_settings, preparing_layers
from ..segmentation.task import a_row_a_class, prepared
from .panoptic_labels import DIVISOR, HINT, VOID
from .trainer import PanopticFPN, merged


def asked(networks: Mapping[str, keras.Model]) -> PanopticFPN:
    """Returns a trainer of networks by role that is kept for the next question, with its compiled functions."""
    return reused_trainer(PanopticFPN, networks)


def check_panoptic(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    """Checks preprocessing settings and labels against a first network; raises `ArgumentError`."""
    check_image_settings(settings, model)
    if not isinstance(model.output, Mapping) or "semantic" not in model.output:
        checks.refuse("a panoptic network must give semantic", model.name, "Build panoptic_fpn.")
    stuff = model.output["semantic"].shape[-1] - 1
    if labels and len(labels) <= stuff:
        checks.refuse(f"a bundle must have a label for each of its {stuff} classes of stuff and of things", len(labels))


def segmented(networks: Mapping[str, keras.Model], inputs: Any, batch_size: int) -> list[tuple]:
    """Returns what `merged` takes of each of prepared images."""
    return asked(networks).answers_to(inputs, batch_size)


def decoded(answers: Sequence[tuple], labels: Sequence[str], context: Sequence[tuple]) -> list[dict[str, Any]]:
    """Returns `{"labels", "objects", "shares", "masks"}` of the segments of each image, in pixels of the raw image.

    Segments stand in the order of their classes, stuff first; `objects` are their numbers, 0 of stuff. Shares are of
    the image's pixels; masks are COCO's run lengths, which `kerasdl.ops.read_run_lengths` reads.
    """
    results = []
    for each, size in zip(answers, context, strict=True):
        panoptic, classes = merged(*each, size), each[1].shape[-1] - 1 + each[2]
        if labels and len(labels) != classes:
            checks.refuse(f"a bundle must have a label for each of its {classes} classes", len(labels))
        segments = np.unique(panoptic.reshape(-1, 2), axis=0).tolist()
        shown = [segment for segment in segments if segment[0] != VOID]
        masks = [encode_mask((panoptic == segment).all(axis=-1)) for segment in shown]
        results.append(
            {
                "labels": [labels[number] if labels else number for number, _ in shown],
                "objects": [number for _, number in shown],
                "shares": [mask.area / panoptic[..., 0].size for mask in masks],
                "masks": [mask.to_json() for mask in masks],
            }
        )
    return results


def ready(dataset: Dataset, settings: Mapping[str, Any]) -> Dataset:
    """Returns labelled images, resized and scaled as the network takes them, whose maps moved with them."""
    labels = dataset.source.labels if dataset.any_order else unpacked(dataset.spec)[1]
    if not isinstance(labels, Mapping) or "panoptic" not in labels:
        checks.refuse("data of a panoptic segmenter must have panoptic maps", dataset.name, HINT)
    if not dataset.images:  # prepared already
        return dataset
    return dataset.prepared(tuple(settings["image_shape"]), tuple(settings["scale"]))


def class_map(result: Mapping[str, Any], labels: Sequence[str]) -> np.ndarray:
    """Returns the class of each pixel (H, W) of a result, as `decoded` gives it; 255 where it has none."""
    names = list(labels)
    height, width = result["masks"][0]["size"] if result["masks"] else (1, 1)
    classes = np.full((height, width), VOID, "uint8")
    for label, mask in zip(result["labels"], result["masks"], strict=True):
        classes[read_run_lengths(mask).mask()] = names.index(label) if names else label
    return classes


def drawn(image: Any, result: Mapping[str, Any], labels: Sequence[str]) -> np.ndarray:
    """Returns a raw image with its pixels coloured by class."""
    (pixels,) = read_images(image)
    classes = class_map(result, labels) if result["masks"] else np.full(pixels.shape[:2], VOID, "uint8")
    return draw_classes(pixels, classes, list(labels) or None)


def figures(networks: Mapping[str, keras.Model], data: Dataset) -> Measurement:
    """Returns PQ, SQ and RQ over labelled data, of all classes, of things and of stuff."""
    return Measurement(PanopticFPN(networks).panoptic_quality(data).result())


def refused(networks: Mapping[str, keras.Model], settings: Mapping[str, Any], input_shape: tuple) -> keras.Model:
    """Refuses a file: objects and pixels are merged outside the networks; raises `ArgumentError`."""
    hint = "Export its networks by kerasdl.deploy, and merge their answers by kerasdl.ops.merge_panoptic."
    checks.refuse("a file must have no merging of objects and pixels behind it", networks["model"].name, hint)


def _example(model: keras.Model, batch: int, seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Draws noise with maps of blocks of stuff, up to three boxes of the first class of things, and some void."""
    rng = np.random.default_rng(seed)
    height, width, channels = (64 if side is None else side for side in model.input_shape[1:])
    stuff = model.output["semantic"].shape[-1] - 1
    images = rng.uniform(-1.0, 1.0, (batch, height, width, channels)).astype("float32")
    rows, columns = (np.arange(side) * 4 // side for side in (height, width))
    maps = DIVISOR * rng.integers(0, stuff, (batch, 4, 4)).astype("int32")[:, rows[:, np.newaxis], columns]
    for each in maps:
        for number in range(1, 1 + rng.integers(1, 4)):
            tall, wide = (max(2, int(side * rng.uniform(0.1, 0.6))) for side in (height, width))
            top, left = (int(rng.integers(0, side - own)) for side, own in ((height, tall), (width, wide)))
            each[top : top + tall, left : left + wide] = DIVISOR * stuff + number
        each[0] = -1
    return images, {"panoptic": maps}


register_task(
    Task(
        name="panoptic_segmentation",
        module=__name__,
        loss=lambda: None,
        metrics=list,
        monitor=("val_loss", "min"),
        check=check_panoptic,
        preprocess=prepared,
        preprocess_layers=preparing_layers,
        decode=decoded,
        replace_head=None,
        example=_example,
        predict=segmented,
        trainer=PanopticFPN,
        ready=ready,
        figures=figures,
        postprocess=refused,
        table=a_row_a_class,
        draw=drawn,
        class_map=class_map,
        summary="finds the objects of an image with their masks, and tells of all other pixels what they show",
        limits="It finds objects of its own classes alone, gives the rest one of its classes of stuff, and misses "
        "objects much smaller than those it learned from.",
    )
)
