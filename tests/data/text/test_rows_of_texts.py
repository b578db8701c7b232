"""Texts of rows and folders: splits without leaks, and every fault by its line."""

import csv
import json

import numpy as np
import pytest

import kerasdl
from kerasdl.core import DataError
from kerasdl.data import DataWarning, load
from kerasdl.data.text.docstrings import LANGUAGE, PARTS

GOOD = [(f"text number {k}, of class {'ab'[k % 2]}", "ab"[k % 2]) for k in range(60)]


def csv_file(path, rows=GOOD, header=("text", "label"), delimiter=","):
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([header, *rows])
    return f"csv:{path}"


def texts_of(name, split, **settings):
    return load(name, split, **settings).arrays()[0].tolist()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "folder"])
def test_splits_are_stratified_disjoint_and_equal_in_every_form(kind, tmp_path):
    name = csv_file(tmp_path / "x.csv")
    if kind == "jsonl":
        lines = [json.dumps({"text": text, "label": label}) for text, label in GOOD]
        (tmp_path / "x.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        name = f"jsonl:{tmp_path / 'x.jsonl'}"
    if kind == "folder":
        for number, (text, label) in enumerate(GOOD):
            (tmp_path / "f" / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / "f" / label / f"{number:02}.txt").write_text(text, encoding="utf-8")
        name = f"folder:{tmp_path / 'f'}"
    parts = {split: load(name, split) for split in ("train", "validation", "test", "all")}
    assert [part.size for part in parts.values()] == [48, 6, 6, 60]
    for part in parts.values():
        assert part.class_names == ("a", "b")
        assert part.task == "text_classification"
        texts, labels = part.arrays()
        assert np.bincount(labels).tolist() == [part.size // 2] * 2
        assert all("ab"[label] == dict(GOOD)[text] for text, label in zip(texts.tolist(), labels, strict=True))
    whole = [text for split in ("train", "validation", "test") for text in texts_of(name, split)]
    assert sorted(whole) == sorted(text for text, _ in GOOD)
    assert sorted(texts_of(name, "test")) == sorted(texts_of(csv_file(tmp_path / "x.csv"), "test"))
    assert texts_of(name, "test", seed=1) != texts_of(name, "test")


def test_texts_that_differ_in_capitals_and_spaces_share_a_split(tmp_path):
    rows = [(change(text), label) for text, label in GOOD for change in (str, str.upper, lambda t: f" {t}\n")]
    name = csv_file(tmp_path / "x.csv", rows)
    homes = {}
    for split in ("train", "validation", "test"):
        for text in texts_of(name, split):
            homes.setdefault(" ".join(text.casefold().split()), set()).add(split)
    assert len(homes) == 60
    assert all(len(each) == 1 for each in homes.values())


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_columns(delimiter, tmp_path):
    rows = [(number, label, text) for number, (text, label) in enumerate(GOOD)]
    name = csv_file(tmp_path / "x.csv", rows, ("id", "kind", "review"), delimiter)
    assert sorted(texts_of(name, "all", text="review", label="kind")) == sorted(text for text, _ in GOOD)
    plain = load(name, "all", text="review", label=None)
    assert not plain.labelled
    assert plain.class_names == ()
    with pytest.raises(kerasdl.DataError, match=r"\['id', 'kind', 'review'\], without \['text', 'label'\]"):
        load(name)


def test_a_field_may_hold_lines_quotes_and_a_long_text(tmp_path):
    rows = [*GOOD, ('a "quoted"\ntext, of two lines', "a"), ("x" * 200_000, "b"), ("", "a")]
    name = csv_file(tmp_path / "x.csv", rows)
    with pytest.warns(DataWarning, match="1 of 63 rows .* line 65: its text is empty"):
        texts = texts_of(name, "all")
    assert texts[-2:] == [rows[-3][0], rows[-2][0]]
    assert csv.field_size_limit() == 131072


def test_bad_rows_of_csv_are_named_by_line(tmp_path):
    content = "text,label\n" + "".join(
        f"{text},{label}\n" for text, label in ((t.replace(",", ""), y) for t, y in GOOD)
    )
    content = content.encode() + b"caf\xe9,a\n,b\n   ,b\nno label,\none,two,three\nnul\0,a\n"
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbf" + content)
    name = f"csv:{tmp_path / 'x.csv'}"
    with pytest.warns(DataWarning, match="left out") as warned:
        assert load(name, "all").size == 60
    for fault in (
        "line 62: it is not UTF-8",
        "line 63: its text is empty",
        "line 64: its text is empty",
        "line 65: its label is empty",
        "line 66: it has 3 fields, the header 2",
        "line 67: its text has a NUL",
    ):
        assert fault in str(warned[0].message)
    with pytest.raises(kerasdl.DataError, match=r"6 of 66 rows .*on_bad='skip'"):
        load(name, on_bad="refuse")


def test_a_quote_within_a_text_is_named_and_takes_no_other_row(tmp_path):
    content = 'label,text\na,"so "good" it is"\nb,a "dull" film\na,"fine"\n'
    (tmp_path / "x.csv").write_text(content)
    with pytest.warns(DataWarning, match="1 of 3 rows .* line 2: its quotes are not those of CSV"):
        assert texts_of(f"csv:{tmp_path / 'x.csv'}", "all") == ['a "dull" film', "fine"]


def test_bad_rows_of_jsonl_are_named_by_line(tmp_path):
    good = [json.dumps({"text": text, "label": label}) for text, label in GOOD]
    bad = ["{", "[1]", '{"text": "x"}', '{"text": 3, "label": "a"}', '{"text": "x", "label": null}']
    (tmp_path / "x.jsonl").write_text("\n".join([*good, *bad, ""]), encoding="utf-8")
    with pytest.warns(DataWarning, match="5 of 65 rows") as warned:
        assert load(f"jsonl:{tmp_path / 'x.jsonl'}", "all").size == 60
    message = str(warned[0].message)
    for number, fault in enumerate(
        ("it is not JSON", "no object", "it has no", "no text but int", "NoneType"), start=61
    ):
        assert f"line {number}: " in message
        assert fault in message
    (tmp_path / "y.jsonl").write_text('{"body": "x", "label": 1}\n')
    with pytest.raises(kerasdl.DataError, match=r"the first has \['body', 'label'\].*#TEXT,LABEL"):
        load(f"jsonl:{tmp_path / 'y.jsonl'}")


def test_a_misspelt_label_is_named(tmp_path):
    name = csv_file(tmp_path / "x.csv", [*GOOD, ("more", "bb")])
    with pytest.warns(DataWarning, match=r"one row alone has: 'bb' \(line 62\)"):
        load(name)


def test_lines_of_a_text_have_no_labels(tmp_path):
    (tmp_path / "x.txt").write_text("first line\n\nsecond\r\n   \n", encoding="utf-8", newline="")
    assert texts_of(f"text:{tmp_path / 'x.txt'}", "all") == ["first line", "second"]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "must have the columns"),
        (b"message,topic\na,b\n", r"Name yours: csv:\w+\.csv#message,topic, or csv:\w+\.csv#message for texts alone"),
        (b"text,label\n", "none can be used"),
        ("text,label\n".encode("utf-16"), "UTF-16"),
        (b"text,label\na,x\nb,x\n", "two classes or more"),
        (b"text,label,text\na,x,y\n", "once"),
        (b'label,text\na,one\nb,"two\na,three\nb,four\n', "row of line 3 is not closed, and takes all rows"),
    ],
)
def test_files_of_no_use_are_refused(content, error, tmp_path):
    (tmp_path / "x.csv").write_bytes(content)
    with pytest.raises(kerasdl.DataError, match=error):
        load(f"csv:{tmp_path / 'x.csv'}")


