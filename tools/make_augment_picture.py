"""Picture of every augmentation on a photograph: docs/pictures/augment.png. `make pictures`."""

import io
from pathlib import Path

import kerasdl  # noqa: F401 -- first, so that TensorFlow starts in silence

# isort: split
import numpy as np
import tensorflow as tf
from matplotlib.backends import backend_agg
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_sample_image

from kerasdl.core import files
from kerasdl.data import augment, prepare_images

OUT = Path(__file__).parents[1] / "docs" / "pictures" / "augment.png"
SIDE, DRAWS = 112, 6
ROWS = {
    "Flip": augment.Flip(0.5, 0.5),
    "Crop(16)": augment.Crop(16),
    "ResizedCrop": augment.ResizedCrop((SIDE, SIDE)),
    "Affine(30, 0.2, 0.2, 0.1)": augment.Affine(30, 0.2, 0.2, 0.1),
    "Colour(0.4, 0.4, 0.4, 0.1)": augment.Colour(0.4, 0.4, 0.4, 0.1),
    "Blur": augment.Blur((0.5, 4.0)),
    "Erase": augment.Erase(),
    "RandAugment(2, 9)": augment.RandAugment(2, 9),
    "AugMix": augment.AugMix(),
}


def main() -> None:
    """Writes the picture."""
    flower = load_sample_image("flower.jpg")[:, 100:527]
    image = prepare_images(flower, (SIDE, SIDE, 3))[0]
    other = prepare_images(load_sample_image("china.jpg")[:, 100:527], (SIDE, SIDE, 3))[0]
    rows = {
        name: [transform(image, tf.constant([draw, 5])) for draw in range(DRAWS)] for name, transform in ROWS.items()
    }
    pair, labels = np.stack([image, other]), tf.constant([0, 1])
    for name, mix in {"Mixup": augment.Mixup(2, alpha=1.0), "CutMix": augment.CutMix(2)}.items():
        draws = [mix(pair, labels, tf.constant([draw, 5])) for draw in range(40)]
        rows[name] = [images[0] for images, shares in draws if shares[0, 1] > 0.1][:DRAWS]
    figure = Figure(figsize=(8.4, 1.25 * len(rows)), dpi=80, layout="constrained")
    backend_agg.FigureCanvasAgg(figure)
    panels = figure.subplots(len(rows), DRAWS)
    for line, (name, images) in zip(panels, rows.items(), strict=True):
        for axes, shown in zip(line, images, strict=True):
            axes.imshow(np.clip((np.asarray(shown) + 1) / 2, 0, 1))
            axes.axis("off")
        line[0].set_title(name, loc="left", fontsize=9, color="#1f2937")
    drawn = io.BytesIO()
    figure.savefig(drawn)
    with files.writing(OUT) as file:  # 128 colours: a third of the size
        Image.open(drawn).convert("RGB").quantize(128).save(file, "PNG", optimize=True)


if __name__ == "__main__":
    main()
