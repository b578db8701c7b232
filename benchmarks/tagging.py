"""Taggers on hand-tagged addresses and on drawn sentences with unseen names: F1 of entities by net, over seeds.

    python benchmarks/tagging.py                       # all rows, five seeds; 1 to 2 minutes of CPU each
    python benchmarks/tagging.py addresses --seeds 1
    python benchmarks/tagging.py --table               # the table of what was measured so far

Each net, data set and seed is a line of JSON in `tagging.jsonl` of the working folder; what stands there is not trained
again, so that the benchmark can be stopped and started. A net with and one without a CRF train alike, with the same
seeds, on the same data, for the same epochs; nothing is chosen by the test split. Beside them: a hidden Markov model
that is counted, and the most frequent tag of each word, which knows no neighbours.
"""

import time
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

import kept_lines
import keras
import numpy as np

import kerasdl
from kerasdl import ops
from kerasdl.metrics import EntityF1
from kerasdl.sequence import TokenTable
from kerasdl.sequence.nlp.tagging import figures
from kerasdl.sequence.nlp.token_table import word_form
from kerasdl.train import RunConfig, fit

RESULTS = Path("tagging.jsonl")
# Data: name, training sequences (None for all), epochs.
DATA = {"addresses": ("addresses", None, 30), "addresses_200": ("addresses", 200, 90), "names": ("names", None, 8)}
NETS = {"bilstm_crf": {"crf": True}, "bilstm_tagger": {"crf": False}}
SIZES = {"embedding": 48, "characters": 16, "filters": 32, "units": 64, "dropout": 0.4}


def splits(name: str) -> tuple:
    """Returns the training and the test split of a row, as texts."""
    data, count, _ = DATA[name]
    train = kerasdl.data.load(data)
    return train if count is None else train.take(count), kerasdl.data.load(data, "test")


def trained(name: str, net: str, seed: int) -> dict:
    """Trains one net with one seed, and returns its figures on the test split."""
    train, test = splits(name)
    table = TokenTable.of(train.source.inputs, minimum=2, word_length=12)
    tags = sorted({tag for data in (train, test) for row in data.source.labels for tag in row.split()})
    train, test = (table.tagged(each, tags) for each in (train, test))
    keras.utils.set_random_seed(seed)
    sizes = {"vocabulary": table.vocabulary, "character_vocabulary": table.character_vocabulary, "word_length": 12}
    model = kerasdl.build("bilstm_crf", length=None, classes=len(tags), **sizes, **SIZES, **NETS[net])
    config = RunConfig(epochs=DATA[name][2], batch_size=16, learning_rate=5e-3, schedule="cosine", seed=seed)
    started, cpu = time.perf_counter(), time.process_time()
    fit(model, train, task="token_tagging", config=config)
    spent = {"seconds": round(time.perf_counter() - started), "cpu_seconds": round(time.process_time() - cpu)}
    found = {key: round(value, 4) for key, value in figures({"model": model}, test).figures.items()}
    return {"weights": model.count_params(), **found, **spent}


def counted(name: str, net: str) -> dict:
    """Returns the figures of a hidden Markov model, or of the most frequent tag of each word."""
    train, test = splits(name)
    pairs = [
        [(word_form(word), tag) for word, tag in zip(text.split(), tags.split(), strict=True)]
        for text, tags in zip(train.source.inputs, train.source.labels, strict=True)
    ]
    tags = sorted({tag for row in pairs for _, tag in row})
    numbers = {tag: number for number, tag in enumerate(tags)}
    seen, follows = defaultdict(Counter), np.full((len(tags) + 1, len(tags) + 1), 0.1)
    for row in pairs:
        path = [len(tags), *(numbers[tag] for _, tag in row), len(tags)]
        np.add.at(follows, (path[:-1], path[1:]), 1)
        for word, tag in row:
            for form in (word, shape_of(word)):
                seen[form][numbers[tag]] += 1
    steps = np.log(follows / follows.sum(axis=1, keepdims=True))
    totals = sum((Counter(numbers[tag] for _, tag in row) for row in pairs), Counter())
    words = [[word_form(word) for word in text.split()] for text in test.source.inputs]
    mask = np.arange(max(map(len, words))) < np.array([[len(row)] for row in words])
    logits = np.zeros((*mask.shape, len(tags)), np.float32)
    logits[mask] = [log_share(word, seen, totals, len(tags)) for row in words for word in row]
    if net == "hidden Markov":
        ends = steps[-1, :-1], steps[:-1, -1]
        paths = ops.viterbi(ops.chain_potentials(logits, steps[:-1, :-1], *ends, mask), mask)[0].numpy()
    else:
        paths = (logits + np.log([totals[tag] for tag in range(len(tags))])).argmax(axis=-1)
    metric = EntityF1(ops.tag_scheme(tags))
    truth = [row.split() for row in test.source.labels]
    metric.update_state(
        truth, [[tags[tag] for tag in path[: len(row)]] for path, row in zip(paths, truth, strict=True)]
    )
    return {key: round(value, 4) for key, value in metric.result().items()}


def shape_of(word: str) -> str:
    """Returns the class by which a word that was never seen is judged: its ending, or its digits."""
    return "shape:" + ("digits" if word.strip("0") == "" else word[-2:] if word.isalpha() else "mixed")


def log_share(word: str, seen: dict, totals: Counter, tags: int) -> np.ndarray:
    """Returns the logarithm of the share of a word among the words of each tag, smoothed."""
    counts = seen.get(word) or seen.get(shape_of(word)) or Counter()
    return np.log([(counts[tag] + 0.05) / (totals[tag] + 0.05 * len(seen)) for tag in range(tags)])


BASELINES = ("hidden Markov", "most frequent tag")
KEYS = ("data", "net", "seed")


def main() -> None:
    """Trains what is missing, and prints the table."""
    asked = kept_lines.asked(__doc__, DATA, kind="data set", seeds=5)
    jobs = {(data, net, 0): partial(counted, data, net) for data in asked.names for net in BASELINES}
    for data in asked.names:
        jobs |= {(data, net, seed): partial(trained, data, net, seed) for seed in range(asked.seeds) for net in NETS}
    kept_lines.measure(RESULTS, KEYS, {} if asked.table else jobs)
    kept_lines.means(RESULTS, KEYS[:2], {"f1": ".3f", "accuracy": ".3f", "loss": ".2f", "cpu_seconds": ".0f"})


if __name__ == "__main__":
    main()
