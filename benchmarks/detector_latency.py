"""Latency of detectors as files: TFLite float32 and int8, ONNX and the Keras graph, decoding and suppression inside.

    python benchmarks/detector_latency.py                       # all one-stage detectors and DETR at 320 x 320 pixels
    python benchmarks/detector_latency.py ssdlite320 yolo_v8_n
    python benchmarks/detector_latency.py --table               # what was measured so far

Each detector is a line of JSON in `detector_latency.jsonl` of the working folder, and is not measured again. Weights
are random, which changes no time before suppression. The kinds of one detector run in turns, on one thread; the export
takes one to five minutes each.
"""

import tempfile
from functools import partial
from pathlib import Path

import kept_lines
import keras
import numpy as np

import kerasdl
from kerasdl.core import get_task
from kerasdl.deploy import compare, export_with_postprocess
from kerasdl.deploy.postprocessing import joined_models

RESULTS = Path("detector_latency.jsonl")
SIDES = {"ssd300": 300}  # of the nets that fix their own; 320 of all others
NETS = ("ssdlite320", "yolo_v8_n", "yolo_v8_s", "centernet", "fcos", "retinanet", "ssd300", "detr", "yolo_v3")
FLOAT_ALONE = ("detr",)
KINDS = ("Keras", "TFLite float32", "TFLite int8", "ONNX")


def measured(name: str, runs: int = 30) -> dict:
    """Returns the median milliseconds and the megabytes of each kind of one detector."""
    keras.utils.set_random_seed(0)
    shape = (SIDES.get(name, 320),) * 2 + (3,)
    network = kerasdl.build(name, image_shape=shape)
    settings = {"image_shape": shape, "min_score": 0.05}
    objects = get_task("object_detection").postprocess({"model": network}, settings, shape)
    images = np.random.default_rng(0).uniform(-1, 1, (24, *shape)).astype("float32")
    loose = {"samples": images[:1], "tolerance": float("inf")}  # random weights prove nothing of accuracy
    with tempfile.TemporaryDirectory() as folder:
        sources = {"Keras": joined_models(network, objects)}
        for kind, suffix in zip(KINDS[1:], (".tflite", ".tflite", ".onnx"), strict=True):
            if kind == "TFLite int8" and name in FLOAT_ALONE:
                continue
            path = Path(folder, kind.replace(" ", "_") + suffix)
            integers = {"quantize": "int8", "representative": images} if kind == "TFLite int8" else {}
            export_with_postprocess(network, objects, path, **integers, **loose)
            sources[kind] = path
        rows = compare(sources, runs=runs).rows
    row = {"side": shape[0], "weights": network.count_params()}
    return row | {each.name: [round(each.median_ms, 1), round(each.bytes / 1e6, 1)] for each in rows}


def table() -> None:
    """Prints milliseconds and, of files, megabytes."""
    print(f"{'net':12}{'side':>6}{'weights':>12}" + "".join(f"{kind:>20}" for kind in KINDS))
    for row in kept_lines.rows(RESULTS):
        cells = [f"{row[kind][0]:.1f} ms {row[kind][1]:6.1f} MB" if kind in row else "-" for kind in KINDS]
        print(f"{row['net']:12}{row['side']:>6}{row['weights']:>12,}" + "".join(f"{cell:>20}" for cell in cells))


def main() -> None:
    """Measures what is missing, and prints the table."""
    asked = kept_lines.asked(__doc__, NETS, kind="net", seeds=None)
    kept_lines.measure(RESULTS, ("net",), {(name,): partial(measured, name) for name in asked.names if not asked.table})
    table()


if __name__ == "__main__":
    main()
