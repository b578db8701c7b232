"""Updates of word2vec over blocks of text: windows, negatives, gradients and bounded steps, compiled by TensorFlow.

A block is cut into groups of words side by side. A group shares its negatives, and is multiplied at once with all words
that its windows reach. Negatives that are the target of a pair do not count for it.

Deviation: a row that many terms of a block pull at moves by the sum of their gradients times min(rate, LIMIT / terms),
since the updates of a block, unlike those of a loop over words, do not see each other and would overshoot.
"""

from typing import Any

import tensorflow as tf

from kerasdl.ops import hierarchical_softmax_loss, negative_sampling_loss

GROUP = 16
SHARED = 8  # negatives of a group
LIMIT = 0.5


class Rows:
    """Rows of a table that a block reads; they are moved against their gradients."""

    def __init__(self, table: tf.Variable, ids: tf.Tensor):
        self.table, self.ids = table, ids
        self.values = tf.gather(table, ids)

    def move(self, gradients: tf.Tensor, terms: list[tuple[tf.Tensor, tf.Tensor]], rate: tf.Tensor) -> None:
        """Moves the rows; `terms` are pairs of ids and the number of terms that pull at them, of equal shape.

        Gradients are summed by row first: adding repeated rows in parallel would give other bits in every run.
        """
        ids, numbers = (tf.concat([tf.reshape(each, [-1]) for each in part], 0) for part in zip(*terms, strict=True))
        own, gradients = tf.reshape(self.ids, [-1]), tf.reshape(gradients, (-1, gradients.shape[-1]))
        unique, places = tf.unique(tf.concat([own, ids], 0))
        of_rows, of_terms = tf.split(places, [tf.size(own), tf.size(ids)])
        totals = tf.math.unsorted_segment_sum(numbers, of_terms, tf.size(unique))
        sums = tf.math.unsorted_segment_sum(gradients, of_rows, tf.size(unique))
        rates = tf.minimum(rate, LIMIT / tf.maximum(totals, 1e-6))
        self.table.scatter_sub(tf.IndexedSlices(rates[:, None] * sums, unique))


class Windows:
    """Windows of the groups of a block: P groups of G words, each with the S = G + 2 w words that it reaches."""

    def __init__(self, tokens: tf.Tensor, sentences: tf.Tensor, size: tf.Tensor, reach: int, widths: tf.Tensor):
        """Cuts tokens ((P + 2) G,), the block with a group on each side, of which `size` words are centres."""
        self.reach = reach
        self.centres = tf.reshape(tokens[GROUP:-GROUP], (-1, GROUP))  # (P, G)
        self.contexts = self.framed(tf.reshape(tokens, (-1, GROUP)))  # (P, S)
        numbers = tf.reshape(sentences, (-1, GROUP))
        is_centre = tf.reshape(tf.range(tf.size(self.centres)) < size, (-1, GROUP, 1))
        same = numbers[1:-1][:, :, None] == self.framed(numbers)[:, None, :]
        distances = tf.abs(tf.range(GROUP)[:, None] - (tf.range(GROUP + 2 * reach)[None] - reach))
        near = (distances > 0) & (distances <= widths[:, :, None])
        self.pairs = tf.cast(near & same & is_centre, tf.float32)  # (P, G, S)
        self.counts = tf.reduce_sum(self.pairs, -1)  # (P, G)
        self.has_pair = tf.cast(self.counts > 0, tf.float32)

    def framed(self, groups: tf.Tensor) -> tf.Tensor:
        """Returns (P, S, ...) of groups (P + 2, G, ...): each with the words on both of its sides."""
        return tf.concat([groups[:-2, GROUP - self.reach :], groups[1:-1], groups[2:, : self.reach]], 1)

    @property
    def shares(self) -> tf.Tensor:
        """(P, G, S): shares of the words of each window in its mean."""
        return self.pairs / tf.maximum(self.counts, 1)[:, :, None]


