"""Word vectors: neighbours, analogies, layer, picture and files, hostile ones among them."""

import struct

import keras
import numpy as np
import pytest

from kerasdl.errors import ArgumentError, DataError, UnknownNameError
from kerasdl.sequence import WordVectors, analogy_accuracy, load_vectors
from kerasdl.sequence.embeddings.subwords import Subwords
from kerasdl.sequence.embeddings.word_vectors import projected

WORDS = ("king", "queen", "man", "woman", "naïve", "日本", "🙂")
RNG = np.random.default_rng(0)
VECTORS = np.concatenate([[[1, 1, 0], [1, -1, 0], [0.2, 1, 0], [0.2, -1, 0]], RNG.normal((0, 0, 4), size=(3, 3))])


@pytest.fixture
def vectors():
    return WordVectors(WORDS, VECTORS)


def test_neighbours_and_analogies_are_those_of_the_cosines(vectors):
    cosines = [VECTORS[0] @ each / np.linalg.norm(each) / np.linalg.norm(VECTORS[0]) for each in VECTORS]
    best = sorted(range(1, 7), key=lambda row: -cosines[row])
    assert [word for word, _ in vectors.nearest("king", 3)] == [WORDS[row] for row in best[:3]]
    np.testing.assert_allclose(
        [cosine for _, cosine in vectors.nearest("king")], [cosines[row] for row in best], atol=1e-6
    )
    assert vectors.nearest(VECTORS[1] * 7, 1)[0] == ("queen", pytest.approx(1))
    assert vectors.similarity("king", "man") == pytest.approx(cosines[2])
    assert vectors.analogy("man", "woman", "king")[0][0] == "queen"
    questions = {"royal": [("man", "woman", "king", "queen")], "wrong": [("man", "woman", "king", "日本")], "none": []}
    result = analogy_accuracy(vectors, {**questions, "unknown": [("man", "woman", "boy", "girl")]})
    assert (result.accuracy, result.asked, result.skipped) == (0.5, 2, 1)
    np.testing.assert_array_equal([result.sections[name] for name in questions], [1, 0, np.nan])


def test_unknown_words_name_their_neighbours(vectors):
    with pytest.raises(UnknownNameError, match=r"'quen'.*'queen'"):
        vectors.vector("quen")
    with pytest.raises(UnknownNameError, match="boy"):
        vectors.analogy("man", "woman", "boy")


def test_a_layer_holds_the_vectors(vectors, tmp_path):
    ids = vectors.encode(["man unknown king", ["woman"]], 4)
    np.testing.assert_array_equal(ids, [[4, 1, 2, 0], [5, 0, 0, 0]])
    tokens = keras.Input((4,), dtype="int32")
    model = keras.Model(tokens, vectors.layer()(tokens))
    rows = model(ids).numpy()
    np.testing.assert_allclose(rows[0], [VECTORS[2], VECTORS.mean(axis=0), VECTORS[0], np.zeros(3)], atol=1e-6)
    assert not model.trainable_weights
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(ids), rows)
    own = vectors.layer(["[PAD]", "queen", "unseen"], trainable=True)
    np.testing.assert_allclose(own.get_weights()[0], [np.zeros(3), VECTORS[1], VECTORS.mean(axis=0)], atol=1e-6)
    assert own.trainable
    ngrams = WordVectors(WORDS, VECTORS, Subwords(RNG.normal(size=(20, 3)).astype("float32"), 2, 4))
    for each in (vectors, ngrams):  # an id without a token
        rows = each.layer(["[PAD]", None]).get_weights()[0]
        np.testing.assert_allclose(rows, [np.zeros(3), VECTORS.mean(axis=0)], atol=1e-6)
    for wrong in (["[PAD]", 7], "[PAD]", []):
        with pytest.raises(ArgumentError, match="words must"):
            vectors.layer(wrong)


def test_the_plane_is_that_of_the_largest_variance():
    places = RNG.normal(size=(40, 2)) * [0.3, 0.1]
    places -= places.mean(axis=0)
    spread = np.concatenate([places, np.ones((40, 1)) * 10], axis=1) @ np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    found = projected(spread.astype("float32"))
    distances = [np.linalg.norm(each[:, None] - each[None], axis=-1) for each in (places / 10, found)]
    np.testing.assert_allclose(*distances, atol=2e-3)  # unit length bends the plane a little
    assert found.var(axis=0)[0] > found.var(axis=0)[1]


def test_a_picture_names_its_words(vectors):
    axes = vectors.plot(WORDS[:4]).axes[0]
    assert [text.get_text() for text in axes.texts] == list(WORDS[:4])
    with pytest.raises(ArgumentError, match="three"):
        vectors.plot(["king", "man"])


@pytest.mark.parametrize("name", ["v.npz", "v.vec", "v.bin", "v.txt"])
def test_files_return_the_vectors(name, vectors, tmp_path):
    vectors.save(tmp_path / name)
    back = load_vectors(tmp_path / name)
    assert back.words == WORDS
    np.testing.assert_array_equal(back.vectors, vectors.vectors)
    first = load_vectors(tmp_path / name, limit=2)
    assert first.words == WORDS[:2]
    np.testing.assert_array_equal(first.vectors, vectors.vectors[:2])


def test_words_of_a_glove_file_may_hold_spaces(tmp_path):
    rows = {"the": "1 2", ". .": "3 4", "at name@domain.com": "5 6", "é è": "7 -8e-1"}
    (tmp_path / "v.txt").write_text("".join(f"{word} {vector}\n" for word, vector in rows.items()))
    found = load_vectors(tmp_path / "v.txt")
    assert found.words == tuple(rows)
    np.testing.assert_allclose(found.vectors, [[1, 2], [3, 4], [5, 6], [7, -0.8]], rtol=1e-6)


