"""Training of tokenizers on texts, by the trainers of the package `tokenizers`.

Sources: WordPiece https://research.google/pubs/japanese-and-korean-voice-search/, BPE
https://arxiv.org/abs/1508.07909, byte-level BPE (GPT-2, section 2.2)
https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf, unigram
https://arxiv.org/abs/1804.10959.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from kerasdl.core import checks
from kerasdl.data import Dataset

from .documents import CHARACTER, guarded
from .encoding import checked_texts
from .text_tokenizer import Tokenizer

KINDS = ("char", "word", "wordpiece", "bpe", "byte_bpe", "unigram")
SPECIAL = ("[PAD]", "[UNK]", "[BOS]", "[EOS]")
BYTES = 256


def train_tokenizer(
    texts: Iterable[str] | Dataset,
    kind: str = "wordpiece",
    vocabulary: int = 8_000,
    *,
    lowercase: bool = False,
    ends: bool = False,
    special: Sequence[str] = (),
) -> Tokenizer:
    """Trains a tokenizer on texts.

    `char`: one token a character. `word`: runs of letters and digits, and signs. `wordpiece`: pieces of words as of
    BERT, `##` inside a word. `bpe`: pairs merged by count, spaces as `▁`. `byte_bpe`: the same over bytes, as of
    GPT-2; every text comes back. `unigram`: the pieces with the likeliest texts, as of SentencePiece.

    Equal texts give equal tokenizers, but for `unigram`: the order of its sums is not fixed in `tokenizers`, scores
    differ from the fourth digit on, and a piece at the edge may be another. Save the tokenizer with the model.

    Args:
        texts: texts to train on, read once, or a `Dataset` of strings.
        kind: `char`, `word`, `wordpiece`, `bpe`, `byte_bpe` or `unigram`.
        vocabulary: tokens at most, special ones included; small data give fewer.
        lowercase: whether capitals become small letters; `wordpiece` drops accents too, as BERT does.
        ends: whether `encode` puts `[BOS]` before each text and `[EOS]` behind it; `[EOS]` also between pairs.
        special: further special tokens, which take the ids from 4 on.

    Returns:
        A `Tokenizer` with `[PAD]` = 0, `[UNK]` = 1, `[BOS]` = 2 and `[EOS]` = 3.

    Raises:
        ArgumentError: no such kind, texts that are none, or a vocabulary too small for bytes, characters or pieces.
        DataError: the package `tokenizers` cannot train on these texts.

    Example:
        >>> tokenizer = kerasdl.sequence.train_tokenizer(kerasdl.data.load("sentiment").take(500), "wordpiece", 1_000)
        >>> tokenizer.encode_batch(["a fine film", "dull"], length=8).shape
        (2, 8)
    """
    checks.one_of("kind", kind, KINDS)
    rows = checked_texts(texts.arrays()[0] if isinstance(texts, Dataset) else texts)
    specials = [*SPECIAL, *checked_texts(special, "special")]
    if len({*specials, ""}) <= len(specials):
        checks.refuse(f"special must differ from each other and from {SPECIAL}, and not be empty", list(special))
    least = len(specials) + (BYTES if kind == "byte_bpe" else 1)
    checks.at_least("vocabulary", vocabulary, least, f"{len(specials)} are special, and byte_bpe has 256 bytes.")
    if not any(map(str.strip, rows)):
        checks.refuse("texts must hold one text or more that is not empty", f"{len(rows)} texts")
    backend = guarded(_trained, rows, kind, vocabulary, lowercase, specials)
    if ends:
        backend.post_processor = _template()
    tokenizer = Tokenizer(backend.to_str())
    if tokenizer.vocabulary > vocabulary:
        rule = f"vocabulary must have room for the characters of the texts ({tokenizer.vocabulary} tokens with them)"
        checks.refuse(rule, vocabulary, "byte_bpe needs 256 for any text.")
    return tokenizer


def _trained(rows: list[str], kind: str, size: int, lowercase: bool, specials: list[str]) -> Any:
    from tokenizers import trainers

    backend = _untrained(kind, lowercase)
    settings = {"vocab_size": size, "special_tokens": specials, "show_progress": False}
    if kind in ("char", "word"):
        backend.train_from_iterator(rows, trainers.WordLevelTrainer(**settings))
    elif kind == "unigram":
        backend.train_from_iterator(rows, trainers.UnigramTrainer(unk_token="[UNK]", **settings))
    elif kind == "wordpiece":
        return _trained_word_pieces(rows, backend, settings)
    else:
        from tokenizers.pre_tokenizers import ByteLevel

        letters = Counter(ByteLevel.alphabet())
        if kind == "bpe":
            cleaned = map(backend.normalizer.normalize_str, rows) if lowercase else rows
            letters = Counter("▁".join(cleaned).replace(" ", "▁"))
        alphabet = _most_frequent(letters, size - len(specials))
        trainer = trainers.BpeTrainer(initial_alphabet=alphabet, limit_alphabet=len(alphabet), **settings)
        backend.train_from_iterator(rows, trainer)
    return backend


def _untrained(kind: str, lowercase: bool) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    if kind in ("char", "word"):
        backend = Tokenizer(models.WordLevel(unk_token="[UNK]"))
        is_char = kind == "char"
        cut = pre_tokenizers.Split(Regex(CHARACTER), "isolated") if is_char else pre_tokenizers.Whitespace()
        backend.pre_tokenizer = cut
        if is_char:
            backend.decoder = decoders.Fuse()
    elif kind == "wordpiece":
        backend = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    elif kind == "byte_bpe":
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
    else:
        backend = Tokenizer(models.BPE(unk_token="[UNK]") if kind == "bpe" else models.Unigram())
        backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    if lowercase and kind != "wordpiece":
        backend.normalizer = normalizers.Lowercase()
    return backend


def _trained_word_pieces(rows: list[str], backend: Any, settings: dict) -> Any:
    """Trains WordPiece with ids that do not depend on the order in which a hash map holds the words.

    The trainer numbers `##a` as it meets it, in random order, and breaks ties by number. Here the alphabet is
    sorted and goes first, as special tokens, and the vocabulary moves to a tokenizer without these.
    """
    from tokenizers import AddedToken, models, trainers

    pieces: Counter = Counter()
    for row in rows:
        for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(row)):
            pieces[word[0]] += 1
            pieces.update("##" + letter for letter in word[1:])
    specials, size = settings["special_tokens"], settings["vocab_size"]
    alphabet = _most_frequent(pieces, size - len(specials))
    # The trainer makes ##a of a letter that it knows as a: letters that begin no word go in, and out again.
    helpers = sorted({piece[2:] for piece in alphabet if len(piece) > 2} - {*alphabet, *specials})
    settings = settings | {"special_tokens": [*specials, *alphabet, *helpers], "vocab_size": size + len(helpers)}
    backend.train_from_iterator(rows, trainers.WordPieceTrainer(limit_alphabet=0, **settings))
    vocabulary = backend.get_vocab()
    ordered = [piece for piece in sorted(vocabulary, key=vocabulary.get) if piece not in helpers]
    whole = type(backend)(models.WordPiece(dict(zip(ordered, range(len(ordered)), strict=True)), unk_token="[UNK]"))
    whole.normalizer, whole.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
    whole.decoder = backend.decoder
    whole.add_special_tokens([AddedToken(each, special=True, normalized=False) for each in specials])
    return whole


def _most_frequent(pieces: Counter, number: int) -> list[str]:
    """Returns the most frequent pieces in alphabetical order; the alphabet decides between equal counts."""
    return sorted(sorted(pieces, key=lambda piece: (-pieces[piece], piece))[:number])


def _template() -> Any:
    from tokenizers.processors import TemplateProcessing

    begin, end = SPECIAL.index("[BOS]"), SPECIAL.index("[EOS]")
    return TemplateProcessing(
        single="[BOS] $A [EOS]",
        pair="[BOS] $A [EOS] $B:1 [EOS]:1",
        special_tokens=[("[BOS]", begin), ("[EOS]", end)],
    )
