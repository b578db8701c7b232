"""Tokenizers of each kind: ids, special tokens, round trips, windows, padding and what is refused."""

import copy
import itertools
import json
import pickle
import threading

import numpy as np
import pytest

import kerasdl
from kerasdl.sequence import Tokenizer, load_tokenizer, train_tokenizer

KINDS = ("char", "word", "wordpiece", "bpe", "byte_bpe", "unigram")
TEXTS = kerasdl.data.load("sentiment").arrays()[0][:400].tolist()
ODD = ("", "   ", "\x00", "a\u200db", "👩‍👩‍👧 x", "\u202eabc", "\r\n\t", "İ", "ﬁ", "日本語")


@pytest.fixture(scope="module")
def trained():
    return {kind: train_tokenizer(TEXTS, kind, 600) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_the_special_ids_and_its_own_text(kind, trained):
    tokenizer = trained[kind]
    assert (tokenizer.padding_id, tokenizer.unknown_id, tokenizer.begin_id, tokenizer.end_id) == (0, 1, 2, 3)
    assert [tokenizer.token_of(id) for id in range(4)] == ["[PAD]", "[UNK]", "[BOS]", "[EOS]"]
    assert tokenizer.kind == kind
    assert 4 < tokenizer.vocabulary <= 600
    again = Tokenizer.from_text(tokenizer.to_text())
    assert again == tokenizer == pickle.loads(pickle.dumps(tokenizer)) == copy.deepcopy(tokenizer)
    assert [again.encode(text) for text in TEXTS[:50]] == [tokenizer.encode(text) for text in TEXTS[:50]]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "unigram"])
