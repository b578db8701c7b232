"""Seeds for augmentation and mixing, and the pipeline stages that use them."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks

from ..augment.chains import Chain, Sometimes
from ..augment.scene_mixing import SceneMix, check_scenes
from ..augment.transforms import Transform
from ..trees import MAPS, MOVING, packed, unpacked

AHEAD = 8
"""Number of batches that are prefetched."""
IGNORED = 255
"""Class of a pixel of a semantic map outside of the image, and of others that do not count."""
STALE = ("areas",)
"""Labels of pixels that a change of the image would make wrong: they serve the evaluation alone, and are taken out."""


def augment_seeds(seed: int, epoch: int, size: int) -> np.ndarray:
    """Returns a seed for each position in the order of an epoch, int32 (size, 2)."""
    return np.random.default_rng((seed, epoch, 1)).integers(0, 2**31, (size, 2), np.int32)


def mixing_seeds(seed: int, epoch: int, steps: int) -> np.ndarray:
    """Returns a seed for each batch of an epoch, int32 (steps, 2)."""
    return np.random.default_rng((seed, epoch, 2)).integers(0, 2**31, (steps, 2), np.int32)


def augmented(pipeline: tf.data.Dataset, augment: Callable, seeds: np.ndarray, batched: Callable) -> tf.data.Dataset:
    """Returns batches with `augment` applied to each example, each with its own seed.

    Args:
        pipeline: batches.
        augment: a function from the inputs of one example and a seed to inputs of the same shape.
        seeds: one per example.
        batched: a function that batches the examples again.

    Raises:
        ArgumentError: boxes or masks would not move with their image.
    """
    check_moves(augment, pipeline.element_spec)

    @tf.autograph.experimental.do_not_convert  # autograph would hide the errors of augment
    def one(example, seed):
        inputs, labels, weights = unpacked(example)
        bare = None if isinstance(labels, Mapping) else _map_kind(labels, inputs)
        if isinstance(labels, Mapping) and set(MOVING) & set(labels):
            changed, labels = _with_targets(augment, inputs, labels, seed)
        elif bare is not None and isinstance(augment, Transform):
            changed, moved = _with_targets(augment, inputs, {bare: labels}, seed)
            labels = moved[bare]
        else:
            changed = augment(inputs, seed)
        same = tf.nest.map_structure(lambda new, old: tf.ensure_shape(new, old.shape), changed, inputs)
        return packed(same, labels, weights)

    examples = tf.data.Dataset.zip(pipeline.unbatch(), tf.data.Dataset.from_tensor_slices(seeds))
    return batched(examples.map(one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True))


def check_moves(augment: Callable, spec: Any) -> None:
    """Refuses an augmentation that does not move boxes and maps, or a transform of one image for several inputs.

    Args:
        augment: as in `augmented`.
        spec: spec of the batches.

    Raises:
        ArgumentError: in both cases, for bare maps of classes of floating type, whose outside has no value, and for
            maps under a name that does not move.
    """
    inputs, labels, _ = unpacked(spec)
    image = tf.TensorSpec(inputs.shape[1:], inputs.dtype) if isinstance(inputs, tf.TensorSpec) else None
    one = tf.TensorSpec(labels.shape[1:], labels.dtype) if isinstance(labels, tf.TensorSpec) else None
    bare = _map_kind(one, image)
    if isinstance(labels, Mapping) and image is not None:
        _refuse_still_maps(augment, labels, image)
    moving = ["maps"] if bare == "semantic" else []
    moving += sorted(set(MOVING) & set(labels)) if isinstance(labels, Mapping) else []
    name = getattr(augment, "__name__", type(augment).__name__)
    if moving and not isinstance(augment, Transform):
        hint = "Take transforms of kerasdl.data.augment, or a subclass of Transform with its own with_targets."
        checks.refuse(f"augment must move {' and '.join(moving)} with their image", name, hint)
    is_flat = bare == "pixel_weights" and (one.shape.rank == 2 or one.shape[-1] == 1) and one.shape != image.shape
    if is_flat and isinstance(augment, Transform):
        hint = "Pass classes as whole numbers, or as {'semantic': maps}."
        checks.refuse("augment must have maps of whole numbers to move with their image", one.dtype.name, hint)
    if isinstance(augment, Transform) and tf.nest.is_nested(inputs):
        hint = "Pass a function of all inputs, nested as they are, that applies the transform to one."
        checks.refuse("augment must take one image, where data have one input", f"{name} for several inputs", hint)


def _refuse_still_maps(augment: Callable, labels: Mapping, image: tf.TensorSpec) -> None:
    """Refuses labels of the size of the image that would stand still while it moves.

    What a function of yours does is not known: of it maps of classes are refused alone.
    """
    maps = {
        name: _map_kind(tf.TensorSpec(each.shape[1:], each.dtype), image)
        for name, each in labels.items()
        if isinstance(each, tf.TensorSpec) and name not in MOVING
    }
    refused = ("semantic",)
    if isinstance(augment, Transform):
        refused = ("semantic", "pixel_weights") if _changes_places(augment) else ()
    if still := [name for name, kind in maps.items() if kind in refused]:
        hint = "Call maps of classes 'semantic' and other numbers of pixels 'pixel_weights', or take them out."
        checks.refuse(f"labels of the size of the image must be called one of {MOVING} to move with it", still, hint)


def _changes_places(augment: Transform) -> bool:
    """Tells whether a transform moves pixels, or may do so."""
    if isinstance(augment, (Chain, Sometimes)):
        parts = augment.transforms if isinstance(augment, Chain) else (augment.transform,)
        return any(_changes_places(each) for each in parts)
    return type(augment).with_targets is not Transform.with_targets


def _map_kind(labels: Any, image: Any) -> str | None:
    """Returns the name in `MAPS` by whose rule bare labels of one example move with their image.

    Whole numbers of the height and width of the image are a map of classes, `semantic`; other numbers, such as an image
    to be restored, are 0 outside like `pixel_weights`. Labels of another form do not move: None.
    """
    if not all(isinstance(each, (tf.Tensor, tf.TensorSpec)) for each in (labels, image)):
        return None
    if image.shape.rank != 3 or labels.shape.rank not in (2, 3) or None in image.shape[:2]:
        return None
    if labels.shape[:2] != image.shape[:2]:
        return None
    return "semantic" if labels.dtype.is_integer or labels.dtype.is_bool else "pixel_weights"


def _with_targets(augment: Transform, image: tf.Tensor, labels: Mapping, seed: tf.Tensor) -> tuple[tf.Tensor, dict]:
    """Returns a moved image with its labels; labels of boxes that are no longer visible are removed."""
    labels = {name: part for name, part in labels.items() if name not in STALE}
    targets = {name: labels[name] for name in ("boxes", "masks") if name in labels}
    by_object = "masks" in targets and targets["masks"].shape.rank == 3 and targets["masks"].shape[0] is None
    if by_object:  # (N, H, W), as a Dataset holds them
        targets["masks"] = tf.transpose(targets["masks"], (1, 2, 0))
    moved_targets = augment.with_targets(image, seed, **targets)
    moved = {**labels, **{name: moved_targets[name] for name in targets}}
    if by_object:
        moved["masks"] = tf.ensure_shape(tf.transpose(moved["masks"], (2, 0, 1)), labels["masks"].shape)
    for name in [each for each in MAPS if each in labels]:
        targets["masks"] = _before_move(name, labels[name])  # another map, moved by the same seed
        after = _after_move(name, augment.with_targets(image, seed, **targets)["masks"], labels[name].dtype)
        moved[name] = tf.ensure_shape(after, labels[name].shape)
    if "kept" not in moved_targets:
        return moved_targets["image"], moved

    def visible(name: str, part: tf.Tensor) -> tf.Tensor:
        if name in MAPS:
            return part
        if name == "masks" and not by_object:
            each = part.shape.rank == 3 and part.shape[-1] is None
            return tf.boolean_mask(part, moved_targets["kept"], axis=2) if each else part
        return tf.boolean_mask(part, moved_targets["kept"]) if part.shape.rank and part.shape[0] is None else part

    return moved_targets["image"], {name: visible(name, part) for name, part in moved.items()}


def _before_move(name: str, labels: tf.Tensor) -> tf.Tensor:
    """Returns a map of whose values none is 0, which the outside of the image becomes; others as they are.

    Raises:
        ArgumentError: the map is of booleans, which have no value for pixels that do not count.
    """
    if name == "semantic" and labels.dtype.is_bool:
        checks.refuse("augment must have maps of whole numbers to move with their image", "bool", "Pass them as uint8.")
    return tf.cast(labels, tf.int32) + 1 if name == "semantic" else labels


def _after_move(name: str, moved: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Returns a moved map as it was before, with `IGNORED` outside of the image."""
    return tf.cast(tf.where(moved == 0, IGNORED, moved - 1), dtype) if name == "semantic" else moved


