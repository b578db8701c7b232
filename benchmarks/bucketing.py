"""Bucketing by length against padding to the longest: CPU seconds of an epoch of a BiLSTM, in turns in one run.

`python benchmarks/bucketing.py` prints one JSON line. Bar: at least 1.5 times as fast; outputs equal to 1e-5.
"""

import json
import statistics
import time

import keras
import numpy as np

import kerasdl
from kerasdl.data import as_dataset, bucket_by_length, load
from kerasdl.sequence import train_tokenizer

TEXTS, BATCH, TURNS = 1_500, 32, 3


def epoch_seconds(model: keras.Model, batches) -> float:
    """Returns the CPU seconds of an epoch of updates."""
    start = time.process_time()
    model.fit(batches, verbose=0)
    return time.process_time() - start


def main() -> None:
    """Measures both ways in turns on passages of unlike length, and prints the ratio."""
    texts, labels = load("sentiment").take(TEXTS).arrays()
    tokenizer = train_tokenizer(texts, "wordpiece", 2_000, lowercase=True)
    data = as_dataset((tokenizer.encode_batch(texts), labels), class_names=("negative", "positive"))
    ways = {"padded": data, "bucketed": bucket_by_length(data, BATCH)}
    settings = {"length": None, "vocabulary": tokenizer.vocabulary, "embedding": 32, "units": 64}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    models = {name: kerasdl.build("bilstm_classifier", **settings) for name in ways}
    models["bucketed"].set_weights(models["padded"].get_weights())
    ids = data.arrays()[0][:64]
    short = next(iter(ways["bucketed"].batches(BATCH)))[0].numpy()
    long = np.pad(short, ((0, 0), (0, ids.shape[1] - short.shape[1])))
    apart = float(np.abs(models["padded"](short).numpy() - models["padded"](long).numpy()).max())
    for model in models.values():
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for turn in range(TURNS + 1):
        for name, each in ways.items():
            taken = epoch_seconds(models[name], each.batches(BATCH, shuffle=True, epoch=turn))
            seconds[name] += [taken] if turn else []  # the first epoch compiles
    middle = {name: statistics.median(each) for name, each in seconds.items()}
    ratio = middle["padded"] / middle["bucketed"]
    line = {"bar": "bucketing", "longest": int(ids.shape[1]), **middle, "ratio": ratio, "apart": apart}
    print(json.dumps({**line, "holds": ratio >= 1.5 and apart <= 1e-5}))


if __name__ == "__main__":
    main()
