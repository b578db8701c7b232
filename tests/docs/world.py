"""Small files and values that the snippets of the docs take for granted; docs/index.md says what their names mean."""

import json
from pathlib import Path

import copying
import keras
import numpy as np
from filling import fill_weights
from PIL import Image

import kerasdl
from kerasdl.train import RunConfig

ROOT = Path(__file__).parents[2]
SIDE, CLASSES = 32, 10
TINY = {"image_shape": (SIDE, SIDE, 3), "width": 0.25, "stages": ((1, 8, 1, 1), (6, 16, 2, 2)), "last_channels": 64}


def write_files(folder: Path) -> None:
    """Writes photos of two kinds, another photo, a program, and a link to the photos of the tests."""
    rng = np.random.default_rng(0)
    for kind, colour in (("rose", (200, 40, 60)), ("lily", (230, 230, 200))):
        place = folder / "photos" / kind
        place.mkdir(parents=True)
        for index in range(25):
            pixels = np.clip(rng.normal(colour, 30, (48, 64, 3)), 0, 255).astype("uint8")
            Image.fromarray(pixels).save(place / f"{index}.png")
    (folder / "flowers").symlink_to("photos")
    write_boxes(folder / "boxes")
    Image.fromarray(pixels).save(folder / "new.jpg")
    (folder / "train.py").write_text("import kerasdl\n\nprint(kerasdl.train.strategy('auto'))\n")
    (folder / "tests" / "bundles").mkdir(parents=True)
    (folder / "tests" / "bundles" / "photos").symlink_to(ROOT / "tests" / "bundles" / "photos")


def write_boxes(folder: Path) -> None:
    """Writes drawn scenes as photos with labelme's files beside them."""
    folder.mkdir()
    scenes = kerasdl.data.load("shapes:easy", size=12, scale=None)
    for number in range(scenes.size):
        image, labels = scenes[number]
        Image.fromarray(image).save(folder / f"{number}.png")
        shapes = [
            {"label": scenes.class_names[each], "shape_type": "rectangle", "points": [box[:2], box[2:]]}
            for each, box in zip(labels["classes"], labels["boxes"].tolist(), strict=True)
        ]
        (folder / f"{number}.json").write_text(json.dumps({"imagePath": f"{number}.png", "shapes": shapes}))


class Values:
    """Values by name, each made when a snippet first uses it."""

    def bundle(self):
        return kerasdl.load_bundle("digits_mobilenet")

    def model(self):
        return fill_weights(kerasdl.build("mobilenet_v2", **TINY, classes=CLASSES))

    teacher = student = pretrained = model

    def classes(self):
        return CLASSES

    def train(self):
        return self.bundle().ready("digits").take(64)

    validation = train

    def few(self):
        return kerasdl.data.load("digits", "train").take(20)

    def images(self):
        return self.train().arrays()[0]

    def labels(self):
        return self.train().arrays()[1]

    def config(self):
        return RunConfig(epochs=1)

    def encoder(self):
        return self._halves()["encoder"]

    def decode_step(self):
        return self._halves()["step"]

    def texts(self):
        return copying.examples(40)[0]["source"]

    def tokens(self):
        return self.texts()[:1]

    def steps(self):
        memory = np.random.default_rng(0).normal(size=(40, copying.LENGTH, copying.WIDTH)).astype("float32")
        return {"token": self.texts()[:, :1], "state": memory[:, 0], "memory": memory}

    def paths(self):
        return ["1.png"]

    def decode(self):
        return lambda path: path

    def turn(self):
        return lambda image, seed: image

    def _halves(self):
        keras.utils.set_random_seed(0)
        return copying.encoder_and_step({"model": fill_weights(copying.seq2seq())})


NAMES = sorted(name for name in vars(Values) if not name.startswith("_"))
