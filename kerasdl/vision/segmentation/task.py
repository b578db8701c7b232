"""Semantic segmentation task: a class for each pixel of an image."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import Task, checks, draw_classes, register_task
from kerasdl.core.outputs.measurement import Measurement
from kerasdl.data import Dataset, prepare_images
from kerasdl.data.images import read_images
from kerasdl.data.trees import unpacked
from kerasdl.metrics import MeanIoU
from kerasdl.ops import encode_mask
from kerasdl.ops.run_lengths import read_run_lengths
from kerasdl.train.trainer import reused_trainer

from ..classification.task import check_image_settings, preparing_layers
from .logits_of_pixels import chosen_classes, resized_scores
from .pixel_decoder import PixelDecoder
from .pixel_labels import HINT, checked_labels
from .segmenter import OVERLAPPING, Segmenter


def asked(networks: Mapping[str, keras.Model]) -> Segmenter:
    """Returns a trainer of networks by role that is kept for the next question, with its compiled function."""
    return reused_trainer(Segmenter, networks)


def check_segmenter(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    """Checks preprocessing settings and labels against a network of logits; raises `ArgumentError`."""
    check_image_settings(settings, model)
    if getattr(model, OVERLAPPING, False):
        hint = "Segmenter(model, multi_label=True).predict answers for each class."
        checks.refuse("a bundle gives each pixel one class", "a network whose classes overlap", hint)
    segmenter = Segmenter(model)
    if segmenter.valid:
        hint = "Segmenter(model).predict answers by windows; train a network of same-padded convolutions for a bundle."
        checks.refuse("logits of a bundle must have the size of its images", segmenter.logits_shape[1:3], hint)
    classes = max(2, segmenter.logits_shape[-1])
    if labels and len(labels) != classes:
        checks.refuse(f"a bundle must have a label for each of its {classes} classes", len(labels))


def prepared(raw: Any, settings: Mapping[str, Any]) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """Returns raw images as input of the network, and (height, width) of each for `decoded`."""
    shape, scale = tuple(settings["image_shape"]), tuple(settings["scale"])
    images = read_images(raw, levels=settings.get("levels"))
    return prepare_images(images, shape, scale), [image.shape[:2] for image in images]


def segmented(networks: Mapping[str, keras.Model], inputs: Any, batch_size: int) -> np.ndarray:
    """Returns the probabilities (B, H, W, K) of the classes of prepared images."""
    return asked(networks).segment(inputs, batch_size)


def decoded(scores: np.ndarray, labels: Sequence[str], context: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Returns `{"labels", "shares", "masks"}` of the classes that each image shows, in pixels of the raw image.

    Shares are of the image's pixels; masks are COCO's run lengths, which `kerasdl.ops.read_run_lengths` reads.
    """
    results = []
    for each, size in zip(scores, context, strict=True):
        classes = chosen_classes(resized_scores(each[np.newaxis], size)[0])
        shown = [int(number) for number in np.unique(classes)]
        masks = [encode_mask(classes == number) for number in shown]
        results.append(
            {
                "labels": [labels[number] if labels else number for number in shown],
                "shares": [mask.area / classes.size for mask in masks],
                "masks": [mask.to_json() for mask in masks],
            }
        )
    return results


def ready(dataset: Dataset, settings: Mapping[str, Any]) -> Dataset:
    """Returns labelled images, resized and scaled as the network takes them, whose maps moved with them."""
    if isinstance(dataset.source.labels, np.ndarray) and dataset.source.labels.ndim == 3:
        source = dataclasses.replace(dataset.source, labels={"semantic": dataset.source.labels})
        dataset = dataclasses.replace(dataset, source=source)
    if not isinstance(dataset.source.labels, Mapping) or "semantic" not in dataset.source.labels:
        checks.refuse("data of a segmenter must have maps of classes", dataset.name, HINT)
    if not dataset.images:  # prepared already
        return dataset
    return dataset.prepared(tuple(settings["image_shape"]), tuple(settings["scale"]))


def class_map(result: Mapping[str, Any], labels: Sequence[str]) -> np.ndarray:
    """Returns the class of each pixel (H, W) of a result, as `decoded` gives it."""
    masks = [read_run_lengths(each).mask() for each in result["masks"]]
    names = list(labels)
    numbers = [names.index(each) if names else each for each in result["labels"]]
    classes = np.zeros(masks[0].shape, "uint8" if max(numbers) < 256 else "uint16")
    for number, mask in zip(numbers, masks, strict=True):
        classes[mask] = number
    return classes


