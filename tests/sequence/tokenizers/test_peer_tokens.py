"""Tokens of 1,000 strings of many scripts: equal to `tokenizers` used directly, and to frozen answers of transformers.

`tests/frozen/tokenizers` holds a vocabulary of BERT's form and the two files of GPT-2's form, and the ids that
`BertTokenizerFast` and `GPT2TokenizerFast` of transformers 5.24.0 gave for them.
"""

import hashlib
import json
from pathlib import Path

import pytest
import tokenizers
from many_scripts import strings
from tokenizers.implementations import BertWordPieceTokenizer, ByteLevelBPETokenizer

from kerasdl.sequence import load_tokenizer, train_tokenizer

FILES = Path(__file__).parents[2] / "frozen" / "tokenizers"
ANSWERS = json.loads((FILES / "answers.json").read_text())
STRINGS = strings(1000)


@pytest.mark.parametrize(("peer", "file"), [("bert", "vocab.txt"), ("gpt2", "vocab.json")])
def test_ids_are_those_of_transformers(peer, file):
    tokenizer = load_tokenizer(FILES / file)
    rows = [tokenizer.encode(text) for text in STRINGS]
    assert rows[: len(ANSWERS[peer]["first"])] == ANSWERS[peer]["first"]
    assert hashlib.sha256(json.dumps(rows).encode()).hexdigest() == ANSWERS[peer]["sha256"]


def test_tokens_and_offsets_are_those_of_tokenizers():
    bert = BertWordPieceTokenizer(str(FILES / "vocab.txt"), lowercase=True)
    gpt2 = ByteLevelBPETokenizer(str(FILES / "vocab.json"), str(FILES / "merges.txt"))
    for peer, file in ((bert, "vocab.txt"), (gpt2, "vocab.json")):
        tokenizer = load_tokenizer(FILES / file)
        for text in STRINGS:
            mine, its = tokenizer.encoded(text), peer.encode(text)
            assert (list(mine.ids), list(mine.tokens), list(mine.offsets)) == (its.ids, its.tokens, its.offsets)
            assert tokenizer.decode(its.ids) == peer.decode(its.ids)


@pytest.mark.parametrize("kind", ["char", "word", "wordpiece", "bpe", "byte_bpe", "unigram"])
def test_a_trained_tokenizer_is_the_same_in_tokenizers_alone(kind):
    """The text of a tokenizer is a whole tokenizer.json: a program without kerasdl encodes and decodes as it does."""
    tokenizer = train_tokenizer(STRINGS[:100], kind, 1_500, ends=True)
    peer = tokenizers.Tokenizer.from_str(tokenizer.to_text())
    for text in STRINGS[:300]:
        ids = tokenizer.encode(text)
        assert ids == peer.encode(text).ids
        assert tokenizer.decode(ids) == peer.decode(ids)
    batch = tokenizer.encode_batch(STRINGS, 24)
    peer.enable_truncation(24)
    peer.enable_padding(length=24, pad_id=0, pad_token="[PAD]")
    assert batch.tolist() == [each.ids for each in peer.encode_batch(STRINGS)]
