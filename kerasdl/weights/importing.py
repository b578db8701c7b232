"""Weight import: `import_weights` fills a model from a net of another library."""

import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl.blocks import find_head
from kerasdl.core import checks
from kerasdl.core.errors import ArgumentError, WeightsError

from . import applications, keras_hub, torch_checkpoints, torch_file
from .equivalence import BOUND, difference
from .pairing import assign, pair, weight_groups
from .report import ImportReport

FORMS = (
    '"keras-applications:NAME", "keras-hub:PRESET", "hf://owner/name", a folder or file of safetensors, '
    "a PyTorch checkpoint (.pth, .pt, .bin), a .keras file, or a Keras model"
)


def import_weights(
    model: keras.Model, source: str | os.PathLike | keras.Model, *, file: str | os.PathLike | None = None
) -> ImportReport:
    """Fills a model with the weights of a net of the same architecture from another library.

    Keras nets are paired by structure, independent of layer names; then both must give equal outputs for random inputs.
    PyTorch checkpoints are paired by name. Either all weights are imported or none. A head for another number of
    classes is unchanged, and the report says so. For nets that read blue first (VGG and ResNet of keras.applications)
    the channels of the first kernel are reversed, so that images stay red first.

    Args:
        model: a functional model of kerasdl, or one of your own with the structure of the source.
        source: `"keras-applications:MobileNetV2"`, with settings as `"keras-applications:MobileNetV2(alpha=0.35)"`;
            `"keras-hub:PRESET"`, a folder or a name; `"hf://owner/name"`, or a folder or file of safetensors; a
            PyTorch checkpoint (.pth, .pt, .bin), from which only tensors are read; a .keras file; or a Keras model. Any
            other source than a path or a model may use the network.
        file: for `keras-applications:`, a local .h5, .weights.h5 or .keras file; None downloads ImageNet's weights.

    Returns:
        The report: number of imported weights, and the pixel scaling of the source.

    Raises:
        ArgumentError: the source has an unknown form.
        WeightsError: the source does not fit (the text names the first layer that differs, with both shapes), or it
            computes something else.

    Example:
        >>> peer = keras.applications.MobileNetV2((96, 96, 3), weights=None, classes=10)
        >>> ours = kerasdl.build("mobilenet_v2", image_shape=(96, 96, 3), classes=10)
        >>> import_weights(ours, peer).head
        True
    """
    if file is not None and not str(source).startswith(applications.PREFIX):
        checks.refuse(f"file= goes with {applications.PREFIX}NAME", source)
    if isinstance(source, keras.Model):
        return _by_structure(model, source, f"the model {source.name!r}", applications.preprocess_in(source))
    text = os.fspath(source)
    if text.startswith(applications.PREFIX):
        peer = applications.build_peer(text, model, file)
        blue_first = applications.reads_blue_first(text)
        origin = text if file is None else f"{text} in {file}"
        return _by_structure(model, peer, origin, applications.preprocess_of(text, peer), blue_first=blue_first)
    if text.startswith(keras_hub.PREFIX):
        peer, preprocess = keras_hub.load(text)
        return _by_structure(model, peer, text, preprocess)
    if text.endswith(".keras"):
        peer = _loaded(text)
        return _by_structure(model, peer, text, applications.preprocess_in(peer))
    if (
        text.startswith(torch_checkpoints.REMOTE)
        or text.endswith((".safetensors", *torch_file.SUFFIXES))
        or Path(text).is_dir()
    ):
        return torch_checkpoints.load_checkpoint(model, text)
    checks.refuse(f"a source of weights must be {FORMS}", text)


def _loaded(path: str) -> keras.Model:
    try:
        return keras.models.load_model(path, compile=False, safe_mode=True)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise WeightsError(f"{path} must be a model that Keras can load; got: {str(error)[:200]}") from error


def _by_structure(
    model: keras.Model, peer: keras.Model, origin: str, preprocess: dict[str, Any] | None, *, blue_first: bool = False
) -> ImportReport:
    mine, theirs = weight_groups(model), weight_groups(peer)
    head = _head(model)
    without = bool(mine) and mine[-1].layer == head and len(theirs) == len(mine) - 1  # a source without its head
    pairs, headed = pair(mine[:-1] if without else mine, theirs, head)
    if blue_first:
        kernel, array = pairs[0]
        pairs[0] = (kernel, np.asarray(array)[:, :, ::-1])
    before = model.get_weights()
    numbers, whole = assign(pairs), headed and not without
    ends = (head, None if without else theirs[-1].layer)
    gap = difference(model, peer, head=None if whole else head, ends=ends, blue_first=blue_first)
    if gap is not None and gap > BOUND:
        model.set_weights(before)
        raise WeightsError(
            f"weights must come from a net that computes the same; {origin} has the structure of {model.name!r}, but "
            f"its answers to random inputs differ by {gap:.2g} of the largest. Padding, epsilon or activation may "
            "differ."
        )
    return ImportReport(origin, numbers, whole, preprocess, gap)


def _head(model: keras.Model) -> str | None:
    try:
        return find_head(model).name
    except ArgumentError:
        return None
