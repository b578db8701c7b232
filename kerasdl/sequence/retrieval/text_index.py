"""Index of texts by meaning: cosines of the vectors of an encoder (https://arxiv.org/abs/1908.10084).

Vectors have length 1, so that a product is a cosine. faiss searches them where it is installed, NumPy else, both whole:
no text is passed over. A file holds vectors and texts alone, and no code.
"""

import itertools
import os
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kerasdl.core import checks
from kerasdl.core.errors import DataError, MissingPackageError, first_line
from kerasdl.core.files import writing
from kerasdl.core.startup.packages import optional

from ..nlp.encoding_task import encode
from ..tokenizers.encoding import checked_texts

ENGINES = ("auto", "numpy", "faiss")
FORM = "kerasdl text index 1"
PARTS = ("form", "vectors", "texts", "ends")
SAME = 0.99
"""Least cosine of the stored vector of a text and that of the encoder that reads the index; precision changes 1e-3."""
QUERIES = 256
"""Queries that are compared at once."""


class Hit(NamedTuple):
    """Result of a search."""

    text: str
    """The text that was found."""
    score: float
    """Cosine of its vector and that of the query, from -1 to 1."""
    number: int
    """Number of the text in the index, from 0 in the order in which texts were added."""


class TextIndex:
    """Index of texts by meaning, which finds those whose vectors have the largest cosine with that of a query.

    Source: https://arxiv.org/abs/1908.10084, section 3.

    Args:
        encoder: a bundle of the task `text_encoding`, or a function from a list of texts to vectors (N, D).
        texts: texts of the index; more come by `add`.
        engine: `numpy`, `faiss`, or `auto`, which takes faiss where it is installed. Both search all vectors.

    Raises:
        ArgumentError: the encoder is of another kind.
        DataError: a vector is not finite or zero, so that it has no direction.
        MissingPackageError: faiss is asked for and not installed.

    Example:
        >>> def letters(texts):
        ...     return np.array([[text.count(letter) for letter in "abc"] for text in texts])
        >>> index = TextIndex(letters, ["abba", "cab", "cc"])
        >>> [hit.text for hit in index.search("a big cab", count=2)]
        ['cab', 'abba']
    """

    def __init__(self, encoder: Any, texts: Sequence[str] = (), *, engine: str = "auto"):
        checks.one_of("engine", engine, ENGINES)
        is_bundle = hasattr(encoder, "preprocess") and hasattr(encoder, "networks")
        if not is_bundle and not callable(encoder):
            checks.refuse("encoder must be a bundle, or a function from texts to vectors", type(encoder).__name__)
        if is_bundle and encoder.task.name != "text_encoding":
            checks.refuse("a bundle of an index must be of the task text_encoding", encoder.task.name)
        self._encode: Callable[[list[str]], Any] = (lambda rows: encode(encoder, rows)) if is_bundle else encoder
        self._faiss = _faiss(engine)
        self._searcher: Any = None
        self.texts: list[str] = []
        self.vectors = np.zeros((0, 0), np.float32)
        self.add(texts)

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return f"TextIndex({len(self)} texts, vectors of {self.vectors.shape[1]}, engine={self.engine!r})"

    @property
    def engine(self) -> str:
        """`faiss` or `numpy`."""
        return "numpy" if self._faiss is None else "faiss"

    def add(self, texts: Sequence[str]) -> None:
        """Adds texts behind those that are there; all or none.

        Args:
            texts: texts; one that is there already is added again.

        Raises:
            ArgumentError: they are no texts, or the encoder gives vectors of another size than before.
            DataError: a vector is not finite or zero.
        """
        rows = checked_texts(texts)
        if not rows:
            return
        vectors = self._vectors(rows)
        if len(self) and vectors.shape[1] != self.vectors.shape[1]:
            checks.refuse(f"vectors of an index must have {self.vectors.shape[1]} numbers", vectors.shape[1])
        self.vectors = np.concatenate([self.vectors, vectors]) if len(self) else vectors
        self.texts += rows
        self._searcher = None

    def search(self, queries: str | Sequence[str], count: int = 10) -> Any:
        """Returns the texts whose vectors have the largest cosine with that of a query.

        Of equal cosines the text that was added before comes first; rounding may tell those of unlike texts apart.

        Args:
            queries: one text, or a list of texts.
            count: results of a query; fewer where the index has fewer texts.

        Returns:
            A list of `Hit`, the best first; of several queries a list of such lists.

        Raises:
            ArgumentError: an argument breaks its rule, or the index is empty.
            DataError: the vector of a query is not finite or zero.
        """
        checks.at_least("count", count, 1)
        is_one = isinstance(queries, (str, bytes))
        rows = checked_texts([queries] if is_one else queries, "queries")
        if not len(self):
            checks.refuse("an index must have texts before it is searched", "none", "Call add(texts).")
        scores, numbers = self.nearest(self._vectors(rows) if rows else self.vectors[:0], count)
        found = [
            [Hit(self.texts[number], float(score), int(number)) for score, number in zip(*pair, strict=True)]
            for pair in zip(scores, numbers, strict=True)
        ]
        return found[0] if is_one else found

    def nearest(self, vectors: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns cosines (Q, count) and numbers of the nearest texts of vectors (Q, D), the best first.

        Args:
            vectors: vectors of any length but zero.
            count: as in `search`.

        Raises:
            ArgumentError: they have another size than those of the index.
            DataError: one is not finite or zero.
        """
        vectors = _directions(vectors, np.shape(vectors)[0])
        count = min(checks.at_least("count", count, 1), len(self))
        if vectors.shape[1] != self.vectors.shape[1]:
            checks.refuse(f"vectors of a query must have {self.vectors.shape[1]} numbers", vectors.shape[1])
        scores, numbers = np.zeros((len(vectors), count), np.float32), np.zeros((len(vectors), count), np.int64)
        for start in range(0, len(vectors), QUERIES):
            part = slice(start, start + QUERIES)
            scores[part], numbers[part] = self._compared(vectors[part], count)
        return scores, numbers

    def _compared(self, vectors: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        if self._faiss is None:
            cosines = vectors @ self.vectors.T
            bound = np.partition(cosines, -count, axis=1)[:, -count]
            numbers = np.zeros((len(vectors), count), np.int64)
            for row, values, least in zip(numbers, cosines, bound, strict=True):
                near = np.flatnonzero(values >= least)
                row[:] = near[np.argsort(-values[near], kind="stable")][:count]
            return np.take_along_axis(cosines, numbers, axis=1), numbers
        if self._searcher is None:
            self._searcher = self._faiss.IndexFlatIP(self.vectors.shape[1])
            self._searcher.add(np.ascontiguousarray(self.vectors))
        scores, numbers = self._searcher.search(np.ascontiguousarray(vectors), count)
        order = np.lexsort((numbers, -scores))  # equal scores by number, row by row
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(numbers, order, axis=1)

    def _vectors(self, rows: list[str]) -> np.ndarray:
        return _directions(self._encode(rows), len(rows))

    def save(self, path: str | os.PathLike) -> None:
        """Writes vectors and texts to a file, whole or not at all; the encoder is no part of it.

        Args:
            path: the new file, such as `verses.npz`.
        """
        encoded = [text.encode() for text in self.texts]
        ends = np.cumsum([len(each) for each in encoded], dtype=np.int64)
        text = np.frombuffer(b"".join(encoded), np.uint8)
        parts = {"form": np.frombuffer(FORM.encode(), np.uint8), "vectors": self.vectors, "texts": text, "ends": ends}
        with writing(path) as file, open(file, "wb") as stream:
            np.savez(stream, **parts)

    @classmethod
    def load(cls, path: str | os.PathLike, encoder: Any, *, engine: str = "auto") -> "TextIndex":
        """Reads an index that `save` wrote.

        Args:
            path: the file.
            encoder: the encoder that the index was made with; the vector of its first text is compared.
            engine: as in `TextIndex`.

        Returns:
            The index.

        Raises:
            ArgumentError: the encoder gives another vector for the first text.
            DataError: the file is missing, damaged, or of another form.
        """
        vectors, texts = _read(Path(path).expanduser())
        index = cls(encoder, engine=engine)
        index.vectors, index.texts = vectors, texts
        if texts:
            (own,) = index._vectors(texts[:1])
            cosine = float(own @ vectors[0]) if own.shape == vectors[0].shape else float("nan")
            if not cosine > SAME:
                rule = "encoder must be the one that the index was made with"
                checks.refuse(rule, f"a cosine of {cosine:.3f} with the vector of the first text")
        return index


def _faiss(engine: str) -> Any:
    if engine == "numpy":
        return None
    try:
        return optional("faiss", "retrieval")
    except MissingPackageError:
        if engine == "faiss":
            raise
        return None


def _directions(vectors: Any, count: int) -> np.ndarray:
    """Returns vectors (N, D) of length 1 in float32.

    Raises:
        ArgumentError: they have another form.
        DataError: one is not finite or zero.
    """
    array = np.asarray(vectors)
    if array.ndim != 2 or len(array) != count or not array.shape[1] or array.dtype.kind not in "fiu":
        checks.refuse(f"an encoder must give {count} vectors, (N, D)", (array.shape, str(array.dtype)))
    array = array.astype(np.float64)
    lengths = np.linalg.norm(array, axis=1)
    wrong = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if wrong.size:
        got = "zero" if lengths[wrong[0]] == 0 else "not finite"
        raise DataError(f"a vector of an index must have a direction; that of text {wrong[0]} is {got}.")
    return (array / lengths[:, None]).astype(np.float32)


def _read(path: Path) -> tuple[np.ndarray, list[str]]:
    """Returns vectors and texts of a file, each part of it checked."""
    rule = f"{path} must be an index that TextIndex.save wrote"
    try:
        with zipfile.ZipFile(path) as archive:
            packed = any(each.compress_type != zipfile.ZIP_STORED for each in archive.infolist())
            names = sorted(each.filename for each in archive.infolist())
        if packed or names != sorted(f"{name}.npy" for name in PARTS):
            raise DataError(f"{rule}; it holds {names[:6]}.")
        with np.load(path, allow_pickle=False) as file:
            form, vectors, text, ends = (file[name] for name in PARTS)
        if form.dtype != np.uint8 or form.tobytes() != FORM.encode():
            raise DataError(f"{rule}; its form is another.")
        _check_parts(vectors, text, ends)
        bounds = [0, *ends.tolist()]
        whole = text.tobytes()
        return vectors, [whole[begin:end].decode() for begin, end in itertools.pairwise(bounds)]
    except DataError:
        raise
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{rule}; got: {first_line(error)}") from None


def _check_parts(vectors: np.ndarray, text: np.ndarray, ends: np.ndarray) -> None:
    kinds = (vectors.dtype, text.dtype, ends.dtype) == (np.float32, np.uint8, np.int64)
    if not kinds or (vectors.ndim, text.ndim, ends.ndim) != (2, 1, 1) or len(vectors) != len(ends):
        raise ValueError("parts of another shape or kind")
    if (np.diff(ends, prepend=0) < 0).any() or (ends[-1] if len(ends) else 0) != len(text):
        raise ValueError("texts that do not fill their part")
    if not np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-3):
        raise ValueError("vectors that have not length 1")
