"""Masks by a tokenizer: the id of its mask, its special tokens, and the pieces that go on with a word."""

from collections.abc import Sequence
from typing import Any

from kerasdl.core import checks

from ..tokenizers import Tokenizer

MASKS = ("[MASK]", "<mask>")
SPECIAL = ("[PAD]", "[UNK]", "[BOS]", "[EOS]", "[CLS]", "[SEP]", "[MASK]")
SPECIAL_SIGNS = ("<pad>", "<unk>", "<s>", "</s>", "<bos>", "<eos>", "<mask>")
BEGINNINGS = {"bpe": "▁", "unigram": "▁", "byte_bpe": "Ġ"}
"""First sign of a piece that begins a word, of kinds that mark the beginning."""


def mask_id(tokenizer: Tokenizer) -> int:
    """Returns the id of a tokenizer's mask.

    Raises:
        ArgumentError: it has none.
    """
    ids = [tokenizer.id_of(name) for name in MASKS]
    if ids == [None] * len(MASKS):
        hint = 'train_tokenizer(texts, special=["[MASK]"], ends=True) makes one that has it.'
        checks.refuse(f"the tokenizer of masked texts must have one of the tokens {MASKS}", tokenizer, hint)
    return next(each for each in ids if each is not None)


def special_ids(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Returns the ids of a tokenizer's special tokens, which are never masked."""
    ids = (tokenizer.id_of(name) for name in (*SPECIAL, *SPECIAL_SIGNS))
    return tuple(sorted({each for each in ids if each is not None}))


def continuing_pieces(tokenizer: Tokenizer) -> tuple[int, ...]:
    """Returns the ids of the pieces that go on with the word before them, for masks of whole words.

    Args:
        tokenizer: a `Tokenizer` of the kind `wordpiece`, whose pieces inside a word begin with `##`, or of `bpe`,
            `byte_bpe` or `unigram`, whose pieces at its beginning are marked. Tokens of `word` go on with none.

    Raises:
        ArgumentError: it is one of characters, which shows no words.

    Example:
        >>> tokenizer = train_tokenizer(["low lower lowest"], "wordpiece", 30)
        >>> tokenizer.token_of(continuing_pieces(tokenizer)[0])[:2]
        '##'
    """
    special = set(special_ids(tokenizer))
    names = {number: tokenizer.token_of(number) for number in range(tokenizer.vocabulary) if number not in special}
    if tokenizer.kind == "char":
        checks.refuse("whole words must be masked with a tokenizer of words or their pieces", tokenizer)
    if tokenizer.kind == "wordpiece":
        return tuple(number for number, name in names.items() if (name or "").startswith("##"))
    beginning = BEGINNINGS.get(tokenizer.kind)
    if beginning is None:
        return ()
    return tuple(number for number, name in names.items() if name is not None and not name.startswith(beginning))


def mask_settings(tokenizer: Tokenizer, *, whole_words: bool = False) -> dict[str, Any]:
    """Returns the arguments of `kerasdl.data.text.hide_tokens` that a tokenizer decides.

    Args:
        tokenizer: a `Tokenizer` with a mask.
        whole_words: whether words are masked whole.

    Raises:
        ArgumentError: it has no mask, or shows no words.
    """
    continuing: Sequence[int] = continuing_pieces(tokenizer) if whole_words else ()
    form = {"mask": mask_id(tokenizer), "special": special_ids(tokenizer), "continuing": continuing}
    return {"vocabulary": tokenizer.vocabulary, **form}