def test_equal_texts_give_equal_tokenizers(kind, trained):
    assert train_tokenizer(TEXTS, kind, 600) == trained[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_every_text_is_encoded_and_batches_equal_single_texts(kind, trained):
    tokenizer = trained[kind]
    texts = [*ODD, *TEXTS[:20]]
    rows = tokenizer.encode_batch(texts)
    assert rows.dtype == np.int32
    assert rows.max() < tokenizer.vocabulary
    for row, text in zip(rows, texts, strict=True):
        ids = tokenizer.encode(text)
        assert row[: len(ids)].tolist() == ids
        assert not row[len(ids) :].any()
    assert np.array_equal(tokenizer.encode_batch(texts, 3), np.pad(rows, ((0, 0), (0, 3)))[:, :3])


@pytest.mark.parametrize("kind", ["char", "bpe", "byte_bpe", "unigram"])
def test_known_texts_come_back(kind, trained):
    for text in TEXTS[:100]:
        assert trained[kind].decode(trained[kind].encode(text)) == text


def test_bytes_spell_every_text(trained):
    for text in (*ODD, "".join(map(chr, range(1, 0x3000, 7)))):
        assert trained["byte_bpe"].decode(trained["byte_bpe"].encode(text)) == text


@pytest.mark.parametrize("kind", KINDS)
def test_offsets_are_the_places_of_the_tokens(kind, trained):
    text = "A fine  film, not 'dull'."
    encoded = trained[kind].encoded(text)
    covered = {place for start, end in encoded.offsets for place in range(start, end)}
    assert {place for place, letter in enumerate(text) if not letter.isspace()} <= covered
    if kind == "wordpiece":
        assert [text[a:b] for a, b in encoded.offsets] == [token.removeprefix("##") for token in encoded.tokens]


def test_ends_and_pairs_follow_the_template():
    tokenizer = train_tokenizer(TEXTS, "word", 600, ends=True, special=["[MASK]"])
    assert tokenizer.id_of("[MASK]") == 4
    assert tokenizer.encode("film [MASK]")[0::3] == [2, 3]
    assert 4 in tokenizer.encode("film [MASK]")
    pair = tokenizer.encoded("the film", "is good")
    assert [pair.ids[place] for place in (0, 3, 6)] == [2, 3, 3]
    assert pair.segments == (0, 0, 0, 0, 1, 1, 1)
    assert pair.special == (True, False, False, True, False, False, True)
    batch = tokenizer.encode_batch(["the film", "the"], 6, pairs=["is good", "is"])
    again, segments = tokenizer.encode_batch(["the film", "the"], 6, pairs=["is good", "is"], segments=True)
    assert np.array_equal(again, batch)
    assert segments[1].tolist() == [0, 0, 0, 1, 1, 0]
    assert batch[0].tolist() != list(pair.ids)
    assert batch[0, 0] == 2
    assert batch[0, -1] == 3
    assert tokenizer.encode("the film", special_tokens=False) == list(pair.ids[1:3])


def test_windows_share_their_stride_and_cover_the_text(trained):
    text = " ".join(TEXTS[:5])
    whole = trained["wordpiece"].encoded(text)
    windows = trained["wordpiece"].windows(text, 20, 5)
    joined = [*windows[0].ids]
    for before, after in itertools.pairwise(windows):
        assert before.ids[-5:] == after.ids[:5]
        joined += after.ids[5:]
    assert tuple(joined) == whole.ids
    assert windows[1].offsets == whole.offsets[15:35]
    assert trained["wordpiece"].encoded(text) == whole  # no cut stays behind
    with pytest.raises(kerasdl.ArgumentError, match="above stride"):
        trained["wordpiece"].windows(text, 5, 5)


def test_windows_of_a_pair_hold_the_whole_question():
    tokenizer = train_tokenizer(TEXTS, "word", 600, ends=True)
    question, text = "is the film good", " ".join(TEXTS[:5])
    windows = tokenizer.windows(question, 24, 4, pair=text)
    asked = tokenizer.encode(question, special_tokens=False)
    assert len(windows) > 2
    assert all(list(each.ids[1 : 1 + len(asked)]) == asked for each in windows)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_text_is_encoded(kind, trained):
    assert len(trained[kind].encode("ab " * 30_000)) >= 30_000


def test_half_a_surrogate_pair_is_refused(trained):
    for call in (trained["char"].encode, trained["char"].encoded):
        with pytest.raises(kerasdl.ArgumentError, match="U\\+D83D at character 2"):
            call("ab\ud83d")
    with pytest.raises(kerasdl.ArgumentError, match=r"texts\[1\].*U\+D83D"):
        trained["char"].encode_batch(["ab", "\ud83d"])
    with pytest.raises(kerasdl.ArgumentError, match=r"texts\[1\]: invalid start byte"):
        trained["char"].encode_batch([b"ab", b"\xff"])
    with pytest.raises(kerasdl.ArgumentError, match=r"texts\[0\] of type float"):
        trained["char"].encode_batch([float("nan")])
    with pytest.raises(kerasdl.ArgumentError, match="Give one text as"):
        trained["char"].encode_batch("abc")


def test_ids_of_another_vocabulary_are_refused(trained):
    tokenizer = trained["char"]
    for ids in ([-1], [tokenizer.vocabulary]):
        with pytest.raises(kerasdl.ArgumentError, match=f"from 0 to {tokenizer.vocabulary - 1}"):
            tokenizer.decode(ids)
    with pytest.raises(kerasdl.ArgumentError, match="whole numbers"):
        tokenizer.decode([1.5])
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("kind", KINDS)
def test_a_vocabulary_without_room_is_refused(kind):
    with pytest.raises(kerasdl.ArgumentError, match="vocabulary"):
        train_tokenizer(TEXTS, kind, 3)
    chinese = ["".join(map(chr, range(0x4E00, 0x4E00 + 300)))]
    if kind == "unigram":
        with pytest.raises(kerasdl.KerasdlError, match=r"vocabulary|tokenizers"):
            train_tokenizer(chinese, kind, 100)
    else:
        assert train_tokenizer(chinese, kind, 262).vocabulary <= 262


@pytest.mark.parametrize("texts", [[], [""], [" ", "\n"]])
def test_empty_texts_are_refused(texts):
    with pytest.raises(kerasdl.ArgumentError, match="not empty"):
        train_tokenizer(texts, "char")


def test_a_vocabulary_of_bert_is_read_with_its_template(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "play", "##ing", "é", "e"]
    (tmp_path / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode("Playing [MASK] é") == [2, 5, 6, 4, 8, 3]
    assert load_tokenizer(tmp_path, lowercase=False).encode("Playing é") == [2, 1, 7, 3]
    assert tokenizer.encode_batch(["playing playing", "play"], 4).tolist() == [[2, 5, 6, 3], [2, 5, 3, 0]]


def test_files_of_gpt2_are_read_and_padding_can_be_added(tmp_path):
    trained = train_tokenizer(TEXTS, "byte_bpe", 400)
    model = json.loads(trained.to_text())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(merge) for merge in model["merges"])]
    (tmp_path / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    read = load_tokenizer(tmp_path / "vocab.json")
    assert [read.encode(text) for text in TEXTS] == [trained.encode(text) for text in TEXTS]
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(kerasdl.DataError, match=r"merges.txt beside it"):
        load_tokenizer(tmp_path)


def test_texts_are_whole_while_another_thread_cuts():
    tokenizer = train_tokenizer(["a b c"], "word", 9)
    text = "a b c " * 200
    cutting = threading.Thread(target=tokenizer.encode_batch, args=([text] * 2_000, 2))
    cutting.start()
    lengths = {len(tokenizer.encode(text))}
    while cutting.is_alive():
        lengths.add(len(tokenizer.encode(text)))
    assert lengths == {600}


def test_a_vocabulary_without_padding_pads_only_once_one_is_added(tmp_path):
    document = train_tokenizer(["a b"], "word", 6).to_text().replace("[PAD]", "[NIL]")
    (tmp_path / "tokenizer.json").write_text(document, encoding="utf-8")
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.encode_batch(["a b", "b a"]).shape == (2, 2)
    with pytest.raises(kerasdl.ArgumentError, match='padding="\\[PAD\\]"'):
        tokenizer.encode_batch(["a b", "b"])
    padded = load_tokenizer(tmp_path, padding="[PAD]")
    assert padded.encode_batch(["a b", "b"])[1, 1] == padded.padding_id == 6 == padded.vocabulary - 1
