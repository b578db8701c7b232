"""Word vectors: neighbours, analogies, an Embedding layer, a picture, and their files."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import keras
import numpy as np
from matplotlib.figure import Figure

from kerasdl.core import checks
from kerasdl.core.display.results import Displayed, names_text
from kerasdl.core.errors import ArgumentError
from kerasdl.core.plotting import INK, TRAIN, dress, new_figure

from . import vector_files
from .subwords import Subwords

PADDING, UNKNOWN, FIRST = 0, 1, 2


@dataclass(frozen=True, eq=False, repr=False)
class WordVectors(Displayed):
    """Words and their vectors, with those of subwords where they were learnt.

    Raises:
        ArgumentError: words and vectors do not belong together.

    Example:
        >>> vectors = WordVectors(("cat", "dog", "car"), np.eye(3, 2, dtype="float32") + 1)
        >>> vectors.nearest("cat", 1)[0][0], vectors.vector("dog")
        ('car', array([1., 2.], dtype=float32))
    """

    words: tuple[str, ...]
    """The words, the most frequent first where the source has this order."""
    vectors: np.ndarray
    """(V, D) float32."""
    subwords: Subwords | None = None
    """Vectors of n-grams, for words that are not among `words`."""

    def __post_init__(self):
        object.__setattr__(self, "words", tuple(self.words))
        vectors = np.asarray(self.vectors, np.float32)
        object.__setattr__(self, "vectors", vectors)
        if vectors.ndim != 2 or not vectors.size or len(vectors) != len(self.words):
            checks.refuse(f"vectors must be (V, D) with a row for each of {len(self.words)} words", vectors.shape)
        if not np.isfinite(vectors).all():
            row = int(np.argmin(np.isfinite(vectors).all(1)))
            checks.refuse("vectors must be finite", f"{self.words[row]!r}: {vectors[row]}")
        if len(self._rows) != len(self.words):
            twice = next(word for row, word in enumerate(self.words) if self._rows[word] != row)
            checks.refuse("words must differ from each other", twice)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: str) -> bool:
        return word in self._rows

    @property
    def width(self) -> int:
        """D, numbers in a vector."""
        return self.vectors.shape[1]

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {word: row for row, word in enumerate(self.words)}

    @cached_property
    def directions(self) -> np.ndarray:
        """(V, D) vectors of length 1; those of length 0 stay."""
        return _unit(self.vectors)

    def vector(self, word: str) -> np.ndarray:
        """Returns the vector (D,) of a word; of an unseen one, the mean of its subwords.

        Raises:
            UnknownNameError: the word has no vector, and there are no subwords.
            ArgumentError: the word is unseen and shorter than every n-gram.
        """
        if word in self._rows:
            return self.vectors[self._rows[word]]
        if self.subwords is not None:
            return self.subwords.vector(word)
        return self.vectors[self.row(word)]

    def row(self, word: str) -> int:
        """Returns the row of a word in `vectors`.

        Raises:
            UnknownNameError: the word is none of `words`.
        """
        return self._rows[word if word in self._rows else checks.known_name("word", word, self._rows)]

    def similarity(self, word: str, other: str) -> float:
        """Returns the cosine of the vectors of two words, from -1 to 1.

        Raises:
            UnknownNameError: a word has no vector.
        """
        return float(_unit(self.vector(word)) @ _unit(self.vector(other)))

    def nearest(self, word: str | np.ndarray, count: int = 10) -> list[tuple[str, float]]:
        """Returns the words whose vectors have the largest cosine with that of a word, and these cosines.

        Args:
            word: a word, which is itself left out, or a vector (D,).
            count: how many.

        Raises:
            UnknownNameError: the word has no vector.
            ArgumentError: `count` is below 1.
        """
        if isinstance(word, str):
            return self._nearest(_unit(self.vector(word)), count, (word,))
        return self._nearest(_unit(np.asarray(word, np.float32)), count, ())

    def analogy(self, a: str, b: str, c: str, count: int = 1) -> list[tuple[str, float]]:
        """Returns the words d for which "a is to b as c is to d": the nearest to b - a + c, those three left out.

        Source: https://aclanthology.org/N13-1090, section 5.

        Args:
            a, b: the example.
            c: the word for which d is looked for.
            count: how many.

        Raises:
            UnknownNameError: a word has no vector.
            ArgumentError: `count` is below 1.
        """
        from_a, from_b, from_c = (_unit(self.vector(word)) for word in (a, b, c))
        return self._nearest(_unit(from_b - from_a + from_c), count, (a, b, c))

    def _nearest(self, direction: np.ndarray, count: int, left_out: Iterable[str]) -> list[tuple[str, float]]:
        checks.at_least("count", count, 1)
        cosines = self.directions @ direction
        cosines[[self._rows[word] for word in left_out if word in self._rows]] = -np.inf
        best = np.argsort(-cosines, kind="stable")[:count]
        return [(self.words[row], float(cosines[row])) for row in best if np.isfinite(cosines[row])]

    # In a network

    def layer(self, words: Sequence[str | None] | None = None, *, trainable: bool = False, name: str = "embedding"):
        """Returns a keras Embedding with these vectors: (B, T) ids to (B, T, D).

        Row 0, of the padding, is zero. A word without a vector gets that of its subwords, else the mean of all vectors,
        and so does an id without a word.

        Args:
            words: the word of each id, such as those of a tokenizer, None for an id without one, as
                `Tokenizer.token_of` gives it; id 0 is the padding whatever its word is. None takes the ids of `encode`:
                0 the padding, 1 every unknown word, and from 2 on `self.words`.
            trainable: whether training changes the vectors.
            name: of the layer.

        Raises:
            ArgumentError: `words` is empty, or holds something else than words.
        """
        mean = self.vectors.mean(axis=0)
        if words is None:
            table = np.concatenate([np.zeros((1, self.width), np.float32), mean[None], self.vectors])
        else:
            if isinstance(words, str) or not len(words):
                checks.refuse("words must hold the word of each id", words)
            for id, word in enumerate(words):
                if word is not None and not isinstance(word, str):
                    checks.refuse("words must be strings, or None for an id without a word", f"{word!r} of id {id}")
            table = np.stack([self._vector_or(word, mean) for word in words])
            table[PADDING] = 0
        layer = keras.layers.Embedding(*table.shape, trainable=trainable, name=name)
        layer.build()
        layer.set_weights([table])
        return layer

    def _vector_or(self, word: str | None, mean: np.ndarray) -> np.ndarray:
        if word in self._rows or word is None or self.subwords is None:
            return self.vectors[self._rows[word]] if word in self._rows else mean
        try:
            return self.subwords.vector(word)
        except ArgumentError:
            return mean

    def encode(self, texts: Iterable[str | Sequence[str]], length: int) -> np.ndarray:
        """Returns ids (B, T) int32 of texts for `layer()`: 0 the padding, 1 an unknown word; longer texts are cut.

        Args:
            texts: strings, which are cut at white space, or lists of tokens.
            length: T, words of a text.

        Raises:
            ArgumentError: `length` is below 1, or the texts are one string.
        """
        checks.at_least("length", length, 1)
        if isinstance(texts, str):
            checks.refuse("texts must be a list of strings or of lists of tokens", texts[:40], "Pass [text].")
        texts = [(text.split() if isinstance(text, str) else text)[:length] for text in texts]
        ids = np.zeros((len(texts), length), np.int32)
        for row, text in zip(ids, texts, strict=True):
            row[: len(text)] = [self._rows.get(word, UNKNOWN - FIRST) + FIRST for word in text]
        return ids

    # Pictures and files

    def plot(self, words: Sequence[str], title: str = "Word vectors") -> Figure:
        """Returns a figure of words in the plane of the two largest principal components of their directions.

        Args:
            words: three or more.
            title: of the figure.

        Raises:
            UnknownNameError: a word has no vector.
            ArgumentError: there are fewer than three words.
        """
        if len(words) < 3:
            checks.refuse("words must hold three or more", list(words))
        places = projected(np.stack([self.vector(word) for word in words]))
        figure = new_figure(6.4, 5.2)
        axes = figure.subplots()
        axes.scatter(*places.T, s=18, color=TRAIN)
        for word, place in zip(words, places, strict=True):
            axes.annotate(word, place, (4, 3), textcoords="offset points", fontsize=8.5, color=INK)
        dress(axes, title, "first component", "second component")
        axes.margins(0.12)
        return figure

    def save(self, path: str | os.PathLike, form: str | None = None) -> None:
        """Writes the vectors to a file, which `load_vectors` reads.

        Args:
            path: of the file.
            form: `"npz"`, the only one that holds subwords; `"word2vec_text"`, `"word2vec_binary"` or `"glove"`. None
                goes by the suffix: .npz, .vec, .bin, .txt.

        Raises:
            ArgumentError: the suffix belongs to no form, or a word does not fit the form, such as one with a space.
        """
        vector_files.write(path, form, self.words, self.vectors, self.subwords)

    def _shown(self) -> tuple[str, dict[str, Any]]:
        ngrams = self.subwords and f"{self.subwords.shortest} to {self.subwords.longest} characters"
        return f"WordVectors of {self.width} numbers", {"words": names_text(self.words, 8), "subwords": ngrams}


def load_vectors(path: str | os.PathLike, form: str | None = None, *, limit: int | None = None) -> WordVectors:
    """Returns the word vectors of a file of word2vec, GloVe or NumPy; nothing in it is executed.

    Args:
        path: of the file.
        form: `"npz"`: arrays `words` and `vectors`; `"word2vec_text"` or `"word2vec_binary"`: a header with the number
            of words and D; `"glove"`: a line for each word, no header, whose words may hold spaces behind the
            first line, as those of 840 billion tokens do. None goes by the suffix: .npz, .vec, .bin, .txt.
        limit: words that are read at most, from the first on.

    Raises:
        DataError: the file is missing or damaged; the text names the line.
        ArgumentError: the suffix belongs to no form.

    Example:
        >>> WordVectors(("cat", "dog"), np.eye(2, dtype="float32")).save("two.vec")
        >>> load_vectors("two.vec").words
        ('cat', 'dog')
    """
    return WordVectors(*vector_files.read(path, form, limit))


def projected(vectors: np.ndarray) -> np.ndarray:
    """Returns the places (N, 2) of directions of vectors (N, D) in the plane of their largest variance.

    The sign of each axis is such that its largest entry is positive, so that pictures do not flip.
    """
    centred = _unit(vectors) - _unit(vectors).mean(axis=0)
    _, _, axes = np.linalg.svd(centred, full_matrices=False)
    places = centred @ axes[:2].T
    places = np.pad(places, [(0, 0), (0, 2 - places.shape[1])])
    largest = np.take_along_axis(places, np.abs(places).argmax(axis=0)[None], axis=0)
    return places * np.where(largest < 0, -1, 1)


def _unit(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
