"""Cost of attention in a convolutional net: `python benchmarks/attention.py`, two minutes.

ResNet-50 with squeeze-and-excitation, CBAM or non-local blocks beside the plain one: weights, multiply-accumulates, and
the seconds of a training step and of inference over the plain net's, in turns in one process.
"""

import statistics
import time

import kerasdl  # first, so that TensorFlow starts in silence

# isort: split
import keras
import numpy as np

from kerasdl.deploy import profile_model

NETS = ("resnet50", "se_resnet50", "cbam_resnet50", "nonlocal_resnet50")
SHAPE, BATCH, ROUNDS = (160, 160, 3), 8, 7


def main() -> None:
    """Prints the table of the page."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(BATCH, *SHAPE)).astype("float32"), rng.integers(0, 10, BATCH)
    nets = {name: kerasdl.build(name, image_shape=SHAPE, classes=10) for name in NETS}
    for net in nets.values():
        net.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    seconds = {(name, kind): [] for name in nets for kind in ("step", "inference")}
    for number in range(ROUNDS + 1):
        for name, net in nets.items():
            for kind, call in {
                "step": lambda net=net: net.train_on_batch(images, labels),
                "inference": lambda net=net: net.predict_on_batch(images),
            }.items():
                started = time.perf_counter()
                call()
                if number:  # the first round traces
                    seconds[name, kind].append(time.perf_counter() - started)
    print("| net | weights | MACs | training step | inference |\n|---|---|---|---|---|")
    for name, net in nets.items():
        ratios = [
            statistics.median(a / b for a, b in zip(seconds[name, kind], seconds[NETS[0], kind], strict=True))
            for kind in ("step", "inference")
        ]
        cost = profile_model(net)
        print(f"| `{name}` | {net.count_params():,} | {cost.macs / 1e9:.2f} G | {ratios[0]:.2f} | {ratios[1]:.2f} |")


if __name__ == "__main__":
    main()
