"""Mini-BERT on docstrings: accuracy after fine-tuning with 20 examples a class, pretrained against from scratch.

    python benchmarks/pretraining.py                       # three seeds; about 20 CPU minutes each
    python benchmarks/pretraining.py scratch --seeds 1
    python benchmarks/pretraining.py short --seeds 1       # an eighth of the pretraining
    python benchmarks/pretraining.py --table               # the table of what was measured so far

Each row and seed is a line of JSON in `pretraining.jsonl` of the working folder; what stands there is not measured
again. Tokenizer and pretraining read the train split of `pydoc` without labels; fine-tuning reads 20 examples of each
part of the library; accuracy is that on the test split. All rows fine-tune alike: same net, examples, updates and rate.
The trivial baseline is the largest class. Bar: `pretrained` is at least 5 points above `scratch`.
"""

import time
from collections import Counter
from functools import partial
from pathlib import Path

import kept_lines
import keras
import numpy as np

import kerasdl
from kerasdl.sequence import MaskedLM, take_weights, train_tokenizer
from kerasdl.train import RunConfig, fit

RESULTS = Path("pretraining.jsonl")
LENGTH, VOCABULARY, PER_CLASS = 48, 3_000, 20
SIZES = {"encoder": "bert_tiny", "length": LENGTH, "width": 128, "depth": 3, "heads": 4, "hidden": 512}
UPDATES = {"pretrained": 3_600, "short": 420, "scratch": 0}
"""Updates of the pretraining of each row, 64 texts each."""
EPOCHS, RATE = 25, 5e-4


def inputs_of(tokenizer, texts) -> dict:
    """Returns the inputs of the net."""
    tokens, segments = tokenizer.encode_batch(list(texts), LENGTH, segments=True)
    return {"tokens": tokens, "segments": segments}


def pretrained(tokenizer, train, updates: int, seed: int) -> tuple[keras.Model, dict]:
    """Returns a masked language model after so many updates on texts, and its figures."""
    network = kerasdl.build("bert_masked_lm", vocabulary=tokenizer.vocabulary, **SIZES)
    config = RunConfig(
        steps=updates,
        batch_size=64,
        learning_rate=1e-3,
        schedule="one_cycle",
        optimizer="adamw",
        clip_norm=1.0,
        seed=seed,
        strategy=None,
        progress="off",
    )
    cpu = time.process_time()
    run = fit(MaskedLM(network, tokenizer, whole_words=True, seed=seed), inputs_of(tokenizer, train), config=config)
    curve = [round(each, 3) for each in run.history["masked_accuracy"]]
    return network, {"masked_accuracy": curve[-1], "pretraining_cpu_seconds": round(time.process_time() - cpu)}


def measured(row: str, seed: int) -> dict:
    """Returns the figures of a row with a seed."""
    train, test = (kerasdl.data.load("pydoc", split) for split in ("train", "test"))
    tokenizer = train_tokenizer(train, "wordpiece", VOCABULARY, lowercase=True, special=["[MASK]"], ends=True)
    keras.utils.set_random_seed(seed)
    sizes = {**SIZES, "vocabulary": tokenizer.vocabulary}
    classifier, found = kerasdl.build("bert_classifier", classes=len(train.class_names), **sizes), {}
    if UPDATES[row]:
        network, found = pretrained(tokenizer, train.arrays()[0], UPDATES[row], seed)
        take_weights(classifier, network)
    texts, labels = train.per_class(PER_CLASS, seed).arrays()
    config = RunConfig(
        epochs=EPOCHS,
        batch_size=20,
        learning_rate=RATE,
        schedule="one_cycle",
        optimizer="adamw",
        seed=seed,
        strategy=None,
        progress="off",
    )
    cpu = time.process_time()
    fit(classifier, (inputs_of(tokenizer, texts), labels), task="text_classification", config=config)
    spent = round(time.process_time() - cpu)
    texts, labels = test.arrays()
    answers = classifier.predict(inputs_of(tokenizer, texts), verbose=0).argmax(axis=1)
    return {"accuracy": float(np.mean(answers == labels)), **found, "tuning_cpu_seconds": spent}


def largest_class() -> dict:
    """Returns the accuracy of the largest class on the test split."""
    labels = kerasdl.data.load("pydoc", "test").arrays()[1]
    return {"accuracy": Counter(labels.tolist()).most_common(1)[0][1] / len(labels)}


def main() -> None:
    """Measures what is not in the results yet, and prints the means."""
    asked = kept_lines.asked(__doc__, ("largest_class", *UPDATES), kind="row")
    if not asked.table:
        jobs = {("largest_class", 0): largest_class} if "largest_class" in asked.names else {}
        rows = [(name, seed) for seed in range(asked.seeds) for name in asked.names if name in UPDATES]
        jobs |= {job: partial(measured, *job) for job in rows}
        kept_lines.measure(RESULTS, ("row", "seed"), jobs)
    figures = {
        "accuracy": ".3f",
        "masked_accuracy": ".3f",
        "pretraining_cpu_seconds": ".0f",
        "tuning_cpu_seconds": ".0f",
    }
    kept_lines.means(RESULTS, ("row",), figures)


if __name__ == "__main__":
    main()
