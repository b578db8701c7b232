"""Multi-label classification of two digits in an image: `python docs/recipes/several_digits.py`."""

import numpy as np

import kerasdl
from kerasdl.metrics import best_threshold, precision_recall
from kerasdl.train import RunConfig, fit


def pairs(split: str, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns images 32 by 64 with two digits each, and their labels."""
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


def compare(count: int, epochs: int, seed: int = 0, picture: str | None = None) -> tuple[float, float]:
    """Returns F1 on test data after training on pairs, at 0.5 and at thresholds chosen on validation data."""
    kerasdl.set_seed(seed)
    train, validation, test = (
        pairs(split, size, 3 * seed + place)
        for place, (split, size) in enumerate([("train", count), ("validation", 1000), ("test", 1000)])
    )
    model = kerasdl.build("resnet18", image_shape=(32, 64, 1), channels=12, stages=(1, 1, 1), classes=10)
    config = RunConfig(epochs=epochs, batch_size=32, learning_rate=3e-3, schedule="cosine", seed=seed)
    fit(model, train, validation=validation, task="multi_label_classification", config=config)
    known, scores = (model.predict(part[0], verbose=0) for part in (validation, test))
    if picture:
        found = [precision_recall(scores[:, digit], test[1][:, digit]) for digit in range(10)]
        hardest = int(np.argmin([each.average_precision for each in found]))
        found[hardest].plot(picture, f"the digit {hardest}, the hardest of ten")
    return f1(scores, test[1], 0.0), f1(scores, test[1], best_threshold(known, validation[1]))


def main(picture: str = "docs/pictures/precision_recall.png") -> None:
    """Prints the effect of thresholds for a net trained on few pairs, and for one trained on many."""
    for count, epochs, path in ((400, 12, picture), (3000, 6, None)):
        plain, tuned = compare(count, epochs, picture=path)
        print(f"{count} pairs: F1 {plain:.4f} at one half, {tuned:.4f} at thresholds chosen on validation data")


if __name__ == "__main__":
    main()