def test_arguments_of_columns_are_for_rows_alone(tmp_path):
    with pytest.raises(kerasdl.ArgumentError, match="csv:FILE and jsonl:FILE"):
        load("digits", text="body")
    with pytest.raises(kerasdl.DataError, match=r"cannot read csv:.*none.csv"):
        load(f"csv:{tmp_path / 'none.csv'}")


def test_texts_too_long_to_hold_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("kerasdl.data.text.rows.MEMORY_LIMIT", 2**20)
    name = csv_file(tmp_path / "x.csv", [*GOOD, ("y" * 100_000, "a")])
    with pytest.raises(kerasdl.DataError, match="line 62 has 100000 characters"):
        load(name, "all")


def test_folders_of_splits_keep_them_and_other_files_are_named(tmp_path):
    for split, label in (("train", "a"), ("train", "b"), ("test", "a"), ("test", "b")):
        (tmp_path / split / label).mkdir(parents=True)
        (tmp_path / split / label / "1.txt").write_text(f"{split} {label}")
    (tmp_path / "test" / "a" / "notes.md").write_text("x")
    with pytest.warns(DataWarning, match=r"test/a/notes.md: its suffix is not .txt"):
        assert texts_of(tmp_path, "test") == ["test a", "test b"]


def test_docstrings_of_python_have_a_class_of_each_part():
    parts = {split: load("pydoc", split) for split in ("train", "validation", "test")}
    assert parts["train"].class_names == tuple(sorted((*PARTS, LANGUAGE)))
    counts = sum(np.bincount(part.arrays()[1], minlength=11) for part in parts.values())
    assert counts.min() >= 100
    texts = [set(part.arrays()[0].tolist()) for part in parts.values()]
    assert not texts[0] & texts[1]
    assert not texts[0] & texts[2]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_two_columns_are_pairs_of_texts(kind, tmp_path):
    rows = [(f"a {k}", f"b {k % 3}", "yn"[k % 2]) for k in range(20)] + [("a x", "", "y"), ("a y", "b\0", "n")]
    file = tmp_path / f"pairs.{kind}"
    names = ("first", "second", "label")
    if kind == "csv":
        file.write_text("\n".join(["first,second,label", *(",".join(row) for row in rows)]))
    else:
        file.write_text("\n".join(json.dumps(dict(zip(names, row, strict=True))) for row in rows))
    with pytest.warns(DataWarning, match=r"2 of 22 rows .*its text is empty; .*its text has a NUL"):
        data = load(f"{kind}:{file}#first+second,label", "all")
    assert data.input_shape == (2,)
    assert data.source.inputs.tolist() == [list(row[:2]) for row in rows[:20]]
    assert [data.class_names[label] for label in data.source.labels] == [row[2] for row in rows[:20]]
    parts = [load(f"{kind}:{file}", split, text="first+second") for split in ("train", "validation", "test")]
    assert [part.size for part in parts] == [16, 2, 2]
    assert load(f"{kind}:{file}#first+second", "all").labelled is False
    with pytest.raises(DataError, match=r"\['first', 'third', 'label'\]"):
        load(f"{kind}:{file}#first+third,label")
    whole = file.read_text().replace("first", "first+second", 1 if kind == "csv" else -1)
    file.write_text(whole)
    assert load(f"{kind}:{file}#first+second,label", "all").input_shape == (), "a column of this name is meant"
