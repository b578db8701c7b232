"""Maps of classes of data that tensorflow-datasets has prepared on this machine, read without network access."""

import os
from dataclasses import dataclass

import numpy as np

from kerasdl.core.errors import DataError

from .. import sources
from ..dataset import Dataset
from ..detection.scenes import SEMANTIC
from ..images import to_pixels
from ..sources import Examples
from ..tfds_source import first_examples, prepared_builder
from ..trees import RaggedMaps, resized_maps
from .mask_classes import IGNORED


@dataclass(frozen=True)
class MaskFeature:
    """Feature of a tfds dataset that holds maps of classes."""

    name: str
    class_names: tuple[str, ...]
    values: tuple[int, ...]
    """Value of each class in the feature."""


FEATURES = {"oxford_iiit_pet": MaskFeature("segmentation_mask", ("pet", "background", "border"), (1, 2, 3))}


def read_tfds_masks(
    name: str,
    split: str = "train",
    *,
    size: int | None = None,
    image_shape: tuple | None = None,
    data_dir: str | os.PathLike | None = None,
) -> Dataset:
    """Returns the images of a prepared tfds dataset with their maps of classes, in memory.

    Known is `oxford_iiit_pet`: its values 1 to 3 become the classes pet, background and border.

    Args:
        name: NAME, NAME/CONFIG or NAME/CONFIG:1.2.3.
        split: a split of the dataset, or a slice as tfds writes it (`train[:90%]`).
        size: the first examples; None takes all.
        image_shape: (height, width, channels) at which images are kept, maps with them; None keeps their own size.
        data_dir: folder of tfds, instead of TFDS_DATA_DIR or ~/tensorflow_datasets.

    Returns:
        A `Dataset` of raw images with the labels {"semantic": (H, W) uint8}.

    Raises:
        ArgumentError: the name, the split or the size breaks its rule.
        DataError: the dataset is not known or not prepared, its masks hold other values, or it does not fit in memory.

    Example:
        >>> read_tfds_masks("oxford_iiit_pet", data_dir="nowhere")
        Traceback (most recent call last):
        kerasdl.core.errors.DataError: tfds dataset 'oxford_iiit_pet' is not prepared: ...
    """
    feature = FEATURES.get(name.partition(":")[0].partition("/")[0])
    if feature is None:
        hint = "Read it with tfds, and pass arrays or a tf.data.Dataset with the labels {'semantic': maps}."
        raise DataError(f"maps of classes are known of the tfds datasets {', '.join(FEATURES)}; got {name!r}. {hint}")
    builder = prepared_builder(name, data_dir)
    if not {"image", feature.name} <= set(builder.info.features):
        raise DataError(f"tfds dataset {name!r} has no feature {feature.name!r} in this version. Prepare a newer one.")
    examples, size = first_examples(builder, name, split, size)
    table = np.full(256, IGNORED, np.uint8)
    table[list(feature.values)] = np.arange(len(feature.values))
    images, maps, taken = [], [], 0
    for example in examples.as_numpy_iterator():
        image, mask = example["image"], example[feature.name][..., 0]
        if mask.shape != image.shape[:2] or not np.isin(mask, feature.values).all():
            rule = f"masks of {name} must be of their image's size and hold the values {feature.values}"
            raise DataError(f"{rule}; got {mask.shape} for {image.shape[:2]}, up to {mask.max()}. Prepare it again.")
        labels = table[mask]
        if image_shape is not None:
            image = to_pixels(image, image_shape)
            labels = resized_maps(labels[np.newaxis], *image.shape[:2])[0]
        images.append(image)
        maps.append(labels)
        taken += image.nbytes + labels.nbytes
        if taken > sources.MEMORY_LIMIT:
            rule = f"images of {name} must fit in {sources.MEMORY_LIMIT:,} bytes; {len(images)} of {size} do"
            raise DataError(f"{rule}. Pass image_shape=, or fewer by size=.")
    sizes = {each.shape for each in images}
    same = len(sizes) == 1
    return Dataset(
        name=f"tfds:{name}",
        task=SEMANTIC,
        class_names=feature.class_names,
        input_shape=images[0].shape if same else (None, None, images[0].shape[2]),
        input_dtype="uint8",
        size=size,
        licence=builder.info.redistribution_info.license or "not stated",
        seekable=True,
        scale=None,
        source=Examples(
            np.stack(images) if same else images, {"semantic": np.stack(maps) if same else RaggedMaps.of(maps)}
        ),
        images=True,
    )
