"""GloVe: vectors of words from counts of co-occurrence, by weighted least squares (https://aclanthology.org/D14-1162).

Deviation: updates of a batch of pairs are made at once; AdaGrad adds the square of each pair's gradient, as in the
authors' program, and then moves a row by the sum.
"""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import short_repr, with_field_sentences
from kerasdl.ops import glove_loss
from kerasdl.train import LoopConfig, State, run_steps

from .corpus import Corpus, read_corpus
from .word_vectors import WordVectors


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class GloVe:
    """GloVe, a training of word vectors; `fit` returns them.

    Source: https://aclanthology.org/D14-1162.

    Raises:
        ArgumentError: a setting breaks its range.

    Example:
        >>> texts = ["the cat sat on the mat", "the dog sat on the rug"] * 20
        >>> vectors = GloVe(width=8, minimum_count=1).fit(texts, kerasdl.train.LoopConfig(epochs=2, progress="off"))
        >>> vectors.vector("cat").shape
        (8,)
    """

    width: int = 100
    """Numbers in a vector."""
    window: int = 10
    """Words on each side of a word that count as its context; one at a distance of d words counts 1 / d."""
    minimum_count: int = 5
    """Words that occur less often are left out."""
    most: float = 100.0
    """Count from which on all pairs weigh the same."""
    power: float = 0.75
    """Exponent of the weights of rarer pairs, from 0 to 1."""
    learning_rate: float = 0.05
    """Learning rate of AdaGrad."""
    batch_size: int = 256
    """Pairs of words in an update."""
    seed: int = 0
    """Seed of initial vectors and of the order of the pairs."""

    __repr__ = short_repr

    def __post_init__(self):
        for name in ("width", "window", "minimum_count", "batch_size"):
            checks.at_least(name, getattr(self, name), 1)
        checks.at_least("seed", self.seed, 0)
        checks.within("most", self.most, 1e-9, 1e12)
        checks.within("power", self.power, 0.0, 1.0)
        checks.within("learning_rate", self.learning_rate, 1e-9, 10.0)

    def fit(self, texts: Iterable[str | Sequence[str]], config: LoopConfig | None = None) -> WordVectors:
        """Returns the vectors of the words of texts: the sums of their vectors as words and as contexts.

        Args:
            texts: strings, which are cut at white space, or lists of tokens; no window crosses from one to another.
            config: length, folder and display of the run; None trains 25 epochs. A run with a folder continues bit for
                bit after it was killed.

        Raises:
            ArgumentError: the texts hold fewer than 2 words or no pair, or the folder holds another run.
            TrainingError: the loss is not finite.
        """
        config = LoopConfig(epochs=25) if config is None else config
        training = _Training(self, read_corpus(texts, self.minimum_count))
        run_steps(training.step, training.state(), config)
        return training.word_vectors()


