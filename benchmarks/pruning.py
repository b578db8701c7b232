"""Cost in accuracy and gain in size of pruning and clustering: nets trained on digits, measured on the test images.

python benchmarks/pruning.py [--nets resnet18 mobilenet_v2]
"""

import argparse

import keras
import numpy as np
from quantization import EPOCHS, digits, small

from kerasdl.deploy import cluster, compression_report, prune
from kerasdl.train import RunConfig, fit

# Nets with weights to spare, as those that one prunes have.
NETS = {
    "resnet18": {"stages": (1, 1, 1), "channels": 24},
    "mobilenet_v2": {"width": 1.0, "stages": ((1, 16, 1, 1), (6, 24, 2, 2), (6, 48, 2, 2)), "last_channels": 256},
}
TUNING = RunConfig(epochs=16, learning_rate=1e-3, schedule="cosine", clip_norm=1.0, progress="off")
WAYS = {
    "70 % zeros": lambda model, train: prune(model, train, 0.7, config=TUNING),
    "2:4": lambda model, train: prune(model, train, pattern="2:4", config=TUNING),
    "16 values": lambda model, train: cluster(model, train, 16, config=TUNING),
}


def main(nets: list[str]) -> None:
    """Prints a row for each net and method."""
    train, validation, test = digits()
    print(f"{'net':14} {'way':12} {'before':>7} {'after':>7} {'gzip':>5} {'latency':>7}")
    for name in nets:
        keras.utils.set_random_seed(0)
        model = small(name, NETS[name])
        config = RunConfig(epochs=EPOCHS, learning_rate=3e-3, schedule="cosine", progress="off")
        fit(model, train, validation=validation, config=config)
        for way, compress in WAYS.items():
            after = compress(model, train)
            report = compression_report(model, after, runs=200)
            before_after = [accuracy(each, test) for each in (model, after)]
            print(
                f"{name:14} {way:12} {before_after[0]:7.4f} {before_after[1]:7.4f} {report.gzip_ratio:5.2f} "
                f"{report.latency_ratio:7.2f}",
                flush=True,
            )


def accuracy(model: keras.Model, data) -> float:
    """Returns the accuracy of a model."""
    inputs, labels = data.arrays()
    return float(np.mean(model.predict(inputs, verbose=0).argmax(-1) == labels))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nets", nargs="+", choices=tuple(NETS), default=list(NETS))
    main(parser.parse_args().nets)
