"""Embedded texts: known rows, sizes, splits without a text in common, packing that repeats itself, refusals by name."""

import gzip
import hashlib
import importlib.util
import itertools
import zipfile
from pathlib import Path

import numpy as np
import pytest

import kerasdl
from kerasdl.core.errors import ArgumentError, UnknownNameError
from kerasdl.data import list_datasets, load
from kerasdl.data.builtin.texts import LICENCES
from kerasdl.data.splits import SPLITS
from kerasdl.train import RunConfig, fit

SIZES = {
    "sentiment": (8_388, 2_924, 2_866),
    "sentiment:score": (8_461, 2_953, 2_899),
    "shakespeare": (5_812, 1_936, 1_937),
    "austen": (4_692, 1_564, 1_563),
    "verses": (18_653, 6_205, 6_219),
    "addresses": (916, 297, 300),
}
# SHA-256 of the test split's texts and labels: figures in docs rest on these very rows.
DIGESTS = {
    "sentiment": "8bd435983673ffef",
    "sentiment:score": "0d277aa19b39ca93",
    "shakespeare": "f0a39ee82b022920",
    "austen": "36643cc3977863af",
    "verses": "8dd6c14165f6a151",
    "addresses": "c2dcbc40f7a9c3f9",
}
ROOT = Path(__file__).parents[3]


def fold(text):
    return " ".join(text.casefold().split())


@pytest.fixture(scope="module")
def sets():
    return {name: [load(name, split) for split in SPLITS] for name in SIZES}


@pytest.mark.parametrize("name", SIZES)
def test_sizes_stand_and_no_text_is_in_two_splits(name, sets):
    assert tuple(data.size for data in sets[name]) == SIZES[name]
    seen = [set(map(fold, data.arrays()[0])) for data in sets[name]]
    assert not any(first & second for first, second in itertools.combinations(seen, 2))
    entry = next((entry for entry in list_datasets() if entry.name == name), None)
    assert entry is None or (int(entry.size), entry.licence) == (sum(SIZES[name]), sets[name][0].licence)


@pytest.mark.parametrize("name", SIZES)
def test_splits_never_change(name, sets):
    texts, labels = sets[name][2].arrays()
    rows = "\n".join(f"{text}\t{label}" for text, label in zip(texts, labels, strict=True))
    assert hashlib.sha256(rows.encode()).hexdigest()[:16] == DIGESTS[name]


def test_known_rows(sets):
    def label(name, text):
        for data in sets[name]:
            texts, labels = data.arrays()
            if (found := np.flatnonzero(texts == text)).size:
                return labels[found[0]]
        return None

    assert label("sentiment", "Effective but too tepid biopic") == 0
    assert label("sentiment:score", "Effective but too tepid biopic") == np.float32(-0.6)
    assert label("sentiment:score", "Makes S&M seem very romantic, and Maggie Gyllenhaal is a delight.") > 2
    assert (
        label("verses", "God said, “Let there be light,” and there was light.")
        == "Y dijo Dios: Sea la luz: y fué la luz."
    )
    assert label("addresses", "219 South Dearborn Second Floor") == (
        "AddressNumber StreetNamePreDirectional StreetName OccupancyIdentifier OccupancyType"
    )


@pytest.mark.parametrize(
    ("name", "words", "work"),
    [
        ("shakespeare", "To be, or not to be,--that is the question:--", "Hamlet"),
        ("shakespeare", "Shall I compare thee to a summer's day?", "Sonnets"),
        ("shakespeare", "Our revels now are ended.", "The Tempest"),
        ("austen", "It is a truth universally acknowledged,", "Pride and Prejudice"),
        ("austen", "Emma Woodhouse, handsome, clever, and rich,", "Emma"),
    ],
)
def test_a_passage_is_of_its_work(name, words, work, sets):
    found = [
        data.class_names[label]
        for data in sets[name]
        for text, label in zip(*data.arrays(), strict=True)
        if words in text
    ]
    assert found == [work]


@pytest.mark.parametrize(("name", "classes"), [("sentiment", 2), ("shakespeare", 42), ("austen", 6)])
def test_every_class_is_in_every_split(name, classes, sets):
    for data in sets[name]:
        assert data.task == "text_classification"
        assert len(data.class_names) == classes
        assert data.arrays()[1].dtype == np.int32
        assert np.bincount(data.arrays()[1], minlength=classes).min() >= 1


def test_classes_of_sentiment_are_the_signs_of_its_scores(sets):
    for classes, scores in zip(sets["sentiment"], sets["sentiment:score"], strict=True):
        texts, values = scores.arrays()
        sign = dict(zip(texts, values, strict=True))
        assert abs(values).max() <= 4
        assert all((sign[text] > 0) == label for text, label in zip(*classes.arrays(), strict=True))
    assert sum(np.sum(data.arrays()[1] == 0) for data in sets["sentiment:score"]) == 135


def test_passages_are_long_enough_and_free_of_what_editors_wrote(sets):
    for name in ("shakespeare", "austen"):
        texts = np.concatenate([data.arrays()[0] for data in sets[name]])
        lengths = np.char.str_len(texts)
        assert lengths.max() <= 600
        assert np.sum(lengths < 300) <= len(sets[name][0].class_names)  # the last of a work
        odd = (
            "Gutenberg",
            "Signet",
            "THE END",
            "@@",
            "By Jane Austen",
            "by William Shakespeare",
            "[End volume",
            "editions,",
        )
        assert not [word for word in odd if any(word in text for text in texts)]