def cooccurrences(corpus: Corpus, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pairs of words that stand within a window of a sentence, and the sum of 1 / distance of each.

    Returns:
        pairs (P, 2) int32 of a word and its context, both orders, sorted; and counts (P,) float32.
    """
    size = len(corpus.words)
    keys, weights = np.zeros(0, np.int64), np.zeros(0)
    for distance in range(1, min(window, len(corpus.ids) - 1) + 1):
        left, right = corpus.ids[:-distance].astype(np.int64), corpus.ids[distance:].astype(np.int64)
        same = corpus.sentences[:-distance] == corpus.sentences[distance:]
        new = np.concatenate([(left * size + right)[same], (right * size + left)[same]])
        keys, places = np.unique(np.concatenate([keys, new]), return_inverse=True)  # sparse: only pairs that occur
        weights = np.bincount(places, np.concatenate([weights, np.full(len(new), 1 / distance)]), len(keys))
    return np.stack([keys // size, keys % size], axis=1).astype(np.int32), weights.astype(np.float32)


class _Training:
    """Tables, sums of squares, batches and figures of a run; row i is a word, row V + i the same as a context."""

    def __init__(self, settings: GloVe, corpus: Corpus):
        self.settings, self.words = settings, corpus.words
        self.pairs, self.counts = cooccurrences(corpus, settings.window)
        if not len(self.pairs):
            checks.refuse("texts must hold a sentence of two words or more", f"{len(corpus.ids)} words alone")
        rng, width = np.random.default_rng(settings.seed), settings.width
        shape = (2 * len(self.words), width + 1)  # the last number of a row is its bias
        self.table = tf.Variable(rng.uniform(-0.5 / width, 0.5 / width, shape).astype(np.float32), name="table")
        self.squares = tf.Variable(tf.ones(shape), name="squares")
        self.sums = tf.Variable(tf.zeros(2, tf.float64), name="sums")
        self.steps = -(-len(self.pairs) // settings.batch_size)
        self._compiled = tf.function(self._run, autograph=False, reduce_retracing=True)

    def state(self) -> State:
        """Returns the state for `run_steps`."""
        text = "\n".join(self.words).encode() + self.pairs.tobytes() + self.counts.tobytes()
        return State(
            model=None,
            weights={"table": self.table},
            extras={"squares": self.squares, "sums": self.sums},
            stream=self.stream,
            steps_per_epoch=self.steps,
            batch_size=self.settings.batch_size,
            reset=lambda: self.sums.assign([0.0, 0.0]),
            figures=lambda: {"loss": float(self.sums[0] / self.sums[1])},
            learning_rate=lambda step: self.settings.learning_rate,
            run_many=self.run_many,
            identity={**dataclasses.asdict(self.settings), "corpus": hashlib.sha256(text).hexdigest()[:16]},
        )

    def stream(self, epoch: int, batch: int) -> dict[str, Any]:
        """Returns the pairs of an epoch in the order of its seed, and the batch that comes next."""
        order = np.random.default_rng((self.settings.seed, epoch)).permutation(len(self.pairs))
        rows = self.pairs[order] + np.array([0, len(self.words)], np.int32)
        return {"rows": tf.constant(rows), "counts": tf.constant(self.counts[order]), "batch": batch}

    def step(self, stream: dict[str, Any]) -> dict[str, tf.Tensor]:
        """Makes one update."""
        return {"loss": self.run_many(stream, 1)["loss"][0]}

    def run_many(self, stream: dict[str, Any], count: int) -> dict[str, tf.Tensor]:
        """Makes `count` updates in one call."""
        losses = self._compiled(stream["rows"], stream["counts"], tf.constant(stream["batch"]), tf.constant(count))
        stream["batch"] += count
        return {"loss": losses}

    def _run(self, rows, counts, first, count) -> tf.Tensor:
        size = self.settings.batch_size

        def body(done, losses):
            start = (first + done) * size
            return done + 1, losses.write(done, self._update(rows[start : start + size], counts[start : start + size]))

        losses = tf.TensorArray(tf.float32, count, element_shape=())
        return tf.while_loop(lambda done, _: done < count, body, (0, losses), parallel_iterations=1)[1].stack()

    def _update(self, rows: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        settings = self.settings
        values = tf.gather(self.table, rows)  # (B, 2, D + 1)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(values)
            words, contexts = values[:, 0], values[:, 1]
            vectors, biases = (words[:, :-1], contexts[:, :-1]), (words[:, -1], contexts[:, -1])
            losses = glove_loss(*vectors, *biases, counts, most=settings.most, power=settings.power)
            loss = tf.reduce_sum(losses)
        gradients = tf.reshape(tape.gradient(loss, values), (-1, settings.width + 1))
        unique, places = tf.unique(tf.reshape(rows, [-1]))
        sums, squares = (
            tf.math.unsorted_segment_sum(each, places, tf.size(unique)) for each in (gradients, gradients**2)
        )
        self.squares.scatter_add(tf.IndexedSlices(squares, unique))
        moves = settings.learning_rate * sums * tf.math.rsqrt(tf.gather(self.squares, unique))
        self.table.scatter_sub(tf.IndexedSlices(moves, unique))
        self.sums.assign_add(tf.stack([tf.cast(loss, tf.float64), tf.cast(tf.size(losses), tf.float64)]))
        return loss / tf.cast(tf.size(losses), tf.float32)

    def word_vectors(self) -> WordVectors:
        """Returns the sums of both vectors of each word."""
        words, contexts = np.split(self.table.numpy()[:, :-1], 2)
        return WordVectors(self.words, words + contexts)
