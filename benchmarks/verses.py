"""English verses into Spanish: BLEU and chrF of a transformer, of a recurrent net with attention, and of copying.

    python benchmarks/verses.py                    # both nets and copying; 15 minutes of training each on two cores
    python benchmarks/verses.py transformer_base --updates 2    # whether it starts
    python benchmarks/verses.py --table            # the table of what was measured so far

Each system and seed is a line of JSON in `verses.jsonl` of the working folder; what stands there is not measured again.
Both nets learn the same 8,000 pairs in pieces of one vocabulary for both languages, until 15 minutes are over, and
write 400 verses that they have not seen by a beam of four. Copying answers with the Spanish of the training verse whose
English is nearest by the cosine of TF-IDF.
"""

import argparse
import time
from functools import partial
from pathlib import Path

import kept_lines
import keras
from sklearn.feature_extraction.text import TfidfVectorizer

import kerasdl
from kerasdl.data import Dataset, as_dataset, load
from kerasdl.metrics import bleu, chrf
from kerasdl.sequence import Tokenizer, Translator, train_tokenizer
from kerasdl.train import RunConfig, fit

RESULTS, KEYS = Path("verses.jsonl"), ("system", "seed")
PAIRS, TEST, PIECES, LONGEST, BEAM = 8_000, 400, 4_000, 72, 4
SECONDS = 900
NETS = {
    "transformer_base": (dict(width=192, depth=3, heads=4, hidden=768, dropout=0.2), 1e-3),
    "seq2seq": (dict(embedding=192, units=192, dropout=0.3), 2e-3),
}


class _Until(keras.callbacks.Callback):
    """Stops training when the seconds, or the updates, are over."""

    def __init__(self, seconds: float, updates: int | None):
        super().__init__()
        self.end, self.left = time.perf_counter() + seconds, updates

    def on_train_batch_end(self, batch, logs=None):
        self.left = None if self.left is None else self.left - 1
        if time.perf_counter() >= self.end or self.left == 0:
            self.model.stop_training = True


def pairs(split: str, count: int) -> tuple[list[str], list[str]]:
    """Returns verses of a split in both languages."""
    sources, targets = load("verses", split).arrays()
    return [str(each) for each in sources[:count]], [str(each) for each in targets[:count]]


def fitting(tokenizer: Tokenizer, sources: list[str], targets: list[str]) -> tuple[list[str], list[str]]:
    """Returns the pairs that both have a place for, with the end token."""
    kept = [
        pair
        for pair in zip(sources, targets, strict=True)
        if max(len(tokenizer.encode(text, special_tokens=False)) for text in pair) < LONGEST
    ]
    return [source for source, _ in kept], [target for _, target in kept]


def scores(references: list[str], written: list[str]) -> dict[str, float]:
    """Returns BLEU and chrF as their packages give them, and one answer to look at."""
    return {"bleu": bleu(references, written), "chrf": chrf(references, written), "first": written[0]}


def trained(name: str, seed: int, updates: int | None) -> dict:
    """Trains one net with one seed, and returns its figures."""
    sources, targets = pairs("train", PAIRS)
    tokenizer = train_tokenizer([*sources, *targets], "bpe", PIECES)
    settings = {"length": LONGEST, "target_length": LONGEST, "tokenizer": tokenizer.to_text()}
    sources, targets = fitting(tokenizer, sources, targets)
    task = kerasdl.core.get_task("sequence_to_sequence")
    data: Dataset = task.ready(as_dataset((sources, targets)), settings)
    arguments, rate = NETS[name]
    keras.utils.set_random_seed(seed)
    sizes = {"length": LONGEST, "target_length": LONGEST, "vocabulary": tokenizer.vocabulary}
    network = kerasdl.build(name, **sizes, **arguments)
    config = RunConfig(epochs=200, batch_size=64, learning_rate=rate, clip_norm=1.0, seed=seed, strategy=None)
    cpu = time.process_time()
    run = fit(Translator(network), data, config=config, callbacks=[_Until(SECONDS, updates)])
    cpu = round(time.process_time() - cpu)
    held, references = fitting(tokenizer, *pairs("test", TEST if updates is None else 8))
    ids = tokenizer.encode_batch(held, LONGEST)
    written = run.trainer.translate(ids, width=BEAM, batch_size=32).tolist()
    texts = [tokenizer.decode(row[: row.index(3)] if 3 in row else row) for row in written]
    figures = {"weights": network.count_params(), "pairs": len(sources), "verses": len(held), "cpu_seconds": cpu}
    return {**scores(references, texts), **figures, "loss": round(float(run.history["loss"][-1]), 3)}


def copying() -> dict:
    """Returns the figures of answering with the translation of the nearest training verse."""
    sources, targets = pairs("train", PAIRS)
    held, references = pairs("test", TEST)
    words = TfidfVectorizer(sublinear_tf=True)
    likeness = words.fit_transform(sources) @ words.transform(held).T
    nearest = likeness.toarray().argmax(0)
    return {**scores(references, [targets[place] for place in nearest]), "pairs": len(sources), "verses": len(held)}


def main() -> None:
    """Measures what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("systems", nargs="*", choices=[[], "copying", *NETS], metavar="SYSTEM")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--updates", type=int, help="stop after so many updates, and measure 8 verses alone")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    systems = asked.systems or ["copying", *NETS]
    jobs = {("copying", 0): copying} if "copying" in systems else {}
    jobs |= {
        (name, seed): partial(trained, name, seed, asked.updates)
        for seed in range(asked.seeds)
        for name in NETS
        if name in systems
    }
    if asked.updates is not None:
        for job, run in jobs.items():
            print(*job, run())
        return
    if not asked.table:
        kept_lines.measure(RESULTS, KEYS, jobs)
    figures = {"bleu": ".2f", "chrf": ".2f", "loss": ".2f", "weights": ".0f", "verses": ".0f", "cpu_seconds": ".0f"}
    kept_lines.means(RESULTS, KEYS[:1], figures)


if __name__ == "__main__":
    main()
