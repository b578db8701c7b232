"""Sentiment classification of sentences: words to ids, then a GRU. `python docs/recipes/sentiment.py`."""

import sys

import keras

import kerasdl
from kerasdl.data import as_dataset, load
from kerasdl.train import RunConfig, fit

WORDS, LENGTH = 8_000, 40


def ids(split: str, words: keras.layers.TextVectorization) -> kerasdl.data.Dataset:
    """Returns a split as padded ids of words, int32 (B, 40)."""
    texts, labels = load("sentiment", split).arrays()
    found = keras.ops.convert_to_numpy(words(texts)).astype("int32")
    return as_dataset(
        (found, labels), name="sentiment", task="text_classification", class_names=("negative", "positive")
    )


def train(seed: int) -> float:
    """Returns the test accuracy; the epoch is chosen on validation data."""
    kerasdl.set_seed(seed)
    words = keras.layers.TextVectorization(WORDS, output_sequence_length=LENGTH)
    words.adapt(load("sentiment").arrays()[0])
    settings = {"length": LENGTH, "vocabulary": WORDS, "embedding": 32, "units": 32, "dropout": 0.5}
    model = kerasdl.build("gru_classifier", **settings)
    config = RunConfig(epochs=4, batch_size=64, learning_rate=2e-3, seed=seed, progress="off")
    fit(model, ids("train", words), validation=ids("validation", words), config=config)
    texts, labels = ids("test", words).arrays()
    return float((model.predict(texts, verbose=0).argmax(1) == labels).mean())


if __name__ == "__main__":
    for seed in [int(each) for each in sys.argv[1:] or ("0", "1", "2")]:
        print(seed, round(train(seed), 4), flush=True)