def mixed(pipeline: tf.data.Dataset, mix: Callable, seeds: np.ndarray) -> tf.data.Dataset:
    """Returns batches with `mix` applied to each, each with its own seed.

    Raises:
        ArgumentError: the batches are not pairs of one array of inputs and one of labels, or not scenes for `SceneMix`.
    """
    inputs, labels, weights = unpacked(pipeline.element_spec)
    scenes = isinstance(mix, SceneMix) and isinstance(labels, Mapping)
    if scenes:
        check_scenes({name: part for name, part in labels.items() if name not in STALE})
    if labels is None or weights is not None or tf.nest.is_nested(inputs) or (tf.nest.is_nested(labels) and not scenes):
        kind = "unlabelled data" if labels is None else "sample weights" if weights is not None else "several arrays"
        checks.refuse("mix needs one array of inputs and one of labels, unweighted", kind, "Blend them in a map.")

    @tf.autograph.experimental.do_not_convert  # autograph would hide the errors of mix
    def one(batch, seed):
        images, labels = batch
        if scenes:
            labels = {name: part for name, part in labels.items() if name not in STALE}
        return mix(images, labels, seed)

    batches = tf.data.Dataset.zip(pipeline, tf.data.Dataset.from_tensor_slices(seeds))
    return batches.map(one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def ready(pipeline: tf.data.Dataset) -> tf.data.Dataset:
    """Returns a prefetched, deterministic pipeline.

    Maps run on all cores, up to 16. With TensorFlow's tuning, closing the pipeline sometimes takes up to a minute: the
    tuning thread may miss its stop signal.
    """
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    return pipeline.prefetch(AHEAD).with_options(options)
