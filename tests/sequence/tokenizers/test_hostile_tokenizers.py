"""Tokenizer files from strangers: bounded, checked, and refused by one clear error."""

import base64
import json
import time

import pytest

import kerasdl
from kerasdl.sequence import Tokenizer, load_tokenizer, train_tokenizer
from kerasdl.sequence.tokenizers import documents

TEXTS = ["a small film about nothing", "the end"]


def document(**changes) -> str:
    return json.dumps(json.loads(train_tokenizer(TEXTS, "bpe", 60).to_text()) | changes)


def refused(text: str) -> str:
    with pytest.raises(kerasdl.DataError) as caught:
        Tokenizer.from_text(text)
    assert len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", '{"model": 3}', '{"model": {"type": "BPE"}}', '{"a": 1}', "[" * 200_000, '"\ud800"'],
)
def test_what_is_no_tokenizer_is_refused(text):
    refused(text)


def test_other_json_is_named():
    assert "keys ['labels', 'task']" in refused('{"labels": [], "task": "x"}')
    assert "one of ('WordLevel'" in refused('{"model": {"type": "Lua", "vocab": {}}}')


@pytest.mark.parametrize(
    "model",
    [
        {"type": "BPE", "vocab": {"a": 0}, "merges": [["a", "b"]]},
        {"type": "BPE", "vocab": {"a": -1}, "merges": []},
        {"type": "BPE", "vocab": {"a": 2**31}, "merges": []},
        {"type": "WordLevel", "vocab": {"a": 0.5}, "unk_token": "a"},
        {"type": "WordPiece", "vocab": {"a": None}, "unk_token": "a"},
        {"type": "Unigram", "vocab": [["a", 0.0]], "unk_id": 7},
        {"type": "Unigram", "vocab": [["a"]], "unk_id": 0},
        {"type": "Unigram", "vocab": [], "unk_id": 0},
        {"type": "BPE", "vocab": {"a": 0}, "merges": [], "dropout": 0.5},
    ],
)
def test_models_that_do_not_hold_together_are_refused(model):
    refused(document(model=model))


def test_limits_are_limits(monkeypatch, tmp_path):
    text = document()
    monkeypatch.setattr(documents, "MAX_VOCABULARY", 20)
    assert "at most 20 tokens" in refused(text)
    monkeypatch.undo()
    monkeypatch.setattr(documents, "MAX_BYTES", 100)
    assert "at most 100 characters" in refused(text)
    (tmp_path / "vocab.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(kerasdl.DataError, match="UTF-8"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.json.gz").write_bytes(b"no gzip")
    with pytest.raises(kerasdl.DataError, match="cannot be read"):
        load_tokenizer(tmp_path / "vocab.json.gz")
    with pytest.raises(kerasdl.DataError, match=r"no tokenizer's file at"):
        load_tokenizer(tmp_path / "none.json")


HOSTILE = (
    "(a+)+b",
    "(a|a)*b",
    "a?" * 20,
    "(a*)*",
    "(?:a{1,9}){2,9}",
    "a*b*c*d*",
    r"(x)\1",
    "((a|b)c)+",
    "(?R)",
    "a" * 3000,
)
KNOWN = (
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}]*[\p{Ll}\p{Lm}]+(?i:'s|'t|'re|'ve|'ll)?|\p{N}{1,3}| ?[^\s\p{L}]++[\r\n/]*|\s+",
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    " {2,}",
)


@pytest.mark.parametrize("pattern", HOSTILE)
def test_patterns_that_may_run_without_end_are_refused(pattern):
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    assert "pattern" in refused(document(pre_tokenizer={"type": "Sequence", "pretokenizers": [cut]}))
    assert "pattern" in refused(document(normalizer={"type": "Replace", "pattern": {"Regex": pattern}, "content": "x"}))


@pytest.mark.parametrize("pattern", KNOWN)
def test_patterns_of_known_models_are_read_and_end_in_time(pattern):
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    tokenizer = Tokenizer.from_text(document(pre_tokenizer=cut))
    start = time.process_time()
    for part in (" ", "a", "'", "1", "\n", "aA1 ", "\r\n "):
        tokenizer.encode(part * 10_000)
    assert time.process_time() - start < 5


def test_replacements_that_multiply_a_text_are_refused():
    twice = {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaa"}
    assert "lengthen" in refused(document(normalizer={"type": "Sequence", "normalizers": [twice] * 30}))
    assert "lengthen" in refused(document(normalizer={"type": "Prepend", "prepend": "a" * 1000}))
    table = (4).to_bytes(4, "little") + bytes(4) + b"a" * 1000 + b"\0"
    charsmap = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}
    assert "100 bytes for a character" in refused(document(normalizer=charsmap))


def test_deeply_nested_parts_are_refused():
    part = {"type": "Lowercase"}
    for _ in range(60):
        part = {"type": "Sequence", "normalizers": [part]}
    assert "nested" in refused(document(normalizer=part))


def test_settings_of_length_in_a_file_are_not_used():
    cut = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    tokenizer = Tokenizer.from_text(document(truncation=cut))
    assert tokenizer.decode(tokenizer.encode(TEXTS[0])) == TEXTS[0]


def test_vocabularies_of_bert_and_gpt2_that_lie_are_refused(tmp_path):
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\na\na\n")
    with pytest.raises(kerasdl.DataError, match="1 tokens twice"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").write_text("a\nb\n")
    with pytest.raises(kerasdl.DataError, match=r"no \['\[CLS\]'"):
        load_tokenizer(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "merges.txt").write_text("a b c\n")
    for ids, error in (('{"a": 5}', "each once"), ("[1]", "JSON object"), ("{", "must be JSON"), ('{"a": 0}', "two")):
        (tmp_path / "vocab.json").write_text(ids)
        with pytest.raises(kerasdl.DataError, match=error):
            load_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_text('{"<s>": 0, "</s>": 1}')
    with pytest.raises(kerasdl.DataError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path)
    with pytest.raises(kerasdl.ArgumentError, match="lowercase"):
        load_tokenizer(tmp_path, lowercase=True)
