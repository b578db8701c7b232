"""LeNet-5 trained on handwritten digits from scratch: `python docs/recipes/lenet5_digits.py`."""

import sys

import kerasdl
from kerasdl.data import augment
from kerasdl.train import RunConfig, fit

CHANGES = augment.Affine(rotate=12, shear=0.1, zoom=0.1, translate=0.06, fill=-1.0)


def train(seed: int = 0, epochs: int = 80) -> float:
    """Returns the test accuracy."""
    kerasdl.set_seed(seed)
    train, validation, test = (kerasdl.data.load("digits", split) for split in ("train", "validation", "test"))
    model = kerasdl.build("lenet5", image_shape=(32, 32, 1), classes=10)
    config = RunConfig(
        epochs=epochs, batch_size=32, learning_rate=3e-3, schedule="cosine", augment=CHANGES, ema=0.99, seed=seed
    )
    fit(model, train, validation=validation, config=config)
    images, labels = test.arrays()
    return float((model.predict(images, verbose=0).argmax(1) == labels).mean())


if __name__ == "__main__":
    figures = [train(int(seed)) for seed in sys.argv[1:] or ("0", "1", "2")]
    print("test accuracy:", ", ".join(f"{figure:.4f}" for figure in figures))
