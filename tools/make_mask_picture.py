"""Picture of docs/masks.md: images, their maps of classes, and weights of pixels; 10 seconds.

python tools/make_mask_picture.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

from kerasdl.data.detection import draw_shapes, paste_stickers
from kerasdl.data.segmentation import draw_cells
from kerasdl.data.segmentation.mask_writing import voc_colours

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "masks.png"
FACTOR, GAP = 2, 4


def main() -> None:
    """Writes an image above its map for each kind of data, and the weights of cells."""
    cells, stained = (draw_cells(1, seed=3, colour=colour, panoptic=True) for colour in (False, True))
    columns = []
    for data in (draw_shapes(1, seed=5, semantic=True), paste_stickers(1, seed=1, semantic=True), cells, stained):
        image, labels = data[0]
        columns.append((np.broadcast_to(image, (*image.shape[:2], 3)), voc_colours()[labels["semantic"]]))
    weights = np.minimum(cells[0][1]["pixel_weights"] * 255 / 11, 255).astype(np.uint8)
    numbers = np.random.default_rng(2).integers(70, 256, (256, 3))[cells[0][1]["panoptic"] % 1000]
    numbers = numbers * (cells[0][1]["panoptic"] > 0)[..., np.newaxis]
    columns.insert(3, (np.repeat(weights[..., np.newaxis], 3, axis=2), numbers.astype(np.uint8)))
    pad = ((0, GAP), (0, GAP), (0, 0))
    large = [[each.repeat(FACTOR, 0).repeat(FACTOR, 1) for each in column] for column in columns]
    padded = [np.concatenate([np.pad(each, pad, constant_values=255) for each in column]) for column in large]
    Image.fromarray(np.concatenate(padded, axis=1)[:-GAP, :-GAP]).quantize(256).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
