"""Speed of the nets compared with keras.applications and KerasHub: `python benchmarks/backbones.py`, 25 minutes.

Building, a training step and inference, in turns in one process; ratios of their seconds to ours, so that above 1 ours
is faster. `python benchmarks/backbones.py --nets mobilenet_v2 swin_tiny` chooses. KerasHub takes part where it is
installed.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import kerasdl  # first, so that TensorFlow starts in silence

# isort: split
import keras
import numpy as np

ROUNDS, BUILDS = 9, 5
SIDE, BATCH = 128, 8
# Ours takes any size: VGG pools to 7 x 7 before its dense layers, Swin pads to whole windows. Theirs are made for this.
SIDES = {"vgg16": 224, "swin_tiny": 224}


def peers() -> dict[str, Callable]:
    """Returns, by name of a kerasdl net, the function that builds the other library's net for an image shape."""
    applications = {
        "mobilenet": "MobileNet",
        "mobilenet_v2": "MobileNetV2",
        "mobilenet_v3_large": "MobileNetV3Large",
        "vgg16": "VGG16",
        "inception_v3": "InceptionV3",
        "xception": "Xception",
        "resnet50_keras": "ResNet50",
        "resnet50_v2": "ResNet50V2",
        "densenet121": "DenseNet121",
        "efficientnet_b0": "EfficientNetB0",
        "efficientnet_v2_b0": "EfficientNetV2B0",
        "convnext_tiny": "ConvNeXtTiny",
    }
    outside = {"include_preprocessing": False}  # theirs would scale pixels in the net
    settings = dict.fromkeys(("mobilenet_v3_large", "efficientnet_v2_b0", "convnext_tiny"), outside)

    def application(name: str) -> Callable:
        return lambda shape: getattr(keras.applications, applications[name])(
            weights=None, input_shape=shape, classes=10, classifier_activation=None, **settings.get(name, {})
        )

    found = {name: application(name) for name in applications}
    try:
        import keras_hub
    except ModuleNotFoundError:
        print("KerasHub is not installed, and its Swin is left out")
        return found

    def swin(shape: tuple) -> keras.Model:
        return keras_hub.models.SwinTransformerBackbone(
            image_shape=shape, embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7
        )

    return {**found, "swin_tiny": swin} if hasattr(keras_hub.models, "SwinTransformerBackbone") else found


def compare(name: str, peer: Callable) -> None:
    """Prints the ratios of one net."""
    shape = (SIDES.get(name, SIDE), SIDES.get(name, SIDE), 3)
    makers = {"theirs": lambda: peer(shape), "ours": lambda: kerasdl.build(name, image_shape=shape, classes=10)}
    built = in_turns({key: lambda make=make: afresh(make) for key, make in makers.items()}, BUILDS)
    nets = {key: make() for key, make in makers.items()}
    classifiers = all(len(net.output_shape) == 2 for net in nets.values())  # a backbone without a head answers alone
    if classifiers and len({net.count_params() for net in nets.values()}) > 1:
        raise SystemExit(f"{name} is another net there: {[net.count_params() for net in nets.values()]} weights")
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(BATCH, *shape)).astype("float32"), rng.integers(0, 10, BATCH)
    answering = in_turns({key: lambda net=net: net.predict_on_batch(images) for key, net in nets.items()}, ROUNDS)
    for net in nets.values():
        net.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    if classifiers:
        training = in_turns({key: lambda n=net: n.train_on_batch(images, labels) for key, net in nets.items()}, ROUNDS)
    else:
        training = None
    print(f"{name:20}" + "".join(f"{shown(each):>24}" for each in (built, training, answering)), flush=True)


def afresh(make: Callable) -> None:
    """Builds a net in a new session."""
    keras.backend.clear_session()
    make()


def in_turns(runs: dict[str, Callable], rounds: int) -> list[float]:
    """Returns the time of the other net divided by that of kerasdl in each round, without the first, which traces."""
    ratios = []
    for number in range(rounds + 1):
        seconds = {}
        for key in list(runs) if number % 2 else list(reversed(runs)):
            started = time.perf_counter()
            runs[key]()
            seconds[key] = time.perf_counter() - started
        if number:
            ratios.append(seconds["theirs"] / seconds["ours"])
    return ratios


def shown(ratios: list[float] | None) -> str:
    """Returns median and range as text."""
    return "" if ratios is None else f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def main() -> None:
    """Compares the nets that the command line names."""
    found = peers()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", nargs="+", choices=found, default=list(found))
    print(f"{'theirs / ours':20}{'building':>24}{'training step':>24}{'inference':>24}")
    for name in parser.parse_args().nets:
        compare(name, found[name])


if __name__ == "__main__":
    main()