def test_an_npz_holds_subwords(tmp_path):
    subwords = Subwords(RNG.normal(size=(20, 3)).astype("float32"), 2, 4)
    WordVectors(WORDS, VECTORS, subwords).save(tmp_path / "v.npz")
    back = load_vectors(tmp_path / "v.npz")
    np.testing.assert_array_equal(back.vector("kingly"), subwords.vector("kingly"))
    with pytest.raises(ArgumentError, match="suffix"):
        back.save(tmp_path / "v.csv")


def test_words_that_a_text_file_cannot_hold_are_refused(tmp_path):
    spaced = WordVectors(("new york", "oslo"), np.eye(2))
    with pytest.raises(ArgumentError, match="new york"):
        spaced.save(tmp_path / "v.txt")
    assert not list(tmp_path.iterdir())
    spaced.save(tmp_path / "v.npz")
    assert load_vectors(tmp_path / "v.npz").words == spaced.words


ROW = b"a " + struct.pack("<2f", 1, 2)
HOSTILE = {
    "fewer words than the header says": ("v.vec", b"3 2\naaaaa 1 2\nb 3 4\n", "line 3.*ends after 2"),
    "more words than the header says": ("v.vec", b"1 2\na 1 2\nb 3 4\n", "line 3.*goes on"),
    "a huge count": ("v.vec", b"999999999999 300\na 1 2\n", "line 1.*bytes of the file"),
    "a huge width": ("v.bin", b"1 99999999999\na ", "line 1.*bytes of the file"),
    "no header": ("v.vec", b"a 1 2\n", "line 1.*header"),
    "a negative header": ("v.bin", b"-1 2\n", "line 1.*header"),
    "a line too short": ("v.txt", b"a 1 2\nb 3\n", "line 2.*2 numbers"),
    "a line too long": ("v.txt", b"a 1 2\nb 3 4 5\n", "line 2.*2 numbers"),
    "a space in a word of the first line": ("v.txt", b". . 1 2\nb 3 4\n", "line 1.*numbers"),
    "a space in a word behind a header": ("v.vec", b"2 2\na 1 2\nb c 3 4\n", "line 3.*2 numbers"),
    "no number": ("v.txt", b"a 1 2\nb 3 x\n", "line 2.*numbers"),
    "nan": ("v.txt", b"a 1 2\nb 3 nan\n", "line 2.*finite"),
    "infinity": ("v.vec", b"2 2\na 1 2\nb inf 3\n", "line 3.*finite"),
    "nan in bytes": ("v.bin", b"1 2\na " + struct.pack("<2f", 1, np.nan), "line 2.*finite"),
    "a word twice": ("v.txt", b"a 1 2\nb 3 4\na 5 6\n", "line 3.*line 1"),
    "Latin-1": ("v.txt", b"a 1 2\nna\xefve 3 4\n", "line 2.*UTF-8"),
    "Latin-1 in bytes": ("v.bin", b"1 2\n\xef\xef " + struct.pack("<2f", 1, 2), "line 2.*UTF-8"),
    "an empty file": ("v.txt", b"", "line 1.*nothing"),
    "an empty line": ("v.txt", b"a 1 2\n\n", "line 2.*2 numbers"),
    "the end inside a vector": ("v.bin", b"2 2\n" + ROW + b"\nb 123", "line 3.*ends here"),
    "the end inside a word": ("v.bin", b"1 2\naaaaaaaaaaaaaa", "line 2.*space"),
    "bytes after the last vector": ("v.bin", b"1 2\n" + ROW + b"\nb", "line 3.*goes on"),
    "an npz that is none": ("v.npz", b"PK\x03\x04", "npz"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_by_line(case, tmp_path):
    name, data, message = HOSTILE[case]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        load_vectors(tmp_path / name)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"words": np.array(["a", None], object), "vectors": np.eye(2)}, "plain arrays"),
        ({"words": np.array(["a", "b"]), "emb": np.eye(2)}, r"vectors \(V, D\).*and \['emb'\]"),
        ({"words": np.array(["a", "b"]), "vectors": np.eye(3)}, r"\(3, 3\)"),
        ({"words": np.array(["a", "b"]), "vectors": np.array([[1, 2], [np.nan, 0]])}, "row 1.*finite"),
        ({"words": np.array(["a", "a"]), "vectors": np.eye(2)}, "once"),
        (
            {
                **{"words": np.array(["a", "b"]), "vectors": np.eye(2)},
                **{"subword_vectors": np.eye(3), "subword_lengths": np.array([3, 6])},
            },
            "subwords",
        ),
    ],
    ids=["objects", "missing", "shapes", "nan", "twice", "subwords"],
)
def test_hostile_arrays_are_refused(arrays, message, tmp_path):
    np.savez(tmp_path / "v.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load_vectors(tmp_path / "v.npz")


def test_a_missing_file_and_vectors_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(DataError, match="none"):
        load_vectors(tmp_path / "v.txt")
    with pytest.raises(ArgumentError, match="2 words"):
        WordVectors(("a", "b"), np.eye(3))
    with pytest.raises(ArgumentError, match="differ"):
        WordVectors(("a", "a"), np.eye(2))
    with pytest.raises(ArgumentError, match="finite"):
        WordVectors(("a", "b"), np.full((2, 2), np.inf))
