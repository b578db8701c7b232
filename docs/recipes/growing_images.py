"""Progressive resizing of letters, compared with large images throughout: `python docs/recipes/growing_images.py`."""

import sys
import time

import kerasdl
from kerasdl.train import RunConfig, fit, fit_progressively

SIZES, EPOCHS = (32, 48, 64), 9


def compare(seed: int = 0) -> dict[str, tuple[float, float]]:
    """Returns test accuracy and seconds of training for each method."""
    shape = (SIZES[-1], SIZES[-1], 1)
    train = kerasdl.data.load("glyphs", "train", size=5200, image_shape=shape)
    images, labels = kerasdl.data.load("glyphs", "test", size=5200, image_shape=shape).arrays()
    config = RunConfig(epochs=EPOCHS, batch_size=32, learning_rate=3e-3, schedule="cosine", seed=seed, progress="off")
    ways = {
        "growing": lambda model: fit_progressively(model, train, SIZES, config=config),
        "large throughout": lambda model: fit(model, train, config=config),
    }
    found = {}
    for name, way in ways.items():
        kerasdl.set_seed(seed)
        model = kerasdl.build("resnet18", image_shape=(None, None, 1), channels=24, stages=(1, 1, 1), classes=26)
        started = time.perf_counter()
        way(model)
        seconds = time.perf_counter() - started
        found[name] = float((model.predict(images, verbose=0).argmax(1) == labels).mean()), seconds
    return found


if __name__ == "__main__":
    for seed in sys.argv[1:] or ("0",):
        for name, (accuracy, seconds) in compare(int(seed)).items():
            print(f"{name}: test accuracy {accuracy:.3f} after {seconds:.0f} s", flush=True)
