"""SentencePiece models: the converted tokenizer gives the tokens of SentencePiece, or the file is refused."""

import io

import pytest
import sentencepiece

import kerasdl
from kerasdl.sequence import load_tokenizer

TEXTS = kerasdl.data.load("verses").arrays()[0][:600].tolist()
OTHER = [
    *kerasdl.data.load("sentiment").arrays()[0][:300].tolist(),
    "  a  b ",
    "\ufb01ne \uff21\uff22",
    "日本 x",
    "a\tb\nc",
    "👩‍👩‍👧",
]
SETTINGS = {
    "unigram": {},
    "bpe": {"model_type": "bpe"},
    "bytes": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 700},
    "unigram_bytes": {"byte_fallback": True, "vocab_size": 700},
    "plain": {
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "user_defined_symbols": ["<extra>"],
    },
    "padded": {"pad_id": 0, "unk_id": 1, "bos_id": 2, "eos_id": 3},
}


def trained(**settings) -> bytes:
    file = io.BytesIO()
    whole = {"vocab_size": 400, "minloglevel": 3, "num_threads": 1} | settings
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(TEXTS), model_writer=file, **whole)
    return file.getvalue()


@pytest.mark.parametrize("name", SETTINGS)
def test_the_tokens_are_those_of_sentencepiece(name, tmp_path):
    content = trained(**SETTINGS[name])
    (tmp_path / "spiece.model").write_bytes(content)
    peer = sentencepiece.SentencePieceProcessor(model_proto=content)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.vocabulary == peer.get_piece_size()
    assert tokenizer.kind == ("bpe" if name in ("bpe", "bytes") else "unigram")
    for text in (*OTHER, *TEXTS[:50]):
        ids = list(peer.encode(text))
        assert tokenizer.encode(text) == ids, text
        if peer.unk_id() not in ids:
            assert tokenizer.decode(ids) == peer.decode(ids), text
    assert tokenizer.unknown_id == peer.unk_id()
    assert tokenizer.padding_id == (0 if name == "padded" else None)


@pytest.mark.parametrize("kind", ["word", "char"])
def test_models_of_words_and_characters_are_refused(kind, tmp_path):
    (tmp_path / "x.model").write_bytes(trained(model_type=kind, vocab_size=60 if kind == "char" else 400))
    with pytest.raises(kerasdl.DataError, match="not of words or characters"):
        load_tokenizer(tmp_path / "x.model")


def test_damaged_models_are_refused(tmp_path):
    content = trained()
    for number, damaged in enumerate((b"", b"\x00" * 100, b"{}", content[:1000], content[:-300], b"x" + content)):
        path = tmp_path / f"{number}.model"
        path.write_bytes(damaged)
        with pytest.raises(kerasdl.DataError):
            load_tokenizer(path)
