"""TensorFlow SavedModels, traced for inference."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core.errors import ExportError

from .exporting import Target, export
from .parity import ExportReport
from .tracing import Program, first_line, in_batches, third_party

SIGNATURE = "serving_default"


def export_saved_model(
    model: keras.Model, path: str | os.PathLike, *, samples: Any = None, tolerance: float | None = None
) -> ExportReport:
    """Writes a model as a SavedModel folder with the signature `serving_default`, runs it and compares.

    It is traced with `training=False`: unlike `model.export`, random augmentation inside the graph is off.

    Args:
        model: a built model of one's own or of kerasdl; the batch size is free or 1.
        path: the folder to write; for TensorFlow Serving `<name>/<version>`.
        samples: real inputs to compare on besides random ones: an array, a list or dict of arrays, a pair (x, y), or
            a dataset.
        tolerance: bound on max|file - model| over max(1, max|model|), each output; 1e-4 if None.

    Returns:
        The report of the export.

    Raises:
        ArgumentError: an argument breaks its rule.
        ExportError: the model cannot be written, or the folder does not compute what the model does; nothing is left.

    Example:
        >>> export_saved_model(model, "served/1").worst_relative < 1e-4
        True
    """
    target = Target(
        format="SavedModel",
        suffix="",
        measure="relative",
        tolerance=1e-4,
        remedy="Layers that ignore training=False or keep state between calls cannot be served.",
        write=write,
        run=run_file,
        inspect=_inspect,
    )
    return export(model, path, target, samples, tolerance)


def write(program: Program, folder: Path, batch: int | None = None) -> None:
    """Writes a program as a SavedModel for batches of one size (None: any)."""
    try:
        with third_party():
            archive = keras.export.ExportArchive()
            archive.track(program.model)
            archive.add_endpoint(SIGNATURE, program.traced(batch))
            archive.write_out(str(folder), verbose=False)
    except Exception as error:
        raise _refusal(error) from error


def _refusal(error: Exception) -> ExportError:
    if "unroll" in str(error):
        return ExportError(
            "recurrent layers in integers must have a fixed number of time steps; this model leaves it free. "
            "Build it with Input((steps, ...)), or export with quantize='dynamic'."
        )
    return ExportError(f"the model must run as a TensorFlow graph; tracing it failed: {first_line(error)}")


def input_names(folder: Path) -> list[str]:
    """Returns the names of the inputs of a SavedModel."""
    with third_party():
        return list(tf.saved_model.load(str(folder)).signatures[SIGNATURE].structured_input_signature[1])


def run_file(folder: Path, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs the signature of a SavedModel folder; returns its outputs by name."""
    with third_party(), tf.device("/cpu:0"):
        serve = tf.saved_model.load(str(folder)).signatures[SIGNATURE]
        sizes = [spec.shape[0] for spec in serve.structured_input_signature[1].values()]

        def run(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            outputs = serve(**{name: tf.constant(array) for name, array in batch.items()})
            return {name: value.numpy() for name, value in outputs.items()}

        return in_batches(sizes[0], arrays, run)


def graph_nodes(folder: Path) -> list:
    """Returns the nodes of a written SavedModel's graph, those of its functions included."""
    with third_party():
        graph = tf.saved_model.load(str(folder)).signatures[SIGNATURE].graph.as_graph_def()
    return [*graph.node, *(node for function in graph.library.function for node in function.node_def)]


def _inspect(folder: Path) -> tuple[dict[str, int], tuple[str, ...]]:
    return dict(sorted(Counter(node.op for node in graph_nodes(folder)).items())), ()