def test_each_token_of_an_address_has_a_tag(sets):
    tags = set()
    for data in sets["addresses"]:
        for text, label in zip(*data.arrays(), strict=True):
            assert len(text.split(" ")) == len(label.split(" "))
            assert text == " ".join(text.split())
            tags |= set(label.split(" "))
    assert len(tags) == 29


def test_batches_are_strings_in_an_order_that_the_seed_fixes(sets):
    data = sets["verses"][0]
    texts, labels = next(iter(data.batches(4, shuffle=True, seed=3)))
    order = np.random.default_rng((3, 0)).permutation(data.size)[:4]
    assert [each.decode() for each in texts.numpy()] == data.arrays()[0][order].tolist()
    assert [each.decode() for each in labels.numpy()] == data.arrays()[1][order].tolist()
    assert data.fingerprint() == load("verses").fingerprint() != sets["verses"][1].fingerprint()
    assert sets["austen"][0].per_class(2).size == 12


def test_models_of_images_and_of_ids_refuse_texts_by_name(sets, tmp_path):
    quiet, few = RunConfig(epochs=1, progress="off"), sets["sentiment"][0].take(64)
    image = kerasdl.build("lenet5", classes=2)
    tokens = kerasdl.build("lstm_classifier", **kerasdl.spec("lstm_classifier").tiny)
    for model in (image, tokens):
        with pytest.raises(ArgumentError, match=r"sentiment must have the shape .* got '\(None,\) string'.*token ids"):
            fit(model, few, config=quiet)
    with pytest.raises(ArgumentError, match=r"calibration data must have .* string"):
        kerasdl.deploy.quantize_aware(image, few, epochs=0)
    bundle = kerasdl.load_bundle("digits_mobilenet")
    with pytest.raises(ArgumentError, match="task image_classification; got 'sentiment: text_classification'"):
        bundle.finetune("sentiment", epochs=1)
    with pytest.raises(ArgumentError, match="samples for input 'image'"):
        bundle.export(tmp_path / "net.tflite", quantize="int8", representative="verses")
    assert not list(tmp_path.iterdir())


def test_names_and_arguments_that_are_refused():
    for name in ("sentiment:scores", "verses:score", "austin"):
        with pytest.raises(UnknownNameError, match="Did you mean"):
            load(name)
    with pytest.raises(ArgumentError, match="image_shape is for images only"):
        load("austen", image_shape=(8, 8, 1))


def test_notice_names_every_file():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for name in LICENCES:
        assert f"kerasdl/data/builtin/files/{name}.json.xz" in notice


def packing():
    spec = importlib.util.spec_from_file_location("make_embedded_data", ROOT / "tools" / "make_embedded_data.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_packing_repeats_itself_and_ties_what_is_the_same(tmp_path, monkeypatch):
    maker = packing()
    header = "ref\ten_web\ten_kjv\tes_rv1909\n"
    rows = "a\tHe said, “ Go ”.\tx\tDijo: (¿ va?)\nb\tOther.\tx\tOtro.\nc\the said,  “ go ”.\tx\tOTRO.\n"
    with gzip.open(tmp_path / "bible_en_es.tsv.gz", "wt", encoding="utf-8") as file:
        file.write(header + rows)
    with zipfile.ZipFile(tmp_path / "vader_ground_truth.zip", "w") as archive:
        archive.writestr("movieReviewSnippets_GroundTruth.txt", "1\t2.5\tGood &amp; new\n2\t0\tA film\n")
        archive.writestr(
            "amazonReviewSnippets_GroundTruth.txt", "1_1\t-1\tbad\n1_2\t1\tbut good &amp; new\n2_1\t1\tBad\n"
        )
    contents = []
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        monkeypatch.setattr(maker, "FILES", tmp_path / folder)
        maker.pack_verses(tmp_path)
        maker.pack_sentiment(tmp_path)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()})
    assert contents[0] == contents[1]
    found = {name: maker.json.loads(maker.lzma.decompress(content)) for name, content in contents[0].items()}
    assert found["verses.json.xz"] == {
        "texts": ["He said, “Go”.", "Other.", "he said,  “go”."],
        "labels": ["Dijo: (¿va?)", "Otro.", "OTRO."],
        "tied": [[1, 0], [2, 0]],
    }
    assert found["sentiment.json.xz"]["texts"][0] == "Good & new"
    assert found["sentiment.json.xz"]["tied"] == [[3, 2], [4, 2]]


def test_passages_lose_nothing_but_blank_lines():
    maker = packing()
    text = "\n\n".join(f"Line {number} of a play,\nand its second." for number in range(200)) + "\n\n\nTHE END\n"
    found = maker.passages(text)
    assert "\n\n".join(found) == text.removesuffix("\n\n\nTHE END\n")
    assert all(300 <= len(each) <= 600 for each in found[:-1])
    one_block = "\n".join("word " * 10 for _ in range(40))
    assert "\n".join(maker.passages(one_block)) == "\n".join(line.rstrip() for line in one_block.split("\n"))
