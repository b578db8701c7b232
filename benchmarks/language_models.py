"""Character language models on Shakespeare: bits a character on the last 5 % of the file, beside counted n-grams.

    python benchmarks/language_models.py                                # all, one seed; about 20 minutes
    python benchmarks/language_models.py characters witten_bell lstm_256
    python benchmarks/language_models.py rnn_128 gru_128 lstm_128        # the cells side by side
    python benchmarks/language_models.py gpt_nano                       # the transformer; about 30 minutes on two cores
    python benchmarks/language_models.py --table                        # the table of what was measured so far

Each model and seed is a line of JSON in `language_models.jsonl` of the working folder; what stands there is not
measured again. The text is that of `shakespeare` in the order of its file, 5.0 million characters; the last 5 % are the
test. The trivial baseline counts characters alone. The interpolated Witten-Bell model of order 5 counts all n-grams of
up to five characters (Bell, Cleary and Witten, Text Compression, 1990; method C). `gpt_nano` reads windows of 128
characters, and a character of the test knows those of its window alone; the bar is 2.3 bits.
"""

import json
import lzma
import time
from functools import partial
from pathlib import Path

import kept_lines
import keras
import numpy as np

import kerasdl
from kerasdl.data.builtin.pictures import FILES
from kerasdl.sequence import TruncatedBackpropagation, token_streams, token_windows
from kerasdl.train import RunConfig, fit

RESULTS = Path("language_models.jsonl")
TEST = 0.05
NET = {"embedding": 64, "depth": 1, "dropout": 0.0, "length": None}
STREAMS, LENGTH, SLICES = 64, 50, 7
COUNTED = {"characters": 1, "witten_bell": 5}
"""Order of each counted model."""
NETS = {
    "lstm_256": ("lstm", 256, 1900),
    "rnn_128": ("rnn", 128, 420),
    "gru_128": ("gru", 128, 420),
    "lstm_128": ("lstm", 128, 420),
}
"""Cell, units and updates of each net: the bar, and the cells side by side."""

NANO = {"length": 128, "positions": 128, "dropout": 0.0}
NANO_BATCH, NANO_UPDATES = 32, 2_800
"""Windows of an update of `gpt_nano`, and updates."""


def texts() -> tuple[np.ndarray, np.ndarray, int]:
    """Returns train and test characters as ids from 1, and the number of ids with the padding."""
    with lzma.open(FILES / "shakespeare.json.xz") as file:
        text = "\n".join(json.load(file)["texts"])
    characters = np.frombuffer(text.encode("utf-32-le"), "<u4")
    known, ids = np.unique(characters, return_inverse=True)
    cut = int(len(ids) * (1 - TEST))
    return ids[:cut] + 1, ids[cut:] + 1, len(known) + 1


