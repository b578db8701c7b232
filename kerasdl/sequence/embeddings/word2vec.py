"""Word2vec: vectors of words from the words around them, skip-gram or CBOW (https://arxiv.org/abs/1310.4546).

Negative sampling or hierarchical softmax, subsampling of frequent words, windows of random width; with subwords the
vectors of fastText (https://arxiv.org/abs/1607.04606).

Deviations: updates of a block of text are made at once (`word2vec_blocks.py`); the mean of CBOW has the true gradient,
which the authors' program does not divide by the number of words.
"""

import dataclasses
import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.display.settings import short_repr, with_field_sentences
from kerasdl.train import LoopConfig, State, run_steps

from .corpus import Corpus, read_corpus
from .subwords import Subwords, word_rows
from .word2vec_blocks import GROUP, Updates
from .word_laws import alias_table, huffman_paths, keep_probabilities, negative_probabilities
from .word_vectors import WordVectors

BLOCK = 512
MODES, SOFTMAXES = ("skip_gram", "cbow"), ("negative", "hierarchical")


@with_field_sentences
@dataclass(frozen=True, kw_only=True, repr=False)
class Word2Vec:
    """Word2vec, a training of word vectors; `fit` returns them.

    Source: https://arxiv.org/abs/1301.3781 (skip-gram, CBOW); https://arxiv.org/abs/1310.4546 (negatives,
    subsampling); https://arxiv.org/abs/1607.04606 (subwords).

    Raises:
        ArgumentError: a setting breaks its range.

    Example:
        >>> texts = ["the cat sat on the mat", "the dog sat on the rug"] * 20
        >>> config = kerasdl.train.LoopConfig(epochs=2, progress="off")
        >>> vectors = Word2Vec(width=8, minimum_count=1).fit(texts, config)
        >>> vectors.vector("cat").shape, len(vectors.nearest("cat", 3))
        ((8,), 3)
    """

    width: int = 100
    """Numbers in a vector."""
    window: int = 5
    """Words on each side of a word that belong to it, from 1 to 16."""
    dynamic_window: bool = True
    """True if each word draws its window from 1 to `window`, so that near words count more."""
    mode: str = "skip_gram"
    """`"skip_gram"`: a word predicts each word around it; `"cbow"`: the mean of those predicts the word."""
    softmax: str = "negative"
    """`"negative"` sampling, or the `"hierarchical"` softmax over the Huffman tree of the words."""
    negatives: int = 5
    """Negatives of each pair."""
    power: float = 0.75
    """Exponent of the counts in the law of negatives, from 0 to 1."""
    subsample: float = 1e-3
    """Share of a word in the text above which its occurrences are dropped at random; 0 keeps all."""
    minimum_count: int = 5
    """Words that occur less often are left out."""
    learning_rate: float = 0.025
    """Learning rate at the start; it falls in a line."""
    final_rate: float = 1e-4
    """Learning rate at the end."""
    subwords: tuple[int, int] | None = None
    """Characters of the shortest and the longest n-grams, such as (3, 6), whose vectors are added to those of words."""
    buckets: int = 50_000
    """Vectors of n-grams, which are hashed into them."""
    seed: int = 0
    """Seed of initial vectors, windows, negatives and subsampling."""

    __repr__ = short_repr

    def __post_init__(self):
        for name in ("width", "negatives", "minimum_count", "buckets"):
            checks.at_least(name, getattr(self, name), 1)
        checks.at_least("seed", self.seed, 0)
        checks.within("window", checks.at_least("window", self.window, 1), 1, GROUP)
        checks.one_of("mode", self.mode, MODES)
        checks.one_of("softmax", self.softmax, SOFTMAXES)
        checks.within("power", self.power, 0.0, 1.0)
        checks.within("subsample", self.subsample, 0.0, 1.0)
        checks.within("learning_rate", self.learning_rate, 1e-9, 10.0)
        checks.within("final_rate", self.final_rate, 0.0, self.learning_rate)
        if self.subwords is not None:
            shortest, longest = checks.counts("subwords", self.subwords)
            if shortest > longest:
                checks.refuse("subwords must be the lengths of the shortest and the longest n-grams", self.subwords)

    def fit(self, texts: Iterable[str | Sequence[str]], config: LoopConfig | None = None) -> WordVectors:
        """Returns the vectors of the words of texts.

        Args:
            texts: strings, which are cut at white space, or lists of tokens; no window crosses from one to another.
            config: length, folder and display of the run; None trains 5 epochs. A run with a folder continues bit for
                bit after it was killed.

        Raises:
            ArgumentError: the texts hold fewer than 2 words, or the folder of the config holds another run.
            TrainingError: the loss is not finite.
        """
        config = LoopConfig(epochs=5) if config is None else config
        training = _Training(self, read_corpus(texts, self.minimum_count), config)
        run_steps(training.step, training.state(), config)
        return training.word_vectors()


@dataclass
class _Stream:
    """Blocks of an epoch: the words that subsampling kept, and the place where each block starts."""

    tokens: tf.Tensor
    sentences: tf.Tensor
    starts: tf.Tensor
    span: int
    """Words that a block reads: its own, rounded up to groups, and a group on each side."""
    first_step: int
    block: int


