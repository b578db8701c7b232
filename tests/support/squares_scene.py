"""Scenes of filled squares for tests of detectors: images with boxes and classes."""

import numpy as np

COLOURS = ((1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0))  # of the classes


def squares(count, side=64, seed=0, most=2, sizes=(12, 28)):
    """Returns images (count, side, side, 3) from -1 to 1 and labels: one to `most` squares, each in a quarter."""
    rng = np.random.default_rng(seed)
    images, boxes, classes = rng.uniform(-0.3, 0.3, (count, side, side, 3)).astype("float32"), [], []
    half = side // 2
    for image in images:
        corners = rng.permutation(4)[: rng.integers(1, most + 1)]
        kinds, edges = rng.integers(0, 3, len(corners)), []
        for corner, kind in zip(corners, kinds, strict=True):
            size = int(rng.integers(sizes[0], min(sizes[1], half) + 1))
            left, top = (int(half * part + rng.integers(0, half - size + 1)) for part in (corner % 2, corner // 2))
            image[top : top + size, left : left + size] = COLOURS[kind]
            edges.append((left, top, left + size, top + size))
        boxes.append(np.array(edges, "float32").reshape(-1, 4))
        classes.append(kinds.astype("int32"))
    return images, {"boxes": boxes, "classes": classes}
