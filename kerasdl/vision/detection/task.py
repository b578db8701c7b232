"""Object detection task: boxes, classes and scores of the objects of an image."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.core import Task, checks, draw_objects, register_task
from kerasdl.core.keras_graph import copied
from kerasdl.core.objects import PredictedObjects
from kerasdl.core.outputs.measurement import Measurement
from kerasdl.data import Dataset, prepare_images
from kerasdl.data.detection import letterbox
from kerasdl.data.images import read_images
from kerasdl.data.trees import unpacked
from kerasdl.ops import paste_mask, read_run_lengths
from kerasdl.train.trainer import reused_trainer

from ..classification.task import check_image_settings, preparing_layers
from .detector import MIN_SCORE as LOWEST
from .detector import START, Detector
from .measuring import MIN_SCORE, file_figures, measured
from .methods import method_of
from .object_decoder import ObjectDecoder
from .object_records import resized
from .two_stage.region_heads import with_classes
from .two_stage.trainers import FasterRCNN, FastRCNN, MaskRCNN

TRAINERS = {"fast_rcnn": FastRCNN, "faster_rcnn": FasterRCNN, "mask_rcnn": MaskRCNN}
"""Trainers by the name of the first network, where it is not `Detector`."""


def detector_of(networks: Mapping[str, keras.Model]) -> Detector:
    """Returns the trainer of networks by role."""
    return TRAINERS.get(networks["model"].name, Detector)(networks)


def asked(networks: Mapping[str, keras.Model]) -> Detector:
    """Returns a trainer of networks by role that is kept for the next question, with its compiled functions."""
    return reused_trainer(detector_of, networks)


@dataclasses.dataclass(frozen=True)
class Shown:
    """Context of decoding: what is needed to bring boxes back to the raw images."""

    sizes: list[tuple[int, int]]
    """(height, width) of each raw image."""
    input_size: tuple[int, int]
    """(height, width) of the network's input."""
    min_score: float
    """Lowest score of an object that is named."""
    letterbox: bool
    """Whether the input is a letterbox of the image."""


