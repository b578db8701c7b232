"""Builder of the embedded bundle `pydoc_lstm` from a fixed seed, about two minutes on two cores.

A small bidirectional LSTM over word pieces, which tells from a docstring the part of Python's standard library that it
is from (`kerasdl.data.load("pydoc")`: the docstrings of the Python that runs this file).
"""

import platform
from pathlib import Path

from bundle_making import bundle_of, embed

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.bundles.listing import EMBEDDED
from kerasdl.data import load
from kerasdl.sequence import train_tokenizer
from kerasdl.train import RunConfig, fit

NAME, BUILDER, SEED, EPOCHS = "pydoc_lstm", "bilstm_classifier", 0, 8
LENGTH, VOCABULARY = 48, 4_000
SIZES = {"embedding": 48, "units": 32, "dropout": 0.5}


def make() -> Bundle:
    """Trains tokenizer and net on the train split and measures them on the test split."""
    kerasdl.set_seed(SEED)
    train, validation, test = (load("pydoc", split) for split in ("train", "validation", "test"))
    tokenizer = train_tokenizer(train, "wordpiece", VOCABULARY, lowercase=True)
    arguments = {
        "length": LENGTH,
        "vocabulary": tokenizer.vocabulary,
        "classes": len(train.class_names),
        **SIZES,
    }
    bundle = bundle_of(
        kerasdl.build(BUILDER, **arguments),
        name=NAME,
        task="text_classification",
        preprocess={"length": LENGTH, "padding_id": 0, "tokenizer": tokenizer.to_text()},
        labels=train.class_names,
        builder=BUILDER,
        arguments=arguments,
        made_by=__file__,
        data=f"docstrings of Python {platform.python_version()}, {train.size} of the train split",
        data_licence=train.licence,
        epochs=EPOCHS,
        seed=SEED,
    )
    config = RunConfig(epochs=EPOCHS, batch_size=32, learning_rate=4e-3, schedule="cosine", seed=SEED, strategy=None)
    fit(bundle.model, bundle.ready(train), validation=bundle.ready(validation), config=config)
    return bundle.with_metrics("pydoc test", bundle.evaluate(test))


def main(folder: Path = EMBEDDED) -> None:
    """Writes the bundle, kernels as float16."""
    embed(make(), folder, half=True)


if __name__ == "__main__":
    main()
