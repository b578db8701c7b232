"""Two digits in an image, both to be named: `python docs/recipes/several_digits.py`."""

import numpy as np

import kerasdl
from kerasdl.metrics import best_threshold, precision_recall
from kerasdl.train import RunConfig, fit


def pairs(split: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images 32 by 64 with two digits each, and which digits are there."""
    images, labels = kerasdl.data.load("digits", split).arrays()
    chosen = np.random.default_rng(seed).integers(0, len(labels), (count, 2))
    wanted = np.zeros((count, 10), "float32")
    wanted[np.arange(count)[:, None], labels[chosen]] = 1.0
    return np.concatenate([images[chosen[:, 0]], images[chosen[:, 1]]], axis=2), wanted


def f1(scores: np.ndarray, labels: np.ndarray, thresholds) -> float:
    """Returns the mean F1 over the digits."""
    given = scores >= thresholds
    right = (given * labels).sum(0)
    return float(np.mean(2 * right / (given.sum(0) + labels.sum(0))))


def main(picture: str = "docs/pictures/precision_recall.png") -> tuple[float, float]:
    """Prints what thresholds chosen on validation data do on test data; returns both F1."""
    kerasdl.set_seed(0)
    train, validation, test = pairs("train", 3000, 0), pairs("validation", 600, 1), pairs("test", 600, 2)
    model = kerasdl.build("resnet18", image_shape=(32, 64, 1), channels=12, stages=(1, 1, 1), classes=10)
    config = RunConfig(epochs=6, batch_size=32, learning_rate=3e-3, schedule="cosine", seed=0)
    fit(model, train, validation=validation, task="multi_label_classification", config=config)
    known, scores = (model.predict(part[0], verbose=0) for part in (validation, test))
    thresholds = best_threshold(known, validation[1])
    plain, tuned = f1(scores, test[1], 0.0), f1(scores, test[1], thresholds)
    print(f"mean F1 on test data: {plain:.4f} at one half, {tuned:.4f} at thresholds chosen on validation data")
    hardest = int(np.argmin([precision_recall(scores[:, k], test[1][:, k]).average_precision for k in range(10)]))
    precision_recall(scores[:, hardest], test[1][:, hardest]).plot(picture, f"the digit {hardest}, the hardest of ten")
    return plain, tuned


if __name__ == "__main__":
    main()