class _Training:
    """Tables, blocks and figures of a run."""

    def __init__(self, settings: Word2Vec, corpus: Corpus, config: LoopConfig):
        self.settings, self.corpus = settings, corpus
        rng, size, width = np.random.default_rng(settings.seed), len(corpus.words), settings.width
        self.keep = keep_probabilities(corpus.counts, settings.subsample)
        self.rows = None
        if settings.subwords is not None:
            self.rows = word_rows(corpus.words, *settings.subwords, settings.buckets)
        inputs = size + (settings.buckets if self.rows else 0)
        scale = 0.5 / width
        self.inputs = tf.Variable(rng.uniform(-scale, scale, (inputs, width)).astype(np.float32), name="inputs")
        self.outputs = tf.Variable(tf.zeros((size, width)), name="outputs")
        if settings.softmax == "negative":
            law = alias_table(negative_probabilities(corpus.counts, settings.power))
        else:
            law = huffman_paths(corpus.counts)
        self.updates = Updates(settings, self.inputs, self.outputs, law, self.rows)
        self.steps = max(1, round(float(self.keep @ corpus.counts) / BLOCK))
        self.total = config.steps or config.epochs * self.steps
        self.sums = tf.Variable(tf.zeros(2, tf.float64), name="sums")
        self._compiled = tf.function(self._run, autograph=False, reduce_retracing=True)

    def state(self) -> State:
        """Returns the state for `run_steps`."""
        return State(
            model=None,
            weights={"inputs": self.inputs, "outputs": self.outputs},
            extras={"sums": self.sums},
            stream=self.stream,
            steps_per_epoch=self.steps,
            batch_size=BLOCK,
            reset=lambda: self.sums.assign([0.0, 0.0]),
            figures=self.figures,
            learning_rate=lambda step: float(self._rate(step - 1)),
            run_many=self.run_many,
            identity=self._identity(),
        )

    def _identity(self) -> dict[str, Any]:
        text = "\n".join(self.corpus.words).encode() + self.corpus.ids.tobytes() + self.corpus.sentences.tobytes()
        return {**dataclasses.asdict(self.settings), "corpus": hashlib.sha256(text).hexdigest()[:16]}

    def stream(self, epoch: int, batch: int) -> _Stream:
        """Returns the blocks of an epoch from a batch on: a function of the seed, the epoch and the batch alone."""
        rng = np.random.default_rng((self.settings.seed, epoch))
        is_kept = rng.random(len(self.corpus.ids)) < self.keep[self.corpus.ids]
        ids, sentences = self.corpus.ids[is_kept], self.corpus.sentences[is_kept]
        starts = np.arange(self.steps + 1) * len(ids) // self.steps
        span = (math.ceil(np.diff(starts).max() / GROUP) + 2) * GROUP
        sides = (GROUP, span)
        tokens = tf.constant(np.pad(ids, sides))
        sentences = tf.constant(np.pad(sentences, sides, constant_values=-1))
        return _Stream(tokens, sentences, tf.constant(starts, tf.int32), span, epoch * self.steps, batch)

    def step(self, stream: _Stream) -> dict[str, tf.Tensor]:
        """Makes one update."""
        return {"loss": self.run_many(stream, 1)["loss"][0]}

    def run_many(self, stream: _Stream, count: int) -> dict[str, tf.Tensor]:
        """Makes `count` updates in one call."""
        numbers = (tf.constant(each) for each in (stream.span, stream.first_step, stream.block, count))
        losses = self._compiled(stream.tokens, stream.sentences, stream.starts, *numbers)
        stream.block += count
        return {"loss": losses}

    def _run(self, tokens, sentences, starts, span, first_step, first, count) -> tf.Tensor:
        def body(done, losses):
            block = first + done
            step = first_step + block
            start, size = starts[block], starts[block + 1] - starts[block]
            seed = tf.random.fold_in(tf.constant([self.settings.seed, 0]), step)
            rate = self._rate(tf.cast(step, tf.float32))
            loss, pairs = self.updates.run(
                tokens[start : start + span], sentences[start : start + span], size, seed, rate
            )
            self.sums.assign_add(tf.cast(tf.stack([loss, pairs]), tf.float64))
            return done + 1, losses.write(done, loss / tf.maximum(pairs, 1.0))

        losses = tf.TensorArray(tf.float32, count, element_shape=())
        return tf.while_loop(lambda done, _: done < count, body, (0, losses), parallel_iterations=1)[1].stack()

    def _rate(self, step: Any) -> Any:
        """Returns the learning rate after a number of steps, a number or a tensor."""
        settings, share = self.settings, step / self.total
        rate = settings.learning_rate * (1 - share)
        return tf.maximum(rate, settings.final_rate) if tf.is_tensor(rate) else max(rate, settings.final_rate)

    def figures(self) -> dict[str, float]:
        """Returns the mean loss of a pair of the epoch; in CBOW, of a word."""
        loss, pairs = self.sums.numpy()
        return {"loss": float(loss / max(pairs, 1.0))}

    def word_vectors(self) -> WordVectors:
        """Returns the vectors, those of subwords included."""
        table, size = self.inputs.numpy(), len(self.corpus.words)
        if self.rows is None:
            return WordVectors(self.corpus.words, table)
        rows, shares = self.rows
        vectors = np.stack([share @ table[row] for row, share in zip(rows, shares, strict=True)])
        return WordVectors(self.corpus.words, vectors, Subwords(table[size:], *self.settings.subwords))
