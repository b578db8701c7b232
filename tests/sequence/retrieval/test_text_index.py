"""The index of texts against cosines of all pairs, its file, and what it refuses."""

import importlib.util

import numpy as np
import pytest

import kerasdl
from kerasdl import metrics, sequence
from kerasdl.core.errors import ArgumentError, DataError, MissingPackageError
from kerasdl.sequence import TextIndex

LETTERS = "abcdefgh"
HAS_FAISS = importlib.util.find_spec("faiss") is not None
ENGINES = ["numpy", pytest.param("faiss", marks=pytest.mark.skipif(not HAS_FAISS, reason="faiss is not installed"))]


def letters(texts):
    return np.array([[text.count(letter) for letter in LETTERS] for text in texts], np.float64)


def drawn(count, seed):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice([*LETTERS], rng.integers(1, 9))) for _ in range(count)]


@pytest.mark.parametrize("engine", ENGINES)
def test_hits_are_the_largest_cosines_of_all(engine):
    texts, queries = drawn(300, 0), drawn(7, 1)
    index = TextIndex(letters, texts[:100], engine=engine)
    index.search(queries, 3)
    index.add(texts[100:])
    assert (len(index), index.engine) == (300, engine)
    both = [letters(each) for each in (queries, texts)]
    both = [each / np.linalg.norm(each, axis=1, keepdims=True) for each in both]
    cosines = both[0] @ both[1].T
    for query, hits, row in zip(queries, index.search(queries, 12), cosines, strict=True):
        np.testing.assert_allclose([hit.score for hit in hits], np.sort(row)[::-1][:12], atol=1e-6)
        assert [hit.text for hit in hits] == [texts[hit.number] for hit in hits]
        alone = [hit.score for hit in index.search(query, 12)]
        np.testing.assert_allclose(alone, [hit.score for hit in hits], atol=1e-6)
    assert len(index.search("a", 1000)) == 300
    assert index.search([], 3) == []


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_texts_come_in_their_order(engine):
    index = TextIndex(letters, ["b", "ab", "a", "aa", "b", "aaa"], engine=engine)
    assert [hit.number for hit in index.search("a", 4)] == [2, 3, 5, 1]
    assert [hit.number for hit in index.search("a", 2)] == [2, 3]


def test_a_file_holds_the_index(tmp_path):
    texts = [*drawn(20, 3), "a\n\N{SNOWMAN} b", "ab"]
    index, path = TextIndex(letters, texts), tmp_path / "texts.npz"
    index.save(path)
    copy = TextIndex.load(path, letters)
    assert copy.texts == index.texts
    np.testing.assert_array_equal(copy.vectors, index.vectors)
    assert copy.search("abc") == index.search("abc")
    copy.add(["h"])
    assert copy.search("h", 1)[0].number == 22
    for other in (lambda rows: letters(rows)[:, ::-1], lambda rows: letters(rows)[:, :5]):
        with pytest.raises(ArgumentError, match="encoder must be the one that the index was made with"):
            TextIndex.load(path, other)
    TextIndex(letters).save(tmp_path / "empty.npz")
    assert len(TextIndex.load(tmp_path / "empty.npz", letters)) == 0


def test_damaged_files_are_refused(tmp_path):
    index, path = TextIndex(letters, drawn(5, 3)), tmp_path / "texts.npz"
    index.save(path)
    with np.load(path) as file:
        parts = dict(file)
    bad = {
        "vectors": 2 * parts["vectors"],
        "ends": parts["ends"] + 1,
        "texts": np.full_like(parts["texts"], 255),
        "form": parts["form"][:-1],
    }
    for name, value in bad.items():
        np.savez(path, **{**parts, name: value})
        with pytest.raises(DataError, match="must be an index that TextIndex"):
            TextIndex.load(path, letters)
    np.savez(path, **{**parts, "texts": np.array([{}], object)})
    with pytest.raises(DataError, match="must be an index"):
        TextIndex.load(path, letters)
    np.savez_compressed(path, **parts)
    with pytest.raises(DataError, match="must be an index"):
        TextIndex.load(path, letters)
    path.write_bytes(path.read_bytes()[:100])
    for place in (path, tmp_path / "none.npz"):
        with pytest.raises(DataError, match="must be an index"):
            TextIndex.load(place, letters)


def test_what_has_no_direction_is_refused():
    index = TextIndex(letters, ["ab"])
    for text, got in (("xyz", "zero"), ("", "zero")):
        with pytest.raises(DataError, match=f"text 0 is {got}"):
            index.add([text])
    with pytest.raises(DataError, match="text 1 is not finite"):
        TextIndex(lambda rows: np.array([[1.0], [np.nan]]), ["a", "b"])
    assert index.texts == ["ab"]
    for call, rule in (
        (lambda: TextIndex("encoder"), "encoder must be a bundle, or a function"),
        (lambda: TextIndex(letters, engine="annoy"), "engine must be one of"),
        (lambda: TextIndex(letters, "ab"), "texts must be a list of texts"),
        (lambda: TextIndex(letters).search("a"), "must have texts before"),
        (lambda: index.search("a", 0), "count must be"),
        (lambda: index.nearest(np.ones((2, 3)), 1), "must have 8 numbers"),
        (lambda: TextIndex(lambda rows: np.ones(3), ["a"]), r"1 vectors, \(N, D\)"),
        (lambda: TextIndex(kerasdl.load_bundle("digits_mobilenet")), "must be of the task text_encoding"),
    ):
        with pytest.raises(ArgumentError, match=rule):
            call()


@pytest.mark.skipif(HAS_FAISS, reason="faiss is installed")
def test_faiss_that_is_missing_is_named():
    with pytest.raises(MissingPackageError, match=r"kerasdl\[retrieval\]"):
        TextIndex(letters, engine="faiss")


def test_a_bundle_encodes():
    tokenizer = sequence.train_tokenizer(drawn(50, 5), "char", 20)
    sizes = dict(length=8, vocabulary=20, width=16, depth=1, heads=2, hidden=16, positions=8)
    settings = {"length": 8, "padding_id": 0, "segments": True, "tokenizer": tokenizer.to_text()}
    network = kerasdl.build("bert_tiny", **sizes)
    bundle = kerasdl.Bundle.of(network, name="vectors", task="text_encoding", preprocess=settings)
    texts = ["abc", "hgf", "aab"]
    index = TextIndex(bundle, texts)
    np.testing.assert_allclose(index.vectors, sequence.encode(bundle, texts), atol=1e-6)
    found = [[hit.number for hit in hits] for hits in index.search(texts, 2)]
    assert metrics.recall_at_k(found, [[0], [1], [2]], 1) == metrics.ndcg_at_k(found, [[0], [1], [2]], 2) == 1.0
