"""Size and speed of int8 files of a full-size net: float, post-training int8 and quantisation-aware int8, in turns.

Weights are random, which changes neither. One thread, on one core where the system lets one choose; about 3 minutes.

    python benchmarks/int8_latency.py [--net mobilenet_v2] [--runs 200]
"""

import argparse
import tempfile
from pathlib import Path

import keras
import numpy as np

import kerasdl
from kerasdl.deploy import compare, export_tflite, quantize_aware


def main(name: str, runs: int) -> None:
    """Prints a table of the three files; ratios are to the float file."""
    keras.utils.set_random_seed(0)
    model = kerasdl.build(name)
    images = np.random.default_rng(0).uniform(-1, 1, (32, 224, 224, 3)).astype("float32")
    loose = {"samples": images[:2], "tolerance": float("inf")}  # random weights prove nothing of accuracy
    with tempfile.TemporaryDirectory() as folder:
        paths = {kind: Path(folder, f"{kind}.tflite") for kind in ("float", "int8 after", "int8 QAT")}
        export_tflite(model, paths["float"], **loose)
        export_tflite(model, paths["int8 after"], quantize="int8", representative=images, **loose)
        quantized = quantize_aware(model, (images, np.zeros(len(images))), epochs=0)
        quantized.export_tflite(paths["int8 QAT"], **loose)
        compared = compare(paths, runs=runs)
        print(compared.table())
        first = compared.rows[0].bytes
        print("share of the float file's size:", {row.name: round(row.bytes / first, 3) for row in compared.rows})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--net", default="mobilenet_v2")
    parser.add_argument("--runs", type=int, default=200)
    given = parser.parse_args()
    main(given.net, given.runs)
