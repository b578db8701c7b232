"""Builder of the embedded bundle `shapes_yolo` from a fixed seed, about ten minutes on two cores.

A small YOLOv8, trained on drawn scenes of six kinds of shapes (`kerasdl.data.load("shapes")`).
"""

from pathlib import Path

import keras
from bundle_making import bundle_of, embed

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.bundles.listing import EMBEDDED
from kerasdl.train import RunConfig, fit
from kerasdl.vision.detection import Detector

NAME, BUILDER, SEED, SCENES, EPOCHS = "shapes_yolo", "yolo_v8_n", 0, 4000, 7
SHAPE = (128, 128, 3)
ARGUMENTS = {
    "image_shape": SHAPE,
    "stages": ((96, 1), (192, 2), (384, 2)),
    "strides": (4, 8, 16),
    "bins": 8,
}


def make() -> Bundle:
    """Trains the net and measures it on other scenes."""
    keras.utils.set_random_seed(SEED)
    train, test = (
        kerasdl.data.load("shapes", split, size=size, image_shape=SHAPE)
        for split, size in (("train", SCENES), ("test", 400))
    )
    arguments = {**ARGUMENTS, "classes": len(train.class_names)}
    network = kerasdl.build(BUILDER, **arguments)
    config = RunConfig(epochs=EPOCHS, batch_size=16, learning_rate=2e-3, schedule="cosine", seed=SEED, strategy=None)
    fit(Detector(network), train, config=config)
    bundle = bundle_of(
        network,
        name=NAME,
        task="object_detection",
        preprocess={"image_shape": SHAPE, "scale": (-1.0, 1.0)},
        labels=train.class_names,
        builder=BUILDER,
        arguments=arguments,
        made_by=__file__,
        data=f"shapes, {SCENES} drawn scenes of middle difficulty",
        data_licence=train.licence,
        epochs=EPOCHS,
        seed=SEED,
    )
    return bundle.with_metrics("shapes test", bundle.evaluate(test))


def main(folder: Path = EMBEDDED) -> None:
    """Writes the bundle, kernels as float16."""
    embed(make(), folder, half=True)


if __name__ == "__main__":
    main()
