"""Resized bundles: the same net and weights for images of another size."""

from collections.abc import Sequence

from kerasdl.core import build, checks
from kerasdl.core.errors import BundleError
from kerasdl.data.images import check_image_shape

from .bundle import Bundle
from .operations.changing import refuse_rounding


def resized(bundle: Bundle, image_shape: Sequence[int]) -> Bundle:
    """Returns a bundle with the same weights for images of another size.

    A convolutional net expects objects of a certain size in pixels: far from the size of its training it needs
    fine-tuning. The cost is proportional to the area of the images.

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
