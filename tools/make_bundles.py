"""Builder of the embedded bundles from a fixed seed: `make bundles`, about forty minutes on two cores.

`glyphs_mobilenet`, `glyphs_resnet` and `glyphs_vit` are small nets for 32-pixel images, trained on rendered letters;
`digits_mobilenet` is fine-tuned from the first on real handwritten digits. Names as arguments make those alone.
"""

import sys
from typing import Any

from bundle_making import bundle_of, embed

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.train import RunConfig

SEED = 0
INPUT = {"image_shape": (32, 32, 3), "classes": 26}
LETTERS = 20_800
# The builder, what it is given, and the settings of the run.
GLYPHS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "glyphs_mobilenet": (
        "mobilenet_v2",
        {
            **INPUT,
            "width": 0.75,
            "stages": ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 3, 1)),
            "last_channels": 256,
            "dropout": 0.1,
        },
        {"epochs": 10, "learning_rate": 3e-3},
    ),
    "glyphs_resnet": (
        "resnet18",
        {**INPUT, "stages": (1, 1, 1), "channels": 32, "dropout": 0.1},
        {"epochs": 12, "learning_rate": 3e-3},
    ),
    "glyphs_vit": (
        "vit_tiny",
        {**INPUT, "patch": 4, "width": 72, "depth": 4, "heads": 4, "dropout": 0.05},
        {"epochs": 16, "learning_rate": 2e-3, "schedule": kerasdl.train.schedules.Warmup(0.05, "cosine")},
    ),
}
PREPROCESS = {"image_shape": (32, 32, 3), "scale": (-1.0, 1.0)}
DIGIT_EPOCHS = 30


def make_glyphs(name: str) -> Bundle:
    """Trains on synthetic letters."""
    builder, arguments, settings = GLYPHS[name]
    kerasdl.set_seed(SEED)
    train = kerasdl.data.load("glyphs", "train", size=LETTERS, image_shape=(32, 32, 3))
    validation, test = (kerasdl.data.load("glyphs", split, image_shape=(32, 32, 3)) for split in ("validation", "test"))
    model = kerasdl.build(builder, **arguments)
    config = RunConfig(**{"batch_size": 64, "schedule": "cosine", "weight_decay": 1e-2, "seed": SEED, **settings})
    kerasdl.train.fit(model, train, validation=validation, config=config)
    bundle = bundle_of(
        model,
        name=name,
        task="image_classification",
        preprocess=PREPROCESS,
        labels=train.class_names,
        builder=builder,
        arguments=arguments,
        made_by=__file__,
        data=f"glyphs, {LETTERS} letters rendered from the fonts that matplotlib ships",
        data_licence=train.licence,
        epochs=settings["epochs"],
        seed=SEED,
    )
    return bundle.with_metrics("glyphs test", bundle.evaluate(test))


def make_digits(glyphs: Bundle) -> Bundle:
    """Fine-tunes on the whole train split of the handwritten digits."""
    kerasdl.set_seed(SEED)
    config = RunConfig(batch_size=32, schedule="cosine", weight_decay=1e-2, seed=SEED)
    train, validation = (kerasdl.data.load("digits", split) for split in ("train", "validation"))
    digits = glyphs.finetune(train, validation, epochs=DIGIT_EPOCHS, config=config, name="digits_mobilenet")
    return digits.with_metrics("digits test", digits.evaluate("digits"))


def main(*names: str) -> None:
    """Builds the named bundles, or all."""
    for name in names or (*GLYPHS, "digits_mobilenet"):
        embed(make_glyphs(name) if name in GLYPHS else make_digits(kerasdl.load_bundle("glyphs_mobilenet")))


if __name__ == "__main__":
    main(*sys.argv[1:])
