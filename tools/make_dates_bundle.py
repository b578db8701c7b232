"""Builder of the embedded bundle `dates_seq2seq` from a fixed seed, about a minute on two cores.

A small encoder and decoder with attention, which turns dates in twenty ways of writing into ISO form.
"""

from pathlib import Path

import keras
from bundle_making import bundle_of, embed

import kerasdl
from kerasdl.bundles import Bundle
from kerasdl.bundles.listing import EMBEDDED
from kerasdl.core import get_task
from kerasdl.data import load
from kerasdl.sequence import Translator, train_tokenizer
from kerasdl.train import RunConfig, fit

NAME, BUILDER, SEED, PAIRS, EPOCHS = "dates_seq2seq", "seq2seq", 0, 10_000, 12
LENGTHS = {"length": 30, "target_length": 11}


def make() -> Bundle:
    """Trains the net and measures it on other dates."""
    keras.utils.set_random_seed(SEED)
    pairs, task = load("dates", size=PAIRS), get_task("sequence_to_sequence")
    sources, targets = pairs.arrays()
    tokenizer = train_tokenizer([*sources, *targets], "char", 100)
    settings = {**LENGTHS, "tokenizer": tokenizer.to_text()}
    arguments = {**LENGTHS, "vocabulary": tokenizer.vocabulary, "embedding": 32, "units": 64}
    network = kerasdl.build(BUILDER, **arguments)
    config = RunConfig(
        epochs=EPOCHS,
        batch_size=64,
        learning_rate=4e-3,
        schedule="cosine",
        seed=SEED,
        strategy=None,
        folder="dates_seq2seq_run",
    )
    fit(Translator(network), task.ready(pairs, settings), config=config)
    bundle = bundle_of(
        network,
        name=NAME,
        task=task.name,
        preprocess=settings,
        builder=BUILDER,
        arguments=arguments,
        made_by=__file__,
        data=f"dates, {PAIRS} generated pairs",
        data_licence=pairs.licence,
        epochs=EPOCHS,
        seed=SEED,
    )
    return bundle.with_metrics("dates test", bundle.evaluate(load("dates", "test")))


def main(folder: Path = EMBEDDED) -> None:
    """Writes the bundle, kernels as float16."""
    embed(make(), folder, half=True)


if __name__ == "__main__":
    main()
