"""Files of tagged tokens and drawn names: forms, faults by line, splits without a common name."""

import pytest

from kerasdl.core import ArgumentError, DataError
from kerasdl.data import load
from kerasdl.ops import tag_spans

FILE = "-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\n\nRome\tNNP\tB-NP\tB-LOC\n# NN O O\n"
UNIVERSAL = "# text = A man\n1-2\tAman\t_\t_\n1\tA\ta\tDET\n2\tman\tman\tNOUN\n\n# next\n1\tNew York\tx\tPROPN\n"


def test_a_file_of_columns_becomes_texts_and_tags(tmp_path):
    file = tmp_path / "eng.conll"
    file.write_text(FILE)
    data = load(f"conll:{file}")
    assert data.task == "token_tagging"
    assert data.source.inputs.tolist() == ["EU rejects", "Rome #"]
    assert data.source.labels.tolist() == ["B-ORG O", "B-LOC O"]
    file.write_text(UNIVERSAL)
    data = load(f"conll:{file}#2,4", size=2)
    assert [text.split(" ") for text in data.source.inputs] == [["A", "man"], ["New_York"]]
    assert data.source.labels.tolist() == ["DET NOUN", "PROPN"]


def test_columns_by_number_keep_every_token(tmp_path):
    file = tmp_path / "eng.conll"
    file.write_text(FILE)
    data = load(f"conll:{file}#1,4")  # the first column is the token: nothing is a number of a token, or a comment
    assert data.source.inputs.tolist() == ["EU rejects", "Rome #"]
    file.write_text("doc/1 0 0 EU NNP\ndoc/1 0 1 in IN\n")
    assert load(f"conll:{file}#4,5").source.inputs.tolist() == ["EU in"]
    file.write_text("1\t10\u00a0000\tx\tNUM\n")
    assert load(f"conll:{file}#2,4").source.inputs.tolist() == ["10_000"]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a O\nb\n", "line 2 of .* must have 2 columns"),
        (b"a\n", "line 1 of .* must have a token and its tag"),
        (b"a O\n\n\xff O\n", "line 3 of .* must be UTF-8; byte 0"),
        (b"\n\n", "holds none"),
    ],
)
def test_a_faulty_line_is_named(tmp_path, content, fault):
    file = tmp_path / "faulty.conll"
    file.write_bytes(content)
    with pytest.raises(DataError, match=fault):
        load(f"conll:{file}")


def test_a_missing_file_other_splits_and_columns_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"none\.conll cannot be read"):
        load(f"conll:{tmp_path / 'none.conll'}")
    with pytest.raises(ArgumentError, match="which has none"):
        load(f"conll:{tmp_path}", "test")
    with pytest.raises(ArgumentError, match="two numbers"):
        load(f"conll:{tmp_path}#tag")


def names(split):
    data = load("names", split)
    rows = [
        (text.split(" "), tags.split(" ")) for text, tags in zip(data.source.inputs, data.source.labels, strict=True)
    ]
    assert all(len(text) == len(tags) for text, tags in rows)
    return rows


def test_no_name_of_a_split_is_in_another_and_one_name_is_of_several_kinds():
    rows = {split: names(split) for split in ("train", "validation", "test")}
    assert [len(each) for each in rows.values()] == [2000, 400, 400]
    found = {split: {} for split in rows}
    for split, sentences in rows.items():
        for text, tags in sentences:
            for span in tag_spans(tags, "BIO", strict=True):
                found[split].setdefault(text[span.start], set()).add(span.label)
    assert not set(found["train"]) & set(found["test"])
    assert not set(found["validation"]) & set(found["train"] | found["test"])
    assert sum(len(kinds) > 1 for kinds in found["train"].values()) > len(found["train"]) / 2
    assert load("names", size=5).source.inputs.tolist() == load("names", size=9).source.inputs.tolist()[:5]
    assert load("names", seed=1).source.inputs[0] != load("names").source.inputs[0]
