"""Files of word vectors: word2vec text and binary, GloVe, NumPy; every byte is checked before it is believed."""

import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np

from kerasdl.core import checks, files
from kerasdl.core.errors import DataError

from .subwords import Subwords

FORMS = {".npz": "npz", ".vec": "word2vec_text", ".bin": "word2vec_binary", ".txt": "glove"}
LONGEST_WORD = 10_000  # bytes
LONGEST_LINE = 1_000_000
LARGEST = 2**34  # bytes of the arrays of an .npz, which may be small when packed
PARTS = {"words", "vectors", "subword_vectors", "subword_lengths"}


def form_of(path: Path, form: str | None) -> str:
    """Returns the form of a file, by its suffix if none is named."""
    if form is None and path.suffix not in FORMS:
        checks.refuse(f"the suffix must be one of {tuple(FORMS)}", path.name, "Or pass form=.")
    return checks.one_of("form", FORMS[path.suffix] if form is None else form, tuple(FORMS.values()))


def write(path, form: str | None, words: Sequence[str], vectors: np.ndarray, subwords: Subwords | None) -> None:
    """Writes words and vectors to a file, which appears whole or not at all."""
    path = Path(path)
    form = form_of(path, form)
    if form == "npz":
        parts = {"words": np.array(words), "vectors": vectors}
        if any(word.endswith("\0") for word in words):  # NumPy would drop it
            checks.refuse("a word in an .npz must not end with a zero byte", next(w for w in words if w[-1:] == "\0"))
        if subwords is not None:
            lengths = np.array([subwords.shortest, subwords.longest])
            parts |= {"subword_vectors": subwords.vectors, "subword_lengths": lengths}
        with files.writing(path) as draft, open(draft, "wb") as file:
            np.savez(file, **parts)
        return
    for word in words:
        if not word or " " in word or "\n" in word:
            rule = f"a word of a {form} file must not be empty or hold a space or a line end"
            checks.refuse(rule, word, 'Pass form="npz".')
    with files.writing(path) as draft, open(draft, "wb") as file:
        if form != "glove":
            file.write(f"{len(words)} {vectors.shape[1]}\n".encode())
        for word, vector in zip(words, vectors, strict=True):
            if form == "word2vec_binary":
                file.write(word.encode() + b" " + vector.astype("<f4").tobytes() + b"\n")
            else:
                numbers = " ".join(np.format_float_positional(x, unique=True, trim="0") for x in vector)
                file.write(f"{word} {numbers}\n".encode())


def read(path: str | os.PathLike, form: str | None, limit: int | None) -> tuple[list[str], np.ndarray, Subwords | None]:
    """Returns the words, vectors and subwords of a file.

    Raises:
        DataError: the file is missing or damaged; the text names the line.
    """
    path = Path(path)
    form = form_of(path, form)
    if limit is not None:
        checks.at_least("limit", limit, 1)
    if not path.is_file():
        raise DataError(f"word vectors must be in a file; {path} is none.")
    if form == "npz":
        return _read_npz(path, limit)
    words, vectors = {}, []
    with open(path, "rb") as file:
        for line, word, vector in _rows_of(file, path, form, limit):
            if not np.isfinite(vector).all():
                _refuse(path, line, f"the vector of {word!r} must be finite", vector[~np.isfinite(vector)][0])
            if word in words:
                _refuse(path, line, "a word must stand there once", f"{word!r}, which line {words[word]} has too")
            words[word] = line
            vectors.append(vector)
            if len(words) == limit:
                break
    return list(words), np.stack(vectors), None


def _rows_of(file: BinaryIO, path: Path, form: str, limit: int | None) -> Iterator[tuple[int, str, np.ndarray]]:
    """Yields line, word and vector of each row."""
    if form == "glove":
        yield from _text_rows(file, path, 1, None, None)
        return
    count, width = _header(file, path, form)
    if form == "word2vec_text":
        yield from _text_rows(file, path, 2, count, width)
        return
    for number in range(count):
        line = number + 2  # rows are counted as the lines of the text form
        word = _binary_word(file, path, line)
        data = file.read(4 * width)
        if len(data) < 4 * width:
            _refuse(path, line, f"the header says {count} words of {width} numbers", "the file ends here")
        yield line, _decoded(word, path, line), np.frombuffer(data, "<f4")
    rest = file.read(2)
    if rest.strip(b"\n"):
        _refuse(path, count + 2, f"the header says {count} words", "the file goes on")


def _header(file: BinaryIO, path: Path, form: str) -> tuple[int, int]:
    """Returns the number of words and the width of a header that the size of the file allows."""
    line = file.readline(100)
    parts = line.split()
    if len(parts) != 2 or not all(part.isdigit() for part in parts):
        _refuse(path, 1, 'a header must be two numbers, the words and the width ("3000 100")', line[:40])
    count, width = map(int, parts)
    size = os.fstat(file.fileno()).st_size
    least = 4 * width + 2 if form == "word2vec_binary" else 2 * width + 2
    if min(count, width) < 1 or count * least > size + 1:  # the last line may lack its end
        _refuse(path, 1, f"a header must fit the {size:,} bytes of the file", f"{count} words of {width} numbers")
    return count, width


