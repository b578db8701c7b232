"""Tokenizer class: a wrapper around the tokenizers of Hugging Face, with ids as the nets take them.

The package `tokenizers` does the work (https://github.com/huggingface/tokenizers); this file holds no algorithm.
"""

import threading
from collections.abc import Iterable, Sequence

import numpy as np

from kerasdl.core import checks

from .documents import backend_of, kind_of
from .encoding import Encoded, checked_text, checked_texts, encoded_of

# The names of each special token in the libraries whose files are read.
ROLES = {
    "padding": ("[PAD]", "<pad>", "<|pad|>"),
    "unknown": ("[UNK]", "<unk>"),
    "begin": ("[BOS]", "<s>", "[CLS]", "<bos>", "<|begin_of_text|>", "<|endoftext|>"),
    "end": ("[EOS]", "</s>", "[SEP]", "<eos>", "<|end_of_text|>", "<|endoftext|>"),
}


class Tokenizer:
    """Tokenizer: text to token ids and back.

    `train_tokenizer` and `load_tokenizer` make it; the text of a `tokenizer.json` of Hugging Face is its only form, so
    that any program with the package `tokenizers` encodes as it does. A text that contains the name of a special
    token, such as `[MASK]`, gets the id of that token there, as with Hugging Face. Lengths and padding are arguments
    here; settings of truncation and padding in a file are not used.

    Args:
        text: content of a tokenizer.json, checked as a file from a stranger.

    Raises:
        DataError: the text is not that of a tokenizer.json, or breaks a limit.

    Example:
        >>> tokenizer = kerasdl.sequence.train_tokenizer(["low lower lowest"], "byte_bpe", 300)
        >>> tokenizer.decode(tokenizer.encode("lowest low"))
        'lowest low'
        >>> Tokenizer.from_text(tokenizer.to_text()) == tokenizer
        True
    """

    def __init__(self, text: str):
        self._backend = backend_of(text)
        self._text = self._backend.to_str()
        self._lock = threading.RLock()  # truncation and padding are state of the backend
        self._size = 1 + max(self._backend.get_vocab().values())

    @property
    def kind(self) -> str:
        """`char`, `word`, `wordpiece`, `bpe`, `byte_bpe` or `unigram`."""
        return kind_of(self._text)

    @property
    def vocabulary(self) -> int:
        """Number of ids: those of the vocabulary are below it."""
        return self._size

    @classmethod
    def from_text(cls, text: str) -> "Tokenizer":
        """Returns the tokenizer of a text that `to_text` returned, or of a tokenizer.json.

        Raises:
            DataError: the text is not that of a tokenizer.json, or breaks a limit.
        """
        return cls(text)

    def to_text(self) -> str:
        """Returns the tokenizer as JSON, the content of a tokenizer.json."""
        return self._text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self):
        return Tokenizer, (self._text,)

    def __repr__(self) -> str:
        return f"Tokenizer(kind={self.kind!r}, vocabulary={self.vocabulary})"

    def id_of(self, token: str) -> int | None:
        """Returns the id of a token of the vocabulary, None for others."""
        return self._backend.token_to_id(token)

    def token_of(self, id: int) -> str | None:
        """Returns the token of an id, None for an id without token.

        Raises:
            ArgumentError: the id is negative or no whole number.
        """
        return self._backend.id_to_token(checks.at_least("id", id, 0))

    @property
    def padding_id(self) -> int | None:
        """Id of the padding, 0 of trained tokenizers; None if the vocabulary has none, as that of GPT-2."""
        return self._id_of_role("padding")

    @property
    def unknown_id(self) -> int | None:
        """Id of what the vocabulary cannot spell, 1 of trained tokenizers; None if it has none."""
        return self._id_of_role("unknown")

    @property
    def begin_id(self) -> int | None:
        """Id that begins a text, 2 of trained tokenizers, `[CLS]` of BERT; None if there is none."""
        return self._id_of_role("begin")

    @property
    def end_id(self) -> int | None:
        """Id that ends a text, 3 of trained tokenizers, `[SEP]` of BERT; None if there is none."""
        return self._id_of_role("end")

    def encode(self, text: str, pair: str | None = None, *, special_tokens: bool = True) -> list[int]:
        """Returns the token ids of a text.

        Args:
            text: the text, of any length.
            pair: a second text, for tokenizers with a template of pairs; others put it behind the first.
            special_tokens: whether the template of the tokenizer adds its tokens: `[CLS]` and `[SEP]` of BERT, none of
                GPT-2, none of trained tokenizers but those with `ends=True`.

        Returns:
            Ids from 0 to `vocabulary - 1`.

        Raises:
            ArgumentError: the text is not valid Unicode.
        """
        return self._encoding(text, pair, special_tokens).ids

    def encoded(self, text: str, pair: str | None = None, *, special_tokens: bool = True) -> Encoded:
        """Returns ids, tokens, offsets and segments of a text; arguments and errors are those of `encode`."""
        return encoded_of(self._encoding(text, pair, special_tokens))

    def windows(
        self, text: str, length: int, stride: int = 0, *, pair: str | None = None, special_tokens: bool = True
    ) -> list[Encoded]:
        """Returns a text in windows of at most `length` tokens.

        Args:
            text: the text, of any length.
            length: tokens of a window, those of the template included.
            stride: tokens at the end of a window that begin the next one too, as Hugging Face counts it.
            pair: a second text; it alone is cut, and the first is in every window.
            special_tokens: whether the template of the tokenizer adds its tokens to every window.

        Returns:
            One `Encoded` a window; offsets are places in the whole text.

        Raises:
            ArgumentError: a text is not valid Unicode, or the length leaves no room for text beside the stride, the
                template and the first text.
        """
        checks.at_least("length", length, 1)
        checks.at_least("stride", stride, 0)
        fixed = self._backend.num_special_tokens_to_add(pair is not None) if special_tokens else 0
        if pair is not None:
            fixed += len(self.encode(text, special_tokens=False))
        rule = f"length must be above stride ({stride}) and the tokens that stand in every window ({fixed})"
        if length - fixed <= stride:
            checks.refuse(rule, length)
        strategy = "longest_first" if pair is None else "only_second"
        with self._lock:
            self._backend.enable_truncation(length, stride=stride, strategy=strategy)
            try:
                encoding = self._encoding(text, pair, special_tokens)
            finally:
                self._backend.no_truncation()
        return [encoded_of(each) for each in (encoding, *encoding.overflowing)]

    def encode_batch(
        self,
        texts: Iterable[str],
        length: int | None = None,
        *,
        pairs: Iterable[str] | None = None,
        special_tokens: bool = True,
        segments: bool = False,
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Returns the token ids of texts as one array, cut and padded behind.

        Args:
            texts: the texts; bytes are read as UTF-8.
            length: tokens of a row, those of the template included; None takes that of the longest text.
            pairs: a second text for each.
            special_tokens: whether the template of the tokenizer adds its tokens; a cut keeps them.
            segments: whether the segments of the tokens come too.

        Returns:
            int32 (B, T); positions behind a text hold `padding_id`. With `segments` a pair, the second one of this
            shape: the text of a pair to which a token belongs, 0 or 1 by the template, 0 behind a text.

        Raises:
            ArgumentError: texts are not valid Unicode, texts and pairs differ in number, `length` has no room for the
                template, or rows differ in length and the vocabulary has no padding.
        """
        rows = checked_texts(texts)
        if pairs is not None:
            seconds = checked_texts(pairs, "pairs")
            if len(seconds) != len(rows):
                checks.refuse(f"pairs must be one text for each of the {len(rows)} texts", len(seconds))
            rows = list(zip(rows, seconds, strict=True))
        if length is not None:
            fixed = self._backend.num_special_tokens_to_add(pairs is not None) if special_tokens else 0
            checks.at_least("length", length, fixed + 1, f"The template takes {fixed} tokens.")
        with self._lock:
            if length is not None:
                self._backend.enable_truncation(length)
            try:
                encodings = self._backend.encode_batch_fast(rows, add_special_tokens=special_tokens)
            finally:
                self._backend.no_truncation()
        ids = self._padded([encoding.ids for encoding in encodings], length)
        if not segments:
            return ids
        kinds = np.zeros_like(ids)
        for row, encoding in zip(kinds, encodings, strict=True):
            row[: len(encoding.type_ids)] = encoding.type_ids
        return ids, kinds

    def decode(self, ids: Sequence[int], *, special_tokens: bool = False) -> str:
        """Returns the text of token ids.

        `byte_bpe` returns the text that was encoded; `char`, `bpe` and `unigram` too where every character is known.
        `word` and `wordpiece` lose spaces as their tokens do.

        Args:
            ids: whole numbers, a list or an array (T,).
            special_tokens: whether special tokens, such as `[PAD]`, are written.

        Returns:
            The text.

        Raises:
            ArgumentError: an id is not in the vocabulary.
        """
        array = np.asarray(ids)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
            checks.refuse("ids must be a list of whole numbers", f"{array.dtype} of shape {array.shape}")
        if array.size and (array.min() < 0 or array.max() >= self.vocabulary):
            checks.refuse(f"ids must be from 0 to {self.vocabulary - 1}", [int(array.min()), int(array.max())])
        return self._backend.decode(array.tolist(), skip_special_tokens=not special_tokens)

    def _encoding(self, text: str, pair: str | None, special_tokens: bool):
        checked_text(text)
        if pair is not None:
            checked_text(pair, "pair")
        with self._lock:  # no other thread's cut
            return self._backend.encode(text, pair, add_special_tokens=special_tokens)

    def _padded(self, rows: list[list[int]], length: int | None) -> np.ndarray:
        length = max(map(len, rows), default=0) if length is None else length
        if self.padding_id is None and any(len(row) < length for row in rows):
            rule = "texts of unequal length must have a padding token in the vocabulary"
            checks.refuse(rule, self, 'load_tokenizer(path, padding="[PAD]") adds one.')
        ids = np.full((len(rows), length), self.padding_id or 0, np.int32)
        for row, values in zip(ids, rows, strict=True):
            row[: len(values)] = values
        return ids

    def _id_of_role(self, role: str) -> int | None:
        ids = (self._backend.token_to_id(name) for name in ROLES[role])
        return next((id for id in ids if id is not None), None)
