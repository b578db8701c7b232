"""Parts of a bundle from a model of one's own: networks by role, inputs, plain settings."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks
from kerasdl.core.errors import BundleError
from kerasdl.core.keras_graph import flattened, has_nested_models
from kerasdl.core.keywords import explained
from kerasdl.deploy.samples.model_inputs import input_forms, random_arrays, structure

REMEDIES = {
    "name=": 'name="mine"',
    "task=": 'task="image_classification"',
    "preprocess=": 'preprocess={"image_shape": (H, W, C), "scale": (-1, 1)} for images',
    **dict.fromkeys(("classes", "class_names", "num_classes"), "Did you mean 'labels', the name of each output?"),
    **dict.fromkeys(("image_shape", "scale", "mean", "std"), "It belongs into preprocess={...}."),
}
explained_arguments = explained(lambda: REMEDIES)
SAME = 1e-5  # the same operations in the same order: most models are equal to the bit


def networks_of(model: keras.Model | Mapping[str, keras.Model]) -> tuple[keras.Model, dict[str, keras.Model]]:
    """Returns the network that answers and the further ones by role.

    One with models inside becomes a flat copy; the others are the very models.

    Raises:
        ArgumentError: a network, or a model inside it, is not functional or Sequential, or not built.
        BundleError: a flat copy computes something else.
    """
    model, *more = model.items() if isinstance(model, Mapping) else [("model", model)]
    model, others = model[1], dict(more)
    for each in (model, *others.values()):
        if not getattr(each, "outputs", None):
            checks.refuse("a bundle's model must be functional or Sequential, and built", type(each).__name__)
    return flat(model), {role: flat(each) for role, each in others.items()}


def flat(model: keras.Model) -> keras.Model:
    """Returns a model without models inside: a copy that was compared with it, or itself where there are none."""
    if not has_nested_models(model):
        return model
    copy = flattened(model)
    arrays = random_arrays(input_forms(model), 2, {})
    inputs = keras.tree.pack_sequence_as(structure(model), [*arrays.values()])
    expected, given = (keras.tree.flatten(each(inputs, training=False)) for each in (model, copy))
    for own, its in zip(expected, given, strict=True):
        own, its = (np.asarray(keras.ops.convert_to_numpy(each), "float32") for each in (own, its))
        finite = np.isfinite(own)
        off = float(np.abs(own - its)[finite].max(initial=0)) / max(1.0, float(np.abs(own[finite]).max(initial=0)))
        if not np.array_equal(finite, np.isfinite(its)) or off > SAME:
            rule = f"{model.name} must compute the same without models inside it; it is off by {off:.2g}"
            raise BundleError(f"{rule}. Build it of layers in one graph.")
    return copy


def inputs_of(model: keras.Model) -> list[dict[str, Any]]:
    """Returns name, shape without the batch, and dtype of each input, as a manifest holds them."""
    return [{"name": each.name, "shape": list(each.shape[1:]), "dtype": each.dtype} for each in model.inputs]


def plain_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings of a preprocessing with arrays as lists."""
    return {key: value.tolist() if hasattr(value, "tolist") else value for key, value in settings.items()}
