"""Pictures and tables of docs/detecting.md: a minute. Scenes are drawn, and so are the errors of the detector.

python tools/make_detection_pictures.py
"""

from pathlib import Path

import numpy as np
from matplotlib.backends import backend_agg
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image, ImageDraw

import kerasdl
from kerasdl.core import PredictedObjects, TrueObjects, draw_scenes
from kerasdl.metrics import MeanAveragePrecision, detection_confusion, detection_curves, detection_errors
from kerasdl.vision.detection import Detector, draw_assignment
from kerasdl.vision.detection.method import map_sizes, true_batch

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
NAMES = ("circle", "square", "triangle")
SIDE, SCENES = 160, 40
COLOURS = ((214, 93, 64), (70, 130, 180), (235, 190, 70))

SHAPE = (128, 128, 3)  # of the scenes on which assigners are shown
RESIDUAL = {
    "backbone": "resnet18",
    "backbone_settings": {"channels": 24, "stages": (2, 2, 2), "bottleneck": False},
    "strides": (4, 8, 16),
    "extra": None,
    "channels": 32,
    "depth": 1,
}
LINES = ("#2563eb", "#ea580c", "#16a34a")  # of the levels, from fine to coarse
DARKNET = {"stages": (1, 1, 1, 1), "channels": 8, "strides": (4, 8, 16)}
METHODS = {
    "retinanet": ("RetinaNet: anchors by IoU", "retinanet", RESIDUAL),
    "ssd": ("SSD: default boxes by IoU, and the best", "ssdlite320", {}),
    "yolo_v3": (
        "YOLOv3: one anchor by shape",
        "yolo_v3",
        {"stages": (1, 1, 1, 1), "channels": 8, "strides": (4, 8, 16)},
    ),
    "fcos": ("FCOS: cells near the centre", "fcos", RESIDUAL),
    "centernet": ("CenterNet: the cell of the centre", "centernet", {}),
    "yolo_v8": ("YOLOv8, trained: cells by score and IoU", None, {}),
}


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


def detectors() -> dict[str, Detector]:
    """Returns a detector of each method; of YOLOv8, whose assigner looks at predictions, a trained one."""
    found = {}
    for method, (_, name, settings) in METHODS.items():
        if name is None:
            network = kerasdl.load_bundle("shapes_yolo").model
        else:
            tiny = {**kerasdl.spec(name).tiny, "image_shape": SHAPE, "classes": 6}
            network = kerasdl.build(name, **{**tiny, **settings})
        found[method] = Detector(network)
    return found


def assigners() -> None:
    """Draws which predictions learn an object, and prints how many do over 100 scenes."""
    data = kerasdl.data.load("shapes", "test", size=100, image_shape=SHAPE)
    images, labels = next(iter(data.batches(100)))[:2]
    truth, first = true_batch(labels), {name: each[1:2] for name, each in labels.items()}
    figure = Figure(figsize=(12, 8.6), dpi=80, layout="constrained")
    backend_agg.FigureCanvasAgg(figure)
    print(f"{'method':12}{'predictions':>12}{'learn an object':>17}{'of each object':>16}{'objects without':>17}")
    for axes, (method, detector) in zip(figure.subplots(2, 3).flat, detectors().items(), strict=True):
        axes.imshow(draw_assignment(detector, images[1:2], first))
        axes.set_title(METHODS[method][0], fontsize=12)
        axes.set_axis_off()
        matches = np.asarray(detector.method.assign(detector.heads(images), truth, SHAPE[:2])[1])
        objects = int(np.sum(truth.valid))
        taught = sum(len(np.unique(row[row >= 0])) for row in matches)
        share, each = np.mean(matches >= 0), np.sum(matches >= 0) / objects
        print(f"{method:12}{matches.shape[1]:>12,}{share:>16.2%}{each:>17.1f}{1 - taught / objects:>17.1%}")
    figure.savefig(PICTURES / "assigners.png")
    Image.open(PICTURES / "assigners.png").convert("RGB").quantize(128).save(PICTURES / "assigners.png", optimize=True)


def levels() -> None:
    """Draws the anchors at the middle place of each level, and the heat map that CenterNet learns."""
    data = kerasdl.data.load("shapes", "test", size=2, image_shape=SHAPE)
    images, labels = next(iter(data.batches(2)))[:2]
    image = (images[1].numpy() + 1) / 2
    found, truth = detectors(), true_batch({name: each[1:2] for name, each in labels.items()})
    figure = Figure(figsize=(12, 4.4), dpi=80, layout="constrained")
    backend_agg.FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    for axes, method, title in zip(panels, ("retinanet", "ssd"), ("RetinaNet", "SSD"), strict=False):
        axes.imshow(image, alpha=0.3, extent=(0, SHAPE[1], SHAPE[0], 0))
        heads = found[method].heads(images[1:2])
        settings = (SHAPE[:2],) if method == "ssd" else ()
        anchors, start = found[method].method.anchors(heads, *settings), 0
        for colour, (rows, columns) in zip(LINES, map_sizes(heads, "boxes"), strict=False):
            number = heads[f"boxes_stride{SHAPE[0] // rows}"].shape[-1] // 4
            middle = start + ((rows // 2) * columns + columns // 2) * number
            for left, top, right, bottom in anchors[middle : middle + number]:
                axes.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, color=colour, lw=1.5))
            start += rows * columns * number
        axes.set_title(f"{title}: anchors of one place a level", fontsize=12)
        axes.set(xlim=(0, SHAPE[1]), ylim=(SHAPE[0], 0))
    heat = found["centernet"].method.targets(found["centernet"].heads(images[1:2]), truth, SHAPE[:2]).heat[0]
    heat = np.max(heat, axis=-1)
    panels[2].imshow(image, alpha=0.3, extent=(0, SHAPE[1], SHAPE[0], 0))
    panels[2].imshow(heat, alpha=np.sqrt(heat), cmap=ListedColormap(["#b91c1c"]), extent=(0, SHAPE[1], SHAPE[0], 0))
    panels[2].set_title("CenterNet: the heat map that it learns", fontsize=12)
    for axes in panels:
        axes.set_axis_off()
    figure.savefig(PICTURES / "detector_levels.png")
    picture = Image.open(PICTURES / "detector_levels.png").convert("RGB")
    picture.quantize(128).save(PICTURES / "detector_levels.png", optimize=True)


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
    assigners()
    levels()


if __name__ == "__main__":
    main()
