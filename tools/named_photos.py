"""Predictions of the embedded ImageNet net for ten photos with free licences: `python tools/named_photos.py [FOLDER]`.

The photos, at most 320 pixels a side, stand in tests/bundles/photos beside the list of their classes, authors, licences
and sources; they were chosen before the net had seen them. With FOLDER, which holds their packages unpacked, they are
made anew first. The packages: `pip download --no-deps scikit-image==0.26.0`; `apt-get download palapeli-data
lomiri-wallpapers-16.04`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image, ImageOps

import kerasdl
from kerasdl.core import files

PHOTOS = Path(__file__).parents[1] / "tests" / "bundles" / "photos"
SIDE, QUALITY = 320, 90
NAME = "imagenet_efficientnet_lite0"


def listed() -> list[dict]:
    """Returns name, accepted classes, author, licence, package and file of each photo."""
    return json.loads((PHOTOS / "photos.json").read_text(encoding="utf-8"))


def make(folder: Path) -> None:
    """Writes the photos, reduced in size, from the files of their packages."""
    for each in listed():
        with Image.open(folder / each["file"]) as image, files.writing(PHOTOS / f"{each['name']}.jpg") as path:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            upright.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
            upright.save(path, quality=QUALITY, optimize=True)


def whole(image: Image.Image) -> np.ndarray:
    """Returns a photo, uint8 (H, W, 3)."""
    return np.asarray(image)


def square(image: Image.Image) -> np.ndarray:
    """Returns the largest square in the middle of a photo."""
    return np.asarray(ImageOps.fit(image, (min(image.size),) * 2))


def as_evaluated(image: Image.Image) -> np.ndarray:
    """Returns a photo as the authors evaluate: the central 224/256 of its shorter side, bicubic, not antialiased."""
    side = int(224 / 256 * min(image.size))
    left, top = ((each - side + 1) // 2 for each in image.size)
    pixels = np.asarray(image)[top : top + side, left : left + side]
    return np.clip(np.rint(tf.image.resize(pixels, (224, 224), "bicubic")), 0, 255).astype("uint8")


WAYS = {"whole photos": whole, "the square in the middle": square, "as the authors evaluate": as_evaluated}


def main(*folders: str) -> None:
    """Prints the five best classes of each photo, and the number of right ones."""
    for folder in folders:
        make(Path(folder))
    bundle = kerasdl.load_bundle(NAME)
    photos = [Image.open(PHOTOS / f"{each['name']}.jpg").convert("RGB") for each in listed()]
    for title, way in WAYS.items():
        print(f"\n{title}")
        first = five = 0
        answers = bundle.predict([way(photo) for photo in photos])
        for each, answer in zip(listed(), answers, strict=True):
            best = sorted(answer["scores"], key=answer["scores"].get, reverse=True)[:5]
            first += best[0] in each["classes"]
            five += bool(set(best) & set(each["classes"]))
            scores = ", ".join(f"{name} {answer['scores'][name]:.2f}" for name in best)
            print(f"{each['name']:10} {scores}")
        print(f"named first: {first} of {len(answers)}; among the first five: {five} of {len(answers)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