def _text_rows(file: BinaryIO, path: Path, line: int, count: int | None, width: int | None) -> Iterator:
    """Yields line, word and vector of each row of text.

    The last fields are the vector, so that a word may hold spaces in a file without a header, as some of GloVe's 840
    billion tokens do ("at name@domain.com"). The first word of such a file has none, since its line gives the width; a
    word that ends in a number is refused as a line of one number too many.
    """
    first, number = line, line
    for number, data in enumerate(iter(lambda: file.readline(LONGEST_LINE), b""), start=line):
        if count is not None and number - first == count:
            _refuse(path, number, f"the header says {count} words", "the file goes on")
        text = _decoded(data, path, number).rstrip("\n").rstrip(" ")
        if width is None:
            width = len(text.split(" ")) - 1
        word, *parts = text.rsplit(" ", width) if width > 0 else [text]
        has_space = " " in word and (count is not None or _is_number(word.rpartition(" ")[2]))
        if len(parts) != width or width < 1 or not word or has_space:
            rule = f"a line must be a word and {width or 'some'} numbers, single spaces between them"
            _refuse(path, number, rule, f"{text[:60]!r}, which has {max(len(text.split(' ')) - 1, 0)}")
        try:
            yield number, word, np.array(parts, np.float32)
        except ValueError:
            _refuse(path, number, f"the vector of {word!r} must be numbers", text[len(word) + 1 :][:60])
    if number == line and width is None:
        _refuse(path, line, "a file must hold words", "nothing")
    if count is not None and number - first + 1 < count:
        _refuse(path, number, f"the header says {count} words", f"the file ends after {number - first + 1}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _binary_word(file: BinaryIO, path: Path, line: int) -> bytes:
    word = bytearray()
    while (byte := file.read(1)) != b" ":
        if not byte or len(word) == LONGEST_WORD:
            _refuse(path, line, "a word must end with a space", bytes(word[:40]))
        word += byte
    word = bytes(word).lstrip(b"\n")
    if not word:
        _refuse(path, line, "a word must not be empty", word)
    return word


def _decoded(data: bytes, path: Path, line: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        _refuse(path, line, "words must be UTF-8", data[max(0, error.start - 10) : error.end + 10])


def _read_npz(path: Path, limit: int | None) -> tuple[list[str], np.ndarray, Subwords | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(each.file_size for each in archive.infolist())
        if size > LARGEST:
            raise DataError(f"{path.name}: the arrays must be below {LARGEST:,} bytes; got {size:,}.")
        with np.load(path, allow_pickle=False) as archive:
            others = sorted(set(archive.files) - PARTS)
            parts = {name: archive[name] for name in archive.files if name in PARTS}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path.name} must be an .npz of plain arrays; {error}.") from None
    words, vectors = parts.get("words"), parts.get("vectors")
    rule = f"{path.name}: the arrays must be words (V,) of strings and vectors (V, D) of floats"
    kinds = {name: f"{each.dtype} {each.shape}" for name, each in parts.items()}
    fits = words is not None and vectors is not None and words.dtype.kind == "U" and vectors.dtype.kind == "f"
    if not fits or words.ndim != 1 or vectors.ndim != 2 or len(words) != len(vectors) or not vectors.size:
        raise DataError(f"{rule}; got {kinds}" + (f" and {others}." if others else "."))
    words, vectors = words[:limit].tolist(), vectors[:limit].astype(np.float32)
    _check_rows(path, words, vectors)
    return words, vectors, _subwords_of(path, parts, vectors.shape[1])


def _check_rows(path: Path, words: list[str], vectors: np.ndarray) -> None:
    if not np.isfinite(vectors).all():
        row = int(np.argmin(np.isfinite(vectors).all(1)))
        raise DataError(f"{path.name}, row {row}: the vector of {words[row]!r} must be finite.")
    if len(set(words)) != len(words):
        twice = next(word for row, word in enumerate(words) if words.index(word) != row)
        raise DataError(f"{path.name}: a word must stand there once; got {twice!r} twice.")


def _subwords_of(path: Path, parts: dict[str, np.ndarray], width: int) -> Subwords | None:
    vectors, lengths = parts.get("subword_vectors"), parts.get("subword_lengths")
    if vectors is None and lengths is None:
        return None
    fits = vectors is not None and lengths is not None and vectors.dtype.kind == "f" and lengths.dtype.kind in "iu"
    fits = fits and vectors.ndim == 2 and vectors.shape[1] == width and len(vectors) and np.isfinite(vectors).all()
    if not fits or lengths.shape != (2,) or not 1 <= lengths[0] <= lengths[1]:
        raise DataError(f"{path.name}: subwords must be finite vectors (buckets, {width}) and two lengths.")
    return Subwords(vectors.astype(np.float32), *map(int, lengths))


def _refuse(path: Path, line: int, rule: str, got) -> NoReturn:
    raise DataError(f"{path.name}, line {line}: {rule}; got {got}.")