class Updates:
    """One update of the tables from a block; `settings` is a Word2Vec."""

    def __init__(self, settings: Any, inputs: tf.Variable, outputs: tf.Variable, law: tuple, word_rows: tuple | None):
        self.settings, self.inputs, self.outputs = settings, inputs, outputs
        self.law = tuple(map(tf.constant, law))
        self.word_rows = None if word_rows is None else tuple(map(tf.constant, word_rows))
        self.loss = self._negative if settings.softmax == "negative" else self._hierarchical

    def run(self, tokens, sentences, size, seed, rate) -> tuple[tf.Tensor, tf.Tensor]:
        """Makes the update; returns the sum of the losses of all pairs, and the number of pairs."""
        settings = self.settings
        seeds = tf.random.split(seed, 3)
        shape = (tf.size(tokens) // GROUP - 2, GROUP)
        widths = tf.fill(shape, settings.window)
        if settings.dynamic_window:
            widths = tf.random.stateless_uniform(shape, seeds[0], 1, settings.window + 1, tf.int32)
        windows = Windows(tokens, sentences, size, settings.window, widths)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            losses, rows_in, rows_out, terms_in, terms_out = self.loss(windows, seeds[1:], tape)
            loss = tf.reduce_sum(losses)
        gradients_in, gradients_out = tape.gradient(loss, [rows_in.values, rows_out.values])
        rows_in.move(gradients_in, self._spread(terms_in), rate)
        rows_out.move(gradients_out, terms_out, rate)
        pairs = windows.counts if settings.mode == "skip_gram" else windows.has_pair
        return loss, tf.reduce_sum(pairs)

    # Both softmaxes: losses, rows that were read, and the terms that pull at them

    def _negative(self, windows: Windows, seeds: tf.Tensor, tape: tf.GradientTape) -> tuple:
        share = self.settings.negatives / SHARED  # a pair has all negatives of its group, which count so much
        negatives = self._drawn((tf.shape(windows.centres)[0], SHARED), seeds)  # (P, M)
        if self.settings.mode == "skip_gram":
            targets, pairs = windows.contexts, windows.pairs
        else:
            targets, pairs = windows.centres, tf.linalg.diag(windows.has_pair)  # each mean has its own target
        is_target = tf.cast(targets[:, :, None] == negatives[:, None, :], tf.float32)  # (P, S, M)
        weights = share * (tf.reduce_sum(pairs, -1, keepdims=True) - tf.matmul(pairs, is_target))
        rows_out = Rows(self.outputs, tf.concat([targets, negatives], 1))
        tape.watch(rows_out.values)
        target_rows, negative_rows = tf.split(rows_out.values, [tf.shape(targets)[1], SHARED], 1)
        terms = tf.reduce_sum(pairs, -1) + tf.reduce_sum(weights, -1)  # (P, G) of each input
        if self.settings.mode == "skip_gram":
            rows_in, inputs = self._read(windows.centres, tape)
            terms_in = windows.centres, terms
        else:
            rows_in, inputs, terms_in = self._means(windows, terms, tape)
        losses = negative_sampling_loss(inputs, target_rows, negative_rows, pairs, weights)
        terms_out = [(targets, tf.reduce_sum(pairs, 1)), (negatives, tf.reduce_sum(weights, 1))]
        return losses, rows_in, rows_out, terms_in, terms_out

    def _hierarchical(self, windows: Windows, seeds: tf.Tensor, tape: tf.GradientTape) -> tuple:
        nodes, turns = (tf.gather(each, windows.centres) for each in self.law)  # (P, G, L)
        turns = tf.cast(turns, tf.float32)
        longest = tf.reduce_max(tf.reduce_sum(tf.cast(turns != 0, tf.int32), -1))
        nodes, turns = nodes[:, :, :longest], turns[:, :, :longest]
        lengths = tf.reduce_sum(tf.abs(turns), -1)  # (P, G)
        rows_out = Rows(self.outputs, nodes)
        tape.watch(rows_out.values)
        if self.settings.mode == "skip_gram":  # the words around a centre predict its path
            rows_in, inputs = self._read(windows.contexts, tape)
            pairs = tf.transpose(windows.pairs, (0, 2, 1))
            terms_in = windows.contexts, tf.reduce_sum(pairs * lengths[:, None], -1)
        else:
            rows_in, inputs, terms_in = self._means(windows, lengths * windows.has_pair, tape)
            pairs = tf.linalg.diag(windows.has_pair)
        losses = hierarchical_softmax_loss(inputs, rows_out.values, turns, pairs)
        terms_out = [(nodes, tf.abs(turns) * tf.reduce_sum(pairs, 1)[:, :, None])]
        return losses, rows_in, rows_out, terms_in, terms_out

    # Input vectors

    def _means(self, windows: Windows, terms: tf.Tensor, tape: tf.GradientTape) -> tuple:
        """Returns rows of the words around, the mean (P, G, D) of each window, and the terms of those words."""
        rows_in, around = self._read(windows.contexts, tape)
        means = tf.matmul(windows.shares, around)
        return rows_in, means, (windows.contexts, tf.reduce_sum(windows.shares * terms[:, :, None], 1))

    def _read(self, ids: tf.Tensor, tape: tf.GradientTape) -> tuple[Rows, tf.Tensor]:
        """Returns the rows of words, and the input vectors (..., D) that they make."""
        if self.word_rows is None:
            rows = Rows(self.inputs, ids)
            tape.watch(rows.values)
            return rows, rows.values
        numbers, shares = (tf.gather(each, ids) for each in self.word_rows)  # (..., M)
        rows = Rows(self.inputs, numbers)
        tape.watch(rows.values)
        return rows, tf.reduce_sum(rows.values * shares[..., None], -2)

    def _spread(self, terms: tuple[tf.Tensor, tf.Tensor]) -> list[tuple[tf.Tensor, tf.Tensor]]:
        """Returns the terms of words as terms of the rows that make them up."""
        ids, numbers = terms
        if self.word_rows is None:
            return [(ids, numbers)]
        rows, shares = (tf.gather(each, ids) for each in self.word_rows)
        return [(rows, shares * numbers[..., None])]

    def _drawn(self, shape: tf.Tensor, seeds: tf.Tensor) -> tf.Tensor:
        """Returns words that are drawn by the law of negatives."""
        thresholds, aliases = self.law
        cells = tf.random.stateless_uniform(shape, seeds[0], 0, tf.size(aliases), tf.int32)
        is_own = tf.random.stateless_uniform(shape, seeds[1]) < tf.gather(thresholds, cells)
        return tf.where(is_own, cells, tf.gather(aliases, cells))