def a_row_a_class(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns a row for each class that an image shows, the largest first: label and share of the pixels."""
    rows = zip(result["labels"], result["shares"], strict=True)
    return [{"label": label, "share": share} for label, share in sorted(rows, key=lambda row: -row[1])]


def drawn(image: Any, result: Mapping[str, Any], labels: Sequence[str]) -> np.ndarray:
    """Returns a raw image with its pixels coloured by class."""
    (pixels,) = read_images(image)
    return draw_classes(pixels, class_map(result, labels), list(labels) or None)


def figures(networks: Mapping[str, keras.Model], data: Dataset) -> Measurement:
    """Returns the mean IoU over labelled data, and that of each class that they show."""
    return _measured(Segmenter(networks).mean_iou(data))


def file_figures(run: Callable[..., Mapping[str, Any]], data: Dataset, labels: Sequence[str]) -> Measurement:
    """Returns the mean IoU of an exported file over labelled data, and that of each class that they show.

    Args:
        run: runs the file on images, and returns its outputs by name.
        data: images with maps of classes, of the size of the file's input.
        labels: label of each class.
    """
    metric = MeanIoU(list(labels), from_logits=False)
    for images, maps, _ in map(unpacked, data.batches(8)):
        classes = np.asarray(run(images.numpy())["classes"])
        logits = np.broadcast_to(np.float32(0), (*classes.shape, len(labels)))
        metric.update_state(checked_labels(maps, images.shape[1:3], logits)[0], classes)
    return _measured(metric)


def _measured(metric: MeanIoU) -> Measurement:
    by_class = {f"IoU {name}": value for name, value in metric.per_class().items() if not np.isnan(value)}
    return Measurement({"mean_iou": float(metric.result()), **by_class})


def postprocess(networks: Mapping[str, keras.Model], settings: Mapping[str, Any], input_shape: tuple) -> keras.Model:
    """Returns the decoder of a network's logits as a model.

    Args:
        networks: networks by role.
        settings: settings of the preprocessing.
        input_shape: shape of the file's images, for whose pixels classes are given.
    """
    network = networks["model"]
    by_name = zip(network.output_names, network.outputs, strict=True)
    heads = {name: keras.Input(head.shape[1:], name=name, dtype=head.dtype) for name, head in by_name}
    logits = heads["logits"] if len(heads) > 1 else next(iter(heads.values()))
    return keras.Model(heads, PixelDecoder(input_shape[:2], name="pixels")(logits), name="pixels")


def _example(model: keras.Model, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws noise with maps of blocks of classes, and some pixels that do not count."""
    rng = np.random.default_rng(seed)
    shape = [32 if side is None else side for side in model.input_shape[1:]]
    images = rng.uniform(-1.0, 1.0, (batch, *shape)).astype("float32")
    outputs = model.output["logits"] if isinstance(model.output, Mapping) else model.output
    blocks = rng.integers(0, max(2, outputs.shape[-1]), (batch, 4, 4)).astype("uint8")
    rows, columns = (np.arange(side) * 4 // side for side in shape[:2])
    labels = blocks[:, rows[:, np.newaxis], columns]
    labels[:, 0] = 255
    return images, labels


register_task(
    Task(
        name="semantic_segmentation",
        module=__name__,
        loss=lambda: None,
        metrics=list,
        monitor=("val_mean_iou", "max"),
        check=check_segmenter,
        preprocess=prepared,
        preprocess_layers=preparing_layers,
        decode=decoded,
        replace_head=None,
        example=_example,
        predict=segmented,
        trainer=Segmenter,
        ready=ready,
        figures=figures,
        file_figures=file_figures,
        table=a_row_a_class,
        draw=drawn,
        class_map=class_map,
        postprocess=postprocess,
        answers="The file gives `classes`, for each pixel of its input the place of a label counted from 0, and "
        "`scores`, the probability of that class.",
        summary="tells for each pixel of an image what it shows",
        limits="It gives each pixel one of the labels above, whatever the image shows, and blurs what is small.",
    )
)
