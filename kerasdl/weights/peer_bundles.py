"""Bundles with imported weights, ready for fine-tuning."""

import os
from pathlib import Path
from typing import Any

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.core import build, checks, list_models, spec

from .applications import PREFIX
from .importing import import_weights
from .text_bundles import is_text_folder, text_bundle

KIND = "keras-applications"


def bundle_from(
    source: str,
    *,
    model: str | None = None,
    file: str | os.PathLike | None = None,
    image_shape: tuple[int, int, int] | None = None,
    **arguments: Any,
) -> Bundle:
    """Returns a bundle of a kerasdl net with imported weights and the preprocessing of their source.

    Of a folder of a text encoder or classifier it has the tokenizer, the labels and the pooling too.

    Args:
        source: as in `import_weights`, a text.
        model: the name of the kerasdl net; None takes that of a `keras-applications:` net from the registry, or the one
            that the config.json of a folder of texts describes.
        file: as in `import_weights`.
        image_shape: height, width and channels in pixels; None takes the net's own.
        **arguments: further arguments of the net's function.

    Returns:
        A bundle with the name of the net and numbered labels, or those of the folder.

    Raises:
        ArgumentError: no kerasdl net is known for the source.
        UnknownNameError: there is no such net in kerasdl or in the source library.
        WeightsError: the weights do not fit.

    Example:
        >>> peer = keras.applications.MobileNet((64, 64, 3), weights=None, alpha=0.25)
        >>> peer.save_weights("peer.weights.h5")
        >>> source = "keras-applications:MobileNet(alpha=0.25)"
        >>> bundle_from(source, file="peer.weights.h5", image_shape=(64, 64, 3)).preprocess["scale"]
        (-1.0, 1.0)
    """
    if is_text_folder(source):
        for key, value in {"file": file, "image_shape": image_shape}.items():
            if value is not None:
                checks.refuse(f"a folder of a text net takes no {key}=", value)
        return text_bundle(source, model, **arguments)
    name = model or _ours(source)
    sized = {} if image_shape is None else {"image_shape": tuple(image_shape)}
    settings = {"classes": 1000, **spec(name).arguments, **arguments, **sized}
    net = build(name, **settings)
    report = import_weights(net, source, file=file)
    return Bundle.of(
        net,
        name=name,
        task=spec(name).task,
        preprocess={"image_shape": net.input_shape[1:], **(report.preprocess or {"scale": (-1.0, 1.0)})},
        labels=[f"class {number}" for number in range(settings["classes"])],
        builder=name,
        arguments=settings,
        provenance={
            "weights from": source if file is None else f"{source}, {Path(file).name}",
            "head": "the peer's" if report.head else "fresh",
            "preprocessing": "the peer's" if report.preprocess else "assumed",
            "kerasdl": kerasdl.__version__,
        },
    )


def _ours(source: str) -> str:
    if not source.startswith(PREFIX):
        checks.refuse("model= must name the kerasdl net for this source", source)
    peers = {spec(name).weights[KIND]: name for name in list_models() if KIND in spec(name).weights}
    return peers[checks.known_name("net of keras.applications that kerasdl has", source.removeprefix(PREFIX), peers)]
