"""Resized bundles: the same net and weights for images of another size."""

from collections.abc import Sequence

import keras

from kerasdl.core import build, checks
from kerasdl.core.errors import BundleError
from kerasdl.data import DataWarning
from kerasdl.data.images import check_image_shape

from .bundle import Bundle
from .operations.changing import refuse_rounding


def resized(bundle: Bundle, image_shape: Sequence[int]) -> Bundle:
    """Returns a bundle with the same weights for images of another size.

    A convolutional net expects objects of a certain size in pixels: far from the size of its training it needs
    fine-tuning. The cost is proportional to the area of the images. Images so small that a single place is left of
    the last feature map teach next to nothing: a `DataWarning` names the size from which on there are more.

    Args:
        bundle: a bundle of images whose net was built by kerasdl.
        image_shape: (height, width, channels) in pixels, with the bundle's number of channels.

    Returns:
        A new bundle, without figures, since these were measured at the other size.

    Raises:
        ArgumentError: the shape breaks its rule.
        BundleError: the net has no registered builder, or its weights depend on the size, as learned positions do.

    Example:
        >>> resized(kerasdl.load_bundle("imagenet_efficientnet_lite0"), (96, 96, 3)).model.input_shape
        (None, 96, 96, 3)
    """
    shape = check_image_shape(tuple(image_shape))
    before = bundle.preprocess.get("image_shape")
    if before is None or shape[2] != before[2]:
        checks.refuse("image_shape must have the channels of the bundle's images", shape, f"It takes {before}.")
    if bundle.quantized is not None:
        refuse_rounding(bundle, "resized")
    manifest = bundle.manifest
    if not manifest.builder:
        raise BundleError(f"{bundle.name}: a bundle is resized by its builder; this one holds a model of its own.")
    arguments = {**manifest.arguments, "image_shape": list(shape)}
    if bundle.labels:
        arguments |= bundle.task.label_arguments(bundle.labels)
    model = build(manifest.builder, **arguments)
    old, new = bundle.model.weights, model.weights
    different = [(a.path, tuple(a.shape), tuple(b.shape)) for a, b in zip(old, new, strict=False) if a.shape != b.shape]
    if different or len(old) != len(new):
        raise BundleError(
            f"{bundle.name}: weights must not depend on the size of the images; got {different[:1]} at {shape}. "
            "Fine-tune a bundle of a net of convolutions."
        )
    model.set_weights(bundle.model.get_weights())
    _warn_of_a_single_place(bundle, model)
    return Bundle.of(
        model,
        name=bundle.name,
        task=bundle.task,
        preprocess={**bundle.preprocess, "image_shape": shape},
        labels=bundle.labels,
        builder=manifest.builder,
        arguments=arguments,
        provenance={**manifest.provenance, "resized from": tuple(before)},
        licence=manifest.licence,
    )


def _warn_of_a_single_place(bundle: Bundle, smaller: keras.Model) -> None:
    """Warns of a net whose last feature map has one row or column, if that of the bundle has more."""
    before, after = _last_map(bundle.model), _last_map(smaller)
    if not before or not after or min(before) < 2 or min(after) > 1:
        return
    sides = smaller.input_shape[1:3]
    stride = max(-(-side // places) for side, places in zip(bundle.model.input_shape[1:3], before, strict=True))
    shown, ours = (f"{rows}x{columns}" for rows, columns in (after, before))
    rule = f"{bundle.name}: images of {sides[0]}x{sides[1]} pixels leave {shown} places of the last feature map"
    remedy = f"Take a larger size, such as {2 * stride}x{2 * stride}"
    checks.warn(f"{rule} (its own size {ours}), too few to learn much from. {remedy}.", DataWarning)


def _last_map(model: keras.Model) -> tuple[int, int] | None:
    """Returns rows and columns of the map before the last global pooling, or else of the smallest output."""
    kinds = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D)
    pools = [layer for layer in model.layers if isinstance(layer, kinds)]
    maps = [pools[-1].input] if pools else model.outputs
    sides = [tuple(each.shape[1:3]) for each in maps if len(each.shape) == 4 and None not in each.shape[1:3]]
    return min(sides, default=None)
