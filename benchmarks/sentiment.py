"""Sentiment of sentences: a GRU over word pieces against TF-IDF with logistic regression.

`python benchmarks/sentiment.py` adds a JSON line for each seed to benchmarks/sentiment.jsonl. Bar: at most two points
below the regression; the most frequent class must be further below.
"""

import time
from functools import partial
from pathlib import Path

import kept_lines
import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

import kerasdl
from kerasdl.data import load
from kerasdl.sequence import train_tokenizer
from kerasdl.train import RunConfig

RESULTS, KEYS = Path(__file__).with_suffix(".jsonl"), ("net", "seed")
LENGTH, POINTS = 48, 0.02


def regression() -> tuple[float, float]:
    """Returns the test accuracies of the regression on words and pairs of words, and of the most frequent class."""
    (texts, labels), (held, truth) = load("sentiment").arrays(), load("sentiment", "test").arrays()
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    net = LogisticRegression(C=10, max_iter=1000).fit(words.fit_transform(texts), labels)
    frequent = np.bincount(labels).argmax()
    return float(net.score(words.transform(held), truth)), float(np.mean(truth == frequent))


def train(seed: int) -> dict[str, float]:
    """Returns the test accuracy of the net and its CPU seconds."""
    kerasdl.set_seed(seed)
    start, data = time.process_time(), load("sentiment")
    tokenizer = train_tokenizer(data, "wordpiece", 8_000, lowercase=True)
    sizes = {"embedding": 64, "units": 48, "dropout": 0.5}
    bundle = kerasdl.Bundle.of(
        kerasdl.build("gru_classifier", length=LENGTH, vocabulary=tokenizer.vocabulary, **sizes),
        name="sentiment",
        task="text_classification",
        labels=data.class_names,
        preprocess={"length": LENGTH, "padding_id": 0, "tokenizer": tokenizer.to_text()},
    )
    config = RunConfig(batch_size=64, seed=seed, schedule="cosine", progress="off")
    tuned = bundle.finetune(
        data, load("sentiment", "validation"), epochs=4, learning_rate=2e-3, freeze="none", config=config
    )
    accuracy = tuned.evaluate(load("sentiment", "test"))["accuracy"]
    return {"accuracy": accuracy, "cpu_seconds": time.process_time() - start}


def measured(seed: int) -> dict:
    """Returns the figures of the net, the regression and the most frequent class, and whether the bar holds."""
    baseline, frequent = regression()
    line = {**train(seed), "regression": baseline, "most_frequent": frequent}
    return line | {"holds": line["accuracy"] >= baseline - POINTS > frequent}


def main() -> None:
    """Measures the seeds that are asked for and prints the means."""
    asked = kept_lines.asked(__doc__, ["gru"], kind="net")
    jobs = {("gru", seed): partial(measured, seed) for seed in range(asked.seeds)}
    kept_lines.measure(RESULTS, KEYS, jobs if not asked.table else {})
    kept_lines.means(RESULTS, KEYS[:1], {"accuracy": ".3f", "regression": ".3f", "cpu_seconds": ".0f"})


if __name__ == "__main__":
    main()
