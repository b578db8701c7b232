"""Questions with answers: files in SQuAD's form with every fault named by its place, lists, splits by text."""

import json

import numpy as np
import pytest

from kerasdl.core import ArgumentError, DataError
from kerasdl.data import DataWarning, load
from kerasdl.data.text import Answer, question_data, read_squad

CONTEXT = "The cat sat. Zoë ran\u00a0off."


def qa(answers=(("cat", 4),), question="Who sat?", **more):
    listed = [{"text": text, "answer_start": start} for text, start in answers]
    return {"question": question, "answers": listed, **more}


def written(folder, *qas, context=CONTEXT, **more):
    file = folder / "mine.json"
    paragraph = {"context": context, "qas": list(qas)} | more
    file.write_text(json.dumps({"version": "v2.0", "data": [{"title": "t", "paragraphs": [paragraph]}]}))
    return file


def test_a_file_becomes_questions_texts_and_answers(tmp_path):
    two = qa([("Zoë", 13), ("Zoë ran", 13)], "Who ran?", id="b", is_impossible=False)
    none = qa([], "Who flew?", id="c", is_impossible=True, plausible_answers=[{"text": "cat", "answer_start": 4}])
    data = load(f"squad:{written(tmp_path, qa(id='a'), two, none)}", "all")
    assert (data.task, data.size, data.class_names) == ("question_answering", 3, ())
    inputs, answers = data[1]
    assert inputs == {"question": "Who ran?", "context": CONTEXT}
    assert answers == (Answer("Zoë", 13), Answer("Zoë ran", 13))
    assert data.source.labels.tolist() == [(Answer("cat", 4),), answers, ()]
    assert data.source.inputs["context"][0] is data.source.inputs["context"][2], "a text is held once"
    assert load(f"squad:{tmp_path / 'mine.json'}", "all", size=1).size == 1


@pytest.mark.parametrize(
    ("question", "fault"),
    [
        (3, "it is no object but int"),
        (qa(question=""), "its question is empty"),
        (qa(question=4), "its question is no text but int"),
        ({"answers": []}, "its question is missing"),
        (qa(question="a\0"), "its question has a NUL"),
        (qa(question="\ud800"), "it is not UTF-8"),
        (qa([("cat", 5)]), "'cat' is not at character 5 of its text, where 'at ' is"),
        (qa([("off.", -4)]), "not at character -4"),
        (qa([("off.", 100)]), "not at character 100"),
        (qa([("cat", True)]), "answer_start of it is no whole number but True"),
        (qa([("cat", "4")]), "answer_start of it is no whole number but '4'"),
        (qa([("cat", 4.0)]), "answer_start of it is no whole number but 4.0"),
        (qa([(" ", 3)]), "an answer of it is empty"),
        (qa([(7, 4)]), "an answer of it is no text"),
        ({"question": "Who?", "answers": ["cat"]}, "no object with text and answer_start"),
        ({"question": "Who?", "answers": [{"text": "cat"}]}, "no object with text and answer_start"),
        ({"question": "Who?", "answers": "cat"}, "its answers are no list but str"),
        ({"question": "Who?"}, "it has no answer and not is_impossible"),
        (qa(is_impossible=True), "it has answers and is_impossible"),
        (qa(is_impossible="no"), "its is_impossible is neither true nor false but 'no'"),
        (qa(id="good"), "its id 'good' is that of another question"),
        (qa(id=["x"]), "its id is no text but list"),
    ],
)
def test_a_faulty_question_is_named_by_its_place_and_left_out_or_refused(question, fault, tmp_path):
    file = written(tmp_path, qa(id="good"), question)
    place = r"1 of 2 rows of squad:.*data\[0\]\.paragraphs\[0\]\.qas\[1\]: "
    with pytest.warns(DataWarning, match=place) as caught:
        assert read_squad(file).size == 1
    assert fault in str(caught[0].message)
    with pytest.raises(DataError, match=place):
        read_squad(file, on_bad="refuse")