def counted_bits(train: np.ndarray, test: np.ndarray, vocabulary: int, order: int) -> float:
    """Returns the bits a character of an interpolated Witten-Bell model of an order; order 1 counts characters."""
    chances = np.full(len(test), 1 / (vocabulary - 1))
    whole = np.concatenate([train, test])
    for size in range(1, order + 1):
        grams = codes(whole, size, vocabulary)  # of the characters up to each one, itself included
        contexts = grams // vocabulary  # without the last, which is the lowest digit
        seen, counts = np.unique(grams[size - 1 : len(train)], return_counts=True)
        before, first = np.unique(seen // vocabulary, return_index=True)
        kinds = np.diff(np.append(first, len(seen)))  # different characters behind each context
        totals = np.add.reduceat(counts, first)
        own, place = grams[len(train) :], looked_up(before, contexts[len(train) :])
        kind = np.where(place >= 0, kinds[place], 0)
        total = np.where(place >= 0, totals[place], 0)
        found = looked_up(seen, own)
        count = np.where(found >= 0, counts[found], 0)
        chances = np.where(kind > 0, (count + kind * chances) / np.maximum(total + kind, 1), chances)
    return float(-np.log2(chances).mean())


def codes(ids: np.ndarray, size: int, base: int) -> np.ndarray:
    """Returns a number for the last `size` ids up to each place; those of the first places are incomplete."""
    total = np.zeros(len(ids), np.int64)
    for back in range(size):
        total[back:] += ids[: len(ids) - back].astype(np.int64) * base**back
    return total


def looked_up(known: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Returns the place of each number among sorted ones, or -1."""
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[place] == wanted, place, -1)


def trained(cell: str, units: int, updates: int, seed: int) -> dict:
    """Trains one net with one seed, and returns its figures."""
    train, test, vocabulary = texts()
    keras.utils.set_random_seed(seed)
    network = kerasdl.build("lstm_language_model", cell=cell, units=units, vocabulary=vocabulary, **NET)
    trainer = TruncatedBackpropagation(network, streams=STREAMS)
    data, held = (token_streams(each, STREAMS, LENGTH) for each in (train, test))
    config = RunConfig(
        epochs=SLICES,
        steps_per_epoch=updates // SLICES,
        validation_steps=12,
        learning_rate=6e-3,
        schedule="one_cycle",
        clip_norm=1.0,
        optimizer="adam",
        seed=seed,
        strategy=None,
    )
    started, cpu = time.perf_counter(), time.process_time()
    run = fit(trainer, data, validation=held, task="language_modeling", config=config)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    metric = kerasdl.metrics.BitsPerToken()
    for inputs, labels in held.batches():
        metric.update_state(labels, trainer(inputs, training=False))
    return {
        "bits": float(metric.result()),
        "curve": [round(each, 3) for each in run.history["val_bits_per_token"]],
        "characters": updates * STREAMS * LENGTH,
        "weights": network.count_params(),
        "seconds": round(seconds),
        "cpu_seconds": round(cpu),
    }


def transformer(seed: int, updates: int = NANO_UPDATES) -> dict:
    """Trains `gpt_nano` on windows of characters, and returns its figures."""
    train, test, vocabulary = texts()
    keras.utils.set_random_seed(seed)
    network = kerasdl.build("gpt_nano", vocabulary=vocabulary, **NANO)
    data, held = (token_windows(each, NANO["length"]) for each in (train, test))
    config = RunConfig(
        steps=updates,
        batch_size=NANO_BATCH,
        learning_rate=2e-3,
        schedule="one_cycle",
        clip_norm=1.0,
        optimizer="adamw",
        weight_decay=0.01,
        seed=seed,
        strategy=None,
    )
    started, cpu = time.perf_counter(), time.process_time()
    fit(network, data, task="language_modeling", config=config)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    metric = kerasdl.metrics.BitsPerToken(ignore_class=-1)
    for inputs, labels in held.batches(NANO_BATCH):
        metric.update_state(labels, network(inputs, training=False))
    return {
        "bits": float(metric.result()),
        "characters": updates * NANO_BATCH * NANO["length"],
        "weights": network.count_params(),
        "seconds": round(seconds),
        "cpu_seconds": round(cpu),
    }


def counted(order: int) -> dict:
    """Returns the figures of a counted model."""
    cpu = time.process_time()
    bits = counted_bits(*texts(), order)
    return {"bits": bits, "cpu_seconds": round(time.process_time() - cpu)}


def main() -> None:
    """Measures what is not in the results yet, and prints the means."""
    asked = kept_lines.asked(__doc__, (*COUNTED, *NETS, "gpt_nano"), kind="model", seeds=1)
    if not asked.table:
        jobs = {(name, 0): partial(counted, COUNTED[name]) for name in asked.names if name in COUNTED}
        nets = [(name, seed) for seed in range(asked.seeds) for name in asked.names if name in NETS]
        jobs |= {(name, seed): partial(trained, *NETS[name], seed) for name, seed in nets}
        if "gpt_nano" in asked.names:
            jobs |= {("gpt_nano", seed): partial(transformer, seed) for seed in range(asked.seeds)}
        kept_lines.measure(RESULTS, ("model", "seed"), jobs)
    kept_lines.means(RESULTS, ("model",), {"bits": ".3f", "weights": ".0f", "characters": ".0f", "cpu_seconds": ".0f"})


if __name__ == "__main__":
    main()
