"""Dates in twenty ways of writing to ISO form: exact match with attention and without, beside copying.

    python benchmarks/seq2seq.py                    # four nets, three seeds; about 3 minutes each on two cores
    python benchmarks/seq2seq.py seq2seq --seeds 1
    python benchmarks/seq2seq.py --table            # the table of what was measured so far

Each net and seed is a line of JSON in `seq2seq.jsonl` of the working folder; what stands there is not trained again.
All nets learn the same 10,000 pairs for the same number of updates, and are measured on 1,000 others, of other dates.
Copying answers with the first ten characters of the source.
"""

import time
from functools import partial
from pathlib import Path

import kept_lines
import keras

import kerasdl
from kerasdl.data import load
from kerasdl.sequence import Translator, exposure_bias, train_tokenizer
from kerasdl.train import RunConfig, fit

RESULTS, KEYS = Path("seq2seq.jsonl"), ("net", "seed")
RECURRENT = dict(embedding=32, units=64)
NETS = dict.fromkeys(("seq2seq", "seq2seq_luong", "seq2seq_no_attention"), RECURRENT)
NETS |= {"transformer_base": dict(width=64, depth=2, heads=4, hidden=128, dropout=0.1)}
RATES = {"transformer_base": {"learning_rate": 3e-3, "schedule": "one_cycle"}}
BAR = {"transformer_base": 0.99}
"""Exact matches that a net must reach."""
SIZES = {"length": 30, "target_length": 11}
EPOCHS, TRAIN = 12, 10_000


def settings() -> dict:
    """Returns the settings of the preprocessing: lengths, and a tokenizer of the characters of the training data."""
    sources, targets = load("dates", size=TRAIN).arrays()
    tokenizer = train_tokenizer([*sources, *targets], "char", 100)
    return {**SIZES, "tokenizer": tokenizer.to_text()}


def trained(name: str, seed: int) -> tuple[Translator, dict]:
    """Trains one net with one seed, and returns it with its figures."""
    task, prepared = kerasdl.core.get_task("sequence_to_sequence"), settings()
    train, test = (
        task.ready(load("dates", split, size=size), prepared) for split, size in (("train", TRAIN), ("test", 1000))
    )
    vocabulary = kerasdl.sequence.Tokenizer.from_text(prepared["tokenizer"]).vocabulary
    keras.utils.set_random_seed(seed)
    network = kerasdl.build(name, vocabulary=vocabulary, **NETS[name], **SIZES)
    rates = RATES.get(name, {"learning_rate": 4e-3, "schedule": "cosine"})
    config = RunConfig(epochs=EPOCHS, batch_size=64, **rates, seed=seed, strategy=None)
    started, cpu = time.perf_counter(), time.process_time()
    translator = fit(Translator(network), train, config=config).trainer
    spent = {"seconds": round(time.perf_counter() - started), "cpu_seconds": round(time.process_time() - cpu)}
    found = exposure_bias(translator, test)
    figures = {"exact": found.exact_match, "forced": found.teacher_forced, "free": found.free_running}
    return translator, {
        **{key: round(value, 4) for key, value in figures.items()},
        "weights": network.count_params(),
        **spent,
    }


def copying() -> dict:
    """Returns the figures of copying the first ten characters."""
    sources, targets = load("dates", "test").arrays()
    return {"exact": sum(a[:10] == b for a, b in zip(sources, targets, strict=True)) / len(sources)}


def main() -> None:
    """Trains what is missing, and prints the table."""
    asked = kept_lines.asked(__doc__, NETS, kind="net")
    jobs = {("copying", 0): copying}
    jobs |= {
        (name, seed): partial(lambda name, seed: trained(name, seed)[1], name, seed)
        for seed in range(asked.seeds)
        for name in asked.names
    }
    if not asked.table:
        kept_lines.measure(RESULTS, KEYS, jobs)
    figures = {"exact": ".3f", "forced": ".3f", "free": ".3f", "weights": ".0f", "cpu_seconds": ".0f"}
    kept_lines.means(RESULTS, KEYS[:1], figures)


if __name__ == "__main__":
    main()
