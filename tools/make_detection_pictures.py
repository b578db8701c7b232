"""Pictures and tables of docs/detecting.md: seconds. Scenes are drawn, and so are the errors of the detector.

python tools/make_detection_pictures.py
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from kerasdl.core import PredictedObjects, TrueObjects, draw_scenes
from kerasdl.metrics import MeanAveragePrecision, detection_confusion, detection_curves, detection_errors

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
NAMES = ("circle", "square", "triangle")
SIDE, SCENES = 160, 40
COLOURS = ((214, 93, 64), (70, 130, 180), (235, 190, 70))


def scene(rng: np.random.Generator) -> tuple[np.ndarray, TrueObjects]:
    """Returns a picture of two to four shapes over noise, and where they are."""
    canvas = Image.fromarray(np.clip(rng.normal(215, 12, (SIDE, SIDE, 3)), 0, 255).astype("uint8"))
    pen, boxes, classes = ImageDraw.Draw(canvas), [], []
    for _ in range(int(rng.integers(2, 5))):
        width = int(rng.integers(24, 56))
        left, top = (int(each) for each in rng.integers(0, SIDE - width, 2))
        right, bottom = left + width - 1, top + width - 1  # pixels that belong to the shape
        kind, colour = int(rng.integers(0, 3)), COLOURS[int(rng.integers(0, 3))]
        if kind == 0:
            pen.ellipse((left, top, right, bottom), fill=colour)
        elif kind == 1:
            pen.rectangle((left, top, right, bottom), fill=colour)
        else:
            pen.polygon(((left + width / 2, top), (right, bottom), (left, bottom)), fill=colour)
        boxes.append((left, top, left + width, top + width))
        classes.append(kind)
    return np.asarray(canvas), TrueObjects(boxes, classes)


def imperfect(rng: np.random.Generator, truth: TrueObjects) -> PredictedObjects:
    """Returns what a detector might find: most objects, some badly placed, named wrongly, twice, or where none is."""
    boxes, classes, scores = [], [], []
    for box, kind in zip(truth.boxes, truth.classes, strict=True):
        if rng.random() < 0.12:
            continue
        for _ in range(2 if rng.random() < 0.15 else 1):
            boxes.append(box + rng.normal(0, 8 if rng.random() < 0.25 else 2, 4))
            classes.append(int(rng.integers(0, 3)) if rng.random() < 0.15 else int(kind))
            scores.append(rng.beta(6, 2))
    for _ in range(int(rng.random() < 0.5)):
        left, top = rng.uniform(0, SIDE - 40, 2)
        boxes.append((left, top, left + 40, top + 40))
        classes.append(int(rng.integers(0, 3)))
        scores.append(rng.beta(2, 3))
    return PredictedObjects(boxes, classes, scores)


def main() -> None:
    """Draws the pictures and prints the tables."""
    rng = np.random.default_rng(4)
    scenes = [scene(rng) for _ in range(SCENES)]
    images, true = [image for image, _ in scenes], [truth for _, truth in scenes]
    predicted = [imperfect(rng, each) for each in true]
    sheet = draw_scenes(images[:4], true[:4], predicted[:4], NAMES, columns=2, side=240)
    Image.fromarray(sheet).quantize(128).save(PICTURES / "objects.png", optimize=True)
    metric = MeanAveragePrecision(NAMES)
    metric.update_state(true, predicted)
    results = {
        "detection_curves": detection_curves(true, predicted, NAMES),
        "detection_confusion": detection_confusion(true, predicted, NAMES),
        "detection_errors": detection_errors(true, predicted, NAMES),
    }
    print(metric.figures().table())
    for name, result in results.items():
        result.plot(PICTURES / f"{name}.png")
        print(f"\n{name}\n{result.table()}")


if __name__ == "__main__":
    main()
