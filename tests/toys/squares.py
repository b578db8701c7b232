"""A detector of bright squares with 8 anchors: boxes in any number, a loss of its own, suppression, sizes undone."""

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import Task, checks
from kerasdl.train import Trainer

SIDE, CELLS, SIZES = 16, 2, (4.0, 8.0)
FEW = 0.3  # overlap, above which of two boxes the likelier stays


def anchors():
    """Returns (8, 4): a box of each size in the middle of each cell, left, top, right, bottom in pixels."""
    middles = (np.arange(CELLS) + 0.5) * SIDE / CELLS
    boxes = [(x - s / 2, y - s / 2, x + s / 2, y + s / 2) for y in middles for x in middles for s in SIZES]
    return np.array(boxes, "float32")


def detector():
    """A detector of squares with eight anchors."""
    image = keras.Input((SIDE, SIDE, 1), name="image")
    x = keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="conv1")(image)
    x = keras.layers.MaxPooling2D(2, name="pool1")(x)
    x = keras.layers.Conv2D(32, 3, padding="same", activation="relu", name="conv2")(x)
    x = keras.layers.MaxPooling2D(4, name="pool2")(x)
    per_cell = len(SIZES)
    scores = keras.layers.Conv2D(per_cell, 1, dtype="float32", name="scores_conv")(x)
    shifts = keras.layers.Conv2D(4 * per_cell, 1, dtype="float32", name="shifts_conv")(x)
    return keras.Model(
        image,
        {
            "scores": keras.layers.Reshape((CELLS**2 * per_cell,), dtype="float32", name="scores")(scores),
            "shifts": keras.layers.Reshape((CELLS**2 * per_cell, 4), dtype="float32", name="shifts")(shifts),
        },
        name="detector",
    )


def scenes(count=256, seed=0):
    """Returns images (count, 16, 16, 1) with none to two squares, and the boxes (N, 4) of each."""
    rng = np.random.default_rng(seed)
    images, boxes = rng.uniform(0, 0.2, (count, SIDE, SIDE, 1)).astype("float32"), []
    for image in images:
        found = []
        for cell in rng.permutation(CELLS**2)[: rng.integers(0, 3)]:
            size = int(rng.choice([4, 7]))
            left, top = (place * 8 + int(rng.integers(0, 9 - size)) for place in (cell % CELLS, cell // CELLS))
            image[top : top + size, left : left + size] = 1
            found.append((left, top, left + size, top + size))
        boxes.append(np.array(found, "float32").reshape(-1, 4))
    return images, {"boxes": boxes}


def overlap(one, other):
    """Returns intersection over union of boxes (..., 4) with boxes (..., 4)."""
    low, high = ops.maximum(one[..., :2], other[..., :2]), ops.minimum(one[..., 2:], other[..., 2:])
    both = ops.prod(ops.maximum(high - low, 0), axis=-1)
    area = ops.prod(one[..., 2:] - one[..., :2], axis=-1) + ops.prod(other[..., 2:] - other[..., :2], axis=-1)
    return both / ops.maximum(area - both, 1e-6)


class Detecting(Trainer):
    """The nearest box of each anchor that it overlaps; cross-entropy and the distance of corners (1504.08083, 2.3)."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        boxes = y["boxes"].to_tensor(shape=(None, None, 4))  # (B, N, 4)
        boxes = tf.pad(boxes, [[0, 0], [0, 1], [0, 0]])  # one of no area, where there are none
        overlaps = overlap(anchors()[None, :, None], boxes[:, None])  # (B, A, N)
        taken, best = ops.max(overlaps, axis=-1), ops.argmax(overlaps, axis=-1)
        found = ops.cast(taken > 0.2, "float32")
        targets = tf.gather(boxes, best, batch_dims=1) - anchors()
        entropy = ops.binary_crossentropy(found[..., None], y_pred["scores"][..., None], from_logits=True)
        gaps = ops.mean(ops.abs(y_pred["shifts"] * 4 - targets), axis=-1)
        return ops.mean(entropy) + 0.2 * ops.sum(gaps * found) / ops.maximum(ops.sum(found), 1.0)


def boxes_of(networks, images, batch_size):
    """Returns, for each image, boxes (N, 4) and scores (N,), of overlapping boxes the likeliest."""
    outputs = networks["model"].predict(images, batch_size=batch_size, verbose=0)
    found = []
    for logits, shifts in zip(outputs["scores"], outputs["shifts"], strict=True):
        boxes, scores = anchors() + 4 * shifts, 1 / (1 + np.exp(-logits))
        kept = tf.image.non_max_suppression(boxes, scores, 8, FEW, score_threshold=0.5).numpy()
        found.append((boxes[kept], scores[kept]))
    return found


def recall(networks, data):
    """Returns the share of squares that a box overlaps by half, and how many boxes there are for each square."""
    images, labels = data.arrays()
    seen = squares = made = 0
    for (boxes, _), truth in zip(boxes_of(networks, images, 64), labels["boxes"], strict=True):
        squares, made = squares + len(truth), made + len(boxes)
        seen += sum(bool(len(boxes) and (overlap(box, boxes) > 0.5).numpy().any()) for box in truth)
    return {"recall": seen / squares, "boxes_a_square": made / squares}


def prepared(raw, settings):
    """Shrinks or enlarges images (H, W) to the net's side; the context is their sizes."""
    images = [np.asarray(each, "float32") for each in raw]
    if any(image.ndim != 2 for image in images):
        checks.refuse("raw must be grey images (H, W)", [image.shape for image in images][:3])
    resized = [tf.image.resize(image[..., None], (settings["side"],) * 2).numpy() for image in images]
    return np.stack(resized), [image.shape for image in images]


def a_row_a_box(result):
    """Returns a row for each box, its corners rounded to pixels."""
    pairs = zip(result["boxes"], result["scores"], strict=True)
    return [{"box": [round(corner) for corner in box], "score": score} for box, score in pairs]


def described(found, labels, sizes):
    results = []
    for (boxes, scores), (height, width) in zip(found, sizes, strict=True):
        scale = np.array([width, height] * 2) / SIDE
        results.append({"boxes": (boxes * scale).tolist(), "scores": scores.tolist()})
    return results


TASK = Task(
    name="toy_detection",
    module=__name__,
    loss=lambda: None,
    metrics=list,
    monitor=("val_loss", "min"),
    check=lambda settings, labels, model: checks.at_least("side", settings.get("side"), 1),
    preprocess=prepared,
    preprocess_layers=lambda settings, shape: [],
    decode=described,
    replace_head=None,
    example=lambda model, batch, seed: scenes(batch, seed),
    predict=boxes_of,
    trainer=Detecting,
    figures=recall,
    table=a_row_a_box,
    summary="finds bright squares in an image",
    limits="It finds squares of one brightness alone.",
)
