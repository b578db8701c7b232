"""`import_weights`: the weights of a peer's net in one of ours."""

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
    """Fills a model with the weights of another library's net of the same architecture.

    Keras nets are paired by structure, whatever their layers are called; then both must answer random inputs alike.
    PyTorch checkpoints are paired by name. Either all weights are taken or none. A head for another number of classes
    is left as it is, and the report says so. Nets that read blue first (VGG and ResNet of keras.applications) get the
    channels of their first kernel turned round, so that images stay red first.

    Args:
        model: a functional model of ours, or of your own with the structure of the source.
        source: `"keras-applications:MobileNetV2"`, with settings as `"keras-applications:MobileNetV2(alpha=0.35)"`;
            `"keras-hub:PRESET"`, a folder or a name; `"hf://owner/name"`, or a folder or file of safetensors; a
            PyTorch checkpoint (.pth, .pt, .bin), of which nothing but tensors is read; a .keras file; or a Keras
            model. What is no path and no model may reach the network.
        file: for `keras-applications:`, a local .h5, .weights.h5 or .keras file; without it ImageNet's weights are
            fetched.

    Returns:
        What was taken, and what the peer does to pixels.

    Raises:
        ArgumentError: the source has no known form.
        WeightsError: it does not fit, where the text names the first layer that differs, with both shapes, or it
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
        turned = applications.reads_blue_first(text)
        told = text if file is None else f"{text} in {file}"
        return _by_structure(model, peer, told, applications.preprocess_of(text, peer), blue_first=turned)
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
    model: keras.Model, peer: keras.Model, told: str, preprocess: dict[str, Any] | None, *, blue_first: bool = False
) -> ImportReport:
    mine, theirs = weight_groups(model), weight_groups(peer)
    head = _head(model)
    without = bool(mine) and mine[-1].layer == head and len(theirs) == len(mine) - 1  # a peer without its top
    pairs, headed = pair(mine[:-1] if without else mine, theirs, head)
    if blue_first:
        kernel, array = pairs[0]
        pairs[0] = (kernel, np.asarray(array)[:, :, ::-1])
    before = model.get_weights()
    numbers, whole = assign(pairs), headed and not without
    ends = (head, None if without else theirs[-1].layer)
    found = difference(model, peer, head=None if whole else head, ends=ends, blue_first=blue_first)
    if found is not None and found > BOUND:
        model.set_weights(before)
        raise WeightsError(
            f"weights must come from a net that computes the same; {told} has the structure of {model.name!r}, but its "
            f"answers to random inputs differ by {found:.2g} of the largest. Padding, epsilon or activation may differ."
        )
    return ImportReport(told, numbers, whole, preprocess, found)


def _head(model: keras.Model) -> str | None:
    try:
        return find_head(model).name
    except ArgumentError:
        return None
