"""Parts that the makers of embedded bundles share: a bundle with its provenance, and its place in the package."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from kerasdl.bundles import Bundle
from kerasdl.bundles.listing import EMBEDDED


def bundle_of(
    network: keras.Model,
    *,
    name: str,
    task: str,
    preprocess: Mapping[str, Any],
    builder: str,
    arguments: Mapping[str, Any],
    made_by: str,
    data: str,
    data_licence: str,
    epochs: int,
    seed: int,
    labels: Sequence[str] = (),
) -> Bundle:
    """Returns a bundle of a trained network, whose provenance says how it was made.

    Args:
        network: the network.
        name: name of the bundle.
        task: its task.
        preprocess: settings of its preprocessing.
        builder: the registered model it was built from.
        arguments: those of the builder.
        made_by: the file of its maker, `__file__` there.
        data: the data in words.
        data_licence: their terms.
        epochs: of the training.
        seed: of everything.
        labels: the name of each output.
    """
    provenance = {"made by": f"tools/{Path(made_by).name}", "data": data, "data licence": data_licence}
    return Bundle.of(
        network,
        name=name,
        task=task,
        preprocess=preprocess,
        labels=labels,
        builder=builder,
        arguments=arguments,
        provenance={**provenance, "epochs": epochs, "seed": seed},
        licence="Apache-2.0",
    )


def embed(bundle: Bundle, folder: Path = EMBEDDED, *, half: bool = False) -> Path:
    """Writes an embedded bundle, and prints its size and its figures.

    Args:
        bundle: the bundle.
        folder: where it goes.
        half: whether kernels are kept as float16.
    """
    path = bundle.save(folder / f"{bundle.name}.zip", half=half)
    print(bundle.name, f"{path.stat().st_size:,} bytes", bundle.manifest.metrics)
    return path
