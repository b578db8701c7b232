"""Rare classes, three of ten digits: class weights, oversampling, focal loss. `python docs/recipes/rare_classes.py`."""

import sys

import numpy as np

import kerasdl
from kerasdl.data import as_dataset, augment, oversample
from kerasdl.losses import Focal
from kerasdl.train import RunConfig, fit

RARE, KEPT = (3, 5, 8), 6
CHANGES = augment.Affine(rotate=12, shear=0.1, zoom=0.1, translate=0.06, fill=-1.0)
WAYS = ("plain", "class weights", "oversampling", "focal loss")


def unbalanced(seed: int):
    """Returns the training digits with few examples of each rare class."""
    data = kerasdl.data.load("digits", "train")
    images, labels = data.arrays()
    order = np.random.default_rng(seed).permutation(len(labels))
    rare = [order[labels[order] == digit][:KEPT] for digit in RARE]
    kept = np.concatenate([order[~np.isin(labels[order], RARE)], *rare])
    return as_dataset((images[kept], labels[kept]), name="unbalanced digits", task="image_classification")


def compare(way: str, seed: int) -> tuple[float, float]:
    """Returns the recall of the rare and of the other digits in the test images."""
    data = unbalanced(seed)
    kerasdl.set_seed(seed)
    model = kerasdl.build("lenet5", image_shape=(32, 32, 1), classes=10)
    balanced = "balanced" if way == "class weights" else None
    config = RunConfig(
        steps=700, learning_rate=3e-3, schedule="cosine", augment=CHANGES, class_weights=balanced, progress="off"
    )
    loss = Focal(2.0) if way == "focal loss" else None
    fit(model, oversample(data, seed) if way == "oversampling" else data, loss=loss, config=config)
    images, labels = kerasdl.data.load("digits", "test").arrays()
    right = model.predict(images, verbose=0).argmax(1) == labels
    return float(right[np.isin(labels, RARE)].mean()), float(right[~np.isin(labels, RARE)].mean())


if __name__ == "__main__":
    seeds = [int(seed) for seed in sys.argv[1:] or ("0", "1", "2")]
    for way in WAYS:
        rare, common = np.mean([compare(way, seed) for seed in seeds], axis=0)
        print(f"| {way} | {rare:.3f} | {common:.3f} |", flush=True)
