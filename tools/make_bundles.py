"""Makes the embedded bundles from a fixed seed: `make bundles`, about ten minutes on two cores.

`glyphs_mobilenet` is MobileNetV2 at width 0.75, cut to 32-pixel images, trained on rendered letters;
`digits_mobilenet` is fine-tuned from it on real handwritten digits.
"""

from pathlib import Path

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.bundles.loading import EMBEDDED
from kerasdl.train import RunConfig

SEED = 0
ARGUMENTS = {
    "image_shape": (32, 32, 3),
    "classes": 26,
    "width": 0.75,
    "stages": ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 3, 1)),
    "last_channels": 256,
    "dropout": 0.1,
}
PREPROCESS = {"image_shape": (32, 32, 3), "scale": (-1.0, 1.0)}
LETTERS, LETTER_EPOCHS = 20_800, 10
DIGIT_EPOCHS = 30


def make_glyphs() -> Bundle:
    """Trains on letters rendered on the spot."""
    kerasdl.set_seed(SEED)
    train = kerasdl.data.load("glyphs", "train", size=LETTERS, image_shape=(32, 32, 3))
    validation, test = (kerasdl.data.load("glyphs", split, image_shape=(32, 32, 3)) for split in ("validation", "test"))
    model = kerasdl.build("mobilenet_v2", **ARGUMENTS)
    config = RunConfig(
        epochs=LETTER_EPOCHS, batch_size=64, learning_rate=3e-3, schedule="cosine", weight_decay=1e-2, seed=SEED
    )
    kerasdl.train.fit(model, train, validation=validation, config=config)
    bundle = Bundle.of(
        model,
        name="glyphs_mobilenet",
        task="image_classification",
        preprocess=PREPROCESS,
        labels=train.class_names,
        builder="mobilenet_v2",
        arguments=ARGUMENTS,
        provenance={
            "made by": "tools/make_bundles.py",
            "data": f"glyphs, {LETTERS} letters rendered from the fonts that matplotlib ships",
            "data licence": train.licence,
            "epochs": LETTER_EPOCHS,
            "seed": SEED,
        },
        licence="Apache-2.0",
    )
    return bundle.with_metrics("glyphs test", bundle.evaluate(test))


def make_digits(glyphs: Bundle) -> Bundle:
    """Fine-tunes on the whole train split of the handwritten digits."""
    kerasdl.set_seed(SEED)
    config = RunConfig(batch_size=32, schedule="cosine", weight_decay=1e-2, seed=SEED)
    train, validation = (kerasdl.data.load("digits", split) for split in ("train", "validation"))
    digits = glyphs.finetune(train, validation, epochs=DIGIT_EPOCHS, config=config, name="digits_mobilenet")
    return digits.with_metrics("digits test", digits.evaluate("digits"))


def save(bundle: Bundle) -> Path:
    """Writes an embedded bundle, with the card it makes of its figures."""
    path = bundle.save(EMBEDDED / f"{bundle.name}.zip")
    print(bundle.name, f"{path.stat().st_size:,} bytes", bundle.manifest.metrics)
    return path


if __name__ == "__main__":
    save(make_digits(kerasdl.load_bundle(save(make_glyphs()))))