def check_detector(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    """Checks preprocessing settings and labels against a network of raw heads; raises `ArgumentError`."""
    method_of(model)
    check_image_settings(settings, model, boxed=True)
    checks.within("min_score", settings.get("min_score", MIN_SCORE), 0.0, 1.0)
    classes = classes_of(model)
    if labels and classes is not None and len(labels) != classes:
        checks.refuse(f"a bundle must have a label for each of its {classes} classes", len(labels))


def classes_of(model: keras.Model) -> int | None:
    """Returns the number of classes of a network; None where another network of its method has them."""
    return Detector(model).classes if method_of(model).roles == ("model",) else None


def prepared(raw: Any, settings: Mapping[str, Any]) -> tuple[np.ndarray, Shown]:
    """Returns raw images as input of the network, and their sizes for `decoded`."""
    shape, scale = tuple(settings["image_shape"]), tuple(settings["scale"])
    images, boxed = read_images(raw, levels=settings.get("levels")), settings.get("letterbox", False)
    sizes = [image.shape[:2] for image in images]
    context = Shown(sizes, shape[:2], settings.get("min_score", MIN_SCORE), boxed)
    return prepare_images(images, shape, scale, letterbox=boxed), context


def detected(networks: Mapping[str, keras.Model], inputs: Any, batch_size: int) -> list[PredictedObjects]:
    """Returns the objects of prepared images, in pixels of the network's input; `decoded` drops unlikely ones."""
    return asked(networks).objects_of(inputs, batch_size=batch_size, min_score=0.0)


def decoded(predictions: Sequence[PredictedObjects], labels: Sequence[str], context: Shown) -> list[dict[str, Any]]:
    """Returns `{"boxes", "labels", "scores"}` of each image, the likeliest object first, in pixels of the raw image.

    Mask R-CNN adds `masks`, COCO's run lengths, which `kerasdl.ops.read_run_lengths` reads.
    """
    results = []
    for each, size in zip(predictions, context.sizes, strict=True):
        named = np.flatnonzero(each.scores >= context.min_score)
        masks = None if each.masks is None else [each.masks[place] for place in named]
        objects = PredictedObjects(each.boxes[named], each.classes[named], each.scores[named], masks)
        objects = resized(objects, context.input_size, size, context.letterbox)
        if labels and (objects.classes >= len(labels)).any():
            checks.refuse("a bundle must have a label for each class of its networks", len(labels))
        result = {
            "boxes": objects.boxes.tolist(),
            "labels": [labels[each] if labels else int(each) for each in objects.classes],
            "scores": objects.scores.tolist(),
        }
        results.append(result if masks is None else {**result, "masks": [mask.to_json() for mask in objects.masks]})
    return results


def ready(dataset: Dataset, settings: Mapping[str, Any]) -> Dataset:
    """Returns labelled images, resized and scaled as the network takes them, whose boxes moved with them."""
    source = dataset.source
    labels = source.labels if dataset.any_order else unpacked(getattr(source, "examples", source).element_spec)[1]
    missing = {"boxes", "classes"} - set(labels if isinstance(labels, Mapping) else ())
    if missing:
        hint = "Load them by kerasdl.data.load from a COCO, VOC or YOLO data set."
        checks.refuse("data of a detector must have boxes and classes", f"{dataset.name} without {missing}", hint)
    if not dataset.images:  # prepared already
        return dataset
    shape, scale = tuple(settings["image_shape"]), tuple(settings["scale"])
    return letterbox(dataset, shape, scale) if settings.get("letterbox") else dataset.prepared(shape, scale)


def for_labels(networks: Mapping[str, keras.Model], labels: Sequence[str]) -> tuple[dict[str, keras.Model], list[str]]:
    """Returns copies of the networks of a two-stage detector for other labels, and the names of the new layers."""
    copies, new = {"model": copied(networks["model"])}, []
    for role, network in networks.items():
        if role != "model":
            copies[role], names = with_classes(network, len(labels))
            new += names
    return copies, new


def a_row_an_object(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns a row for each object: label, score, and edges in whole pixels."""
    return [
        {"label": label, "score": score, **dict(zip(("left", "top", "right", "bottom"), map(round, box), strict=True))}
        for label, score, box in zip(result["labels"], result["scores"], result["boxes"], strict=True)
    ]


def drawn(image: Any, result: Mapping[str, Any], labels: Sequence[str]) -> np.ndarray:
    """Returns a raw image with the boxes, names, scores and masks of a result."""
    names = list(labels)
    classes = [names.index(each) if names else each for each in result["labels"]]
    masks = [read_run_lengths(each) for each in result["masks"]] if "masks" in result else None
    (pixels,) = read_images(image)
    return draw_objects(pixels, PredictedObjects(result["boxes"], classes, result["scores"], masks), names or None)


def figures(networks: Mapping[str, keras.Model], data: Dataset) -> Measurement:
    """Returns AP, AP50 and AP75 over labelled data, and what a report shows of the classes; of Mask R-CNN also
    `mask_AP` and so on."""
    detector = detector_of(networks)
    names = data.class_names or detector.classes
    if None not in detector.input_size[:2] and data.class_names and len(data.class_names) != detector.classes:
        checks.refuse(f"classes of labelled data must be those of the detector, {detector.classes}", data.class_names)
    measurement = measured(detector.objects_of, data, names)
    others = {}
    for kind in detector.finds[1:]:
        result = detector.average_precision(data, of=kind).result()
        others |= {f"{START[kind]}{name}": float(result[name]) for name in ("AP", "AP50", "AP75")}
    return dataclasses.replace(measurement, figures={**measurement.figures, **others})


def postprocess(networks: Mapping[str, keras.Model], settings: Mapping[str, Any], input_shape: tuple) -> keras.Model:
    """Returns the decoder of a network's raw heads, with suppression, as a model.

    Objects above 0.05 stay, or above `min_score` of the settings where it is lower. With `threshold_inputs` in the
    settings the model also takes the numbers of `thresholds`, one for each image.

    Args:
        networks: networks by role.
        settings: settings of the preprocessing.
        input_shape: shape of the file's images, in whose pixels boxes are given.
    """
    network = networks["model"]
    by_name = zip(network.output_names, network.outputs, strict=True)
    heads = {name: keras.Input(head.shape[1:], name=name, dtype=head.dtype) for name, head in by_name}
    size = tuple(settings["image_shape"][:2])
    lowest = min(LOWEST, settings.get("min_score", MIN_SCORE))
    places = {} if tuple(input_shape[:2]) == size else {"image_size": input_shape[:2]}
    if places and settings.get("letterbox"):
        places["letterbox"] = True
    decoder = ObjectDecoder(method_of(network).name, size, min_score=lowest, name="objects", **places)
    detector = detector_of(networks)
    raw, bounds = detector.heads_of(heads, size), {}
    if settings.get("threshold_inputs"):
        bounds = {name: keras.Input((), name=name, dtype="float32") for name in thresholds(networks, settings)}
    model = keras.Model({**heads, **bounds}, decoder(raw, thresholds=bounds or None), name="objects")
    return detector.completed(model, decoder.movement)


def thresholds(networks: Mapping[str, keras.Model], settings: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """Returns the default of each threshold that a file can take as an input, and another value to try it on."""
    overlap = method_of(networks["model"]).overlap
    score, overlap = settings.get("min_score", MIN_SCORE), 1.0 if overlap is None else overlap
    return {"min_score": (score, score / 4), "overlap": (overlap, overlap / 2)}


def _example(model: keras.Model, batch: int, seed: int) -> tuple[np.ndarray, dict[str, list]]:
    """Draws noise with up to three boxes an image, which range from small ones to one as large as the image."""
    rng = np.random.default_rng(seed)
    height, width, channels = (64 if side is None else side for side in model.input_shape[1:])
    images = rng.uniform(-1.0, 1.0, (batch, height, width, channels)).astype("float32")
    classes = (classes_of(model) if None not in model.input_shape[1:] else None) or 1
    numbers = rng.integers(1, 4, batch)
    sides = np.geomspace(0.06, 0.9, numbers.sum())[:, None] * rng.uniform(0.9, 1.1, (numbers.sum(), 2))  # (N, 2)
    corners = rng.uniform(0, 1, sides.shape) * (1 - sides)
    boxes = (np.concatenate([corners, corners + sides], axis=-1) * (width, height, width, height)).astype("float32")
    boxes = np.split(rng.permutation(boxes), np.cumsum(numbers)[:-1])
    labels = {"boxes": boxes, "classes": [rng.integers(0, classes, len(each)).astype("int32") for each in boxes]}
    if "mask_head" in method_of(model).roles:
        labels["masks"] = [np.array([paste_mask([[1]], box, (height, width)) for box in each]) for each in boxes]
    return images, labels


register_task(
    Task(
        name="object_detection",
        module=__name__,
        loss=lambda: None,
        metrics=list,
        monitor=("val_loss", "min"),
        check=check_detector,
        preprocess=prepared,
        preprocess_layers=preparing_layers,
        decode=decoded,
        replace_head=None,
        example=_example,
        predict=detected,
        trainer=detector_of,
        ready=ready,
        for_labels=for_labels,
        figures=figures,
        file_figures=file_figures,
        table=a_row_an_object,
        draw=drawn,
        postprocess=postprocess,
        thresholds=thresholds,
        answers="The file gives objects, the likeliest first: `boxes` are the left, top, right and bottom edge in "
        "pixels of its input, `classes` count the labels from 0, and the first `count` entries are objects. `masks`, "
        "where there are any, are probabilities inside each box; `kerasdl.ops.paste_mask` puts one into the image.",
        summary="finds the objects of an image, each with a box, a class and a score",
        limits="It finds objects of its own classes alone, and misses objects much smaller than those it learned from.",
    )
)