@pytest.mark.parametrize(
    ("paragraph", "place", "fault"),
    [
        ({"context": None}, "data[1].paragraphs[0]", "its context is missing"),
        ({"context": " "}, "data[1].paragraphs[0]", "its context is empty"),
        ({"qas": None}, "data[1].paragraphs[0]", "it has no list 'qas'"),
        ([], "data[1].paragraphs[0]", "it is no object but list"),
    ],
)
def test_a_faulty_paragraph_is_named(paragraph, place, fault, tmp_path):
    file = written(tmp_path, qa())
    content = json.loads(file.read_text())
    good = content["data"][0]["paragraphs"][0]
    content["data"] += [{"paragraphs": [good | paragraph if isinstance(paragraph, dict) else paragraph]}, {"a": 1}, 5]
    file.write_text(json.dumps(content))
    with pytest.warns(DataWarning) as caught:
        assert read_squad(file).size == 1
    for each in (f"{place}: {fault}", "data[2]: it has no list 'paragraphs'", "data[3]: it is no object but int"):
        assert each in str(caught[0].message)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "must be JSON in the form of SQuAD"),
        (b"[" * 100_000, "must be JSON in the form of SQuAD"),
        (b'{"data": "\xff"}', "must be UTF-8; byte 10"),
        (b"[]", 'must be an object with a list "data".*; it is list'),
        (b'{"version": 1}', r"it is an object with \['version'\]"),
        (b'{"data": []}', "must hold a question; 0 were read"),
    ],
)
def test_files_of_another_form_are_refused(content, error, tmp_path):
    (tmp_path / "mine.json").write_bytes(content)
    with pytest.raises(DataError, match=error):
        read_squad(tmp_path / "mine.json")
    with pytest.raises(DataError, match="cannot read squad"):
        load(f"squad:{tmp_path / 'none.json'}", "all")


def test_all_questions_about_one_text_are_in_one_split(tmp_path):
    paragraphs = [
        {"context": f"Cat {k} sat.", "qas": [qa([("sat", 5 + len(str(k)))], f"{word}?") for word in ("a", "b")]}
        for k in range(40)
    ]
    file = tmp_path / "many.json"
    file.write_text(json.dumps({"data": [{"paragraphs": paragraphs}]}))
    parts = {split: load(f"squad:{file}", split) for split in ("train", "validation", "test", "all")}
    assert {split: part.size for split, part in parts.items()} == {"train": 64, "validation": 8, "test": 8, "all": 80}
    texts = [set(parts[split].source.inputs["context"]) for split in ("train", "validation", "test")]
    assert sum(map(len, texts)) == len(set.union(*texts)) == 40
    assert set(load(f"squad:{file}", "test", seed=1).source.inputs["context"]) != texts[2]
    with pytest.raises(DataError, match="1 texts are too few"):
        read_squad(written(tmp_path, qa()), "test")
    with pytest.raises(ArgumentError, match="split"):
        read_squad(file, "dev")


def test_lists_of_ones_own():
    contexts = ["The cat sat.", "a dog, a cat", "nothing"]
    data = question_data(["Who?", "Who?", "Who?"], contexts, ["cat", [("a", 7), ("dog", np.int64(2))], []], name="mine")
    assert data.name == "mine"
    assert data.source.labels.tolist() == [(Answer("cat", 4),), (Answer("a", 7), Answer("dog", 2)), ()]
    for answers, error in (
        (["a"], "0: its answer 'a' occurs 2 times in its text; pass"),
        (["mouse"], "0: its answer 'mouse' is not in its text"),
        ([""], "0: its answer '' is not in its text"),
        ([[("a", 0, 1)]], "neither a text nor"),
        ([[("cat", True)]], "neither a text nor"),
        ([[5]], "neither a text nor"),
        ([[("cat", 3)]], "not at character 3"),
    ):
        with pytest.raises(ArgumentError, match=error):
            question_data(["Who?"], ["The cat sat."], answers)
    with pytest.raises(ArgumentError, match="its question is missing"):
        question_data([None], ["The cat sat."], ["cat"])
    with pytest.raises(ArgumentError, match="lists of one length"):
        question_data(["Who?"], contexts, ["cat"])
    with pytest.raises(ArgumentError, match="1 or more"):
        question_data([], [], [])
