"""Word2vec beside gensim: words a second at equal threads, in turns, and planted analogies.

    python benchmarks/word2vec.py --peer PYTHON             # an interpreter that has gensim, which the project lacks
    python benchmarks/word2vec.py --table                   # the means of what was measured so far

Each method and seed is a line of JSON in `word2vec.jsonl` of the working folder; what stands there is not measured
again. Words a second are those of 1,500 passages of `austen`, of the difference between runs of three epochs and of
one, so that neither reading nor compiling counts; `cpu` are words a second of processor time, which the load of other
programs does not spoil. Analogies are those of `relation_grid`, 8 rows by 6 columns, 10 epochs; vectors that are drawn,
the trivial baseline, answer less than 0.02 of them.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import kept_lines
import tensorflow as tf

import kerasdl
from kerasdl.sequence import Word2Vec, analogy_accuracy, load_vectors, relation_grid
from kerasdl.train import LoopConfig

RESULTS = Path("word2vec.jsonl")
METHODS = {
    "skip_gram": {"mode": "skip_gram"},
    "cbow": {"mode": "cbow"},
    "skip_gram_hierarchical": {"mode": "skip_gram", "softmax": "hierarchical"},
    "cbow_hierarchical": {"mode": "cbow", "softmax": "hierarchical"},
}
PASSAGES, GRID_WIDTH, GRID_EPOCHS = 1500, 32, 10

PEER = """
import json, sys, time
from gensim.models import Word2Vec
settings, epochs, out = json.loads(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
texts = json.load(open(sys.argv[4], encoding="utf-8"))
model = Word2Vec(**settings)
model.build_vocab(texts)
wall, cpu = time.perf_counter(), time.process_time()
model.train(texts, total_examples=len(texts), epochs=epochs)
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
model.wv.save_word2vec_format(out, binary=True)
"""


def ours(settings: dict, texts: list, epochs: int):
    """Returns seconds by the clock and of the processor, and the vectors."""
    wall, cpu = time.perf_counter(), time.process_time()
    vectors = Word2Vec(**settings).fit(texts, LoopConfig(epochs=epochs, progress="off", steps_per_execution=50))
    return time.perf_counter() - wall, time.process_time() - cpu, vectors


def theirs(peer: str, threads: int, settings: dict, texts: list, epochs: int):
    """Returns the same of gensim in another interpreter, of its training alone."""
    negative = settings.get("softmax", "negative") == "negative"
    chosen = {
        **{"vector_size": settings["width"], "window": 5, "sg": int(settings["mode"] == "skip_gram")},
        **{"negative": 5 if negative else 0, "hs": int(not negative), "sample": settings["subsample"]},
        **{"min_count": settings["minimum_count"], "workers": threads, "seed": settings["seed"] + 1},
    }
    with tempfile.TemporaryDirectory() as folder:
        corpus, out = Path(folder) / "texts.json", Path(folder) / "vectors.bin"
        corpus.write_text(json.dumps(texts), encoding="utf-8")
        command = [peer, "-c", PEER, json.dumps(chosen), str(epochs), str(out), str(corpus)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return *json.loads(done.stdout.splitlines()[-1]), load_vectors(out)


def compared(method: str, seed: int, peer: str, threads: int) -> dict:
    """Returns the figures of one method and seed: ours and gensim's in turns."""
    passages, _ = kerasdl.data.load("austen").take(PASSAGES).arrays()
    passages = [str(text).split() for text in passages]
    words = sum(map(len, passages))
    grid, questions = relation_grid(seed=seed)
    settings = {**METHODS[method], "width": 100, "minimum_count": 5, "subsample": 1e-3, "seed": seed}
    sides = {"": ours, "gensim_": lambda *parts: theirs(peer, threads, *parts)}
    line = {"threads": threads}
    times = {}
    for epochs in (1, 3):
        for side, run in sides.items():
            times[side, epochs] = run(settings, passages, epochs)[:2]
    small = {**settings, "width": GRID_WIDTH, "minimum_count": 1, "subsample": 0}
    for side, run in sides.items():
        wall, cpu = (three - one for one, three in zip(times[side, 1], times[side, 3], strict=True))
        line |= {f"{side}words": 2 * words / wall, f"{side}cpu": 2 * words / cpu}
        line[f"{side}analogies"] = analogy_accuracy(run(small, grid, GRID_EPOCHS)[2], questions).accuracy
    return line | {"ratio": line["words"] / line["gensim_words"], "cpu_ratio": line["cpu"] / line["gensim_cpu"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="*", help=f"of {', '.join(METHODS)}; all by default")
    parser.add_argument("--peer", help="interpreter that has gensim")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    if unknown := set(asked.methods) - set(METHODS):
        parser.error(f"a method is one of {', '.join(METHODS)}; got {', '.join(sorted(unknown))}")
    if not asked.table:
        if asked.peer is None:
            parser.error("pass --peer, an interpreter that has gensim")
        tf.config.threading.set_intra_op_parallelism_threads(asked.threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        jobs = {
            (method, seed): lambda method=method, seed=seed: compared(method, seed, asked.peer, asked.threads)
            for seed in range(asked.seeds)
            for method in asked.methods or METHODS
        }
        kept_lines.measure(RESULTS, ("method", "seed"), jobs)
    figures = {"words": ",.0f", "gensim_words": ",.0f", "ratio": ".2f", "cpu_ratio": ".2f"}
    kept_lines.means(RESULTS, ("method",), figures | {"analogies": ".3f", "gensim_analogies": ".3f"})


if __name__ == "__main__":
    main()
